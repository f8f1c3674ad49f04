"""One transaction, as commands see it. The only way to write: what goes in is versioned, fed and audited by itself.

A transaction body is a plain function `fn(tx) -> result`. It may run again (after a serialization failure), so it has
no effect outside of the transaction.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import sqlalchemy as sa

from trilith import errors
from trilith.model.record import CLOUD, Actor, Change, Record
from trilith.store import statements
from trilith.store.mapping import REGISTRY, Mapped, metadata
from trilith.store.seal import Sealer

R = TypeVar("R", bound=Record)

feed_table = sa.Table(
    "feed",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    # PostgreSQL: the writing transaction (xid8), since the order of a sequence is not the order of commits.
    # SQLite: always 0, its single writer commits in order.
    sa.Column("txid", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("noun", sa.Text, nullable=False),
    sa.Column("change", sa.Text, nullable=False),
    sa.Column("uuid", sa.Text, nullable=False),
    sa.Column("project_id", sa.Text, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Index("feed_order", "txid", "id"),
    sqlite_autoincrement=True,
)

audit_table = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("project_id", sa.Text, nullable=False),
    sa.Column("credential_id", sa.Text, nullable=False),
    sa.Column("trust_id", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("targets", sa.Text, nullable=False),  # "noun:change:id …" of what the transaction touched
    sa.Index("audit_at", "at"),
    sqlite_autoincrement=True,
)

settings_table = sa.Table(
    "settings",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

_SETTING = sa.select(settings_table.c.value).where(settings_table.c.name == sa.bindparam("name"))


class Reader:
    """Reads inside one snapshot."""

    def __init__(self, conn: sa.Connection, sealer: Sealer) -> None:
        self.conn = conn
        self.sealer = sealer

    def find(self, cls: type[R], id: str, *, dead: bool = False) -> R | None:
        """By public id; tombstones only with dead=True."""
        found = self.select(cls, dead=dead, limit=1, id=id)
        return found[0] if found else None

    def get(self, cls: type[R], id: str, *, dead: bool = False) -> R:
        """By public id. Raises Missing."""
        found = self.find(cls, id, dead=dead)
        if found is None:
            raise errors.Missing(f"{REGISTRY[cls].noun or cls.__name__} {id} could not be found.")
        return found

    def first(self, cls: type[R], *clauses: sa.ColumnElement[bool], **equal: Any) -> R | None:
        found = self.select(cls, *clauses, limit=1, **equal)
        return found[0] if found else None

    def select(
        self,
        cls: type[R],
        *clauses: sa.ColumnElement[bool],
        order: Sequence[Any] = (),
        limit: int | None = None,
        offset: int | None = None,
        dead: bool = False,
        **equal: Any,
    ) -> list[R]:
        """All that match, by seq unless `order` says else. `equal` compares columns (a list or tuple: IN)."""
        mapped = REGISTRY[cls]
        shape, values = statements.compared(equal)
        stmt = statements.select(
            mapped.table, shape, mapped.tombstone and not dead, limit is not None, bool(offset), not order
        )
        if limit is not None:
            values[statements.LIMIT] = limit
        if offset:
            values[statements.OFFSET] = offset
        if clauses:
            stmt = stmt.where(*clauses)
        if order:
            stmt = stmt.order_by(*order)
        fields, make = mapped.fields, mapped.cls
        return [make(**dict(zip(fields, row, strict=True))) for row in self.conn.execute(stmt, values)]  # type: ignore[misc]

    def count(self, cls: type[R], *clauses: sa.ColumnElement[bool], **equal: Any) -> int:
        shape, values = statements.compared(equal)
        mapped = REGISTRY[cls]
        stmt = statements.count(mapped.table, shape, mapped.tombstone)
        if clauses:
            stmt = stmt.where(*clauses)
        return int(self.conn.execute(stmt, values).scalar_one())

    def setting(self, name: str) -> str | None:
        return self.conn.execute(_SETTING, {"name": name}).scalar()


class Tx(Reader):
    """A write transaction."""

    def __init__(self, conn: sa.Connection, sealer: Sealer, actor: Actor, action: str) -> None:
        super().__init__(conn, sealer)
        self.actor = actor
        self.action = action
        self.now = time.time()
        self.touched: list[tuple[str, Change, str, str, int]] = []

    def add(self, record: R) -> R:
        """Insert. Raises Conflict where a unique rule forbids it."""
        mapped = REGISTRY[type(record)]
        record = replace(record, created_at=record.created_at or self.now, updated_at=record.updated_at or self.now)
        values = {name: getattr(record, name) for name in mapped.fields if name != "seq"}
        result = self._execute(statements.insert(mapped.table), values, mapped)
        key = result.inserted_primary_key
        self._touch(mapped, Change.CREATED, record)
        return replace(record, seq=int(key[0]) if key else 0)

    def change(self, record: R, **changes: Any) -> R:
        """Update by compare-and-swap on the revision. Raises Outrun when another writer was first."""
        mapped = REGISTRY[type(record)]
        changes.setdefault("updated_at", self.now)
        changes["revision"] = record.revision + 1
        names = tuple(sorted(changes))
        values = statements.update_values(record, names, changes)
        result = self._execute(statements.update(mapped.table, names), values, mapped)
        if result.rowcount != 1:
            raise errors.Outrun(
                f"{mapped.noun or mapped.table.name} {record.id} was changed by someone else at the same time.",
                hint="Read it again and repeat the request.",
            )
        record = replace(record, **changes)
        self._touch(mapped, Change.DELETED if "deleted_at" in changes else Change.UPDATED, record)
        return record

    def hold(self, record: Record, *, shared: bool = False) -> bool:
        """Keep others from removing the record until this transaction ends; False when one just did.

        Who makes something that rests on it holds it shared, who removes it holds it alone, before looking at what
        rests on it: else both see what they want, and one of them is wrong. SQLite has one writer, who holds all.
        """
        if self.conn.dialect.name != "postgresql":
            return True
        t = REGISTRY[type(record)].table
        lock = sa.select(t.c.seq).where(t.c.id == record.id).with_for_update(read=shared, key_share=shared)
        return self.conn.execute(lock).first() is not None

    def remove(self, record: Record) -> None:
        """Delete, leaving a tombstone where the noun keeps them. Raises Outrun when another writer was first: what goes
        with the record (a quota that is given back) is done once."""
        mapped = REGISTRY[type(record)]
        if mapped.tombstone:
            self.change(record, deleted_at=self.now)
            return
        done = self.conn.execute(sa.delete(mapped.table).where(mapped.table.c.seq == record.seq))
        if done.rowcount != 1:
            raise errors.Outrun(
                f"{mapped.noun or mapped.table.name} {record.id} was removed by someone else at the same time."
            )
        self._touch(mapped, Change.DELETED, record)

    def remove_where(self, cls: type[R], **equal: Any) -> list[R]:
        gone = self.select(cls, **equal)
        for record in gone:
            self.remove(record)
        return gone

    def set_setting(self, name: str, value: str) -> None:
        done = self.conn.execute(sa.update(settings_table).where(settings_table.c.name == name).values(value=value))
        if done.rowcount == 0:
            self.conn.execute(sa.insert(settings_table).values(name=name, value=value))

    def touch(self, noun: str, id: str, project_id: str = "", revision: int = 0) -> None:
        """A feed row for something that has no record of its own."""
        self.touched.append((noun, Change.UPDATED, id, project_id, revision))

    def finish(self, txid: int | None) -> bool:
        """Write feed and audit rows; called by the store just before commit. False when nothing was changed."""
        if not self.touched:
            return False
        base: dict[str, Any] = {"at": self.now, "version": 1}
        if txid is not None:
            base["txid"] = txid
        rows = [
            base | {"noun": noun, "change": str(change), "uuid": id, "project_id": project, "revision": revision}
            for noun, change, id, project, revision in self.touched
        ]
        self.conn.execute(statements.insert(feed_table), rows)
        who = self.actor
        if who is not CLOUD:
            row = {
                "at": self.now,
                "action": self.action,
                "user_id": who.user_id,
                "project_id": who.project_id,
                "credential_id": who.credential_id,
                "trust_id": who.trust_id,
                "request_id": who.request_id,
                "address": who.address,
                "targets": " ".join(f"{t[0]}:{t[1]}:{t[2]}" for t in self.touched[:50]),
            }
            self.conn.execute(statements.insert(audit_table), row)
        return True

    def _touch(self, mapped: Mapped, change: Change, record: Record) -> None:
        if mapped.noun:
            project = getattr(record, "project_id", "")
            self.touched.append((mapped.noun, change, record.id, project, record.revision))

    def _execute(self, stmt: Any, values: dict[str, Any], mapped: Mapped) -> Any:
        try:
            return self.conn.execute(stmt, values)
        except sa.exc.IntegrityError as err:
            raise errors.Conflict(
                f"{mapped.noun or mapped.table.name} already exists, or a unique value is taken."
            ) from err


def new_id() -> str:
    return str(uuid.uuid4())
