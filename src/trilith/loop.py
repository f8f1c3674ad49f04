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


class Loop(uvloop.Loop):
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
