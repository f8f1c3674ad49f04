"""One OVSDB database: an IDL replica in a thread of its own, spoken to from the event loop.

The thread owns the replica. The loop hands it functions to run there (compose a transaction, read rows, watch), and
gets futures back. Only one transaction is in flight at a time, so each is composed on what the one before it did.
The IDL reconnects by itself; meanwhile transactions fail at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import ovs.db.error
import ovs.db.idl
import ovs.poller
from ovsdbapp.backend.ovs_idl import idlutils

from trilith.drivers.ovn import wire
from trilith.drivers.ovn.rows import Op, Row, Value
from trilith.errors import Backend, Bug, Deadline, TrilithError

wire.install()

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
#: A commit that lost a race, or was composed on a replica a moment old, is composed anew this often.
_ATTEMPTS = 5
_STALE = ("referential integrity violation", "constraint violation", "duplicate uuid")


class Record(Mapping[str, Value]):
    """One row, read lazily; valid in the database's thread only. References are UUIDs."""

    __slots__ = ("_row",)

    def __init__(self, row: Any) -> None:
        self._row = row

    @property
    def id(self) -> UUID:
        return self._row.uuid  # type: ignore[no-any-return]

    def __getitem__(self, column: str) -> Value:
        if column not in self._row._table.columns:
            raise KeyError(column)
        return _plain(getattr(self._row, column))

    def __contains__(self, column: object) -> bool:
        return column in self._row._table.columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._row._table.columns)

    def __len__(self) -> int:
        return len(self._row._table.columns)


def _plain(value: Any) -> Value:
    if isinstance(value, ovs.db.idl.Row):
        return value.uuid  # type: ignore[no-any-return]
    if isinstance(value, list):
        return [v.uuid if isinstance(v, ovs.db.idl.Row) else v for v in value]
    return value  # type: ignore[no-any-return]


class Replica:
    """The tables as last seen. Use only in the database's thread."""

    def __init__(self, idl: Any) -> None:
        self._idl = idl

    def get(self, table: str, row: UUID) -> Row | None:
        found = self._idl.tables[table].rows.get(row)
        return None if found is None else Record(found)

    def records(self, table: str) -> Iterator[Record]:
        for row in self._idl.tables[table].rows.values():
            yield Record(row)


#: (event, table, row): event is create, update, delete, or "resync" with no row after a reconnect.
Watcher = Callable[[str, str, "Record | None"], None]


class _Idl(ovs.db.idl.Idl):  # type: ignore[misc]
    watchers: list[Watcher]

    def notify(self, event: str, row: Any, updates: Any = None) -> None:
        record = Record(row)
        for watcher in self.watchers:
            watcher(event, row._table.name, record)


@dataclass(slots=True)
class _Work:
    """A transaction on its way."""

    compose: Callable[[Replica], Sequence[Op]]
    future: asyncio.Future[None]
    deadline: float
    attempts: int = 0
    seqno: int = -1  # of the replica that the last attempt was composed on


@dataclass(slots=True)
class _Waiter:
    condition: Callable[[Replica], Any]
    future: asyncio.Future[Any]


@dataclass(slots=True)
class _Inbox:
    work: list[_Work] = field(default_factory=list)
    calls: list[Callable[[], None]] = field(default_factory=list)
    waiters: list[_Waiter] = field(default_factory=list)


