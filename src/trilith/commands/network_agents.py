"""Which nodes answer DHCP for a network: all, but those that an administrator takes from it."""

from __future__ import annotations

import sqlalchemy as sa

from trilith.commands.network_faults import NetworkHostedByDHCPAgent, NetworkNotHostedByDhcpAgent
from trilith.commands.network_generation import bump
from trilith.model.network import DhcpExclusion, Network, Port
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx, new_id


def silent(reader: Reader, network_id: str) -> set[str]:
    """The nodes that answer none."""
    return {e.node for e in reader.select(DhcpExclusion, network_id=network_id)}


def exclude(tx: Tx, network: Network, node: str) -> None:
    """From now on guests on that node get no lease. Raises NetworkNotHostedByDhcpAgent."""
    if node in silent(tx, network.id):
        raise NetworkNotHostedByDhcpAgent(f"The network {network.id} is not hosted by the DHCP agent of {node}.")
    tx.add(DhcpExclusion(id=new_id(), network_id=network.id, node=node))
    _changed(tx, network, node)


def include(tx: Tx, network: Network, node: str) -> None:
    """Raises NetworkHostedByDHCPAgent."""
    if not tx.remove_where(DhcpExclusion, network_id=network.id, node=node):
        raise NetworkHostedByDHCPAgent(f"The network {network.id} has been already hosted by the DHCP agent of {node}.")
    _changed(tx, network, node)


def _changed(tx: Tx, network: Network, node: str) -> None:
    t = REGISTRY[Port].table.c
    # a port on its way from one node to another names both
    here = sa.or_(t.host == node, t.host.like(f"{node},%"), t.host.like(f"%,{node}"))
    bump(tx, Port, [p.id for p in tx.select(Port, here, network_id=network.id)])
    tx.touch("network", network.id, network.project_id)
