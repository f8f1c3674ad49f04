"""Floating IPs: an address of an external network, put on a port that a router there reaches."""

from __future__ import annotations

import ipaddress

from msgspec import UNSET, UnsetType

from trilith.commands import network_quota, ports, routers
from trilith.commands.addresses import Address
from trilith.commands.network_faults import (
    BadRequest,
    ExternalGatewayForFloatingIPNotFound,
    FipInUseByPortForwarding,
    FloatingIPPortAlreadyAssociated,
    IpAddressGenerationFailure,
    NetworkNotFound,
    PortHasPortForwarding,
)
from trilith.commands.network_generation import bump
from trilith.model.network import FixedIp, FloatingIp, IpAddress, Network, Port, Router, Subnet
from trilith.model.network_forwarding import PortForwarding
from trilith.store.tx import Tx, new_id


def create(
    tx: Tx,
    *,
    project_id: str,
    network_id: str,
    subnet_id: str = "",
    address: str = "",
    port: Port | None = None,
    fixed_ip_address: str = "",
    description: str = "",
    dns_name: str = "",
    dns_domain: str = "",
    qos_policy_id: str = "",
    tags: tuple[str, ...] = (),
) -> FloatingIp:
    """address: this very one, else any free. Raises BadRequest (no external network), OverQuota,
    IpAddressAlreadyAllocated, IpAddressGenerationFailure and what associate does."""
    network = tx.find(Network, network_id)
    if network is None:
        raise NetworkNotFound(f"Network {network_id} could not be found.", field="floating_network_id")
    if not network.external:
        raise BadRequest(
            f"Bad floatingip request: Network {network_id} is not a valid external network.",
            field="floating_network_id",
        )
    network_quota.charge(tx, project_id, "floatingip")
    id = new_id()
    outside = ports.create_port(
        tx,
        project_id="",
        network_id=network.id,
        network=network,
        device_id=id,
        device_owner=ports.FLOATING_IP,
        fixed_ips=_outside(tx, network, subnet_id, address),
    )
    ip = next((ip for ip in outside.fixed_ips if "." in ip.ip_address), None)
    if ip is None:
        raise IpAddressGenerationFailure(f"No more IP addresses available on network {network.id}.")
    floating = tx.add(
        FloatingIp(
            id=id,
            project_id=project_id,
            floating_network_id=network.id,
            floating_ip_address=ip.ip_address,
            floating_port_id=outside.id,
            floating_subnet_id=ip.subnet_id,
            description=description,
            dns_name=dns_name,
            dns_domain=dns_domain,
            qos_policy_id=qos_policy_id,
            tags=tags,
        )
    )
    return floating if port is None else associate(tx, floating, port, fixed_ip_address)


def _outside(tx: Tx, network: Network, subnet_id: str, address: str) -> tuple[FixedIp, ...]:
    subnets = tx.select(Subnet, network_id=network.id, ip_version=4)
    if address:
        return (FixedIp(subnet_id=subnet_id, ip_address=address),)
    if subnet_id:
        return (FixedIp(subnet_id=subnet_id, ip_address=""),)
    if not subnets:
        raise BadRequest(
            f"Bad floatingip request: Network {network.id} does not contain any IPv4 subnet.",
            field="floating_network_id",
        )
    return _first_with_room(tx, subnets)


def _first_with_room(tx: Tx, subnets: list[Subnet]) -> tuple[FixedIp, ...]:
    for subnet in subnets[:-1]:
        size = sum(int(_ip(p.end)) - int(_ip(p.start)) + 1 for p in subnet.pools)
        if tx.count(IpAddress, subnet_id=subnet.id) < size:
            return (FixedIp(subnet_id=subnet.id, ip_address=""),)
    return (FixedIp(subnet_id=subnets[-1].id, ip_address=""),)


def _ip(text: str) -> Address:
    return ipaddress.ip_address(text)


