"""Networks: made with their metadata port, shared, changed and deleted; and which one a server gets."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from msgspec import UNSET, UnsetType

from trilith.commands import floating_ips, network_quota, network_rbac, network_search, ports, qos, subnets
from trilith.commands.network_faults import (
    FlatNetworkInUse,
    InvalidInput,
    InvalidSharedSetting,
    NetworkInUse,
    VlanIdInUse,
)
from trilith.commands.network_generation import bump
from trilith.commands.network_search import EXTERNAL, SHARED, visible_networks
from trilith.model.identity import Project
from trilith.model.network import (
    AllocationPool,
    AutoTopology,
    DhcpExclusion,
    FloatingIp,
    Network,
    Port,
    Rbac,
    Router,
    Subnet,
)
from trilith.model.record import Actor
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx, new_id

#: bytes that Geneve over IPv4 takes of the underlay's MTU: outer headers and OVN's option (ovn-architecture(7))
GENEVE_OVERHEAD = 58
#: the SQL clause of what an actor sees of a noun
visible_clause = network_search.visible
#: ports that go with their network
_AUTO_DELETE = (ports.METADATA, "network:dhcp")


def visible(reader: Reader, actor: Actor) -> list[Network]:
    """Every network that the actor may see."""
    return reader.select(Network, *(() if actor.is_admin else (visible_clause(Network, actor),)))


def choose(reader: Reader, project_id: str) -> list[Network]:
    """The networks that a server without a choice could get: the project's own, else those shared with it.

    More than one is the caller's to refuse (Nova: NetworkAmbiguous), none too.
    """
    own = reader.select(Network, project_id=project_id, external=False)
    if own:
        return own
    t = REGISTRY[Network].table.c
    return reader.select(Network, visible_networks(project_id), t.external.is_(False))


def create_network(
    tx: Tx,
    *,
    project_id: str,
    mtu: int,
    name: str = "",
    description: str = "",
    admin_up: bool = True,
    shared: bool = False,
    external: bool = False,
    default: bool = False,
    network_type: str = "geneve",
    physical_network: str = "",
    segmentation_id: int = 0,
    port_security: bool = True,
    dns_domain: str = "",
    qos_policy_id: str | None = None,
    zone_hints: tuple[str, ...] = (),
    tags: tuple[str, ...] = (),
) -> Network:
    """mtu: bytes that a guest may send. qos_policy_id: None is the project's default one.

    Raises OverQuota, InvalidInput, FlatNetworkInUse, VlanIdInUse."""
    _check_provider(tx, network_type, physical_network, segmentation_id)
    network_quota.charge(tx, project_id, "network")
    network = Network(
        id=new_id(),
        name=name,
        project_id=project_id,
        description=description,
        admin_up=admin_up,
        shared=shared,
        external=external,
        default=default,
        mtu=mtu,
        network_type=network_type,
        physical_network=physical_network,
        segmentation_id=segmentation_id,
        port_security=port_security,
        dns_domain=dns_domain,
        qos_policy_id=qos.default_of(tx, project_id) if qos_policy_id is None else qos_policy_id,
        zone_hints=zone_hints,
        tags=tags,
    )
    port = ports.create_port(
        tx,
        project_id=project_id,
        network_id=network.id,
        network=network,
        device_id=f"ovnmeta-{network.id}",
        device_owner=ports.METADATA,
        fixed_ips=(),
    )
    network = tx.add(replace(network, metadata_port_id=port.id, metadata_mac=port.mac_address))
    for wanted, action in ((shared, SHARED), (external, EXTERNAL)):
        if wanted:
            network_rbac.grant(tx, network, action)
    if default:
        _only_default(tx, network)
    return network


def _check_provider(tx: Tx, network_type: str, physical_network: str, segmentation_id: int) -> None:
    if network_type == "geneve":
        if physical_network:
            raise InvalidInput("provider:physical_network specified for geneve network", field="physical_network")
        return
    if network_type not in ("flat", "vlan"):
        raise InvalidInput(
            f"Invalid input for operation: network_type value '{network_type}' not supported.",
            hint="Use geneve, vlan or flat.",
            field="provider:network_type",
        )
    if not physical_network:
        raise InvalidInput(
            f"Invalid input for operation: physical_network required for {network_type} provider network.",
            field="provider:physical_network",
        )
    if network_type == "flat":
        if segmentation_id:
            raise InvalidInput("Invalid input for operation: segmentation_id specified for flat network.")
        if tx.first(Network, network_type="flat", physical_network=physical_network):
            raise FlatNetworkInUse(f"Unable to create the flat network. Physical network {physical_network} is in use.")
        return
    if not 1 <= segmentation_id <= 4094:
        raise InvalidInput(
            f"Invalid input for operation: segmentation_id out of range (1 through 4094): {segmentation_id}.",
            field="provider:segmentation_id",
        )
    if tx.first(Network, network_type="vlan", physical_network=physical_network, segmentation_id=segmentation_id):
        raise VlanIdInUse(
            f"Unable to create the network. The VLAN {segmentation_id} on physical network {physical_network} "
            "is in use."
        )


def _only_default(tx: Tx, network: Network) -> None:
    """One external network is the default, as Neutron's auto-allocation wants it."""
    table = REGISTRY[Network].table
    tx.conn.execute(sa.update(table).where(table.c.id != network.id, table.c.default.is_(True)).values(default=False))


