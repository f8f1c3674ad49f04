"""Resource providers with their inventories, traits and aggregates. Every change of one raises its generation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import sqlalchemy as sa

from trilith import errors
from trilith.config import Settings
from trilith.model.node import (
    Allocation,
    Inventory,
    Node,
    ProviderAggregates,
    ProviderTraits,
    ResourceClass,
    ResourceProvider,
    Trait,
)
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx, new_id

# Placement's own error codes (microversion 1.23)
CONCURRENT = "placement.concurrent_update"
DUPLICATE = "placement.duplicate_name"
IN_USE = "placement.inventory.inuse"
PARENT = "placement.resource_provider.cannot_delete_parent"
PROVIDER_IN_USE = "placement.resource_provider.inuse"
UNDEFINED = "placement.undefined_code"


class PlacementConflict(errors.Conflict):
    """A conflict with Placement's own code in `reason`."""

    def __init__(self, message: str, *, reason: str = UNDEFINED, hint: str = "", field: str = "") -> None:
        super().__init__(message, hint=hint, field=field)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """An inventory as it is asked for. Amounts in the unit that the resource class names."""

    total: int
    reserved: int = 0
    min_unit: int = 1
    max_unit: int = 2147483647
    step_size: int = 1
    allocation_ratio: float = 1.0


@cache
def standard_traits() -> frozenset[str]:
    import os_traits  # 30 ms of import that only who asks for traits pays

    return frozenset(os_traits.get_traits())


@cache
def standard_classes() -> tuple[str, ...]:
    import os_resource_classes

    return tuple(os_resource_classes.STANDARDS)


def known_traits(reader: Reader, names: Iterable[str]) -> set[str]:
    """Those of the names that exist."""
    wanted = set(names)
    found = wanted & standard_traits()
    custom = sorted(wanted - found)
    if custom:
        found |= {t.id for t in reader.select(Trait, id=custom)}
    return found


def known_classes(reader: Reader, names: Iterable[str]) -> set[str]:
    wanted = set(names)
    found = wanted & set(standard_classes())
    custom = sorted(wanted - found)
    if custom:
        found |= {c.id for c in reader.select(ResourceClass, id=custom)}
    return found


_CHANGED = "Resource provider's generation already changed. Please update the generation and try again."


def bump(tx: Tx, provider: ResourceProvider, expected: int | None, said: str = "") -> int:
    """The new generation. expected: what the caller knows, compared where it is written; None for any.

    said: what a conflict is told by.

    Raises PlacementConflict when another writer was first.
    """
    t = REGISTRY[ResourceProvider].table
    where = [t.c.id == provider.id]
    if expected is not None:
        where.append(t.c.generation == expected)
    values = {"generation": t.c.generation + 1, "revision": t.c.revision + 1, "updated_at": tx.now}
    done = tx.conn.execute(sa.update(t).where(*where).values(values))
    if done.rowcount != 1:
        raise PlacementConflict(
            said
            or f"resource provider generation conflict for provider {provider.id}: actual: {provider.generation}, "
            f"given: {expected}",
            reason=CONCURRENT,
            hint="Read the provider again and repeat the request.",
        )
    tx.touch("resource_provider", provider.id)
    return (provider.generation if expected is None else expected) + 1


def expect(tx: Tx, provider_id: str, generation: int) -> None:
    """Raises PlacementConflict when the provider is not of this generation any more."""
    provider = tx.get(ResourceProvider, provider_id)
    if provider.generation != generation:
        raise PlacementConflict(
            f"resource provider generation conflict for provider {provider_id}: actual: {provider.generation}, "
            f"given: {generation}",
            reason=CONCURRENT,
        )


def create(tx: Tx, provider_id: str, name: str, parent_id: str = "", node_id: str = "") -> ResourceProvider:
    """Raises PlacementConflict for a taken id or name, Invalid for a parent that does not exist."""
    if tx.find(ResourceProvider, provider_id) is not None:
        raise PlacementConflict(f"Conflicting resource provider uuid: {provider_id} already exists.", reason=DUPLICATE)
    if tx.first(ResourceProvider, name=name) is not None:
        raise PlacementConflict(f"Conflicting resource provider name: {name} already exists.", reason=DUPLICATE)
    root = provider_id
    if parent_id:
        if parent_id == provider_id:
            why = "parent provider UUID cannot be same as UUID. Please set it to null."
            raise _bad_parent("create", f'"{name}", {provider_id}', why)
        parent = tx.find(ResourceProvider, parent_id)
        if parent is None:
            raise _bad_parent(
                "create", f'"{name}", {provider_id}', f"parent provider UUID does not exist: {parent_id}."
            )
        root = parent.root_id
    return tx.add(ResourceProvider(id=provider_id, name=name, parent_id=parent_id, root_id=root, node_id=node_id))


