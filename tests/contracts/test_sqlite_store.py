"""What only the embedded store promises: durability of a commit, shared commits, and life after a full disk."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.contracts.conftest import SEALER
from trilith import errors
from trilith.model.identity import Project
from trilith.store.sqlite import SqliteStore
from trilith.store.tx import Tx, new_id


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "t.db", SEALER)
    await opened.open()
    yield opened
    await opened.close()


def project(tx: Tx, name: str) -> Project:
    return tx.add(Project(id=new_id(), name=name))


PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}  # 2: FULL, a commit is on the disk


async def test_a_commit_is_on_the_disk_when_it_is_answered(store: SqliteStore) -> None:
    def look(conn: sa.Connection) -> dict[str, object]:
        return {name: conn.exec_driver_sql(f"PRAGMA {name}").scalar() for name in PRAGMAS}

    assert await store.read(lambda r: look(r.conn)) == PRAGMAS
    assert await store.write(lambda tx: look(tx.conn)) == PRAGMAS


def count_commits(store: SqliteStore) -> list[str]:
    """Statements COMMIT of the writer, as they come."""
    seen: list[str] = []
    assert store._writer_engine is not None

    @sa.event.listens_for(store._writer_engine, "before_cursor_execute")
    def _look(_conn: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement == "COMMIT":
            seen.append(statement)

    return seen


async def test_transactions_that_come_together_share_a_commit(store: SqliteStore) -> None:
    commits = count_commits(store)
    await asyncio.gather(*(store.write(lambda tx, n=n: project(tx, f"p{n}")) for n in range(200)))
    assert 1 <= len(commits) <= 20
    assert await store.read(lambda r: r.count(Project)) == 200
    rows = await store.feed("")
    assert len(rows) == 200
    del commits[:]
    for n in range(3):
        await store.write(lambda tx, n=n: project(tx, f"alone{n}"))
    assert len(commits) == 3  # nobody waits for company


async def test_one_that_fails_undoes_only_itself_in_a_shared_commit(store: SqliteStore) -> None:
    hold, entered = threading.Event(), threading.Event()

    def first(tx: Tx) -> None:
        entered.set()
        hold.wait(10)

    def failing(tx: Tx) -> None:
        project(tx, "lost")
        raise errors.Invalid("no")

    blocker = asyncio.create_task(store.write(first))
    await asyncio.to_thread(entered.wait, 10)
    commits = count_commits(store)
    rest = [
        asyncio.create_task(store.write(body))
        for body in (lambda tx: project(tx, "one"), failing, lambda tx: project(tx, "two"))
    ]
    await asyncio.sleep(0)  # all three have joined the queue
    hold.set()
    results = await asyncio.gather(blocker, *rest, return_exceptions=True)
    assert [type(r) for r in results] == [type(None), Project, errors.Invalid, Project]
    assert len(commits) == 2
    assert await store.read(lambda r: [p.name for p in r.select(Project)]) == ["one", "two"]
    assert len(await store.feed("")) == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    path = tmp_path / "small"
    path.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", 0, b"size=3m,mode=700"):
        raise OSError(ctypes.get_errno(), "mount")
    try:
        yield path
    finally:
        if libc.umount2(os.fsencode(path), 2):  # MNT_DETACH
            raise OSError(ctypes.get_errno(), "umount")


def fill_up(ballast: Path) -> None:
    """To the last block."""
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):  # noqa: PT012
        while True:
            file.write(b"x" * 4096)


@pytest.mark.root
async def test_a_full_disk_is_told_and_outlived(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "t.db", SEALER)
    await store.open()
    try:
        kept = await store.write(lambda tx: project(tx, "before"))
        ballast = small_disk / "ballast"
        fill_up(ballast)
        with pytest.raises(errors.Backend) as refused:  # noqa: PT012
            for n in range(200):  # the write-ahead log may still have room in its last page
                await store.write(lambda tx, n=n: tx.add(Project(id=new_id(), name=f"p{n}", description="x" * 4096)))
        assert "full" in refused.value.message
        assert "space" in refused.value.hint
        # what was answered is there, what was refused is not, and readers go on
        names = await store.read(lambda r: [p.name for p in r.select(Project)])
        assert names == ["before", *(f"p{n}" for n in range(len(names) - 1))]
        several = await asyncio.gather(
            *(store.write(lambda tx, n=n: project(tx, f"many{n}" * 500)) for n in range(5)), return_exceptions=True
        )
        assert all(isinstance(one, errors.Backend) for one in several)
        ballast.unlink()
        after = await store.write(lambda tx: project(tx, "after"))
        assert await store.read(lambda r: r.get(Project, kept.id)) == kept
        assert await store.read(lambda r: r.get(Project, after.id)) == after
        assert len(await store.feed("")) == len(names) + 1
    finally:
        await store.close()
    with sqlite3.connect(small_disk / "t.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    again = SqliteStore(small_disk / "t.db", SEALER)
    await again.open()
    assert await again.read(lambda r: r.count(Project)) == len(names) + 1
    await again.close()


@pytest.mark.root
async def test_a_disk_that_is_full_at_the_start_is_told(small_disk: Path) -> None:
    fill_up(small_disk / "ballast")
    with pytest.raises(errors.Backend, match="full"):
        await SqliteStore(small_disk / "t.db", SEALER).open()
    (small_disk / "ballast").unlink()
    store = SqliteStore(small_disk / "t.db", SEALER)
    await store.open()
    await store.write(lambda tx: project(tx, "works"))
    await store.close()
