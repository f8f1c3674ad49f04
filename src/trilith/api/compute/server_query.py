"""The filters of GET /servers: names to SQL, by Nova's rules of who may use which."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from trilith import errors
from trilith.api.compute import paging
from trilith.api.compute import server_states as states
from trilith.api.compute.microversions import has
from trilith.api.compute.wire import parse_time
from trilith.api.http.call import Call
from trilith.commands.network_search import contains
from trilith.commands.network_search import has as holds
from trilith.model.network import IpAddress, Port
from trilith.model.server import Server, ServerState
from trilith.store import tables as _tables  # noqa: F401  the columns below need every table declared
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

T = REGISTRY[Server].table.c

#: longest regular expression taken, and how many unbounded repeats it may have: more could run for minutes
_MAX_PATTERN = 255
_MAX_REPEATS = 3

_TEXT = {
    "name": T.name,
    "display_name": T.name,
    "hostname": T.hostname,
    "key_name": T.key_name,
    "description": T.description,
    "display_description": T.description,
    "node": T.node,
    "reservation_id": T.reservation_id,
    "availability_zone": T.zone,
    "locked_by": T.locked_by,
    "access_ip_v4": T.access_ipv4,
    "access_ip_v6": T.access_ipv6,
}
_EXACT = {
    "user_id": T.user_id,
    "uuid": T.id,
    "host": T.node,
    "image": T.image_id,
    "image_ref": T.image_id,
    "project_id": T.project_id,
    "tenant_id": T.project_id,
    "task_state": T.task,
}
_NUMBERS = {"launch_index": T.launch_index, "progress": T.progress}
_TIMES = {"created_at": T.created_at, "launched_at": T.launched_at, "terminated_at": T.terminated_at}
_TAGS = ("tags", "tags-any", "not-tags", "not-tags-any")

#: what anyone may filter by
_FREE = frozenset(["reservation_id", "name", "status", "image", "flavor", "ip", "changes-since", "all_tenants"])
#: flag → what it opened to everyone
_OPENED = {
    "ip6_filter": ("ip6",),
    "tags": _TAGS,
    "changes_before": ("changes-before",),
    "locked_reason": ("locked",),
    "member_filters": (
        [
            "availability_zone",
            "config_drive",
            "key_name",
            "created_at",
            "launched_at",
            "terminated_at",
            "power_state",
            "task_state",
            "vm_state",
            "progress",
            "user_id",
        ]
    ),
}
_PAGING = frozenset({"limit", "marker", "sort_key", "sort_dir"})
_JOINED = frozenset(
    ["block_device_mapping", "services", "metadata", "system_metadata", "info_cache", "security_groups", "pci_devices"]
)
_IGNORED = frozenset(["kernel_id", "ramdisk_id", "root_device_name", "auto_disk_config", "soft_deleted"])

#: all that the list takes, for the check of unknown parameters from 2.75 on
LIST_QUERY = (
    *_TEXT, *_EXACT, *_NUMBERS, *_TIMES, *_TAGS, *_PAGING, *_JOINED, *_IGNORED,
    "status", "vm_state", "power_state", "flavor", "ip", "ip6", "changes-since", "changes-before", "all_tenants",
    "deleted", "config_drive", "locked",
)  # fmt: skip

SORT_KEYS = {
    "access_ip_v4": "access_ipv4",
    "access_ip_v6": "access_ipv6",
    "auto_disk_config": "disk_config",
    "availability_zone": "zone",
    "config_drive": "config_drive",
    "created_at": "created_at",
    "display_description": "description",
    "display_name": "name",
    "host": "node",
    "hostname": "hostname",
    "image_ref": "image_id",
    "instance_type_id": "",
    "kernel_id": "",
    "key_name": "key_name",
    "launch_index": "launch_index",
    "launched_at": "launched_at",
    "locked_by": "locked_by",
    "node": "node",
    "power_state": "power",
    "progress": "progress",
    "project_id": "project_id",
    "ramdisk_id": "",
    "root_device_name": "",
    "task_state": "task",
    "terminated_at": "terminated_at",
    "updated_at": "updated_at",
    "user_id": "user_id",
    "uuid": "id",
    "vm_state": "state",
}
#: taken and not heeded, as in Nova; refused from 2.75 on
_IGNORED_SORT = frozenset(
    [
        "architecture",
        "cell_name",
        "cleaned",
        "default_ephemeral_device",
        "default_swap_device",
        "deleted",
        "deleted_at",
        "disable_terminate",
        "ephemeral_gb",
        "ephemeral_key_uuid",
        "id",
        "key_data",
        "launched_on",
        "locked",
        "memory_mb",
        "os_type",
        "reservation_id",
        "root_gb",
        "shutdown_terminate",
        "user_data",
        "vcpus",
        "vm_mode",
    ]
)

Clause = Callable[[Reader], sa.ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class Query:
    """nothing: the filters can match no server at all. project: whose alone are listed, "" for everybody's."""

    clauses: tuple[Clause, ...]
    dead: bool
    sort: list[tuple[str, bool]]
    limit: int
    marker: str
    nothing: bool = False
    project: str = ""

    def run(self, reader: Reader) -> list[Server]:
        """One page. Raises Invalid for a marker that is not there."""
        clauses = [make(reader) for make in self.clauses]
        if self.marker:
            last = reader.find(Server, self.marker, dead=True)
            if last is None or self.project not in ("", last.project_id):
                raise paging.no_marker(self.marker)
            clauses.append(paging.after(last, self.sort))
        if self.nothing or self.limit == 0:
            return []
        order = paging.order_by(Server, self.sort)
        return reader.select(Server, *clauses, order=order, limit=self.limit, dead=self.dead)


