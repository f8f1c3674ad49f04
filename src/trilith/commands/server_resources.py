"""What a server takes of its node: its flavor's sizes, and the bandwidth that its ports are promised."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from trilith import errors
from trilith.commands import allocations
from trilith.commands.network_faults import QosPlacementAllocationUpdateConflict
from trilith.model.network import Network, Port
from trilith.model.network_qos import MINIMUM, QosRule
from trilith.model.node import Allocation, ResourceProvider
from trilith.model.server import FlavorData, Server
from trilith.placement.flavor_specs import resources_of
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx

#: kbit/s that all servers of a node may be promised together, by direction as the guest sees it
BANDWIDTH = {"egress": "NET_BW_EGR_KILOBIT_PER_SEC", "ingress": "NET_BW_IGR_KILOBIT_PER_SEC"}
#: device_owner of a server's port: compute:<zone>
OF_SERVER = "compute:"


def of_server(reader: Reader, server: Server, flavor: FlavorData | None = None) -> dict[str, int]:
    """All that its node must have for it. flavor: another than its own, for a resize."""
    wanted = resources_of(flavor or server.flavor, server.image_properties)
    return added(wanted, bandwidth(reader, server.id))


def added(some: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    """Both together, by resource class."""
    return {name: some.get(name, 0) + more.get(name, 0) for name in [*some, *(m for m in more if m not in some)]}


def bandwidth(reader: Reader, server_id: str) -> dict[str, int]:
    """The sums of its ports' promises, by resource class. A port's own policy comes before its network's."""
    found = reader.conn.execute(_promises(), {"server": server_id}).all()
    return {BANDWIDTH[row.direction]: int(row.kbps) for row in found}


@functools.cache
def _promises() -> sa.Select[tuple[str, int]]:
    port, network, rule = (REGISTRY[cls].table for cls in (Port, Network, QosRule))
    policy = sa.case((port.c.qos_policy_id != "", port.c.qos_policy_id), else_=network.c.qos_policy_id)
    return (
        sa.select(rule.c.direction, sa.func.sum(rule.c.min_kbps).label("kbps"))
        .select_from(port.join(network, network.c.id == port.c.network_id).join(rule, rule.c.policy_id == policy))
        .where(port.c.device_id == sa.bindparam("server"), rule.c.kind == MINIMUM)
        .group_by(rule.c.direction)
    )


def promised(reader: Reader, policy_ids: Iterable[str]) -> dict[str, dict[str, int]]:
    """Policy → what it promises one port, by resource class. Policies that promise nothing are not in it."""
    made: dict[str, dict[str, int]] = {}
    for rule in reader.select(QosRule, policy_id=sorted({p for p in policy_ids if p}), kind=MINIMUM):
        made.setdefault(rule.policy_id, {})[BANDWIDTH[rule.direction]] = rule.min_kbps
    return made


def refit(tx: Tx, server_id: str) -> None:
    """Make the server's share of its node's bandwidth what its ports are promised now. Nothing for one without a node.

    Raises QosPlacementAllocationUpdateConflict when the node has not that much left, or the server is on its way to
    another one."""
    server = tx.find(Server, server_id)
    if server is None or not server.node:
        return
    provider = tx.first(ResourceProvider, name=server.node)
    if provider is None:
        return
    wanted = {k: v for k, v in of_server(tx, server).items() if k in BANDWIDTH.values()}
    rows = tx.select(Allocation, consumer_id=server_id)
    held = {a.resource_class: a.used for a in rows if a.provider_id == provider.id}
    if {k: v for k, v in held.items() if k in BANDWIDTH.values()} == wanted:
        return
    if not held:
        raise QosPlacementAllocationUpdateConflict(
            f"Server {server_id} is moving between nodes, so its bandwidth cannot change.",
            hint="Try again when it has arrived, and its move is confirmed or reverted.",
        )
    rest = {k: v for k, v in held.items() if k not in BANDWIDTH.values()}
    try:
        allocations.claim(
            tx,
            consumer_id=server_id,
            provider_id=provider.id,
            resources=rest | wanted,
            project_id=server.project_id,
            user_id=server.user_id,
        )
    except errors.Conflict as err:
        raise QosPlacementAllocationUpdateConflict(
            f"Server {server_id} cannot be promised that on {server.node}: {err.message}", hint=err.hint
        ) from err


def refit_all(tx: Tx, ports: Iterable[Port]) -> None:
    """The servers of these ports. Raises as `refit`."""
    for server_id in sorted({p.device_id for p in ports if p.device_id and p.device_owner.startswith(OF_SERVER)}):
        refit(tx, server_id)
