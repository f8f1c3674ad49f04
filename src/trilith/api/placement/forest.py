"""Reading the layout of all providers, and keeping it while it holds.

Each question reads two texts made in the database: a seal, which is the keys and revisions of all that a layout is
made of, and the amounts in use. An unchanged seal is the same layout, whoever wrote (another process, too); only then
are the rows themselves left alone. So the cost of a question is that of its answer, not of 1,000 hosts' rows.
"""

from __future__ import annotations

from functools import lru_cache
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
_kept: WeakKeyDictionary[Store, tuple[tuple[str, ...], Layout]] = WeakKeyDictionary()


def read(reader: Reader, store: Store) -> Forest:
    """All providers with what hangs on them, as of the reader's snapshot."""
    row = reader.conn.execute(_state()).one()
    seal, used = tuple(text or "" for text in row[1:]), [int(n) for n in row[0].split(",")] if row[0] else []
    known = _kept.get(store)
    if known is not None and known[0] == seal:
        return Forest(known[1], used)
    layout = _read(reader)
    _kept[store] = (seal, layout)
    return Forest(layout, used)


@lru_cache(maxsize=1)
def _state() -> sa.Select[Any]:
    """One row: the amounts in use and the seals of four tables, each in the order of the keys."""

    def joined(noun: type[Any], *texts: Any) -> list[Any]:
        t = REGISTRY[noun].table
        rows = sa.select(*(text(t).label(f"c{n}") for n, text in enumerate(texts))).order_by(t.c.seq).subquery()
        return [sa.select(sa.func.aggregate_strings(rows.c[f"c{n}"], ",")).scalar_subquery() for n in range(len(texts))]

    def seal(t: sa.Table) -> Any:
        return sa.cast(t.c.seq, sa.Text) + ":" + sa.cast(t.c.revision, sa.Text)

    def use(t: sa.Table) -> Any:
        return sa.cast(t.c.used, sa.Text)

    return sa.select(
        *joined(Inventory, use, seal),
        *(part for noun in (ResourceProvider, ProviderTraits, ProviderAggregates) for part in joined(noun, seal)),
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
