"""Feed cursors: `<txid>-<id>`. On SQLite txid is 0 and the id alone orders; on PostgreSQL both do."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from trilith import errors
from trilith.model.record import Change, FeedRow
from trilith.store.tx import feed_table

#: settings row: the highest (txid, id) that was purged
PURGED = "feed.purged"

#: what the columns hold
_MOST = 2**63 - 1


def parse(cursor: str) -> tuple[int, int]:
    """Raises Invalid for what is no cursor."""
    if not cursor:
        return (0, 0)
    txid, _, id = cursor.partition("-")
    known = cursor.isascii() and txid.isdigit() and id.isdigit() and len(cursor) < 42
    if not known or int(txid) > _MOST or int(id) > _MOST:
        raise errors.Invalid(
            f"{cursor[:50]!r} is not a cursor.", hint="Use the id of an event, or none.", field="cursor"
        )
    return (int(txid), int(id))


def text(txid: int, id: int) -> str:
    return f"{txid}-{id}"


def after(cursor: str, limit: int) -> tuple[sa.Select[Any], dict[str, int]]:
    """The statement (always the same one, since it is asked for often) and its parameters."""
    txid, id = parse(cursor)
    return _AFTER, {"txid_": txid, "id_": id, "limit_": limit}


def _after() -> sa.Select[Any]:
    t = feed_table.c
    txid, id = sa.bindparam("txid_", type_=t.txid.type), sa.bindparam("id_", type_=t.id.type)
    return (
        sa.select(feed_table)
        .where(sa.or_(t.txid > txid, sa.and_(t.txid == txid, t.id > id)))
        .order_by(t.txid, t.id)
        .limit(sa.bindparam("limit_", type_=sa.Integer))
    )


_AFTER = _after()


def load(row: Any) -> FeedRow:
    return FeedRow(
        cursor=text(row.txid, row.id),
        at=row.at,
        noun=row.noun,
        change=Change(row.change),
        id=row.uuid,
        project_id=row.project_id,
        revision=row.revision,
        version=row.version,
    )


def check_retained(cursor: str, purged: str | None) -> None:
    """Raises Missing (HTTP: 410 Gone) when rows after the cursor were purged already."""
    if cursor and purged and parse(cursor) < parse(purged):
        raise errors.Missing(
            "This cursor is older than the feed is kept.", hint="List the resources again and go on from the head."
        )
