"""Keeps servers true: what nodes report against what is wanted. What differs becomes a job, or a corrected row."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

import structlog

from trilith import errors
from trilith.agent.calls import Nothing, ServerArgs
from trilith.commands import servers as commands
from trilith.jobs.services import Services
from trilith.model import server as model
from trilith.model.guest import POWERED_OFF, GuestEvent, GuestEventKind, GuestFacts, HostFacts, PowerState
from trilith.model.server import Server, ServerState
from trilith.store.tx import Reader, Tx

log = structlog.get_logger("reconcile")

#: a guest that no server owns is removed only when it was seen so in two reports: a create in another transaction,
#: or a report that was under way, must not lose a guest
_SEEN_TWICE = 2
#: looks at servers that change at the same time; then the next event or report decides
_TRIES = 3
#: seconds that a node may take to say how one server is
_ASK_SECONDS = 10.0
_OFF = (PowerState.SHUTDOWN, PowerState.CRASHED)


class ServerReconciler:
    """Facts come by `reported` and `happened` (from the links); `run` works them off one node at a time."""

    _services: Services

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[str, list[GuestFacts], bool]] = asyncio.Queue()
        self._orphans: OrderedDict[tuple[str, str], int] = OrderedDict()

    async def reported(self, node: str, guests: list[GuestFacts], facts: HostFacts | None = None) -> None:
        self._queue.put_nowait((node, guests, True))

    async def happened(self, node: str, event: GuestEvent) -> None:
        power = _POWER_OF.get(event.kind)
        if power is not None:
            reason = POWERED_OFF if event.kind is GuestEventKind.STOPPED else event.detail
            fact = GuestFacts(server_id=event.server_id, power=power, reason=reason)
            self._queue.put_nowait((node, [fact], False))

    async def run(self, services: Services) -> None:
        self._services = services
        while True:
            node, guests, whole = await self._queue.get()
            try:
                await self._compare(node, guests, whole=whole)
            except errors.Conflict as err:
                log.info("a server changed meanwhile; the next report decides", node=node, error=str(err))
            except errors.TrilithError as err:
                # the node is away or slow, or refuses: one node's trouble is no reason to leave the others alone
                log.warning("reconciliation waits for the next report", node=node, error=str(err))

    async def _compare(self, node: str, guests: list[GuestFacts], *, whole: bool) -> None:
        known = {g.server_id: g for g in guests}
        orphans: list[str] = []
        for _ in range(_TRIES):
            idle = await self._services.store.read(lambda r: _idle(r, node, known, whole=whole))
            for found in idle:
                if (known.get(found.id) or _absent(found.id)).power is not found.power:
                    known[found.id] = await self._now(node, known.get(found.id) or _absent(found.id))
            revisions = {found.id: found.revision for found in idle}
            orphans, moved = await self._services.store.write(
                lambda tx, seen=revisions: _apply(tx, node, known, seen, whole=whole)  # type: ignore[misc]
            )
            if not moved:
                break
        for orphan in orphans:
            await self._orphan(node, orphan)

    async def _now(self, node: str, told: GuestFacts) -> GuestFacts:
        """An event or a report tells of a moment that is over: a job that ended since may have stopped the server or
        started it. So what differs from the row is asked for once more."""
        now = await self._services.links.call(
            node, "guest.state", ServerArgs(told.server_id), GuestFacts, timeout=_ASK_SECONDS
        )
        return told if now.power is PowerState.UNKNOWN else now

    async def _orphan(self, node: str, server_id: str) -> None:
        key = (node, server_id)
        self._orphans[key] = self._orphans.get(key, 0) + 1
        while len(self._orphans) > 1000:
            self._orphans.popitem(last=False)
        if self._orphans[key] < _SEEN_TWICE:
            return
        alive = await self._services.store.read(lambda r: r.find(Server, server_id))
        if alive is not None and (node in (alive.node, alive.old_node) or alive.task):
            return
        log.warning("a guest that no server owns is removed", node=node, server=server_id)
        await self._services.links.call(node, "guest.delete", ServerArgs(server_id), Nothing, timeout=120)
        del self._orphans[key]


_POWER_OF = {
    GuestEventKind.STARTED: PowerState.RUNNING,
    GuestEventKind.REBOOTED: PowerState.RUNNING,
    GuestEventKind.RESUMED: PowerState.RUNNING,
    GuestEventKind.PAUSED: PowerState.PAUSED,
    GuestEventKind.STOPPED: PowerState.SHUTDOWN,
    GuestEventKind.CRASHED: PowerState.CRASHED,
    GuestEventKind.SUSPENDED: PowerState.SUSPENDED,
}


def _absent(server_id: str) -> GuestFacts:
    return GuestFacts(server_id=server_id, power=PowerState.SHUTDOWN, reason="absent")


def _idle(reader: Reader, node: str, known: dict[str, GuestFacts], *, whole: bool) -> list[Server]:
    """The node's servers that no job owns: all of them, or those that are told of."""
    which: dict[str, Any] = {} if whole else {"id": list(known)}
    return reader.select(Server, node=node, task="", job_id="", **which)


def _apply(
    tx: Tx, node: str, known: dict[str, GuestFacts], seen: dict[str, int], *, whole: bool
) -> tuple[list[str], bool]:
    """Settle the servers that are as they were when their facts were asked for: id → revision in `seen`.

    Returns the guests that no server owns, and whether a server changed meanwhile and is to be looked at again.
    """
    wanted = tx.select(Server, node=node) if whole else tx.select(Server, id=list(known))
    moved = False
    for found in wanted:
        if found.id not in seen:
            continue
        if found.revision == seen[found.id]:
            _settle(tx, found, known.get(found.id) or _absent(found.id))
        else:
            moved = True
    owned = {s.id for s in wanted if s.node == node}
    return [g for g in known if g not in owned] if whole else [], moved


def _settle(tx: Tx, found: Server, fact: GuestFacts) -> None:
    """One server against one fact. A server that a job owns is left to its job."""
    if found.task or found.job_id or fact.power is PowerState.UNKNOWN:
        if fact.power is PowerState.UNKNOWN and found.power is not PowerState.UNKNOWN and not found.task:
            tx.change(found, power=PowerState.UNKNOWN)
        return
    if found.state is ServerState.ACTIVE and fact.power is PowerState.SHUTDOWN and fact.reason == POWERED_OFF:
        # it powered itself off: that is the user's wish
        tx.change(found, **model.end(found, "powered-off"), power=fact.power, desired=PowerState.SHUTDOWN)
    elif found.state is ServerState.ACTIVE and fact.power in _OFF:
        # it crashed, or the node lost it in a reboot: what is desired is restored
        commands.restore(tx, found)
    elif found.state is ServerState.STOPPED and fact.power is PowerState.RUNNING:
        tx.change(found, **model.end(found, "found-running"), power=fact.power, desired=PowerState.RUNNING)
    elif found.power is not fact.power:
        tx.change(found, power=fact.power)
