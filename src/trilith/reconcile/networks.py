"""Keeps the network's backend true to the rows, and the rows' status true to the backend.

Desired: a row whose generation is not its applied_revision is pending. Every change of a network noun wakes this by
the change feed; one pass applies all that is pending as one batch and writes back what was applied, directly into the
columns, without a revision or a feed row, so that it never wakes itself. Deletions come from the feed; whatever a
crash or a lost feed hid is found by comparing with what the backend owns, at start and every reconcile_seconds.

Actual: `bindings()` says which ports are up on a chassis, and Port.status follows.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
import structlog

from trilith import errors
from trilith.commands.ports import ROUTER_GATEWAY, ROUTER_INTERFACE, SERVICE_OWNERS
from trilith.drivers.contract import NetworkDriver
from trilith.jobs.services import Services
from trilith.model.network import FloatingIp, Port
from trilith.model.record import Change as FeedChange
from trilith.model.record import FeedRow
from trilith.model.topology import (
    AddressGroupSpec,
    Binding,
    Change,
    Ensure,
    NetworkSpec,
    Noun,
    Owned,
    PortSpec,
    Remove,
    RouterSpec,
)
from trilith.reconcile.topology import KINDS, build, has_switch_port
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx

log = structlog.get_logger("reconcile")

#: seconds between attempts while the backend is away: doubled up to the last
_BACKOFF = (0.25, 5.0)
#: seconds that a server's ports wait for a backend that is away: less than the shortest step that needs them
PATIENCE = 25.0
#: seconds that a change waits for others to come with it; who cannot wait calls ensure_ports
_LINGER = 0.02
#: nouns in one backend transaction at most
_BATCH = 1000
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Pending:
    """nouns: specs to make; former: ids of ports that are no longer logical ports of their own."""

    nouns: tuple[Noun, ...] = ()
    former: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class Applier:
    """Applies pending rows, one pass at a time in this process: who waits finds its rows applied already.

    refused: nouns that the backend refused at this generation; tried again when they change or at the next full pass.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    refused: dict[Key, int] = field(default_factory=dict)


_appliers: WeakKeyDictionary[NetworkDriver, Applier] = WeakKeyDictionary()


def _applier(services: Services) -> Applier:
    return _appliers.setdefault(services.network, Applier())


async def ensure_ports(services: Services, port_ids: Sequence[str]) -> None:
    """Return when these ports are in the backend as their rows say, with their networks and groups.

    A backend that is away is waited for: its daemon is restarted within a second. Raises Missing for a port without a
    row, Deadline when the backend stays away for PATIENCE seconds, Backend with what it says to a port it refuses.
    """
    why = "it does not answer"
    try:
        async with asyncio.timeout(PATIENCE) as limit:
            while True:
                try:
                    refused = await _ensure(services, port_ids)
                    break
                except errors.DatabaseAway:
                    raise
                except errors.Backend as err:
                    why = err.message
                    await asyncio.sleep(_BACKOFF[0])
    except TimeoutError:
        if not limit.expired():
            raise
        raise errors.Deadline(
            f"OVN's northbound database did not take the ports within {PATIENCE:g} s: {why}",
            hint="Look at `trilith doctor`; then try again.",
        ) from None
    if refused:
        raise errors.Backend(f"The network refuses a port: {refused}")


async def _ensure(services: Services, port_ids: Sequence[str]) -> str:
    """What the backend says to a port that it refuses, "" where all are in. Raises Backend when it is away."""
    applier = _applier(services)
    async with applier.lock:
        waiting = await services.store.read(lambda r: _unapplied(r, port_ids))
        if not waiting:
            return ""
        for id in waiting:
            applier.refused.pop(("port", id), None)
        await _apply_pending(services, applier)
        if not any(("port", id) in applier.refused for id in waiting):
            return ""
        left = await services.store.read(lambda r: _refusals(r, waiting))
    return left[0] if left else ""


def _unapplied(reader: Reader, ids: Sequence[str]) -> list[str]:
    found = reader.select(Port, id=tuple(ids))
    missing = set(ids) - {p.id for p in found}
    if missing:
        raise errors.Missing(f"Port {min(missing)} could not be found.")
    return [p.id for p in found if p.generation != p.applied_revision]


