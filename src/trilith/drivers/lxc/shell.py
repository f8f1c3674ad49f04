"""A login shell in a container: lxc-attach on a pty of its own.

Two ptys are in a row: ours, which lxc-attach copies to and from, and one of the container's, which the shell has. So
nothing in the container ever holds a terminal of the host's.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import termios
import tty
from collections.abc import Sequence

from trilith.drivers.lxc import state, tool
from trilith.drivers.lxc.console import attached
from trilith.drivers.lxc.watch import wait_exit
from trilith.errors import Backend, Deadline

_ATTACH_SECONDS = 15.0
_HANGUP_SECONDS = 3.0
#: run by the container's own sh. su knows root's shell and environment; a root file system may be without it
LOGIN = ("/bin/sh", "-c", "command -v su >/dev/null 2>&1 && exec su -l root; cd; exec /bin/sh -l")
ENVIRONMENT = ("TERM=xterm-256color", "LANG=C.UTF-8", "HOME=/root", f"PATH={tool.clean_env()['PATH']}")


class Shell:
    """A `Terminal`. Made by `start`."""

    def __init__(self, descriptor: int, process: asyncio.subprocess.Process, said: bytes) -> None:
        self._descriptor = descriptor
        self._process = process
        self._said = said

    @property
    def descriptor(self) -> int:
        return self._descriptor

    @property
    def said(self) -> bytes:
        return self._said

    def resize(self, rows: int, cols: int) -> None:
        """The kernel tells lxc-attach by SIGWINCH, which sets the container's pty."""
        if self._descriptor >= 0:
            set_size(self._descriptor, rows, cols)

    async def close(self) -> None:
        """As a closed terminal does: SIGHUP. What was started to outlive its terminal (nohup, tmux) stays in the
        guest, as after ssh; the shell itself does not, even when it ignores the signal."""
        if self._descriptor < 0:
            return
        children = await asyncio.to_thread(_children, self._process.pid)
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)
        await end(self._process)
        for child in children:
            if not await wait_exit(child, timeout=_HANGUP_SECONDS):
                _kill(child)


async def start(argv: Sequence[str], *, rows: int, cols: int) -> Shell:
    """argv: lxc-attach with its command. Raises Backend with lxc-attach's words, Deadline."""
    # a controlling terminal, so that its end and its size reach lxc-attach as signals, also when we die
    setsid = tool.find("setsid", "util-linux")
    ours, theirs = pty.openpty()
    process: asyncio.subprocess.Process | None = None
    try:
        os.set_blocking(ours, False)
        set_size(ours, rows, cols)
        fcntl.ioctl(ours, termios.TIOCPKT, struct.pack("i", 1))  # before there is anybody to flush
        process = await asyncio.create_subprocess_exec(
            setsid, "--ctty", *argv, stdin=theirs, stdout=theirs, stderr=theirs, env=tool.clean_env()
        )
        try:
            async with asyncio.timeout(_ATTACH_SECONDS):
                said = await attached(ours, process)
        except TimeoutError:
            raise Deadline(f"lxc-attach did not attach within {_ATTACH_SECONDS:g} s.") from None
        if process.returncode is not None:
            raise Backend(f"The shell did not start: {said.decode(errors='replace').strip()[-1000:]}")
        tty.setraw(theirs)  # lxc-attach leaves the output's translation on, which the container's pty has done
        return Shell(ours, process, said)
    except BaseException:
        os.close(ours)
        if process is not None:
            await end(process)
        raise
    finally:
        os.close(theirs)


async def end(process: asyncio.subprocess.Process) -> None:
    """Wait for a process that was hung up; kill one that does not care."""
    try:
        async with asyncio.timeout(_HANGUP_SECONDS):
            await process.wait()
    except TimeoutError:
        await asyncio.to_thread(tool.kill_tree, process.pid)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def set_size(descriptor: int, rows: int, cols: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))


def _children(pid: int) -> list[state.Process]:
    """What lxc-attach started in the container."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as handle:
            found = [int(word) for word in handle.read().split()]
    except OSError:  # it has ended
        return []
    return [state.Process(child, ticks) for child in found if (ticks := state.start_ticks(child)) is not None]


def _kill(process: state.Process) -> None:
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if process.alive():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)
