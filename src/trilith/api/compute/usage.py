"""/os-simple-tenant-usage and /os-instance_usage_audit_log: who used how much for how long."""

from __future__ import annotations

import calendar
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import sqlalchemy as sa

from trilith import errors
from trilith.api.compute import paging
from trilith.api.compute.microversions import has
from trilith.api.compute.server_states import vm_state
from trilith.api.compute.wire import micro, micro_or_none
from trilith.api.http.call import Call
from trilith.model.node import Node
from trilith.model.server import Server
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

LIST_QUERY = ("start", "end", "detailed", "limit", "marker")
SHOW_QUERY = ("start", "end", "limit", "marker")
_FORMS = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d")


@dataclass(slots=True)
class Sum:
    hours: float = 0.0
    vcpus: float = 0.0
    memory: float = 0.0
    disk: float = 0.0
    servers: list[dict[str, Any]] = field(default_factory=list)


def _time(text: str, default: float) -> float:
    if not text:
        return default
    for form in _FORMS:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    raise errors.Invalid(f"Datetime is in invalid format: {text}")


def _window(call: Call) -> tuple[float, float]:
    now = time.time()
    start, end = _time(call.one("start"), now - 28 * 86400), _time(call.one("end"), now)
    if start >= end:
        raise errors.Invalid("Invalid start time. The start time cannot occur after the end time.")
    return start, end


def _servers(
    reader: Reader, call: Call, start: float, end: float, project: str, limit: int, marker: str
) -> list[Server]:
    t = REGISTRY[Server].table.c
    clauses = [t.launched_at > 0, t.launched_at < end, sa.or_(t.deleted_at == 0, t.deleted_at > start)]
    if project:
        clauses.append(t.project_id == project)
    if marker:
        last = reader.find(Server, marker, dead=True)
        if last is None:
            raise paging.no_marker(marker)
        clauses.append(t.seq > last.seq)
    return reader.select(Server, *clauses, limit=limit, dead=True)


def _sums(servers: list[Server], start: float, end: float) -> dict[str, Sum]:
    now = time.time()
    found: dict[str, Sum] = {}
    for s in servers:
        ended = s.terminated_at or s.deleted_at
        hours = max(0.0, min(ended or end, end) - max(s.launched_at, start)) / 3600
        one = found.setdefault(s.project_id, Sum())
        disk = s.flavor.disk + s.flavor.ephemeral
        one.hours += hours
        one.vcpus += hours * s.flavor.vcpus
        one.memory += hours * s.flavor.ram
        one.disk += hours * disk
        one.servers.append(
            {
                "instance_id": s.id,
                "name": s.name,
                "hours": hours,
                "flavor": s.flavor.name,
                "vcpus": s.flavor.vcpus,
                "memory_mb": s.flavor.ram,
                "local_gb": disk,
                "tenant_id": s.project_id,
                "started_at": micro(s.launched_at),
                "ended_at": micro_or_none(ended),
                "state": "terminated" if ended else vm_state(s),
                "uptime": int((ended or now) - s.launched_at),
            }
        )
    return found


def _view(project: str, one: Sum, start: float, end: float, *, detailed: bool) -> dict[str, Any]:
    made: dict[str, Any] = {
        "tenant_id": project,
        "start": micro(start),
        "stop": micro(end),
        "total_hours": one.hours,
        "total_vcpus_usage": one.vcpus,
        "total_memory_mb_usage": one.memory,
        "total_local_gb_usage": one.disk,
    }
    if detailed:
        made["server_usages"] = one.servers
    return made


async def index(call: Call) -> dict[str, Any]:
    """200, a sum a project; 400."""
    start, end = _window(call)
    limit, marker = _pages(call)
    servers = await call.read(lambda r: _servers(r, call, start, end, "", limit, marker))
    detailed = call.one("detailed") == "1"
    found: dict[str, Any] = {
        "tenant_usages": [_view(p, one, start, end, detailed=detailed) for p, one in _sums(servers, start, end).items()]
    }
    if has(call.version, "usage_paging") and servers and len(servers) == limit:
        found["tenant_usages_links"] = paging.next_link(call, "/os-simple-tenant-usage", servers[-1].id)
    return found


async def show(call: Call) -> dict[str, Any]:
    """200, {} for a project without servers; 400; 403."""
    project = call.params["id"]
    call.allow("os_compute_api:os-simple-tenant-usage:show", project_id=project)
    start, end = _window(call)
    limit, marker = _pages(call)
    servers = await call.read(lambda r: _servers(r, call, start, end, project, limit, marker))
    sums = _sums(servers, start, end)
    if project not in sums:
        return {"tenant_usage": {}}
    found: dict[str, Any] = {"tenant_usage": _view(project, sums[project], start, end, detailed=True)}
    if has(call.version, "usage_paging") and len(servers) == limit:
        path = f"/os-simple-tenant-usage/{project}"
        found["tenant_usage_links"] = paging.next_link(call, path, servers[-1].id)
    return found


def _pages(call: Call) -> tuple[int, str]:
    """Versions without paging are cut at the same size, and say nothing of it."""
    if not has(call.version, "usage_paging"):
        return paging.MAX, ""
    return paging.limit_of(call), paging.marker_of(call)


async def audit_log(call: Call) -> dict[str, Any]:
    """200: the audit of the last whole month (Nova's default period)."""
    return {"instance_usage_audit_logs": await _audit(call, time.time())}


async def audit_log_before(call: Call) -> dict[str, Any]:
    """200; 400 for a time that cannot be read."""
    text = unquote(call.params["before"]).replace("+", " ")
    try:
        found = datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError as err:
        raise errors.Invalid(f"Invalid timestamp for date {text}") from err
    if found.year < 1970:
        raise errors.Invalid(f"Invalid timestamp for date {text}")
    at = found.timestamp()
    return {"instance_usage_audit_log": await _audit(call, at)}


async def _audit(call: Call, at: float) -> dict[str, Any]:
    now = time.gmtime(at)
    end = calendar.timegm((now.tm_year, now.tm_mon, 1, 0, 0, 0))
    begin = calendar.timegm((now.tm_year - (now.tm_mon == 1), (now.tm_mon - 2) % 12 + 1, 1, 0, 0, 0))
    hosts = await call.read(lambda r: [n.name for n in r.select(Node)])
    # nothing runs nova's usage audit: no host has reported, and that is what is said
    return {
        "period_beginning": _plain(begin),
        "period_ending": _plain(end),
        "num_hosts": len(hosts),
        "num_hosts_done": 0,
        "num_hosts_not_run": len(hosts),
        "num_hosts_running": 0,
        "hosts_not_run": hosts,
        "log": {},
        "overall_status": f"0 of {len(hosts)} hosts done. 0 errors.",
        "total_errors": 0,
        "total_instances": 0,
    }


def _plain(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
