"""The embedded store: SQLite in WAL mode with full sync, one writer thread, a few reader threads.

Why one writer: SQLite has one write lock anyway; owning it in one thread turns lock waits into a queue, and lets
transactions that arrive together share one commit (each in a savepoint of its own, so one failure undoes only itself).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from trilith import errors
from trilith.model.record import CLOUD, Actor, FeedRow
from trilith.store import away, migrate, purge
from trilith.store import cursor as cursors
from trilith.store.contract import DEADLINE
from trilith.store.feed_tail import FeedTail
from trilith.store.purge import Cutoffs
from trilith.store.seal import Sealer
from trilith.store.tx import Reader, Tx, feed_table

T = TypeVar("T")

#: transactions that may share one commit; bounds the latency of the first
_GROUP = 64
_READERS = 2
#: seconds that a statement waits for a lock of somebody else's (a backup, a shell): well below the store's deadline
_BUSY = 5.0


@dataclass(slots=True)
class _Job:
    fn: Callable[[Tx], Any]
    actor: Actor
    action: str
    future: Future[Any]


class SqliteStore:
    """deadline: as contract.DEADLINE. A thread that hangs in the disk is not ended by it; who waits for it is told."""

    deadline = DEADLINE

    def __init__(self, path: Path, sealer: Sealer) -> None:
        self.path = path
        self.sealer = sealer
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-read")
        self._local = threading.local()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._tail = FeedTail()  # touched in the loop only
        self._lock_fd = -1
        self._reader_engine: sa.Engine | None = None
        self._writer_engine: sa.Engine | None = None

    @property
    def needs_leadership(self) -> bool:
        return False

    @asynccontextmanager
    async def leadership(self) -> AsyncIterator[asyncio.Event]:
        yield asyncio.Event()

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock_fd = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock_fd)
            self._lock_fd = -1
            raise errors.Conflict(
                f"Another process has {self.path} open.", hint="Stop the other `trilith up`, or use another --state."
            ) from None
        try:
            await asyncio.to_thread(migrate.sqlite, self.path)
            self._writer_engine = _engine(self.path)
            self._reader_engine = _engine(self.path)
            # the first connection turns the file to WAL, which needs it alone: no busy timeout covers that
            await asyncio.to_thread(_first_connection, self._writer_engine)
        except BaseException:
            await self.close()
            raise
        self._thread = threading.Thread(target=self._write_loop, name="store-write", daemon=True)
        self._thread.start()

    async def read(self, fn: Callable[[Reader], T]) -> T:
        async with away.within(self.deadline):
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, fn)

    def _read(self, fn: Callable[[Reader], T]) -> T:
        """A connection that failed is not used again: the next read opens another."""
        try:
            conn = getattr(self._local, "conn", None)
            if conn is None:
                assert self._reader_engine is not None
                conn = self._local.conn = self._reader_engine.connect()
            conn.exec_driver_sql("BEGIN")  # deferred: one snapshot for all of fn
            try:
                return fn(Reader(conn, self.sealer))
            finally:
                conn.exec_driver_sql("ROLLBACK")
        except (sa.exc.DBAPIError, sqlite3.Error) as err:
            known = away.of_sqlite(err)
            if known is None:
                raise
            _discard(self._local.__dict__.pop("conn", None))
            raise known from err

    async def write(self, fn: Callable[[Tx], T], *, actor: Actor = CLOUD, action: str = "") -> T:
        if self._thread is None or not self._thread.is_alive():
            raise errors.DatabaseAway("The store is closed.")
        future: Future[Any] = Future()
        self._queue.put(_Job(fn, actor, action, future))
        # shielded: a caller that goes away does not take back what is being committed
        async with away.within(self.deadline):
            result: T = await asyncio.shield(asyncio.wrap_future(future))
        return result

    def _write_loop(self) -> None:
        conn: sa.Connection | None = None
        while (first := self._queue.get()) is not None:
            group = [first]
            last = False
            while len(group) < _GROUP:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    last = True
                    break
                group.append(more)
            conn = self._commit(conn, group)
            if last:
                break
        _discard(conn)

    def _commit(self, conn: sa.Connection | None, group: list[_Job]) -> sa.Connection | None:
        """One transaction for all of the group. The connection for the next one, None where it is to be opened."""
        done: list[tuple[_Job, Any, BaseException | None]] = []
        rows: list[FeedRow] = []
        try:
            if conn is None:
                assert self._writer_engine is not None
                conn = self._writer_engine.connect()
            conn.exec_driver_sql("BEGIN IMMEDIATE")
            for job in group:
                result: Any = None
                failure: BaseException | None = None
                conn.exec_driver_sql("SAVEPOINT one")
                try:
                    tx = Tx(conn, self.sealer, job.actor, job.action)
                    result = job.fn(tx)
                    added = _added(conn, tx) if tx.finish(0) else []
                    conn.exec_driver_sql("RELEASE one")
                    rows += added
                except BaseException as err:  # handed to the caller, whatever it is
                    if not _in_transaction(conn):  # a full disk ends all of it (sqlite.org/lang_transaction.html)
                        raise
                    conn.exec_driver_sql("ROLLBACK TO one")
                    conn.exec_driver_sql("RELEASE one")
                    failure = _own(err)
                done.append((job, result, failure))
            conn.exec_driver_sql("COMMIT")
        except BaseException as err:  # noqa: BLE001  the commit itself failed: every caller of the group learns it
            _discard(conn)  # which rolls back, and the next group gets a sound one
            failed = {id(job): failure for job, _, failure in done if failure is not None}
            for job in group:
                job.future.set_exception(failed.get(id(job)) or _own(err))
            return None
        if rows and self._loop is not None and not self._loop.is_closed():
            # before the callers are told: what they have just written they find in the feed
            self._loop.call_soon_threadsafe(self._wake, rows)
        for job, result, failure in done:
            if failure is None:
                job.future.set_result(result)
            else:
                job.future.set_exception(failure)
        return conn

    def _wake(self, rows: list[FeedRow]) -> None:
        self._tail.extend(rows)
        self._changed.set()
        self._changed = asyncio.Event()

    async def feed(self, cursor: str, *, limit: int = 500) -> list[FeedRow]:
        known = self._tail.after(cursor, limit)
        if known is not None:
            return known

        def fn(reader: Reader) -> list[FeedRow]:
            cursors.check_retained(cursor, reader.setting(cursors.PURGED))
            return [cursors.load(row) for row in reader.conn.execute(*cursors.after(cursor, limit))]

        return await self.read(fn)

    async def head(self) -> str:
        def fn(reader: Reader) -> str:
            newest = reader.conn.execute(sa.select(sa.func.max(feed_table.c.id))).scalar()
            return cursors.text(0, newest) if newest else (reader.setting(cursors.PURGED) or "")

        return await self.read(fn)

    async def wait(self, cursor: str, *, timeout: float) -> None:
        # take the event before looking: a commit between look and wait sets this very event
        event = self._changed
        if await self.feed(cursor, limit=1):
            return
        try:
            async with asyncio.timeout(timeout):
                await event.wait()
        except TimeoutError:
            return

    async def prune(self, before: Cutoffs) -> int:
        removed = 0
        while part := await self.write(lambda tx: purge.purge(tx, before)):
            removed += part
            self._tail.clear()
        return removed

    async def close(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        await asyncio.to_thread(self._readers.shutdown, wait=True)
        for engine in (self._reader_engine, self._writer_engine):
            if engine is not None:
                engine.dispose()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


def _added(conn: sa.Connection, tx: Tx) -> list[FeedRow]:
    """The feed rows that `tx` has just added: their ids are the last ones, since nobody else writes."""
    last = conn.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'feed'").scalar_one()
    first = last - len(tx.touched) + 1
    return [
        FeedRow(
            cursor=cursors.text(0, first + n),
            at=tx.now,
            noun=noun,
            change=change,
            id=id,
            project_id=project,
            revision=revision,
            version=1,
        )
        for n, (noun, change, id, project, revision) in enumerate(tx.touched)
    ]


def _in_transaction(conn: sa.Connection) -> bool:
    return bool(getattr(conn.connection.dbapi_connection, "in_transaction", False))


def _discard(conn: sa.Connection | None) -> None:
    """Close it for good, whatever state it is in."""
    if conn is not None:
        conn.invalidate()
        conn.close()


def _first_connection(engine: sa.Engine) -> None:
    try:
        engine.connect().close()
    except (sa.exc.DBAPIError, sqlite3.Error) as err:
        raise _own(err) from err


def _own(err: BaseException) -> BaseException:
    return away.of_sqlite(err) or err


def _engine(path: Path) -> sa.Engine:
    # isolation_level None: transactions are begun by us, not by the sqlite3 module
    engine = sa.create_engine(
        f"sqlite:///{path}",
        poolclass=sa.pool.NullPool,
        connect_args={"isolation_level": None, "check_same_thread": False, "timeout": _BUSY},
        query_cache_size=1500,
    )

    @sa.event.listens_for(engine, "connect")
    def _pragmas(dbapi: Any, _record: Any) -> None:
        cursor = dbapi.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA cache_size=-16000")
        cursor.execute("PRAGMA wal_autocheckpoint=2000")
        cursor.close()

    return engine.execution_options(isolation_level="AUTOCOMMIT")
