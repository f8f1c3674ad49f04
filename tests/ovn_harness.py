"""A whole node's network in a namespace of its own, and guests on it, for tests. Leaves nothing, also on failure."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import socket
import struct
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from trilith.agent.daemons import NodeNetwork, default_run_dir, settle_network, start_network, stop_network
from trilith.agent.supervise import DaemonEvent, Supervisor
from trilith.drivers.ovn.local import OvsLocalSwitch, connect_local
from trilith.drivers.ovn.metadata_ns import _enter, list_metadata_namespaces, remove_metadata_namespace
from trilith.drivers.ovn.northbound import OvnNorthbound, connect
from trilith.drivers.ovn.tools import run
from trilith.errors import Backend

T = TypeVar("T")
MTU = 1442


async def inside(netns: str, call: Callable[[], T]) -> T:
    """Run a blocking call in a thread that has entered the namespace."""

    def work() -> T:
        _enter(netns)
        return call()

    with ThreadPoolExecutor(max_workers=1) as thread:
        return await asyncio.get_running_loop().run_in_executor(thread, work)


@dataclass(slots=True)
class Guest:
    """A namespace with one interface, plugged as a port. Static addresses."""

    name: str
    port_id: str
    address: str

    async def silent(self, address: str, *, within: float = 5.0) -> bool:
        """Whether a ping goes unanswered. A rule is in force in the tables before the switch has thrown out what it had
        worked out for packets like it, which takes its revalidators up to half a second, and longer under load."""
        until = time.monotonic() + within
        while await self.ping(address, seconds=1):
            if time.monotonic() > until:
                return False
        return True

    async def ping(self, address: str, *, seconds: float = 10.0) -> bool:
        """True once one echo came back, within the time."""
        return await _ping(self.name, address, seconds)

    async def tcp(self, address: str, port: int, *, seconds: float = 1.5) -> str:
        """open, refused or filtered."""
        return await inside(self.name, lambda: _tcp(address, port, seconds))

    async def asks(self, server: str) -> bool:
        """True when a DNS server answers there, whatever it says."""
        return await inside(self.name, lambda: _dns("nobody.invalid", server)) is not None

    async def resolve(self, name: str, server: str) -> str | None:
        return await inside(self.name, lambda: _dns(name, server))


@dataclass(slots=True)
class Node:
    network: NodeNetwork
    supervisor: Supervisor
    driver: OvnNorthbound
    switch: OvsLocalSwitch
    events: list[DaemonEvent]
    guests: list[Guest] = field(default_factory=list)

    @property
    def netns(self) -> str:
        return self.network.netns

    async def guest(self, port_id: str, mac: str, address: str, gateway: str = "") -> Guest:
        """address with its prefix length."""
        tag = uuid.uuid4().hex[:8]
        guest = Guest(name=f"tlg-{tag}", port_id=port_id, address=address.partition("/")[0])
        self.guests.append(guest)
        await run(["ip", "netns", "add", guest.name])
        link = ["ip", "link", "add", f"v-{tag}", "mtu", str(MTU), "type", "veth", "peer", "name", "eth0"]
        await run([*link, "netns", guest.name, "address", mac, "mtu", str(MTU)], netns=self.netns)
        await run(["ethtool", "-K", "eth0", "tx", "off"], netns=guest.name)
        lines = ["link set lo up", f"address add {address} dev eth0", "link set eth0 up"]
        lines += [f"route add default via {gateway}"] if gateway else []
        await run(["ip", "-batch", "-"], netns=guest.name, stdin="\n".join(lines) + "\n")
        await run(["ip", "link", "set", f"v-{tag}", "up"], netns=self.netns)
        await self.switch.plug(ifname=f"v-{tag}", port_id=port_id, mac=mac)
        return guest

    async def host_ping(self, address: str, *, seconds: float = 10.0) -> bool:
        return await _ping(self.netns, address, seconds)

    async def outsider(self, host: str, outside: str, *, via: str = "") -> Guest:
        """Another machine on a wire of the host's own: `host` is the host's address there, `outside` the machine's."""
        tag = uuid.uuid4().hex[:8]
        guest = Guest(name=f"tlg-{tag}", port_id="", address=outside.partition("/")[0])
        self.guests.append(guest)
        await run(["ip", "netns", "add", guest.name])
        link = ["ip", "link", "add", f"o-{tag}", "type", "veth", "peer", "name", "eth0", "netns", guest.name]
        await run(link, netns=self.netns)
        await run(
            ["ip", "-batch", "-"], netns=self.netns, stdin=f"address add {host} dev o-{tag}\nlink set o-{tag} up\n"
        )
        lines = ["link set lo up", f"address add {outside} dev eth0", "link set eth0 up"]
        lines += [f"route add {via} via {host.partition('/')[0]}"] if via else []
        await run(["ip", "-batch", "-"], netns=guest.name, stdin="\n".join(lines) + "\n")
        return guest

    async def host_tcp(self, address: str, port: int, *, seconds: float = 1.5) -> str:
        return await inside(self.netns, lambda: _tcp(address, port, seconds))

    def pid(self, name: str) -> int:
        return next(s.pid for s in self.supervisor.status() if s.name == name)


