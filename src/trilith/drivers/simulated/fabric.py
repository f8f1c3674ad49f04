"""The simulated network: northbound state, chassis and ports in memory, shared by the simulated nodes of a process.

It documents what the network driver promises: older revisions are skipped, a batch is all or nothing, a port is up
when its logical port exists, is asked to be on a node (or anywhere), and that node has plugged it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec

from trilith import errors
from trilith.model.topology import (
    AddressGroupSpec,
    Binding,
    Change,
    Chassis,
    Ensure,
    NetworkSpec,
    Noun,
    Owned,
    PortSpec,
    Remove,
    RouterSpec,
    SecurityGroupSpec,
)

_KIND: dict[type, str] = {
    NetworkSpec: "network",
    PortSpec: "port",
    RouterSpec: "router",
    SecurityGroupSpec: "security_group",
    AddressGroupSpec: "address_group",
}

#: called before each call with its name; raises to inject a fault
Fault = Callable[[str], None]


def no_fault(_name: str) -> None:
    return


class SimulatedNetwork:
    """A NetworkDriver. `fault` is the tests' hook."""

    def __init__(self) -> None:
        self.nouns: dict[tuple[str, str], Noun] = {}
        self.plugs: dict[str, set[str]] = {}  # port → nodes: two while a server moves from one to the other
        self.nodes: list[str] = []
        self.fault: Fault = no_fault
        self._up: dict[str, str] = {}
        self._watchers: set[asyncio.Queue[Binding]] = set()
        self._moved = asyncio.Event()

    async def apply(self, changes: Sequence[Change]) -> None:
        self.fault("apply")
        for change in changes:
            match change:
                case Ensure(noun=noun):
                    key = (_KIND[type(noun)], noun.id)
                    had = self.nouns.get(key)
                    if had is None or noun.revision >= had.revision:
                        self.nouns[key] = noun
                case Remove(kind=kind, id=id):
                    self.nouns.pop((kind, id), None)
        self._settle()

    async def owned(self) -> list[Owned]:
        self.fault("owned")
        return [Owned(kind=kind, id=id, revision=noun.revision) for (kind, id), noun in self.nouns.items()]

    async def wait_up(self, port_ids: Sequence[str], *, timeout: float) -> None:
        self.fault("wait_up")
        try:
            async with asyncio.timeout(timeout):
                while missing := [p for p in port_ids if p not in self._up]:
                    await self._moved.wait()
        except TimeoutError:
            raise errors.Deadline(f"Ports did not come up: {', '.join(missing)}.") from None

    async def bindings(self) -> AsyncIterator[Binding]:
        queue: asyncio.Queue[Binding] = asyncio.Queue()
        for port, node in self._up.items():
            queue.put_nowait(Binding(port_id=port, up=True, chassis=node))
        self._watchers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.discard(queue)

    async def chassis(self) -> list[Chassis]:
        return [Chassis(name=n, hostname=n, encaps=("geneve",), physical_networks=("external",)) for n in self.nodes]

    async def wait_applied(self, *, timeout: float) -> None:
        return

    async def close(self) -> None:
        return

    def plug(self, node: str, port_id: str) -> None:
        self.plugs.setdefault(port_id, set()).add(node)
        self._settle()

    def unplug(self, port_id: str, node: str = "") -> None:
        """node: "" for all of them."""
        before = self.plugs.pop(port_id, set())
        left = before - {node}
        if node and left:
            self.plugs[port_id] = left
        self._settle()

    def _settle(self) -> None:
        up: dict[str, str] = {}
        for port_id, nodes in self.plugs.items():
            noun = self.nouns.get(("port", port_id))
            if not isinstance(noun, PortSpec) or not noun.admin_up:
                continue
            for node in sorted(nodes):
                if noun.host in ("", node):
                    up[port_id] = node
        for port_id in set(up) | set(self._up):
            if up.get(port_id) != self._up.get(port_id):
                binding = Binding(port_id=port_id, up=port_id in up, chassis=up.get(port_id, ""))
                for watcher in self._watchers:
                    watcher.put_nowait(binding)
        self._up = up
        self._moved.set()
        self._moved = asyncio.Event()


class SimulatedSwitch:
    """A LocalSwitch of one simulated node. Its ports are in a file, as a real switch's are in its database."""

    def __init__(self, fabric: SimulatedNetwork, node: str, state: Path) -> None:
        self._fabric = fabric
        self._node = node
        self._file = state / "simulated" / node / "switch.json"
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._ifnames: dict[str, str] = {}
        if self._file.exists():
            self._ifnames = msgspec.json.decode(self._file.read_bytes(), type=dict[str, str])
        fabric.nodes.append(node)
        for port_id in self._ifnames.values():
            fabric.plug(node, port_id)

    async def plug(self, *, ifname: str, port_id: str, mac: str) -> None:
        self._fabric.fault("plug")
        self._ifnames[ifname] = port_id
        self._keep()
        self._fabric.plug(self._node, port_id)

    async def unplug(self, ifname: str) -> None:
        port = self._ifnames.pop(ifname, None)
        if port is not None:
            self._keep()
            self._fabric.unplug(port, self._node)

    async def raise_link(self, ifname: str) -> None:
        self._fabric.fault("raise_link")

    async def plugged(self) -> dict[str, str]:
        return dict(self._ifnames)

    async def close(self) -> None:
        return

    def _keep(self) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(self._ifnames))
        fresh.replace(self._file)