def update_network(
    tx: Tx,
    network: Network,
    *,
    name: str | UnsetType = UNSET,
    description: str | UnsetType = UNSET,
    admin_up: bool | UnsetType = UNSET,
    shared: bool | UnsetType = UNSET,
    external: bool | UnsetType = UNSET,
    default: bool | UnsetType = UNSET,
    mtu: int | UnsetType = UNSET,
    port_security: bool | UnsetType = UNSET,
    dns_domain: str | UnsetType = UNSET,
    qos_policy_id: str | UnsetType = UNSET,
) -> Network:
    """Raises InvalidSharedSetting (others' ports are on it), NetworkInUse (gateways or floating IPs use it)."""
    given: dict[str, Any] = {
        "name": name,
        "description": description,
        "admin_up": admin_up,
        "shared": shared,
        "external": external,
        "default": default,
        "mtu": mtu,
        "port_security": port_security,
        "dns_domain": dns_domain,
        "qos_policy_id": qos_policy_id,
    }
    changes = {f: v for f, v in given.items() if v is not UNSET and v != getattr(network, f)}
    if not changes:
        return network
    if changes.get("shared") is False:
        _check_unshare(tx, network)
    if changes.get("external") is False and (
        tx.first(Router, external_network_id=network.id) or tx.first(FloatingIp, floating_network_id=network.id)
    ):
        raise NetworkInUse(f"External network {network.id} cannot be updated to be made non-external, since it has "
                           "existing gateway ports.")  # fmt: skip
    for field, action in (("shared", SHARED), ("external", EXTERNAL)):
        if field in changes:
            if changes[field]:
                network_rbac.grant(tx, network, action)
            else:
                tx.remove_where(Rbac, object_id=network.id, action=action, target="*")
    network = tx.change(network, **changes)
    if changes.get("default"):
        _only_default(tx, network)
    if "qos_policy_id" in changes:
        qos.network_changed(tx, network.id)
    if changes.keys() & {"name", "mtu", "external", "dns_domain", "admin_up"}:
        bump(tx, Network, [network.id])
    return network


def _check_unshare(tx: Tx, network: Network) -> None:
    t = REGISTRY[Port].table.c
    others = t.project_id.not_in((network.project_id, ""))
    if tx.select(Port, others, t.network_id == network.id, limit=1):
        raise InvalidSharedSetting(
            f"Unable to reconfigure sharing settings for network {network.id}. Multiple tenants are using it."
        )


def delete_network(tx: Tx, network: Network) -> None:
    """With its subnets, metadata port and floating IPs that nobody uses. Raises NetworkInUse."""
    tx.hold(network)
    for floating in tx.select(FloatingIp, floating_network_id=network.id, port_id=""):
        floating_ips.delete(tx, floating)
    t = REGISTRY[Port].table.c
    left = tx.select(Port, t.device_owner.not_in(_AUTO_DELETE), network_id=network.id, limit=20)
    if left:
        raise NetworkInUse(
            f"Unable to complete operation on network {network.id}. There are one or more ports still in use on the "
            f"network, id for these ports is {', '.join(p.id for p in left)}."
        )
    for port in tx.select(Port, network_id=network.id):
        ports.delete_port(tx, port, service=True)
    for subnet in tx.select(Subnet, network_id=network.id):
        subnets.drop(tx, subnet)
    tx.remove_where(Rbac, object_id=network.id)
    tx.remove_where(DhcpExclusion, network_id=network.id)
    tx.remove_where(AutoTopology, network_id=network.id)
    tx.remove(network)
    network_quota.refund(tx, network.project_id, "network")


def ensure_external(
    tx: Tx, *, cidr: str, name: str = "public", physical_network: str = "external", mtu: int = 1500
) -> Network:
    """The cloud's external network with its subnet, made once. The gateway is the first host; no DHCP.

    Raises Invalid where the CIDR is too small for 20 addresses.
    """
    known = tx.first(Network, network_type="flat", physical_network=physical_network)
    project = tx.first(Project, name="admin")
    owner = project.id if project else ""
    if known is None:
        known = create_network(
            tx,
            project_id=owner,
            name=name,
            mtu=mtu,
            external=True,
            default=True,
            network_type="flat",
            physical_network=physical_network,
        )
    if tx.first(Subnet, network_id=known.id) is None:
        network = ipaddress.ip_network(cidr)
        if network.num_addresses < 24:
            raise InvalidInput(
                f"The external network {cidr} is too small.", hint="Give external_cidr at least a /27.", field="cidr"
            )
        # the first addresses are left to the host itself and to what people put there by hand
        first = 10 if network.num_addresses >= 64 else 2
        subnets.create_subnet(
            tx,
            known,
            project_id=owner,
            name=f"{name}-subnet",
            cidr=cidr,
            gateway=str(network[1]),
            pools=(AllocationPool(start=str(network[first]), end=str(network[-2])),),
            dhcp=False,
        )
    return known
