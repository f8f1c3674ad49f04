"""/allocations, /usages and /reshaper."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import sqlalchemy as sa

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.placement.inventories import InventoriesPut, _stock, check_classes
from trilith.api.placement.wire import Amount, Name, Uuid, at_least, check_uuid, fresh, known_query
from trilith.commands import allocations as commands
from trilith.commands import resource_providers
from trilith.commands.allocations import ANY_GENERATION
from trilith.model.node import Allocation, Consumer, Inventory, ResourceProvider
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx

_Owner = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
_Type = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern="^[A-Z0-9_]+$")]


class Share(msgspec.Struct, forbid_unknown_fields=True):
    """generation: of the provider, as GET shows it; ignored in writes."""

    resources: Annotated[dict[Name, Amount], msgspec.Meta(min_length=1)]
    generation: int | None = None


class ListedProvider(msgspec.Struct, forbid_unknown_fields=True):
    uuid: Uuid


class ListedShare(msgspec.Struct, forbid_unknown_fields=True):
    """The form up to microversion 1.11."""

    resource_provider: ListedProvider
    resources: Annotated[dict[Name, Amount], msgspec.Meta(min_length=1)]


class AllocationsBody(msgspec.Struct, forbid_unknown_fields=True):
    allocations: dict[Uuid, Share] | list[ListedShare]
    project_id: _Owner | None = None
    user_id: _Owner | None = None
    consumer_generation: int | msgspec.UnsetType | None = msgspec.UNSET
    consumer_type: _Type | None = None
    mappings: dict[str, list[Uuid]] | None = None


class ReshapeBody(msgspec.Struct, forbid_unknown_fields=True):
    inventories: dict[Uuid, InventoriesPut]
    allocations: dict[Uuid, AllocationsBody]


def _checked(call: Call, body: AllocationsBody, *, may_be_empty: bool) -> dict[str, dict[str, int]]:
    """provider → class → amount. Raises Invalid for fields that this microversion lacks or wants."""
    listed = isinstance(body.allocations, list)
    wrong = ""
    if listed and at_least(call, "1.12"):
        wrong = "allocations: must be an object"
    elif not listed and not at_least(call, "1.12"):
        wrong = "allocations: must be an array"
    elif at_least(call, "1.8") and (body.project_id is None or body.user_id is None):
        wrong = "'project_id' and 'user_id' are required properties"
    elif (body.consumer_generation is not msgspec.UNSET) is not at_least(call, "1.28"):
        wrong = "'consumer_generation' is required from microversion 1.28 on, and not known before"
    elif (body.consumer_type is not None) is not at_least(call, "1.38"):
        wrong = "'consumer_type' is required from microversion 1.38 on, and not known before"
    elif body.mappings is not None and not at_least(call, "1.34"):
        wrong = "Additional properties are not allowed ('mappings' was unexpected)"
    elif not body.allocations and not may_be_empty:
        wrong = "allocations: must not be empty"
    if wrong:
        raise errors.Invalid(f"JSON does not validate: {wrong}")
    if isinstance(body.allocations, list):
        pairs = [(one.resource_provider.uuid, one.resources) for one in body.allocations]
    else:
        pairs = [(provider, share.resources) for provider, share in body.allocations.items()]
    return {check_uuid(provider): dict(amounts) for provider, amounts in pairs}


def _write(tx: Tx, consumer: str, body: AllocationsBody, wanted: dict[str, dict[str, int]]) -> None:
    check_classes(tx, {rc for amounts in wanted.values() for rc in amounts})
    known = tx.find(Consumer, consumer)
    if body.consumer_generation is msgspec.UNSET:
        generation: Any = ANY_GENERATION
    else:
        generation = body.consumer_generation
    commands.replace(
        tx,
        consumer,
        wanted,
        project_id=body.project_id or (known.project_id if known else _NOBODY),
        user_id=body.user_id or (known.user_id if known else _NOBODY),
        generation=generation,
        type=body.consumer_type or "",
    )
    tx.touch("allocation", consumer, body.project_id or "")


#: who owns what was allocated before microversion 1.8 (Placement's incomplete_consumer_project_id)
_NOBODY = "00000000-0000-0000-0000-000000000000"


class AllocationsView(msgspec.Struct, omit_defaults=True):
    allocations: dict[str, dict[str, Any]]
    project_id: str | msgspec.UnsetType = msgspec.UNSET
    user_id: str | msgspec.UnsetType = msgspec.UNSET
    consumer_generation: int | msgspec.UnsetType = msgspec.UNSET
    consumer_type: str | msgspec.UnsetType = msgspec.UNSET


async def show(call: Call) -> Answer:
    """200, with no allocations for a consumer that has none."""
    consumer_id = check_uuid(call.params["consumer"])

    def body(reader: Reader) -> tuple[Consumer | None, list[Allocation], dict[str, int]]:
        rows = reader.select(Allocation, consumer_id=consumer_id)
        found = reader.select(ResourceProvider, id={r.provider_id for r in rows}) if rows else []
        return reader.find(Consumer, consumer_id), rows, {p.id: p.generation for p in found}

    consumer, rows, generations = await call.read(body)
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        entry = found.setdefault(row.provider_id, {"generation": generations[row.provider_id], "resources": {}})
        entry["resources"][row.resource_class] = row.used
    made = AllocationsView(found)
    if consumer is not None:
        if at_least(call, "1.12"):
            made.project_id, made.user_id = consumer.project_id, consumer.user_id
        if at_least(call, "1.28"):
            made.consumer_generation = consumer.generation
        if at_least(call, "1.38"):
            made.consumer_type = consumer.type
    return fresh(call, made, at=max((r.updated_at for r in rows), default=0.0))


async def put(call: Call) -> Answer:
    """204. 400 for an unknown provider or class, 409 when it does not fit or another writer was first."""
    body: AllocationsBody = call.body
    consumer = check_uuid(call.params["consumer"])
    wanted = _checked(call, body, may_be_empty=at_least(call, "1.28"))
    await call.write(lambda tx: _write(tx, consumer, body, wanted), "allocation.put")
    return Answer(status=204)


async def delete(call: Call) -> None:
    """204. 404 for a consumer that has none."""
    consumer = check_uuid(call.params["consumer"])

    def body(tx: Tx) -> None:
        if tx.first(Allocation, consumer_id=consumer) is None:
            raise errors.Missing(f"No allocations for consumer '{consumer}'")
        commands.release(tx, consumer)
        tx.touch("allocation", consumer)

    await call.write(body, "allocation.delete")


async def post(call: Call) -> Answer:
    """204: the allocations of many consumers at once, all or none. 400, 409 as PUT."""
    given: dict[str, AllocationsBody] = call.body
    if not given:
        raise errors.Invalid("JSON does not validate: {} does not have enough properties")
    checked = {check_uuid(c): (b, _checked(call, b, may_be_empty=True)) for c, b in given.items()}

    def body(tx: Tx) -> None:
        _many(tx, checked)

    await call.write(body, "allocation.post")
    return Answer(status=204)


def _many(tx: Tx, checked: dict[str, tuple[AllocationsBody, dict[str, dict[str, int]]]]) -> None:
    """Who gives back goes first, so that a swap fits."""

    def growth(item: tuple[str, tuple[AllocationsBody, dict[str, dict[str, int]]]]) -> tuple[int, str]:
        consumer, (_, wanted) = item
        return (sum(n for amounts in wanted.values() for n in amounts.values()), consumer)

    for consumer, (body, wanted) in sorted(checked.items(), key=growth):
        _write(tx, consumer, body, wanted)


async def reshape(call: Call) -> Answer:
    """204: inventories and allocations of many providers in one transaction. 400, 404, 409."""
    body: ReshapeBody = call.body
    checked = {check_uuid(c): (b, _checked(call, b, may_be_empty=True)) for c, b in body.allocations.items()}
    stocks = {
        check_uuid(p): (
            put_.resource_provider_generation,
            {rc: _stock(call, rc, i) for rc, i in put_.inventories.items()},
        )
        for p, put_ in body.inventories.items()
    }

    def write(tx: Tx) -> None:
        leaving: dict[str, dict[str, resource_providers.Stock]] = {}
        for provider, (generation, wanted) in stocks.items():
            check_classes(tx, wanted)
            if tx.find(ResourceProvider, provider) is None:
                raise errors.Missing(f"Resource provider {provider} in inventories does not exist.")
            held = {
                i.resource_class: resource_providers.stock_of(i) for i in tx.select(Inventory, provider_id=provider)
            }
            resource_providers.set_inventories(tx, provider, held | wanted, generation)
            if held.keys() - wanted.keys():
                leaving[provider] = wanted
        _many(tx, checked)
        for provider, wanted in leaving.items():  # what is not wanted goes when nobody uses it any more
            resource_providers.set_inventories(tx, provider, wanted, None)

    await call.write(write, "allocation.reshape")
    return Answer(status=204)


class UsagesView(msgspec.Struct):
    usages: dict[str, Any]


async def usages(call: Call) -> Answer:
    """200: what a project (and one user of it) uses; from 1.38 on by type of consumer. 400 without project_id."""
    known = {"project_id", "user_id"} | ({"consumer_type"} if at_least(call, "1.38") else set())
    known_query(call, frozenset(known))
    project, user, kind = call.one("project_id"), call.one("user_id"), call.one("consumer_type")
    if not project:
        raise errors.Invalid("Invalid query string parameters: 'project_id' is a required property")
    call.allow("placement:usages", project_id=project)
    a, c = REGISTRY[Allocation].table.c, REGISTRY[Consumer].table.c
    where = [c.project_id == project, *([c.user_id == user] if user else [])]
    if kind and kind not in ("all", "unknown"):
        where.append(c.type == kind)
    total = sa.func.sum(a.used)
    stmt = (
        sa.select(c.type, a.resource_class, total, sa.func.count(sa.distinct(c.id)))
        .select_from(REGISTRY[Consumer].table.join(REGISTRY[Allocation].table, a.consumer_id == c.id))
        .where(*where)
        .group_by(c.type, a.resource_class)
    )
    rows = await call.read(lambda r: r.conn.execute(stmt).all())
    found: dict[str, Any] = {}
    for type_, resource_class, used, count in rows:
        if not at_least(call, "1.38"):
            found[resource_class] = found.get(resource_class, 0) + int(used)
            continue
        entry = found.setdefault("all" if kind == "all" else type_, {"consumer_count": 0})
        entry[resource_class] = entry.get(resource_class, 0) + int(used)
        entry["consumer_count"] = max(entry["consumer_count"], count)
    return fresh(call, UsagesView(found))