def _refusals(reader: Reader, ids: Sequence[str]) -> list[str]:
    return [p.error for p in reader.select(Port, id=tuple(ids)) if p.error and p.generation != p.applied_revision]


async def _apply_pending(services: Services, applier: Applier) -> None:
    """One pass, under the applier's lock. Raises Backend when the backend is away."""
    pending = await services.store.read(lambda r: _pending(r, services, applier.refused))
    if pending.former:
        # before their routers are made: both use the port's own id for their row
        await services.network.apply([Remove(kind="port", id=id) for id, _ in pending.former])
        await services.store.write(lambda tx: _note_former(tx, pending.former))
    for at in range(0, len(pending.nouns), _BATCH):
        await _apply(services, applier, pending.nouns[at : at + _BATCH])


async def _apply(services: Services, applier: Applier, nouns: Sequence[Noun]) -> None:
    """All in one transaction; where the backend refuses something, halves of it, until what it refuses stands alone."""
    try:
        await services.network.apply([Ensure(noun=n) for n in nouns])
    except errors.Backend:
        raise
    except errors.TrilithError as err:
        if len(nouns) > 1:
            half = len(nouns) // 2
            await _apply(services, applier, nouns[:half])
            await _apply(services, applier, nouns[half:])
            return
        key, words = key_of(nouns[0]), str(err)
        log.error("the network backend refuses", kind=key[0], id=key[1], error=words)
        applier.refused[key] = nouns[0].revision
        await services.store.write(lambda tx: _note_error(tx, key, words))
        return
    for noun in nouns:
        applier.refused.pop(key_of(noun), None)
    await services.store.write(lambda tx: _note_applied(tx, nouns))


def key_of(noun: Noun) -> Key:
    match noun:
        case NetworkSpec():
            return "network", noun.id
        case PortSpec():
            return "port", noun.id
        case RouterSpec():
            return "router", noun.id
        case AddressGroupSpec():
            return "address_group", noun.id
        case _:
            return "security_group", noun.id


@functools.cache
def _unapplied_rows(table: sa.Table) -> sa.Select[Any]:
    """In the very words of the partial index."""
    t = table.c
    return sa.select(t.id, t.generation).where(t.generation != t.applied_revision).order_by(t.seq)


@functools.cache
def _applied(table: sa.Table) -> sa.Update:
    values = {"applied_revision": sa.bindparam("k_rev"), "error": ""}
    return sa.update(table).where(table.c.id == sa.bindparam("k_id")).values(values)


def _pending(reader: Reader, services: Services, refused: dict[Key, int]) -> Pending:
    nouns: list[Noun] = []
    former: list[tuple[str, int]] = []
    for kind, cls in KINDS.items():
        found = reader.conn.execute(_unapplied_rows(REGISTRY[cls].table)).all()
        ids = [id for id, generation in found if refused.get((kind, id)) != generation]
        if cls is Port and ids:
            known = [p for at in range(0, len(ids), 500) for p in reader.select(Port, id=ids[at : at + 500])]
            former = [(p.id, p.generation) for p in known if not has_switch_port(p)]
            ids = [p.id for p in known if has_switch_port(p)]
        nouns += build(reader, services.settings, kind, ids)
    return Pending(tuple(nouns), tuple(former))


def _note_applied(tx: Tx, nouns: Sequence[Noun]) -> None:
    """Not by tx.change: neither revision nor feed may move for what no user changed."""
    for kind, cls in KINDS.items():
        mine = [{"k_id": n.id, "k_rev": n.revision} for n in nouns if key_of(n)[0] == kind]
        if mine:
            tx.conn.execute(_applied(REGISTRY[cls].table), mine)
    routers = [n.id for n in nouns if key_of(n)[0] == "router"]
    if routers:
        _raise_routers(tx, routers)


def _raise_routers(tx: Tx, routers: Sequence[str]) -> None:
    """A router in the backend carries its ports and floating IPs: these are ACTIVE now."""
    p = REGISTRY[Port].table
    for port in tx.select(
        Port, p.c.status == "DOWN", device_id=tuple(routers), device_owner=(ROUTER_INTERFACE, ROUTER_GATEWAY)
    ):
        _set_status(tx, p, "port", port.id, port.project_id, port.revision, "ACTIVE")
    f = REGISTRY[FloatingIp].table
    for floating in tx.select(FloatingIp, f.c.status != "ACTIVE", router_id=tuple(routers)):
        _set_status(tx, f, "floating_ip", floating.id, floating.project_id, floating.revision, "ACTIVE")


