"""/trilith/v1: what is here, /status and /nodes."""

from __future__ import annotations

import time
from importlib.metadata import version

import msgspec
import sqlalchemy as sa

from trilith.api.http.call import Call
from trilith.api.http.times import seconds_z
from trilith.commands.bootstrap import CATALOG
from trilith.model.job import Job
from trilith.model.node import Inventory, Node
from trilith.model.server import Server
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader


class Entry(msgspec.Struct):
    name: str
    type: str
    url: str


class Discovery(msgspec.Struct):
    """services: the OpenStack APIs on this port. resources: what is below this URL."""

    name: str
    version: str
    region: str
    services: list[Entry]
    resources: dict[str, str]


async def discovery(call: Call) -> Discovery:
    """200, without a token."""
    base = call.host.settings.url
    return Discovery(
        name="trilith",
        version=version("trilith"),
        region=call.host.settings.region,
        services=[Entry(name, type_, base + path) for name, type_, path in CATALOG],
        resources={
            name: call.url(f"/{name}")
            for name in (
                "jobs",
                "events",
                "nodes",
                "servers",
                "explain",
                "advice",
                "figures",
                "status",
                "token-keys",
                "openapi.json",
            )
        },
    )


class Status(msgspec.Struct):
    """uptime: seconds. jobs, servers: how many by state. warnings: of the nodes, in plain words."""

    version: str
    cloud_id: str
    region: str
    uptime: float
    nodes: dict[str, int]
    servers: dict[str, int]
    jobs: dict[str, int]
    warnings: list[str]


async def status(call: Call) -> Status:
    """200. Counts of servers and jobs are of the caller's project, unless it is an admin."""
    project = "" if call.actor.is_admin else call.actor.project_id

    def by_state(reader: Reader, cls: type[Job] | type[Server]) -> dict[str, int]:
        table = REGISTRY[cls].table
        where = [table.c.project_id == project] if project else []
        if cls is Server:
            where.append(table.c.deleted_at == 0)
        rows = reader.conn.execute(sa.select(table.c.state, sa.func.count()).where(*where).group_by(table.c.state))
        return {str(state): int(count) for state, count in rows}

    def body(reader: Reader) -> tuple[list[Node], dict[str, int], dict[str, int]]:
        return reader.select(Node), by_state(reader, Server), by_state(reader, Job)

    nodes, servers, jobs = await call.read(body)
    host = call.host
    warnings = [f"{n.name}: {w}" for n in nodes if n.facts for w in n.facts.warnings] if not project else []
    return Status(
        version=version("trilith"),
        cloud_id=host.services.cloud_id,
        region=host.settings.region,
        uptime=round(time.time() - host.started, 1),
        nodes={
            "total": len(nodes),
            "alive": sum(n.alive for n in nodes),
            "enabled": sum(n.enabled for n in nodes),
        },
        servers=servers,
        jobs=jobs,
        warnings=warnings,
    )


class Stock(msgspec.Struct):
    total: int
    reserved: int
    allocation_ratio: float
    used: int


class NodeView(msgspec.Struct):
    id: str
    name: str
    alive: bool
    alive_at: str | None
    enabled: bool
    disabled_reason: str
    zone: str
    simulated: bool
    pillars: list[str]
    traits: list[str]
    hypervisor_type: str
    warnings: list[str]
    inventories: dict[str, Stock]


class NodeList(msgspec.Struct):
    nodes: list[NodeView]


async def nodes(call: Call) -> NodeList:
    """200: every machine with its facts, and what of it is used."""

    def body(reader: Reader) -> tuple[list[Node], list[Inventory]]:
        found = reader.select(Node)
        return found, reader.select(Inventory, provider_id=[n.id for n in found]) if found else []

    found, held = await call.read(body)
    stocks: dict[str, dict[str, Stock]] = {}
    for one in held:
        stocks.setdefault(one.provider_id, {})[one.resource_class] = Stock(
            one.total, one.reserved, one.allocation_ratio, one.used
        )
    return NodeList([_node(n, stocks.get(n.id, {})) for n in found])


def _node(node: Node, inventories: dict[str, Stock]) -> NodeView:
    facts = node.facts
    return NodeView(
        id=node.id,
        name=node.name,
        alive=node.alive,
        alive_at=seconds_z(node.alive_at) if node.alive_at else None,
        enabled=node.enabled,
        disabled_reason=node.disabled_reason,
        zone=node.zone,
        simulated=node.simulated,
        pillars=[str(p) for p in facts.pillars] if facts else [],
        traits=list(facts.traits) if facts else [],
        hypervisor_type=facts.hypervisor_type if facts else "",
        warnings=list(facts.warnings) if facts else [],
        inventories=inventories,
    )
