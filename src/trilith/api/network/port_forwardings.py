"""Forwarded ports of floating IPs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.network import floating_ips, listing
from trilith.api.network import ports as port_api
from trilith.api.network.listing import Viewer
from trilith.api.network.networks import Name
from trilith.commands import port_forwardings as commands
from trilith.commands.network_faults import PortForwardingNotFound
from trilith.model.network import FloatingIp, Port
from trilith.model.network_forwarding import PortForwarding
from trilith.store.tx import Reader, Tx

Number = Annotated[int, Meta(ge=1, le=65535)]
Protocol = Literal["tcp", "udp", "sctp"]


class ForwardingView(Struct, kw_only=True):
    id: str
    protocol: str
    external_port: int
    internal_port: int
    internal_port_id: str
    internal_ip_address: str
    description: str


class ForwardingCreate(Struct, kw_only=True, forbid_unknown_fields=True):
    protocol: Protocol
    external_port: Number
    internal_port: Number
    internal_port_id: str
    internal_ip_address: str = ""
    description: Name = ""


class ForwardingUpdate(Struct, kw_only=True, forbid_unknown_fields=True):
    protocol: Protocol | UnsetType = UNSET
    external_port: Number | UnsetType = UNSET
    internal_port: Number | UnsetType = UNSET
    internal_port_id: str | UnsetType = UNSET
    internal_ip_address: str | UnsetType = UNSET
    description: Name | UnsetType = UNSET


class CreateForwardingBody(Struct):
    port_forwarding: ForwardingCreate


class UpdateForwardingBody(Struct):
    port_forwarding: ForwardingUpdate


def _view(rule: PortForwarding) -> ForwardingView:
    return ForwardingView(
        id=rule.id,
        protocol=rule.protocol,
        external_port=rule.external_port,
        internal_port=rule.internal_port,
        internal_port_id=rule.internal_port_id,
        internal_ip_address=rule.internal_ip_address,
        description=rule.description,
    )


def _floating(reader: Reader, call: Call, who: Viewer) -> FloatingIp:
    return listing.fetch(reader, floating_ips.NOUN, who, call.params["floatingip"])


def _find(reader: Reader, call: Call, who: Viewer) -> tuple[FloatingIp, PortForwarding]:
    floating = _floating(reader, call, who)
    found = reader.find(PortForwarding, call.params["id"])
    if found is None or found.floating_ip_id != floating.id:
        raise PortForwardingNotFound(f"Port Forwarding {call.params['id']} could not be found.")
    return floating, found


#: attributes that the list can be filtered by
FILTERS = ("id", "protocol", "external_port", "internal_port", "internal_port_id", "internal_ip_address")


async def index(call: Call) -> Answer:
    """200: the floating IP's forwarded ports. 404: the floating IP."""
    call.allow("get_floatingip_port_forwarding")
    who = listing.viewer(call)

    def read(reader: Reader) -> Sequence[ForwardingView]:
        floating = _floating(reader, call, who)
        found = [_view(r) for r in reader.select(PortForwarding, floating_ip_id=floating.id)]
        for name in FILTERS:
            if values := call.all(name):
                found = [f for f in found if str(getattr(f, name)) in values]
        return found

    return Answer({"port_forwardings": await call.read(read)})


async def show(call: Call) -> Answer:
    """200: one. 404: it or the floating IP."""
    call.allow("get_floatingip_port_forwarding")
    who = listing.viewer(call)
    return Answer({"port_forwarding": _view((await call.read(lambda r: _find(r, call, who)))[1])})


async def create(call: Call) -> Answer:
    """201: forwarded. 400: there is such a one, or no such address. 404: a port, or a router to it. 409: in use."""
    who, wanted = listing.viewer(call), call.body.port_forwarding

    def body(tx: Tx) -> PortForwarding:
        floating = _floating(tx, call, who)
        call.allow("create_floatingip_port_forwarding", project_id=floating.project_id)
        port = port_api.mine(call, tx, wanted.internal_port_id)
        return commands.create(
            tx,
            floating,
            port,
            protocol=wanted.protocol,
            external_port=wanted.external_port,
            internal_port=wanted.internal_port,
            internal_ip_address=wanted.internal_ip_address,
            description=wanted.description,
        )

    return Answer({"port_forwarding": _view(await call.write(body, "port_forwarding.create"))}, status=201)


async def update(call: Call) -> Answer:
    """200: as it is now. 400, 404, 409 as create."""
    who = listing.viewer(call)
    wanted: ForwardingUpdate = call.body.port_forwarding

    def body(tx: Tx) -> PortForwarding:
        floating, rule = _find(tx, call, who)
        call.allow("update_floatingip_port_forwarding", project_id=floating.project_id)
        port: Port | None = None
        if wanted.internal_port_id is not UNSET or wanted.internal_ip_address is not UNSET:
            id = rule.internal_port_id if wanted.internal_port_id is UNSET else wanted.internal_port_id
            port = port_api.mine(call, tx, id)
        return commands.update(
            tx,
            floating,
            rule,
            port=port,
            protocol=wanted.protocol,
            external_port=wanted.external_port,
            internal_port=wanted.internal_port,
            internal_ip_address=wanted.internal_ip_address,
            description=wanted.description,
        )

    return Answer({"port_forwarding": _view(await call.write(body, "port_forwarding.update"))})


async def delete(call: Call) -> Answer:
    """204. 404: it or the floating IP."""
    who = listing.viewer(call)

    def body(tx: Tx) -> None:
        floating, rule = _find(tx, call, who)
        call.allow("delete_floatingip_port_forwarding", project_id=floating.project_id)
        commands.delete(tx, rule)

    await call.write(body, "port_forwarding.delete")
    return Answer(status=204)
