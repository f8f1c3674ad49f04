"""One guest's own files under the driver's state directory: console log, directory of the VNC socket, snapshots.

The first two are apart, since QEMU owns the one and virtlogd, as root, writes into the other: a guest that broke out of
its device model must not be able to put a link where root writes.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from trilith.drivers.libvirt.host import GuestPaths, valid_id
from trilith.errors import Invalid

#: bytes of sun_path, less the closing zero (unix(7))
SOCKET_PATH_MAX = 107


class GuestFiles:
    """Raises Invalid when the directory's name is too long for a socket in it."""

    def __init__(self, state_dir: str) -> None:
        self._logs = Path(state_dir, "consoles")
        self._sockets = Path(state_dir, "vnc")
        self._snapshots = Path(state_dir, "snapshots")
        longest = len(str(self._sockets / ("0" * 36) / "s"))
        if longest > SOCKET_PATH_MAX:
            raise Invalid(
                f"the state directory {state_dir} is {longest - SOCKET_PATH_MAX} characters too long for a socket",
                hint="Choose a shorter path.",
                field="state_dir",
            )

    def paths(self, server_id: str, root_disk: str) -> GuestPaths:
        valid_id(server_id)
        return GuestPaths(
            console_log=str(self._logs / server_id / "console.log"),
            vnc_socket=str(self._sockets / server_id / "s"),
            direct_io=not root_disk or takes_direct_io(root_disk),
        )

    def lay_out(self, server_id: str, uid: int, gid: int) -> None:
        logs, sockets = self._logs / server_id, self._sockets / server_id
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
        # QEMU must be able to pass through the parent to its own directory
        self._sockets.chmod(0o711)
        if os.geteuid() == 0:
            os.chown(sockets, uid, gid)

    def remove(self, server_id: str) -> None:
        valid_id(server_id)
        for directory in (self._logs / server_id, self._sockets / server_id):
            if directory.exists():
                shutil.rmtree(directory)
        (self._snapshots / f"{server_id}.qcow2").unlink(missing_ok=True)

    def snapshot(self, server_id: str) -> str:
        """Where QEMU writes a snapshot: it can pass through to here, and the destination may be root's alone. What an
        earlier try left is removed."""
        self._snapshots.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._snapshots.chmod(0o711)
        path = self._snapshots / f"{valid_id(server_id)}.qcow2"
        path.unlink(missing_ok=True)
        return str(path)

    def log_tail(self, server_id: str, max_bytes: int) -> bytes:
        """The end of the log, reaching into the file before it when virtlogd has just begun a new one."""
        log = self._logs / server_id / "console.log"
        tail = b""
        for path in (log, log.with_name("console.log.0")):
            if len(tail) < max_bytes and path.exists():
                tail = _tail(path, max_bytes - len(tail)) + tail
        return tail


def _tail(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - count))
        return file.read(count)


def takes_direct_io(path: str) -> bool:
    """Whether the file's file system knows O_DIRECT (tmpfs before Linux 6.6 does not)."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return False
    return True
