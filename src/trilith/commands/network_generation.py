"""What makes the backend follow: a noun's generation grows in the transaction that changes what is to be made of it.

By an expression in SQL, not by compare-and-swap on the record: two port creations on one network both bump it, and
neither may fail for the other.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from trilith.model.network import Network, Port, Router, SecurityGroup
from trilith.model.network_access import AddressGroup
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Tx

Held = Network | Port | Router | SecurityGroup | AddressGroup


def bump(tx: Tx, cls: type[Held], ids: Iterable[str]) -> None:
    """Let the backend make these anew. One statement; ids that are gone are ignored."""
    wanted = sorted({i for i in ids if i})  # one order, so that two transactions cannot wait for each other
    if not wanted:
        return
    mapped = REGISTRY[cls]
    table = mapped.table
    tx.conn.execute(sa.update(table).where(table.c.id.in_(wanted)).values(generation=table.c.generation + 1))
    for id in wanted:
        tx.touch(mapped.noun, id)
