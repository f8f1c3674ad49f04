"""Get me a network: for a project without one, a network with a subnet, and a router to the default external network.

Source: Neutron's guide "Automatic allocation of network topologies". Subnets are cut from the default subnet pools;
a cloud that has none gives each project the same private prefix, which is as good as its networks are apart.
"""

from __future__ import annotations

from trilith import errors
from trilith.commands import networks, routers, subnet_pools, subnets
from trilith.commands.routers import Gateway
from trilith.model.auto_allocation import AutoAllocation
from trilith.model.network import Network, Router, Subnet, SubnetPool
from trilith.store.tx import Reader, Tx

#: where there is no default subnet pool
PREFIX = "10.0.0.0/24"


def find(reader: Reader, project_id: str) -> Network | None:
    """The project's, where it has been made and is still there."""
    known = reader.find(AutoAllocation, project_id)
    return reader.find(Network, known.network_id) if known is not None else None


def external(reader: Reader) -> Network:
    """The default external network, or the only one. Raises Invalid where there is none."""
    found = reader.select(Network, external=True)
    chosen = [n for n in found if n.default] or found
    if len(chosen) != 1:
        raise errors.Invalid(
            "Unable to automatically allocate a network for the project: there is no default external network.",
            hint="openstack network set --default NAME",
            field="networks",
        )
    return chosen[0]


def allocate(tx: Tx, project_id: str, *, mtu: int) -> Network:
    """Make it, or find it. mtu: bytes. Raises Invalid without a default external network, OverQuota."""
    known = find(tx, project_id)
    if known is not None:
        return known
    outside = external(tx)
    network = networks.create_network(tx, project_id=project_id, name="auto_allocated_network", mtu=mtu)
    router = routers.create_router(
        tx, project_id=project_id, name="auto_allocated_router", gateway=Gateway(network_id=outside.id)
    )
    for subnet in _subnets(tx, network, project_id):
        routers.add_interface(tx, router, subnet_id=subnet.id)
    stale = tx.find(AutoAllocation, project_id)
    if stale is not None:
        tx.change(stale, network_id=network.id, router_id=router.id)
    else:
        tx.add(AutoAllocation(id=project_id, network_id=network.id, router_id=router.id))
    return network


def _subnets(tx: Tx, network: Network, project_id: str) -> list[Subnet]:
    pools = [p for p in tx.select(SubnetPool, default=True) if p.shared or p.project_id == project_id]
    if not pools:
        return [_subnet(tx, network, project_id, PREFIX, "")]
    return [
        _subnet(tx, network, project_id, subnet_pools.cut(tx, pool, project_id=project_id), pool.id) for pool in pools
    ]


def _subnet(tx: Tx, network: Network, project_id: str, cidr: str, pool_id: str) -> Subnet:
    version = 6 if ":" in cidr else 4
    return subnets.create_subnet(
        tx,
        network,
        project_id=project_id,
        cidr=cidr,
        name=f"auto_allocated_subnet_v{version}",
        subnetpool_id=pool_id,
        ipv6_ra_mode="slaac" if version == 6 else "",
        ipv6_address_mode="slaac" if version == 6 else "",
    )


def delete(tx: Tx, project_id: str) -> None:
    """Router, network and all. Raises Missing without one, and what their deletion raises while servers use it."""
    known = tx.find(AutoAllocation, project_id)
    if known is None:
        raise errors.Missing(f"Auto-allocated topology for project {project_id} not found.")
    network, router = tx.find(Network, known.network_id), tx.find(Router, known.router_id)
    if router is not None:
        for port in routers.interfaces(tx, router.id):
            routers.remove_interface(tx, router, port_id=port.id)
        routers.delete_router(tx, tx.get(Router, router.id))
    if network is not None:
        networks.delete_network(tx, network)
    tx.remove(known)


def ensure_usable(tx: Tx, project_id: str, *, mtu: int) -> None:
    """For a server that asks for `auto`: a network is there that it can get, be it made now. Raises as allocate."""
    own = networks.choose(tx, project_id)
    if not any(tx.count(Subnet, network_id=n.id) for n in own):
        allocate(tx, project_id, mtu=mtu)
