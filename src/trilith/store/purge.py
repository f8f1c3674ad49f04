"""Retention: what is old enough leaves the feed and the graveyard."""

from __future__ import annotations

import sqlalchemy as sa

from trilith.store import cursor as cursors
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Tx, feed_table


def purge(tx: Tx, feed_older_than: float, tombstones_older_than: float) -> int:
    """Rows removed. The newest purged cursor is kept, so that a reader behind it is told to list again."""
    t = feed_table.c
    newest = tx.conn.execute(
        sa.select(t.txid, t.id).where(t.at < feed_older_than).order_by(t.txid.desc(), t.id.desc()).limit(1)
    ).first()
    removed = 0
    if newest is not None:
        removed += tx.conn.execute(
            sa.delete(feed_table).where(sa.or_(t.txid < newest.txid, sa.and_(t.txid == newest.txid, t.id <= newest.id)))
        ).rowcount
        tx.set_setting(cursors.PURGED, cursors.text(newest.txid, newest.id))
    for mapped in REGISTRY.values():
        if mapped.tombstone:
            table = mapped.table
            removed += tx.conn.execute(
                sa.delete(table).where(table.c.deleted_at > 0, table.c.deleted_at < tombstones_older_than)
            ).rowcount
    return removed
