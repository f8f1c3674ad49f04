"""Views of nodes: agents, zones, which nodes serve a network or a router, and how many addresses are left."""

from __future__ import annotations

import ipaddress
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.network import listing, networks, routers
from trilith.commands import network_agents
from trilith.commands.network_faults import AgentNotFound, InvalidDHCPAgent
from trilith.model.network import DhcpExclusion, IpAddress, Network, Router, Subnet
from trilith.model.node import Node
from trilith.model.topology import Chassis
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx

_NAMESPACE = uuid.UUID("1f0c6f0e-6f0b-5f0e-8a53-6f3a1f4f7a10")
_CONTROLLER, _GATEWAY, _METADATA = "OVN Controller agent", "OVN Controller Gateway agent", "OVN Metadata agent"
_DHCP = "DHCP agent"
_BINARY = {_CONTROLLER: "ovn-controller", _GATEWAY: "ovn-controller", _DHCP: "ovn-controller", _METADATA: "trilith"}
#: what an agent's id is made of, beside its node's
_PART = {_CONTROLLER: "controller", _GATEWAY: "controller", _DHCP: "dhcp", _METADATA: "metadata"}


class AgentView(Struct, kw_only=True):
    id: str
    agent_type: str
    binary: str
    topic: str
    host: str
    availability_zone: str
    admin_state_up: bool
    alive: bool
    created_at: str
    started_at: str
    heartbeat_timestamp: str
    description: str = ""
    configurations: dict[str, str] = {}
    resources_synced: bool | None = None


class ZoneView(Struct):
    name: str
    resource: str
    state: str


class SubnetAvailability(Struct):
    subnet_id: str
    subnet_name: str
    cidr: str
    ip_version: int
    total_ips: int
    used_ips: int


class Availability(Struct):
    network_id: str
    network_name: str
    project_id: str
    tenant_id: str
    total_ips: int
    used_ips: int
    subnet_ip_availability: list[SubnetAvailability]


