"""Retention: what is old enough leaves the feed, the audit and the graveyard, a bounded batch a transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from trilith.model.console import ConsoleToken
from trilith.model.identity import Revocation
from trilith.model.job import FINAL, Job, JobStep
from trilith.model.server import InstanceAction, Server
from trilith.store import cursor as cursors
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Tx, audit_table, feed_table

#: rows of a kind that one transaction removes at most: some 10 ms in which no one else writes
BATCH = 500
#: advisory lock on PostgreSQL: one controller purges at a time, so that the purged cursor only grows
_LOCK = 0x7472696C + 2


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """What is older goes. Seconds since the epoch; 0 keeps all of a kind."""

    feed: float = 0.0
    tombstones: float = 0.0
    jobs: float = 0.0
    revocations: float = 0.0
    audit: float = 0.0
    consoles: float = 0.0


def purge(tx: Tx, before: Cutoffs, batch: int = BATCH) -> int:
    """Rows removed; 0 when nothing is left to remove, or another controller is at it."""
    if tx.conn.dialect.name == "postgresql" and not tx.conn.execute(_TRY_LOCK, {"k": _LOCK}).scalar():
        return 0
    removed = _feed(tx, before.feed, batch) + _tombstones(tx, before.tombstones, batch) + _jobs(tx, before.jobs, batch)
    expires = REGISTRY[Revocation].table.c.expires_at
    removed += _remove(tx, REGISTRY[Revocation].table.c.seq, expires < before.revocations, batch=batch)
    tokens = REGISTRY[ConsoleToken].table.c
    removed += _remove(tx, tokens.seq, tokens.expires_at < before.consoles, batch=batch)
    return removed + _remove(tx, audit_table.c.id, audit_table.c.at < before.audit, batch=batch)


#: written out, as only then the index of the dead is used
_ZERO: sa.ColumnClause[float] = sa.literal_column("0")
_TRY_LOCK = sa.text("SELECT pg_try_advisory_xact_lock(:k)")


def _feed(tx: Tx, before: float, batch: int) -> int:
    """The oldest rows. The newest purged cursor is kept, so that a reader behind it is told to list again."""
    t = feed_table.c
    oldest = tx.conn.execute(sa.select(t.txid, t.id, t.at).order_by(t.txid, t.id).limit(batch)).all()
    # up to the last that is old enough: rows of one moment do not lie in the order of their time
    newest = next((row for row in reversed(oldest) if row.at < before), None)
    if newest is None:
        return 0
    gone = sa.or_(t.txid < newest.txid, sa.and_(t.txid == newest.txid, t.id <= newest.id))
    tx.set_setting(cursors.PURGED, cursors.text(newest.txid, newest.id))
    return tx.conn.execute(sa.delete(feed_table).where(gone)).rowcount


def _tombstones(tx: Tx, before: float, batch: int) -> int:
    removed = 0
    for mapped in REGISTRY.values():
        if not mapped.tombstone:
            continue
        t = mapped.table.c
        dead = tx.conn.execute(
            sa.select(t.seq, t.id).where(t.deleted_at > _ZERO, t.deleted_at < before).order_by(t.seq).limit(batch)
        ).all()
        if not dead:
            continue
        if mapped.cls is Server:
            actions = REGISTRY[InstanceAction].table
            mine = actions.c.server_id.in_([row.id for row in dead])
            removed += tx.conn.execute(sa.delete(actions).where(mine)).rowcount
        removed += tx.conn.execute(sa.delete(mapped.table).where(t.seq.in_([row.seq for row in dead]))).rowcount
    return removed


def _jobs(tx: Tx, before: float, batch: int) -> int:
    """Ended jobs with their steps. An instance action outlives its job where its server does; its events go."""
    jobs, steps = REGISTRY[Job].table, REGISTRY[JobStep].table
    ended = tx.conn.execute(
        sa.select(jobs.c.seq, jobs.c.id)
        .where(jobs.c.state.in_(FINAL), jobs.c.finished_at > 0, jobs.c.finished_at < before)
        .order_by(jobs.c.seq)
        .limit(batch)
    ).all()
    if not ended:
        return 0
    removed = tx.conn.execute(sa.delete(steps).where(steps.c.job_id.in_([row.id for row in ended]))).rowcount
    return removed + tx.conn.execute(sa.delete(jobs).where(jobs.c.seq.in_([row.seq for row in ended]))).rowcount


def _remove(tx: Tx, key: sa.Column[Any], *which: sa.ColumnElement[bool], batch: int) -> int:
    old = sa.select(key).where(*which).order_by(key).limit(batch)
    return tx.conn.execute(sa.delete(key.table).where(key.in_(old))).rowcount
