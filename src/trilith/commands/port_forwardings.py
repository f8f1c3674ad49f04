"""Ports of a floating IP forwarded to guests: many guests behind one address, told apart by protocol and port."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from trilith.commands import ports, routers
from trilith.commands.network_faults import (
    BadRequest,
    ExternalGatewayForFloatingIPNotFound,
    FloatingIPPortAlreadyAssociated,
    PortForwardingExists,
    PortHasBindingFloatingIP,
)
from trilith.commands.network_generation import bump
from trilith.model.network import FloatingIp, Port, Router
from trilith.model.network_forwarding import PortForwarding
from trilith.store.tx import Tx, new_id


def create(
    tx: Tx,
    floating: FloatingIp,
    port: Port,
    *,
    protocol: str,
    external_port: int,
    internal_port: int,
    internal_ip_address: str = "",
    description: str = "",
) -> PortForwarding:
    """internal_ip_address "": the port's one IPv4 address. Raises FloatingIPPortAlreadyAssociated (the address is
    a port's as a whole), PortHasBindingFloatingIP, PortForwardingExists, ExternalGatewayForFloatingIPNotFound,
    BadRequest."""
    if floating.port_id:
        raise FloatingIPPortAlreadyAssociated(
            f"Floating IP {floating.floating_ip_address} ({floating.id}) is associated with port {floating.port_id}: "
            "its ports cannot be forwarded.",
            hint="Take it from the port first.",
        )
    address, router = _inner(tx, floating, port, internal_ip_address)
    rule = PortForwarding(
        id=new_id(),
        project_id=floating.project_id,
        floating_ip_id=floating.id,
        router_id=router.id,
        protocol=protocol,
        external_port=external_port,
        internal_port=internal_port,
        internal_port_id=port.id,
        internal_ip_address=address,
        description=description,
    )
    _check(tx, rule)
    rule = tx.add(rule)
    if floating.router_id != router.id:
        tx.change(floating, router_id=router.id)
    bump(tx, Router, [router.id])
    return rule


def _inner(tx: Tx, floating: FloatingIp, port: Port, wanted: str) -> tuple[str, Router]:
    own = [ip for ip in port.fixed_ips if "." in ip.ip_address]
    if wanted:
        own = [ip for ip in own if ip.ip_address == wanted]
    if len(own) != 1:
        raise BadRequest(
            f"Bad port_forwarding request: Port {port.id} does not have the IPv4 address {wanted or 'to choose'}.",
            field="internal_ip_address",
        )
    bound = tx.first(FloatingIp, port_id=port.id, fixed_ip_address=own[0].ip_address)
    if bound is not None:
        raise PortHasBindingFloatingIP(
            f"Cannot create port forwarding to floating IP {floating.floating_ip_address} ({floating.id}) with port "
            f"{port.id} using fixed IP {own[0].ip_address}, as that port already has a binding floating IP."
        )
    router = routers.behind(tx, own[0].subnet_id, floating.floating_network_id)
    if router is None or floating.router_id not in ("", router.id):
        raise ExternalGatewayForFloatingIPNotFound(
            f"External network {floating.floating_network_id} is not reachable from subnet {own[0].subnet_id} by the "
            f"router of floating IP {floating.id}. Therefore, cannot associate Port {port.id} with a Floating IP.",
            hint="All forwarded ports of a floating IP lead through one router.",
        )
    return own[0].ip_address, router


def _check(tx: Tx, rule: PortForwarding) -> None:
    for other in tx.select(PortForwarding, floating_ip_id=rule.floating_ip_id, protocol=rule.protocol):
        if other.id == rule.id:
            continue
        outside = other.external_port == rule.external_port
        inside = (other.internal_port_id, other.internal_ip_address, other.internal_port) == (
            rule.internal_port_id, rule.internal_ip_address, rule.internal_port)  # fmt: skip
        if outside or inside:
            raise PortForwardingExists(
                f"Bad port_forwarding request: A duplicate port forwarding entry with same attributes already exists: "
                f"{other.id}."
            )


def update(
    tx: Tx, floating: FloatingIp, rule: PortForwarding, *, port: Port | None = None, **given: Any
) -> PortForwarding:
    """port: the inner port, where it or the inner address changes. Raises as create does."""
    changes = {f: v for f, v in given.items() if v is not UNSET}
    if port is not None:
        address, router = _inner(tx, floating, port, str(changes.get("internal_ip_address", "")))
        changes |= {"internal_port_id": port.id, "internal_ip_address": address, "router_id": router.id}
    changes = {f: v for f, v in changes.items() if v != getattr(rule, f)}
    if not changes:
        return rule
    rule = tx.change(rule, **changes)
    _check(tx, rule)
    bump(tx, Router, [rule.router_id])
    return rule


def delete(tx: Tx, rule: PortForwarding) -> None:
    """With its last one a floating IP has no router any more."""
    ports.drop_forwarding(tx, rule)
