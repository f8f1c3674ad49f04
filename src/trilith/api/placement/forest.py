"""Reading the layout of all providers, and keeping it while it holds.

Each question reads one row made in the database: the amounts in use, and a seal of all that a layout is made of. An
unchanged seal is the same layout, whoever wrote (another process, too); only then are the rows themselves left alone.
So the cost of a question is that of its answer, not of 1,000 hosts' rows.

The seal of a table is the number of its rows, the sums of their keys and revisions, and its newest change. Revisions
only grow and keys are never used again, so rows that come, go or change always show in the sums.
"""

from __future__ import annotations

from functools import lru_cache, reduce
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import msgspec
import sqlalchemy as sa

from trilith.api.placement.layout import NONE, Amounts, Layout, Provider, lay_out
from trilith.model.node import Inventory, ProviderAggregates, ProviderTraits, ResourceProvider
from trilith.store.contract import Store
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader


class Forest(NamedTuple):
    layout: Layout
    used: list[int]


#: what was last read of a store, with its seal
_kept: WeakKeyDictionary[Store, tuple[tuple[Any, ...], Layout]] = WeakKeyDictionary()


def read(reader: Reader, store: Store) -> Forest:
    """All providers with what hangs on them, as of the reader's snapshot."""
    row = reader.conn.execute(_state()).one()
    seal, used = tuple(row[1:]), [int(n) for n in row[0].split(",")] if row[0] else []
    known = _kept.get(store)
    if known is not None and known[0] == seal:
        return Forest(known[1], used)
    layout = _read(reader)
    _kept[store] = (seal, layout)
    return Forest(layout, used)


@lru_cache(maxsize=1)
def _state() -> sa.Select[Any]:
    """One row: the amounts in use in the order of their keys, and the seals of four tables. Each is scanned once, but
    for the first."""
    i = REGISTRY[Inventory].table.c
    ordered = sa.select(sa.cast(i.used, sa.Text).label("used")).order_by(i.seq).subquery()
    parts = [sa.select(sa.func.aggregate_strings(ordered.c.used, ",").label("used")).subquery()]
    for noun in (Inventory, ResourceProvider, ProviderTraits, ProviderAggregates):
        c = REGISTRY[noun].table.c
        figures = (sa.func.count(c.seq), sa.func.sum(c.seq), sa.func.sum(c.revision), sa.func.max(c.updated_at))
        parts.append(sa.select(*(f.label(f"figure{n}") for n, f in enumerate(figures))).subquery())
    return sa.select(*(column for part in parts for column in part.c)).select_from(
        reduce(lambda one, other: one.join(other, sa.true()), parts[1:], parts[0])  # type: ignore[arg-type, return-value]
    )


@lru_cache(maxsize=4096)
def _names(text: str) -> frozenset[str]:
    """A list of names as it is kept. Most providers of a cloud have the same traits."""
    return frozenset(msgspec.json.decode(text, type=list[str]))


def _read(reader: Reader) -> Layout:
    execute = reader.conn.execute
    i = REGISTRY[Inventory].table.c
    columns = (i.total, i.reserved, i.min_unit, i.max_unit, i.step_size, i.allocation_ratio)
    held: dict[str, dict[str, Amounts]] = {}
    rows = execute(sa.select(i.provider_id, i.resource_class, *columns).order_by(i.seq))
    for slot, (owner, name, total, reserved, least, most, step, ratio) in enumerate(rows):
        held.setdefault(owner, {})[name] = Amounts(slot, int((total - reserved) * ratio), least, most, step)

    def names_of(noun: type[Any], column: str) -> dict[str, frozenset[str]]:
        c = REGISTRY[noun].table.c
        return {id: _names(text) for id, text in execute(sa.select(c.id, sa.type_coerce(c[column], sa.Text)))}

    traits, aggregates = names_of(ProviderTraits, "traits"), names_of(ProviderAggregates, "aggregates")
    p = REGISTRY[ResourceProvider].table.c
    return lay_out(
        Provider(id, parent, root, held.get(id, {}), traits.get(id, NONE), aggregates.get(id, NONE))
        for id, parent, root in execute(sa.select(p.id, p.parent_id, p.root_id).order_by(p.seq))
    )
