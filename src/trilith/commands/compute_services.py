"""The operator's wishes about a node's compute service: enabled, disabled with a reason, forced down, forgotten."""

from __future__ import annotations

from trilith import errors
from trilith.commands import aggregates, figures
from trilith.model.node import Aggregate, Node, ResourceProvider
from trilith.model.server import Server
from trilith.store.tx import Reader, Tx


def by_host(reader: Reader, host: str) -> Node:
    """Raises Missing."""
    node = reader.first(Node, name=host)
    if node is None:
        raise errors.Missing(f"Could not find binary nova-compute on host {host}.")
    return node


def set_enabled(tx: Tx, node: Node, enabled: bool, reason: str = "") -> Node:
    """A disabled node gets no new servers; those that it has go on."""
    return tx.change(node, enabled=enabled, disabled_reason="" if enabled else reason)


def set_forced_down(tx: Tx, node: Node, down: bool) -> Node:
    return tx.change(node, forced_down=down)


def delete(tx: Tx, node: Node) -> None:
    """Raises Conflict while it has servers or its agent is connected."""
    if tx.count(Server, node=node.name):
        raise errors.Conflict(
            "Unable to delete compute service that is hosting instances. Migrate or delete the instances first."
        )
    if node.alive:
        raise errors.Conflict(
            f"The agent of {node.name} is connected; its service would be back at once.", hint="Stop the agent first."
        )
    for aggregate in tx.select(Aggregate):
        if node.name in aggregate.hosts:
            aggregates.remove_host(tx, aggregate.seq, node.name)
    for provider in tx.select(ResourceProvider, name=node.name):
        tx.remove(provider)
    figures.forget(tx, node.name)
    tx.remove(node)
