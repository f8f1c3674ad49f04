"""The store for several controllers: PostgreSQL through asyncpg, the same transaction bodies as on SQLite.

Feed order: a row carries its transaction's xid8; readers see only rows of transactions older than
`pg_snapshot_xmin(pg_current_snapshot())`, so that none that commits later can slip in before the cursor.
NOTIFY only wakes; without it readers go on, at latest each time their wait runs out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from trilith import errors
from trilith.model.record import CLOUD, Actor, FeedRow
from trilith.store import away, migrate, purge
from trilith.store import cursor as cursors
from trilith.store.contract import DEADLINE
from trilith.store.purge import Cutoffs
from trilith.store.seal import Sealer
from trilith.store.tx import Reader, Tx, feed_table

T = TypeVar("T")

_CHANNEL = "trilith_feed"
#: key of the advisory lock that the leading controller holds
_LEADER = 0x7472696C  # "tril"
#: 40001 serialization_failure, 40P01 deadlock_detected: the body runs again
_RETRY = {"40001", "40P01"}
_XMIN = sa.text("txid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
#: attempts of a body beside others that make the same row: each of them can come in between once
_SAME_ROW = 4
#: seconds until the first look again after a notify that showed no row yet; doubled up to 1
_SOON = 0.02
#: seconds between attempts to get the wake-up connection back, and at most between looks without it
_RELISTEN = 1.0
#: seconds that connecting may take, and between looks whether a connection that only waits still lives
_CONNECT, _BEAT = 5.0, 30.0
#: what asyncpg raises
_CLIENT = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


def _not_kept(context: sa.engine.ExceptionContext) -> None:
    """A connection whose server is away goes out of the pool, also where the stream's end has not come yet."""
    if away.of_postgres(context.sqlalchemy_exception or context.original_exception) is not None:
        context.is_disconnect = True


