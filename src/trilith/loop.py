"""The event loop: uvloop, but for the way in which it starts processes.

libuv forks, which copies the page tables of the whole process: 6 to 40 ms for each of the host's tools that an agent
runs. `subprocess.Popen` starts them by vfork(2) in less than one. docs/decisions/0006-speed.md has the figures.
"""

from __future__ import annotations

import os
from asyncio.subprocess import PIPE
from asyncio.unix_events import _UnixSubprocessTransport  # type: ignore[attr-defined]  # what asyncio's own loop uses
from collections.abc import Callable
from typing import Any

import uvloop


class _Handed:
    """A pipe's descriptor, for libuv to close.

    uvloop closes the file object of a pipe once more after libuv has closed its descriptor, and takes EBADF for the
    usual answer. But another thread may have opened a file in between, which then has that number: its file was
    closed below it, and one it opened next was closed in the first one's place. So libuv gets a descriptor that no
    file object knows."""

    def __init__(self, pipe: Any) -> None:
        self._descriptor = os.dup(pipe.fileno())
        pipe.close()

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        """libuv has."""


class Loop(uvloop.Loop):
    async def connect_read_pipe(self, proto_factory: Callable[[], Any], pipe: Any) -> tuple[Any, Any]:
        """As uvloop's. The pipe's file object is closed, as the transport has a descriptor of its own."""
        return await super().connect_read_pipe(proto_factory, _Handed(pipe))

    async def connect_write_pipe(self, proto_factory: Callable[[], Any], pipe: Any) -> tuple[Any, Any]:
        """As `connect_read_pipe`."""
        return await super().connect_write_pipe(proto_factory, _Handed(pipe))

    async def subprocess_exec(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], Any],
        program: str,
        *args: str,
        stdin: Any = PIPE,
        stdout: Any = PIPE,
        stderr: Any = PIPE,
        **options: Any,
    ) -> tuple[Any, Any]:
        """As asyncio's, with the options of Popen; the child's end is told by its pidfd."""
        protocol = protocol_factory()
        connected = self.create_future()
        transport = _UnixSubprocessTransport(
            self, protocol, (program, *args), False, stdin, stdout, stderr, 0, waiter=connected, **options
        )
        end = os.pidfd_open(transport.get_pid())
        self.add_reader(end, self._ended, end, transport)
        try:
            await connected
        except BaseException:
            transport.close()
            await transport._wait()
            raise
        return transport, protocol

    def _ended(self, end: int, transport: Any) -> None:
        self.remove_reader(end)
        os.close(end)
        transport._process_exited(transport._proc.wait())


def new() -> Loop:
    return Loop()
