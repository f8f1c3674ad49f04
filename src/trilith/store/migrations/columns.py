"""The few column types there are, for migrations to say a table in a few lines.

Migrations of released versions are made of these: what is here only grows.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

#: what every record has
RECORD = "seq:key id:text revision:big created_at:real updated_at:real deleted_at:real"


def _big() -> sa.types.TypeEngine[Any]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _type(name: str) -> sa.types.TypeEngine[Any]:
    match name:
        case "text":
            return sa.Text()
        case "int":
            return sa.Integer()
        case "big":  # 64 bits; SQLite's own integers are
            return _big()
        case "bigint":  # named so on SQLite too
            return sa.BigInteger()
        case "real":
            return sa.Double()
        case "bool":
            return sa.Boolean()
        case "bytes":
            return sa.LargeBinary()
    raise ValueError(name)


def column(spec: str) -> sa.Column[Any]:
    """`name:type`. `name:key` numbers its rows, `name:name` is a text that is the primary key. None takes NULL."""
    name, _, kind = spec.partition(":")
    if kind == "key":
        return sa.Column(name, _big(), primary_key=True, autoincrement=True)
    if kind == "name":
        return sa.Column(name, sa.Text(), primary_key=True)
    return sa.Column(name, _type(kind), nullable=False)


def table(name: str, *columns: str) -> None:
    """Each of `columns` holds several, with spaces between them."""
    specs = " ".join(columns).split()
    numbered = any(spec.endswith(":key") for spec in specs)
    op.create_table(name, *(column(spec) for spec in specs), **({"sqlite_autoincrement": True} if numbered else {}))


def index(name: str, on: str, columns: str, *, unique: bool = False, where: str = "") -> None:
    """where: the rows that a partial index holds, in SQL that both databases know."""
    rows = sa.text(where) if where else None
    op.create_index(name, on, columns.split(), unique=unique, sqlite_where=rows, postgresql_where=rows)
