"""`GET /v2/images`: its filters, sort keys and pages, as one SQL statement."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import msgspec
import sqlalchemy as sa

from trilith import errors
from trilith.api.http.call import Call
from trilith.model.image import Image, ImageMember
from trilith.model.record import Actor
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

DEFAULT_LIMIT = 25
MAX_LIMIT = 1000
_VISIBILITIES = ("public", "private", "shared", "community", "all")
_PAGING = frozenset({"limit", "marker", "sort", "sort_key", "sort_dir", "member_status", "visibility", "os_hidden"})

Clause = sa.ColumnElement[bool]


def _images() -> Any:
    return REGISTRY[Image].table.c


def _text(column: str) -> Callable[[str], Clause]:
    return lambda value: _images()[column] == value


def _listed(column: str) -> Callable[[str], Clause]:
    def clause(value: str) -> Clause:
        if value.startswith("in:"):
            found: Clause = _images()[column].in_(_split(value[3:], column))
            return found
        equal: Clause = _images()[column] == value
        return equal

    return clause


def _split(text: str, name: str) -> list[str]:
    """Comma-separated, with names that hold commas in double quotes."""
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as err:
        raise errors.Invalid(f"Invalid filter value {text}: {err}.", field=name) from err
    if not rows or any(not v for v in rows[0]):
        raise errors.Invalid(f"Invalid filter value {text}: an item is empty.", field=name)
    return rows[0]


def _number(column: str, compare: str = "eq") -> Callable[[str], Clause]:
    def clause(value: str) -> Clause:
        if not (value.isascii() and value.isdigit()) or len(value) > 19 or int(value) >= 1 << 63:
            raise errors.Invalid(f"Invalid value {value!r} for the filter {column}: must be a number.", field=column)
        found: Clause = getattr(_images()[column], {"eq": "__eq__", "ge": "__ge__", "le": "__le__"}[compare])(
            int(value)
        )
        return sa.and_(found, _images()[column] >= 0)  # -1: not known

    return clause


def _flag(column: str) -> Callable[[str], Clause]:
    def clause(value: str) -> Clause:
        if value.lower() not in ("true", "false", "1", "0"):
            raise errors.Invalid(f"Invalid value {value!r} for the filter {column}: true or false.", field=column)
        found: Clause = _images()[column].is_(value.lower() in ("true", "1"))
        return found

    return clause


_COMPARE = {"gt": "__gt__", "gte": "__ge__", "lt": "__lt__", "lte": "__le__", "eq": "__eq__", "neq": "__ne__"}


def _time(column: str) -> Callable[[str], Clause]:
    """`op:time`; times are compared by the second, as they are shown."""

    def clause(value: str) -> Clause:
        op, colon, when = value.partition(":")
        if not colon or op not in _COMPARE:
            op, when = "eq", value
        at = _parse_time(when, column)
        shown = sa.func.floor(_images()[column])
        found: Clause = getattr(shown, _COMPARE[op])(at)
        return found

    return clause


def _parse_time(text: str, name: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as err:
        raise errors.Invalid(f"Invalid time {text!r} for the filter {name}: ISO 8601 is wanted.", field=name) from err
    return float(int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()))


_FILTERS: dict[str, Callable[[str], Clause]] = {
    "id": _listed("id"),
    "name": _listed("name"),
    "status": _listed("state"),
    "container_format": _listed("container_format"),
    "disk_format": _listed("disk_format"),
    "owner": _text("owner"),
    "checksum": _text("checksum"),
    "os_hash_value": _text("hash_value"),
    "os_hash_algo": _text("hash_algo"),
    "size": _number("size"),
    "size_min": _number("size", "ge"),
    "size_max": _number("size", "le"),
    "min_disk": _number("min_disk"),
    "min_ram": _number("min_ram"),
    "protected": _flag("protected"),
    "created_at": _time("created_at"),
    "updated_at": _time("updated_at"),
}
_SORT = {
    "id": "id",
    "name": "name",
    "status": "state",
    "container_format": "container_format",
    "disk_format": "disk_format",
    "size": "size",
    "virtual_size": "virtual_size",
    "owner": "owner",
    "visibility": "visibility",
    "min_disk": "min_disk",
    "min_ram": "min_ram",
    "protected": "protected",
    "checksum": "checksum",
    "created_at": "created_at",
    "updated_at": "updated_at",
}
#: properties that no filter may name
_REFUSED = frozenset({"changes-since", "is_public"})


def shared_with(actor: Actor, statuses: tuple[str, ...]) -> Clause:
    members = REGISTRY[ImageMember].table.c
    mine = sa.select(members.image_id).where(members.member_id == actor.project_id, members.status.in_(statuses))
    found: Clause = sa.and_(_images().visibility == "shared", _images().id.in_(mine))
    return found


def _seen(call: Call) -> list[Clause]:
    """What the list shows to whom: one's own, what is public, and what one accepted; not others' community images."""
    c, actor = _images(), call.actor
    visibility = call.one("visibility")
    if visibility and visibility not in _VISIBILITIES:
        raise errors.Invalid(f"Invalid visibility value: {visibility}", field="visibility")
    status = call.one("member_status", "accepted")
    if status not in ("pending", "accepted", "rejected", "all"):
        raise errors.Invalid(f"Invalid status: {status}", field="member_status")
    statuses = ("pending", "accepted", "rejected") if status == "all" else (status,)
    own = sa.and_(c.owner == actor.project_id, sa.true() if actor.project_id else sa.false())
    seen: list[Clause] = []
    if not actor.is_admin:
        seen.append(sa.or_(own, c.visibility.in_(("public", "community")), shared_with(actor, statuses)))
    if visibility == "shared" and call.one("member_status"):
        # asked for by membership: what others share with the caller
        seen.append(shared_with(actor, statuses) if not actor.is_admin else c.visibility == "shared")
    elif visibility and visibility != "all":
        seen.append(c.visibility == visibility)
    elif not visibility:
        seen.append(sa.or_(c.visibility != "community", own))
    return seen


def inside(reader: Reader, column: Any, starts: tuple[str, ...], needle: str) -> Clause:
    """The JSON text of the column holds `needle` after one of `starts`; quotes inside of values are escaped there,
    so that a match is exact."""
    find = sa.func.strpos if reader.conn.dialect.name == "postgresql" else sa.func.instr
    return sa.or_(*(find(sa.cast(column, sa.Text), start + needle) > 0 for start in starts))


def clauses(call: Call, reader: Reader) -> list[Clause]:
    """Raises Invalid naming the filter at fault."""
    c = _images()
    found = _seen(call)
    hidden = call.flag("os_hidden", False)
    found.append(c.hidden.is_(hidden))
    for name, value in call.query:
        if name in _PAGING:
            continue
        if name in _REFUSED:
            raise errors.Invalid(f"The filter {name} is not supported.", field=name)
        if name == "tag":
            found.append(inside(reader, c.tags, ("[", ","), msgspec.json.encode(value).decode()))
        elif name in _FILTERS:
            found.append(_FILTERS[name](value))
        else:
            pair = f"{msgspec.json.encode(name).decode()}:{msgspec.json.encode(value).decode()}"
            found.append(inside(reader, c.properties, ("{", ","), pair))
    return found


def order(call: Call) -> list[tuple[str, bool]]:
    """(column, descending), with the id at last so that pages never overlap. Raises Invalid."""
    pairs: list[tuple[str, str]] = []
    combined, keys, directions = call.one("sort"), call.all("sort_key"), call.all("sort_dir")
    if combined and (keys or directions):
        raise errors.Invalid("Old and new sorting syntax cannot be combined.", field="sort")
    if combined:
        for item in combined.split(","):
            key, _, direction = item.strip().partition(":")
            pairs.append((key, direction or "desc"))
    else:
        if directions and len(directions) not in (1, len(keys)):
            raise errors.Invalid("Number of sort dirs does not match the number of sort keys.", field="sort_dir")
        keys = keys or ["created_at"]
        directions = directions or ["desc"]
        pairs = [(k, directions[min(n, len(directions) - 1)]) for n, k in enumerate(keys)]
    result: list[tuple[str, bool]] = []
    for key, direction in pairs:
        if key not in _SORT:
            raise errors.Invalid(f"Invalid sort key: {key}", field="sort_key")
        if direction not in ("asc", "desc"):
            raise errors.Invalid(f"Invalid sort direction: {direction}", field="sort_dir")
        if _SORT[key] not in [column for column, _ in result]:
            result.append((_SORT[key], direction == "desc"))
    names = [column for column, _ in result]
    last = result[-1][1]
    result += [(column, last) for column in ("created_at", "id") if column not in names]
    return result


def _after(marker: Image, keys: list[tuple[str, bool]]) -> Clause:
    """Rows behind the marker in this order: one alternative for each key that may decide."""
    c = _images()
    alternatives: list[Clause] = []
    equal: list[Clause] = []
    for column, descending in keys:
        value = getattr(marker, column)
        behind = c[column] < value if descending else c[column] > value
        alternatives.append(sa.and_(*equal, behind))
        equal.append(c[column] == value)
    return sa.or_(*alternatives)


def limit_of(call: Call) -> int:
    text = call.one("limit")
    if not text:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit()) or len(text) > 19:
        raise errors.Invalid("limit param must be an integer not less than 0.", field="limit")
    return min(int(text), MAX_LIMIT)


def page(call: Call, reader: Reader) -> list[Image]:
    """Raises Invalid for a filter, a sort key or a marker that does not exist."""
    where, keys, limit = clauses(call, reader), order(call), limit_of(call)
    marker_id = call.one("marker")
    if marker_id:
        marker = reader.find(Image, marker_id, dead=True)
        if marker is None:
            raise errors.Invalid(f"Invalid marker: image {marker_id} could not be found.", field="marker")
        where.append(_after(marker, keys))
    c = _images()
    columns = [c[column].desc() if descending else c[column].asc() for column, descending in keys]
    return reader.select(Image, *where, order=columns, limit=limit) if limit else []


def links(call: Call, found: list[Image]) -> tuple[str, str]:
    """first and next, as paths below the service's root (Glance's own form)."""
    kept = [(k, v) for k, v in call.query if k != "marker"]
    first = "/v2/images" + (f"?{urlencode(kept)}" if kept else "")
    if not found or len(found) < limit_of(call):
        return first, ""
    return first, f"/v2/images?{urlencode([*kept, ('marker', found[-1].id)])}"