def parse(call: Call, *, detail: bool) -> Query:
    """Raises Invalid for a filter that cannot be read, Forbidden for all_tenants without the right."""
    options = {name: value for name, value in call.query if name not in _PAGING}
    _refuse_inner(options)
    allowed = None if call.can("os_compute_api:servers:allow_all_filters") else _allowed(call)
    if allowed is not None:
        options = {n: v for n, v in options.items() if n in allowed}
    clauses: list[Clause] = []
    dead = nothing = False
    if call.all("status"):
        found, tasks = states.states_of(call.all("status"))
        if not found:
            if has(call.version, "status_checked"):
                raise errors.Invalid("Invalid status value", field="status")
            nothing = True
        if found == {ServerState.DELETED}:
            if not call.actor.is_admin:
                raise errors.Forbidden("Only administrators may list deleted instances")
            dead = True
        else:
            clauses.append(_fixed(T.state.in_(list(found))))
            if tasks and "default" not in tasks:
                clauses.append(_fixed(T.task.in_(sorted(tasks))))
    since, until = _times(call, options, clauses)
    if "deleted" in options:
        dead = _truthy(options["deleted"])
    if dead:
        clauses.append(_fixed(T.deleted_at > 0))
    elif since or until:
        dead = True  # the deleted are part of what changed
    project = _scope(call, options, clauses, detail=detail)
    for name, value in options.items():
        made = _clause(call, name, value)
        if made is not None:
            clauses.append(made)
    return Query(tuple(clauses), dead, _sort(call), paging.limit_of(call), paging.marker_of(call), nothing, project)


def _refuse_inner(options: dict[str, str]) -> None:
    for name in options:
        if name in _JOINED or name.startswith("_"):
            raise errors.Invalid(f"Invalid filter field: {name}.", field=name)


def _allowed(call: Call) -> frozenset[str]:
    opened = [n for flag, names in _OPENED.items() if has(call.version, flag) for n in names]
    return _FREE | frozenset(opened)


def _scope(call: Call, options: dict[str, str], clauses: list[Clause], *, detail: bool) -> str:
    """The project whose servers are listed, "" where that is not what bounds the list."""
    # empty counts as true; what is no boolean is refused
    everyone = "all_tenants" in options and (
        not options["all_tenants"] or _boolean(options["all_tenants"], "all_tenants")
    )
    if everyone:
        call.allow(f"os_compute_api:servers:{'detail' if detail else 'index'}:get_all_tenants")
        return ""
    for name in ("tenant_id", "project_id"):
        options.pop(name, None)
    if call.actor.project_id:
        clauses.append(_fixed(T.project_id == call.actor.project_id))
    else:
        clauses.append(_fixed(T.user_id == call.actor.user_id))
    return call.actor.project_id


def _times(call: Call, options: dict[str, str], clauses: list[Clause]) -> tuple[float, float]:
    since = until = 0.0
    if "changes-since" in options:
        since = parse_time(options["changes-since"], "changes-since")
        clauses.append(_fixed(T.updated_at >= since))
    if "changes-before" in options and has(call.version, "changes_before"):
        until = parse_time(options["changes-before"], "changes-before")
        if since and until < since:
            raise errors.Invalid("The value of changes-since must be less than or equal to changes-before.")
        clauses.append(_fixed(T.updated_at <= until))
    return since, until


