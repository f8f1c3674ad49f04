"""Floating IPs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.network import listing
from trilith.api.network import networks as network_api
from trilith.api.network import ports as port_api
from trilith.api.network.listing import Noun, Standard, Viewer
from trilith.api.network.networks import Given, Name, Tags
from trilith.commands import floating_ips as commands
from trilith.commands import qos
from trilith.commands.network_faults import FloatingIPNotFound
from trilith.model.network import FloatingIp, Port
from trilith.model.network_forwarding import PortForwarding
from trilith.store.tx import Reader, Tx


class PortDetails(Struct):
    """The fip-port-details extension."""

    name: str
    network_id: str
    mac_address: str
    admin_state_up: bool
    status: str
    device_id: str
    device_owner: str


class Forwarded(Struct):
    """The expose-port-forwarding-in-fip extension."""

    id: str
    protocol: str
    external_port: int
    internal_port: int
    internal_ip_address: str
    description: str


class FloatingIpView(Standard, kw_only=True):
    floating_network_id: str
    floating_ip_address: str
    fixed_ip_address: str | None
    port_id: str | None
    router_id: str | None
    status: str
    dns_name: str
    dns_domain: str
    port_details: PortDetails | None
    port_forwardings: list[Forwarded]
    qos_policy_id: str | None
    tags: tuple[str, ...]


class FloatingIpCreate(Struct, kw_only=True, forbid_unknown_fields=True):
    floating_network_id: str
    project_id: Given = UNSET
    tenant_id: Given = UNSET
    description: Name = ""
    subnet_id: str | None = None
    floating_ip_address: str | None = None
    port_id: str | None = None
    fixed_ip_address: str | None = None
    dns_name: Name = ""
    dns_domain: Name = ""
    qos_policy_id: str | None = None
    tags: Tags = []


class FloatingIpUpdate(Struct, kw_only=True, forbid_unknown_fields=True):
    port_id: str | UnsetType | None = UNSET
    fixed_ip_address: str | None = None
    description: Name | UnsetType = UNSET
    qos_policy_id: str | UnsetType | None = UNSET


class CreateBody(Struct):
    floatingip: FloatingIpCreate | UnsetType = UNSET
    floatingips: list[FloatingIpCreate] | UnsetType = UNSET


class UpdateBody(Struct):
    floatingip: FloatingIpUpdate


def view(reader: Reader, rows: Sequence[FloatingIp], _who: Viewer) -> list[FloatingIpView]:
    ports = {p.id: p for p in reader.select(Port, id=[f.port_id for f in rows if f.port_id])}
    forwarded: dict[str, list[Forwarded]] = {}
    for rule in reader.select(PortForwarding, floating_ip_id=[f.id for f in rows]):
        forwarded.setdefault(rule.floating_ip_id, []).append(
            Forwarded(rule.id, rule.protocol, rule.external_port, rule.internal_port, rule.internal_ip_address,
                      rule.description)
        )  # fmt: skip
    return [_view(f, ports.get(f.port_id), forwarded.get(f.id, [])) for f in rows]


def _view(floating: FloatingIp, port: Port | None, forwarded: list[Forwarded]) -> FloatingIpView:
    details = None
    if port is not None:
        details = PortDetails(
            port.name,
            port.network_id,
            port.mac_address,
            port.admin_up,
            port.status,
            port.device_id,
            port.device_owner,
        )
    return FloatingIpView(
        **listing.standard(floating),
        floating_network_id=floating.floating_network_id,
        floating_ip_address=floating.floating_ip_address,
        fixed_ip_address=floating.fixed_ip_address or None,
        port_id=floating.port_id or None,
        router_id=floating.router_id or None,
        status=floating.status,
        dns_name=floating.dns_name,
        dns_domain=floating.dns_domain,
        port_details=details,
        port_forwardings=forwarded,
        qos_policy_id=floating.qos_policy_id or None,
        tags=floating.tags,
    )


NOUN: Noun[FloatingIp] = Noun(
    FloatingIp,
    "floatingip",
    "floatingips",
    "Floating IP",
    FloatingIPNotFound,
    view,
    {
        **listing.standard_filters(FloatingIp),
        "floating_network_id": listing.text(FloatingIp, "floating_network_id"),
        "floating_ip_address": listing.text(FloatingIp, "floating_ip_address"),
        "fixed_ip_address": listing.text(FloatingIp, "fixed_ip_address"),
        "port_id": listing.text(FloatingIp, "port_id"),
        "router_id": listing.text(FloatingIp, "router_id"),
        "status": listing.text(FloatingIp, "status"),
        "dns_name": listing.text(FloatingIp, "dns_name"),
        "qos_policy_id": listing.text(FloatingIp, "qos_policy_id"),
    },
    {
        **listing.standard_sort(FloatingIp),
        "floating_ip_address": "floating_ip_address",
        "fixed_ip_address": "fixed_ip_address",
        "floating_network_id": "floating_network_id",
        "router_id": "router_id",
    },
)


async def create(call: Call) -> Answer:
    """201: the floating IP. 400: no external network, no IPv4 address. 404: port or a router to it. 409: taken."""
    body: CreateBody = call.body
    return await listing.create_all(call, NOUN, body.floatingip, body.floatingips, lambda tx, w: _make(call, tx, w))


def _make(call: Call, tx: Tx, wanted: FloatingIpCreate) -> FloatingIp:
    project = listing.owner(call, NOUN, wanted.project_id, wanted.tenant_id)
    who = listing.viewer(call)
    listing.refuse_publishing("dns_name", wanted.dns_name)
    listing.refuse_publishing("dns_domain", wanted.dns_domain)
    listing.restrict(call, {"create_floatingip:floating_ip_address": wanted.floating_ip_address or UNSET})
    listing.fetch(tx, network_api.NOUN, who, wanted.floating_network_id)
    port = port_api.mine(call, tx, wanted.port_id) if wanted.port_id else None
    return commands.create(
        tx,
        project_id=project,
        network_id=wanted.floating_network_id,
        subnet_id=wanted.subnet_id or "",
        address=wanted.floating_ip_address or "",
        port=port,
        fixed_ip_address=wanted.fixed_ip_address or "",
        description=wanted.description,
        dns_name=wanted.dns_name,
        dns_domain=wanted.dns_domain,
        qos_policy_id=qos.check_of_floating_ip(tx, wanted.qos_policy_id or ""),
        tags=tuple(dict.fromkeys(wanted.tags)),
    )


async def update(call: Call) -> Answer:
    """200: as it is now. 400, 404, 409 as create."""
    wanted: FloatingIpUpdate = call.body.floatingip

    def act(tx: Tx, floating: FloatingIp) -> Any:
        port: Port | UnsetType | None = UNSET
        if wanted.port_id is not UNSET:
            port = port_api.mine(call, tx, wanted.port_id) if wanted.port_id else None
        elif wanted.fixed_ip_address and floating.port_id:
            port = tx.get(Port, floating.port_id)
        return commands.update(
            tx,
            floating,
            port=port,
            fixed_ip_address=wanted.fixed_ip_address or "",
            description=wanted.description,
            qos_policy_id=UNSET
            if wanted.qos_policy_id is UNSET
            else qos.check_of_floating_ip(tx, wanted.qos_policy_id or ""),
        )

    return await listing.change(call, NOUN, act)


async def delete(call: Call) -> Answer:
    """204."""
    return await listing.remove(call, NOUN, commands.delete)
