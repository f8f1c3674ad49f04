"""Upgrades: the migrations give the tables, an older database is carried over, and a failed one is as it was."""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import create_async_engine

from tests.contracts.conftest import SEALER
from tests.fixtures.make_release import HERE as FIXTURES
from tests.fixtures.make_release import PASSWORD, STATE, USER_DATA, settings_of
from tests.postgres_server import PostgresServer
from trilith import errors
from trilith.app import cloud
from trilith.model.identity import Project
from trilith.model.job import FINAL, Job, JobState, JobStep
from trilith.model.server import Server, ServerState
from trilith.store import migrate
from trilith.store.mapping import metadata
from trilith.store.postgres import PostgresStore
from trilith.store.sqlite import SqliteStore
from trilith.store.tx import Reader, new_id

IN_LINE = (
    "Until release 0.1: python -m tests.fixtures.initial_migration. After it: add a migration (docs/upgrade.md).\n"
)


def by_tables(conn: sa.Connection) -> None:
    metadata.create_all(conn)


def sqlite_schema(conn: sa.Connection) -> list[str]:
    lines = []
    for kind, name, sql in conn.exec_driver_sql("SELECT type, name, sql FROM sqlite_master ORDER BY name"):
        if name.startswith(("sqlite_", "alembic_")):
            continue
        numbered = " AUTOINCREMENT" if "AUTOINCREMENT" in sql else ""
        lines += [sql] if kind == "index" else [f"table {name}{numbered}"]
        if kind == "table":
            lines += [f"  {name}.{c[1:]}" for c in conn.exec_driver_sql(f"PRAGMA table_info({name})")]
    return lines


def postgres_schema(conn: sa.Connection) -> list[str]:
    columns = """SELECT table_name, ordinal_position, column_name, data_type, is_nullable, column_default
                 FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"""
    indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
    lines = [*(str(tuple(r)) for r in conn.exec_driver_sql(columns)), *(r[0] for r in conn.exec_driver_sql(indexes))]
    return [line for line in lines if "alembic" not in line]


def differences(conn: sa.Connection) -> list[str]:
    """What Alembic itself finds between the database and the tables."""
    context = MigrationContext.configure(conn, opts={"compare_type": True, "compare_server_default": True})
    return [str(d) for d in compare_metadata(context, metadata) if "alembic_version" not in str(d)]


def assert_same(migrated: list[str], made: list[str]) -> None:
    assert made
    diff = difflib.unified_diff(migrated, made, "the migrations", "the tables", lineterm="", n=0)
    assert migrated == made, IN_LINE + "\n".join(diff)


def in_sqlite(path: Path, *acts: Callable[[sa.Connection], object]) -> object:
    engine = migrate._sqlite_engine(path)
    try:
        with engine.begin() as conn:
            return [act(conn) for act in acts][-1]
    finally:
        engine.dispose()


async def in_postgres(dsn: str, *acts: Callable[[sa.Connection], object]) -> object:
    engine = create_async_engine(dsn.replace("postgresql://", "postgresql+asyncpg://", 1))
    try:
        async with engine.begin() as conn:
            return [await conn.run_sync(act) for act in acts][-1]
    finally:
        await engine.dispose()


def test_the_migrations_give_the_tables_on_sqlite(tmp_path: Path) -> None:
    migrated = in_sqlite(tmp_path / "a.db", migrate.migrate, sqlite_schema)
    made = in_sqlite(tmp_path / "b.db", by_tables, sqlite_schema)
    assert_same(migrated, made)  # type: ignore[arg-type]
    assert in_sqlite(tmp_path / "a.db", differences) == []


@pytest.mark.postgres
async def test_the_migrations_give_the_tables_on_postgresql(postgres_server: PostgresServer) -> None:
    one, two = postgres_server.database(), postgres_server.database()
    migrated = await in_postgres(one, migrate.migrate, postgres_schema)
    made = await in_postgres(two, by_tables, postgres_schema)
    assert_same(migrated, made)  # type: ignore[arg-type]
    assert await in_postgres(one, differences) == []


def test_a_difference_is_found(tmp_path: Path) -> None:
    """The comparison itself: a partial index that lost its condition is one, though Alembic does not see it."""

    def spoil(conn: sa.Connection) -> None:
        conn.exec_driver_sql("DROP INDEX ports_pending")
        conn.exec_driver_sql("CREATE INDEX ports_pending ON ports (seq)")

    migrated = in_sqlite(tmp_path / "a.db", migrate.migrate, spoil, sqlite_schema)
    made = in_sqlite(tmp_path / "b.db", by_tables, sqlite_schema)
    with pytest.raises(AssertionError, match="ports_pending"):
        assert_same(migrated, made)  # type: ignore[arg-type]


def test_the_head_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(migrate.SCRIPTS)).get_heads() == [migrate.HEAD]


# What follows upgrades a database of today to a release that does not exist.

