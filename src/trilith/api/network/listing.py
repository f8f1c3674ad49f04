"""Lists, shows and changes as all network resources have them: filters in SQL, pages by marker, links, `fields`.

A resource states itself as a `Noun`; the handlers of list and show, and the frame of changes, are made from it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

import msgspec
import sqlalchemy as sa
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer, Precondition
from trilith.api.http.times import seconds_z
from trilith.commands.network_search import has, visible
from trilith.model.record import Actor, Record
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx

R = TypeVar("R", bound=Record)
T = TypeVar("T")
Clause = sa.ColumnElement[bool]
Filter = Callable[[Reader, Sequence[str]], Clause]

#: records of one page at most, whatever the limit asked for
MOST = 10_000
_PAGING = frozenset({"limit", "marker", "page_reverse", "sort_key", "sort_dir", "fields"})


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks. admin sees all projects; provider and binding attributes show only to admins."""

    actor: Actor
    admin: bool
    call: Call


@dataclass(frozen=True, slots=True)
class Noun(Generic[R]):
    """show: rows of a page into wire structs, with what else they need read in batches. sort: wire name → column.

    label: as Neutron's NotFound sentences have it.
    """

    cls: type[R]
    singular: str
    plural: str
    label: str
    missing: type[errors.Missing]
    show: Callable[[Reader, Sequence[R], Viewer], Sequence[Any]]
    filters: Mapping[str, Filter]
    sort: Mapping[str, str]
    #: path part; Neutron writes some with dashes
    path: str = ""
    #: filters by what only administrators are shown: others would learn it from what is found
    hidden: frozenset[str] = frozenset()

    @property
    def rule(self) -> str:
        return f"get_{self.singular}"


def viewer(call: Call) -> Viewer:
    return Viewer(call.actor, call.can("context_is_admin"), call)


# ---- filters


def text(cls: type[Record], column: str) -> Filter:
    c = REGISTRY[cls].table.c[column]
    return lambda _r, values: c.in_(values)


def number(cls: type[Record], column: str) -> Filter:
    c = REGISTRY[cls].table.c[column]
    # what is no number matches nothing, as in Neutron
    return lambda _r, values: c.in_([int(v) for v in values if len(v) < 19 and v.removeprefix("-").isdecimal()])


def flag(cls: type[Record], column: str) -> Filter:
    c = REGISTRY[cls].table.c[column]
    return lambda _r, values: c.in_([boolean(v) for v in values])


def boolean(text: str) -> bool:
    """Raises Invalid for what is no boolean."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise errors.Invalid(f"Invalid input for operation: '{text}' is not a valid boolean value.")


def member(cls: type[Record], column: str) -> Filter:
    """One of a list kept as JSON."""
    c = REGISTRY[cls].table.c[column]
    return lambda r, values: sa.or_(*(has(r, c, v) for v in values))


def tag_filters(cls: type[Record]) -> dict[str, Filter]:
    """Neutron's tag filtering: comma-separated lists, all or any, or not."""
    c = REGISTRY[cls].table.c["tags"]

    def every(r: Reader, values: Sequence[str]) -> Clause:
        return sa.and_(*(has(r, c, tag) for value in values for tag in value.split(",")))

    def some(r: Reader, values: Sequence[str]) -> Clause:
        return sa.or_(*(has(r, c, tag) for value in values for tag in value.split(",")))

    return {
        "tags": every,
        "tags-any": some,
        "not-tags": lambda r, values: sa.not_(every(r, values)),
        "not-tags-any": lambda r, values: sa.not_(some(r, values)),
    }


def standard_filters(cls: type[Record]) -> dict[str, Filter]:
    """Those of every resource, as far as its columns go."""
    columns = REGISTRY[cls].table.c
    found: dict[str, Filter] = {"id": text(cls, "id"), "revision_number": number(cls, "revision")}
    for name in ("name", "description"):
        if name in columns:
            found[name] = text(cls, name)
    if "project_id" in columns:
        found["project_id"] = found["tenant_id"] = text(cls, "project_id")
    if "tags" in columns:
        found |= tag_filters(cls)
    found["changed_since"] = lambda _r, values: columns["updated_at"] >= max(map(_moment, values))
    return found


