"""Statements that are built once: SQLAlchemy takes longer to build a small one than SQLite takes to run it.

Each is kept by what shapes its text: the table, the columns it compares, and whether it is limited. The values are
parameters. How many there can be is bounded by the calls in the code, not by what users send.
"""

from __future__ import annotations

import functools
from typing import Any

import sqlalchemy as sa

from trilith.model.record import Record

#: names of parameters that are no columns
LIMIT, OFFSET, SEQ, REVISION = "_limit", "_offset", "_seq", "_revision"
#: a column that is compared, and whether with a list of values (IN)
Compared = tuple[str, bool]


def compared(equal: dict[str, Any]) -> tuple[tuple[Compared, ...], dict[str, Any]]:
    """The shape of a comparison, and its parameters. A list, tuple or set of values is an IN."""
    shape: list[Compared] = []
    values: dict[str, Any] = {}
    for name, value in equal.items():
        several = isinstance(value, list | tuple | set | frozenset)
        shape.append((name, several))
        values[name] = list(value) if several else value
    return tuple(shape), values


@functools.cache
def select(
    table: sa.Table, shape: tuple[Compared, ...], alive: bool, limit: bool, offset: bool, ordered: bool
) -> sa.Select[Any]:
    """Rows that match the shape. alive: no tombstones. ordered: by seq, else the caller adds an order of its own."""
    stmt = sa.select(table).where(*_where(table, shape, alive))
    if ordered:
        stmt = stmt.order_by(table.c.seq)
    if limit:
        stmt = stmt.limit(sa.bindparam(LIMIT, type_=sa.Integer))
    if offset:
        stmt = stmt.offset(sa.bindparam(OFFSET, type_=sa.Integer))
    return stmt


@functools.cache
def columns(table: sa.Table, names: tuple[str, ...], where: str) -> sa.Select[Any]:
    """Some columns of the rows whose column `where` is one of the parameter of that name, a list; by seq."""
    some = [table.c[name] for name in names]
    return sa.select(*some).where(*_where(table, ((where, True),), False)).order_by(table.c.seq)


@functools.cache
def count(table: sa.Table, shape: tuple[Compared, ...], alive: bool) -> sa.Select[Any]:
    return sa.select(sa.func.count()).select_from(table).where(*_where(table, shape, alive))


@functools.cache
def insert(table: sa.Table) -> sa.Insert:
    return sa.insert(table)


@functools.cache
def update(table: sa.Table, names: tuple[str, ...]) -> sa.Update:
    """Set these columns of the row SEQ, if it still has the revision REVISION."""
    return (
        sa.update(table)
        .where(
            table.c.seq == sa.bindparam(SEQ, type_=table.c.seq.type),
            table.c.revision == sa.bindparam(REVISION, type_=table.c.revision.type),
        )
        .values({name: sa.bindparam(f"_new_{name}", type_=table.c[name].type) for name in names})
    )


def update_values(record: Record, names: tuple[str, ...], changes: dict[str, Any]) -> dict[str, Any]:
    """The parameters of `update`."""
    values = {f"_new_{name}": changes[name] for name in names}
    return values | {SEQ: record.seq, REVISION: record.revision}


def _where(table: sa.Table, shape: tuple[Compared, ...], alive: bool) -> list[sa.ColumnElement[bool]]:
    clauses: list[sa.ColumnElement[bool]] = []
    for name, several in shape:
        column = table.c[name]
        if several:
            clauses.append(column.in_(sa.bindparam(name, type_=column.type, expanding=True)))
        else:
            clauses.append(column == sa.bindparam(name, type_=column.type))
    if alive:
        clauses.append(table.c.deleted_at == 0)
    return clauses
