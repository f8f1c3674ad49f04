"""/os-services: nova-compute of each node, and what this process does as nova-conductor and nova-scheduler."""

from __future__ import annotations

import socket
import time
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.compute.microversions import has
from trilith.api.compute.wire import Flag, flag, micro
from trilith.api.http.call import Call
from trilith.api.http.host import decode
from trilith.api.http.route import Answer
from trilith.commands import compute_services as commands
from trilith.model.node import Node
from trilith.store.tx import Reader, Tx

LIST_QUERY = ("host", "binary")
_NAMESPACE = uuid.UUID("0d1e0c53-6f0f-5b54-9d3b-3f1f8f9f2b10")
_Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^(?!\s).*(?<!\s)$")]
#: what the control plane does, by the names of Nova's services
CONTROL = ("nova-conductor", "nova-scheduler")


class Target(msgspec.Struct, forbid_unknown_fields=True):
    host: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    binary: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class Reasoned(Target, forbid_unknown_fields=True):
    disabled_reason: _Reason


class Forced(Target, forbid_unknown_fields=True):
    forced_down: Flag


class Update(msgspec.Struct, forbid_unknown_fields=True):
    status: Literal["enabled", "disabled"] | UnsetType = UNSET
    disabled_reason: _Reason | UnsetType = UNSET
    forced_down: Flag | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Compute:
    """node None: a part of the control plane."""

    number: int
    uuid: str
    binary: str
    host: str
    node: Node | None


class ServiceView(msgspec.Struct, kw_only=True):
    id: int | str
    binary: str
    host: str
    zone: str
    status: str
    state: str
    updated_at: str | None
    disabled_reason: str | None
    forced_down: bool | UnsetType = UNSET


def service_uuid(node_id: str) -> str:
    """A compute service's own uuid: the node's is the hypervisor's."""
    return str(uuid.uuid5(_NAMESPACE, node_id))


def service_number(node: Node) -> int:
    return node.seq + len(CONTROL)


def _all(reader: Reader, host: str) -> list[Compute]:
    control = [
        Compute(n, str(uuid.uuid5(_NAMESPACE, binary)), binary, host, None) for n, binary in enumerate(CONTROL, 1)
    ]
    nodes = [Compute(service_number(n), service_uuid(n.id), "nova-compute", n.name, n) for n in reader.select(Node)]
    return control + nodes


def here(call: Call) -> str:
    return call.host.settings.node_name or socket.gethostname()


def _view(call: Call, service: Compute) -> ServiceView:
    node = service.node
    alive = node is None or (node.alive and not node.forced_down)
    seen = time.time() if alive else (node.alive_at if node else 0.0)
    made = ServiceView(
        id=service.uuid if has(call.version, "uuids") else service.number,
        binary=service.binary,
        host=service.host,
        zone=node.zone if node else "internal",
        status="enabled" if node is None or node.enabled else "disabled",
        state="up" if alive else "down",
        updated_at=micro(seen) if seen else None,
        disabled_reason=(node.disabled_reason or None) if node else None,
    )
    if has(call.version, "forced_down"):
        made.forced_down = node.forced_down if node else False
    return made


async def index(call: Call) -> dict[str, Any]:
    """200."""
    name = here(call)
    found = await call.read(lambda r: _all(r, name))
    host, binary = call.one("host"), call.one("binary")
    return {"services": [_view(call, s) for s in found if host in ("", s.host) and binary in ("", s.binary)]}


async def update(call: Call) -> dict[str, Any]:
    """200; 400; 404. From 2.53 on {id} is the service's uuid, before it is the name of what to do."""
    if has(call.version, "uuids"):
        return await _update(call)
    what = call.params["id"]
    raw = msgspec.json.encode(call.body)
    if what in ("enable", "disable"):
        target = decode(raw, Target)
        await _by_host(call, target, enabled=what == "enable")
        return {"service": {"host": target.host, "binary": target.binary, "status": f"{what}d"}}
    if what == "disable-log-reason":
        reasoned = decode(raw, Reasoned)
        await _by_host(call, reasoned, enabled=False, reason=reasoned.disabled_reason)
        return {
            "service": {
                "host": reasoned.host,
                "binary": reasoned.binary,
                "status": "disabled",
                "disabled_reason": reasoned.disabled_reason,
            }
        }
    if what == "force-down" and has(call.version, "forced_down"):
        forced = decode(raw, Forced)
        down = flag(forced.forced_down, "forced_down")
        _only_compute(forced.binary)
        await call.write(
            lambda tx: commands.set_forced_down(tx, commands.by_host(tx, forced.host), down), "service.force_down"
        )
        return {"service": {"host": forced.host, "binary": forced.binary, "forced_down": down}}
    raise errors.Missing("Unknown action")


def _only_compute(binary: str) -> None:
    if binary != "nova-compute":
        raise errors.Invalid(
            f"Updating a {binary} service is not supported. Only nova-compute services can be updated.", field="binary"
        )


async def _by_host(call: Call, target: Target, *, enabled: bool, reason: str = "") -> None:
    _only_compute(target.binary)
    await call.write(
        lambda tx: commands.set_enabled(tx, commands.by_host(tx, target.host), enabled, reason), "service.update"
    )


def _by_id(reader: Reader, call: Call, host: str) -> Compute:
    asked = call.params["id"]
    if has(call.version, "uuids"):
        try:
            wanted = str(uuid.UUID(asked))
        except ValueError as err:
            raise errors.Invalid(f"Invalid uuid {asked}", field="id") from err
        found = [s for s in _all(reader, host) if s.uuid == wanted]
    else:
        if not (asked.isascii() and asked.isdecimal()):
            raise errors.Invalid(f"id must be an integer: {asked}", field="id")
        found = [s for s in _all(reader, host) if str(s.number) == asked.lstrip("0")]
    if not found:
        raise errors.Missing(f"Service {asked} not found.")
    return found[0]


async def _update(call: Call) -> dict[str, Any]:
    asked = decode(msgspec.json.encode(call.body), Update)
    host = here(call)
    if asked.status is UNSET and asked.forced_down is UNSET:
        if asked.disabled_reason is not UNSET:
            raise errors.Invalid("Specifying 'disabled_reason' needs the status 'disabled'.", field="disabled_reason")
        raise errors.Invalid("No updates were requested. Fields 'status' or 'forced_down' should be specified.")
    if asked.status == "enabled" and asked.disabled_reason is not UNSET:
        raise errors.Invalid("Specifying 'disabled_reason' with status 'enabled' is invalid.", field="disabled_reason")

    def body(tx: Tx) -> Compute:
        service = _by_id(tx, call, host)
        if service.node is None:
            _only_compute(service.binary)
        node = commands.by_host(tx, service.host)
        if asked.status is not UNSET:
            reason = asked.disabled_reason if asked.disabled_reason is not UNSET else ""
            node = commands.set_enabled(tx, node, asked.status == "enabled", reason)
        if asked.forced_down is not UNSET:
            node = commands.set_forced_down(tx, node, flag(asked.forced_down, "forced_down"))
        return Compute(service.number, service.uuid, service.binary, service.host, node)

    return {"service": _view(call, await call.write(body, "service.update"))}


async def delete(call: Call) -> Answer:
    """204; 400; 404; 409 while it has servers or its agent is there."""
    host = here(call)

    def body(tx: Tx) -> None:
        service = _by_id(tx, call, host)
        if service.node is None:
            _only_compute(service.binary)
        commands.delete(tx, commands.by_host(tx, service.host))

    await call.write(body, "service.delete")
    return Answer(status=204)