def associate(tx: Tx, floating: FloatingIp, port: Port, fixed_ip_address: str = "") -> FloatingIp:
    """Put it on a port's IPv4 address (of several it must be named), taking it from where it was.

    Raises BadRequest, ExternalGatewayForFloatingIPNotFound, FloatingIPPortAlreadyAssociated, PortHasPortForwarding (the
    port answers behind another floating IP), FipInUseByPortForwarding.
    """
    if tx.first(PortForwarding, floating_ip_id=floating.id):
        raise FipInUseByPortForwarding(
            f"Floating IP {floating.id} in use by port forwarding resources.", hint="Delete them first."
        )
    ip = _inside(port, fixed_ip_address)
    other = tx.first(
        FloatingIp,
        port_id=port.id,
        fixed_ip_address=ip.ip_address,
        floating_network_id=floating.floating_network_id,
    )
    if other is not None and other.id != floating.id:
        raise FloatingIPPortAlreadyAssociated(
            f"Cannot associate floating IP {floating.floating_ip_address} ({floating.id}) with port {port.id} using "
            f"fixed IP {ip.ip_address}, as that fixed IP already has a floating IP on external network "
            f"{floating.floating_network_id}."
        )
    if tx.first(PortForwarding, internal_port_id=port.id, internal_ip_address=ip.ip_address):
        raise PortHasPortForwarding(
            f"Cannot associate floating IP {floating.floating_ip_address} with port {port.id} using fixed IP "
            f"{ip.ip_address}, as that fixed IP already has port forwardings.",
            hint="Delete them first.",
        )
    router = routers.behind(tx, ip.subnet_id, floating.floating_network_id)
    if router is None:
        raise ExternalGatewayForFloatingIPNotFound(
            f"External network {floating.floating_network_id} is not reachable from subnet {ip.subnet_id}. Therefore, "
            f"cannot associate Port {port.id} with a Floating IP.",
            hint="Give the subnet's router a gateway on that network.",
        )
    before = floating.router_id
    if (floating.port_id, floating.fixed_ip_address, before) == (port.id, ip.ip_address, router.id):
        return floating
    floating = tx.change(floating, port_id=port.id, fixed_ip_address=ip.ip_address, router_id=router.id, status="DOWN")
    bump(tx, Router, [before, router.id])
    return floating


def _inside(port: Port, wanted: str) -> FixedIp:
    own = [ip for ip in port.fixed_ips if "." in ip.ip_address]
    if wanted:
        for ip in own:
            if ip.ip_address == wanted:
                return ip
        raise BadRequest(
            f"Bad floatingip request: Port {port.id} does not have fixed ip {wanted}.", field="fixed_ip_address"
        )
    if not own:
        raise BadRequest(
            f"Bad floatingip request: Cannot add floating IP to port {port.id} that has no fixed IPv4 addresses.",
            field="port_id",
        )
    if len(own) > 1:
        raise BadRequest(
            f"Bad floatingip request: Port {port.id} has multiple fixed IPv4 addresses. Must provide a specific IPv4 "
            "address when assigning a floating IP.",
            field="fixed_ip_address",
        )
    return own[0]


def disassociate(tx: Tx, floating: FloatingIp) -> FloatingIp:
    """Idempotent."""
    if not floating.port_id:
        return floating
    router = floating.router_id
    floating = tx.change(floating, port_id="", fixed_ip_address="", router_id="", status="DOWN")
    bump(tx, Router, [router])
    return floating


def update(
    tx: Tx,
    floating: FloatingIp,
    *,
    port: Port | UnsetType | None = UNSET,
    fixed_ip_address: str = "",
    description: str | UnsetType = UNSET,
    qos_policy_id: str | UnsetType = UNSET,
) -> FloatingIp:
    """port None takes it away; UNSET leaves it."""
    if description is not UNSET and description != floating.description:
        floating = tx.change(floating, description=description)
    if qos_policy_id is not UNSET and qos_policy_id != floating.qos_policy_id:
        floating = tx.change(floating, qos_policy_id=qos_policy_id)
        bump(tx, Router, [floating.router_id])
    if port is UNSET:
        return floating
    return disassociate(tx, floating) if port is None else associate(tx, floating, port, fixed_ip_address)


def delete(tx: Tx, floating: FloatingIp) -> None:
    for rule in tx.select(PortForwarding, floating_ip_id=floating.id):
        ports.drop_forwarding(tx, rule)
    floating = disassociate(tx, tx.get(FloatingIp, floating.id))
    outside = tx.find(Port, floating.floating_port_id)
    if outside is not None:
        ports.delete_port(tx, outside, service=True)
    tx.remove(floating)
    network_quota.refund(tx, floating.project_id, "floatingip")
