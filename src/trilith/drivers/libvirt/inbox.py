"""What libvirt tells, worked off in its order: whose guest it is, and what has become of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from trilith.drivers.libvirt.connection import Happening
from trilith.drivers.libvirt.events import classify
from trilith.drivers.libvirt.node import Node
from trilith.errors import Backend, Conflict, Missing, TrilithError
from trilith.model.guest import GuestFacts

#: what every guest of ours begins with, before its id
PREFIX = "t-"


class Inbox:
    """node: set before the first call of `deliver`. facts: of all guests."""

    def __init__(self, node: Node, facts: Callable[[], Awaitable[list[GuestFacts]]]) -> None:
        self._node = node
        self._facts = facts
        self._waiting: asyncio.Queue[Happening | None] = asyncio.Queue()

    def put(self, happening: Happening) -> None:
        self._node.hub.wake(happening)
        if happening.domain.startswith(PREFIX):
            self._waiting.put_nowait(happening)

    def missed(self) -> None:
        """Events may have been."""
        self._waiting.put_nowait(None)

    async def deliver(self) -> None:
        """One after the other, so that a reader sees events in libvirt's order. None: events were missed."""
        while True:
            happening = await self._waiting.get()
            if happening is None:
                with contextlib.suppress(TrilithError):
                    # lost again: the next connection asks again
                    self._node.hub.fill_gap({fact.server_id: fact.power for fact in await self._facts()})
                continue
            server_id = happening.domain.removeprefix(PREFIX)
            found = classify(happening)
            with contextlib.suppress(Backend):  # lost at this moment: the next connection asks how all are
                if found is not None and await self._is_ours(server_id):
                    self._node.hub.publish(server_id, *found)

    async def _is_ours(self, server_id: str) -> bool:
        if server_id in self._node.ours:
            return True
        try:
            await self._node.call("tell whose domain it is", self._node.on(server_id, lambda domain: None))
        except (Missing, Conflict):
            return False
        self._node.ours.add(server_id)
        return True
