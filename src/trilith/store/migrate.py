"""Schema changes: expand now, contract a release later. SQLite is copied first.

A new database is made from the tables as they are; an older one goes through the migrations, in one transaction on
both databases: a process that dies on the way leaves the database as it was. A test holds the two ways to the same
result. Alembic is imported only when the schema is not at its head: it costs 230 ms, which every start would pay.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from trilith import errors
from trilith.store import tables as _tables  # noqa: F401  declares the nouns' tables
from trilith.store import tx as _tx  # noqa: F401  declares those of feed, audit and settings
from trilith.store.mapping import metadata

#: the newest migration; tests/contracts/test_migrations.py holds it to migrations/versions
HEAD = "0001"
#: where the migrations are; a test puts others in its place
SCRIPTS = Path(__file__).parent / "migrations"


def sqlite(path: Path) -> None:
    """Bring the file to HEAD; an older one is kept as `<path>.before-<HEAD>`.

    Raises Conflict, leaving the file as it is, when a newer release wrote it; Backend when it cannot be read, copied
    or changed.
    """
    try:
        at = _sqlite_version(path)
        if at == HEAD:
            return
        if at:
            check_known(at)
            _copy(path, Path(f"{path}.before-{HEAD}"))
        engine = _sqlite_engine(path)
        try:
            with engine.begin() as conn:
                _upgrade(conn, at)
        finally:
            engine.dispose()
        path.chmod(0o600)
    except (OSError, sqlite3.Error, sa.exc.OperationalError) as err:
        raise errors.Backend(
            f"The database {path} cannot be opened or brought up to date: {err}.",
            hint="It is as it was. Check the space and permissions of the state directory.",
        ) from err


def postgres(conn: sa.Connection) -> None:
    """In the caller's transaction. Raises Conflict when a newer release wrote the database."""
    known = sa.inspect(conn).has_table("alembic_version")
    at = conn.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() if known else None
    if at == HEAD:
        return
    if at:
        check_known(at)
    _upgrade(conn, at or "")


def check_known(at: str) -> None:
    """Raises Conflict for a version that this release has no migration from."""
    from alembic.script import ScriptDirectory

    if at not in {script.revision for script in ScriptDirectory(str(SCRIPTS)).walk_revisions()}:
        raise errors.Conflict(
            f"The database is at version {at}, which this release does not know.",
            hint="It was written by a newer release; start that one, or restore the copy made before its upgrade.",
        )


def migrate(conn: sa.Connection, to: str = "head") -> None:
    """Run the migrations that are due, from nothing or from where the database is, in the connection's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    attributes: dict[str, Any] = config.attributes
    attributes["connection"] = conn
    command.upgrade(config, to)


def _sqlite_version(path: Path) -> str:
    if not path.exists():
        return ""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
            return ""
        row = db.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else ""


def _copy(source: Path, target: Path) -> None:
    """All of it or nothing is at the target, readable by the owner only."""
    part = Path(f"{target}.part")
    part.unlink(missing_ok=True)
    fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with closing(sqlite3.connect(source)) as read, closing(sqlite3.connect(part)) as write:
            read.backup(write)
        os.fsync(fd)
    finally:
        os.close(fd)
    part.replace(target)
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _sqlite_engine(path: Path) -> sa.Engine:
    """Transactions that hold schema changes too: the sqlite3 module itself begins none for them."""
    if not path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # never readable by others, not even at first
    engine = sa.create_engine(
        f"sqlite:///{path}", poolclass=sa.pool.NullPool, connect_args={"isolation_level": None, "timeout": 10}
    )

    @sa.event.listens_for(engine, "begin")
    def _begin(conn: sa.Connection) -> None:
        conn.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _upgrade(conn: sa.Connection, at: str) -> None:
    if at:
        migrate(conn)
        return
    metadata.create_all(conn, checkfirst=False)  # nothing is there, and looking for each would double the time
    conn.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    conn.execute(sa.text("INSERT INTO alembic_version VALUES (:v)"), {"v": HEAD})