def _set_status(tx: Tx, table: sa.Table, noun: str, id: str, project: str, revision: int, status: str) -> None:
    """Watchers of the feed hear of it; the revision stays the user's."""
    tx.conn.execute(sa.update(table).where(table.c.id == id).values(status=status, updated_at=tx.now))
    tx.touch(noun, id, project, revision)


def _note_former(tx: Tx, former: Iterable[tuple[str, int]]) -> None:
    table = REGISTRY[Port].table
    for id, generation in former:
        tx.conn.execute(sa.update(table).where(table.c.id == id).values(applied_revision=generation, error=""))


def _note_error(tx: Tx, key: Key, words: str) -> None:
    table = REGISTRY[KINDS[key[0]]].table
    tx.conn.execute(sa.update(table).where(table.c.id == key[1]).values(error=words[:1000]))


class NetworkReconciler:
    """`run` until cancelled; one in the cloud (the leader's)."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._applier = _applier(services)
        self._gone: dict[Key, None] = {}
        self._suspects: set[Key] = set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_rows(), name="networks-desired")
            group.create_task(self._follow_bindings(), name="networks-bindings")

    # ---- desired

    async def _follow_rows(self) -> None:
        store, period = self._services.store, self._services.settings.reconcile_seconds
        loop = asyncio.get_running_loop()
        cursor, full_at, pause = "", loop.time(), 0.0
        stale = True  # nothing of the feed was read yet: the first full pass stands for all of it
        while True:
            try:
                if stale:
                    cursor, stale = await store.head(), False
                    full_at = loop.time()
                if loop.time() >= full_at:
                    await self._full()
                    full_at = loop.time() + period
                rows = await store.feed(cursor)
                if rows:
                    self._note_gone(rows)
                    if any(r.noun in _WAKING for r in rows):
                        await self._pass()
                    cursor = rows[-1].cursor
                elif self._gone:
                    await self._pass()
                else:
                    await store.wait(cursor, timeout=max(0.05, full_at - loop.time()))
                    # no polling: a burst of changes becomes one batch, and one write back, instead of many
                    await asyncio.sleep(_LINGER)
                pause = 0.0
            except errors.Missing:
                stale = True  # the feed no longer reaches back to the cursor
            except errors.Backend as err:
                pause = min(max(pause * 2, _BACKOFF[0]), _BACKOFF[1])
                log.warning("networks wait for their backend or the database", error=str(err), again_in=pause)
                await asyncio.sleep(pause)
            except errors.TrilithError as err:
                log.error("network reconciliation", error=str(err))
                pause = min(max(pause * 2, _BACKOFF[0]), _BACKOFF[1])
                await asyncio.sleep(pause)

    def _note_gone(self, rows: Iterable[FeedRow]) -> None:
        for row in rows:
            if row.noun in KINDS and row.change is FeedChange.DELETED:
                self._gone[row.noun, row.id] = None

    async def _pass(self) -> None:
        """Ensure what is pending, then remove what is gone."""
        async with self._applier.lock:
            await _apply_pending(self._services, self._applier)
            if self._gone:
                gone = list(self._gone)
                await self._services.network.apply([Remove(kind=k, id=i) for k, i in gone])
                for key in gone:
                    self._gone.pop(key, None)
                    self._applier.refused.pop(key, None)

    async def _full(self) -> None:
        """Compare with the backend: make what it lost, remove what nobody wants."""
        self._applier.refused.clear()
        await self._pass()
        async with self._applier.lock:
            owned = {(o.kind, o.id): o for o in await self._services.network.owned() if o.kind in KINDS}
            lost, ahead, leaked = await self._services.store.read(lambda r: _compare(r, owned))
            # a noun made and not yet in our snapshot, or the reverse, is no leak: only what two passes saw is removed
            sure = [key for key in leaked if key in self._suspects]
            self._suspects = set(leaked) - set(sure)
            if ahead:
                await self._services.store.write(lambda tx: _catch_up(tx, ahead))
            if lost or ahead:
                log.warning("the network backend lost nouns; making them again", lost=lost[:20], ahead=len(ahead))
                again = lost + [(o.kind, o.id) for o in ahead]
                nouns = await self._services.store.read(lambda r: self._specs(r, again))
                await _apply(self._services, self._applier, nouns)
            if sure:
                log.warning("removing what nobody wants from the network backend", nouns=sure[:20], count=len(sure))
                changes: list[Change] = [Remove(kind=k, id=i) for k, i in sure]
                await self._services.network.apply(changes)

    def _specs(self, reader: Reader, keys: Iterable[Key]) -> list[Noun]:
        wanted = list(keys)
        return [
            noun
            for kind in KINDS
            for noun in build(reader, self._services.settings, kind, [i for k, i in wanted if k == kind])
        ]

    # ---- actual

    async def _follow_bindings(self) -> None:
        pause = 0.0
        while True:
            seen: dict[str, Binding] = {}
            news = asyncio.Event()
            writer = asyncio.create_task(self._write_bindings(seen, news), name="networks-status")
            try:
                async for binding in self._services.network.bindings():
                    seen[binding.port_id] = binding
                    news.set()
                    pause = 0.0
                pause = _BACKOFF[0]  # the driver closed the stream
            except errors.Backend as err:
                pause = min(max(pause * 2, _BACKOFF[0]), _BACKOFF[1])
                log.warning("port bindings cannot be followed", error=str(err), again_in=pause)
            finally:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
            await asyncio.sleep(pause)

    async def _write_bindings(self, seen: dict[str, Binding], news: asyncio.Event) -> None:
        """What came while the last write was under way goes into the next one."""
        while True:
            await news.wait()
            news.clear()
            batch = dict(seen)
            try:
                await self._services.store.write(lambda tx, batch=batch: _follow(tx, list(batch.values())))  # type: ignore[misc]
            except errors.Backend as err:
                log.warning("port status cannot be written", error=str(err))
                await asyncio.sleep(_BACKOFF[0])
                news.set()
                continue
            for port_id, binding in batch.items():
                if seen.get(port_id) is binding:
                    del seen[port_id]


#: feed nouns after which something may be pending: the held ones are touched whenever a part of them changes
_WAKING = frozenset(KINDS)


def _compare(reader: Reader, owned: dict[Key, Owned]) -> tuple[list[Key], list[Owned], list[Key]]:
    """Rows that the backend lacks though it had them; nouns that it has in a later generation; nouns without a row."""
    lost: list[Key] = []
    ahead: list[Owned] = []
    known: set[Key] = set()
    for kind, cls in KINDS.items():
        t = REGISTRY[cls].table.c
        # a router's or floating IP's port is no logical port of its own
        own = t.device_owner.not_in(SERVICE_OWNERS) if cls is Port else sa.true()
        for id, generation, applied in reader.conn.execute(
            sa.select(t.id, t.generation, t.applied_revision).where(own)
        ):
            known.add((kind, id))
            have = owned.get((kind, id))
            if have is None:
                if applied == generation and generation > 0:
                    lost.append((kind, id))
            elif have.revision > generation:
                ahead.append(have)
            elif applied == generation and have.revision < generation:
                lost.append((kind, id))
    return lost, ahead, [key for key in owned if key not in known]


def _catch_up(tx: Tx, ahead: Iterable[Owned]) -> None:
    """The rows are older than the backend (a restored copy): go past it, so that the rows win."""
    for one in ahead:
        table = REGISTRY[KINDS[one.kind]].table
        tx.conn.execute(
            sa.update(table).where(table.c.id == one.id, table.c.generation <= one.revision)
            .values(generation=one.revision + 1)
        )  # fmt: skip


def _follow(tx: Tx, bindings: Sequence[Binding]) -> None:
    table = REGISTRY[Port].table
    wanted = {b.port_id: "ACTIVE" if b.up else "DOWN" for b in bindings}
    ids = list(wanted)
    for at in range(0, len(ids), 500):
        for port in tx.select(Port, id=ids[at : at + 500]):
            if port.status != wanted[port.id] and has_switch_port(port):
                _set_status(tx, table, "port", port.id, port.project_id, port.revision, wanted[port.id])
