"""The link between controller and node: calls, channels, and what happens when one of the two misbehaves."""

from __future__ import annotations

import asyncio
import os
import struct
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from trilith import errors
from trilith.agent import calls, wire
from trilith.agent.agent import Agent
from trilith.agent.guests import Guests
from trilith.agent.posts import Posts
from trilith.cluster import links as links_module
from trilith.cluster.links import Links
from trilith.drivers.simulated.compute import SimulatedCompute
from trilith.drivers.simulated.fabric import SimulatedNetwork, SimulatedSwitch
from trilith.drivers.simulated.storage import SimulatedStorage
from trilith.model.guest import (
    Artefact,
    GuestEvent,
    GuestFacts,
    GuestSpec,
    HostFacts,
    ImageForm,
    MachineIdentity,
    Pillar,
)

CLOUD, NODE = "cloud-1", "node-1"


@dataclass
class Rig:
    links: Links
    agent: Agent
    compute: SimulatedCompute
    path: Path
    running: asyncio.Task[None]
    left: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    reports: list[str] = field(default_factory=list)
    events: list[GuestEvent] = field(default_factory=list)
    posts: Posts = field(default_factory=Posts)
    posted: dict[str, bytes] = field(default_factory=dict)
    joined: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, args: Any, *, timeout: float = 10, **more: Any) -> Any:
        return await self.links.call(NODE, "test.call", args, calls.ServerArgs, timeout=timeout, **more)

    async def guest(self, pillar: Pillar = Pillar.LXC) -> str:
        """A running guest that only the driver knows: the agent's plans are not under test."""
        spec = GuestSpec(
            server_id="11111111-1111-1111-1111-111111111111", project_id="p", cloud_id=CLOUD, name="n", hostname="web1",
            pillar=pillar, vcpus=1, memory_mib=64, disk_gib=1, identity=MachineIdentity(smbios_uuid="u"),
            image=Artefact(sha256="0" * 64, form=ImageForm.ROOTFS, path="/none", size_mib=1),
        )  # fmt: skip
        await self.compute.create(spec)
        await self.compute.start(spec)
        return spec.server_id

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.wait([self.running])


@asynccontextmanager
async def rig(directory: Path, *, pillar: Pillar = Pillar.LXC) -> AsyncIterator[Rig]:
    reports: list[str] = []
    events: list[GuestEvent] = []
    left: asyncio.Queue[str] = asyncio.Queue()

    async def joined(hello: wire.Hello) -> None:
        await asyncio.sleep(0)

    async def gone(node: str) -> None:
        left.put_nowait(node)

    async def reported(node: str, guests: list[GuestFacts], facts: HostFacts | None) -> None:
        reports.append(node)

    async def happened(node: str, event: GuestEvent) -> None:
        events.append(event)

    posted: dict[str, bytes] = {}

    async def post(node: str, server_id: str, password: bytes) -> None:
        if server_id in posted:
            raise errors.Conflict(f"{server_id} of {node} has one.", hint="Clear it.")
        posted[server_id] = password

    links = Links(cloud_id=CLOUD, joined=joined, left=gone, reported=reported, happened=happened, posted=post)
    compute = SimulatedCompute(directory, node=NODE, cloud_id=CLOUD, pillar=pillar)
    guests = Guests(
        directory,
        computes={pillar: compute},
        switch=SimulatedSwitch(SimulatedNetwork(), NODE, directory),
        storage=SimulatedStorage(directory, node=NODE),
        config_drives=None,
        metadata=None,
    )
    guests.driver = lambda server_id: compute  # type: ignore[method-assign]
    posts = Posts()
    agent = Agent(guests, node=NODE, cloud_id=CLOUD, report_seconds=0.05, posts=posts)
    path = directory / "agents.sock"
    await links.listen(path)
    running = asyncio.create_task(agent.run(path))
    made = Rig(links, agent, compute, path, running, left, reports, events, posts, posted)
    try:
        await links.wait_for(NODE, timeout=10)
        yield made
    finally:
        await made.stop()
        await links.close()
        await compute.close()


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr("trilith.agent.agent._RETRY", 0.02)
    with tempfile.TemporaryDirectory(prefix="lnk-") as directory:  # short: unix sockets
        before = set(os.listdir("/proc/self/fd"))
        async with rig(Path(directory)) as made:
            yield made
        # everything that the link opened is closed, whatever the test did
        async with asyncio.timeout(5):
            while len(set(os.listdir("/proc/self/fd"))) > len(before) + 1:  # closing takes loop turns
                await asyncio.sleep(0.01)
        names = [t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith(("agent-", "link-"))]
        assert not names