def _moment(value: str) -> float:
    try:
        return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError) as err:
        raise errors.Invalid(
            f"Invalid input for operation: The input changed_since must be in the format YYYY-MM-DDTHH:MM:SSZ: {value}."
        ) from err


def standard_sort(cls: type[Record]) -> dict[str, str]:
    columns = REGISTRY[cls].table.c
    wanted = {
        "id": "id",
        "name": "name",
        "description": "description",
        "project_id": "project_id",
        "tenant_id": "project_id",
        "created_at": "created_at",
        "updated_at": "updated_at",
        "revision_number": "revision",
        "status": "status",
        "admin_state_up": "admin_up",
    }
    return {name: column for name, column in wanted.items() if column in columns}


# ---- list and show


def index(noun: Noun[Any]) -> Callable[[Call], Awaitable[Answer]]:
    async def handler(call: Call) -> Answer:
        """200: what matches, by page. 400: an unknown filter or sort key. 404: the marker."""
        call.allow(noun.rule)
        who = viewer(call)
        page = Page.of(call, noun)
        shown, more = await call.read(lambda r: _page(r, noun, page, who))
        items: Sequence[Any] = _only(shown, page.fields)
        body: dict[str, Any] = {noun.plural: items}
        if page.limit and (links := page.links(call, shown, more)):
            body[f"{noun.plural}_links"] = links
        return Answer(body)

    return handler


def show(noun: Noun[Any]) -> Callable[[Call], Awaitable[Answer]]:
    async def handler(call: Call) -> Answer:
        """200: the resource. 404: not there, or not visible."""
        call.allow(noun.rule)
        who = viewer(call)
        fields = call.all("fields")
        one = await call.read(lambda r: noun.show(r, [fetch(r, noun, who, call.params["id"])], who)[0])
        return Answer({noun.singular: _only([one], fields)[0]})

    return handler


@dataclass(frozen=True, slots=True)
class Page:
    clauses: tuple[tuple[str, tuple[str, ...]], ...]
    keys: tuple[tuple[str, bool], ...]  # column, descending
    limit: int
    marker: str
    reverse: bool
    fields: list[str]

    @staticmethod
    def of(call: Call, noun: Noun[Any]) -> Page:
        given: dict[str, list[str]] = {}
        for name, value in call.query:
            given.setdefault(name, []).append(value)
        unknown = [name for name in given if name not in noun.filters and name not in _PAGING]
        if unknown:
            raise errors.Invalid(f"{unknown} is invalid attribute for filtering", field=unknown[0])
        names, directions = given.get("sort_key", []), given.get("sort_dir", [])
        if directions and len(names) != len(directions):
            raise errors.Invalid("The number of sort_keys and sort_dirs must be same")
        for name in names:
            if name not in noun.sort:
                raise errors.Invalid(f"{name} is invalid attribute for sort_keys", field="sort_key")
        for direction in directions:
            if direction not in ("asc", "desc"):
                raise errors.Invalid(f"sort_dirs must be 'asc' or 'desc', not {direction}", field="sort_dir")
        directions = directions or ["asc"] * len(names)
        return Page(
            tuple((name, tuple(values)) for name, values in given.items() if name in noun.filters),
            tuple((noun.sort[n], d == "desc") for n, d in zip(names, directions, strict=True)),
            _limit(call),
            call.one("marker"),
            call.flag("page_reverse"),
            given.get("fields", []),
        )

    def links(self, call: Call, shown: Sequence[Any], more: bool) -> list[dict[str, str]]:
        """By Neutron's api_common.get_pagination_links."""
        found = []
        rest = [(k, v) for k, v in call.query if k not in ("marker", "page_reverse")]
        base = call.url(call.request.url.path.removeprefix(call.service.prefix))
        if shown and (more or self.reverse):
            query = urlencode([*rest, ("marker", shown[-1].id)])
            found.append({"rel": "next", "href": f"{base}?{query}"})
        if shown and (self.marker or self.reverse) and (more or not self.reverse):
            query = urlencode([*rest, ("marker", shown[0].id), ("page_reverse", "True")])
            found.append({"rel": "previous", "href": f"{base}?{query}"})
        return found


