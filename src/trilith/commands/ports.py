"""Ports: made, changed, bound to nodes and deleted, with their addresses and what hangs on them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.commands import addresses, network_quota, security_groups
from trilith.commands.network_faults import (
    AddressPairAndPortSecurityRequired,
    InvalidInput,
    NetworkNotFound,
    PortInUse,
    PortNotFound,
    PortSecurityAndIPRequiredForSecurityGroups,
    PortSecurityPortHasSecurityGroup,
    ServicePortInUse,
)
from trilith.commands.network_generation import bump
from trilith.commands.port_addresses import assign, subnets_of
from trilith.commands.server_resources import refit_all
from trilith.model.dhcp_options import dhcp_option, known_option
from trilith.model.network import (
    AddressPair,
    DhcpOption,
    FixedIp,
    FloatingIp,
    Network,
    Port,
    Router,
    SecurityGroup,
)
from trilith.model.network_access import SecurityLog
from trilith.model.network_forwarding import PortForwarding
from trilith.model.network_trunks import SubPort, Trunk
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Tx, new_id

ROUTER_INTERFACE = "network:router_interface"
ROUTER_GATEWAY = "network:router_gateway"
FLOATING_IP = "network:floatingip"
METADATA = "network:distributed"
#: made and deleted with what they serve; a part of its spec, not a logical port of their own
SERVICE_OWNERS = (ROUTER_INTERFACE, ROUTER_GATEWAY, FLOATING_IP, METADATA)


def is_service(device_owner: str) -> bool:
    return device_owner in SERVICE_OWNERS


def create_port(
    tx: Tx,
    *,
    project_id: str,
    network_id: str,
    fixed_ip: str = "",
    security_groups: Sequence[str] | None = None,
    device_id: str = "",
    device_owner: str = "",
    dns_name: str = "",
    name: str = "",
    description: str = "",
    admin_up: bool = True,
    mac: str = "",
    fixed_ips: Sequence[FixedIp] | None = None,
    port_security: bool | None = None,
    allowed_address_pairs: Sequence[AddressPair] = (),
    dhcp_options: Sequence[DhcpOption] = (),
    dns_domain: str = "",
    host: str = "",
    vnic_type: str = "normal",
    binding_profile: Mapping[str, str] | None = None,
    tags: tuple[str, ...] = (),
    qos_policy_id: str = "",
    created_by_server: bool = False,
    network: Network | None = None,
    lowest: bool = False,
) -> Port:
    """A port with one address of each IP version, or those asked for.

    fixed_ips: parts left "" are chosen; () is none, None is automatic; fixed_ip is one address in short.
    security_groups: ids; None is the project's `default`. lowest: the first free address instead of a random one.
    Raises NetworkNotFound, SecurityGroupNotFound, MacAddressInUse, IpAddressAlreadyAllocated,
    IpAddressGenerationFailure, InvalidIpForSubnet, InvalidIpForNetwork, OverQuota, InvalidInput (DHCP options).
    """
    network = network or tx.find(Network, network_id)
    if network is None or (network.seq and not tx.hold(network, shared=True)):
        raise NetworkNotFound(f"Network {network_id} could not be found.", field="network_id")
    if not is_service(device_owner):
        network_quota.charge(tx, project_id, "port")
    trusted = device_owner.startswith("network:")
    guarded = (False if trusted else network.port_security) if port_security is None else port_security
    groups = _groups(tx, security_groups, project_id, guarded=guarded, trusted=trusted)
    if allowed_address_pairs and not guarded:
        raise AddressPairAndPortSecurityRequired(
            "Port Security must be enabled in order to have allowed address pairs on a port."
        )
    id = new_id()
    mac = addresses.claim_mac(tx, network.id, id, mac)
    if fixed_ip and fixed_ips is None:
        fixed_ips = (FixedIp(subnet_id="", ip_address=fixed_ip),)
    given = assign(tx, subnets_of(tx, network.id), id, mac, device_owner, network.id, wanted=fixed_ips, lowest=lowest)
    _check_options(dhcp_options, given)
    port = tx.add(
        Port(
            id=id,
            name=name,
            project_id=project_id,
            network_id=network.id,
            mac_address=mac,
            description=description,
            admin_up=admin_up,
            status="N/A" if device_owner == FLOATING_IP else "DOWN",
            fixed_ips=given,
            device_id=device_id,
            device_owner=device_owner,
            security_groups=groups,
            port_security=guarded,
            allowed_address_pairs=tuple(_pairs(allowed_address_pairs, mac)),
            dhcp_options=tuple(dhcp_options),
            dns_name=dns_name,
            dns_domain=dns_domain,
            host=host,
            vnic_type=vnic_type,
            binding_profile=dict(binding_profile or {}),
            tags=tags,
            qos_policy_id=qos_policy_id,
            created_by_server=created_by_server,
            # a service port is never a logical port of its own: nothing is to be applied for it
            generation=0 if is_service(device_owner) else 1,
        )
    )
    if dns_name and given:
        bump(tx, Network, [network.id])
    return port


def update_port(
    tx: Tx,
    port: Port,
    *,
    name: str | UnsetType = UNSET,
    description: str | UnsetType = UNSET,
    admin_up: bool | UnsetType = UNSET,
    mac: str | UnsetType = UNSET,
    fixed_ips: Sequence[FixedIp] | UnsetType = UNSET,
    security_groups: Sequence[str] | UnsetType = UNSET,
    port_security: bool | UnsetType = UNSET,
    allowed_address_pairs: Sequence[AddressPair] | UnsetType = UNSET,
    dhcp_options: Mapping[tuple[str, int], str | None] | UnsetType = UNSET,
    device_id: str | UnsetType = UNSET,
    device_owner: str | UnsetType = UNSET,
    dns_name: str | UnsetType = UNSET,
    dns_domain: str | UnsetType = UNSET,
    host: str | UnsetType = UNSET,
    vnic_type: str | UnsetType = UNSET,
    binding_profile: Mapping[str, str] | UnsetType = UNSET,
    qos_policy_id: str | UnsetType = UNSET,
    any_project: bool = False,
) -> Port:
    """dhcp_options: (name, IP version) → value, or None to take it away; others stay. Raises as create_port does."""
    given: dict[str, Any] = {
        "name": name,
        "description": description,
        "admin_up": admin_up,
        "device_id": device_id,
        "device_owner": device_owner,
        "dns_name": dns_name,
        "dns_domain": dns_domain,
        "host": host,
        "vnic_type": vnic_type,
        "port_security": port_security,
        "qos_policy_id": qos_policy_id,
    }
    changes = {field: value for field, value in given.items() if value is not UNSET}
    if binding_profile is not UNSET:
        changes["binding_profile"] = dict(binding_profile)
    guarded = bool(changes.get("port_security", port.port_security))
    if security_groups is not UNSET:
        changes["security_groups"] = _check(tx, security_groups, port.project_id, any_project)
    if not guarded and changes.get("security_groups", port.security_groups):
        raise PortSecurityPortHasSecurityGroup(
            "Port has security group associated. Cannot disable port security or ip address until security group "
            "is removed."
        )
    if mac is not UNSET and mac.lower() != port.mac_address:
        addresses.claim_mac(tx, port.network_id, port.id, mac)
        addresses.release_mac(tx, port.network_id, port.mac_address)
        changes["mac_address"] = mac.lower()
    mac_now = str(changes.get("mac_address", port.mac_address))
    if allowed_address_pairs is not UNSET:
        if allowed_address_pairs and not guarded:
            raise AddressPairAndPortSecurityRequired(
                "Port Security must be enabled in order to have allowed address pairs on a port."
            )
        changes["allowed_address_pairs"] = tuple(_pairs(allowed_address_pairs, mac_now))
    if dhcp_options is not UNSET:
        changes["dhcp_options"] = _merge(port.dhcp_options, dhcp_options)
    if fixed_ips is not UNSET:
        if fixed_ips:
            tx.hold(tx.get(Network, port.network_id), shared=True)  # before its subnets are looked at
        changes["fixed_ips"] = assign(
            tx,
            subnets_of(tx, port.network_id),
            port.id,
            mac_now,
            str(changes.get("device_owner", port.device_owner)),
            port.network_id,
            wanted=fixed_ips,
            had=port.fixed_ips,
        )
    changes = {field: value for field, value in changes.items() if value != getattr(port, field)}
    if not changes:
        return port
    if changes.keys() & {"dhcp_options", "fixed_ips"}:
        _check_options(changes.get("dhcp_options", port.dhcp_options), changes.get("fixed_ips", port.fixed_ips))
    before, port = port, tx.change(port, **changes)
    _spread(tx, before, port)
    if "qos_policy_id" in changes:
        refit_all(tx, [port])
    return port


#: columns that the backend's form of a port has no part of
_UNSEEN = {"name", "description", "vnic_type", "binding_profile", "dns_domain", "tags"}


def _spread(tx: Tx, before: Port, after: Port) -> None:
    """Let the backend make anew whatever the difference touches."""
    changed = {f for f in REGISTRY[Port].fields if getattr(before, f) != getattr(after, f)}
    changed -= {"revision", "updated_at", *_UNSEEN}
    if not changed:
        return
    if is_service(after.device_owner):
        if after.device_owner in (ROUTER_INTERFACE, ROUTER_GATEWAY):
            bump(tx, Router, [after.device_id])
        if after.device_owner == METADATA:
            bump(tx, Network, [after.network_id])
    else:
        bump(tx, Port, [after.id])
    if changed & {"dns_name", "fixed_ips", "host", "device_id"} and (before.dns_name or after.dns_name):
        bump(tx, Network, [after.network_id])
    if "fixed_ips" in changed:
        _drop_lost_floating_ips(tx, after)
        left = {ip.ip_address for ip in after.fixed_ips}
        for rule in tx.select(PortForwarding, internal_port_id=after.id):
            if rule.internal_ip_address not in left:
                drop_forwarding(tx, rule)
    if "host" in changed:
        _carry(tx, after)
    if "security_groups" in changed and tx.first(SecurityLog, target_id=after.id):
        bump(tx, SecurityGroup, (*before.security_groups, *after.security_groups))
    if "mac_address" in changed:
        bump(tx, Router, [f.router_id for f in tx.select(FloatingIp, port_id=after.id)])


def _drop_lost_floating_ips(tx: Tx, port: Port) -> None:
    """A floating IP whose fixed address is gone stays with nothing behind it."""
    left = {ip.ip_address for ip in port.fixed_ips}
    lost = [f for f in tx.select(FloatingIp, port_id=port.id) if f.fixed_ip_address not in left]
    _let_go(tx, lost)


def drop_forwarding(tx: Tx, rule: PortForwarding) -> None:
    """With its last one a floating IP has no router any more."""
    tx.remove(rule)
    bump(tx, Router, [rule.router_id])
    if not tx.first(PortForwarding, floating_ip_id=rule.floating_ip_id):
        floating = tx.find(FloatingIp, rule.floating_ip_id)
        if floating is not None and not floating.port_id:
            tx.change(floating, router_id="", status="DOWN")


def _carry(tx: Tx, parent: Port) -> None:
    """What a trunk carries is where its parent is."""
    trunk = tx.first(Trunk, port_id=parent.id)
    inside = tx.select(SubPort, trunk_id=trunk.id) if trunk is not None else []
    for port in tx.select(Port, id=[s.port_id for s in inside]):
        update_port(tx, port, host=parent.host)


def _let_go(tx: Tx, floating_ips: Sequence[FloatingIp]) -> None:
    for floating in floating_ips:
        tx.change(floating, port_id="", fixed_ip_address="", router_id="", status="DOWN")
    bump(tx, Router, [f.router_id for f in floating_ips])


def bind_port(tx: Tx, port: Port, host: str, device_id: str = "", device_owner: str = "", dns_name: str = "") -> Port:
    """Ask for the port on the node `host` ("" for none); what else is given says for which server. Idempotent."""
    port = update_port(
        tx,
        port,
        host=host,
        device_id=device_id or UNSET,
        device_owner=device_owner or UNSET,
        dns_name=dns_name or UNSET,
    )
    return port if host or port.status == "DOWN" else tx.change(port, status="DOWN")


def unbind(tx: Tx, port: Port) -> Port:
    """Take a port that outlives its server back: no node, no device."""
    port = update_port(tx, port, host="", device_id="", device_owner="", dns_name="")
    return port if port.status == "DOWN" else tx.change(port, status="DOWN")


def delete_port(tx: Tx, port: Port, *, service: bool = False) -> None:
    """Its addresses are free again and its floating IPs let go. service: by the owner of a service port.

    Raises ServicePortInUse for a router's or floating IP's port that is deleted for itself.
    """
    if is_service(port.device_owner) and not service:
        raise ServicePortInUse(
            f"Port {port.id} cannot be deleted directly via the port API: has device owner {port.device_owner}.",
            hint="Delete or change what it serves.",
        )
    if tx.first(Trunk, port_id=port.id) or tx.first(SubPort, port_id=port.id):
        raise PortInUse(
            f"Unable to complete operation on port {port.id} for network {port.network_id}. Port is in use by a trunk.",
            hint="Delete the trunk, or take the port from it.",
        )
    for rule in tx.select(PortForwarding, internal_port_id=port.id):
        drop_forwarding(tx, rule)
    _let_go(tx, tx.select(FloatingIp, port_id=port.id))
    addresses.release(tx, [port.id])
    tx.remove(port)
    if not is_service(port.device_owner):
        network_quota.refund(tx, port.project_id, "port")
    if port.dns_name and port.fixed_ips:
        bump(tx, Network, [port.network_id])


def get_port(tx: Tx, port_id: str) -> Port:
    """Raises PortNotFound."""
    port = tx.find(Port, port_id)
    if port is None:
        raise PortNotFound(f"Port {port_id} could not be found.")
    return port


def _groups(tx: Tx, wanted: Sequence[str] | None, project_id: str, *, guarded: bool, trusted: bool) -> tuple[str, ...]:
    if wanted is None:
        if trusted or not guarded or not project_id:
            return ()
        return (security_groups.default_group(tx, project_id).id,)
    if wanted and not guarded:
        raise PortSecurityAndIPRequiredForSecurityGroups(
            "Port security must be enabled and port must have an IP address in order to use security groups."
        )
    return _check(tx, wanted, project_id, tx.actor.is_admin)


def _check(tx: Tx, wanted: Sequence[str], project_id: str, any_project: bool) -> tuple[str, ...]:
    return security_groups.check_groups(tx, wanted, project_id, any_project=any_project)


def _pairs(pairs: Iterable[AddressPair], mac: str) -> list[AddressPair]:
    """The port's own MAC where none is given; each pair once."""
    filled = [replace(p, mac_address=(p.mac_address or mac).lower(), ip_address=_plain(p.ip_address)) for p in pairs]
    return list(dict.fromkeys(filled))