Handler = Callable[[Agent, Any, Callable[[int, str], None]], Any]


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> Callable[[Handler], None]:
    """Sets what `test.call` does on the node."""

    def put(fn: Handler) -> None:
        monkeypatch.setitem(calls.CALLS, "test.call", calls.Call(calls.ServerArgs, fn, "for tests"))

    return put


async def echo(agent: Agent, args: calls.ServerArgs, progress: Callable[[int, str], None]) -> calls.ServerArgs:
    progress(50, "half")
    return args


async def test_a_call_its_progress_and_a_thousand_at_once(bench: Rig, handler: Callable[[Handler], None]) -> None:
    handler(echo)
    seen: list[tuple[int, str]] = []
    answer = await bench.call(calls.ServerArgs("a"), progress=lambda percent, note: seen.append((percent, note)))
    assert (answer, seen) == (calls.ServerArgs("a"), [(50, "half")])
    began = time.perf_counter()
    many = await asyncio.gather(*(bench.call(calls.ServerArgs(str(n))) for n in range(1000)))
    print(f"1000 calls at once: {time.perf_counter() - began:.3f} s")
    assert [m.server_id for m in many] == [str(n) for n in range(1000)]


async def test_what_a_guest_posts_is_kept_or_answered_with_an_error(bench: Rig) -> None:
    async with asyncio.timeout(10):
        await asyncio.gather(*(bench.posts.password(str(n), b"secret") for n in range(20)))
        assert bench.posted == {str(n): b"secret" for n in range(20)}
        with pytest.raises(errors.Conflict, match=f"3 of {NODE} has one") as raised:
            await bench.posts.password("3", b"other")
        assert raised.value.hint == "Clear it."
        assert bench.posted["3"] == b"secret"


async def test_what_a_guest_posts_without_a_controller_fails_at_once(bench: Rig) -> None:
    await bench.stop()
    with pytest.raises(errors.Backend, match="No controller"):
        await bench.posts.password("a", b"secret")


@pytest.mark.parametrize("error", [
    errors.Conflict("no", hint="wait"), errors.Missing("no"), errors.Unsupported("no", capability="x"),
    errors.Deadline("no"), errors.NoValidHost("no", reasons={}),
])  # fmt: skip
async def test_a_failure_keeps_its_class(
    bench: Rig, handler: Callable[[Handler], None], error: errors.TrilithError
) -> None:
    async def fail(*_: Any) -> None:
        raise error

    handler(fail)
    with pytest.raises(type(error)) as raised:
        await bench.call(calls.ServerArgs("a"))
    assert (raised.value.code, raised.value.message, raised.value.hint) == (error.code, error.message, error.hint)


async def test_a_bug_and_what_the_node_does_not_know(bench: Rig, handler: Callable[[Handler], None]) -> None:
    async def bug(*_: Any) -> None:
        raise TimeoutError("inside")  # which is no deadline of ours

    handler(bug)
    with pytest.raises(errors.Bug, match="TimeoutError: inside"):
        await bench.call(calls.ServerArgs("a"))
    with pytest.raises(errors.Unsupported, match="does not know"):
        await bench.links.call(NODE, "of.tomorrow", calls.Nothing(), calls.Nothing, timeout=5)
    with pytest.raises(errors.Invalid):
        await bench.call(calls.Nothing())
    with pytest.raises(errors.Backend, match="not connected"):
        await bench.links.call("elsewhere", "test.call", calls.Nothing(), calls.Nothing, timeout=5)