def _clause(call: Call, name: str, value: str) -> Clause | None:
    if name in _TEXT:
        return _matching(_TEXT[name], value, name)
    if name in _EXACT:
        return _fixed(_EXACT[name] == ("" if name == "task_state" and value.lower() == "none" else value))
    if name in _NUMBERS:
        return _fixed(_NUMBERS[name] == _integer(value, name))
    if name in _TIMES:
        at = parse_time(value, name)
        return _fixed(sa.and_(_TIMES[name] >= at, _TIMES[name] < at + 1))
    if name in _TAGS and has(call.version, "tags"):
        return _tagged(name, value.split(","))
    if name == "vm_state":
        return _fixed(T.state == ServerState(value)) if value in set(ServerState) else _fixed(sa.false())
    if name == "power_state":
        wanted = [p for p, n in states.POWER.items() if str(n) == value]
        return _fixed(T.power.in_(wanted))
    if name == "flavor":
        # the flavor is kept as it was: its id stands first in the JSON of the column
        return lambda r: contains(r, T.flavor, _flavor_prefix(value))
    if name in ("ip", "ip6"):
        return _by_address(value, name)
    if name == "config_drive":
        return _fixed(T.config_drive.is_(_truthy(value)))
    if name == "locked" and has(call.version, "locked_reason"):
        return _fixed(T.locked.is_(_boolean(value, "locked")))
    return None


def _fixed(clause: Any) -> Clause:
    return lambda _reader: clause


def _flavor_prefix(flavor_id: str) -> str:
    return '"id":' + msgspec.json.encode(flavor_id).decode() + ',"name":'


def _by_address(value: str, name: str) -> Clause:
    ports, taken = REGISTRY[Port].table.c, REGISTRY[IpAddress].table.c

    def make(reader: Reader) -> sa.ColumnElement[bool]:
        family = contains(reader, taken.address, ":" if name == "ip6" else ".")
        like = _match(reader, taken.address, value, name)
        found = sa.select(ports.device_id).where(ports.id == taken.port_id, family, like)
        return T.id.in_(found)

    return make


def _tagged(name: str, tags: list[str]) -> Clause:
    def make(reader: Reader) -> sa.ColumnElement[bool]:
        each = [holds(reader, T.tags, tag) for tag in tags]
        together = sa.or_(*each) if name.endswith("any") else sa.and_(*each)
        return sa.not_(together) if name.startswith("not") else together

    return make


def _matching(column: Any, value: str, name: str) -> Clause:
    check_pattern(value, name)
    return lambda reader: _match(reader, column, value, name)


def _match(reader: Reader, column: Any, value: str, name: str) -> sa.ColumnElement[bool]:
    check_pattern(value, name)
    literal = re.fullmatch(r"[\w .:@/-]*", value) is not None
    return contains(reader, column, value) if literal else column.regexp_match(value)


def check_pattern(pattern: str, field: str) -> None:
    """Refuse what is no regular expression, or could take the database minutes. Raises Invalid."""
    if len(pattern) > _MAX_PATTERN:
        raise errors.Invalid(
            f"Invalid input for query parameters {field}: over {_MAX_PATTERN} characters.", field=field
        )
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as err:
        raise errors.Invalid(
            f"Invalid input for query parameters {field}. Value: {pattern}. {pattern!r} is not a 'regex'", field=field
        ) from err
    if "(?" in pattern or re.search(r"\\[^\W\ddwsDWS_]", pattern):
        raise errors.Invalid(
            f"Invalid input for query parameters {field}: the regular expression uses what not every database has.",
            hint="No (?…) groups, and of escaped letters only \\d \\w \\s.",
            field=field,
        )
    bare = re.sub(r"\\.", "", pattern)
    repeats = len(re.findall(r"[*+]|\{\d*,\d*\}", bare))
    if repeats > _MAX_REPEATS or re.search(r"\)[*+{?]", bare) or re.search(r"\\\d", pattern):
        raise errors.Invalid(
            f"Invalid input for query parameters {field}: the regular expression is too complex.",
            hint=f"At most {_MAX_REPEATS} repeats, none of a group.",
            field=field,
        )


def _sort(call: Call) -> list[tuple[str, bool]]:
    columns = dict(SORT_KEYS)
    if not has(call.version, "consistent"):
        columns |= dict.fromkeys(_IGNORED_SORT, "")
    if has(call.version, "locked_reason"):
        columns["locked"] = "locked"
    for key in call.all("sort_key"):
        if key in ("host", "node") and not call.actor.is_admin:
            raise errors.Forbidden(f"Only administrators can sort servers by {key}")
    return paging.sort_of(call, columns, (("created_at", "desc"),))


def _truthy(value: str) -> bool:
    """strutils.bool_from_string with default False."""
    return value.strip().lower() in ("1", "true", "t", "yes", "y", "on")


def _boolean(value: str, field: str) -> bool:
    word = value.strip().lower()
    if word in ("1", "true", "t", "yes", "y", "on"):
        return True
    if word in ("0", "false", "f", "no", "n", "off"):
        return False
    raise errors.Invalid(f"Invalid input for query parameters {field}. Value: {value}.", field=field)


def _integer(value: str, field: str) -> int:
    if not re.fullmatch(r"-?\d{1,9}", value):
        raise errors.Invalid(f"Invalid input for query parameters {field}. Value: {value}.", field=field)
    return int(value)
