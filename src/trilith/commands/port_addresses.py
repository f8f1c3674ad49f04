"""Which addresses a port has: those asked for, or one a version, and those that guests make themselves."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from trilith.commands import addresses
from trilith.commands.network_faults import (
    AllocationOnAutoAddressSubnet,
    InvalidInput,
    InvalidIpForNetwork,
    InvalidIpForSubnet,
    IpAddressGenerationFailure,
)
from trilith.model.network import FixedIp, Subnet
from trilith.store.tx import Reader, Tx


def subnets_of(reader: Reader, network_id: str) -> list[Subnet]:
    return reader.select(Subnet, network_id=network_id)


def assign(
    tx: Tx,
    subnets: Sequence[Subnet],
    port_id: str,
    mac: str,
    device_owner: str,
    network_id: str,
    *,
    wanted: Sequence[FixedIp] | None,
    had: Sequence[FixedIp] = (),
    lowest: bool = False,
) -> tuple[FixedIp, ...]:
    """Claim what is wanted and release what is had and no longer wanted. None: automatic.

    A wanted item that names only its subnet keeps an address of that subnet which the port has.
    """
    router = device_owner.startswith("network:router")
    if wanted is None:
        made = _automatic(tx, subnets, port_id, device_owner, lowest=lowest)
    else:
        made = _wanted(tx, subnets, port_id, mac, network_id, wanted, had, router=router, lowest=lowest)
    if not router and (wanted is None or wanted) and device_owner not in ("network:distributed", "network:floatingip"):
        # guests make these by themselves, whatever was asked for
        covered = {ip.subnet_id for ip in made}
        for subnet in subnets:
            if addresses.is_auto(subnet) and subnet.id not in covered and _serves(subnet, device_owner):
                ip = FixedIp(subnet_id=subnet.id, ip_address=addresses.eui64(subnet.cidr, mac))
                if ip not in had:
                    addresses.claim(tx, subnet, port_id, ip.ip_address)
                made.append(ip)
    for ip in had:
        if ip not in made:
            addresses.release_ip(tx, ip.subnet_id, ip.ip_address)
    return tuple(made)


def _serves(subnet: Subnet, device_owner: str) -> bool:
    return not subnet.service_types or any(
        device_owner == kind or device_owner.startswith(kind) for kind in subnet.service_types
    )


def _automatic(tx: Tx, subnets: Sequence[Subnet], port_id: str, device_owner: str, *, lowest: bool) -> list[FixedIp]:
    """One IPv4 address, and one IPv6 address where the cloud hands them out."""
    made: list[FixedIp] = []
    usable = [s for s in subnets if _serves(s, device_owner) and not addresses.is_auto(s)]
    for version in (4, 6):
        mine = [s for s in usable if s.ip_version == version]
        for at, subnet in enumerate(mine):
            try:
                address = addresses.allocate(tx, subnet, port_id, lowest=lowest)
            except IpAddressGenerationFailure:
                if at == len(mine) - 1:
                    raise
                continue
            made.append(FixedIp(subnet_id=subnet.id, ip_address=address))
            break
    return made


def _wanted(
    tx: Tx,
    subnets: Sequence[Subnet],
    port_id: str,
    mac: str,
    network_id: str,
    wanted: Sequence[FixedIp],
    had: Sequence[FixedIp],
    *,
    router: bool,
    lowest: bool,
) -> list[FixedIp]:
    by_id = {s.id: s for s in subnets}
    made: list[FixedIp] = []
    exact = {ip.ip_address for ip in wanted if ip.ip_address}
    spare = [ip for ip in had if ip.ip_address not in exact]
    for item in wanted:
        if not item.subnet_id and not item.ip_address:
            raise InvalidInput("IP allocation requires subnet_id or ip_address.", field="fixed_ips")
        if item.subnet_id and item.subnet_id not in by_id:
            raise InvalidInput(
                f"Invalid input for operation: Failed to create port on network {network_id}, because fixed_ips "
                f"included invalid subnet {item.subnet_id}.",
                field="fixed_ips",
            )
        if not item.ip_address:
            subnet = by_id[item.subnet_id]
            kept = next((ip for ip in spare if ip.subnet_id == subnet.id), None)
            if kept is not None:
                spare.remove(kept)
                made.append(kept)
            elif addresses.is_auto(subnet) and not router:
                own = addresses.eui64(subnet.cidr, mac)
                addresses.claim(tx, subnet, port_id, own)
                made.append(FixedIp(subnet_id=subnet.id, ip_address=own))
            else:
                found = addresses.allocate(tx, subnet, port_id, lowest=lowest)
                made.append(FixedIp(subnet_id=subnet.id, ip_address=found))
            continue
        address = _parse(item.ip_address)
        subnet = _holding(subnets, by_id, item.subnet_id, address)
        ip = FixedIp(subnet_id=subnet.id, ip_address=str(address))
        if ip in made:
            raise InvalidInput(f"Duplicate IP address '{address}'.", field="fixed_ips")
        if ip not in had:
            _check_free_form(subnet, address, mac, router=router)
            addresses.claim(tx, subnet, port_id, str(address))
        made.append(ip)
    return made


def _parse(text: str) -> addresses.Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError as err:
        raise InvalidInput(
            f"Invalid input for fixed_ips. Reason: '{text}' is not a valid IP address.", field="fixed_ips"
        ) from err


def _holding(subnets: Sequence[Subnet], by_id: dict[str, Subnet], subnet_id: str, address: addresses.Address) -> Subnet:
    if subnet_id:
        subnet = by_id[subnet_id]
        if address not in ipaddress.ip_network(subnet.cidr):
            raise InvalidIpForSubnet(
                f"IP address {address} is not a valid IP for the specified subnet.", field="fixed_ips"
            )
        return subnet
    for subnet in subnets:
        if address in ipaddress.ip_network(subnet.cidr):
            return subnet
    raise InvalidIpForNetwork(
        f"IP address {address} is not a valid IP for any of the subnets on the specified network.", field="fixed_ips"
    )


def _check_free_form(subnet: Subnet, address: addresses.Address, mac: str, *, router: bool) -> None:
    if addresses.is_auto(subnet) and not router and str(address) != addresses.eui64(subnet.cidr, mac):
        raise AllocationOnAutoAddressSubnet(
            f"IPv6 address {address} cannot be directly assigned to a port on subnet {subnet.id} as the subnet is "
            "configured for automatic addresses",
            field="fixed_ips",
        )
    network = ipaddress.ip_network(subnet.cidr)
    hosts = network.max_prefixlen - network.prefixlen
    edge = {network.network_address} | ({network.broadcast_address} if network.version == 4 else set())
    if hosts > 1 and address in edge:
        raise InvalidIpForSubnet(f"IP address {address} is not a valid IP for the specified subnet.", field="fixed_ips")
