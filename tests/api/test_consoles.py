"""Remote consoles: the compute API's URLs, noVNC's pages, and the websockets that the one-time tokens open."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.api.compute_calls import Caller, admin, member
from tests.api.conftest import ApiCloud
from trilith import errors
from trilith.api.console.addresses import url_of
from trilith.api.console.sockets import check_origin
from trilith.commands import consoles
from trilith.config import Settings
from trilith.drivers.simulated.compute import SimulatedCompute
from trilith.model.console import ConsoleKind, ConsoleToken
from trilith.model.guest import Pillar
from trilith.model.server import Flavor, Server
from trilith.serve import listening

PAGE = b"<!DOCTYPE html><html><head><title>noVNC</title><script src='app/ui.js'></script></head></html>"


@dataclass
class Live:
    """A cloud that listens, and a caller with a running machine of the project alpha."""

    cloud: ApiCloud
    alice: Caller
    server: str
    http: str

    async def url(self, kind: str = "novnc", server: str = "") -> str:
        protocol = {"novnc": "vnc", "serial": "serial"}[kind]
        answer = await self.remote(kind, protocol, server=server)
        assert answer.status_code == 200, answer.text
        made: str = answer.json()["remote_console"]["url"]
        return made

    async def remote(self, kind: str, protocol: str, version: str = "2.6", server: str = "") -> httpx.Response:
        body = {"remote_console": {"type": kind, "protocol": protocol}}
        return await self.alice.ask("POST", f"/servers/{server or self.server}/remote-consoles", version, json=body)

    def connect(self, url: str, **more: Any) -> connect:
        return connect(socket_of(url), proxy=None, **{"subprotocols": ["binary"], **more})

    def set(self, **changes: Any) -> None:
        """Other settings from now on."""
        host = self.cloud.cloud.host
        host.settings = replace(host.settings, **changes)

    def driver(self, server: str = "") -> SimulatedCompute:
        for agent in self.cloud.cloud.agents:
            if (server or self.server) in agent.guests.plans():
                found = agent.guests.driver(server or self.server)
                assert isinstance(found, SimulatedCompute)
                return found
        raise AssertionError("no node has it")


def socket_of(url: str) -> str:
    """Where noVNC connects to: by `path`, `host` and `port` of its page's query; a serial URL is one itself."""
    parts = urlsplit(url)
    if parts.scheme in ("ws", "wss"):
        return url
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return f"{'wss' if query['encrypt'] == '1' else 'ws'}://{query['host']}:{query['port']}/{query['path']}"


