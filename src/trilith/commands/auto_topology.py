"""A project's network in one call: subnets from the default pools, behind a router to the default external network.

Source: Neutron's guide "Automatic allocation of network topologies". Both ways to it, a server that asks for the
network `auto` and GET /v2.0/auto-allocated-topology, lead to the same one.
"""

from __future__ import annotations

from trilith import errors
from trilith.commands import networks, routers, subnet_pools, subnets
from trilith.commands.addresses import insert_if_free
from trilith.commands.network_faults import AutoAllocationFailure
from trilith.model.network import AutoTopology, Network, Router, Subnet, SubnetPool
from trilith.store.tx import Reader, Tx, new_id

#: for a server, in a cloud without default subnet pools: as good as pools, as far as projects' networks are apart
PREFIX = "10.0.0.0/24"


def parts(reader: Reader, project_id: str, *, pools_needed: bool = True) -> tuple[Network, list[SubnetPool]]:
    """What the administrator must have made: the default external network, or the only one, and default pools that the
    project may use. Raises AutoAllocationFailure that says what is missing."""
    found = reader.select(Network, external=True)
    chosen = [n for n in found if n.default] or found
    if len(chosen) != 1:
        raise AutoAllocationFailure(
            "Deployment error: No default router:external network.",
            hint="openstack network set --default NETWORK, for an external one.",
        )
    pools = [p for p in reader.select(SubnetPool, default=True) if p.shared or p.project_id == project_id]
    if not pools and pools_needed:
        raise AutoAllocationFailure(
            "Deployment error: No default subnetpools defined.", hint="openstack subnet pool set --default POOL"
        )
    return chosen[0], pools


def ensure(tx: Tx, project_id: str, mtu: int, *, pools_needed: bool = True) -> AutoTopology:
    """The project's own, made at the first call. mtu: bytes.

    Raises AutoAllocationFailure, OverQuota, SubnetAllocationError.
    """
    known = tx.first(AutoTopology, project_id=project_id)
    if known is not None:
        return known
    external, pools = parts(tx, project_id, pools_needed=pools_needed)
    network = networks.create_network(tx, project_id=project_id, mtu=mtu, name="auto_allocated_network")
    router = routers.create_router(
        tx, project_id=project_id, name="auto_allocated_router", gateway=routers.Gateway(network_id=external.id)
    )
    cuts = [(subnet_pools.cut(tx, pool, project_id=project_id), pool.id) for pool in pools] or [(PREFIX, "")]
    for cidr, pool_id in cuts:
        version = 6 if ":" in cidr else 4
        subnet = subnets.create_subnet(
            tx,
            network,
            project_id=project_id,
            name=f"auto_allocated_subnet_v{version}",
            cidr=cidr,
            subnetpool_id=pool_id,
            ipv6_ra_mode="slaac" if version == 6 else "",
            ipv6_address_mode="slaac" if version == 6 else "",
        )
        routers.add_interface(tx, router, subnet_id=subnet.id)
    made = AutoTopology(id=new_id(), project_id=project_id, network_id=network.id, router_id=router.id)
    if not insert_if_free(tx, made):
        raise AutoAllocationFailure(
            f"The topology of project {project_id} is being made by another request.", hint="Ask again."
        )
    return made


def ensure_usable(tx: Tx, project_id: str, *, mtu: int) -> None:
    """For a server that asks for `auto`: a network is there that it can get, be it made now. mtu: bytes.

    Raises Invalid, as Nova does, where the cloud has no default external network, and what `ensure` raises.
    """
    if any(tx.count(Subnet, network_id=n.id) for n in networks.choose(tx, project_id)):
        return
    try:
        parts(tx, project_id, pools_needed=False)
    except AutoAllocationFailure as err:
        raise errors.Invalid(
            f"Unable to automatically allocate a network for the project: {err.message}",
            hint=err.hint,
            field="networks",
        ) from err
    ensure(tx, project_id, mtu, pools_needed=False)


def delete(tx: Tx, made: AutoTopology) -> None:
    """All of it. Raises NetworkInUse while servers are on it, RouterInterfaceInUseByFloatingIP."""
    tx.remove(made)
    router = tx.find(Router, made.router_id)
    if router is not None:
        for subnet in tx.select(Subnet, network_id=made.network_id):
            if any(ip.subnet_id == subnet.id for p in routers.interfaces(tx, router.id) for ip in p.fixed_ips):
                routers.remove_interface(tx, router, subnet_id=subnet.id)
        routers.delete_router(tx, tx.get(Router, router.id))
    network = tx.find(Network, made.network_id)
    if network is not None:
        networks.delete_network(tx, network)
