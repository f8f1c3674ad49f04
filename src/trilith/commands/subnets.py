"""Subnets: prefixes, gateways, pools and what guests are told, by Neutron's rules (ipam and db_base_plugin)."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import UNSET, UnsetType

from trilith.commands import addresses, network_quota, ports
from trilith.commands.network_faults import (
    BadRequest,
    GatewayConflictWithAllocationPools,
    InvalidAllocationPool,
    InvalidInput,
    IpAddressGenerationFailure,
    IpAddressInUse,
    NetworkNotFound,
    OutOfBoundsAllocationPool,
    OverlappingAllocationPools,
    SubnetInUse,
)
from trilith.commands.network_generation import bump
from trilith.model.network import AllocationPool, FixedIp, HostRoute, IpAddress, Network, Port, Router, Subnet
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Tx, new_id

MODES = ("slaac", "dhcpv6-stateful", "dhcpv6-stateless")
#: Neutron's own bounds
_MAX_DNS = 5
_MAX_ROUTES = 20
_MAX_SUBNETS = 200


def create_subnet(
    tx: Tx,
    network: Network,
    *,
    project_id: str,
    cidr: str,
    ip_version: int | None = None,
    name: str = "",
    description: str = "",
    gateway: str | UnsetType | None = UNSET,
    pools: Sequence[AllocationPool] | None = None,
    dhcp: bool = True,
    dns: Sequence[str] = (),
    routes: Sequence[HostRoute] = (),
    ipv6_address_mode: str = "",
    ipv6_ra_mode: str = "",
    subnetpool_id: str = "",
    service_types: tuple[str, ...] = (),
    dns_publish_fixed_ip: bool = False,
    tags: tuple[str, ...] = (),
) -> Subnet:
    """gateway: UNSET is the first address, None is none. Raises InvalidInput and the pools' own classes, OverQuota."""
    prefix = parse_cidr(cidr)
    if ip_version is not None and ip_version != prefix.version:
        raise InvalidInput(
            f"Invalid input for operation: cidr {cidr} does not match the ip_version '{ip_version}'.", field="cidr"
        )
    # alone: of two subnets at once that overlap the second finds the first
    if not tx.hold(network):
        raise NetworkNotFound(f"Network {network.id} could not be found.", field="network_id")
    _check_overlap(tx, network, prefix)
    _check_modes(prefix, ipv6_ra_mode, ipv6_address_mode, dhcp)
    gateway_ip = _gateway(prefix, gateway)
    chosen = addresses.default_pools(prefix, gateway_ip) if pools is None else check_pools(prefix, pools, gateway_ip)
    _check_told(prefix, dns, routes)
    network_quota.charge(tx, project_id, "subnet")
    subnet = tx.add(
        Subnet(
            id=new_id(),
            name=name,
            project_id=project_id,
            network_id=network.id,
            cidr=str(prefix),
            ip_version=prefix.version,
            gateway=gateway_ip,
            dhcp=dhcp,
            dns=tuple(dns),
            pools=chosen,
            routes=tuple(routes),
            description=description,
            ipv6_address_mode=ipv6_address_mode,
            ipv6_ra_mode=ipv6_ra_mode,
            subnetpool_id=subnetpool_id,
            service_types=service_types,
            dns_publish_fixed_ip=dns_publish_fixed_ip,
            tags=tags,
        )
    )
    _metadata_address(tx, network, subnet)
    if addresses.is_auto(subnet):
        _address_known_ports(tx, subnet)
    _network_changed(tx, network.id)
    return subnet


