"""A project's network in one call: subnets from the default pools, behind a router to the default external network."""

from __future__ import annotations

from trilith.commands import networks, routers, subnet_pools, subnets
from trilith.commands.addresses import insert_if_free
from trilith.commands.network_faults import AutoAllocationFailure
from trilith.model.network import AutoTopology, Network, Router, Subnet, SubnetPool
from trilith.store.tx import Reader, Tx, new_id


def parts(reader: Reader) -> tuple[Network, list[SubnetPool]]:
    """What the administrator must have made. Raises AutoAllocationFailure that says what is missing."""
    external = reader.first(Network, default=True, external=True)
    if external is None:
        raise AutoAllocationFailure(
            "Deployment error: No default router:external network.",
            hint="openstack network set --default NETWORK, for an external one.",
        )
    pools = reader.select(SubnetPool, default=True)
    if not pools:
        raise AutoAllocationFailure(
            "Deployment error: No default subnetpools defined.", hint="openstack subnet pool set --default POOL"
        )
    return external, pools


def ensure(tx: Tx, project_id: str, mtu: int) -> AutoTopology:
    """The project's own, made at the first call. Raises AutoAllocationFailure, OverQuota, SubnetAllocationError."""
    known = tx.first(AutoTopology, project_id=project_id)
    if known is not None:
        return known
    external, pools = parts(tx)
    network = networks.create_network(tx, project_id=project_id, mtu=mtu, name="auto_allocated_network")
    router = routers.create_router(
        tx, project_id=project_id, name="auto_allocated_router", gateway=routers.Gateway(network_id=external.id)
    )
    for pool in pools:
        subnet = subnets.create_subnet(
            tx,
            network,
            project_id=project_id,
            name=f"auto_allocated_subnet_v{pool.ip_version}",
            cidr=subnet_pools.cut(tx, pool, project_id=project_id),
            subnetpool_id=pool.id,
        )
        routers.add_interface(tx, router, subnet_id=subnet.id)
    made = AutoTopology(id=new_id(), project_id=project_id, network_id=network.id, router_id=router.id)
    if not insert_if_free(tx, made):
        raise AutoAllocationFailure(
            f"The topology of project {project_id} is being made by another request.", hint="Ask again."
        )
    return made


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
