"""POST /os-server-external-events: what other services tell Nova. Here they are one process.

Each event is checked, and taken with 200 where its server has a node. Only a power-update asks for something.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.compute.microversions import has
from trilith.api.compute.wire import Text255, Uuid
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.commands import servers
from trilith.model.server import Server, ServerState
from trilith.store.tx import Tx

_EVENTS = frozenset({"network-changed", "network-vif-plugged", "network-vif-unplugged", "network-vif-deleted"})
_LATER = {
    "volume-extended": "events_for_all",
    "power-update": "power_update",
    "accelerator-request-bound": "accelerator_event",
}
#: (tag, state) → the verb that makes it so
_POWER = {("POWER_ON", ServerState.STOPPED): "start", ("POWER_OFF", ServerState.ACTIVE): "stop"}


class Event(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    server_uuid: Uuid
    status: str | UnsetType = UNSET
    tag: Text255 | UnsetType = UNSET


class Events(msgspec.Struct, forbid_unknown_fields=True):
    events: Annotated[list[Event], msgspec.Meta(min_length=1, max_length=1000)]


async def create(call: Call) -> Answer:
    """200 when all were taken, 207 when some; 400; 404 when no server is there."""
    events: list[Event] = call.body.events
    for event in events:
        known = event.name in _EVENTS or (event.name in _LATER and has(call.version, _LATER[event.name]))
        if not known:
            raise errors.Invalid(f"Invalid input for field/attribute name. Value: {event.name}.", field="name")
        if event.status is not UNSET and event.status not in ("completed", "failed", "in-progress"):
            raise errors.Invalid(f"Invalid event status `{event.status}'", field="status")
        if event.name == "power-update" and event.tag not in ("POWER_ON", "POWER_OFF"):
            raise errors.Invalid(f"Invalid event tag `{event.tag}' for event name `power-update'", field="tag")

    def body(tx: Tx) -> list[dict[str, Any]]:
        found = {s.id: s for s in tx.select(Server, id=[e.server_uuid for e in events])}
        return [_one(tx, e, found) for e in events]

    taken = await call.write(body, "server.external_event")
    codes = {t["code"] for t in taken}
    if codes == {404}:
        raise errors.Missing("No instances found for any event")
    return Answer({"events": taken}, status=200 if codes == {200} else 207)


def _one(tx: Tx, event: Event, servers_by_id: dict[str, Server]) -> dict[str, Any]:
    server = servers_by_id.get(event.server_uuid)
    made: dict[str, Any] = {
        "name": event.name,
        "server_uuid": event.server_uuid,
        "status": event.status if event.status is not UNSET else "completed",
        "code": 200,
    }
    if event.tag is not UNSET:
        made["tag"] = event.tag
    if server is None:
        return {**made, "status": "failed", "code": 404}
    if not server.node:
        return {**made, "status": "failed", "code": 422}
    verb = _POWER.get((str(event.tag), server.state)) if event.name == "power-update" else None
    if verb and not server.task:
        servers_by_id[server.id] = servers.power(tx, server, verb)  # for a second event of the same server
    return made