def _bad_parent(verb: str, name: str, why: str) -> errors.Invalid:
    return errors.Invalid(
        f"Unable to {verb} resource provider {name}: Object action {verb} failed because: {why}",
        field="parent_provider_uuid",
    )


def update(tx: Tx, provider_id: str, name: str, parent_id: str | None, *, may_reparent: bool) -> ResourceProvider:
    """parent_id: None leaves it, "" makes it a root. may_reparent: microversion 1.37. Raises as create."""
    provider = tx.get(ResourceProvider, provider_id)
    other = tx.first(ResourceProvider, name=name)
    if other is not None and other.id != provider_id:
        raise PlacementConflict(f"Conflicting resource provider name: {name} already exists.", reason=DUPLICATE)
    if parent_id is None or parent_id == provider.parent_id:
        return tx.change(provider, name=name)
    if provider.parent_id and not may_reparent:
        what = "re-parenting" if parent_id else "un-parenting"
        raise _bad_parent("save", provider_id, f"{what} a provider is not currently allowed.")
    root = provider_id
    if parent_id:
        parent = tx.find(ResourceProvider, parent_id)
        if parent is None:
            raise _bad_parent("save", provider_id, f"parent provider UUID does not exist: {parent_id}.")
        root = parent.root_id
    below = _subtree(tx, provider)
    if parent_id in {p.id for p in below}:
        raise _bad_parent("save", provider_id, "creating loop in the provider tree is not allowed.")
    for child in below:
        if child.id != provider_id and child.root_id != root:
            tx.change(child, root_id=root)
    return tx.change(provider, name=name, parent_id=parent_id, root_id=root)


def _subtree(reader: Reader, provider: ResourceProvider) -> list[ResourceProvider]:
    """The provider and all below it."""
    found, level = [provider], [provider.id]
    while level:
        children = reader.select(ResourceProvider, parent_id=level)
        found += children
        level = [c.id for c in children]
    return found


def delete(tx: Tx, provider_id: str) -> None:
    """Raises PlacementConflict while it has children or allocations."""
    provider = tx.get(ResourceProvider, provider_id)
    if tx.first(ResourceProvider, parent_id=provider_id) is not None:
        raise PlacementConflict(
            f"Unable to delete parent resource provider {provider_id}: It has child resource providers.", reason=PARENT
        )
    if tx.first(Allocation, provider_id=provider_id) is not None:
        raise PlacementConflict(
            f"Unable to delete resource provider {provider_id}: Resource provider has allocations.",
            reason=PROVIDER_IN_USE,
        )
    for noun in (Inventory,):
        tx.remove_where(noun, provider_id=provider_id)
    tx.remove_where(ProviderTraits, id=provider_id)
    tx.remove_where(ProviderAggregates, id=provider_id)
    tx.remove(provider)


def set_inventories(tx: Tx, provider_id: str, wanted: Mapping[str, Stock], generation: int | None) -> int:
    """Make the inventories exactly `wanted`; the new generation. Raises PlacementConflict for a class in use that
    would go, or another writer; Invalid for an unknown class."""
    provider = tx.get(ResourceProvider, provider_id)
    made = bump(tx, provider, generation)
    held = {i.resource_class: i for i in tx.select(Inventory, provider_id=provider_id)}
    gone = [held[resource_class] for resource_class in sorted(held.keys() - wanted.keys())]
    _drop(tx, gone)
    for resource_class, stock in sorted(wanted.items()):
        _put(tx, provider_id, resource_class, stock, held.get(resource_class))
    return made


def put_inventory(
    tx: Tx, provider_id: str, resource_class: str, stock: Stock, generation: int | None, *, new: bool = False
) -> int:
    """One class. new: it may not be there yet. Raises Invalid when it is missing, PlacementConflict."""
    provider = tx.get(ResourceProvider, provider_id)
    held = tx.first(Inventory, provider_id=provider_id, resource_class=resource_class)
    if held is None and not new:
        raise errors.Invalid(
            f"No inventory record with resource class for resource provider {provider_id}: {resource_class}.",
            field="resource_class",
        )
    if held is not None and new:
        raise PlacementConflict(
            f"Update conflict: inventory of class {resource_class} already exists.", reason=CONCURRENT
        )
    made = bump(tx, provider, generation)
    _put(tx, provider_id, resource_class, stock, held)
    return made


