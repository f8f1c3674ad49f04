"""/trilith/v1/servers: lists, exec, tickets, and the websockets of console and shell."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.api.compute_calls import Caller, member
from tests.api.conftest import ApiCloud
from tests.contracts.lxc_bench import busybox_root, lxc_bench
from trilith import errors
from trilith.api.native import servers as native
from trilith.drivers.lxc.driver import LxcDriver
from trilith.drivers.simulated.compute import SimulatedCompute
from trilith.model.guest import ExecResult, Pillar, PowerState
from trilith.model.node import Node
from trilith.model.server import Fault, Server, ServerState
from trilith.serve import listening

V1 = "/trilith/v1"


@dataclass
class Live:
    """A cloud that listens, and a caller with a running server of the project alpha."""

    cloud: ApiCloud
    alice: Caller
    server: str
    ws: str

    def connect(self, path: str, headers: dict[str, str] | None = None, **more: Any) -> connect:
        return connect(f"{self.ws}{path}", additional_headers=headers or {}, proxy=None, **more)

    def shell(self, query: str = "") -> connect:
        return self.connect(f"/servers/{self.server}/shell{query}", self.alice.headers)

    def driver(self) -> SimulatedCompute:
        """Where the server is."""
        for agent in self.cloud.cloud.agents:
            if self.server in agent.guests.plans():
                found = agent.guests.driver(self.server)
                assert isinstance(found, SimulatedCompute)
                return found
        raise AssertionError("no node has it")

    async def channels_closed(self) -> None:
        """Woken by nothing: a channel's end is seen only in the tables of both sides."""
        links = self.cloud.cloud.services.links
        async with asyncio.timeout(5):
            while any(link.channels for link in links._links.values()) or self.driver()._terminals[self.server]:
                await asyncio.sleep(0.01)


