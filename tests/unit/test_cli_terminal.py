"""The terminal over a websocket: a real terminal (a pty), a real server, a real process between them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import termios
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

_CHILD = """
import sys
from trilith import errors
from trilith.cli.native import Native
from trilith.cli.terminal import attach
class Session:
    verify = True
    def get_token(self): return "the-token"
try:
    attach(Native(Session(), sys.argv[1]), "/servers/s1/shell", detach=sys.argv[2] == "detach", sized=True)
except errors.TrilithError as err:
    sys.stderr.write(f"{type(err).__name__}: {err.message}\\n")
    raise SystemExit(1)
"""


class Far:
    """The cloud's end: what came, and ways to answer."""

    def __init__(self) -> None:
        self.connected: asyncio.Future[ServerConnection] = asyncio.get_running_loop().create_future()
        self.frames: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.over = asyncio.Event()
        self.refuse = 0
        self.url = ""

    async def handle(self, socket: ServerConnection) -> None:
        self.connected.set_result(socket)
        with contextlib.suppress(Exception):
            async for frame in socket:
                await self.frames.put(frame)
        self.over.set()

    async def bytes_until(self, wanted: bytes) -> bytes:
        seen = b""
        async with asyncio.timeout(10):
            while wanted not in seen:
                frame = await self.frames.get()
                seen += frame if isinstance(frame, bytes) else b""
        return seen


@pytest.fixture
async def far() -> AsyncIterator[Far]:
    made = Far()

    def gate(connection: ServerConnection, request: Any) -> Any:
        if made.refuse:
            body = json.dumps({"code": made.refuse, "error": "conflict", "message": "It is paused.", "hint": ""})
            return connection.respond(made.refuse, body)
        return None

    async with serve(made.handle, "127.0.0.1", 0, process_request=gate) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        made.url = f"http://127.0.0.1:{port}"
        yield made


class Near:
    """The user's end: a process whose terminal is a pty."""

    def __init__(self, process: asyncio.subprocess.Process, master: int, slave: int) -> None:
        self.process, self.master, self.slave = process, master, slave
        self.shown = b""
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(master, self._read)

    def _read(self) -> None:
        try:
            self.shown += os.read(self.master, 65536)
        except OSError:
            asyncio.get_running_loop().remove_reader(self.master)
        self._more.set()

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    async def until(self, wanted: bytes) -> None:
        async with asyncio.timeout(10):
            while wanted not in self.shown:
                self._more.clear()
                await self._more.wait()


@contextlib.asynccontextmanager
async def terminal(far: Far, *, detach: bool = True) -> AsyncIterator[Near]:
    master, slave = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _CHILD, far.url, "detach" if detach else "stay"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    near = Near(process, master, slave)
    try:
        yield near
    finally:
        asyncio.get_running_loop().remove_reader(master)
        if process.returncode is None:
            process.kill()
        await process.wait()
        os.close(master)
        os.close(slave)


async def test_both_ways_and_out_again(far: Far) -> None:
    async with terminal(far) as near:
        before = termios.tcgetattr(near.slave)
        socket = await asyncio.wait_for(far.connected, 15)
        assert socket.request is not None
        assert socket.request.headers["X-Auth-Token"] == "the-token"
        path, _, query = socket.request.path.partition("?")
        assert path == "/trilith/v1/servers/s1/shell"
        assert {part.partition("=")[0] for part in query.split("&")} == {"columns", "rows"}
        await socket.send(b"\xff$ ")
        await near.until(b"\xff$ ")
        near.type(b"ls\r\x03")
        assert await far.bytes_until(b"\x03") == b"ls\r\x03", "Ctrl-C is the guest's"
        assert not termios.tcgetattr(near.slave)[3] & termios.ECHO, "raw"
        near.type(b"bye\x1dnever")
        assert await asyncio.wait_for(near.process.wait(), 10) == 0
        await asyncio.wait_for(far.over.wait(), 10)
        left = b"".join(f for f in _drain(far.frames) if isinstance(f, bytes))
        assert b"never" not in left, "after Ctrl-] nothing is sent"
        assert termios.tcgetattr(near.slave) == before


def _drain(queue: asyncio.Queue[str | bytes]) -> list[str | bytes]:
    return [queue.get_nowait() for _ in range(queue.qsize())]


async def test_ctrl_bracket_is_the_guests_in_a_shell(far: Far) -> None:
    async with terminal(far, detach=False) as near:
        socket = await asyncio.wait_for(far.connected, 15)
        await socket.send(b"$ ")
        await near.until(b"$ ")
        near.type(b"\x1d")
        assert await far.bytes_until(b"\x1d")
        await socket.close()
        assert await asyncio.wait_for(near.process.wait(), 10) == 0, "the shell ended: so does this"


async def test_a_new_size_is_told(far: Far) -> None:
    async with terminal(far) as near:
        socket = await asyncio.wait_for(far.connected, 15)
        await socket.send(b"$ ")
        await near.until(b"$ ")
        near.process.send_signal(signal.SIGWINCH)
        async with asyncio.timeout(10):
            frame = await far.frames.get()
        assert isinstance(frame, str)
        assert set(json.loads(frame)) == {"columns", "rows"}


async def test_the_clouds_own_words_on_a_break(far: Far) -> None:
    async with terminal(far) as near:
        socket = await asyncio.wait_for(far.connected, 15)
        await socket.close(1011, "The guest is gone.")
        assert await asyncio.wait_for(near.process.wait(), 10) == 1
        await near.until(b"Backend: The guest is gone.")


async def test_a_refusal_before_it_opens(far: Far) -> None:
    far.refuse = 409
    async with terminal(far) as near:
        assert await asyncio.wait_for(near.process.wait(), 15) == 1
        await near.until(b"Conflict: It is paused.")
