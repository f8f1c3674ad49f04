"""Frozen dataclasses to tables: the model is written once, its columns follow from its field types.

str → TEXT, int → BIGINT, float → DOUBLE, bool → BOOLEAN, enums → TEXT, everything else → JSON, typed by msgspec on
the way back. The migrations stay explicit; a test compares them with these tables.
"""

from __future__ import annotations

import dataclasses
import enum
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

from trilith.model.record import Record

metadata = sa.MetaData()


class Json(TypeDecorator[Any]):
    """A typed value kept as JSON text. TEXT, not JSONB: it is read whole and never queried inside."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, of: Any = typing.Any) -> None:
        super().__init__()
        self.of = of
        self._decode = msgspec.json.Decoder(of).decode

    def process_bind_param(self, value: Any, dialect: Any) -> str | None:
        return msgspec.json.encode(value).decode()  # None too: as the text null, so columns stay NOT NULL

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else self._decode(value)

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return self

    # the key decides SQLAlchemy's statement cache; types are hashable
    def __repr__(self) -> str:
        return f"Json({self.of!r})"


class EnumText(TypeDecorator[Any]):
    impl = sa.Text
    cache_ok = True

    def __init__(self, of: type[enum.StrEnum]) -> None:
        super().__init__()
        self.of = of

    def process_bind_param(self, value: Any, dialect: Any) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else self.of(value)


_SIMPLE: dict[Any, Callable[[], sa.types.TypeEngine[Any]]] = {
    str: sa.Text,
    int: lambda: sa.BigInteger().with_variant(sa.Integer, "sqlite"),
    float: sa.Double,
    bool: sa.Boolean,
    bytes: sa.LargeBinary,
}


def _column_type(hint: Any) -> sa.types.TypeEngine[Any]:
    if hint in _SIMPLE:
        return _SIMPLE[hint]()
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        return EnumText(hint)
    return Json(hint)


@dataclass(frozen=True)
class Mapped:
    """One noun's table. noun names it in the feed ("" keeps it out); tombstone keeps deleted rows."""

    cls: type[Record]
    table: sa.Table
    noun: str
    tombstone: bool
    fields: tuple[str, ...]


#: dataclass → its table
REGISTRY: dict[type[Record], Mapped] = {}


def table_of(
    cls: type[Record],
    name: str,
    *,
    noun: str = "",
    tombstone: bool = False,
    unique: tuple[tuple[str, ...], ...] = (),
    unique_alive: tuple[tuple[str, ...], ...] = (),
    index: tuple[tuple[str, ...], ...] = (),
) -> Mapped:
    """Declare the table of `cls`. unique_alive holds among rows that are no tombstones (deleted_at = 0)."""
    hints = typing.get_type_hints(cls)
    columns: list[sa.Column[Any]] = []
    for field in dataclasses.fields(cls):
        if field.name == "seq":
            columns.append(sa.Column("seq", _SIMPLE[int](), primary_key=True, autoincrement=True))
        else:
            columns.append(sa.Column(field.name, _column_type(hints[field.name]), nullable=False))
    table = sa.Table(name, metadata, *columns, sqlite_autoincrement=True)
    if tombstone:
        alive = table.c.deleted_at == 0
        dead = table.c.deleted_at > sa.literal_column("0")
        sa.Index(f"{name}_id", table.c.id, unique=True)
        sa.Index(f"{name}_dead", table.c.deleted_at, sqlite_where=dead, postgresql_where=dead)
        for cols in unique_alive:
            sa.Index(
                f"{name}_{'_'.join(cols)}_alive"[:60],
                *(table.c[c] for c in cols),
                unique=True,
                sqlite_where=alive,
                postgresql_where=alive,
            )
    else:
        sa.Index(f"{name}_id", table.c.id, unique=True)
        unique = unique + unique_alive
    for cols in unique:
        sa.Index(f"{name}_{'_'.join(cols)}"[:60], *(table.c[c] for c in cols), unique=True)
    for cols in index:
        sa.Index(f"{name}_{'_'.join(cols)}"[:60], *(table.c[c] for c in cols))
    mapped = Mapped(cls, table, noun, tombstone, tuple(f.name for f in dataclasses.fields(cls)))
    REGISTRY[cls] = mapped
    return mapped


def pending(cls: type[Record]) -> None:
    """Index only the rows whose backend lags: generation <> applied_revision. Empty, nearly always."""
    table = REGISTRY[cls].table
    lags = table.c.generation != table.c.applied_revision
    sa.Index(f"{table.name}_pending", table.c.seq, sqlite_where=lags, postgresql_where=lags)
