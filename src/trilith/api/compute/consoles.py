"""Remote consoles: os-getVNCConsole and its kin up to 2.5, remote-consoles from 2.6 on, os-console-auth-tokens.

Served are noVNC and the serial line. The other types are refused as Nova refuses a type that is not enabled; xvpvnc
and rdp-html5 have left Nova, too.
"""

from __future__ import annotations

import asyncio
import time
from typing import Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.agent.calls import ServerArgs
from trilith.api.compute.microversions import has
from trilith.api.compute.server_load import load
from trilith.api.console import addresses
from trilith.api.http.call import Call
from trilith.commands import consoles
from trilith.model.console import ConsoleKind
from trilith.model.guest import ConsoleEndpoint
from trilith.model.node import Node
from trilith.model.server import Server, ServerState
from trilith.store.tx import Reader

#: console type → the protocol that it goes with
_PROTOCOL = {
    "novnc": "vnc",
    "xvpvnc": "vnc",
    "spice-html5": "spice",
    "spice-direct": "spice",
    "rdp-html5": "rdp",
    "serial": "serial",
    "webmks": "mks",
}
#: what a node's driver must be able to, and the node call that says where the console is
_NEEDS = {ConsoleKind.NOVNC: "vnc_console", ConsoleKind.SERIAL: "serial_console"}
_CALLS = {ConsoleKind.NOVNC: "guest.screen", ConsoleKind.SERIAL: "guest.console"}


class VncConsole(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["novnc", "xvpvnc"]


class SpiceConsole(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["spice-html5"]


class RdpConsole(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["rdp-html5"]


class SerialConsole(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["serial"]


class ConsoleView(msgspec.Struct):
    """url: whoever has it gets in, once."""

    type: str
    url: str


class ConsoleOne(msgspec.Struct):
    console: ConsoleView


class RemoteConsole(msgspec.Struct, forbid_unknown_fields=True):
    protocol: Literal["vnc", "spice", "rdp", "serial", "mks"]
    type: Literal["novnc", "xvpvnc", "spice-html5", "spice-direct", "rdp-html5", "serial", "webmks"]


class CreateConsole(msgspec.Struct, forbid_unknown_fields=True):
    remote_console: RemoteConsole


class RemoteView(msgspec.Struct):
    protocol: str
    type: str
    url: str


class RemoteOne(msgspec.Struct):
    remote_console: RemoteView


class Connection(msgspec.Struct):
    """host, port: of this cloud, since no console has a port of its own. internal_access_path: of the websocket."""

    instance_uuid: str
    host: str
    port: int
    internal_access_path: str | None
    tls_port: int | UnsetType | None = UNSET


class ConnectionOne(msgspec.Struct):
    console: Connection


async def get(call: Call, value: VncConsole | SpiceConsole | RdpConsole | SerialConsole) -> ConsoleOne:
    """200; 400 for a type that this server or cloud does not have; 409 for a server that does not run."""
    return ConsoleOne(ConsoleView(value.type, await _url(call, value.type)))


async def create(call: Call) -> RemoteOne:
    """200; 400 for a type that this server or cloud does not have, or of another protocol; 404; 409 for a server that
    does not run."""
    wanted: RemoteConsole = call.body.remote_console
    new = {"mks": "console_mks", "webmks": "console_mks", "spice-direct": "console_spice_direct"}
    for name in (wanted.protocol, wanted.type):
        if name in new and not has(call.version, new[name]):
            raise errors.Invalid(
                f"Invalid input for field/attribute remote_console. '{name}' is not one of its values."
            )
    if _PROTOCOL[wanted.type] != wanted.protocol:
        raise errors.Invalid(f"Invalid console type {wanted.type} for the protocol {wanted.protocol}.", field="type")
    return RemoteOne(RemoteView(wanted.protocol, wanted.type, await _url(call, wanted.type)))


async def _url(call: Call, wanted: str) -> str:
    """Raises what the two above answer."""

    def read(reader: Reader) -> tuple[Server, Node | None]:
        server = load(reader, call, "os-remote-consoles")
        return server, reader.first(Node, name=server.node) if server.node else None

    server, node = await call.read(read)
    if wanted not in tuple(ConsoleKind):
        raise _unavailable(wanted, f"There is {' and '.join(ConsoleKind)}.")
    kind = ConsoleKind(wanted)
    if not server.node or server.state is ServerState.BUILDING:
        raise errors.Conflict(f"Instance {server.id} is not ready", hint="Wait until it is ACTIVE.")
    able = node.facts.capabilities.get(server.pillar) if node and node.facts and server.pillar else None
    if able is not None and _NEEDS[kind] not in able:
        raise _unavailable(wanted, f"{server.pillar} servers have none here.")
    settings = call.host.settings
    if kind is ConsoleKind.NOVNC and await asyncio.to_thread(addresses.novnc, settings) is None:
        raise _unavailable(wanted, f"noVNC is not installed: {addresses.INSTALL}")
    try:
        await call.host.services.links.call(
            server.node, _CALLS[kind], ServerArgs(server.id), ConsoleEndpoint, timeout=30
        )
    except errors.Unsupported as err:
        raise _unavailable(wanted, str(err)) from err
    token = consoles.new_token()
    seconds = settings.console_token_seconds
    await call.write(
        lambda tx: consoles.issue(tx, call.actor, load(tx, call, "os-remote-consoles"), kind, token, seconds=seconds),
        f"server.get_console_{kind}",
    )
    return addresses.url_of(settings, kind, token)


def _unavailable(wanted: str, hint: str) -> errors.Invalid:
    return errors.Invalid(f"Unavailable console type {wanted}.", hint=hint, field="type")


async def show_token(call: Call) -> ConnectionOne:
    """200: where the token leads; looking does not use it up. 404 for one that is not good (any more)."""
    token = call.params["token"]
    try:
        found, server = await call.read(lambda r: consoles.look(r, token, time.time()))
    except errors.Missing as err:
        raise errors.Missing("Token not found", hint=err.hint) from err
    settings = call.host.settings
    public = urlsplit(settings.url)
    tls = public.scheme == "https"
    port = public.port or (443 if tls else 80)
    made = Connection(
        instance_uuid=server.id,
        host=public.hostname or "",
        port=port,
        internal_access_path=addresses.socket_path(settings, found.kind, token),
    )
    if has(call.version, "console_spice_direct"):
        made.tls_port = port if tls else None
    return ConnectionOne(made)


async def show_rdp_token(call: Call) -> ConnectionOne:
    """400: before 2.31 this was of rdp-html5 only, which has left Nova."""
    raise errors.Invalid("Console type rdp-html5 is no longer served.", hint="Ask with microversion 2.31 or later.")