class Database:
    """Make with `open`."""

    def __init__(self, remote: str, idl: _Idl, name: str) -> None:
        self.remote = remote
        self.name = name
        self._loop = asyncio.get_running_loop()
        self._idl = idl
        self._replica = Replica(idl)
        self._lock = threading.Lock()
        self._inbox = _Inbox()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"ovsdb-{name}", daemon=True)

    @classmethod
    async def open(
        cls, remote: str, name: str, tables: Mapping[str, Collection[str]], *, timeout: float = 10.0
    ) -> Database:
        """Connect and read. tables: name → the columns to replicate. Raises Backend when nobody answers."""
        helper = await asyncio.to_thread(_schema, remote, name)
        for table, columns in tables.items():
            helper.register_columns(table, sorted(columns))
        # leader_only: in a clustered database only the leader's replica is sure to hold what was just committed
        idl = _Idl(remote, helper, leader_only=name == "OVN_Northbound")
        idl.watchers = []
        # set_backoff() allows no less than a second, in which every transaction would fail; the supervisor restarts a
        # database in a tenth of that
        idl._session.reconnect.min_backoff, idl._session.reconnect.max_backoff = 50, 1000
        self = cls(remote, idl, name)
        self._thread.start()
        try:
            await self.wait_until(lambda _: self.connected or None, timeout=timeout)
        except BaseException:
            await self.close()
            raise
        return self

    @property
    def connected(self) -> bool:
        idl = self._idl
        return bool(idl.state == idl.IDL_S_MONITORING and idl._session.is_connected())

    async def transact(self, compose: Callable[[Replica], Sequence[Op]], *, timeout: float = 10.0) -> None:
        """Commit what `compose` returns, composing anew when another writer was first.

        Raises what `compose` raises, Backend with ovsdb-server's words, Deadline after `timeout` seconds.
        """
        future: asyncio.Future[None] = self._loop.create_future()
        work = _Work(compose, future, time.monotonic() + timeout)
        self._post(lambda inbox: inbox.work.append(work))
        await future

    async def read(self, look: Callable[[Replica], T]) -> T:
        """What `look` returns, run on the replica between two updates."""
        future: asyncio.Future[T] = self._loop.create_future()

        def call() -> None:
            try:
                self._settle(future, look(self._replica))
            except Exception as error:  # noqa: BLE001 (handed to who asked)
                self._blame(future, error)

        self._post(lambda inbox: inbox.calls.append(call))
        return await future

    async def wait_until(self, condition: Callable[[Replica], T | None], *, timeout: float) -> T:
        """The first value other than None of `condition`, looked at after each change. Raises Deadline."""
        waiter = _Waiter(condition, self._loop.create_future())
        self._post(lambda inbox: inbox.waiters.append(waiter))
        try:
            async with asyncio.timeout(timeout):
                return await waiter.future  # type: ignore[no-any-return]
        except TimeoutError:
            raise Deadline(f"{self.name} at {self.remote} did not get there in {timeout:g} s.") from None
        finally:
            waiter.future.cancel()

    async def watch(self, watcher: Watcher, start: Callable[[Replica], None]) -> Callable[[], None]:
        """Run `start` and from then on tell `watcher`, in the database's thread; the result ends it."""

        def begin(replica: Replica) -> None:
            start(replica)
            self._idl.watchers.append(watcher)

        await self.read(begin)

        def end() -> None:
            self._post(lambda inbox: inbox.calls.append(lambda: self._idl.watchers.remove(watcher)))

        return end

    async def close(self) -> None:
        """End the thread. What is still under way fails with Backend."""
        if self._stopping:
            return
        self._stopping = True
        self._ring()
        await asyncio.to_thread(self._thread.join)
        os.close(self._wake)
        self._wake = -1

    # ---- handing over

    def _post(self, put: Callable[[_Inbox], None]) -> None:
        if self._stopping or not self._thread.is_alive():
            raise Backend(f"The connection to {self.name} is closed.")
        with self._lock:
            put(self._inbox)
        self._ring()

    def _ring(self) -> None:
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def _settle(self, future: asyncio.Future[Any], value: Any) -> None:
        self._loop.call_soon_threadsafe(lambda: None if future.done() else future.set_result(value))

    def _fail(self, future: asyncio.Future[Any], error: BaseException) -> None:
        self._loop.call_soon_threadsafe(lambda: None if future.done() else future.set_exception(error))

    def _blame(self, future: asyncio.Future[Any], error: Exception) -> None:
        """What somebody's function raised is his: the thread goes on for the others. A bug is logged where it was."""
        if not isinstance(error, TrilithError):
            _LOG.error("%s: a bug in what it was handed", self.name, exc_info=error)
            error = Bug(f"{type(error).__name__}: {error}")
        self._fail(future, error)

    # ---- the thread

    def _run(self) -> None:
        queue: list[_Work] = []
        waiters: list[_Waiter] = []
        flying: tuple[_Work, Any] | None = None
        seen, was_connected, ever = -1, False, False
        try:
            while not self._stopping:
                try:
                    self._idl.run()
                except ovs.db.error.Error as error:
                    _LOG.warning("%s: %s: reading everything again", self.name, error)
                    self._idl.force_reconnect()
                connected = self.connected
                if connected and not was_connected:
                    if ever:
                        for watcher in list(self._idl.watchers):
                            watcher("resync", "", None)
                    ever = True
                changed = seen != self._idl.change_seqno or connected != was_connected
                seen, was_connected = self._idl.change_seqno, connected
                with self._lock:
                    inbox, self._inbox = self._inbox, _Inbox()
                queue += inbox.work
                for call in inbox.calls:
                    call()
                flying = self._land(flying, queue)
                while flying is None and queue:
                    flying = self._launch(queue.pop(0), queue)
                    if flying is None and queue and queue[0].seqno == self._idl.change_seqno:
                        break  # lost a race, and the winner's change is not here yet
                kept = [] if changed else [w for w in waiters if not w.future.done()]
                waiters = kept + self._look(waiters if changed else [], inbox.waiters)
                self._sleep(queue, flying)
        finally:
            self._abandon(queue, waiters, flying)
            self._idl.close()

    def _sleep(self, queue: list[_Work], flying: tuple[_Work, Any] | None) -> None:
        poller = ovs.poller.Poller()
        self._idl.wait(poller)
        poller.fd_wait(self._wake, select.POLLIN)
        deadlines = [w.deadline for w in queue] + ([flying[0].deadline] if flying else [])
        if deadlines:
            poller.timer_wait(max(0, int((min(deadlines) - time.monotonic()) * 1000) + 1))
        with self._lock:
            if self._inbox.work or self._inbox.calls or self._inbox.waiters:
                poller.immediate_wake()
        poller.block()
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return  # woken by the socket or the clock

    def _look(self, old: list[_Waiter], new: list[_Waiter]) -> list[_Waiter]:
        left = []
        for waiter in [*old, *new]:
            if waiter.future.done():
                continue
            try:
                value = waiter.condition(self._replica)
            except Exception as error:  # noqa: BLE001 (handed to who asked)
                self._blame(waiter.future, error)
                continue
            if value is None:
                left.append(waiter)
            else:
                self._settle(waiter.future, value)
        return left

    def _launch(self, work: _Work, queue: list[_Work]) -> tuple[_Work, Any] | None:
        """Compose and send. None when it is settled at once, or was put back to wait for the replica."""
        if work.future.done():
            return None
        if time.monotonic() > work.deadline:
            self._fail(work.future, Deadline(f"{self.name} did not commit in time."))
            return None
        if not self.connected:
            hint = "The daemons restart by themselves; try again in a second."
            self._fail(work.future, Backend(f"{self.name} at {self.remote} does not answer.", hint=hint))
            return None
        if work.seqno == self._idl.change_seqno:
            queue.insert(0, work)
            return None
        try:
            operations = work.compose(self._replica)
        except Exception as error:  # noqa: BLE001 (handed to who asked)
            self._blame(work.future, error)
            return None
        if not operations:
            self._settle(work.future, None)
            return None
        transaction = ovs.db.idl.Transaction(self._idl)
        for operation in operations:
            transaction.add_op(operation)
        work.attempts += 1
        work.seqno = self._idl.change_seqno
        transaction.commit()
        return self._land((work, transaction), queue)

    def _land(self, flying: tuple[_Work, Any] | None, queue: list[_Work]) -> tuple[_Work, Any] | None:
        """The transaction under way, or None once it came to an end."""
        if flying is None:
            return None
        work, transaction = flying
        status = transaction.commit()
        if status == transaction.INCOMPLETE:
            if time.monotonic() < work.deadline:
                return flying
            transaction.abort()
            self._fail(work.future, Deadline(f"{self.name} did not answer a transaction in time; it may be in."))
            # a server that hangs keeps its socket open: what follows fails at once until it has answered anew
            self._idl.force_reconnect()
        elif status in (transaction.SUCCESS, transaction.UNCHANGED):
            self._settle(work.future, None)
        elif not self.connected:
            self._fail(work.future, Backend(f"{self.name} went away during a transaction; it may be in."))
        else:
            error = transaction.get_error()
            stale = status == transaction.TRY_AGAIN or any(word in error for word in _STALE)
            if not stale or work.attempts >= _ATTEMPTS:
                self._fail(work.future, Backend(f"{self.name} refused a transaction: {error}."))
            else:
                if status != transaction.TRY_AGAIN:
                    work.seqno = -1  # a violation does not say that a change is still to come
                queue.insert(0, work)
        return None

    def _abandon(self, queue: list[_Work], waiters: list[_Waiter], flying: tuple[_Work, Any] | None) -> None:
        with self._lock:
            inbox, self._inbox = self._inbox, _Inbox()
        pending = [*queue, *inbox.work, *([flying[0]] if flying else [])]
        for future in [*(w.future for w in pending), *(w.future for w in [*waiters, *inbox.waiters])]:
            self._fail(future, Backend(f"The connection to {self.name} was closed."))


def _schema(remote: str, name: str) -> Any:
    try:
        return idlutils.get_schema_helper(remote, name)
    except Exception as error:
        # ovsdbapp raises Exception itself here
        raise Backend(f"{name} at {remote} does not answer: {error}.", hint="Is its ovsdb-server running?") from error
