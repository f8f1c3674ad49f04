"""Keeps the nodes' plans true: what changes after a server was made (its name and metadata, its floating IPs, the name
servers and routes of its subnets) reaches the metadata service of its node.

Jobs send plans themselves; here is only what no job of the server does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import sqlalchemy as sa
import structlog

from trilith import errors
from trilith.agent.calls import Nothing, PlanArgs
from trilith.commands.server_networks import OWNER
from trilith.jobs import server_plan
from trilith.jobs.services import Services
from trilith.model.network import FloatingIp, Port, Subnet
from trilith.model.plan import GuestPlan
from trilith.model.record import Change, FeedRow
from trilith.model.server import Server
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

log = structlog.get_logger("plans")

_NOUNS = ("server", "port", "floating_ip", "subnet")
#: seconds until a node that did not answer is asked again, and for one call
_AGAIN, _CALL = 5.0, 30.0
#: seconds that changes gather before they are looked at: a change of a dozen rows is one plan
_LINGER = 0.05


class PlanReconciler:
    """`run` until cancelled."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._of_floating: dict[str, str] = {}  # floating IP → the server it was seen at: a deleted row tells nothing
        self._unsent: set[str] = set()
        self._busy: set[str] = set()  # changed while a job had the server: looked at again when the job lets go

    async def run(self) -> None:
        store = self._services.store
        cursor = ""
        while True:
            try:
                if not cursor:
                    cursor = await store.head()
                    self._unsent |= await store.read(self._all)
                await self._tell()
                await store.wait(cursor, timeout=_AGAIN if self._unsent else 60.0)
                await asyncio.sleep(_LINGER)
                rows = await store.feed(cursor)
                if rows:
                    news = [row for row in rows if row.noun in _NOUNS]
                    if news:
                        self._unsent |= await store.read(lambda r, news=news: self._touched(r, news))  # type: ignore[misc]
                    cursor = rows[-1].cursor
            except errors.Missing:
                cursor = ""  # the feed no longer reaches back
            except errors.Backend as err:
                log.warning("plans wait for the store", error=str(err))
                await asyncio.sleep(_AGAIN)

    def _all(self, reader: Reader) -> set[str]:
        bound = {f.id: f.port_id for f in reader.select(FloatingIp) if f.port_id}
        owners = _servers_of(reader, bound.values())
        self._of_floating = {id: owners[port_id] for id, port_id in bound.items() if port_id in owners}
        table = REGISTRY[Server].table
        return {s.id for s in reader.select(Server, table.c.node != "")}

    def _touched(self, reader: Reader, rows: list[FeedRow]) -> set[str]:
        """Servers whose plan may differ now."""
        ids = {noun: {row.id for row in rows if row.noun == noun} for noun in _NOUNS}
        for row in rows:
            if row.noun == "server" and row.change is Change.DELETED:
                self._services.sent.forget(row.id)
                self._busy.discard(row.id)
        found = {
            s.id
            for s in (reader.select(Server, id=ids["server"]) if ids["server"] else ())
            if s.node and not s.job_id and (s.id in self._busy or not self._services.sent.has_row(s))
        }
        self._busy -= found
        if ids["port"]:
            found |= {p.device_id for p in reader.select(Port, id=ids["port"]) if _is_guests(p)}
        if ids["floating_ip"]:
            found |= self._floating(reader, ids["floating_ip"])
        if ids["subnet"]:
            networks = {s.network_id for s in reader.select(Subnet, id=ids["subnet"])}
            found |= {p.device_id for p in reader.select(Port, network_id=networks) if _is_guests(p)}
        return found

    def _floating(self, reader: Reader, ids: set[str]) -> set[str]:
        """The servers that these addresses lead to, or led to."""
        before = {self._of_floating.pop(id) for id in ids if id in self._of_floating}
        bound = {f.id: f.port_id for f in reader.select(FloatingIp, id=ids) if f.port_id}
        owners = _servers_of(reader, bound.values())
        now = {id: owners[port_id] for id, port_id in bound.items() if port_id in owners}
        self._of_floating |= now
        return before | set(now.values())

    async def _tell(self) -> None:
        """Send what differs. What a node does not take stays for later, with all else for this node: one that is away
        or slow is asked once a round, and holds up nobody else's."""
        if not self._unsent:
            return
        nodes = await self._services.store.read(lambda r: _nodes_of(r, self._unsent))
        asked = set(self._services.links.connected())
        for server_id in list(self._unsent):
            if nodes.get(server_id) and nodes[server_id] not in asked:
                continue
            planned = await self._services.store.read(lambda r, id=server_id: self._plan(r, id))  # type: ignore[misc]
            self._unsent.discard(server_id)
            if planned is None:
                continue
            node, plan = planned
            try:
                await self._services.links.call(node, "guest.update", PlanArgs(plan), Nothing, timeout=_CALL)
                self._services.sent.note(plan)
            except errors.TrilithError as err:
                log.info("a node does not take a plan now", node=node, server=server_id, error=str(err))
                self._unsent.add(server_id)
                asked.discard(node)

    def _plan(self, reader: Reader, server_id: str) -> tuple[str, GuestPlan] | None:
        """Its node and plan, None where the node has it already or a job has the server."""
        found = reader.find(Server, server_id)
        if found is None or not found.node or found.pillar is None or found.identity is None:
            return None
        if found.job_id:
            self._busy.add(server_id)
            return None
        plan = server_plan.build(reader, self._services, found)
        return None if self._services.sent.has(plan) else (found.node, plan)


def _nodes_of(reader: Reader, server_ids: Iterable[str]) -> dict[str, str]:
    """Server → its node, "" for none; one that is gone is left out."""
    table = REGISTRY[Server].table.c
    ids = list(server_ids)
    found: dict[str, str] = {}
    for at in range(0, len(ids), 500):
        rows = sa.select(table.id, table.node).where(table.id.in_(ids[at : at + 500]), table.deleted_at == 0)
        found |= {row.id: row.node for row in reader.conn.execute(rows)}
    return found


def _is_guests(port: Port) -> bool:
    return bool(port.device_id) and port.device_owner.startswith(OWNER)


def _servers_of(reader: Reader, port_ids: Iterable[str]) -> dict[str, str]:
    wanted = set(port_ids)
    return {p.id: p.device_id for p in reader.select(Port, id=wanted) if _is_guests(p)} if wanted else {}
