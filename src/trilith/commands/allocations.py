"""Allocations: what a consumer (a server) uses of which provider.

`inventories.used` is the sum of the allocations of a provider and class. It changes only by conditional updates, in
the transaction of the allocation itself: the capacity, (total - reserved) * allocation_ratio, is compared in the
UPDATE's own WHERE. So two claims never overbook, on either database, without reading first.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from trilith import errors
from trilith.commands.resource_providers import CONCURRENT, PlacementConflict
from trilith.model.node import Allocation, Consumer, Inventory, ResourceProvider
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Tx, new_id

#: provider → resource class → amount
Resources = Mapping[str, Mapping[str, int]]


class _Any:
    """No opinion on the consumer's generation."""


ANY_GENERATION = _Any()


#: consumer types (Placement microversion 1.38) by Nova's names; "" is a consumer that nobody gave a type
INSTANCE = "INSTANCE"
MIGRATION = "MIGRATION"


def claim(
    tx: Tx,
    *,
    consumer_id: str,
    provider_id: str,
    resources: Mapping[str, int],
    project_id: str,
    user_id: str,
    type: str = INSTANCE,
) -> None:
    """Let the consumer use exactly `resources` of this provider; what it has of others stays. Again is success.

    resources: amounts by resource class (VCPU threads, MEMORY_MB MiB, DISK_GB GiB). Raises Conflict when it does not
    fit, and leaves the transaction to be rolled back by its caller's exception.
    """
    held: dict[str, dict[str, int]] = {}
    for row in tx.select(Allocation, consumer_id=consumer_id):
        held.setdefault(row.provider_id, {})[row.resource_class] = row.used
    held[provider_id] = dict(resources)
    replace(tx, consumer_id, held, project_id=project_id, user_id=user_id, type=type)


def release(tx: Tx, consumer_id: str, *, provider_id: str = "") -> None:
    """Give back all that the consumer uses, or what it uses of one provider. Nothing held is success."""
    consumer = tx.find(Consumer, consumer_id)
    if consumer is None:
        return
    keep: dict[str, dict[str, int]] = {}
    if provider_id:
        for row in tx.select(Allocation, consumer_id=consumer_id):
            if row.provider_id != provider_id:
                keep.setdefault(row.provider_id, {})[row.resource_class] = row.used
    replace(tx, consumer_id, keep, project_id=consumer.project_id, user_id=consumer.user_id)


def move(tx: Tx, from_consumer: str, to_consumer: str, *, provider_id: str, type: str = INSTANCE) -> None:
    """Hand what one consumer uses of a provider to another (a migration's record). Nothing held is success.

    type: of the consumer that gets it.
    """
    source = tx.find(Consumer, from_consumer)
    rows = tx.select(Allocation, consumer_id=from_consumer, provider_id=provider_id)
    if source is None or not rows:
        return
    amounts = {row.resource_class: row.used for row in rows}
    release(tx, from_consumer, provider_id=provider_id)
    claim(
        tx,
        consumer_id=to_consumer,
        provider_id=provider_id,
        resources=amounts,
        project_id=source.project_id,
        user_id=source.user_id,
        type=type,
    )


def replace(
    tx: Tx,
    consumer_id: str,
    wanted: Resources,
    *,
    project_id: str,
    user_id: str,
    generation: int | _Any | None = ANY_GENERATION,
    type: str = "",
    grown: set[str] | None = None,
) -> None:
    """Make the consumer's allocations exactly `wanted`; nothing wanted removes the consumer.

    generation: the consumer's as the caller knows it, None for a consumer that is to be new. type: "" leaves it.
    grown: given by Placement's API, where every amount is held against its inventory, also one that stays as it was,
    and each provider that is allocated from has its generation raised once a request: its members were raised before,
    and are added to. Raises Invalid for an unknown provider, PlacementConflict when it does not fit or another writer
    was first.
    """
    wanted = {p: {rc: n for rc, n in amounts.items() if n} for p, amounts in wanted.items()}
    _consumer(tx, consumer_id, project_id, user_id, generation, type, empty=not any(wanted.values()))
    held = {(a.provider_id, a.resource_class): a for a in tx.select(Allocation, consumer_id=consumer_id)}
    target = {(p, rc): n for p, amounts in wanted.items() for rc, n in amounts.items()}
    changed: set[str] = set()
    # one order for all writers, so that two of them never wait for each other; what is given back goes first
    for key in sorted(held.keys() | target.keys(), key=lambda k: (target.get(k, 0) > 0, k)):
        provider, resource_class = key
        row, amount = held.get(key), target.get(key, 0)
        same = (row.used if row else 0) == amount
        if same and grown is None:
            continue
        _use(tx, provider, resource_class, amount, amount - (row.used if row else 0))
        if same:
            continue
        if row is None:
            tx.add(
                Allocation(
                    id=new_id(),
                    provider_id=provider,
                    consumer_id=consumer_id,
                    resource_class=resource_class,
                    used=amount,
                )
            )
        elif amount:
            tx.change(row, used=amount)
        else:
            tx.remove(row)
        changed.add(provider)
    # as Placement does: a provider's generation tells of what is taken from it, and not of what is given back, unless
    # the consumer is emptied as a whole
    taken = {provider for provider, _ in target or (() if grown is None else held)}
    taken = taken & changed if grown is None else taken - grown
    for provider in sorted(taken):
        tx.conn.execute(_next_generation(), {"provider": provider})
    if grown is not None:
        grown |= taken


