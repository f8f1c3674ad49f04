"""A screen that is there and shows nothing: an RFB 3.8 server (RFC 6143) with a black framebuffer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct

from trilith.errors import Backend

WIDTH, HEIGHT = 160, 100
_VERSIONS = (b"RFB 003.003\n", b"RFB 003.007\n", b"RFB 003.008\n")
_NONE = 1  # security type
#: bits per pixel, depth, big-endian, true colour, maxima and shifts of red, green and blue, padding
_PIXELS = struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
#: client message → bytes after its type, of those whose length is fixed
_SET_PIXELS, _SET_ENCODINGS, _UPDATE, _KEY, _POINTER, _CUT_TEXT = 0, 2, 3, 4, 5, 6
_FIXED = {_SET_PIXELS: 19, _UPDATE: 9, _KEY: 7, _POINTER: 5}
_MOST_TEXT = 1 << 20


class SimulatedScreen:
    """One guest's. address: path of its socket, which takes connections from now on; what an earlier process left there
    is replaced. Raises Backend."""

    def __init__(self, hostname: str, address: str) -> None:
        self.address = address
        self._name = f"[simulated] {hostname}".encode()
        self._server: asyncio.Server | None = None
        self._viewers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._listening = socket.socket(socket.AF_UNIX)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(address)
            self._listening.bind(address)
            self._listening.listen()
        except OSError as error:
            self._listening.close()
            raise Backend(f"the simulated screen does not open: {error}") from error

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, sock=self._listening)

    def end(self) -> None:
        """As when its guest stops: whoever looks sees the end of the stream."""
        if self._server is not None:
            self._server.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.address)
        self._listening.close()
        for writer in self._viewers.values():
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._viewers[task] = writer
        try:
            await self._talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the viewer left
        finally:
            self._viewers.pop(task, None)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_VERSIONS[-1])
        version = await reader.readexactly(12)
        if version not in _VERSIONS:
            return
        if version == _VERSIONS[0]:
            writer.write(struct.pack(">I", _NONE))
        else:
            writer.write(bytes((1, _NONE)))
            if await reader.readexactly(1) != bytes((_NONE,)):
                return
            if version == _VERSIONS[2]:
                writer.write(struct.pack(">I", 0))
        await reader.readexactly(1)  # shared: each viewer sees the same nothing
        writer.write(struct.pack(">HH", WIDTH, HEIGHT) + _PIXELS + struct.pack(">I", len(self._name)) + self._name)
        pixel = 4
        while True:
            await writer.drain()
            (kind,) = await reader.readexactly(1)
            if kind in _FIXED:
                body = await reader.readexactly(_FIXED[kind])
                if kind == _SET_PIXELS:
                    pixel = max(1, body[3] // 8)
                elif kind == _UPDATE and body[0] == 0:  # nothing ever changes: an incremental one waits for ever
                    head = struct.pack(">BxHHHHHi", 0, 1, 0, 0, WIDTH, HEIGHT, 0)  # one rectangle, raw
                    writer.write(head + bytes(WIDTH * HEIGHT * pixel))
            elif kind == _SET_ENCODINGS:
                (count,) = struct.unpack(">xH", await reader.readexactly(3))
                await reader.readexactly(4 * count)
            elif kind == _CUT_TEXT:
                (length,) = struct.unpack(">3xI", await reader.readexactly(7))
                if length > _MOST_TEXT:
                    return
                await reader.readexactly(length)
            else:
                return