def _plain(address: str) -> str:
    return str(ipaddress.ip_network(address, strict=False)) if "/" in address else str(ipaddress.ip_address(address))


def _check_options(options: Iterable[DhcpOption], addresses: Iterable[FixedIp]) -> None:
    """Refused here, not found out by the backend later. Raises InvalidInput.

    A port asks DHCP of the versions of its addresses: values of another version are checked once it has one of that.
    """
    served = {6 if ":" in ip.ip_address else 4 for ip in addresses} or {4, 6}
    for option in options:
        try:
            known_option(option.opt_name, option.ip_version)
            if option.ip_version in served:
                dhcp_option(option.opt_name, option.opt_value, option.ip_version)
        except errors.TrilithError as err:
            raise InvalidInput(
                f"Invalid input for extra_dhcp_opts. Reason: {err.message}", hint=err.hint, field="extra_dhcp_opts"
            ) from err


def _merge(had: Sequence[DhcpOption], changes: Mapping[tuple[str, int], str | None]) -> tuple[DhcpOption, ...]:
    now = {(o.opt_name, o.ip_version): o for o in had}
    for (name, version), value in changes.items():
        if value is None:
            now.pop((name, version), None)
        else:
            now[name, version] = DhcpOption(opt_name=name, opt_value=value, ip_version=version)
    return tuple(now.values())