@functools.cache
def _next_generation() -> sa.Update:
    providers = REGISTRY[ResourceProvider].table
    mine = providers.c.id == sa.bindparam("provider")
    return sa.update(providers).where(mine).values(generation=providers.c.generation + 1)


@functools.cache
def _used_more(some: bool, more: bool) -> sa.Update:
    """Add `delta` to what is used, where it fits. some: `amount` is not zero. more: `delta` is positive."""
    t = REGISTRY[Inventory].table
    amount = sa.bindparam("amount", type_=t.c.used.type)
    delta = sa.bindparam("delta", type_=t.c.used.type)
    where = [t.c.provider_id == sa.bindparam("provider"), t.c.resource_class == sa.bindparam("class")]
    if some:
        where += [t.c.min_unit <= amount, t.c.max_unit >= amount, amount % t.c.step_size == 0]
    if more:
        where.append(t.c.used + delta <= (t.c.total - t.c.reserved) * t.c.allocation_ratio)
    return sa.update(t).where(*where).values(used=t.c.used + delta)


def _consumer(
    tx: Tx,
    consumer_id: str,
    project_id: str,
    user_id: str,
    generation: int | _Any | None,
    type: str,
    *,
    empty: bool,
) -> None:
    consumer = tx.find(Consumer, consumer_id)
    known = consumer.generation if consumer else None
    if not isinstance(generation, _Any) and generation != known:
        raise PlacementConflict(
            f"consumer generation conflict - expected {_say(known)} but got {_say(generation)}", reason=CONCURRENT
        )
    if consumer is None:
        if not empty:
            tx.add(Consumer(id=consumer_id, project_id=project_id, user_id=user_id, generation=1, type=type))
        return
    if empty:
        tx.remove(consumer)
        return
    changes: dict[str, Any] = {"generation": consumer.generation + 1, "project_id": project_id, "user_id": user_id}
    if type:
        changes["type"] = type
    tx.change(consumer, **changes)


def _say(generation: object) -> str:
    return "null" if generation is None else str(generation)


def _use(tx: Tx, provider: str, resource_class: str, amount: int, delta: int) -> None:
    values: dict[str, str | int] = {"provider": provider, "class": resource_class, "delta": delta}
    if amount:
        values["amount"] = amount
    done = tx.conn.execute(_used_more(bool(amount), delta > 0), values)
    if done.rowcount == 1:
        return
    if tx.find(ResourceProvider, provider) is None:
        raise errors.Invalid(f"Allocation for resource provider '{provider}' that does not exist.")
    found = tx.first(Inventory, provider_id=provider, resource_class=resource_class)
    if found is None:
        if delta <= 0 and not amount:
            return  # its inventory is gone, and with it what was counted
        raise PlacementConflict(
            f"Unable to allocate inventory: Inventory for '{resource_class}' on resource provider '{provider}' invalid."
        )
    capacity = int((found.total - found.reserved) * found.allocation_ratio)
    if not found.min_unit <= amount <= found.max_unit or amount % found.step_size:
        why = (
            f"The requested amount would violate inventory constraints: {amount}, where min_unit {found.min_unit}, "
            f"max_unit {found.max_unit}, step_size {found.step_size}"
        )
    else:
        why = f"The requested amount would exceed the capacity: {amount}, and {found.used} of {capacity} are used"
    raise PlacementConflict(
        f"Unable to allocate inventory: Unable to create allocation for '{resource_class}' on resource provider "
        f"'{provider}'. {why}.",
        hint="Free resources on the node, or let the scheduler choose another.",
    )
