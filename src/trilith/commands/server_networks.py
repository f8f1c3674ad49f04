"""Which ports a new server gets: the ones it names, or those that Nova would choose for it."""

from __future__ import annotations

from dataclasses import dataclass

from trilith import errors
from trilith.commands import network_search, networks, ports, security_groups
from trilith.model.network import Network, Port, SecurityGroup, Subnet
from trilith.model.record import Actor
from trilith.model.server import Server
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx

#: device_owner of a server's port: Nova's `compute:<availability zone>`
OWNER = "compute:nova"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRequest:
    """One of port_id or network_id. fixed_ip "" for any address."""

    network_id: str = ""
    port_id: str = ""
    fixed_ip: str = ""
    tag: str = ""


def automatic(reader: Reader, actor: Actor) -> list[str]:
    """The project's networks, or a shared one, when the request names none. Raises Conflict when that is not one.

    Nova's rule: none is no network; several is NetworkAmbiguous.
    """
    found = networks.choose(reader, actor.project_id)
    table = REGISTRY[Subnet].table
    with_subnet = {s.network_id for s in reader.select(Subnet, table.c.network_id.in_([n.id for n in found]))}
    usable = [n.id for n in found if n.id in with_subnet]
    if len(usable) > 1:
        raise errors.Conflict(
            "Multiple possible networks found, use a Network ID to be more specific.", field="networks"
        )
    return usable


def attach(tx: Tx, actor: Actor, server: Server, wanted: tuple[NetworkRequest, ...] | None) -> list[Port]:
    """Make or take the server's ports. Raises Conflict for a port in use, Invalid for what cannot be."""
    if wanted is None:
        wanted = tuple(NetworkRequest(network_id=n) for n in automatic(tx, actor))
    groups = _groups(tx, server) if any(not w.port_id for w in wanted) else None
    return [_take(tx, actor, server, w.port_id) if w.port_id else _make(tx, actor, server, w, groups) for w in wanted]


@dataclass(frozen=True, slots=True)
class Joining:
    """A network that a server would join, and the QoS policy that its port there would have ("" for none)."""

    network_id: str
    policy_id: str


def look(reader: Reader, actor: Actor, wanted: tuple[NetworkRequest, ...] | None) -> list[Joining]:
    """What `attach` would do, and nothing made. Raises as it does, but for what only the making finds out: whether an
    address is free, and the quota of ports."""
    if wanted is None:
        wanted = tuple(NetworkRequest(network_id=n) for n in automatic(reader, actor))
    found = []
    for one in wanted:
        port = _port(reader, actor, one.port_id) if one.port_id else None
        network = reader.get(Network, port.network_id) if port else _network(reader, actor, one.network_id)
        found.append(Joining(network.id, (port.qos_policy_id if port else "") or network.qos_policy_id))
    return found


def _port(reader: Reader, actor: Actor, port_id: str) -> Port:
    """That a server may take. Raises Invalid, Conflict."""
    port = reader.find(Port, port_id)
    if port is None or (port.project_id != actor.project_id and not actor.is_admin):
        raise errors.Invalid(f"Port id {port_id} could not be found.", field="networks")
    if port.device_id:
        raise errors.Conflict(f"Port {port_id} is still in use.")
    return port


def _network(reader: Reader, actor: Actor, network_id: str) -> Network:
    """That a server may join. Raises Invalid, Forbidden."""
    network = reader.find(Network, network_id)
    if network is None or not visible(reader, actor, network):
        raise errors.Invalid(f"Network {network_id} could not be found.", field="networks")
    if network.external and not network.shared and not actor.is_admin:
        raise errors.Forbidden(f"It is not allowed to create an interface on external network {network.id}")
    if not reader.count(Subnet, network_id=network.id):
        raise errors.Invalid(f"Network {network.id} requires a subnet in order to boot instances on.", field="networks")
    return network


def _take(tx: Tx, actor: Actor, server: Server, port_id: str) -> Port:
    port = _port(tx, actor, port_id)
    name = port.dns_name or server.hostname
    return ports.bind_port(tx, port, host=server.node, device_id=server.id, device_owner=OWNER, dns_name=name)


def _make(tx: Tx, actor: Actor, server: Server, request: NetworkRequest, groups: list[str] | None) -> Port:
    network = _network(tx, actor, request.network_id)
    return ports.create_port(
        tx,
        project_id=server.project_id,
        network_id=network.id,
        network=network,
        fixed_ip=request.fixed_ip,
        security_groups=groups if network.port_security else None,
        device_id=server.id,
        device_owner=OWNER,
        dns_name=server.hostname,
        created_by_server=True,
    )


def visible(reader: Reader, actor: Actor, network: Network) -> bool:
    return actor.is_admin or reader.first(Network, network_search.visible(Network, actor), id=network.id) is not None


def _groups(tx: Tx, server: Server) -> list[str] | None:
    """Ids of the groups that the request names by name or id; None for the project's default one."""
    named = [g for g in server.security_groups if g != "default"]
    if not named:
        return None
    known = {}
    for group in tx.select(SecurityGroup, project_id=server.project_id):
        known[group.name] = known[group.id] = group.id
    missing = [n for n in named if n not in known]
    if missing:
        raise errors.Invalid(f"Security group {missing[0]} not found for project {server.project_id}.", field="name")
    found = [known[n] for n in named]
    if "default" in server.security_groups:
        found.insert(0, security_groups.default_group(tx, server.project_id).id)
    return list(dict.fromkeys(found))