class PostgresStore:
    """dsn: postgresql://…; several hosts may be named, asyncpg tries them in order. deadline: as contract.DEADLINE."""

    deadline = DEADLINE

    def __init__(self, dsn: str, sealer: Sealer) -> None:
        self.dsn = dsn
        self.sealer = sealer
        self._engine: AsyncEngine | None = None
        self._listener: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._listening = False

    @property
    def needs_leadership(self) -> bool:
        return True

    async def open(self) -> None:
        self._engine = create_async_engine(
            self.dsn.replace("postgresql://", "postgresql+asyncpg://", 1),
            pool_size=8,
            max_overflow=8,
            pool_pre_ping=True,
            connect_args={"timeout": _CONNECT},
        )
        sa.event.listen(self._engine.sync_engine, "handle_error", _not_kept)
        try:
            async with self._engine.begin() as conn:
                # one controller migrates, the others wait for it
                await conn.execute(sa.text("SELECT pg_advisory_xact_lock(:k)"), {"k": _LEADER + 1})
                await conn.run_sync(migrate.postgres)
        except (OSError, sa.exc.DBAPIError, asyncpg.PostgresError) as err:
            await self._engine.dispose()
            raise errors.Backend(f"PostgreSQL cannot be reached: {err}.", hint="Check the dsn and the server.") from err
        self._listener = asyncio.create_task(self._listen(), name="store-listen")

    @asynccontextmanager
    async def leadership(self) -> AsyncIterator[asyncio.Event]:
        lost = asyncio.Event()
        async with self._guard():
            conn = await self._connect("trilith-leader", lost)
        beat: asyncio.Task[None] | None = None
        try:
            async with self._guard():
                await conn.execute("SELECT pg_advisory_lock($1)", _LEADER)
            beat = asyncio.create_task(self._until_lost(conn, lost), name="store-leader")
            yield lost
        finally:
            if beat is not None:
                beat.cancel()
                await asyncio.gather(beat, return_exceptions=True)
            conn.terminate()

    async def read(self, fn: Callable[[Reader], T]) -> T:
        async with self._guard(), away.within(self.deadline), self._get().connect() as conn:
            conn = await conn.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            async with conn.begin():
                return await conn.run_sync(lambda sync: fn(Reader(sync, self.sealer)))

    async def write(self, fn: Callable[[Tx], T], *, actor: Actor = CLOUD, action: str = "") -> T:
        def body(sync: sa.Connection) -> T:
            tx = Tx(sync, self.sealer, actor, action)
            result = fn(tx)
            if tx.touched:
                txid = sync.execute(sa.text("SELECT pg_current_xact_id()::text::bigint")).scalar_one()
                tx.finish(int(txid))
                sync.execute(sa.text("SELECT pg_notify(:c, '')"), {"c": _CHANNEL})
            return result

        attempts = 8
        async with self._guard(), away.within(self.deadline):
            for attempt in range(attempts):
                try:
                    async with self._get().begin() as conn:
                        return await conn.run_sync(body)
                except sa.exc.DBAPIError as err:
                    if getattr(err.orig, "sqlstate", "") not in _RETRY:
                        raise
                    if attempt == attempts - 1:
                        raise errors.Outrun("Other writers were first, again and again.", hint="Repeat it.") from err
                except errors.Outrun:
                    # read again, what fn changes may be as good as before; a row that fn did not read itself is not
                    if attempt == attempts - 1:
                        raise
                except errors.Conflict as err:
                    # made by another writer after fn had looked: fn finds it now, or refuses it in its own words
                    if not isinstance(err.__cause__, sa.exc.IntegrityError) or attempt >= _SAME_ROW:
                        raise
            raise AssertionError("unreachable")

    async def feed(self, cursor: str, *, limit: int = 500) -> list[FeedRow]:
        def fn(reader: Reader) -> list[FeedRow]:
            cursors.check_retained(cursor, reader.setting(cursors.PURGED))
            stmt, values = cursors.after(cursor, limit)
            return [cursors.load(row) for row in reader.conn.execute(stmt.where(_XMIN), values)]

        return await self.read(fn)

    async def head(self) -> str:
        def fn(reader: Reader) -> str:
            t = feed_table.c
            newest = reader.conn.execute(
                sa.select(t.txid, t.id).where(_XMIN).order_by(t.txid.desc(), t.id.desc()).limit(1)
            ).first()
            return cursors.text(newest.txid, newest.id) if newest else (reader.setting(cursors.PURGED) or "")

        return await self.read(fn)

    async def wait(self, cursor: str, *, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        soon = 0.0
        while True:
            event = self._changed
            if await self.feed(cursor, limit=1):
                return
            left = end - loop.time()
            if left <= 0:
                return
            # A notify can come while an older transaction is still open: its rows are shown only after that one
            # ends, which no notify of ours announces when it changed nothing. So a wait is bounded, and short after
            # such a notify.
            bound = min(left, soon or (5.0 if self._listening else _RELISTEN))
            try:
                async with asyncio.timeout(bound):
                    await event.wait()
                soon = _SOON
            except TimeoutError:
                soon = soon * 2 if 0.0 < soon < 1.0 else 0.0

    async def prune(self, before: Cutoffs) -> int:
        removed = 0
        while part := await self.write(lambda tx: purge.purge(tx, before)):
            removed += part
        return removed

    async def drop_listener(self) -> None:
        """Cut the wake-up connection, as a network fault would (the contract suite does)."""
        async with self._get().begin() as conn:
            await conn.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'trilith-listen' AND datname = current_database()"
                )
            )

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None

    async def _listen(self) -> None:
        while True:
            lost = asyncio.Event()
            conn = None
            try:
                conn = await self._connect("trilith-listen", lost)
                await conn.add_listener(_CHANNEL, lambda *_a: self._wake())
                self._listening = True
                self._wake()  # what was committed while nobody listened
                await self._until_lost(conn, lost)
            except (OSError, *_CLIENT):
                await asyncio.sleep(_RELISTEN)  # a server that is away announces nothing: reconnecting is timed
            finally:
                self._listening = False
                if conn is not None and not conn.is_closed():
                    conn.terminate()

    async def _connect(self, name: str, lost: asyncio.Event) -> asyncpg.Connection[asyncpg.Record]:
        """A connection of its own, outside of the pool. lost: set when it breaks."""
        conn = await asyncpg.connect(self.dsn, timeout=_CONNECT, server_settings={"application_name": name})
        conn.add_termination_listener(lambda *_a: lost.set())
        return conn

    async def _until_lost(self, conn: asyncpg.Connection[asyncpg.Record], lost: asyncio.Event) -> None:
        """Return, with `lost` set, when the connection is no more. A peer that vanished says nothing: it is asked."""
        while not lost.is_set():
            try:
                async with asyncio.timeout(_BEAT):
                    await lost.wait()
            except TimeoutError:
                try:
                    await conn.execute("SELECT 1", timeout=_CONNECT)
                except (OSError, *_CLIENT):
                    lost.set()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _get(self) -> AsyncEngine:
        if self._engine is None:
            raise errors.DatabaseAway("The store is closed.")
        return self._engine

    @asynccontextmanager
    async def _guard(self) -> AsyncIterator[None]:
        try:
            yield
        except (OSError, sa.exc.SQLAlchemyError, *_CLIENT) as err:
            known = away.of_postgres(err)
            if known is None:
                raise
            raise known from err