@pytest.fixture
async def live(cloud: ApiCloud, tmp_path: Path) -> AsyncIterator[Live]:
    pages = tmp_path / "novnc"
    (pages / "app").mkdir(parents=True)
    (pages / "vnc.html").write_bytes(PAGE)
    (pages / "app" / "ui.js").write_text("export default 1;")
    (tmp_path / "secret.html").write_text("not yours")
    alice = await member(cloud)
    await of_pillar(cloud, "kvm")
    server = (await alice.boot())["id"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    made = Live(cloud, alice, server, f"http://{listen}")
    made.set(listen=listen, public_url="", novnc=str(pages))
    async with listening(cloud.cloud.api, cloud.cloud.host.settings):
        yield made


async def of_pillar(cloud: ApiCloud, pillar: str) -> None:
    """Servers from now on."""

    def body(tx: Any) -> None:
        for flavor in tx.select(Flavor):
            tx.change(flavor, extra_specs={"trilith:pillar": pillar})

    await cloud.store.write(body)


async def handshake(ws: ClientConnection) -> bytes:
    """RFB 3.8 up to ServerInit (RFC 6143, 7.1 to 7.3); the desktop's name."""
    async with asyncio.timeout(10):
        assert await ws.recv() == b"RFB 003.008\n"
        await ws.send(b"RFB 003.008\n")
        assert await ws.recv() == b"\x01\x01"  # one security type: none
        await ws.send(b"\x01")
        assert await ws.recv() == bytes(4)
        await ws.send(b"\x01")
        init = await ws.recv()
    assert isinstance(init, bytes)
    (length,) = struct.unpack(">I", init[20:24])
    assert len(init) == 24 + length
    return init[24:]


async def refused(connecting: connect) -> tuple[int, bytes]:
    with pytest.raises(InvalidStatus) as no:
        async with connecting:
            pass
    return no.value.response.status_code, bytes(no.value.response.body or b"")


async def closing(ws: ClientConnection) -> ConnectionClosed:
    with pytest.raises(ConnectionClosed) as closed:
        await read_all(ws)
    return closed.value


async def read_all(ws: ClientConnection) -> None:
    async with asyncio.timeout(10):
        while True:
            await ws.recv()


async def until(ws: ClientConnection, words: bytes) -> None:
    seen = b""
    async with asyncio.timeout(10):
        while words not in seen:
            frame = await ws.recv()
            assert isinstance(frame, bytes)
            seen += frame


# ---- the screen


async def test_a_page_leads_to_the_screen_once(live: Live) -> None:
    url = await live.url()
    assert url.startswith(f"{live.http}/console/vnc.html?")
    async with httpx.AsyncClient() as browser:
        page = await browser.get(url)
        assert (page.status_code, page.content) == (200, PAGE)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["referrer-policy"] == "no-referrer"
        script = await browser.get(f"{live.http}/console/app/ui.js")
        assert (script.status_code, script.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
        assert (await browser.get(url)).status_code == 200, "loading the page uses nothing up"
    async with live.connect(url) as ws:
        assert ws.subprotocol == "binary"
        assert await handshake(ws) == b"[simulated] one"
        # a whole screen in 32 bits: header, one raw rectangle, its pixels
        await ws.send(struct.pack(">BBHHHH", 3, 0, 0, 0, 160, 100))
        seen = b""
        async with asyncio.timeout(10):
            while len(seen) < 16 + 160 * 100 * 4:
                frame = await ws.recv()
                assert isinstance(frame, bytes)
                seen += frame
        assert seen[:4] == struct.pack(">BxH", 0, 1)
    status, body = await refused(live.connect(url))
    assert (status, body) == (403, b"")


async def test_a_client_without_subprotocol_is_served_and_one_with_another_is_not(live: Live) -> None:
    async with live.connect(await live.url(), subprotocols=None) as ws:
        assert ws.subprotocol is None
        await handshake(ws)
    url = await live.url()
    assert (await refused(live.connect(url, subprotocols=["base64"])))[0] == 400
    async with live.connect(url, subprotocols=["base64", "binary"]) as ws:
        assert ws.subprotocol == "binary"


async def test_two_look_at_one_screen_and_the_guest_stopping_ends_both(live: Live) -> None:
    async with live.connect(await live.url()) as one, live.connect(await live.url()) as other:
        await handshake(one)
        await handshake(other)
        await live.driver().power_off(live.server)
        for ws in (one, other):
            closed = await closing(ws)
            assert closed.rcvd is not None
            assert closed.rcvd.code == 1000


async def test_a_client_that_leaves_leaves_nothing_behind(live: Live) -> None:
    async with live.connect(await live.url()) as ws:
        await handshake(ws)
        screen = live.driver()._screens[live.server]
        assert len(screen._viewers) == 1
    links = live.cloud.cloud.services.links
    async with asyncio.timeout(5):
        while screen._viewers or any(link.channels for link in links._links.values()):  # no event says so
            await asyncio.sleep(0.01)


async def test_a_server_has_so_many_streams(live: Live) -> None:
    urls = [await live.url() for _ in range(17)]
    held = [await live.connect(url) for url in urls[:16]]
    try:
        assert (await refused(live.connect(urls[16])))[0] == 429
    finally:
        await asyncio.gather(*(ws.close() for ws in held))


async def test_an_idle_console_is_closed(live: Live) -> None:
    live.set(console_idle_seconds=0.3)
    async with live.connect(await live.url()) as ws:
        await handshake(ws)
        closed = await closing(ws)
    assert closed.rcvd is not None
    assert "Nothing passed for 0.3 s" in closed.rcvd.reason


# ---- the serial line


async def test_the_serial_line(live: Live) -> None:
    url = await live.url("serial")
    assert url.startswith(f"ws://{live.http.removeprefix('http://')}/console/serial?token=")
    async with live.connect(url) as ws:
        assert ws.subprotocol == "binary"
        await ws.send(b"root\r")
        await until(ws, b"login: ")
        await ws.send("text is data, too\r")
        await until(ws, b"text is data, too")
        second = await live.url("serial")
        assert (await refused(live.connect(second)))[0] == 409, "one at a time"
    async with live.connect(second) as ws:  # what was refused for another reason has used nothing up
        await ws.send(b"\r")
        await until(ws, b"login: ")


async def test_a_container_has_a_serial_line_and_no_screen(live: Live) -> None:
    await of_pillar(live.cloud, "lxc")
    server = (await live.alice.boot("two"))["id"]
    assert (await live.cloud.store.read(lambda r: r.get(Server, server))).pillar is Pillar.LXC
    answer = await live.remote("novnc", "vnc", server=server)
    assert answer.status_code == 400
    assert "Unavailable console type novnc" in answer.text
    async with live.connect(await live.url("serial", server)) as ws:
        await ws.send(b"\r")
        await until(ws, b"two login: ")


# ---- what the API answers


async def test_the_actions_of_old_versions(live: Live) -> None:
    for action, kind in (("os-getVNCConsole", "novnc"), ("os-getSerialConsole", "serial")):
        answer = await live.alice.act(live.server, action, {"type": kind})
        assert answer.status_code == 200
        assert set(answer.json()["console"]) == {"type", "url"}
        assert answer.json()["console"]["type"] == kind
        assert (await live.alice.act(live.server, action, {"type": kind}, "2.6")).status_code == 404
        assert (await live.alice.act(live.server, action, {"type": "else"})).status_code == 400
        assert (await live.alice.act(live.server, action, {"type": kind, "more": 1})).status_code == 400
        assert (await live.alice.act(live.server, action)).status_code == 400
    for action, kind in (
        ("os-getVNCConsole", "xvpvnc"),
        ("os-getSPICEConsole", "spice-html5"),
        ("os-getRDPConsole", "rdp-html5"),
    ):
        answer = await live.alice.act(live.server, action, {"type": kind})
        assert (answer.status_code, f"Unavailable console type {kind}" in answer.text) == (400, True)


async def test_remote_consoles_by_version(live: Live) -> None:
    made = (await live.remote("novnc", "vnc")).json()["remote_console"]
    assert set(made) == {"protocol", "type", "url"}
    assert (made["protocol"], made["type"]) == ("vnc", "novnc")
    assert (await live.remote("novnc", "vnc", "2.5")).status_code == 404
    for kind, protocol, version, words in (
        ("serial", "vnc", "2.6", "Invalid console type serial"),
        ("xvpvnc", "vnc", "2.6", "Unavailable console type xvpvnc"),
        ("spice-html5", "spice", "2.6", "Unavailable console type spice-html5"),
        ("rdp-html5", "rdp", "2.6", "Unavailable console type rdp-html5"),
        ("webmks", "mks", "2.7", "is not one of its values"),
        ("webmks", "mks", "2.8", "Unavailable console type webmks"),
        ("spice-direct", "spice", "2.98", "is not one of its values"),
        ("spice-direct", "spice", "2.99", "Unavailable console type spice-direct"),
        ("telnet", "vnc", "2.6", "Invalid"),
    ):
        answer = await live.remote(kind, protocol, version)
        assert (answer.status_code, words in answer.text) == (400, True), (kind, answer.text)


async def test_who_may(live: Live) -> None:
    reader = await member(live.cloud, "rita", "alpha", "reader")
    bob = await member(live.cloud, "bob", "beta")
    body = {"remote_console": {"type": "novnc", "protocol": "vnc"}}
    path = f"/servers/{live.server}/remote-consoles"
    assert (await reader.ask("POST", path, "2.6", json=body)).status_code == 403
    assert (await bob.ask("POST", path, "2.6", json=body)).status_code == 404
    root = await admin(live.cloud)
    assert (await root.ask("POST", path, "2.6", json=body)).status_code == 200


async def test_a_server_that_does_not_run_is_not_ready(live: Live) -> None:
    url = await live.url()
    assert (await live.alice.act(live.server, "os-stop")).status_code == 202
    await live.alice.settle(live.server)
    for kind, protocol in (("novnc", "vnc"), ("serial", "serial")):
        assert (await live.remote(kind, protocol)).status_code == 409
    assert (await refused(live.connect(url)))[0] == 409


async def test_without_novnc_its_console_is_refused(live: Live, tmp_path: Path) -> None:
    live.set(novnc=str(tmp_path / "nowhere"))
    answer = await live.remote("novnc", "vnc")
    assert answer.status_code == 400
    assert "apt-get install novnc" in answer.text
    assert (await live.remote("serial", "serial")).status_code == 200
    page = await live.cloud.client.get("/console/vnc.html")
    assert (page.status_code, "apt-get install novnc" in page.text) == (404, True)


async def test_pages_are_novncs_and_no_others(live: Live) -> None:
    for path in ("", "/", "/none.html", "/app", "/../secret.html", "/%2e%2e/secret.html", "/..%2fsecret.html", "/x.sh"):
        assert (await live.cloud.client.get(f"/console{path}")).status_code == 404, path
    assert (await live.cloud.client.head("/console/vnc.html")).status_code == 200


# ---- tokens


async def test_where_a_token_leads(live: Live) -> None:
    root = await admin(live.cloud)
    url = await live.url()
    token = url.partition("token%3D")[2].partition("&")[0]
    path = f"/os-console-auth-tokens/{token}"
    found = (await root.get(path, "2.31"))["console"]
    assert set(found) == {"instance_uuid", "host", "port", "internal_access_path"}
    assert found["instance_uuid"] == live.server
    where = f"ws://{found['host']}:{found['port']}{found['internal_access_path']}"
    assert where == socket_of(url)
    assert (await root.get(path, "2.99"))["console"]["tls_port"] is None
    assert (await root.ask("GET", path, "2.30")).status_code == 400
    assert (await live.alice.ask("GET", path, "2.31")).status_code == 403
    assert (await root.ask("GET", f"{path}x", "2.31")).status_code == 404
    async with live.connect(url) as ws:
        await handshake(ws)
    assert (await root.ask("GET", path, "2.31")).status_code == 404, "used"


async def test_bad_tokens(live: Live) -> None:
    url = await live.url()
    assert await refused(live.connect(url.replace("token%3D", "token%3Dbad"))) == (403, b"")
    assert await refused(live.connect(url.partition("%3Ftoken")[0] + "&" + url.partition("&")[2])) == (403, b"")
    screen, serial = socket_of(url), await live.url("serial")
    assert await refused(live.connect(screen.replace("/websockify", "/serial").replace("http", "ws"))) == (403, b"")
    assert await refused(live.connect(serial.replace("/serial", "/websockify"))) == (403, b"")
    async with live.connect(url):
        pass  # the right kind goes on being good
    live.set(console_token_seconds=-1.0)
    assert await refused(live.connect(await live.url())) == (403, b"")


async def test_a_token_is_used_by_one_of_two_at_once(live: Live) -> None:
    url = await live.url()
    made = await asyncio.gather(*(live.connect(url) for _ in range(4)), return_exceptions=True)
    opened = [ws for ws in made if isinstance(ws, ClientConnection)]
    assert len(opened) == 1
    await opened[0].close()


@pytest.mark.parametrize("how", ["delete", "rebuild", "resize", "shelve", "move"])
async def test_a_token_ends_with_what_its_server_was(live: Live, how: str) -> None:
    url = await live.url()
    if how == "delete":
        assert (await live.alice.ask("DELETE", f"/servers/{live.server}")).status_code == 204
    elif how == "rebuild":
        assert (await live.alice.act(live.server, "rebuild", {"imageRef": await live.alice.image()})).status_code == 202
    elif how == "resize":
        flavor = {"flavorRef": await live.alice.flavor(1)}
        assert (await live.alice.act(live.server, "resize", flavor)).status_code == 202
    elif how == "shelve":
        assert (await live.alice.act(live.server, "shelve")).status_code == 202
        await live.alice.settle(live.server)
        assert (await live.alice.act(live.server, "unshelve")).status_code == 202
        await live.alice.settle(live.server)
    else:

        def move(tx: Any) -> None:
            server = tx.get(Server, live.server)
            tx.change(server, node="sim-2" if server.node == "sim-1" else "sim-1")

        await live.cloud.store.write(move)
    assert await refused(live.connect(url)) == (403, b"")


async def test_only_a_hash_is_kept_and_old_tokens_make_room(live: Live) -> None:
    urls = [await live.url() for _ in range(consoles.MOST_OF_SERVER + 1)]
    kept = await live.cloud.store.read(lambda r: r.select(ConsoleToken))
    assert len(kept) == consoles.MOST_OF_SERVER
    tokens = {url.partition("token%3D")[2].partition("&")[0] for url in urls}
    assert len(tokens) == len(urls)
    assert {k.token_hash for k in kept} < {consoles.hash_of(t) for t in tokens}
    for name in ("trilith.db", "trilith.db-wal"):
        path = live.cloud.cloud.settings.state / name
        data = path.read_bytes() if path.exists() else b""
        assert not [t for t in tokens if t.encode() in data]
    assert await refused(live.connect(urls[0])) == (403, b"")
    async with live.connect(urls[-1]) as ws:
        await handshake(ws)


async def test_the_audit_says_who_opened_it(live: Live) -> None:
    async with live.connect(await live.url()):
        pass
    from trilith.store.tx import audit_table

    def read(r: Any) -> list[Any]:
        rows = r.conn.execute(audit_table.select().order_by(audit_table.c.id)).all()
        return [row for row in rows if "console" in row.action]

    asked, opened = await live.cloud.store.read(read)
    assert (asked.action, opened.action) == ("compute.server.get_console_novnc", "console.open_novnc")
    assert asked.user_id == opened.user_id != ""
    assert opened.address == "127.0.0.1"


# ---- origins and addresses


async def test_a_foreign_page_opens_no_console(live: Live) -> None:
    url = await live.url()
    assert await refused(live.connect(url, origin="http://evil.example")) == (403, b"")
    assert await refused(live.connect(url, origin="https://127.0.0.1")) == (403, b"")
    async with live.connect(url, origin=live.http) as ws:
        await handshake(ws)
    live.set(console_origins=("horizon.example",))
    async with live.connect(await live.url(), origin="http://horizon.example:8080"):
        pass


@pytest.mark.parametrize(
    ("headers", "public", "good"),
    [
        ({"host": "a.example"}, "http://a.example", True),
        ({"host": "a.example:80", "origin": "http://a.example"}, "http://a.example", True),
        ({"host": "10.0.0.1:7480", "origin": "https://a.example"}, "https://a.example", True),
        ({"host": "[::1]:7480", "origin": "http://[::1]:7480"}, "http://[::1]:7480", True),
        ({"host": "a.example", "origin": "http://a.example"}, "https://a.example", False),
        (
            {"host": "a.example", "origin": "http://a.example", "x-forwarded-proto": "https"},
            "https://a.example",
            True,
        ),
        ({"host": "a.example", "origin": "http://a.example.evil"}, "http://a.example", False),
        ({"host": "a.example", "origin": "null"}, "http://a.example", False),
        ({"host": "a.example", "origin": ""}, "http://a.example", False),
        ({"host": "a.example", "origin": "http://[::1"}, "http://a.example", False),
        ({"host": "a.example", "origin": "http://b.example"}, "http://a.example", True),
    ],
)
def test_origins(headers: dict[str, str], public: str, good: bool) -> None:
    if good:
        check_origin(headers, public, ("b.example",))
    else:
        with pytest.raises(errors.Forbidden):
            check_origin(headers, public, ("b.example",))


@pytest.mark.parametrize(
    ("public", "page", "websocket", "serial"),
    [
        ("http://h:1", "http://h:1/console/vnc.html",
         "ws://h:1/console/websockify?token=T", "ws://h:1/console/serial?token=T"),
        (
            "https://cloud.example/iaas/",
            "https://cloud.example/iaas/console/vnc.html",
            "wss://cloud.example:/iaas/console/websockify?token=T",
            "wss://cloud.example/iaas/console/serial?token=T",
        ),
        ("http://[::1]:1", "http://[::1]:1/console/vnc.html",
         "ws://[::1]:1/console/websockify?token=T", "ws://[::1]:1/console/serial?token=T"),
    ],
)  # fmt: skip
def test_urls_are_made_from_public_url(public: str, page: str, websocket: str, serial: str) -> None:
    settings = Settings(public_url=public)
    url = url_of(settings, ConsoleKind.NOVNC, "T")
    assert url.partition("?")[0] == page
    query = parse_qs(url.partition("?")[2])
    query.setdefault("port", [""])
    scheme = "wss" if query["encrypt"] == ["1"] else "ws"
    assert f"{scheme}://{query['host'][0]}:{query['port'][0]}/{query['path'][0]}" == websocket
    assert url_of(settings, ConsoleKind.SERIAL, "T") == serial
