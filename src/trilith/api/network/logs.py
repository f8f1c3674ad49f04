"""Logs of security groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.network import listing
from trilith.api.network.listing import Noun, Standard, Viewer
from trilith.api.network.networks import Given, Name
from trilith.commands import security_logs as commands
from trilith.commands.network_faults import LogResourceNotFound
from trilith.model.network_access import SecurityLog
from trilith.store.tx import Reader, Tx


class LogView(Standard, kw_only=True):
    name: str
    enabled: bool
    event: str
    resource_type: str
    resource_id: str | None
    target_id: str | None


class LogCreate(Struct, kw_only=True, forbid_unknown_fields=True):
    resource_type: Name
    name: Name = ""
    description: Name = ""
    enabled: bool = True
    event: Literal["ALL", "ACCEPT", "DROP"] = "ALL"
    resource_id: str | None = None
    target_id: str | None = None
    project_id: Given = UNSET
    tenant_id: Given = UNSET


class LogUpdate(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name | UnsetType = UNSET
    description: Name | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class CreateLogBody(Struct):
    log: LogCreate | UnsetType = UNSET
    logs: list[LogCreate] | UnsetType = UNSET


class UpdateLogBody(Struct):
    log: LogUpdate


class Loggable(Struct):
    type: str


def view(_reader: Reader, rows: Sequence[SecurityLog], _who: Viewer) -> list[LogView]:
    return [
        LogView(
            **listing.standard(r),
            name=r.name,
            enabled=r.enabled,
            event=r.event,
            resource_type=r.resource_type,
            resource_id=r.resource_id or None,
            target_id=r.target_id or None,
        )
        for r in rows
    ]


NOUN: Noun[SecurityLog] = Noun(
    SecurityLog,
    "log",
    "logs",
    "Log",
    LogResourceNotFound,
    view,
    {
        **listing.standard_filters(SecurityLog),
        "enabled": listing.flag(SecurityLog, "enabled"),
        **{name: listing.text(SecurityLog, name) for name in ("event", "resource_type", "resource_id", "target_id")},
    },
    {**listing.standard_sort(SecurityLog), "event": "event", "resource_type": "resource_type"},
    path="log/logs",
)


async def create(call: Call) -> Answer:
    """201: the log; the nodes write it. 400: what cannot be logged. 404: the group or port."""
    body: CreateLogBody = call.body

    def make(tx: Tx, wanted: LogCreate) -> SecurityLog:
        return commands.create(
            tx,
            project_id=listing.owner(call, NOUN, wanted.project_id, wanted.tenant_id),
            resource_type=wanted.resource_type,
            resource_id=wanted.resource_id or "",
            target_id=wanted.target_id or "",
            event=wanted.event,
            enabled=wanted.enabled,
            name=wanted.name,
            description=wanted.description,
        )

    return await listing.create_all(call, NOUN, body.log, body.logs, make)


async def update(call: Call) -> Answer:
    """200: as it is now."""
    wanted: LogUpdate = call.body.log
    return await listing.change(
        call,
        NOUN,
        lambda tx, r: commands.update(tx, r, name=wanted.name, description=wanted.description, enabled=wanted.enabled),
    )


async def delete(call: Call) -> Answer:
    """204."""
    return await listing.remove(call, NOUN, commands.delete)


async def loggable(call: Call) -> Answer:
    """200: what can be logged."""
    call.allow("get_loggable_resource")
    return Answer({"loggable_resources": [Loggable(type) for type in commands.TYPES]})
