"""Schema changes: expand now, contract a release later. SQLite is copied first.

Alembic is imported only when the schema is not at its head: it costs 230 ms, which every start would pay.
"""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from trilith import errors
from trilith.store import tables as _tables  # noqa: F401  declares every table
from trilith.store.mapping import metadata

#: the newest migration; tests/contracts/test_migrations.py holds it to migrations/versions
HEAD = "0001"
_HERE = Path(__file__).parent / "migrations"


def sqlite(path: Path) -> None:
    """Bring the file to HEAD. Raises Conflict when it was written by a newer release."""
    at = _sqlite_version(path)
    if at == HEAD:
        return
    if at:
        with sqlite3.connect(path) as source, sqlite3.connect(f"{path}.before-{HEAD}") as copy:
            source.backup(copy)
    engine = sa.create_engine(f"sqlite:///{path}")
    try:
        with engine.begin() as conn:
            _upgrade(conn, at)
    finally:
        engine.dispose()
    if at:
        shutil.copymode(path, f"{path}.before-{HEAD}")
    path.chmod(0o600)


def postgres(conn: sa.Connection) -> None:
    known = sa.inspect(conn).has_table("alembic_version")
    at = conn.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() if known else None
    if at != HEAD:
        _upgrade(conn, at or "")


def _sqlite_version(path: Path) -> str:
    if not path.exists():
        return ""
    with sqlite3.connect(path) as db:
        try:
            row = db.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return ""
    return row[0] if row else ""


def _upgrade(conn: sa.Connection, at: str) -> None:
    if not at:
        # A new database is made from the tables as they are now; a test holds the migrations to the same result.
        metadata.create_all(conn)
        conn.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        conn.execute(sa.text("INSERT INTO alembic_version VALUES (:v)"), {"v": HEAD})
        return
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_HERE))
    attributes: dict[str, Any] = config.attributes
    attributes["connection"] = conn
    try:
        command.upgrade(config, "head")
    except CommandError as err:
        raise errors.Conflict(
            f"The database is at version {at}, which this release does not know.",
            hint="It was written by a newer release; start that one, or restore the copy made before its upgrade.",
        ) from err