@contextlib.asynccontextmanager
async def running_node(
    cloud_id: str = "test", *, daemons: tuple[str, ...] = (), **settings: object
) -> AsyncIterator[Node]:
    """Daemons, driver and switch up in a fresh network namespace; all gone afterwards, and that is checked.

    daemons: only these, and no driver.
    """
    netns = f"tln-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    state = Path(tempfile.mkdtemp(prefix="tl-"))
    await run(["ip", "netns", "add", netns])
    await run(["ip", "link", "set", "lo", "up"], netns=netns)
    # a new namespace inherits it from the host, where a cloud may run
    await run(["tee", "/proc/sys/net/ipv4/ip_forward"], netns=netns, stdin="0\n")
    events: list[DaemonEvent] = []
    supervisor = Supervisor(state / "daemons", notify=events.append)
    network: NodeNetwork | None = None
    node: Node | None = None
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(_cleanup, netns, state)
        draft = NodeNetwork(
            cloud_id=cloud_id,
            node="n1",
            state_dir=state,
            run_dir=default_run_dir(state),
            netns=netns,
            **settings,  # type: ignore[arg-type]
        )
        network = await settle_network(draft)
        stack.push_async_callback(supervisor.close)
        stack.push_async_callback(_stop, network, supervisor)
        if daemons:
            await supervisor.start([spec for spec in network.specs() if spec.name in daemons])
            yield Node(network, supervisor, None, None, events)  # type: ignore[arg-type]
            return
        await start_network(network, supervisor)
        driver = await connect(network.nb, network.sb, cloud_id=cloud_id)
        stack.push_async_callback(driver.close)
        await driver._sb.database.wait_until(lambda replica: next(replica.records("Chassis"), None), timeout=20)
        switch = await connect_local(network.db, cloud_id=cloud_id)
        stack.push_async_callback(switch.close)
        node = Node(network, supervisor, driver, switch, events)
        stack.push_async_callback(_remove_guests, node)
        yield node


async def _stop(network: NodeNetwork, supervisor: Supervisor) -> None:
    await stop_network(network, supervisor)


async def _remove_guests(node: Node) -> None:
    for network_id in await list_metadata_namespaces(node.switch):
        await remove_metadata_namespace(node.switch, network_id, netns=node.netns)
    for guest in node.guests:
        # the kernel takes a deleted namespace apart later; a deleted link is gone at once
        await run(["ip", "link", "delete", "eth0"], netns=guest.name)
        await run(["ip", "netns", "delete", guest.name])


async def _cleanup(netns: str, state: Path) -> None:
    try:
        left = (await run(["ip", "netns", "pids", netns])).split()
        links = [line.split(":")[1].strip() for line in (await run(["ip", "-o", "link"], netns=netns)).splitlines()]
    finally:
        await run(["ip", "netns", "delete", netns])
        await asyncio.to_thread(shutil.rmtree, state)
    assert not left, f"processes left in the namespace: {left}"
    assert [name.partition("@")[0] for name in links] == ["lo"], f"interfaces left: {links}"


async def _ping(netns: str, address: str, seconds: float) -> bool:
    # one echo every 20 ms until the first answer
    argv = ["ping", "-n", "-q", "-i", "0.02", "-c", "1", "-w", str(max(1, round(seconds))), address]
    try:
        await run(argv, netns=netns, timeout=seconds + 5)
    except Backend:
        return False
    return True


def _tcp(address: str, port: int, seconds: float) -> str:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as client:
        client.settimeout(seconds)
        code = client.connect_ex((address, port))
    if code == 0:
        return "open"
    return "refused" if code == errno.ECONNREFUSED else "filtered"


def _dns(name: str, server: str) -> str | None:
    """The first A record (RFC 1035), "" for none, None when nobody answers."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    query = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2.0)
        client.sendto(query, (server, 53))
        try:
            answer = client.recv(512)
        except TimeoutError:
            return None
    return socket.inet_ntoa(answer[-4:]) if struct.unpack(">H", answer[6:8])[0] else ""
