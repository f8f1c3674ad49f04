"""lxcfs of Trilith's own, for hosts that have the program and no service of it: a container reads its own memory, CPUs
and uptime in /proc, not the host's. lxcfs(1).

When it dies, the containers that run lose those files until their next start (ENOTCONN), as with the service.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from trilith.agent.supervise import DaemonSpec
from trilith.drivers.lxc import tool

SERVICE = Path("/var/lib/lxcfs")
_FUSE = Path("/dev/fuse")


@dataclass(frozen=True, slots=True)
class PrivateLxcfs:
    """Mounted at `point`, a directory that a container's root can pass to. run: of this cloud on this node."""

    point: Path
    run: Path

    def wanted(self) -> bool:
        """Whether no service has mounted it, and it can run here."""
        there = shutil.which("lxcfs", path=tool.clean_env()["PATH"]) is not None and _FUSE.exists()
        return there and not os.path.ismount(SERVICE)

    def spec(self) -> DaemonSpec:
        # CPUs by the quota of the container's group, which is how flavors bound them
        argv = ("lxcfs", "-f", "--enable-cfs", "-p", str(self.run / "lxcfs.pid"), str(self.point))
        return DaemonSpec(
            name="lxcfs",
            argv=argv,
            log=self.run / "lxcfs.log",
            ready=self._answers,
            prepare=self._prepare,
            finish=self._unmount,
        )

    async def _answers(self) -> bool:
        return await asyncio.to_thread((self.point / "proc" / "meminfo").exists)

    async def _prepare(self) -> None:
        await self._unmount()
        await asyncio.to_thread(self.point.mkdir, mode=0o755, exist_ok=True)

    async def _unmount(self) -> None:
        """One that was killed leaves a mount that answers nothing. Raises Backend."""
        if await asyncio.to_thread(_mounted, self.point):
            await tool.call([tool.find("umount", "mount"), "--lazy", str(self.point)])


def _mounted(point: Path) -> bool:
    try:
        point.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return os.path.ismount(point)
