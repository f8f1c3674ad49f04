"""State changes of containers as events: hooks write files, inotify says so; pidfds say when processes end."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from trilith.drivers.lxc import state
from trilith.errors import Backend
from trilith.model.guest import GuestEvent, GuestEventKind

_IN_CLOSE_WRITE, _IN_Q_OVERFLOW = 0x00000008, 0x00004000
_libc = ctypes.CDLL(None, use_errno=True)


async def wait_exit(process: state.Process, *, timeout: float) -> bool:
    """True when the process has ended within `timeout` seconds; at once when it is gone already."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    try:
        if not process.alive():  # the pid is another's by now
            return True
        loop.add_reader(descriptor, ended.set)
        try:
            async with asyncio.timeout(timeout):
                await ended.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(descriptor)
        return True
    finally:
        os.close(descriptor)


class Watch:
    """One inotify on the run directory and one pidfd a living monitor (or, without it, a living init).

    known: says whether a server is one of ours.
    """

    def __init__(self, paths: state.Paths, known: Callable[[str], bool]) -> None:
        self._paths = paths
        self._known = known
        self._inotify = -1
        self._pidfds: dict[str, tuple[int, state.Process]] = {}
        self._queues: set[asyncio.Queue[GuestEvent]] = set()
        self._started: dict[str, state.Process] = {}  # the init whose start was told

    def open(self) -> None:
        """Begin to watch, and adopt what runs."""
        descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if descriptor < 0:
            raise Backend(f"inotify: {os.strerror(ctypes.get_errno())}.", hint="Raise fs.inotify.max_user_instances.")
        if _libc.inotify_add_watch(descriptor, os.fsencode(self._paths.run), _IN_CLOSE_WRITE) < 0:
            os.close(descriptor)
            raise Backend(f"inotify on {self._paths.run}: {os.strerror(ctypes.get_errno())}.")
        self._inotify = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._changed)
        for path in self._paths.run.glob("*.run"):
            self._adopt(path.stem)

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        if self._inotify >= 0:
            loop.remove_reader(self._inotify)
            os.close(self._inotify)
            self._inotify = -1
        for server_id in list(self._pidfds):
            self._drop(server_id)

    def publish(self, server_id: str, kind: GuestEventKind, detail: str = "") -> None:
        event = GuestEvent(server_id=server_id, kind=kind, at=time.time(), detail=detail)
        for queue in self._queues:
            queue.put_nowait(event)

    @contextlib.contextmanager
    def subscribe(self) -> Iterator[asyncio.Queue[GuestEvent]]:
        """Everything published from now on."""
        queue: asyncio.Queue[GuestEvent] = asyncio.Queue()
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)

    def events(self) -> AsyncIterator[GuestEvent]:
        """Subscribes now, not at the first `anext`: what happens between the two is not missed."""
        subscription = contextlib.ExitStack()
        queue = subscription.enter_context(self.subscribe())

        async def follow() -> AsyncIterator[GuestEvent]:
            with subscription:
                while True:
                    yield await queue.get()

        return follow()

    def forget(self, server_id: str) -> None:
        self._drop(server_id)
        self._started.pop(server_id, None)

    def _changed(self) -> None:
        try:
            data = os.read(self._inotify, 65536)
        except BlockingIOError:
            return
        offset, names, overflow = 0, [], False
        while offset < len(data):
            _, mask, _, length = struct.unpack_from("iIII", data, offset)
            names.append(data[offset + 16 : offset + 16 + length].rstrip(b"\0").decode(errors="replace"))
            overflow = overflow or bool(mask & _IN_Q_OVERFLOW)
            offset += 16 + length
        if overflow:  # look at everything instead of trusting the list
            names = sorted(path.name for path in self._paths.run.iterdir())
        for name in dict.fromkeys(names):
            server_id, _, what = name.partition(".")
            if what == "run" and self._known(server_id):
                self._start_seen(server_id)
            elif what == "monitor" and self._known(server_id):
                self._adopt(server_id)

    def _start_seen(self, server_id: str) -> None:
        run = state.run_of(self._paths, server_id)
        if run.init is None or self._started.get(server_id) == run.init:
            return
        self._started[server_id] = run.init
        again = run.kind == "reboot"
        self.publish(server_id, GuestEventKind.REBOOTED if again else GuestEventKind.STARTED)
        self._adopt(server_id)

    def _adopt(self, server_id: str) -> None:
        run = state.run_of(self._paths, server_id)
        process = run.monitor or (run.init if run.this_boot and run.init is not None and run.init.alive() else None)
        if process is None:
            return
        if run.init is not None and run.init.alive():
            self._started.setdefault(server_id, run.init)
        current = self._pidfds.get(server_id)
        if current is not None and current[1] == process:
            return
        self._drop(server_id)
        try:
            descriptor = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return
        self._pidfds[server_id] = (descriptor, process)
        asyncio.get_running_loop().add_reader(descriptor, self._ended, server_id)

    def _drop(self, server_id: str) -> None:
        descriptor, _ = self._pidfds.pop(server_id, (-1, None))
        if descriptor >= 0:
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)

    def _ended(self, server_id: str) -> None:
        self._drop(server_id)
        run = state.run_of(self._paths, server_id)
        if run.init is not None and run.init.alive():
            self._adopt(server_id)  # only the monitor died: the guest goes on, its end is seen by its own pidfd
            return
        if not Path(self._paths.config(server_id)).exists():
            return
        if run.ended:
            self.publish(server_id, GuestEventKind.STOPPED)
        else:
            self.publish(server_id, GuestEventKind.CRASHED, "The container ended without its monitor.")