def update_subnet(
    tx: Tx,
    subnet: Subnet,
    *,
    name: str | UnsetType = UNSET,
    description: str | UnsetType = UNSET,
    gateway: str | UnsetType | None = UNSET,
    pools: Sequence[AllocationPool] | UnsetType = UNSET,
    dhcp: bool | UnsetType = UNSET,
    dns: Sequence[str] | UnsetType = UNSET,
    routes: Sequence[HostRoute] | UnsetType = UNSET,
    service_types: tuple[str, ...] | UnsetType = UNSET,
    dns_publish_fixed_ip: bool | UnsetType = UNSET,
) -> Subnet:
    """Raises what create_subnet does, and IpAddressInUse for a gateway that a router's port still is."""
    prefix = ipaddress.ip_network(subnet.cidr)
    given: dict[str, Any] = {
        "name": name,
        "description": description,
        "dhcp": dhcp,
        "service_types": service_types,
        "dns_publish_fixed_ip": dns_publish_fixed_ip,
    }
    changes = {field: value for field, value in given.items() if value is not UNSET}
    if dns is not UNSET:
        changes["dns"] = tuple(dns)
    if routes is not UNSET:
        changes["routes"] = tuple(routes)
    if gateway is not UNSET:
        changes["gateway"] = _gateway(prefix, gateway)
    gateway_ip = str(changes.get("gateway", subnet.gateway))
    if pools is not UNSET:
        changes["pools"] = check_pools(prefix, pools, gateway_ip)
    elif gateway_ip != subnet.gateway:
        check_pools(prefix, subnet.pools, gateway_ip)
    if gateway_ip != subnet.gateway and subnet.gateway:
        _check_gateway_free(tx, subnet)
    _check_modes(prefix, subnet.ipv6_ra_mode, subnet.ipv6_address_mode, bool(changes.get("dhcp", subnet.dhcp)))
    _check_told(prefix, changes.get("dns", subnet.dns), changes.get("routes", subnet.routes))
    changes = {f: v for f, v in changes.items() if v != getattr(subnet, f)}
    if not changes:
        return subnet
    subnet = tx.change(subnet, **changes)
    if "dhcp" in changes:
        _metadata_address(tx, tx.get(Network, subnet.network_id), subnet)
    if changes.keys() & {"dhcp", "dns", "routes", "gateway"}:
        # a port refers to its subnet's DHCP row, or holds a copy of it with options of its own
        bump(tx, Port, _ports_on(tx, subnet.id) if "dhcp" in changes else _ports_with_options(tx, subnet.id))
    if "gateway" in changes:
        bump(tx, Router, [r.id for r in tx.select(Router, external_network_id=subnet.network_id)])
    _network_changed(tx, subnet.network_id)
    return subnet


def delete_subnet(tx: Tx, subnet: Subnet) -> None:
    """Addresses that guests make themselves go with it. Raises SubnetInUse for any other."""
    tx.hold(tx.get(Network, subnet.network_id))
    users = tx.select(Port, id=_ports_on(tx, subnet.id))
    for port in users:
        own_making = addresses.is_auto(subnet) and not port.device_owner.startswith("network:router")
        if not own_making and port.device_owner not in (ports.METADATA, "network:dhcp"):
            raise SubnetInUse(
                f"Unable to complete operation on subnet {subnet.id}: One or more ports have an IP allocation from "
                "this subnet."
            )
    drop(tx, subnet)  # first: as long as it is there, guests' own addresses in it are given again
    for port in users:
        ports.update_port(tx, port, fixed_ips=[ip for ip in port.fixed_ips if ip.subnet_id != subnet.id])
    _network_changed(tx, subnet.network_id)


def drop(tx: Tx, subnet: Subnet) -> None:
    """The row and its count; whoever calls has seen to the ports."""
    tx.remove_where(IpAddress, subnet_id=subnet.id)
    tx.remove(subnet)
    network_quota.refund(tx, subnet.project_id, "subnet")


def parse_cidr(cidr: str) -> addresses.Network:
    """Raises InvalidInput for what is no network address."""
    try:
        loose = ipaddress.ip_network(cidr, strict=False)
    except ValueError as err:
        raise InvalidInput(f"Invalid input for cidr. Reason: '{cidr}' is not a valid IP subnet.", field="cidr") from err
    if ipaddress.ip_address(cidr.partition("/")[0]) != loose.network_address or "/" not in cidr:
        raise InvalidInput(
            f"Invalid input for cidr. Reason: '{cidr}' isn't a recognized IP subnet cidr, '{loose}' is recommended.",
            field="cidr",
        )
    if loose.prefixlen == 0 or loose.is_multicast or loose.is_loopback or loose.is_link_local:
        raise InvalidInput(f"Invalid input for operation: Invalid CIDR {cidr} for subnet.", field="cidr")
    return loose


