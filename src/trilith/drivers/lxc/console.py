"""A container's console as a unix socket: lxc-console on a pty of its own, bytes copied both ways.

liblxc lets one client at a time at a console, so a second connection is told so and closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import struct
import termios
import tty
from collections.abc import Sequence
from pathlib import Path

from trilith.drivers.lxc import tool
from trilith.errors import Backend

_LONGEST = 107  # bytes of a unix socket's path, unix(7)


class Consoles:
    """Sockets that were asked for, until `close`."""

    def __init__(self) -> None:
        self._servers: dict[str, asyncio.Server] = {}
        self._busy: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, server_id: str, path: Path, argv: Sequence[str]) -> str:
        """The socket's path; argv attaches to the console. Raises Backend when the path is too long."""
        if server_id in self._servers:
            return str(path)
        if len(os.fsencode(path)) > _LONGEST:
            raise Backend(f"The console socket path exceeds {_LONGEST} bytes.", hint="Use a shorter state path.")
        await asyncio.to_thread(path.unlink, missing_ok=True)

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                await self._session(server_id, argv, reader, writer)
            finally:
                self._tasks.discard(task)
                writer.close()

        before = os.umask(0o177)
        try:
            self._servers[server_id] = await asyncio.start_unix_server(connected, path=str(path))
        finally:
            os.umask(before)
        return str(path)

    async def _session(
        self, server_id: str, argv: Sequence[str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if server_id in self._busy:
            writer.write(b"The console is in use by another session.\r\n")
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            return
        self._busy.add(server_id)
        ours, theirs = pty.openpty()
        try:
            os.set_blocking(ours, False)
            fcntl.ioctl(ours, termios.TIOCPKT, struct.pack("i", 1))  # before there is anybody to flush
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=theirs, stdout=theirs, stderr=theirs, env=tool.clean_env(), start_new_session=True
            )
            try:
                words = await attached(ours, process)
                if process.returncode is None:
                    tty.setraw(theirs)
                    await _copy(ours, reader, writer, process)
                else:
                    writer.write(words)
                    await writer.drain()
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                await process.wait()
        finally:
            self._busy.discard(server_id)
            os.close(ours)
            os.close(theirs)

    async def drop(self, server_id: str) -> None:
        server = self._servers.pop(server_id, None)
        if server is not None:
            server.close()

    async def close(self) -> None:
        for server_id in list(self._servers):
            await self.drop(server_id)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def attached(master: int, process: asyncio.subprocess.Process) -> bytes:
    """Return when lxc-console has attached, or has ended, with what it said. It throws away what was typed before it
    set its terminal (TCSETSF), and that flush is what packet mode tells (ioctl_tty(2), TIOCPKT)."""
    loop = asyncio.get_running_loop()
    flushed = asyncio.Event()
    words = bytearray()

    def read() -> None:
        try:
            data = os.read(master, 65536)
        except BlockingIOError:
            return
        if data[:1] == b"\0":
            words.extend(data[1:])
        elif data and data[0] & termios.TIOCPKT_FLUSHREAD:
            flushed.set()

    loop.add_reader(master, read)
    tasks = [asyncio.create_task(flushed.wait()), asyncio.create_task(process.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(master)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    fcntl.ioctl(master, termios.TIOCPKT, struct.pack("i", 0))
    return bytes(words)


async def _copy(
    master: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, process: asyncio.subprocess.Process
) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(master, readable.set)

    async def outward() -> None:
        while True:
            await readable.wait()
            readable.clear()
            try:
                data = os.read(master, 65536)
            except BlockingIOError:
                continue
            except OSError:  # EIO: the last holder of the other end is gone
                return
            if not data:
                return
            writer.write(data)
            await writer.drain()

    async def inward() -> None:
        while data := await reader.read(4096):
            await _write_all(master, data)

    tasks = [asyncio.create_task(outward()), asyncio.create_task(inward()), asyncio.create_task(process.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(master)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, ConnectionError | OSError):
            raise result


async def _write_all(descriptor: int, data: bytes) -> None:
    """Not in a thread: one that waits for a guest that does not read would outlive the session, and go on writing to
    whatever has the descriptor's number by then. Raises OSError when the other end is gone."""
    loop = asyncio.get_running_loop()
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            writable = asyncio.Event()
            loop.add_writer(descriptor, writable.set)
            try:
                await writable.wait()
            finally:
                loop.remove_writer(descriptor)
