"""libvirt's events as ours: what happened to a guest, for those who follow and for those who wait for one thing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import libvirt

from trilith.drivers.libvirt.connection import Happening
from trilith.model.guest import GuestEvent, GuestEventKind, PowerState

#: events kept for a reader that does not read; then the oldest are dropped, since `facts` tells the state anyhow
BACKLOG = 10_000

_STOPPED = {
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED: (GuestEventKind.SUSPENDED, "saved"),
    libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED: (GuestEventKind.CRASHED, "crashed"),
    libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED: (GuestEventKind.CRASHED, "failed"),
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN: (GuestEventKind.STOPPED, "shutdown"),
    libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED: (GuestEventKind.STOPPED, "destroyed"),
}
_PAUSED = {
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR: "input/output error",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED_WATCHDOG: "watchdog",
}
#: details of SUSPENDED that are steps of something else: a save, a migration, the restart after a guest's shutdown
_NOT_PAUSED = frozenset(
    {
        libvirt.VIR_DOMAIN_EVENT_SUSPENDED_RESTORED,
        libvirt.VIR_DOMAIN_EVENT_SUSPENDED_FROM_SNAPSHOT,
        libvirt.VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED,
    }
)
_STATE = {
    GuestEventKind.STARTED: PowerState.RUNNING,
    GuestEventKind.STOPPED: PowerState.SHUTDOWN,
    GuestEventKind.CRASHED: PowerState.CRASHED,
    GuestEventKind.PAUSED: PowerState.PAUSED,
    GuestEventKind.RESUMED: PowerState.RUNNING,
    GuestEventKind.REBOOTED: PowerState.RUNNING,
    GuestEventKind.SUSPENDED: PowerState.SUSPENDED,
}
_KIND = {
    PowerState.RUNNING: GuestEventKind.STARTED,
    PowerState.PAUSED: GuestEventKind.PAUSED,
    PowerState.SHUTDOWN: GuestEventKind.STOPPED,
    PowerState.CRASHED: GuestEventKind.CRASHED,
    PowerState.SUSPENDED: GuestEventKind.SUSPENDED,
}


def classify(happening: Happening) -> tuple[GuestEventKind, str] | None:
    """Kind and detail, or None for what says nothing about the guest's power (defined, undefined, …)."""
    if happening.kind == "reboot":
        return GuestEventKind.REBOOTED, ""
    if happening.kind != "lifecycle":
        return None
    event, detail = happening.event, happening.detail
    if event == libvirt.VIR_DOMAIN_EVENT_STARTED:
        return GuestEventKind.STARTED, "restored" if detail == libvirt.VIR_DOMAIN_EVENT_STARTED_RESTORED else ""
    if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
        return _STOPPED.get(detail, (GuestEventKind.STOPPED, ""))
    if event == libvirt.VIR_DOMAIN_EVENT_CRASHED:
        return GuestEventKind.CRASHED, "panicked"
    if event == libvirt.VIR_DOMAIN_EVENT_SUSPENDED and detail not in _NOT_PAUSED:
        return GuestEventKind.PAUSED, _PAUSED.get(detail, "")
    if event == libvirt.VIR_DOMAIN_EVENT_RESUMED:
        return GuestEventKind.RESUMED, ""
    return None


class Hub:
    """Hands events to every reader, and remembers each guest's last state, so that a gap can be filled."""

    def __init__(self) -> None:
        self._readers: set[asyncio.Queue[GuestEvent | None]] = set()
        self._waiters: set[tuple[Callable[[Happening], bool], asyncio.Future[Happening]]] = set()
        self.states: dict[str, PowerState] = {}

    def wake(self, happening: Happening) -> None:
        """Tell those who wait for this one."""
        for matches, future in list(self._waiters):
            if not future.done() and matches(happening):
                future.set_result(happening)

    @contextmanager
    def expect(self, matches: Callable[[Happening], bool]) -> Iterator[asyncio.Future[Happening]]:
        """A future for the first such event from now on; enter before causing it."""
        entry = (matches, asyncio.get_running_loop().create_future())
        self._waiters.add(entry)
        try:
            yield entry[1]
        finally:
            self._waiters.discard(entry)
            entry[1].cancel()

    def publish(self, server_id: str, kind: GuestEventKind, detail: str = "") -> None:
        before, state = self.states.get(server_id), _STATE[kind]
        self.states[server_id] = state
        if kind is GuestEventKind.RESUMED and before is not PowerState.PAUSED:
            # libvirt resumes vCPUs at each start: that is no news of its own
            return
        event = GuestEvent(server_id=server_id, kind=kind, at=time.time(), detail=detail)
        for queue in self._readers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    def fill_gap(self, found: dict[str, PowerState]) -> None:
        """Publish what changed while nobody listened."""
        for server_id, state in found.items():
            if state in _KIND and self.states.get(server_id) is not state:
                self.publish(server_id, _KIND[state], "seen after libvirtd came back")

    def forget(self, server_id: str) -> None:
        self.states.pop(server_id, None)

    def follow(self) -> AsyncIterator[GuestEvent]:
        """Events from now on, also those between this call and the first one read."""
        queue: asyncio.Queue[GuestEvent | None] = asyncio.Queue(BACKLOG)
        self._readers.add(queue)
        return self._read(queue)

    async def _read(self, queue: asyncio.Queue[GuestEvent | None]) -> AsyncIterator[GuestEvent]:
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._readers.discard(queue)

    def close(self) -> None:
        """End every reader."""
        for queue in self._readers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)