def _limit(call: Call) -> int:
    """0 for none. Neutron reads "infinite" so, too."""
    asked = call.one("limit")
    if asked in ("", "infinite"):
        return 0
    if not asked.isdecimal() or len(asked) > 18:
        raise errors.Invalid(f"Limit must be an integer 0 or greater and not '{asked}'", field="limit")
    return min(int(asked), MOST)


def _page(reader: Reader, noun: Noun[Any], page: Page, who: Viewer) -> tuple[Sequence[Any], bool]:
    clauses = [noun.filters[name](reader, values) for name, values in page.clauses]
    if not who.admin:
        clauses.append(visible(noun.cls, who.actor))
        if any(name in noun.hidden for name, _ in page.clauses):
            clauses.append(sa.false())
    table = REGISTRY[noun.cls].table
    keys = [(table.c[column], down != page.reverse) for column, down in page.keys]
    keys.append((table.c.seq, page.reverse))
    if page.marker:
        clauses.append(_after(keys, fetch(reader, noun, who, page.marker)))
    size = page.limit or MOST
    rows = reader.select(noun.cls, *clauses, order=[c.desc() if down else c.asc() for c, down in keys], limit=size + 1)
    more = len(rows) > size
    rows = rows[:size]
    if page.reverse:
        rows.reverse()
    return noun.show(reader, rows, who), more


def _after(keys: Sequence[tuple[sa.Column[Any], bool]], marker: Record) -> Clause:
    """Rows after the marker in the order of the keys: (a > x) or (a = x and b > y) …"""
    found: list[Clause] = []
    equal: list[Clause] = []
    for column, down in keys:
        value = getattr(marker, column.name)
        found.append(sa.and_(*equal, column < value if down else column > value))
        equal.append(column == value)
    return sa.or_(*found)


def _only(shown: Sequence[Any], fields: Sequence[str]) -> Sequence[Any]:
    if not fields:
        return shown
    wanted = set(fields)
    return [{k: v for k, v in msgspec.to_builtins(one).items() if k in wanted} for one in shown]


# ---- changes


def fetch(reader: Reader, noun: Noun[R], who: Viewer, id: str) -> R:
    """Raises the noun's own Missing for what is not there or not visible."""
    table = REGISTRY[noun.cls].table
    clauses = () if who.admin else (visible(noun.cls, who.actor),)
    found = reader.select(noun.cls, table.c.id == id, *clauses, limit=1)
    if not found:
        raise noun.missing(f"{noun.label} {id} could not be found.")
    return found[0]


def expected_revision(call: Call) -> int | None:
    """If-Match: revision_number=N (Neutron's revision-if-match)."""
    given = call.headers.get("if-match", "")
    if not given:
        return None
    name, _, value = given.strip('" ').partition("=")
    if name != "revision_number" or not value.isdecimal() or len(value) > 18:
        raise errors.Invalid(f"If-Match: {given!r} is not revision_number=N.", field="If-Match")
    return int(value)


def check_revision(record: Record, expected: int | None) -> None:
    """Raises Precondition (412)."""
    if expected is not None and record.revision != expected:
        raise Precondition(f"Constrained to {expected}, but current revision is {record.revision}")


async def create_all(
    call: Call, noun: Noun[R], one: T | UnsetType, several: list[T] | UnsetType, make: Callable[[Tx, T], R]
) -> Answer:
    """201: one or, in bulk, all; none of a bulk where one fails."""
    return await create_many(call, noun, one, several, lambda tx, wanted: [make(tx, w) for w in wanted])


async def create_many(
    call: Call,
    noun: Noun[R],
    one: T | UnsetType,
    several: list[T] | UnsetType,
    make: Callable[[Tx, list[T]], Sequence[R]],
) -> Answer:
    """The same, where making all at once costs less than making each."""
    if isinstance(several, list):
        wanted = several
    elif not isinstance(one, UnsetType):
        wanted = [one]
    else:
        raise errors.Invalid(f"Unable to find '{noun.singular}' in request body", field=noun.singular)
    if not wanted:
        raise errors.Invalid("Resources required", field=noun.plural)
    who = viewer(call)

    def body(tx: Tx) -> Sequence[Any]:
        return noun.show(tx, make(tx, wanted), who)

    shown = await call.write(body, f"{noun.singular}.create")
    if isinstance(several, list):
        return Answer({noun.plural: shown}, status=201)
    return Answer({noun.singular: shown[0]}, status=201)


