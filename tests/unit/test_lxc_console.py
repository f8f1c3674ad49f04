"""A container's console: what is typed at a guest that does not read."""

from __future__ import annotations

import asyncio
import os
import pty
import socket
import tty
from pathlib import Path

from trilith.drivers.lxc import console


async def test_what_nobody_read_reaches_no_other_file(tmp_path: Path) -> None:
    """Regression: a thread went on writing after its session had ended, into whatever had the pty's number by then."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=near)
    process = await asyncio.create_subprocess_exec("sleep", "60")
    far.setblocking(False)
    copying = asyncio.create_task(console._copy(ours, reader, writer, process))
    typed = b"x" * 65536
    for _ in range(8):
        try:
            far.send(typed)
        except BlockingIOError:
            break
        await asyncio.sleep(0.05)
    copying.cancel()
    await asyncio.gather(copying, return_exceptions=True)
    victim = tmp_path / "victim"
    descriptor = os.open(victim, os.O_CREAT | os.O_WRONLY)
    try:
        os.dup2(descriptor, ours)  # as when the pty is closed and its number given to the next file
        await asyncio.sleep(1.3)
        assert victim.read_bytes() == b""
    finally:
        os.close(ours)
        os.close(theirs)
        os.close(descriptor)
        writer.close()
        far.close()
        process.kill()
        await process.wait()
