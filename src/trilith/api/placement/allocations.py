"""/allocations, /usages and /reshaper."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.placement.inventories import InventoriesPut, check_classes, stock
from trilith.api.placement.wire import (
    NO_PROVIDER,
    Amount,
    BadQuery,
    Name,
    Refused,
    Uuid,
    at_least,
    check_uuid,
    fresh,
    known_query,
)
from trilith.commands import allocations as commands
from trilith.commands import resource_providers
from trilith.commands.allocations import ANY_GENERATION
from trilith.model.node import Allocation, Consumer, Inventory, ResourceProvider
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx

_Owner = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
_Type = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern="^[A-Z0-9_]+$")]
_Suffix = Annotated[str, msgspec.Meta(max_length=64, pattern="^[a-zA-Z0-9_-]*$")]
#: GET /usages: every type, or consumers without one
_ALL, _UNKNOWN = "all", "unknown"


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
    mappings: Annotated[dict[_Suffix, list[Uuid]], msgspec.Meta(min_length=1)] | None = None


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
        wrong = f"'{'project_id' if body.project_id is None else 'user_id'}' is a required property"
    elif not at_least(call, "1.8") and (body.project_id is not None or body.user_id is not None):
        wrong = (
            f"Additional properties are not allowed ('{'project_id' if body.project_id else 'user_id'}' was unexpected)"
        )
    elif (body.consumer_generation is not msgspec.UNSET) is not at_least(call, "1.28"):
        wrong = _step(call, "1.28", "consumer_generation")
    elif (body.consumer_type is not None) is not at_least(call, "1.38"):
        wrong = _step(call, "1.38", "consumer_type")
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


def _step(call: Call, since: str, name: str) -> str:
    """What is wrong with a field that is required since a microversion, and not known before."""
    if at_least(call, since):
        return f"'{name}' is a required property"
    return f"Additional properties are not allowed ('{name}' was unexpected)"


def _write(tx: Tx, consumer: str, body: AllocationsBody, wanted: dict[str, dict[str, int]], grown: set[str]) -> None:
    names = {rc for amounts in wanted.values() for rc in amounts}
    check_classes(tx, names, f"Unable to allocate inventory for consumer {consumer}:")
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
        grown=grown,
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
    """200, with no allocations for a consumer that has none, or that cannot be."""
    consumer_id = call.params["consumer"]

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
            made.consumer_type = consumer.type or _UNKNOWN
    return fresh(call, made, at=max((r.updated_at for r in rows), default=0.0))


async def put(call: Call) -> Answer:
    """204. 400 for an unknown provider or class, 409 when it does not fit or another writer was first."""
    body: AllocationsBody = call.body
    consumer = check_uuid(call.params["consumer"], "consumer_uuid")
    wanted = _checked(call, body, may_be_empty=at_least(call, "1.28"))
    await call.write(lambda tx: _write(tx, consumer, body, wanted, set()), "allocation.put")
    return Answer(status=204)


async def delete(call: Call) -> None:
    """204. 404 for a consumer that has none."""
    consumer = call.params["consumer"]

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

    grown: set[str] = set()
    for consumer, (body, wanted) in sorted(checked.items(), key=growth):
        _write(tx, consumer, body, wanted, grown)


async def reshape(call: Call) -> Answer:
    """204: inventories and allocations of many providers in one transaction. 400, 409."""
    body: ReshapeBody = call.body
    checked = {check_uuid(c): (b, _checked(call, b, may_be_empty=True)) for c, b in body.allocations.items()}
    stocks = {
        check_uuid(p): (
            put_.resource_provider_generation,
            {rc: stock(call, p, rc, i) for rc, i in put_.inventories.items()},
        )
        for p, put_ in body.inventories.items()
    }

    def write(tx: Tx) -> None:
        for provider in stocks:
            if tx.find(ResourceProvider, provider) is None:
                raise Refused(
                    f"Resource provider {provider} in inventories not found: No resource provider with uuid {provider} "
                    "found.",
                    reason=NO_PROVIDER,
                )
        for provider, (generation, wanted) in stocks.items():
            check_classes(tx, wanted, "malformed reshaper data:")
            held = {
                i.resource_class: resource_providers.stock_of(i) for i in tx.select(Inventory, provider_id=provider)
            }
            if wanted:
                resource_providers.set_inventories(tx, provider, held | wanted, generation)
            else:  # nothing to take from yet: only that the caller knows the provider as it is
                resource_providers.expect(tx, provider, generation)
        _many(tx, checked)
        for provider, (_, wanted) in stocks.items():  # what is not wanted goes when nobody uses it any more
            resource_providers.set_inventories(tx, provider, wanted, None)

    await call.write(write, "allocation.reshape")
    return Answer(status=204)


class UsagesView(msgspec.Struct):
    usages: dict[str, Any]


async def usages(call: Call) -> Answer:
    """200: what a project (and one user of it) uses; from 1.38 on by type of consumer. 400 without project_id."""
    typed = at_least(call, "1.38")
    known_query(call, frozenset({"project_id", "user_id"} | ({"consumer_type"} if typed else set())))
    project, user, kind = call.one("project_id"), call.one("user_id"), call.one("consumer_type")
    if not call.all("project_id"):
        raise BadQuery("Invalid query string parameters: 'project_id' is a required property", field="project_id")
    for name in ("project_id", "user_id", "consumer_type"):
        if call.all(name) and not 0 < len(call.one(name)) <= 255:
            raise BadQuery(f"Invalid query string parameters: {name} must have 1 to 255 characters.", field=name)
    if kind not in ("", _ALL, _UNKNOWN) and not re.fullmatch("[A-Z0-9_]+", kind):
        raise BadQuery(f"Invalid query string parameters: '{kind}' is no type of consumer.", field="consumer_type")
    call.allow("placement:usages", project_id=project)
    a, c = REGISTRY[Allocation].table.c, REGISTRY[Consumer].table.c
    where = [c.project_id == project, *([c.user_id == user] if user else [])]
    if kind and kind != _ALL:
        where.append(c.type == ("" if kind == _UNKNOWN else kind))
    tables = REGISTRY[Consumer].table.join(REGISTRY[Allocation].table, a.consumer_id == c.id)
    total = sa.func.sum(a.used)
    used = sa.select(c.type, a.resource_class, total).select_from(tables).where(*where)
    consumers = sa.select(c.type, sa.func.count(sa.distinct(c.id))).select_from(tables).where(*where).group_by(c.type)

    def read(r: Reader) -> tuple[Any, Any]:
        rows = r.conn.execute(used.group_by(c.type, a.resource_class)).all()
        return rows, r.conn.execute(consumers).all() if typed else ()

    rows, counts = await call.read(read)
    found: dict[str, Any] = {}
    for type_, resource_class, amount in rows:
        entry = found.setdefault(_label(kind, type_), {}) if typed else found
        entry[resource_class] = entry.get(resource_class, 0) + int(amount)
    for type_, count in counts:
        entry = found[_label(kind, type_)]
        entry["consumer_count"] = entry.get("consumer_count", 0) + count
    return fresh(call, UsagesView(found))


def _label(asked: str, type_: str) -> str:
    return _ALL if asked == _ALL else type_ or _UNKNOWN
