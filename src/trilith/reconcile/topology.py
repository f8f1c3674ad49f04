"""Rows of the network nouns into what the network driver is asked to make: a few statements a batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from trilith.commands.ports import METADATA, SERVICE_OWNERS
from trilith.config import Settings
from trilith.model.network import (
    DhcpExclusion,
    Network,
    Port,
    Router,
    SecurityGroup,
    Subnet,
    domain_of,
    guest_dns,
)
from trilith.model.network_access import AddressGroup
from trilith.model.network_trunks import SubPort, Trunk
from trilith.model.topology import NetworkSpec, Noun, PortSpec, SubnetSpec
from trilith.reconcile.topology_groups import address_groups, groups
from trilith.reconcile.topology_qos import by, limits
from trilith.reconcile.topology_routers import routers
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

#: ids in one IN list: SQLite takes 32,766 parameters, and plans grow with them
_CHUNK = 500

#: kinds as the driver names them, roots first → the noun
KINDS: dict[str, type[Network | Port | Router | SecurityGroup | AddressGroup]] = {
    "network": Network,
    "address_group": AddressGroup,
    "security_group": SecurityGroup,
    "port": Port,
    "router": Router,
}


def has_switch_port(port: Port) -> bool:
    """Service ports belong to the specs of what they serve."""
    return port.device_owner not in SERVICE_OWNERS


def build(reader: Reader, settings: Settings, kind: str, ids: Sequence[str]) -> list[Noun]:
    """The specs of one kind; ids without a row are left out."""
    made: list[Noun] = []
    for at in range(0, len(ids), _CHUNK):
        part = ids[at : at + _CHUNK]
        match kind:
            case "network":
                made += networks(reader, settings, part)
            case "port":
                made += ports(reader, part)
            case "router":
                made += routers(reader, part)
            case "address_group":
                made += address_groups(reader, part)
            case _:
                made += groups(reader, part)
    return made


def networks(reader: Reader, settings: Settings, ids: Sequence[str]) -> list[NetworkSpec]:
    found = reader.select(Network, id=ids)
    subnets = by(reader.select(Subnet, network_id=ids), "network_id")
    t = REGISTRY[Port].table.c
    metadata = {p.network_id: p for p in reader.select(Port, network_id=ids, device_owner=METADATA)}
    named = reader.conn.execute(
        sa.select(t.network_id, t.dns_name, t.fixed_ips).where(t.network_id.in_(ids), t.dns_name != "").order_by(t.seq)
    )
    names: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for network_id, name, fixed_ips in named:
        names[network_id][name.lower()] += [ip.ip_address for ip in fixed_ips]
    made = []
    for network in found:
        port = metadata.get(network.id)
        local = {ip.subnet_id: ip.ip_address for ip in port.fixed_ips} if port else {}
        made.append(
            NetworkSpec(
                id=network.id,
                revision=network.generation,
                name=network.name,
                mtu=network.mtu,
                subnets=tuple(_subnet(s, settings, local.get(s.id, "")) for s in subnets[network.id]),
                physical_network=network.physical_network,
                segmentation=network.segmentation_id if network.network_type == "vlan" else 0,
                external=network.external,
                dns_domain=domain_of(network),
                names=tuple(_names(names[network.id], domain_of(network))),
                metadata_port_id=network.metadata_port_id,
                metadata_mac=network.metadata_mac,
                admin_up=network.admin_up,
            )
        )
    return made


def _subnet(subnet: Subnet, settings: Settings, metadata_ip: str) -> SubnetSpec:
    return SubnetSpec(
        id=subnet.id,
        cidr=subnet.cidr,
        gateway=subnet.gateway,
        dhcp=subnet.dhcp,
        dns=guest_dns(subnet, settings.dns, settings.external_cidr),
        routes=tuple((r.destination, r.nexthop) for r in subnet.routes),
        ipv6_address_mode=subnet.ipv6_address_mode,
        ipv6_ra_mode=subnet.ipv6_ra_mode,
        metadata_ip=metadata_ip,
    )


def _names(names: dict[str, list[str]], domain: str) -> Iterable[tuple[str, tuple[str, ...]]]:
    for name, addresses in names.items():
        if addresses:
            yield name, tuple(addresses)
            yield f"{name}.{domain}", tuple(addresses)


def ports(reader: Reader, ids: Sequence[str]) -> list[PortSpec]:
    found = [p for p in reader.select(Port, id=ids) if has_switch_port(p)]
    networks_of = {p.network_id for p in found}
    silent = {(e.network_id, e.node) for e in reader.select(DhcpExclusion, network_id=networks_of)}
    shared = {n.id: n.qos_policy_id for n in reader.select(Network, id=networks_of) if n.qos_policy_id}
    policies = {p.id: p.qos_policy_id or _inherited(p, shared) for p in found}
    rules = limits(reader, policies.values())
    carried = _carried(reader, found)
    return [
        PortSpec(
            id=port.id,
            revision=port.generation,
            network_id=port.network_id,
            mac=port.mac_address,
            addresses=tuple((ip.subnet_id, ip.ip_address) for ip in port.fixed_ips),
            security_groups=port.security_groups,
            port_security=port.port_security,
            allowed_address_pairs=tuple((p.mac_address, p.ip_address) for p in port.allowed_address_pairs),
            admin_up=port.admin_up,
            device_id=port.device_id,
            device_owner=port.device_owner,
            host=port.host,
            hostname=port.dns_name,
            dhcp_options=tuple((o.opt_name, o.opt_value, o.ip_version) for o in port.dhcp_options),
            dhcp=not any((port.network_id, host) in silent for host in port.host.split(",")),
            qos=rules.get(policies[port.id], ()),
            parent=carried.get(port.id, ("", 0))[0],
            vlan=carried.get(port.id, ("", 0))[1],
        )
        for port in found
    ]


def _inherited(port: Port, shared: dict[str, str]) -> str:
    """The network's policy is for guests' ports (Neutron: not for ports of the network's own services)."""
    return "" if port.device_owner.startswith("network:") else shared.get(port.network_id, "")


def _carried(reader: Reader, found: Sequence[Port]) -> dict[str, tuple[str, int]]:
    """Port inside a trunk that is up → the trunk's own port, and the tag on it."""
    inside = reader.select(SubPort, port_id=[p.id for p in found])
    trunks = {t.id: t for t in reader.select(Trunk, id={s.trunk_id for s in inside})} if inside else {}
    return {s.port_id: (trunks[s.trunk_id].port_id, s.segmentation_id) for s in inside if s.trunk_id in trunks}