NEXT = """
import os, signal
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "0002", "0001", None, None


def upgrade():
    op.add_column("projects", sa.Column("colour", sa.Text(), nullable=False, server_default="grey"))
    op.execute("UPDATE projects SET description = 'painted'")
    {then}
"""


@pytest.fixture
def next_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a release with one more migration in place of today's; it ends with the statement given."""

    released = migrate.SCRIPTS

    def install(then: str) -> None:
        scripts = Path(tempfile.mkdtemp(dir=tmp_path, prefix="scripts-"))
        shutil.copytree(released, scripts, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        (scripts / "versions" / "0002_next.py").write_text(NEXT.format(then=then))
        monkeypatch.setattr(migrate, "SCRIPTS", scripts)
        monkeypatch.setattr(migrate, "HEAD", "0002")

    return install


async def filled(path: Path) -> str:
    store = SqliteStore(path, SEALER)
    await store.open()
    made = await store.write(lambda tx: tx.add(Project(id=new_id(), name="kept")))
    await store.close()
    return made.id


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def test_a_new_database_is_at_the_head_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    await filled(path)
    assert rows(path, "SELECT version_num FROM alembic_version") == [(migrate.HEAD,)]
    assert sorted(os.listdir(tmp_path)) == ["t.db", "t.lock"]  # nothing to copy, nothing copied
    assert path.stat().st_mode & 0o077 == 0


async def test_sqlite_is_copied_before_an_upgrade(tmp_path: Path, next_release: Callable[[str], None]) -> None:
    path = tmp_path / "t.db"
    await filled(path)
    next_release("")
    store = SqliteStore(path, SEALER)
    await store.open()
    assert (await store.read(lambda r: r.first(Project, name="kept"))).description == "painted"  # type: ignore[union-attr]
    await store.close()
    assert rows(path, "SELECT version_num, colour FROM alembic_version, projects") == [("0002", "grey")]
    copy = tmp_path / "t.db.before-0002"
    assert rows(copy, "SELECT version_num, description FROM alembic_version, projects") == [("0001", "")]
    assert copy.stat().st_mode & 0o077 == 0
    assert not (tmp_path / "t.db.before-0002.part").exists()


async def test_a_failed_upgrade_leaves_the_database_as_it_was(
    tmp_path: Path, next_release: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.db"
    id = await filled(path)
    before = in_sqlite(path, sqlite_schema)
    next_release("op.execute('SELECT nothing FROM nowhere')")
    with pytest.raises(errors.Backend, match="nowhere"):
        await SqliteStore(path, SEALER).open()
    monkeypatch.undo()
    assert in_sqlite(path, sqlite_schema) == before
    store = SqliteStore(path, SEALER)  # the failed one gave up its lock
    await store.open()
    assert (await store.read(lambda r: r.get(Project, id))).description == ""
    await store.close()


async def test_an_upgrade_killed_in_the_middle_can_be_repeated(
    tmp_path: Path, next_release: Callable[[str], None]
) -> None:
    path = tmp_path / "t.db"
    await filled(path)
    next_release("os.kill(os.getpid(), signal.SIGKILL)")
    child = f"""
import pathlib
from trilith.store import migrate
migrate.SCRIPTS, migrate.HEAD = pathlib.Path({str(migrate.SCRIPTS)!r}), "0002"
migrate.sqlite(pathlib.Path({str(path)!r}))
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", child)
    assert await process.wait() == -signal.SIGKILL
    assert rows(path, "SELECT version_num, description FROM alembic_version, projects") == [("0001", "")]
    next_release("")
    migrate.sqlite(path)
    assert rows(path, "SELECT version_num, colour FROM alembic_version, projects") == [("0002", "grey")]
    assert rows(tmp_path / "t.db.before-0002", "SELECT description FROM projects") == [("",)]


async def test_a_newer_releases_sqlite_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    await filled(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    before = digest(path)
    with pytest.raises(errors.Conflict, match="9999"):
        await SqliteStore(path, SEALER).open()
    assert digest(path) == before
    assert sorted(os.listdir(tmp_path)) == ["t.db", "t.lock"]


async def test_what_is_no_database_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(errors.Backend, match="not a database"):
        await SqliteStore(path, SEALER).open()
    assert path.read_bytes() == b"not a database" * 1000


async def test_the_copy_goes_back_to_the_release_before(
    tmp_path: Path, next_release: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.db"
    id = await filled(path)
    next_release("")
    migrate.sqlite(path)
    monkeypatch.undo()
    with pytest.raises(errors.Conflict, match="0002"):
        await SqliteStore(path, SEALER).open()
    (tmp_path / "t.db.before-0002").replace(path)
    store = SqliteStore(path, SEALER)
    await store.open()
    assert (await store.read(lambda r: r.get(Project, id))).description == ""
    await store.close()


@pytest.mark.postgres
async def test_postgresql_is_upgraded_or_left_as_it_was(
    postgres_server: PostgresServer, next_release: Callable[[str], None]
) -> None:
    dsn = postgres_server.database()
    store = PostgresStore(dsn, SEALER)
    await store.open()
    await store.write(lambda tx: tx.add(Project(id=new_id(), name="kept")))
    await store.close()

    def state(conn: sa.Connection) -> list[tuple[object, ...]]:
        return [
            tuple(r) for r in conn.exec_driver_sql("SELECT version_num, description FROM alembic_version, projects")
        ]

    next_release("op.execute('SELECT nothing FROM nowhere')")
    with pytest.raises(errors.Backend, match="nowhere"):
        await PostgresStore(dsn, SEALER).open()
    assert await in_postgres(dsn, state) == [("0001", "")]
    next_release("")
    store = PostgresStore(dsn, SEALER)
    await store.open()
    await store.close()
    assert await in_postgres(dsn, state) == [("0002", "painted")]


@pytest.mark.postgres
async def test_a_newer_releases_postgresql_is_refused(postgres_server: PostgresServer) -> None:
    dsn = postgres_server.database()
    store = PostgresStore(dsn, SEALER)
    await store.open()
    await store.close()
    await in_postgres(dsn, lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'").rowcount)
    with pytest.raises(errors.Conflict, match="9999"):
        await PostgresStore(dsn, SEALER).open()
    held = await in_postgres(dsn, lambda c: c.exec_driver_sql("SELECT version_num FROM alembic_version").scalar())
    assert held == "9999"


# What past releases left is carried over by today's code.

RELEASES = sorted(FIXTURES.glob("release-*.sql"))
REMAKE = "Until release 0.1, when the tables change: python -m tests.fixtures.make_release 0.1"


def stored(dump: Path, state: Path) -> Path:
    """The state as the release left it, a moment ago: deadlines of jobs are as far away as they were then."""
    state.mkdir()
    path = state / "trilith.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(dump.read_text())
        db.execute(
            "UPDATE jobs SET deadline = deadline + ? - (SELECT max(at) FROM feed) WHERE deadline > 0", (time.time(),)
        )
        db.commit()
    for name, text in json.loads(dump.with_suffix(".nodes.json").read_text()).items():
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_text(text.replace(STATE, str(state)))
    key = state / "master.key"
    key.write_bytes(dump.with_suffix(".key").read_bytes())
    key.chmod(0o600)
    return path


def test_there_is_a_database_of_the_first_release() -> None:
    assert "release-0.1.sql" in [p.name for p in RELEASES]


@pytest.mark.parametrize("dump", RELEASES, ids=lambda p: p.stem)
def test_a_releases_database_gets_the_tables_of_today(dump: Path, tmp_path: Path) -> None:
    path = stored(dump, tmp_path / "state")
    migrate.sqlite(path)
    made = in_sqlite(tmp_path / "b.db", by_tables, sqlite_schema)
    diff = difflib.unified_diff(in_sqlite(path, sqlite_schema), made, dump.name, "today", lineterm="", n=0)  # type: ignore[arg-type]
    assert not (lines := list(diff)), "\n".join([REMAKE, *lines])


@pytest.mark.parametrize("dump", RELEASES, ids=lambda p: p.stem)
async def test_jobs_begun_by_a_release_end_under_this_one(dump: Path, tmp_path: Path) -> None:
    stored(dump, tmp_path / "state")
    settings = settings_of(tmp_path / "state", tombstone_seconds=1e10)

    def jobs(reader: Reader) -> dict[str, Job]:
        return {f"{j.kind} {reader.get(Server, j.resource_id, dead=True).name}": j for j in reader.select(Job)}

    async with cloud(settings) as running:
        store = running.store
        async with asyncio.timeout(60):
            while True:
                cursor = await store.head()
                found = await store.read(jobs)
                if {j.state for j in found.values()} <= set(FINAL):
                    break
                await store.wait(cursor, timeout=20)
        begun = {"server.create in-flight", "server.stop stopping", "server.delete going"}
        assert {n: found[n].state for n in begun} == dict.fromkeys(begun, JobState.DONE), REMAKE
        assert found["server.create in-flight"].epoch == 2  # taken up by a second process, not begun anew
        steps = await store.read(lambda r: r.select(JobStep, job_id=found["server.create in-flight"].id))
        assert [s.idx for s in steps] == list(range(len(steps)))
        left = await store.read(lambda r: {s.name: s for s in r.select(Server)})
        assert set(left) == {"kept", "stopping", "in-flight"}
        assert left["in-flight"].state is ServerState.ACTIVE
        assert left["stopping"].state is ServerState.STOPPED
        for one in left.values():
            assert running.sealer.open(one.user_data, context=f"server.user_data:{one.id}") == USER_DATA
        assert await running.admin_password() == PASSWORD
