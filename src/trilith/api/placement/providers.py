"""/resource_providers: the providers themselves, their aggregates, and what they have allocated."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.placement import forest, query
from trilith.api.placement.layout import Wants, matching
from trilith.api.placement.wire import (
    BadQuery,
    Generation,
    Link,
    Uuid,
    at_least,
    check_uuid,
    fresh,
    known_query,
    path,
    unexpected,
)
from trilith.commands import resource_providers as commands
from trilith.model.node import Allocation, Consumer, Inventory, ProviderAggregates, ResourceProvider
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, new_id

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class NewProvider(msgspec.Struct, forbid_unknown_fields=True):
    name: _Name
    uuid: Uuid | None = None
    parent_provider_uuid: Uuid | None = None


class ProviderUpdate(msgspec.Struct, forbid_unknown_fields=True):
    name: _Name
    parent_provider_uuid: Uuid | msgspec.UnsetType | None = msgspec.UNSET


class ProviderView(msgspec.Struct, omit_defaults=True, gc=False):
    uuid: str
    name: str
    generation: int
    links: list[Link]
    parent_provider_uuid: str | msgspec.UnsetType | None = msgspec.UNSET
    root_provider_uuid: str | msgspec.UnsetType = msgspec.UNSET


class Providers(msgspec.Struct):
    resource_providers: list[ProviderView]


def view(call: Call, provider: ResourceProvider) -> ProviderView:
    base = path(f"/resource_providers/{provider.id}")
    rels = ["self", "inventories", "usages"]
    rels += [
        name
        for name, since in (("aggregates", "1.1"), ("traits", "1.6"), ("allocations", "1.11"))
        if at_least(call, since)
    ]
    made = ProviderView(
        uuid=provider.id,
        name=provider.name,
        generation=provider.generation,
        links=[Link(rel, base if rel == "self" else f"{base}/{rel}") for rel in rels],
    )
    if at_least(call, "1.14"):
        made.parent_provider_uuid = provider.parent_id or None
        made.root_provider_uuid = provider.root_id
    return made


def get(reader: Reader, call: Call) -> ResourceProvider:
    """The provider of the path. Raises Missing."""
    provider_id = call.params["uuid"]
    found = reader.find(ResourceProvider, provider_id)
    if found is None:
        raise errors.Missing(f"No resource provider with uuid {provider_id} found")
    return found


async def provider_of(call: Call) -> ResourceProvider:
    return await call.read(lambda r: get(r, call))


_LIST = (
    ("name", "1.0"),
    ("uuid", "1.0"),
    ("member_of", "1.3"),
    ("resources", "1.4"),
    ("in_tree", "1.14"),
    ("required", "1.18"),
)


async def list_providers(call: Call) -> Answer:
    """200. 400 for a filter that this microversion does not have or that is malformed."""
    known_query(call, frozenset(name for name, since in _LIST if at_least(call, since)))
    found = await _found(call)
    newest = max((p.updated_at for p in found), default=0.0)
    return fresh(call, Providers([view(call, p) for p in found]), at=newest)


async def _found(call: Call) -> list[ResourceProvider]:
    c = REGISTRY[ResourceProvider].table.c
    where: list[sa.ColumnElement[bool]] = []
    if call.all("name"):
        where.append(c.name == call.one("name"))
    if call.all("uuid"):
        where.append(c.id == _uuid(call.one("uuid"), "uuid"))
    given = {name: call.all(name) for name in ("required", "member_of") if call.all(name)}
    amounts = query.resources(call.one("resources")) if call.all("resources") else {}
    wants = replace(query.filters(call, given), resources=amounts)
    if clash := sorted(t for any_of in wants.required if any_of <= wants.forbidden for t in any_of):
        raise BadQuery(f"Conflicting required and forbidden traits found: {', '.join(clash)}", field="required")
    if call.all("in_tree"):
        mine = sa.select(c.root_id).where(c.id == _uuid(call.one("in_tree"), "in_tree")).scalar_subquery()
        where.append(c.root_id == mine)

    def body(reader: Reader) -> list[ResourceProvider]:
        query.check_names(reader, [wants], 'Invalid trait(s) in "required" parameter: ')
        rows = reader.select(ResourceProvider, *where)
        if not rows or wants == Wants():
            return rows
        known = forest.read(reader, call.host.store)
        fine = matching(known.layout, known.used, wants)
        return [row for row in rows if row.id in fine]

    return await call.read(body)


def _uuid(text: str, field: str) -> str:
    try:
        return check_uuid(text)
    except errors.Invalid as err:
        raise BadQuery(
            f"Invalid query string parameters: Expected '{field}' parameter to be a format of uuid. Got: {text}",
            field=field,
        ) from err


async def create(call: Call) -> Answer:
    """201 and Location (200 and the provider from 1.20 on). 400 for a missing parent, 409 for a taken name or uuid."""
    body: NewProvider = call.body
    if body.parent_provider_uuid is not None and not at_least(call, "1.14"):
        raise unexpected("parent_provider_uuid")
    provider_id = check_uuid(body.uuid) if body.uuid else new_id()
    parent = check_uuid(body.parent_provider_uuid) if body.parent_provider_uuid else ""
    made = await call.write(lambda tx: commands.create(tx, provider_id, body.name, parent), "resource_provider.create")
    headers = {"Location": call.url(f"/resource_providers/{made.id}")}
    if at_least(call, "1.20"):
        return fresh(call, view(call, made), at=made.updated_at, status=200, headers=headers)
    return Answer(status=201, headers=headers)


async def show(call: Call) -> Answer:
    """200. 404 for no such provider."""
    found = await provider_of(call)
    return fresh(call, view(call, found), at=found.updated_at)


async def update(call: Call) -> Answer:
    """200. 400 for a parent that is missing, or may not be, 404, 409 for a taken name."""
    body: ProviderUpdate = call.body
    parent: str | None = None
    if body.parent_provider_uuid is not msgspec.UNSET:
        if not at_least(call, "1.14"):
            raise unexpected("parent_provider_uuid")
        given = body.parent_provider_uuid
        parent = check_uuid(given) if isinstance(given, str) else ""
    await provider_of(call)
    done = await call.write(
        lambda tx: commands.update(tx, call.params["uuid"], body.name, parent, may_reparent=at_least(call, "1.37")),
        "resource_provider.update",
    )
    return fresh(call, view(call, done), at=done.updated_at)


async def delete(call: Call) -> None:
    """204. 404, 409 while it has children or allocations."""
    id = call.params["uuid"]
    if await call.read(lambda r: r.find(ResourceProvider, id)) is None:
        raise errors.Missing(f"No resource provider with uuid {id} found for delete")
    await call.write(lambda tx: commands.delete(tx, id), "resource_provider.delete")


class Aggregates(msgspec.Struct, omit_defaults=True):
    aggregates: list[str]
    resource_provider_generation: int | msgspec.UnsetType = msgspec.UNSET


class AggregatesUpdate(msgspec.Struct, forbid_unknown_fields=True):
    aggregates: list[Uuid]
    resource_provider_generation: Generation


def _aggregates(call: Call, names: tuple[str, ...], generation: int) -> Aggregates:
    shown = generation if at_least(call, "1.19") else msgspec.UNSET
    return Aggregates(list(names), shown)


async def list_aggregates(call: Call) -> Answer:
    """200. 404 for no such provider."""

    def body(reader: Reader) -> tuple[ResourceProvider, ProviderAggregates | None]:
        provider = get(reader, call)
        return provider, reader.find(ProviderAggregates, provider.id)

    provider, held = await call.read(body)
    return fresh(call, _aggregates(call, held.aggregates if held else (), provider.generation))


async def put_aggregates(call: Call) -> Answer:
    """200. 400 for what is no list of UUIDs, 404, 409 for an old generation (1.19 and newer)."""
    await provider_of(call)
    grow = at_least(call, "1.19")
    raw: Any = call.body
    generation: int | None = None
    try:
        if grow:
            update = msgspec.convert(raw, AggregatesUpdate)
            names, generation = update.aggregates, update.resource_provider_generation
        else:
            names = msgspec.convert(raw, list[Uuid])
    except msgspec.ValidationError as err:
        raise errors.Invalid(f"JSON does not validate: {err}") from err
    if len(set(names)) != len(names):
        raise errors.Invalid(f"JSON does not validate: {names} has non-unique elements")
    wanted = tuple(check_uuid(n) for n in names)
    made = await call.write(
        lambda tx: commands.set_aggregates(tx, call.params["uuid"], wanted, generation, grow=grow),
        "resource_provider.aggregates",
    )
    return fresh(call, _aggregates(call, wanted, made))


class ConsumerShare(msgspec.Struct, omit_defaults=True):
    resources: dict[str, int]
    consumer_generation: int | msgspec.UnsetType = msgspec.UNSET


class ProviderAllocations(msgspec.Struct):
    allocations: dict[str, ConsumerShare]
    resource_provider_generation: int


async def list_allocations(call: Call) -> Answer:
    """200: by consumer. 404 for no such provider."""

    def body(reader: Reader) -> tuple[ResourceProvider, list[Allocation], dict[str, Consumer]]:
        provider = get(reader, call)
        rows = reader.select(Allocation, provider_id=provider.id)
        consumers = REGISTRY[Consumer].table.c
        held = sa.select(REGISTRY[Allocation].table.c.consumer_id).where(
            REGISTRY[Allocation].table.c.provider_id == provider.id
        )
        return provider, rows, {c.id: c for c in reader.select(Consumer, consumers.id.in_(held))}

    provider, rows, consumers = await call.read(body)
    found: dict[str, ConsumerShare] = {}
    for row in rows:
        entry = found.setdefault(row.consumer_id, ConsumerShare({}))
        entry.resources[row.resource_class] = row.used
        if at_least(call, "1.28"):
            entry.consumer_generation = consumers[row.consumer_id].generation
    return fresh(call, ProviderAllocations(found, provider.generation))


class Usages(msgspec.Struct):
    usages: dict[str, int]
    resource_provider_generation: int


async def list_usages(call: Call) -> Answer:
    """200: what is used of each class. 404 for no such provider."""

    def body(reader: Reader) -> tuple[ResourceProvider, list[Inventory]]:
        provider = get(reader, call)
        return provider, reader.select(Inventory, provider_id=provider.id)

    provider, held = await call.read(body)
    return fresh(call, Usages({i.resource_class: i.used for i in held}, provider.generation))
