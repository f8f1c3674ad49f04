"""One connection to libvirtd: calls in threads, events in the event loop, and a new connection when libvirtd restarts.

libvirt wants a loop of its own for events and keepalive. It runs in one daemon thread a process; what it reports
crosses into asyncio by `call_soon_threadsafe`. Guests outlive libvirtd and this process alike.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import libvirt

from trilith.drivers.libvirt.failures import translate
from trilith.errors import Backend

T = TypeVar("T")

#: seconds between two keepalive messages, and how many may stay unanswered before libvirtd counts as gone
KEEPALIVE = (5, 3)
#: seconds before the first attempt to connect again, and the longest wait between two
BACKOFF = (0.05, 2.0)
#: calls that libvirtd is given at once by this process
THREADS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One event of libvirt's, as plain data. kind: lifecycle | reboot | device_removed | job_completed | agent."""

    kind: str
    domain: str
    event: int = 0
    detail: int = 0
    text: str = ""


class _LoopThread:
    """libvirt's event loop: one a process, since its implementation can be registered but once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def ensure(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            # libvirt-python prints every error on stderr unless told otherwise; ours are raised
            libvirt.registerErrorHandler(lambda _context, _error: None, None)
            libvirt.virEventRegisterDefaultImpl()
            self._thread = threading.Thread(target=self._run, name="libvirt-events", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            libvirt.virEventRunDefaultImpl()


_events = _LoopThread()


class Connection:
    """Opens at `open`, and again by itself after a loss.

    on_event: called in the event loop for each event.
    on_connected: called in the event loop after each new connection but the first: events may have been missed.
    """

    def __init__(self, uri: str, *, on_event: Callable[[Happening], None], on_connected: Callable[[], None]) -> None:
        self.uri = uri
        self._on_event = on_event
        self._on_connected = on_connected
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="libvirt")
        self._connection: Any = None
        self._connecting = asyncio.Lock()
        self._again: asyncio.Task[None] | None = None
        self._closed = False

    async def open(self) -> None:
        """Raises Backend when nothing answers."""
        self._loop = asyncio.get_running_loop()
        _events.ensure()
        await self._connect()

    async def close(self) -> None:
        self._closed = True
        if self._again is not None:
            self._again.cancel()
            await asyncio.gather(self._again, return_exceptions=True)
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._loop.run_in_executor(self._pool, _shut, connection)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def call(self, doing: str, work: Callable[[Any], T]) -> T:
        """Run `work(connection)` in a thread. Raises the translated error; Backend when libvirtd does not answer.

        A call that was cancelled goes on in its thread to its end: libvirt has no way to take one back.
        """
        connection = self._connection
        if connection is None or not connection.isAlive():
            await self._connect()
            connection = self._connection

        def guarded() -> T:
            try:
                return work(connection)
            except libvirt.libvirtError as error:
                if not connection.isAlive():
                    raise Backend(
                        f"cannot {doing}: the connection to libvirtd was lost: {error.get_error_message()}",
                        hint="It is opened again by itself; repeat the request.",
                    ) from error
                raise translate(error, doing) from error

        return await self._loop.run_in_executor(self._pool, guarded)

    async def _connect(self) -> None:
        async with self._connecting:
            if self._closed:
                raise Backend("the connection to libvirt is closed")
            if self._connection is not None and self._connection.isAlive():
                return
            first = self._connection is None
            old, self._connection = self._connection, None
            self._connection = await self._loop.run_in_executor(self._pool, self._dial, old)
        if not first:
            self._on_connected()

    def _dial(self, old: Any) -> Any:
        if old is not None:
            _shut(old)
        try:
            connection = libvirt.open(self.uri)
            connection.setKeepAlive(*KEEPALIVE)
            connection.registerCloseCallback(self._lost, None)
            self._subscribe(connection)
        except libvirt.libvirtError as error:
            raise Backend(
                f"cannot connect to libvirt at {self.uri}: {error.get_error_message()}",
                hint="Is libvirtd running? `trilith doctor` says more.",
            ) from error
        return connection

    def _subscribe(self, connection: Any) -> None:
        def lifecycle(_c: Any, domain: Any, event: int, detail: int, _o: Any) -> None:
            self._post(Happening(kind="lifecycle", domain=domain.name(), event=event, detail=detail))

        def reboot(_c: Any, domain: Any, _o: Any) -> None:
            self._post(Happening(kind="reboot", domain=domain.name()))

        def removed(_c: Any, domain: Any, alias: str, _o: Any) -> None:
            self._post(Happening(kind="device_removed", domain=domain.name(), text=alias))

        def job(_c: Any, domain: Any, outcome: dict[str, Any], _o: Any) -> None:
            good = bool(outcome.get("success", True))
            self._post(
                Happening(
                    kind="job_completed",
                    domain=domain.name(),
                    event=int(outcome.get("operation", 0)),
                    detail=0 if good else 1,
                    text=str(outcome.get("errmsg", "")),
                )
            )

        def agent(_c: Any, domain: Any, state: int, reason: int, _o: Any) -> None:
            self._post(Happening(kind="agent", domain=domain.name(), event=state, detail=reason))

        def register(event: int, callback: Callable[..., None]) -> None:
            connection.domainEventRegisterAny(None, event, callback, None)

        register(libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle)
        register(libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, reboot)
        if self.uri.startswith("qemu"):
            register(libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, removed)
            register(libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, job)
            register(libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, agent)

    def _post(self, happening: Happening) -> None:
        self._to_loop(self._on_event, happening)

    def _lost(self, _connection: Any, _reason: int, _opaque: Any) -> None:
        self._to_loop(self._start_again)

    def _to_loop(self, function: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            # the event loop ended between two events of libvirt's thread: nobody is left to tell
            return

    def _start_again(self) -> None:
        if self._closed or (self._again is not None and not self._again.done()):
            return
        self._again = asyncio.create_task(self._connect_again(), name="libvirt-reconnect")

    async def _connect_again(self) -> None:
        """A restarting daemon says nothing; connecting is the only way to know that it is back."""
        delay, longest = BACKOFF
        while not self._closed:
            try:
                await self._connect()
            except Backend:
                await asyncio.sleep(delay)
                delay = min(delay * 2, longest)
            else:
                return


def _shut(connection: Any) -> None:
    try:
        connection.unregisterCloseCallback()
        connection.close()
    except libvirt.libvirtError:
        # already broken: closing was all that was wanted
        return
