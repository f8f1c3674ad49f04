"""A shell and a console that say that they are simulated: ptys without a process, and an answer to each line."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import struct
import termios
import tty
from collections.abc import Callable

_MOST = 4096


class SimulatedShell:
    """A `Terminal`. The kernel's line discipline echoes, so that it feels like one. ended: called once, at its end."""

    def __init__(self, hostname: str, *, rows: int, cols: int, ended: Callable[[SimulatedShell], None]) -> None:
        self._prompt = f"[simulated] root@{hostname}:~# ".encode()
        self._ended = ended
        self._descriptor, self._theirs = pty.openpty()
        os.set_blocking(self._descriptor, False)
        os.set_blocking(self._theirs, False)
        self.resize(rows, cols)
        self._say(b"This shell is simulated: its server does not exist. `size`, `flood` and `exit` work.\n")
        self._say(self._prompt)
        asyncio.get_running_loop().add_reader(self._theirs, self._read)

    @property
    def descriptor(self) -> int:
        return self._descriptor

    @property
    def said(self) -> bytes:
        return b""

    def resize(self, rows: int, cols: int) -> None:
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    async def close(self) -> None:
        self.end()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def end(self) -> None:
        """As when its guest stops: whoever reads our end sees EIO."""
        if self._theirs < 0:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._theirs)
        loop.remove_writer(self._theirs)
        os.close(self._theirs)
        self._theirs = -1
        self._ended(self)

    def _read(self) -> None:
        try:
            line = os.read(self._theirs, _MOST)
        except BlockingIOError:
            return
        except OSError:
            line = b""
        words = line.split()
        if not line or words[:1] == [b"exit"]:
            self.end()
        elif words[:1] == [b"size"]:
            rows, cols, _, _ = struct.unpack("HHHH", fcntl.ioctl(self._theirs, termios.TIOCGWINSZ, bytes(8)))
            self._say(f"{rows} {cols}\n".encode() + self._prompt)
        elif words[:1] == [b"flood"]:
            # output without end, as fast as it is read
            asyncio.get_running_loop().add_writer(self._theirs, self._say, b"x" * 1024)
        else:
            self._say((b"[simulated] " + b" ".join(words) + b"\n" if words else b"") + self._prompt)

    def _say(self, words: bytes) -> None:
        with contextlib.suppress(BlockingIOError):  # nobody reads: a terminal that is not looked at loses lines
            os.write(self._theirs, words)


class SimulatedConsole:
    """A serial line as a hypervisor has it: the guest holds the pty's first end, who looks at it opens the other."""

    def __init__(self, hostname: str) -> None:
        self._prompt = f"[simulated] {hostname} login: ".encode()
        self._guest, theirs = pty.openpty()
        os.set_blocking(self._guest, False)
        tty.setraw(theirs)
        self.path = os.ttyname(theirs)
        self._theirs = theirs  # held, so that the line is not hung up while nobody looks
        asyncio.get_running_loop().add_reader(self._guest, self._read)

    def end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._guest)
        os.close(self._guest)
        os.close(self._theirs)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._guest, _MOST)
            os.write(self._guest, data.replace(b"\r", b"\r\n" + self._prompt))