def check_pools(prefix: addresses.Network, pools: Sequence[AllocationPool], gateway: str) -> tuple[AllocationPool, ...]:
    """The pools in canonical form. Raises Invalid…, OutOfBounds…, Overlapping… and GatewayConflict…"""
    ranges: list[tuple[int, int]] = []
    whole = addresses.default_pools(prefix, "")[0]
    first, last = int(ipaddress.ip_address(whole.start)), int(ipaddress.ip_address(whole.end))
    for pool in pools:
        try:
            low, high = ipaddress.ip_address(pool.start), ipaddress.ip_address(pool.end)
        except ValueError as err:
            raise InvalidAllocationPool(f"The allocation pool {pool.start}-{pool.end} is not valid.") from err
        if low.version != prefix.version or high.version != prefix.version or int(low) > int(high):
            raise InvalidAllocationPool(f"The allocation pool {pool.start}-{pool.end} is not valid.")
        if int(low) < first or int(high) > last:
            raise OutOfBoundsAllocationPool(
                f"The allocation pool {pool.start}-{pool.end} spans beyond the subnet cidr {prefix}."
            )
        if gateway and int(low) <= int(ipaddress.ip_address(gateway)) <= int(high):
            raise GatewayConflictWithAllocationPools(
                f"Gateway ip {gateway} conflicts with allocation pool {pool.start}-{pool.end}."
            )
        ranges.append((int(low), int(high)))
    ranges.sort()
    if any(one[1] >= other[0] for one, other in itertools.pairwise(ranges)):
        raise OverlappingAllocationPools(f"Found overlapping allocation pools for subnet {prefix}.")
    make = type(prefix.network_address)
    return tuple(AllocationPool(start=str(make(low)), end=str(make(high))) for low, high in ranges)


def _check_overlap(tx: Tx, network: Network, prefix: addresses.Network) -> None:
    known = tx.select(Subnet, network_id=network.id)
    if len(known) >= _MAX_SUBNETS:
        raise BadRequest(f"Network {network.id} has {len(known)} subnets, more than it may.")
    for other in known:
        if other.ip_version == prefix.version and ipaddress.ip_network(other.cidr).overlaps(prefix):
            raise InvalidInput(
                f"Invalid input for operation: Requested subnet with cidr: {prefix} for network: {network.id} "
                "overlaps with another subnet.",
                field="cidr",
            )


def _check_modes(prefix: addresses.Network, ra_mode: str, address_mode: str, dhcp: bool) -> None:
    """The rules of Neutron's _validate_ipv6_attributes and _validate_eui64_applicable."""
    if not ra_mode and not address_mode:
        return
    if prefix.version == 4:
        raise InvalidInput(
            "Invalid input for operation: ipv6_ra_mode or ipv6_address_mode cannot be set when ip_version is 4.",
            field="ipv6_ra_mode",
        )
    if not dhcp:
        raise InvalidInput(
            "Invalid input for operation: ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to "
            "False.",
            field="enable_dhcp",
        )
    if ra_mode and address_mode and ra_mode != address_mode:
        raise InvalidInput(
            f"Invalid input for operation: ipv6_ra_mode set to '{ra_mode}' with ipv6_address_mode set to "
            f"'{address_mode}' is not valid. If both attributes are set, they must be the same value.",
            field="ipv6_ra_mode",
        )
    if (ra_mode in addresses.AUTO_MODES or address_mode in addresses.AUTO_MODES) and prefix.prefixlen != 64:
        raise InvalidInput(
            f"Invalid input for operation: Invalid CIDR {prefix} for IPv6 address mode. OpenStack uses the EUI-64 "
            "address format, which requires the prefix to be /64.",
            field="cidr",
        )


def _gateway(prefix: addresses.Network, wanted: str | UnsetType | None) -> str:
    hosts = prefix.max_prefixlen - prefix.prefixlen
    if wanted is UNSET:
        return str(prefix[1]) if hosts > 1 else (str(prefix[0]) if hosts == 1 else "")
    if not wanted:
        return ""
    try:
        address = ipaddress.ip_address(wanted)
    except ValueError as err:
        raise InvalidInput(
            f"Invalid input for gateway_ip. Reason: '{wanted}' is not a valid IP address.", field="gateway_ip"
        ) from err
    edges = {prefix.network_address} | ({prefix.broadcast_address} if prefix.version == 4 else set())
    if address.version != prefix.version or (hosts > 1 and prefix.version == 4 and address in edges):
        raise InvalidInput(
            f"Invalid input for operation: Gateway {wanted} is not valid on subnet {prefix}.", field="gateway_ip"
        )
    return str(address)


