"""/resource_providers/{uuid}/inventories: what a provider has of each resource class."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer, MethodNotAllowed
from trilith.api.placement.providers import get, provider_of
from trilith.api.placement.wire import Amount, Generation, Name, at_least, fresh
from trilith.commands import resource_providers as commands
from trilith.commands.resource_providers import Stock
from trilith.model.node import Inventory, ResourceProvider
from trilith.store.tx import Reader, Tx

_Zero = Annotated[int, msgspec.Meta(ge=0, le=2147483647)]


class InventoryBody(msgspec.Struct, forbid_unknown_fields=True):
    """Amounts in the unit that the resource class names."""

    total: Amount
    reserved: _Zero = 0
    min_unit: Amount = 1
    max_unit: Amount = 2147483647
    step_size: Amount = 1
    allocation_ratio: Annotated[float, msgspec.Meta(ge=0, le=3.4e38)] = 1.0


class InventoryPut(InventoryBody, forbid_unknown_fields=True, kw_only=True):
    resource_provider_generation: Generation


class InventoryPost(InventoryBody, forbid_unknown_fields=True, kw_only=True):
    resource_class: Name
    resource_provider_generation: Generation | None = None


class InventoriesPut(msgspec.Struct, forbid_unknown_fields=True):
    inventories: dict[Name, InventoryBody]
    resource_provider_generation: Generation


class InventoryView(msgspec.Struct):
    total: int
    reserved: int
    min_unit: int
    max_unit: int
    step_size: int
    allocation_ratio: float


class InventoryOne(InventoryView):
    resource_provider_generation: int


class Inventories(msgspec.Struct):
    inventories: dict[str, InventoryView]
    resource_provider_generation: int


def stock(call: Call, provider: str, resource_class: str, body: InventoryBody, verb: str = "update") -> Stock:
    """Raises Invalid for a capacity below zero, or of zero before 1.26."""
    capacity = int((body.total - body.reserved) * body.allocation_ratio)
    if capacity < 0 or (capacity == 0 and not at_least(call, "1.26")):
        beyond = "greater than" if capacity < 0 else "greater than or equal to"
        raise errors.Invalid(
            f"Unable to {verb} inventory for resource provider {provider}: Invalid inventory for '{resource_class}' on "
            f"resource provider '{provider}'. The reserved value is {beyond} total.",
            field="reserved",
        )
    return Stock(
        total=body.total,
        reserved=body.reserved,
        min_unit=body.min_unit,
        max_unit=body.max_unit,
        step_size=body.step_size,
        allocation_ratio=body.allocation_ratio,
    )


def _view(stock: Stock) -> InventoryView:
    return InventoryView(
        stock.total, stock.reserved, stock.min_unit, stock.max_unit, stock.step_size, stock.allocation_ratio
    )


def _one(stock: Stock, generation: int) -> InventoryOne:
    return InventoryOne(
        stock.total,
        stock.reserved,
        stock.min_unit,
        stock.max_unit,
        stock.step_size,
        stock.allocation_ratio,
        generation,
    )


def check_classes(reader: Reader, names: Iterable[str], said: str = "Unknown resource class in inventory:") -> None:
    """Raises Invalid for a class that does not exist. said: words before the class."""
    wanted = set(names)
    unknown = wanted - commands.known_classes(reader, wanted)
    if unknown:
        raise errors.Invalid(f"{said} No such resource class {min(unknown)}.")


async def _held(call: Call) -> tuple[ResourceProvider, list[Inventory]]:
    def body(reader: Reader) -> tuple[ResourceProvider, list[Inventory]]:
        provider = get(reader, call)
        return provider, reader.select(Inventory, provider_id=provider.id)

    return await call.read(body)


async def list_inventories(call: Call) -> Answer:
    """200. 404 for no such provider."""
    provider, held = await _held(call)
    views = {i.resource_class: _view(commands.stock_of(i)) for i in held}
    return fresh(call, Inventories(views, provider.generation))


async def put_all(call: Call) -> Answer:
    """200. 400 for an unknown class or more reserved than there is, 404, 409 for an old generation or a class that
    is in use and would go."""
    body: InventoriesPut = call.body
    await provider_of(call)
    provider = call.params["uuid"]
    wanted = {name: stock(call, provider, name, one) for name, one in body.inventories.items()}

    def write(tx: Tx) -> int:
        check_classes(tx, wanted)
        return commands.set_inventories(tx, call.params["uuid"], wanted, body.resource_provider_generation)

    made = await call.write(write, "inventory.replace")
    return fresh(call, Inventories({name: _view(one) for name, one in wanted.items()}, made))


async def create(call: Call) -> Answer:
    """201. 400, 404, 409 for one that is there."""
    body: InventoryPost = call.body
    name = body.resource_class
    await provider_of(call)
    made_of = stock(call, call.params["uuid"], name, body, "create")

    def write(tx: Tx) -> int:
        check_classes(tx, [name])
        generation = body.resource_provider_generation
        return commands.put_inventory(tx, call.params["uuid"], name, made_of, generation, new=True)

    made = await call.write(write, "inventory.create")
    where = call.url(f"/resource_providers/{call.params['uuid']}/inventories/{name}")
    return fresh(call, _one(made_of, made), status=201, headers={"Location": where})


async def not_yet(call: Call) -> None:
    """405: all inventories can be deleted at once from microversion 1.5 on."""
    raise MethodNotAllowed("The method DELETE is not allowed for this resource.", allow=("GET", "POST", "PUT"))


async def delete_all(call: Call) -> None:
    """204. 404, 409 while any is in use."""
    await provider_of(call)
    await call.write(lambda tx: commands.set_inventories(tx, call.params["uuid"], {}, None), "inventory.delete")


async def show(call: Call) -> Answer:
    """200. 404 for no such provider or class."""
    provider, held = await _held(call)
    for one in held:
        if one.resource_class == call.params["name"]:
            return fresh(call, _one(commands.stock_of(one), provider.generation), at=one.updated_at)
    raise errors.Missing(f"No inventory of class {call.params['name']} for {provider.id}")


async def put(call: Call) -> Answer:
    """200. 400 for a class that is not there, 404, 409 for an old generation."""
    body: InventoryPut = call.body
    name = call.params["name"]
    await provider_of(call)
    made_of = stock(call, call.params["uuid"], name, body)

    def write(tx: Tx) -> int:
        check_classes(tx, [name])
        return commands.put_inventory(tx, call.params["uuid"], name, made_of, body.resource_provider_generation)

    made = await call.write(write, "inventory.update")
    return fresh(call, _one(made_of, made))


async def delete(call: Call) -> None:
    """204. 404, 409 while it is in use."""
    await provider_of(call)
    await call.write(
        lambda tx: commands.delete_inventory(tx, call.params["uuid"], call.params["name"]), "inventory.delete"
    )