async def test_an_answer_that_is_too_large_is_a_failure(
    bench: Rig, handler: Callable[[Handler], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def large(*_: Any) -> calls.ServerArgs:
        return calls.ServerArgs("x" * 5000)

    handler(large)
    monkeypatch.setattr(wire, "MAX_FRAME", 4096)
    with pytest.raises(errors.TooLarge):
        await bench.call(calls.ServerArgs("a"))
    with pytest.raises(errors.TooLarge):
        await bench.call(calls.ServerArgs("x" * 5000))
    handler(echo)
    assert await bench.call(calls.ServerArgs("a")) == calls.ServerArgs("a"), "the stream is whole"


async def test_cancel_and_deadline_reach_the_node(bench: Rig, handler: Callable[[Handler], None]) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def hang(*_: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    handler(hang)
    caller = asyncio.create_task(bench.call(calls.ServerArgs("a")))
    async with asyncio.timeout(5):
        await begun.wait()
        caller.cancel()
        await ended.wait()
    begun.clear()
    ended.clear()
    with pytest.raises(errors.Deadline):
        await bench.call(calls.ServerArgs("a"), timeout=0.2)
    async with asyncio.timeout(5):
        await ended.wait()


async def test_reports_come_while_a_call_runs(bench: Rig, handler: Callable[[Handler], None]) -> None:
    go = asyncio.Event()

    async def wait(*_: Any) -> calls.ServerArgs:
        await go.wait()
        return calls.ServerArgs("done")

    handler(wait)
    calling = asyncio.create_task(bench.call(calls.ServerArgs("a")))
    seen = len(bench.reports)
    async with asyncio.timeout(5):
        while len(bench.reports) < seen + 3:  # the reports are the clock here
            await asyncio.sleep(0.01)
    assert not calling.done()
    go.set()
    assert await calling == calls.ServerArgs("done")


async def test_a_node_that_goes_away_in_a_call(bench: Rig, handler: Callable[[Handler], None]) -> None:
    begun = asyncio.Event()

    async def hang(*_: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    handler(hang)
    calling = asyncio.create_task(bench.call(calls.ServerArgs("a")))
    channel = await bench.links.open(NODE, "guest.shell", calls.TerminalArgs(await bench.guest()))
    async with asyncio.timeout(5):
        await begun.wait()
        await bench.stop()
        with pytest.raises(errors.Backend, match="went away"):
            await calling
        assert await bench.left.get() == NODE
        await until(channel, b":~# ")
        with pytest.raises(errors.Backend, match="went away"):
            await channel.receive()
    assert bench.links.connected() == []
    assert not bench.compute._terminals[(await bench.guest())], "the shell ended with the session"


async def test_a_broken_stream_is_opened_again(bench: Rig, handler: Callable[[Handler], None]) -> None:
    handler(echo)
    bench.links._links[NODE].writer.transport.abort()
    async with asyncio.timeout(5):
        assert await bench.left.get() == NODE
    assert await bench.call(calls.ServerArgs("a"), wait=10) == calls.ServerArgs("a")
    assert not bench.running.done()


async def test_a_driver_whose_events_break_ends_the_session_not_the_agent(
    bench: Rig, handler: Callable[[Handler], None]
) -> None:
    handler(echo)
    events = bench.compute.events

    async def broken() -> AsyncIterator[GuestEvent]:
        bench.compute.events = events  # type: ignore[method-assign]
        raise errors.Backend("the hypervisor's events ended")
        yield

    bench.compute.events = broken  # type: ignore[method-assign]
    bench.links._links[NODE].writer.transport.abort()
    async with asyncio.timeout(10):
        assert await bench.left.get() == NODE
        assert await bench.left.get() == NODE
    assert await bench.call(calls.ServerArgs("a"), wait=10) == calls.ServerArgs("a")


async def test_claims_that_are_older_are_refused(bench: Rig, handler: Callable[[Handler], None]) -> None:
    handler(echo)
    await bench.call(calls.ServerArgs("a"), resource="server:1", epoch=2)
    with pytest.raises(errors.Conflict, match="older"):
        await bench.call(calls.ServerArgs("a"), resource="server:1", epoch=1)
    await bench.call(calls.ServerArgs("a"), resource="server:1", epoch=2)


async def refused(path: Path, first: bytes) -> bool:
    """Whether the controller closes on a peer that begins so."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(first)
    try:
        async with asyncio.timeout(5):
            return await reader.read() == b""
    finally:
        writer.close()


async def test_who_is_refused(bench: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = HostFacts(
        hostname="x", pillars=(), inventories={}, traits=(), hypervisor_type="x", hypervisor_version=1
    )  # fmt: skip
    hello = wire.Hello("node-2", CLOUD, facts)
    for bad in (
        wire.encode(wire.Hello(NODE, CLOUD, facts)),
        wire.encode(wire.Hello("node-2", "another cloud", facts)),
        wire.encode(wire.Cancel(1)),
        struct.pack(">I", wire.MAX_FRAME + 1),
        wire.encode(hello) + struct.pack(">I", wire.MAX_FRAME + 1),
        wire.encode(hello) + wire.encode(wire.Cancel(1)),
    ):
        assert await refused(bench.path, bad)
    monkeypatch.setattr(links_module, "_HELLO_SECONDS", 0.1)
    assert await refused(bench.path, b""), "one that says nothing"
    assert bench.links.connected() == [NODE]


async def test_two_agents_of_one_node_at_the_same_moment(bench: Rig) -> None:
    facts = HostFacts(hostname="x", pillars=(), inventories={}, traits=(), hypervisor_type="x", hypervisor_version=1)
    entered, go = asyncio.Event(), asyncio.Event()

    async def slow(hello: wire.Hello) -> None:
        entered.set()
        await go.wait()

    bench.links._joined = slow
    _, writer = await asyncio.open_unix_connection(bench.path)
    writer.write(wire.encode(wire.Hello("node-2", CLOUD, facts)))
    await entered.wait()
    assert await refused(bench.path, wire.encode(wire.Hello("node-2", CLOUD, facts)))
    go.set()
    await bench.links.wait_for("node-2", timeout=5)
    writer.close()
    async with asyncio.timeout(5):
        assert await bench.left.get() == "node-2"


async def test_a_node_that_comes_back_at_once_is_written_after_it_left(bench: Rig) -> None:
    """Regression: on a database with several writers the two could meet, and the node counted as away for ever."""
    facts = HostFacts(hostname="x", pillars=(), inventories={}, traits=(), hypervisor_type="x", hypervisor_version=1)
    said: list[str] = []
    leaving, go = asyncio.Event(), asyncio.Event()

    async def joined(_hello: wire.Hello) -> None:
        said.append("joined")

    async def left(_node: str) -> None:
        leaving.set()
        await go.wait()
        said.append("left")

    bench.links._joined, bench.links._left = joined, left
    hello = wire.encode(wire.Hello("node-2", CLOUD, facts))
    _, first = await asyncio.open_unix_connection(bench.path)
    first.write(hello)
    await bench.links.wait_for("node-2", timeout=5)
    first.close()
    async with asyncio.timeout(5):
        await leaving.wait()
    _, second = await asyncio.open_unix_connection(bench.path)
    second.write(hello)
    await asyncio.sleep(0.1)
    assert said == ["joined"]
    go.set()
    await bench.links.wait_for("node-2", timeout=5)
    assert said == ["joined", "left", "joined"]
    second.close()


async def test_a_node_that_does_not_read_is_let_go(bench: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire.Outbox.__init__, "__kwdefaults__", {"stall": 0.2, "backlog": wire.MAX_BACKLOG})
    facts = HostFacts(hostname="x", pillars=(), inventories={}, traits=(), hypervisor_type="x", hypervisor_version=1)
    _, writer = await asyncio.open_unix_connection(bench.path)
    writer.write(wire.encode(wire.Hello("node-2", CLOUD, facts)))
    await bench.links.wait_for("node-2", timeout=5)
    with pytest.raises(errors.Backend, match="went away"):
        await bench.links.call("node-2", "x", calls.ServerArgs("x" * (8 << 20)), calls.Nothing, timeout=10)
    writer.close()


# ---- channels


async def until(channel: wire.Channel, words: bytes) -> bytes:
    seen = b""
    async with asyncio.timeout(10):
        while words not in seen:
            data = await channel.receive()
            assert data, seen
            seen += data
    return seen


async def test_a_shell_its_size_and_its_end(bench: Rig) -> None:
    server = await bench.guest()
    channel = await bench.links.open(NODE, "guest.shell", calls.TerminalArgs(server, rows=33, cols=101))
    await until(channel, b":~# ")
    await channel.send(b"size\n")
    await until(channel, b"33 101")
    channel.resize(50, 120)
    await channel.send(b"size\n")
    await until(channel, b"50 120")
    await channel.send(b"exit\n")
    async with asyncio.timeout(5):
        while await channel.receive():
            pass
    assert channel.closed
    assert not bench.compute._terminals[server]


async def test_a_shell_ends_with_its_guest_and_with_its_reader(bench: Rig) -> None:
    server = await bench.guest()
    channel = await bench.links.open(NODE, "guest.shell", calls.TerminalArgs(server))
    await bench.compute.power_off(server)
    async with asyncio.timeout(5):
        while await channel.receive():
            pass
    with pytest.raises(errors.Conflict, match="not running"):
        await bench.links.open(NODE, "guest.shell", calls.TerminalArgs(server))
    await bench.guest()
    channel = await bench.links.open(NODE, "guest.shell", calls.TerminalArgs(server))
    assert bench.compute._terminals[server]
    channel.close()
    async with asyncio.timeout(5):
        while bench.compute._terminals[server]:  # the simulated driver has no event for it
            await asyncio.sleep(0.01)
    assert bench.links._links[NODE].channels == {}


async def test_one_console_at_a_time(bench: Rig) -> None:
    server = await bench.guest()
    channel = await bench.links.open(NODE, "guest.console", calls.TerminalArgs(server))
    await channel.send(b"root\r")
    assert b"root\r\n" in await until(channel, b"login: ")
    with pytest.raises(errors.Conflict, match="in use"):
        await bench.links.open(NODE, "guest.console", calls.TerminalArgs(server))
    channel.close()
    again = await bench.links.open(NODE, "guest.console", calls.TerminalArgs(server))
    await bench.compute.power_off(server)
    async with asyncio.timeout(5):
        while await again.receive():
            pass


async def test_channels_that_cannot_be(bench: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await bench.guest()
    with pytest.raises(errors.Unsupported, match="does not know"):
        await bench.links.open(NODE, "guest.tomorrow", calls.TerminalArgs(server))
    with pytest.raises(errors.Invalid):
        await bench.links.open(NODE, "guest.shell", calls.TerminalArgs(server, rows=0))
    with pytest.raises(errors.Backend, match="not connected"):
        await bench.links.open("elsewhere", "guest.shell", calls.TerminalArgs(server))
    held = [await bench.links.open(NODE, "guest.shell", calls.TerminalArgs(server)) for _ in range(16)]
    with pytest.raises(errors.TooMany):
        await bench.links.open(NODE, "guest.shell", calls.TerminalArgs(server))
    for channel in held:
        channel.close()
    (await bench.links.open(NODE, "guest.shell", calls.TerminalArgs(server))).close()
    capable = replace(bench.compute.capabilities, shell=False)
    monkeypatch.setattr(SimulatedCompute, "capabilities", capable)
    with pytest.raises(errors.Unsupported, match="no shell") as no:
        await bench.links.open(NODE, "guest.shell", calls.TerminalArgs(server))
    assert "ssh" in no.value.hint


async def test_an_opening_that_is_given_up_leaves_nothing(bench: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await bench.guest()
    begun, ended = asyncio.Event(), asyncio.Event()

    async def hang(self: object, server_id: str, *, rows: int, cols: int) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(SimulatedCompute, "shell", hang)
    with pytest.raises(errors.Deadline):
        await bench.links.open(NODE, "guest.shell", calls.TerminalArgs(server), timeout=0.2)
    async with asyncio.timeout(5):
        await ended.wait()
        begun.clear()
        ended.clear()
        opening = asyncio.create_task(bench.links.open(NODE, "guest.shell", calls.TerminalArgs(server)))
        await begun.wait()
        opening.cancel()
        await ended.wait()


async def test_a_flood_that_nobody_reads_holds_up_no_call(bench: Rig, handler: Callable[[Handler], None]) -> None:
    handler(echo)
    server = await bench.guest()
    channel = await bench.links.open(NODE, "guest.shell", calls.TerminalArgs(server))
    await until(channel, b":~# ")
    await channel.send(b"flood\n")
    async with asyncio.timeout(10):
        while len(channel._buffer) + channel._read < wire.WINDOW:  # nobody reads: only the window tells
            await asyncio.sleep(0.01)
        began = time.perf_counter()
        for n in range(100):
            await bench.call(calls.ServerArgs(str(n)))
        print(f"100 calls beside a flood: {time.perf_counter() - began:.3f} s")
        assert len(channel._buffer) + channel._read == wire.WINDOW
        # and once it is read, it flows
        read = 0
        began = time.perf_counter()
        while read < 4 << 20:
            read += len(await channel.receive())
        print(f"flood: {read / (1 << 20) / (time.perf_counter() - began):.0f} MiB/s")
    channel.close()
