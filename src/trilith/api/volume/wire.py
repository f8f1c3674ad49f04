"""What the block storage resources share on the wire: errors, times, bounds, pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

import msgspec
import sqlalchemy as sa

from trilith import errors
from trilith.api.http.call import Call
from trilith.model.record import Record
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

R = TypeVar("R", bound=Record)

VERSION = "/v3"
#: Cinder's osapi_max_limit
MAX = 1000

Name = Annotated[str, msgspec.Meta(max_length=255, pattern=r"^[^\x00]*$")]
Text = Annotated[str, msgspec.Meta(max_length=255, pattern=r"^[^\x00]*$")]
Key = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
Metadata = dict[Key, Text]
#: a boolean as Cinder takes it, also as a word; a number, also in digits
Flag = bool | str | int
Number = int | Annotated[str, msgspec.Meta(pattern=r"^[0-9]+$", max_length=10)]

_NAMES = {
    400: "badRequest", 401: "unauthorized", 403: "forbidden", 404: "itemNotFound", 405: "badMethod",
    409: "conflictingRequest", 413: "overLimit", 501: "notImplemented", 503: "serviceUnavailable",
}  # fmt: skip
STATUSES = {"quota": 413, "too_large": 413, "unsupported": 400, "no_valid_host": 400}


class Link(msgspec.Struct):
    rel: str
    href: str


def error_body(status: int, err: errors.TrilithError) -> dict[str, dict[str, int | str]]:
    return {_NAMES.get(status, "computeFault"): {"code": status, "message": str(err)}}


def when(at: float) -> str:
    """2026-01-31T12:00:00.000000."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


def when_or_none(at: float) -> str | None:
    return when(at) if at else None


def flag(value: Flag, field: str) -> bool:
    """Raises Invalid for what is no boolean."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in ("true", "t", "1", "on", "y", "yes"):
        return True
    if word in ("false", "f", "0", "off", "n", "no"):
        return False
    raise errors.Invalid(f"Invalid input for field/attribute {field}. Value: {value}.", field=field)


def number(value: Number, field: str, *, least: int = 0, most: int = 2**31 - 1) -> int:
    """Raises Invalid outside of the bounds."""
    found = int(value)
    if not least <= found <= most:
        raise errors.Invalid(
            f"Invalid input for field/attribute {field}. Value: {value}. It must be from {least} to {most}.",
            field=field,
        )
    return found


def links(call: Call, kind: str, id: str) -> list[Link]:
    project = call.params.get("project", call.actor.project_id)
    return [
        Link("self", call.url(f"{VERSION}/{project}/{kind}/{id}")),
        Link("bookmark", call.url(f"/{project}/{kind}/{id}")),
    ]


def everyone(call: Call) -> bool:
    """Whether the list is of all projects, which administrators alone get. Raises Invalid for no boolean."""
    return call.actor.is_admin and call.flag("all_tenants")


class Page(msgspec.Struct):
    """rows of one page, whether there are more, and how many there are in all, where that was asked for."""

    rows: list[Any]
    more: bool
    count: int | None = None


def page(
    reader: Reader,
    call: Call,
    cls: type[R],
    clauses: Sequence[sa.ColumnElement[bool]],
    columns: Mapping[str, str],
    *,
    count: bool = False,
) -> Page:
    """limit, offset, marker, sort (key:dir, …), sort_key and sort_dir, newest first by default. Raises Invalid."""
    table = REGISTRY[cls].table
    limit = call.number("limit", MAX, least=0)
    order = _order(call, columns)
    whole = [*order, ("seq", order[0][1])]
    wanted = list(clauses)
    marker = call.one("marker")
    if marker:
        start = reader.find(cls, marker)
        if start is None:
            raise errors.Missing(f"marker [{marker}] not found", field="marker")
        wanted.append(_after(table, start, whole))
    found = reader.select(
        cls,
        *wanted,
        order=[table.c[name].desc() if down else table.c[name].asc() for name, down in whole],
        limit=min(limit, MAX) + 1,
        offset=call.number("offset", 0),
    ) if limit else []  # fmt: skip
    rows = found[: min(limit, MAX)]
    total = None
    if count:
        total = int(reader.conn.execute(sa.select(sa.func.count()).select_from(table).where(
            *clauses, table.c.deleted_at == 0)).scalar_one())  # fmt: skip
    return Page(rows, len(found) > len(rows), total)


def _after(table: sa.Table, start: Record, whole: Sequence[tuple[str, bool]]) -> sa.ColumnElement[bool]:
    clauses = []
    for index, (name, down) in enumerate(whole):
        same = [table.c[n] == getattr(start, n) for n, _ in whole[:index]]
        value = getattr(start, name)
        clauses.append(sa.and_(*same, table.c[name] < value if down else table.c[name] > value))
    return sa.or_(*clauses)


def _order(call: Call, columns: Mapping[str, str]) -> list[tuple[str, bool]]:
    """(column, descending)."""
    pairs: list[tuple[str, str]] = []
    if text := call.one("sort"):
        for part in text.split(","):
            key, _, way = part.strip().partition(":")
            pairs.append((key, way or "desc"))
    else:
        ways = call.all("sort_dir")
        for index, key in enumerate(call.all("sort_key")):
            pairs.append((key, ways[index] if index < len(ways) else (ways[0] if ways else "desc")))
        if not pairs and ways:
            pairs.append(("created_at", ways[0]))
    found = []
    for key, way in pairs or [("created_at", "desc")]:
        if key not in columns:
            raise errors.Invalid(f"Invalid sort key: {key}.", field="sort_key")
        if way not in ("asc", "desc"):
            raise errors.Invalid("Unknown sort direction, must be 'desc' or 'asc'.", field="sort_dir")
        found.append((columns[key], way == "desc"))
    return found


def more_links(call: Call, kind: str, made: Page) -> list[Link] | msgspec.UnsetType:
    """The next page's, where there is one."""
    if not made.more:
        return msgspec.UNSET
    project = call.params.get("project", call.actor.project_id)
    kept = [(k, v) for k, v in call.query if k not in ("marker", "offset")]
    return [
        Link("next", f"{call.url(f'{VERSION}/{project}/{kind}')}?{urlencode([*kept, ('marker', made.rows[-1].id)])}")
    ]


def decode_metadata(text: str) -> dict[str, str]:
    """Of a filter: JSON, or the way that Python writes a dict, as Cinder's clients send it. Raises Invalid."""
    try:
        return msgspec.json.decode(text.replace("'", '"'), type=dict[str, str])
    except msgspec.MsgspecError as err:
        raise errors.Invalid(f"metadata: {text!r} is no object of strings.", field="metadata") from err


def changed(**given: Any) -> dict[str, Any]:
    """What was given, without what was not."""
    return {name: value for name, value in given.items() if value is not msgspec.UNSET}