def delete_inventory(tx: Tx, provider_id: str, resource_class: str) -> None:
    """Raises Missing, or PlacementConflict while it is in use."""
    provider = tx.get(ResourceProvider, provider_id)
    held = tx.first(Inventory, provider_id=provider_id, resource_class=resource_class)
    if held is None:
        raise errors.Missing(f"No inventory of class {resource_class} found for delete on {provider_id}.")
    bump(tx, provider, None)
    _drop(tx, [held], reason=CONCURRENT)  # the code that Placement gives here


def _put(tx: Tx, provider_id: str, resource_class: str, stock: Stock, held: Inventory | None) -> None:
    if held is None:
        tx.add(
            Inventory(
                id=new_id(),
                provider_id=provider_id,
                resource_class=resource_class,
                total=stock.total,
                reserved=stock.reserved,
                min_unit=stock.min_unit,
                max_unit=stock.max_unit,
                step_size=stock.step_size,
                allocation_ratio=stock.allocation_ratio,
            )
        )
    elif stock != stock_of(held):
        tx.change(
            held,
            total=stock.total,
            reserved=stock.reserved,
            min_unit=stock.min_unit,
            max_unit=stock.max_unit,
            step_size=stock.step_size,
            allocation_ratio=stock.allocation_ratio,
        )


def stock_of(held: Inventory) -> Stock:
    return Stock(
        total=held.total,
        reserved=held.reserved,
        min_unit=held.min_unit,
        max_unit=held.max_unit,
        step_size=held.step_size,
        allocation_ratio=held.allocation_ratio,
    )


def _drop(tx: Tx, held: list[Inventory], *, reason: str = IN_USE) -> None:
    t = REGISTRY[Inventory].table
    in_use = [
        one.resource_class
        for one in held
        if tx.conn.execute(sa.delete(t).where(t.c.seq == one.seq, t.c.used == 0)).rowcount != 1
    ]
    if in_use:
        where = f"resource provider '{held[0].provider_id}'"
        raise PlacementConflict(
            f"update conflict: Inventory for '{', '.join(in_use)}' on {where} in use.", reason=reason
        )


def set_traits(tx: Tx, provider_id: str, traits: Iterable[str], generation: int | None) -> int:
    """The new generation. Raises Invalid for traits that do not exist."""
    provider, wanted = tx.get(ResourceProvider, provider_id), tuple(sorted(set(traits)))
    made = bump(tx, provider, generation, _CHANGED)
    unknown = set(wanted) - known_traits(tx, wanted)
    if unknown:
        raise errors.Invalid(f"No such trait {', '.join(sorted(unknown))}", field="traits")
    held = tx.find(ProviderTraits, provider_id)
    if held is None:
        tx.add(ProviderTraits(id=provider_id, traits=wanted))
    else:
        tx.change(held, traits=wanted)
    return made


def set_aggregates(tx: Tx, provider_id: str, aggregates: Iterable[str], generation: int | None, *, grow: bool) -> int:
    """The generation afterwards. grow: microversion 1.19 and newer raise and compare it; older ones leave it."""
    provider, wanted = tx.get(ResourceProvider, provider_id), tuple(sorted(set(aggregates)))
    made = bump(tx, provider, generation, _CHANGED) if grow else provider.generation
    held = tx.find(ProviderAggregates, provider_id)
    if held is None:
        tx.add(ProviderAggregates(id=provider_id, aggregates=wanted))
    else:
        tx.change(held, aggregates=wanted)
    tx.touch("resource_provider", provider_id)
    return made


#: traits that a node's own report decides; others on its provider are the operator's and stay
_REPORTED = ("COMPUTE_", "HW_", "CUSTOM_TRILITH_")
_DISABLED = "COMPUTE_STATUS_DISABLED"