def _check_told(prefix: addresses.Network, dns: Sequence[str], routes: Sequence[HostRoute]) -> None:
    if len(dns) > _MAX_DNS:
        raise BadRequest(f"The number of DNS nameservers exceeds the limit {_MAX_DNS}.", field="dns_nameservers")
    if len(routes) > _MAX_ROUTES:
        raise BadRequest(f"The number of host routes exceeds the limit {_MAX_ROUTES}.", field="host_routes")
    if len(set(dns)) != len(dns):
        raise InvalidInput("Invalid input for dns_nameservers. Duplicate items in the list.", field="dns_nameservers")
    for server in dns:
        _address_of(server, "dns_nameservers")
    for route in routes:
        hop = _address_of(route.nexthop, "host_routes")
        try:
            destination = ipaddress.ip_network(route.destination, strict=False)
        except ValueError as err:
            raise InvalidInput(
                f"Invalid input for host_routes. '{route.destination}' is not a valid IP subnet.", field="host_routes"
            ) from err
        if destination.version != prefix.version or hop.version != prefix.version:
            raise InvalidInput(
                "Invalid input for operation: host_routes must be of the subnet's ip_version.", field="host_routes"
            )


def _address_of(text: str, field: str) -> addresses.Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError as err:
        raise InvalidInput(
            f"Invalid input for {field}. Reason: '{text}' is not a valid IP address.", field=field
        ) from err


def _check_gateway_free(tx: Tx, subnet: Subnet) -> None:
    used = tx.first(IpAddress, subnet_id=subnet.id, address=subnet.gateway)
    port = tx.find(Port, used.port_id) if used else None
    if port is not None and port.device_owner.startswith("network:router"):
        raise IpAddressInUse(
            f"Current gateway ip {subnet.gateway} already in use by port {port.id}. Unable to update.",
            field="gateway_ip",
        )


def _metadata_address(tx: Tx, network: Network, subnet: Subnet) -> None:
    """The network's localport has an address in each IPv4 subnet with DHCP: guests' route to the metadata service."""
    port = tx.find(Port, network.metadata_port_id) if network.metadata_port_id else None
    if port is None or subnet.ip_version != 4:
        return
    others = [ip for ip in port.fixed_ips if ip.subnet_id != subnet.id]
    if not subnet.dhcp:
        ports.update_port(tx, port, fixed_ips=others)
    elif len(others) == len(port.fixed_ips):
        try:
            address = addresses.allocate(tx, subnet, port.id, lowest=True)
        except IpAddressGenerationFailure:
            return  # a pool too small for it: the link-local address alone serves then
        tx.change(port, fixed_ips=(*others, FixedIp(subnet_id=subnet.id, ip_address=address)))


def renew_metadata_port(tx: Tx, port: Port) -> None:
    """A network's localport that its owner deleted, as a clean-up of all ports does: the network gets another one, as
    from Neutron's maintenance, so that its servers keep their metadata service."""
    network = tx.get(Network, port.network_id)
    ports.delete_port(tx, port, service=True)
    fresh = ports.create_port(
        tx,
        project_id=port.project_id,
        network_id=network.id,
        network=network,
        device_id=port.device_id,
        device_owner=ports.METADATA,
        fixed_ips=(),
    )
    network = tx.change(network, metadata_port_id=fresh.id, metadata_mac=fresh.mac_address)
    for subnet in tx.select(Subnet, network_id=network.id):
        _metadata_address(tx, network, subnet)
    bump(tx, Network, [network.id])


def _address_known_ports(tx: Tx, subnet: Subnet) -> None:
    """Guests that are there already hear the new prefix advertised and take an address in it."""
    t = REGISTRY[Port].table.c
    for port in tx.select(Port, t.device_owner.not_in(ports.SERVICE_OWNERS), network_id=subnet.network_id):
        if port.fixed_ips:
            ports.update_port(tx, port, fixed_ips=port.fixed_ips)


def _ports_on(tx: Tx, subnet_id: str) -> list[str]:
    t = REGISTRY[IpAddress].table.c
    return list(tx.conn.execute(sa.select(t.port_id).where(t.subnet_id == subnet_id).distinct()).scalars())


def _ports_with_options(tx: Tx, subnet_id: str) -> list[str]:
    return [p.id for p in tx.select(Port, id=_ports_on(tx, subnet_id)) if p.dhcp_options]


def _network_changed(tx: Tx, network_id: str) -> None:
    """The network's revision_number grows with its subnets (Neutron's revisions plug-in), and its generation."""
    table = REGISTRY[Network].table
    tx.conn.execute(
        sa.update(table)
        .where(table.c.id == network_id)
        .values(revision=table.c.revision + 1, generation=table.c.generation + 1, updated_at=tx.now)
    )
    tx.touch("network", network_id)