@pytest.fixture
async def live(cloud: ApiCloud, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Live]:
    alice = await member(cloud)
    server = (await alice.boot())["id"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = replace(cloud.cloud.settings, listen=f"127.0.0.1:{port}")
    found = await cloud.store.read(lambda r: r.get(Server, server))
    made = Live(cloud, alice, server, f"ws://127.0.0.1:{port}{V1}")
    if found.pillar is not Pillar.LXC:
        capable = replace(made.driver().capabilities, shell=True)  # noqa: S604  not subprocess's
        monkeypatch.setattr(SimulatedCompute, "capabilities", capable)
    async with listening(cloud.cloud.api, settings):
        yield made


async def until(ws: ClientConnection, words: bytes) -> bytes:
    seen = b""
    async with asyncio.timeout(10):
        while words not in seen:
            frame = await ws.recv()
            assert isinstance(frame, bytes), frame
            seen += frame
    return seen


async def end(ws: ClientConnection) -> ConnectionClosed:
    async with asyncio.timeout(10):
        await ws.wait_closed()
    with pytest.raises(ConnectionClosed) as closed:
        await read_all(ws)
    return closed.value


async def read_all(ws: ClientConnection) -> None:
    while True:
        await ws.recv()


async def refused(connecting: connect) -> tuple[int, str, dict[str, Any]]:
    """Status, x-trilith-error and body of a refusal."""
    with pytest.raises(InvalidStatus) as no:
        async with connecting:
            pass
    response = no.value.response
    return response.status_code, response.headers["x-trilith-error"], json.loads(response.body or b"{}")


# ---- servers


async def test_servers_are_shown_as_their_nodes_have_them(cloud: ApiCloud) -> None:
    alice, bob, admin = await member(cloud), await cloud.member("bob", "beta"), await cloud.token()
    ids = [(await alice.boot(f"s{n}"))["id"] for n in range(3)]
    page = (await cloud.call("GET", f"{V1}/servers?limit=2", alice.headers)).json()
    assert [s["id"] for s in page["servers"]] == [ids[2], ids[1]]
    rest = (await cloud.call("GET", f"{V1}/servers?limit=2&marker={page['next']}", alice.headers)).json()
    assert [s["id"] for s in rest["servers"]] == [ids[0]]
    assert "next" not in rest
    one = (await cloud.call("GET", f"{V1}/servers/{ids[0]}", alice.headers)).json()
    assert one == rest["servers"][0]
    assert set(one) >= {"id", "name", "pillar", "node", "reason", "state", "task", "power", "job_id", "emulated"}
    assert (one["name"], one["state"], one["power"], one["task"]) == ("s0", "active", "running", None)
    assert one["node"] in ("sim-1", "sim-2")
    assert one["reason"]
    assert (one["emulated"], one["fault"], one["job_id"]) == (False, None, None)
    assert (await cloud.call("GET", f"{V1}/servers", bob)).json() == {"servers": []}
    assert (await cloud.call("GET", f"{V1}/servers/{ids[0]}", bob)).status_code == 404
    assert (await cloud.call("GET", f"{V1}/servers?all_projects=1", bob)).status_code == 403
    assert (await cloud.call("GET", f"{V1}/servers?marker=odd", bob)).status_code == 400
    assert (await cloud.call("GET", f"{V1}/servers", admin)).json() == {"servers": []}
    assert len((await cloud.call("GET", f"{V1}/servers?all_projects=1", admin)).json()["servers"]) == 3
    assert (await cloud.call("GET", f"{V1}/servers/{ids[0]}", admin)).status_code == 200
    assert (await cloud.client.get(f"{V1}/servers")).status_code == 401


async def test_a_fault_and_emulation_are_shown(cloud: ApiCloud) -> None:
    server = Server(
        id="x", name="x", project_id="p", user_id="u", hostname="x", flavor=None, state=ServerState.ERROR,  # type: ignore[arg-type]
        pillar=Pillar.KVM, node="n", fault=Fault(code=500, message="It broke.", created=0.0),
    )  # fmt: skip
    node = (await cloud.store.read(lambda r: r.select(Node)))[0]
    assert not native._view(server, node).emulated
    slow = replace(node, facts=replace(node.facts, capabilities={"kvm": ("emulated",)}))
    shown = native._view(server, slow)
    assert (shown.emulated, shown.fault) == (True, native.FaultView(500, "It broke.", "1970-01-01T00:00:00Z"))
    assert not native._view(replace(server, pillar=Pillar.LXC), slow).emulated
    bare = replace(server, image_properties={"trilith_boot": "bare"})
    assert native._view(bare, slow).emulated
    assert not native._view(bare, replace(slow, facts=replace(slow.facts, traits=("CUSTOM_KVM_BARE",)))).emulated


# ---- exec


async def test_exec_and_who_may(cloud: ApiCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = await member(cloud)
    server = (await alice.boot())["id"]
    path = f"{V1}/servers/{server}/exec"
    done = await cloud.call("POST", path, alice.headers, json={"argv": ["true"]})
    assert done.status_code == 200, done.text
    assert done.json() == {
        "exit_code": 0, "stdout": "", "stderr": base64.b64encode(b"[simulated]\n").decode(), "cut": [],
    }  # fmt: skip
    reader, bob = await cloud.member("rita", "alpha", "reader"), await cloud.member("bob", "beta")
    admin = await cloud.token()
    for headers, status in ((reader, 403), (bob, 404), (admin, 403)):
        assert (await cloud.call("POST", path, headers, json={"argv": ["true"]})).status_code == status
    for body in (
        {"argv": []}, {"argv": ["x"] * 65}, {"argv": ["x" * 32769]}, {"argv": [""]}, {"argv": ["a\x00b"]},
        {"argv": "x"}, {"argv": ["x"], "timeout": 0}, {"argv": ["x"], "timeout": 601}, {"argv": ["x"], "tty": True},
        {"argv": ["\ud800"]},
    ):  # fmt: skip
        answer = await cloud.client.post(path, headers=alice.headers, content=json.dumps(body))
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid"), body

    async def much(*_: Any, **__: Any) -> ExecResult:
        return ExecResult(exit_code=3, stdout=b"x" * (native.MAX_OUTPUT + 1), stderr=b"y" * native.MAX_OUTPUT)

    monkeypatch.setattr(SimulatedCompute, "execute", much)
    cut = (await cloud.call("POST", path, alice.headers, json={"argv": ["x"]})).json()
    assert (cut["exit_code"], cut["cut"]) == (3, ["stdout"])
    assert len(base64.b64decode(cut["stdout"])) == len(base64.b64decode(cut["stderr"])) == native.MAX_OUTPUT


async def test_exec_where_there_is_none(cloud: ApiCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = await member(cloud)
    server = (await alice.boot())["id"]
    path = f"{V1}/servers/{server}/exec"
    agent = cloud.cloud.agents[0]
    capable = replace(next(iter(agent.guests.computes.values())).capabilities, execute=False)
    monkeypatch.setattr(SimulatedCompute, "capabilities", capable)
    no = await cloud.call("POST", path, alice.headers, json={"argv": ["true"]})
    assert (no.status_code, no.headers["x-trilith-error"]) == (400, "unsupported")
    assert "ssh" in no.json()["hint"]
    monkeypatch.undo()

    async def late(*_: Any, **__: Any) -> ExecResult:
        raise errors.Deadline("sleep did not end within 1 s.")

    monkeypatch.setattr(SimulatedCompute, "execute", late)
    answer = await cloud.call("POST", path, alice.headers, json={"argv": ["sleep", "9"], "timeout": 1})
    assert (answer.status_code, answer.json()["error"]) == (504, "deadline")


# ---- websockets


async def test_a_shell_over_a_websocket(live: Live) -> None:
    async with live.shell("?rows=33&columns=101") as ws:
        assert ws.response is not None
        assert ws.response.headers["x-openstack-request-id"].startswith("req-")
        assert b"simulated" in await until(ws, b":~# ")
        await ws.send(b"size\n")
        await until(ws, b"33 101")
        for control, size in (({"rows": 50, "cols": 120}, b"50 120"), ({"rows": 51, "columns": 121}, b"51 121")):
            await ws.send(json.dumps(control))
            await ws.send(b"size\n")
            await until(ws, size)
        await ws.send(b"exit\n")
        closed = await end(ws)
        assert closed.rcvd is not None
        assert closed.rcvd.code == 1000
    await live.channels_closed()


async def test_a_stream_ends_with_each_of_its_ends(live: Live) -> None:
    async with live.shell() as ws:
        await until(ws, b":~# ")
    await live.channels_closed()
    ws = await live.shell()
    await until(ws, b":~# ")
    ws.transport.abort()  # as a client whose machine died
    await live.channels_closed()
    ws = await live.shell()
    stopped = await live.alice.act(live.server, "os-stop")
    assert stopped.status_code == 202
    closed = await end(ws)
    assert closed.rcvd is not None
    assert closed.rcvd.code == 1000
    await live.alice.settle(live.server)
    status, code, body = await refused(live.shell())
    assert (status, code) == (409, "conflict")
    assert "not running" in body["message"]


async def test_a_stream_says_when_its_node_goes_and_when_the_cloud_stops(live: Live) -> None:
    async with live.shell() as ws, live.shell() as other:
        await until(ws, b":~# ")
        live.cloud.cloud.host.stopping.set()
        for each in (ws, other):
            closed = await end(each)
            assert closed.rcvd is not None
            assert closed.rcvd.code == 1001
    live.cloud.cloud.host.stopping.clear()
    async with live.shell() as ws:
        await until(ws, b":~# ")
        for link in live.cloud.cloud.services.links._links.values():
            link.writer.transport.abort()
        closed = await end(ws)
        assert closed.rcvd is not None
        assert closed.rcvd.code == 1011
        assert "went away" in closed.rcvd.reason


async def test_who_may_not_connect(live: Live) -> None:
    cloud = live.cloud
    reader, bob = await cloud.member("rita", "alpha", "reader"), await cloud.member("bob", "beta")
    for headers, status, code in (
        ({}, 401, "unauthenticated"), ({"X-Auth-Token": "odd"}, 401, "unauthenticated"), (reader, 403, "forbidden"),
        (bob, 404, "missing"), (await cloud.token(), 403, "forbidden"),
    ):  # fmt: skip
        for kind in ("shell", "console"):
            found = await refused(live.connect(f"/servers/{live.server}/{kind}", headers))
            assert found[:2] == (status, code)
            assert found[2]["error"] == code
    token = live.alice.headers["X-Auth-Token"]
    assert (await refused(live.connect(f"/servers/{live.server}/shell?token={token}")))[0] == 401, "no token in a URL"
    assert (await refused(live.shell("?rows=0")))[:2] == (400, "invalid")
    assert (await refused(live.shell("?rows=%00")))[:2] == (400, "invalid")
    # a path that is none, and a plain request where a websocket is
    with pytest.raises(InvalidStatus):
        await live.connect(f"/servers/{live.server}/odd", live.alice.headers)
    plain = await cloud.call("GET", f"{V1}/servers/{live.server}/shell", live.alice.headers)
    assert plain.status_code in (404, 405)


async def test_where_there_is_no_shell(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    capable = replace(live.driver().capabilities, shell=False)
    monkeypatch.setattr(SimulatedCompute, "capabilities", capable)
    status, code, body = await refused(live.shell())
    assert (status, code) == (400, "unsupported")
    assert "ssh" in body["hint"]


async def test_a_text_frame_that_is_no_size(live: Live) -> None:
    async with live.shell() as ws:
        await ws.send("rows, please")
        closed = await end(ws)
        assert closed.rcvd is not None
        assert closed.rcvd.code == 1003
    await live.channels_closed()


async def test_a_ticket_opens_once(live: Live) -> None:
    cloud, path = live.cloud, f"{V1}/servers/{live.server}/tickets"
    made = await cloud.call("POST", path, live.alice.headers, json={"kind": "console"})
    assert made.status_code == 201, made.text
    assert made.json()["expires_in"] == 60
    assert made.json()["url"] == f"ws://testserver{V1}/servers/{live.server}/console?token={made.json()['ticket']}"
    console = f"/servers/{live.server}/console?token={made.json()['ticket']}"
    async with live.connect(console) as ws:
        await ws.send(b"root\r")
        await until(ws, b"login: ")
        assert (await refused(live.connect(console)))[:2] == (401, "unauthenticated")
        again = await refused(live.connect(f"/servers/{live.server}/console", live.alice.headers))
        assert again[:2] == (409, "conflict")
        assert "in use" in again[2]["message"]
    bob = await cloud.member("bob", "beta")
    for headers, body, status in (
        (bob, {"kind": "shell"}, 404), (live.alice.headers, {"kind": "vnc"}, 400), (live.alice.headers, {}, 400),
    ):  # fmt: skip
        assert (await cloud.call("POST", path, headers, json=body)).status_code == status
    # for another door, or too late
    other = (await cloud.call("POST", path, live.alice.headers, json={"kind": "shell"})).json()["ticket"]
    assert (await refused(live.connect(f"/servers/{live.server}/console?token={other}")))[0] == 401
    assert (await refused(live.connect(f"/servers/{live.server}/shell?token={other}")))[0] == 401, "it is used up"
    cloud.cloud.host.tickets.seconds = -1
    late = (await cloud.call("POST", path, live.alice.headers, json={"kind": "shell"})).json()["ticket"]
    assert (await refused(live.connect(f"/servers/{live.server}/shell?token={late}")))[0] == 401


async def test_a_client_that_does_not_read_costs_a_window(live: Live) -> None:
    async with live.connect(f"/servers/{live.server}/shell", live.alice.headers, max_queue=1) as ws:
        await until(ws, b":~# ")
        await ws.send(b"flood\n")
        ws.transport.pause_reading()
        # its socket, uvicorn's buffer and the window fill; the API answers all the while
        for _ in range(50):
            assert (await live.cloud.call("GET", f"{V1}/servers/{live.server}", live.alice.headers)).status_code == 200
        done = await live.cloud.call(
            "POST", f"{V1}/servers/{live.server}/exec", live.alice.headers, json={"argv": ["true"]}
        )
        assert done.status_code == 200
        ws.transport.abort()
    await live.channels_closed()


# ---- for real


@pytest.mark.root
@pytest.mark.lxc
async def test_a_real_container(live: Live, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same websockets over a node whose driver is the real one."""
    image = busybox_root(tmp_path_factory.mktemp("image") / "root")
    agent = next(a for a in live.cloud.cloud.agents if live.server in a.guests.plans())
    plan = agent.guests.plan(live.server)
    before = await asyncio.to_thread(os.listdir, "/proc/self/fd")
    async with lxc_bench(image) as bench:
        spec = bench.spec(server_id=live.server, properties={"trilith_init": "/bin/sh"})
        await bench.driver.start(spec)
        agent.guests.computes[plan.pillar] = bench.driver
        async with live.shell("?rows=33&cols=101") as ws:
            await ws.send(b"stty size; echo user=$(id -u) home=$HOME term=$TERM in=$(hostname)\r")
            seen = await until(ws, b"in=test")
            assert b"user=0 home=/root term=xterm-256color" in seen
            assert b"33 101" in seen
            await ws.send(json.dumps({"rows": 50, "cols": 120}))
            await ws.send(b"stty size\r")
            await until(ws, b"50 120")
            # a program in the foreground says it itself: ^C ends it at any moment from then on. Said by the shell, ^C
            # may meet its fork, in which busybox's shell loses it
            await ws.send(b"sh -c 'echo be\"\"gun; exec sleep 1000'\r")
            await until(ws, b"begun")
            await ws.send(b"\x03")  # reaches what runs in the foreground
            await ws.send(b"echo af''ter\r")
            await until(ws, b"after")
        await gone(bench.driver, live.server, b"lxc-attach")
        ran = await bench.driver.execute(live.server, ["sh", "-c", "ps | grep -c '[s]h -l\\|-sh$'"], timeout=10)
        assert ran.stdout.strip() == b"0", "the shell is gone from the container"

        async with live.connect(f"/servers/{live.server}/console", live.alice.headers) as console:
            await console.send(b"echo con''sole\r")
            await until(console, b"console")
        await gone(bench.driver, live.server, b"lxc-console")

        async with (
            live.shell() as ws,
            live.connect(f"/servers/{live.server}/console", live.alice.headers) as console,
        ):
            await until(ws, b"# ")
            await bench.driver.stop(live.server, timeout=0)
            for each in (ws, console):
                closed = await end(each)
                assert closed.rcvd is not None
                assert closed.rcvd.code == 1000
        assert (await refused(live.shell()))[:2] == (409, "conflict")
    async with asyncio.timeout(5):
        while len(await asyncio.to_thread(os.listdir, "/proc/self/fd")) > len(before):
            await asyncio.sleep(0.02)


async def gone(driver: LxcDriver, server_id: str, tool: bytes) -> None:
    """No process of the tool for this server is left."""

    def left() -> bool:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if tool in command and server_id.encode() in command:
                    return True
        return False

    async with asyncio.timeout(10):
        while await asyncio.to_thread(left):
            await asyncio.sleep(0.02)
    assert (await driver.facts())[0].power is PowerState.RUNNING