async def change(call: Call, noun: Noun[R], act: Callable[[Tx, R], Any], rule: str = "") -> Answer:
    """200: as it is now. 403, 404, 412 by rule, sight and If-Match."""
    who, expected = viewer(call), expected_revision(call)

    def body(tx: Tx) -> Any:
        record = fetch(tx, noun, who, call.params["id"])
        call.allow(rule or f"update_{noun.singular}", project_id=getattr(record, "project_id", ""))
        check_revision(record, expected)
        act(tx, record)
        return noun.show(tx, [tx.get(noun.cls, record.id)], who)[0]

    return Answer({noun.singular: await call.write(body, f"{noun.singular}.update")})


async def remove(call: Call, noun: Noun[R], act: Callable[[Tx, R], None]) -> Answer:
    """204. 403, 404, 412 by rule, sight and If-Match."""
    who, expected = viewer(call), expected_revision(call)

    def body(tx: Tx) -> None:
        record = fetch(tx, noun, who, call.params["id"])
        call.allow(f"delete_{noun.singular}", project_id=getattr(record, "project_id", ""))
        check_revision(record, expected)
        act(tx, record)

    await call.write(body, f"{noun.singular}.delete")
    return Answer(status=204)


def owner(call: Call, noun: Noun[Any], *given: str | UnsetType | None) -> str:
    """The project of what is created: as given, else the caller's. Raises Forbidden, Invalid."""
    named = next((g for g in given if isinstance(g, str) and g), "") or call.actor.project_id
    call.allow(f"create_{noun.singular}", project_id=named)
    if not named:
        raise errors.Invalid("Running without keystone AuthN requires that tenant_id is specified", field="project_id")
    return named


def restrict(call: Call, rules: Mapping[str, object], **target: Any) -> None:
    """Check the rule of each attribute that was given."""
    for rule, value in rules.items():
        if value is not UNSET:
            call.allow(rule, **target)


def integer(value: int | str, field: str, least: int, most: int) -> int:
    """Clients write some numbers as text, and Neutron takes both. Raises Invalid for what is none in its bounds."""
    if isinstance(value, str) and len(value) < 19 and value.removeprefix("-").isdecimal():
        value = int(value)
    if not isinstance(value, int) or not least <= value <= most:
        raise errors.Invalid(
            f"Invalid input for {field}. Reason: '{value}' is not a number from {least} to {most}.", field=field
        )
    return value


def refuse_hints(hints: Sequence[str]) -> None:
    """Networks and gateways go to no zone: that is refused, not kept and forgotten. Raises Invalid."""
    if hints:
        raise errors.Invalid(
            "Unrecognized attribute(s) 'availability_zone_hints'",
            hint="Networks and routers are in every zone here.",
            field="availability_zone_hints",
        )


def refuse_publishing(field: str, wanted: object) -> None:
    """Names are answered on their network; there is no name service outside to publish them to, so that is refused, not
    kept and forgotten. Raises Invalid."""
    if wanted is not UNSET and wanted:
        raise errors.Invalid(
            f"Invalid input for {field}. Reason: this cloud publishes no names to a DNS service outside.",
            hint="A port's dns_name is answered on its network.",
            field=field,
        )


# ---- what every wire struct has


class Standard(msgspec.Struct, kw_only=True):
    id: str
    project_id: str
    tenant_id: str
    description: str
    created_at: str
    updated_at: str
    revision_number: int


def standard(record: Record) -> dict[str, Any]:
    project = getattr(record, "project_id", "")
    return {
        "id": record.id,
        "project_id": project,
        "tenant_id": project,
        "description": getattr(record, "description", ""),
        "created_at": seconds_z(record.created_at),
        "updated_at": seconds_z(record.updated_at),
        "revision_number": record.revision,
    }
