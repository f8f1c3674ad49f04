"""/servers/{id}/os-instance-actions: what was asked of a server, and the steps of each as events."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.compute import paging
from trilith.api.compute.microversions import has
from trilith.api.compute.server_load import load
from trilith.api.compute.server_view import host_id
from trilith.api.compute.wire import Link, micro, micro_or_none, parse_time
from trilith.api.http.call import Call
from trilith.model.job import Job, JobStep
from trilith.model.server import InstanceAction, Server
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

LIST_QUERY = ("limit", "marker", "changes-since", "changes-before")


class ActionView(msgspec.Struct, kw_only=True):
    action: str
    instance_uuid: str
    request_id: str
    user_id: str
    project_id: str
    start_time: str
    message: str | None
    updated_at: str | UnsetType = UNSET


class EventView(msgspec.Struct, kw_only=True):
    event: str
    start_time: str
    finish_time: str | None
    result: str | None
    traceback: str | UnsetType | None = UNSET
    host: str | UnsetType = UNSET
    hostId: str | UnsetType = UNSET
    details: str | UnsetType | None = UNSET


class ActionDetail(ActionView, kw_only=True):
    events: list[EventView] | UnsetType = UNSET


class ActionList(msgspec.Struct):
    instanceActions: list[ActionView]
    links: list[Link] | UnsetType = UNSET


class ActionOne(msgspec.Struct):
    instanceAction: ActionDetail


def _fields(call: Call, action: InstanceAction) -> dict[str, str | UnsetType | None]:
    return {
        "action": action.action,
        "instance_uuid": action.server_id,
        "request_id": action.request_id,
        "user_id": action.user_id,
        "project_id": action.project_id,
        "start_time": micro(action.created_at),
        "message": action.message or None,
        "updated_at": micro(action.updated_at) if has(call.version, "action_paging") else UNSET,
    }


async def index(call: Call) -> ActionList:
    """200, the latest first; 400; 404. From 2.21 on also of a deleted server."""
    t = REGISTRY[InstanceAction].table.c
    pages = has(call.version, "action_paging")
    limit = paging.limit_of(call) if pages else None
    clauses = []
    since = until = 0.0
    if pages and (text := call.one("changes-since")):
        since = parse_time(text, "changes-since")
        clauses.append(t.updated_at >= since)
    if has(call.version, "changes_before") and (text := call.one("changes-before")):
        until = parse_time(text, "changes-before")
        clauses.append(t.updated_at <= until)
    if since and until and until < since:
        raise errors.Invalid("The value of changes-since must be less than or equal to changes-before.")
    marker = paging.marker_of(call) if pages else ""

    def read(reader: Reader) -> list[InstanceAction]:
        server = load(reader, call, "os-instance-actions:list", dead=has(call.version, "actions_of_deleted"))
        here = list(clauses)
        if marker:
            last = reader.first(InstanceAction, server_id=server.id, request_id=marker)
            if last is None:
                raise paging.no_marker(marker)
            here.append(t.seq < last.seq)
        return reader.select(InstanceAction, *here, server_id=server.id, order=[t.seq.desc()], limit=limit)

    found = await call.read(read)
    path = f"/servers/{call.params['id']}/os-instance-actions"
    more = pages and bool(found) and len(found) == limit
    return ActionList(
        [ActionView(**_fields(call, a)) for a in found],  # type: ignore[arg-type]
        paging.next_link(call, path, found[-1].request_id) if more else UNSET,
    )


async def show(call: Call) -> ActionOne:
    """200 with the events (for all from 2.51 on, for admins before); 404."""

    def read(reader: Reader) -> tuple[Server, InstanceAction, Job | None, list[JobStep]]:
        server = load(reader, call, "os-instance-actions:show", dead=has(call.version, "actions_of_deleted"))
        action = reader.first(InstanceAction, server_id=server.id, request_id=call.params["request_id"])
        if action is None:
            raise errors.Missing(f"Action {call.params['request_id']} not found")
        steps = reader.select(JobStep, job_id=action.job_id) if action.job_id else []
        return server, action, reader.find(Job, action.job_id) if action.job_id else None, steps

    server, action, job, steps = await call.read(read)
    whole = call.can("os_compute_api:os-instance-actions:events", project_id=server.project_id)
    made = ActionDetail(**_fields(call, action))  # type: ignore[arg-type]
    if whole or has(call.version, "events_for_all"):
        made.events = [_event(call, server, job, step, whole=whole) for step in steps]
    return ActionOne(made)


def _event(call: Call, server: Server, job: Job | None, step: JobStep, *, whole: bool) -> EventView:
    failed = step.result == "Error"
    why = (job.error.message if job is not None and job.error is not None else step.note) if failed else None
    made = EventView(
        event=step.name,
        start_time=micro(step.started_at),
        finish_time=micro_or_none(step.finished_at),
        result=step.result or None,
    )
    host = step.node or server.node
    if whole:
        made.traceback = why
        if has(call.version, "event_host"):
            made.host = host
    if has(call.version, "event_host"):
        made.hostId = host_id(server.project_id, host)
    if has(call.version, "event_details"):
        made.details = why
    return made
