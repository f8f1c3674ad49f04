"""Nodes that join, leave and report: the rows behind os-services, os-hypervisors and resource providers."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from trilith.agent.wire import Hello
from trilith.config import Settings
from trilith.model.node import Node
from trilith.store.contract import Store
from trilith.store.tx import Tx, new_id

log = structlog.get_logger("nodes")


#: writes the resource provider of a node, in the transaction of its join
EnsureProvider = Callable[[Tx, Node, Settings], None]


class Nodes:
    def __init__(self, store: Store, settings: Settings, ensure: EnsureProvider) -> None:
        self._store = store
        self._settings = settings
        self._ensure = ensure

    async def joined(self, hello: Hello) -> None:
        """The agent of a node connected: its facts, and with them its resource provider, are as it says."""

        def body(tx: Tx) -> Node:
            node = tx.first(Node, name=hello.node)
            if node is None:
                made = Node(
                    id=new_id(),
                    name=hello.node,
                    simulated=hello.simulated,
                    alive=True,
                    alive_at=tx.now,
                    facts=hello.facts,
                )
                node = tx.add(made)
            else:
                node = tx.change(node, alive=True, alive_at=tx.now, facts=hello.facts, epoch=node.epoch + 1)
            self._ensure(tx, node, self._settings)
            return node

        await self._store.write(body)
        for warning in hello.facts.warnings:
            log.info("node", node=hello.node, warning=warning)

    async def left(self, name: str) -> None:
        def body(tx: Tx) -> None:
            node = tx.first(Node, name=name)
            if node is not None and node.alive:
                tx.change(node, alive=False)

        await self._store.write(body)
