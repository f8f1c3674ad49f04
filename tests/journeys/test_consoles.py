"""The consoles of a real machine and a real container, through the URLs that the compute API gives."""

from __future__ import annotations

import struct
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.journeys.harness import Cloud, cloud, until
from trilith.api.console.addresses import INSTALL, novnc
from trilith.config import Settings
from trilith.images import BuiltImage

pytestmark = [
    pytest.mark.root,
    pytest.mark.ovn,
    pytest.mark.lxc,
    pytest.mark.libvirt,
    pytest.mark.journey,
    pytest.mark.timeout(420),
    pytest.mark.skipif(novnc(Settings()) is None, reason=f"noVNC is not installed: {INSTALL}"),
]
PATIENCE = 60.0


@pytest.fixture(scope="module")
def real(tiny_image: BuiltImage) -> Iterator[Cloud]:
    with cloud(tiny_image) as running:
        yield running


@pytest.fixture(scope="module")
def servers(real: Cloud) -> dict[str, Any]:
    ordered = {pillar: real.order(f"{pillar}1", pillar, networks="none") for pillar in ("lxc", "kvm")}
    return {pillar: real.wait(server) for pillar, server in ordered.items()}


def url_of(real: Cloud, server: Any, kind: str) -> str:
    return str(real.sdk.compute.create_console(server, kind)["url"])


def joined(url: str) -> ClientConnection:
    # a client that lets frames wait reads no answer to its own pings either
    more: dict[str, Any] = {"subprotocols": ["binary"], "max_size": None, "max_queue": None}
    return connect(url, proxy=None, open_timeout=PATIENCE, **more)


def websocket_of(page: str) -> str:
    """Where noVNC's page connects to."""
    query = {name: values[0] for name, values in parse_qs(urlsplit(page).query).items()}
    return f"ws://{query['host']}:{query['port']}/{query['path']}"


class Screen:
    """An RFB client (RFC 6143) of as many words as a screenshot takes."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._seen = b""

    def read(self, count: int) -> bytes:
        while len(self._seen) < count:
            frame = self._socket.recv(timeout=PATIENCE)
            assert isinstance(frame, bytes)
            self._seen += frame
        found, self._seen = self._seen[:count], self._seen[count:]
        return found

    def shake(self) -> tuple[int, int, str]:
        """Width, height and name."""
        assert self.read(12) == b"RFB 003.008\n"
        self._socket.send(b"RFB 003.008\n")
        assert self.read(2) == b"\x01\x01"
        self._socket.send(b"\x01")
        assert self.read(4) == bytes(4)
        self._socket.send(b"\x01")
        width, height, length = struct.unpack(">HH16xI", self.read(24))
        self._socket.send(struct.pack(">BxHi", 2, 1, 0))  # raw pixels only, of 32 bits as QEMU has them
        return width, height, self.read(length).decode()

    def shot(self, width: int, height: int) -> set[bytes]:
        """The colours on it."""
        self._socket.send(struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))
        (count,) = struct.unpack(">xxH", self.read(4))
        colours: set[bytes] = set()
        for _ in range(count):
            _x, _y, w, h, encoding = struct.unpack(">HHHHi", self.read(12))
            assert encoding == 0
            pixels = self.read(w * h * 4)
            colours |= {pixels[n : n + 4] for n in range(0, len(pixels), 4)}
        return colours


def test_the_screen_of_a_machine(real: Cloud, servers: dict[str, Any]) -> None:
    page = url_of(real, servers["kvm"], "novnc")
    with urllib.request.urlopen(page, timeout=PATIENCE) as answer:
        text = answer.read().decode()
    assert "noVNC" in text
    assert "<script" in text
    root = page.partition("/vnc.html")[0]
    with urllib.request.urlopen(f"{root}/core/rfb.js", timeout=PATIENCE) as answer:
        assert answer.headers["content-type"].startswith("text/javascript")

    with joined(websocket_of(page)) as socket:
        screen = Screen(socket)
        width, height, name = screen.shake()
        assert servers["kvm"].id in name
        assert width >= 640
        until(lambda: len(screen.shot(width, height)) > 1, timeout=PATIENCE, what="something on the screen")
    with pytest.raises(InvalidStatus, match="403"):
        joined(websocket_of(page))


@pytest.mark.parametrize("pillar", ["lxc", "kvm"])
def test_the_serial_line(real: Cloud, servers: dict[str, Any], pillar: str) -> None:
    with joined(url_of(real, servers[pillar], "serial")) as socket:
        assert socket.subprotocol == "binary"
        seen = b""

        def asked() -> bool:
            nonlocal seen
            socket.send(b"\r")
            try:
                frame = socket.recv(timeout=2)
            except TimeoutError:
                return False
            assert isinstance(frame, bytes)
            seen += frame
            return b"login:" in seen or b"# " in seen

        until(asked, timeout=120, what=f"a prompt; it said {seen!r}")


def test_a_container_has_no_screen(real: Cloud, servers: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="Unavailable console type novnc"):
        url_of(real, servers["lxc"], "novnc")


def test_stopping_the_machine_ends_its_console(real: Cloud, servers: dict[str, Any]) -> None:
    server = servers["kvm"]
    with joined(websocket_of(url_of(real, server, "novnc"))) as socket:
        Screen(socket).shake()
        real.sdk.compute.reboot_server(server, "HARD")
        with pytest.raises(ConnectionClosed) as closed:
            drain(socket)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000
    real.wait(server)
    real.delete(server)
    assert not real.traces(server.id)


def drain(socket: ClientConnection) -> None:
    while True:
        socket.recv(timeout=PATIENCE)