def _time(at: float) -> str:
    return datetime.fromtimestamp(at or 0, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _agents(nodes: Sequence[Node], chassis: Sequence[Chassis]) -> list[AgentView]:
    """A node's ovn-controller, which answers DHCP too, and its metadata agent."""
    gateways = {name for c in chassis if c.gateway for name in (c.name, c.hostname)}
    found: list[AgentView] = []
    for node in nodes:
        controller = _GATEWAY if gateways & {node.name, node.chassis} else _CONTROLLER
        found += [
            AgentView(
                id=str(uuid.uuid5(_NAMESPACE, f"{node.id}:{_PART[kind]}")),
                agent_type=kind,
                binary=_BINARY[kind],
                topic="n/a",
                host=node.name,
                availability_zone=node.zone,
                admin_state_up=True,
                alive=node.alive and not node.forced_down,
                created_at=_time(node.created_at),
                started_at=_time(node.created_at),
                heartbeat_timestamp=_time(time.time() if node.alive else node.alive_at),
                configurations={"chassis_name": node.chassis or node.name},
            )
            for kind in (controller, _DHCP, _METADATA)
        ]
    return found


async def _load(call: Call) -> list[AgentView]:
    nodes = await call.read(lambda r: r.select(Node))
    return _agents(nodes, await call.host.services.network.chassis())


#: attributes that the list can be filtered by
_FILTERS = ("id", "agent_type", "binary", "host", "availability_zone", "alive", "admin_state_up")


async def index(call: Call) -> Answer:
    """200: the agents; none for who is no administrator, as Neutron has it."""
    found = await _load(call) if call.can("get_agent") else []
    for name in _FILTERS:
        if values := call.all(name):
            if name in ("alive", "admin_state_up"):
                flags = {listing.boolean(v) for v in values}
                found = [a for a in found if getattr(a, name) in flags]
            else:
                # Neutron's database compares texts without regard to case, and clients count on it
                texts = {v.lower() for v in values}
                found = [a for a in found if getattr(a, name).lower() in texts]
    return Answer({"agents": found})


async def show(call: Call) -> Answer:
    """200: the agent. 404: none such, or not an administrator."""
    return Answer({"agent": await _one(call)})


async def _one(call: Call) -> AgentView:
    id = call.params["id"]
    found = await _load(call) if call.can("get_agent") else []
    for agent in found:
        if agent.id == id:
            return agent
    raise AgentNotFound(f"Agent {id} could not be found.")


async def dhcp_agents(call: Call) -> Answer:
    """200: the nodes that answer DHCP for guests they have on the network: all but those taken from it."""
    call.allow("get_dhcp-agents")
    who = listing.viewer(call)

    def silent(reader: Reader) -> set[str]:
        network = listing.fetch(reader, networks.NOUN, who, call.params["id"])
        return network_agents.silent(reader, network.id)

    away = await call.read(silent)
    return Answer({"agents": [a for a in await _load(call) if a.agent_type == _DHCP and a.host not in away]})


async def dhcp_networks(call: Call) -> Answer:
    """200: the networks that the agent's node answers DHCP for."""
    call.allow("get_dhcp-networks")
    agent, who = await _one(call), listing.viewer(call)

    def read(reader: Reader) -> Sequence[Any]:
        t = REGISTRY[DhcpExclusion].table.c
        away = sa.select(t.network_id).where(t.node == agent.host)
        return networks.view(reader, reader.select(Network, REGISTRY[Network].table.c.id.not_in(away)), who)

    return Answer({"networks": await call.read(read) if agent.agent_type == _DHCP else []})


class HostBody(Struct, forbid_unknown_fields=True):
    network_id: str


async def add_dhcp_network(call: Call) -> Answer:
    """201: the agent's node answers DHCP for the network again. 404: the agent or network. 409: it does already."""
    call.allow("create_dhcp-network")
    body: HostBody = call.body
    agent, who = await _dhcp_agent(call), listing.viewer(call)

    def act(tx: Tx) -> None:
        network_agents.include(tx, listing.fetch(tx, networks.NOUN, who, body.network_id), agent.host)

    await call.write(act, "agent.update")
    return Answer(status=201)


async def remove_dhcp_network(call: Call) -> Answer:
    """204: the agent's node answers no DHCP on the network. 404: the agent or network. 409: it did not before."""
    call.allow("delete_dhcp-network")
    agent, who = await _dhcp_agent(call), listing.viewer(call)

    def act(tx: Tx) -> None:
        network_agents.exclude(tx, listing.fetch(tx, networks.NOUN, who, call.params["network"]), agent.host)

    await call.write(act, "agent.update")
    return Answer(status=204)


async def _dhcp_agent(call: Call) -> AgentView:
    agent = await _one(call)
    if agent.agent_type != _DHCP:
        raise InvalidDHCPAgent(f"Agent {agent.id} is not a valid DHCP Agent or has been disabled")
    return agent


async def l3_agents(call: Call) -> Answer:
    """200: the gateway controllers that may carry the router's gateway."""
    call.allow("get_l3-agents")
    who = listing.viewer(call)
    router: Router = await call.read(lambda r: listing.fetch(r, routers.NOUN, who, call.params["id"]))
    found = [a for a in await _load(call) if a.agent_type == _GATEWAY] if router.gateway_port_id else []
    return Answer({"agents": found})


async def l3_routers(call: Call) -> Answer:
    """200: the routers whose gateway may be on the agent's node."""
    call.allow("get_l3-routers")
    agent, who = await _one(call), listing.viewer(call)

    def read(reader: Reader) -> Sequence[Any]:
        t = REGISTRY[Router].table.c
        return routers.view(reader, reader.select(Router, t.gateway_port_id != ""), who)

    return Answer({"routers": await call.read(read) if agent.agent_type == _GATEWAY else []})


async def zones(call: Call) -> Answer:
    """200: the zones of networks and routers: those of the nodes."""
    call.allow("get_availability_zone")
    nodes = await call.read(lambda r: r.select(Node))
    names = sorted({n.zone for n in nodes})
    alive = {n.zone for n in nodes if n.alive}
    found = [
        ZoneView(name, resource, "available" if name in alive else "unavailable")
        for name in names
        for resource in ("network", "router")
    ]
    for field in ("name", "resource", "state"):
        if values := call.all(field):
            found = [z for z in found if getattr(z, field) in values]
    return Answer({"availability_zones": found})


async def availabilities(call: Call) -> Answer:
    """200: addresses used and in all, a network; none for who is no administrator."""
    if not call.can("get_network_ip_availability"):
        return Answer({"network_ip_availabilities": []})
    clauses = {"id": call.all("network_id"), "name": call.all("network_name"), "project_id": call.all("project_id")}
    given = {k: v for k, v in clauses.items() if v}
    versions = [int(v) for v in call.all("ip_version") if v in ("4", "6")]
    return Answer({"network_ip_availabilities": await call.read(lambda r: _count(r, versions, **given))})


async def availability(call: Call) -> Answer:
    """200: of one network. 404: none such."""
    call.allow("get_network_ip_availability")
    who = listing.viewer(call)

    def read(reader: Reader) -> Availability:
        network = listing.fetch(reader, networks.NOUN, who, call.params["id"])
        return _count(reader, [], id=[network.id])[0]

    return Answer({"network_ip_availability": await call.read(read)})


def _count(reader: Reader, versions: Sequence[int], **given: list[str]) -> list[Availability]:
    t = REGISTRY[Network].table.c
    found = reader.select(Network, *(t[name].in_(values) for name, values in given.items()))
    a = REGISTRY[IpAddress].table.c
    counted = sa.select(a.subnet_id, sa.func.count().label("used")).group_by(a.subnet_id)
    used: dict[str, int] = {row.subnet_id: row.used for row in reader.conn.execute(counted)}
    by: dict[str, list[SubnetAvailability]] = {}
    for subnet in reader.select(Subnet, network_id=[n.id for n in found]):
        if versions and subnet.ip_version not in versions:
            continue
        by.setdefault(subnet.network_id, []).append(
            SubnetAvailability(
                subnet.id, subnet.name, subnet.cidr, subnet.ip_version, _total(subnet), used.get(subnet.id, 0)
            )
        )
    return [
        Availability(
            n.id,
            n.name,
            n.project_id,
            n.project_id,
            sum(s.total_ips for s in by.get(n.id, [])),
            sum(s.used_ips for s in by.get(n.id, [])),
            by.get(n.id, []),
        )
        for n in found
    ]


def _total(subnet: Subnet) -> int:
    """Addresses of the pools, as Neutron counts them."""
    return sum(int(ipaddress.ip_address(p.end)) - int(ipaddress.ip_address(p.start)) + 1 for p in subnet.pools)
