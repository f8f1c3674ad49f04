"""Lists: filters into SQL, pages by marker, and the links that go with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import urlencode

import sqlalchemy as sa

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.identity.wire import ListLinks
from trilith.model.record import Record
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

R = TypeVar("R", bound=Record)
Clause = sa.ColumnElement[bool]

#: records of a page at most, where the caller sets no lower limit
MOST = 10_000
#: Keystone's inexact filters, by the suffix after the attribute's name
_INEXACT = ("contains", "startswith", "endswith")


@dataclass(frozen=True, slots=True)
class Filters:
    """Attributes that a list can be filtered by: texts (exactly, and with __contains and the like) and booleans.

    renamed: attribute of the query → column.
    """

    texts: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()

    def clauses(self, call: Call, cls: type[Record]) -> list[Clause]:
        """Raises Invalid for a boolean that is none."""
        columns = REGISTRY[cls].table.c
        renamed = dict(self.renamed)
        found: list[Clause] = []
        for key, value in call.query:
            name, _, how = key.partition("__")
            column = columns.get(renamed.get(name, name))
            if column is None:
                continue
            if name in self.flags and not how:
                found.append(column.is_(call.flag(name, default=True)))
            elif name in self.texts:
                found += _text(column, value, how)
        return found


def _text(column: sa.ColumnElement[Any], value: str, how: str) -> list[Clause]:
    if not how:
        return [column == value]
    if how in _INEXACT:
        # LIKE differs between the databases in case; these do not
        where = sa.func.substr
        if how == "startswith":
            return [where(column, 1, len(value)) == value]
        if how == "endswith":
            return [where(column, sa.func.length(column) - len(value) + 1) == value]
        return [holds(column, value)]
    if how[0] == "i" and how[1:] in _INEXACT:
        method = getattr(column, how)
        clause: Clause = method(value, autoescape=True)
        return [clause]
    raise errors.Invalid(f"There is no filter __{how}.", field=how)


def holds(column: sa.ColumnElement[Any], value: str) -> Clause:
    """Whether the text is in the column's, case and all."""
    if not value:
        return sa.true()
    return sa.func.replace(column, value, "") != column


def present(call: Call, name: str) -> bool:
    """A bare ?name counts as true, as in Keystone; 0 and false do not."""
    return any(key == name and value.lower() not in ("0", "false") for key, value in call.query)


@dataclass(frozen=True, slots=True)
class Page:
    """truncated: by a bound of the domain's own, not of the caller's."""

    records: list[Any]
    links: ListLinks
    truncated: bool = False


def page(call: Call, reader: Reader, cls: type[R], path: str, *clauses: Clause, most: int = 0) -> Page:
    """One page of what matches, in order of creation. most: a bound for this list, 0 for the usual one.

    Raises Invalid for a marker that is not there.
    """
    limit = call.number("limit", 0, least=0)
    size = min(limit or MOST, most or MOST)
    columns = REGISTRY[cls].table.c
    marker = call.one("marker")
    if marker:
        last = reader.find(cls, marker)
        if last is None:
            raise errors.Invalid(f"Marker {marker} could not be found.", field="marker")
        clauses = (*clauses, columns.seq > last.seq)
    found = reader.select(cls, *clauses, limit=size + 1)
    cut_off = cut(call, found, size, path)
    return replace(cut_off, truncated=bool(most) and len(found) > size == most)


def cut(call: Call, found: Sequence[Record], size: int, path: str) -> Page:
    """What was read with one more than a page: the page, and the link to the next if there is one."""
    records = list(found[:size])
    after = None
    if len(found) > size and records:
        pairs = [(k, v) for k, v in call.query if k not in ("marker", "limit")]
        pairs += [("limit", str(size)), ("marker", records[-1].id)]
        after = f"{call.url(path)}?{urlencode(pairs)}"
    return Page(records, links(call, path, after))


def links(call: Call, path: str, after: str | None = None) -> ListLinks:
    query = f"?{urlencode(call.query)}" if call.query else ""
    return ListLinks(self=f"{call.url(path)}{query}", next=after)


def answer(name: str, found: Page, show: Callable[[Any], Any]) -> dict[str, Any]:
    """The body of a list: its records under their name, and its links."""
    body = {name: [show(r) for r in found.records], "links": found.links}
    return body | {"truncated": True} if found.truncated else body


def plain(call: Call, name: str, path: str, shown: list[Any]) -> dict[str, Any]:
    """The body of a list that is short by nature and has no pages."""
    return {name: shown, "links": links(call, path)}