def ensure_node(tx: Tx, node: Node, settings: Settings) -> None:
    """The provider of a cluster node as its facts say. Idempotent: the generation grows only when something changed.

    The provider's id and name are the node's. A class that the node no longer has but that is still in use keeps its
    inventory with nothing left to claim.
    """
    facts = node.facts
    if facts is None:
        return
    provider = tx.find(ResourceProvider, node.id) or create(tx, node.id, node.name, node_id=node.id)
    ratios = {
        "VCPU": settings.cpu_allocation_ratio,
        "MEMORY_MB": settings.ram_allocation_ratio,
        "DISK_GB": settings.disk_allocation_ratio,
    }
    wanted: dict[str, Stock] = {}
    for resource_class, total in facts.inventories.items():
        if total < 1:
            continue
        reserved = min(settings.reserved_memory_mib, total) if resource_class == "MEMORY_MB" else 0
        ratio = ratios.get(resource_class, 1.0)
        wanted[resource_class] = Stock(total=total, reserved=reserved, max_unit=total, allocation_ratio=ratio)
    held = {i.resource_class: i for i in tx.select(Inventory, provider_id=provider.id)}
    for resource_class, old in held.items():
        if resource_class not in wanted and old.used:
            wanted[resource_class] = Stock(total=old.total, reserved=old.total, max_unit=old.max_unit)
    if {rc: stock_of(i) for rc, i in held.items()} != wanted:
        set_inventories(tx, provider.id, wanted, None)
    row = tx.find(ProviderTraits, provider.id)
    before = set(row.traits) if row else set()
    traits = {t for t in before if not t.startswith(_REPORTED)} | set(facts.traits) | {"COMPUTE_NODE"}
    traits = (traits | {_DISABLED}) if not node.enabled else traits - {_DISABLED}
    if traits != before:
        _know(tx, traits)
        bump(tx, provider, None)
        if row is None:
            tx.add(ProviderTraits(id=provider.id, traits=tuple(sorted(traits))))
        else:
            tx.change(row, traits=tuple(sorted(traits)))


def _know(tx: Tx, traits: Iterable[str]) -> None:
    custom = sorted(t for t in traits if t.startswith("CUSTOM_"))
    known = {t.id for t in tx.select(Trait, id=custom)} if custom else set()
    for name in custom:
        if name not in known:
            tx.add(Trait(id=name))


def add_name(tx: Tx, cls: Callable[..., Trait] | Callable[..., ResourceClass], name: str) -> bool:
    """Make a custom trait or resource class; False when it is there. cls: Trait or ResourceClass."""
    noun: type[Trait] | type[ResourceClass] = Trait if cls is Trait else ResourceClass
    if tx.find(noun, name) is not None:
        return False
    tx.add(noun(id=name))
    tx.touch("resource_class" if noun is ResourceClass else "trait", name)
    return True


def remove_class(tx: Tx, name: str) -> None:
    """Raises Missing, Invalid for a standard class, PlacementConflict while an inventory has it."""
    if name in standard_classes():
        raise errors.Invalid(f"Error in delete resource class: Cannot delete standard resource class {name}.")
    found = tx.find(ResourceClass, name)
    if found is None:
        raise errors.Missing(f"No such resource class {name}.")
    if tx.first(Inventory, resource_class=name) is not None:
        raise PlacementConflict(
            f"Error in delete resource class: Cannot delete resource class {name}. Class is in use in inventory."
        )
    tx.remove(found)
    tx.touch("resource_class", name)


def rename_class(tx: Tx, name: str, new: str) -> None:
    """Its inventories and allocations go with it. Raises Missing, Invalid for a standard class, PlacementConflict for
    a name that is taken."""
    if name in standard_classes():
        raise errors.Invalid(f"Cannot update standard resource class {name}")
    found = tx.find(ResourceClass, name)
    if found is None:
        raise errors.Missing(f"No such resource class {name}.")
    if name == new:
        return
    if known_classes(tx, [new]):
        raise PlacementConflict(f"Resource class already exists: {new}")
    tx.remove(found)
    tx.add(ResourceClass(id=new))
    for noun in (Inventory, Allocation):
        t = REGISTRY[noun].table
        renamed = {"resource_class": new, "revision": t.c.revision + 1}
        tx.conn.execute(sa.update(t).where(t.c.resource_class == name).values(renamed))
    tx.touch("resource_class", new)


def remove_trait(tx: Tx, name: str) -> None:
    """Raises Missing, Invalid for a standard trait, PlacementConflict while a provider has it."""
    if name in standard_traits():
        raise errors.Invalid(f"Cannot delete standard trait {name}.")
    found = tx.find(Trait, name)
    if found is None:
        raise errors.Missing(f"No such trait: {name}.")
    # traits are a list inside a row: the quoted name in its text is exact, as names have no quotes
    held = REGISTRY[ProviderTraits].table.c.traits
    if tx.first(ProviderTraits, sa.cast(held, sa.Text).contains(f'"{name}"', autoescape=True)) is not None:
        raise PlacementConflict(f"The trait {name} is in use by a resource provider.")
    tx.remove(found)
    tx.touch("trait", name)
