"""Nova's paging: limit, marker, sort_key, sort_dir, and the next link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa

from trilith import errors
from trilith.api.compute.wire import VERSION, Link
from trilith.api.http.call import Call
from trilith.model.record import Record
from trilith.store.mapping import REGISTRY

#: Nova's max_limit
MAX = 1000


def limit_of(call: Call) -> int:
    """The page's size; Nova caps what is asked for. Raises Invalid for what is no number."""
    for value in call.all("limit"):
        if not (value.isascii() and value.isdecimal()):
            raise errors.Invalid(f"Invalid input for query parameters limit. Value: {value}.", field="limit")
    text = call.one("limit")
    if len(text) > 18:  # int() makes no number of thousands of digits
        return MAX
    return min(int(text), MAX) if text else MAX


def marker_of(call: Call) -> str:
    return call.one("marker")


def sort_of(
    call: Call, columns: Mapping[str, str], default: Sequence[tuple[str, str]], *, missing: str = "desc"
) -> list[tuple[str, bool]]:
    """(column, descending) by sort_key and sort_dir. columns: wire name → column ("" to ignore it).

    missing: the direction where none is given. Raises Invalid for another name.
    """
    keys, dirs = call.all("sort_key"), call.all("sort_dir")
    for direction in dirs:
        if direction not in ("asc", "desc"):
            raise errors.Invalid(f"Invalid input for query parameters sort_dir. Value: {direction}.", field="sort_dir")
    if not keys:
        first = dirs[0] if dirs else ""
        return [(column, (first or way) == "desc") for column, way in default]
    found: list[tuple[str, bool]] = []
    for index, key in enumerate(keys):
        if key not in columns:
            raise errors.Invalid(f"Invalid input for query parameters sort_key. Value: {key}.", field="sort_key")
        way = dirs[index] if index < len(dirs) else (dirs[0] if dirs else missing)
        if columns[key]:
            found.append((columns[key], way == "desc"))
    return found or [(column, way == "desc") for column, way in default]


def order_by(cls: type[Record], sort: Sequence[tuple[str, bool]]) -> list[Any]:
    """With seq last, in the direction of the first key, so that the order is whole."""
    table = REGISTRY[cls].table
    whole = [*sort, ("seq", sort[0][1] if sort else False)]
    return [table.c[c].desc() if down else table.c[c].asc() for c, down in whole]


def after(record: Record, sort: Sequence[tuple[str, bool]]) -> sa.ColumnElement[bool]:
    """The rows that come after `record` in this order."""
    table = REGISTRY[type(record)].table
    whole = [*sort, ("seq", sort[0][1] if sort else False)]
    clauses = []
    for index, (column, down) in enumerate(whole):
        same = [table.c[c] == getattr(record, c) for c, _ in whole[:index]]
        value = getattr(record, column)
        beyond = table.c[column] < value if down else table.c[column] > value
        clauses.append(sa.and_(*same, beyond))
    return sa.or_(*clauses)


def next_link(call: Call, path: str, last: str) -> list[Link]:
    kept = [(k, v) for k, v in call.query if k != "marker"]
    return [Link("next", f"{call.url(VERSION + path)}?{urlencode([*kept, ('marker', last)])}")]


def no_marker(marker: str) -> errors.Invalid:
    return errors.Invalid(f"marker [{marker}] not found", field="marker")
