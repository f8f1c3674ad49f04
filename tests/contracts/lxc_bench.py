"""A node for container tests: a throw-away busybox root file system and a driver on a directory of its own."""

# ruff: noqa: ASYNC240 (the loop under test has nothing else to do)
from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from trilith.drivers.lxc import LxcDriver
from trilith.drivers.lxc.state import MARKER
from trilith.model.guest import Artefact, GuestSpec, ImageForm, MachineIdentity, Pillar

CLOUD = "cloud-under-test"
_INIT = """#!/bin/sh
# halts on PWR, reboots on INT; a shell as init, so that nothing waits two seconds as busybox init does
trap 'reboot -f' INT
trap 'poweroff -f' PWR
echo ready
[ -x /boot.sh ] && /boot.sh
while :; do sleep 3600 & wait $!; done
"""


def busybox_root(path: Path) -> Path:
    """Lay out a root file system of one static binary."""
    binary = shutil.which("busybox")
    assert binary, "needs busybox-static"
    for name in ("bin", "sbin", "etc", "proc", "sys", "dev", "run", "tmp", "root", "var"):
        (path / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(binary, path / "bin/busybox")
    applets = subprocess.run([binary, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        link = path / "bin" / applet
        if not os.path.lexists(link):
            link.symlink_to("busybox")
    init = path / "sbin/init"
    init.write_text(_INIT)
    init.chmod(0o755)
    (path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n")
    return path


class LxcBench:
    def __init__(self, state: Path, image: Path, **options: Any) -> None:
        self.state, self.image, self.options = state, image, options
        self.driver = self._new()
        self._all = [self.driver]
        self._bases = itertools.count(0x10000000 + (os.getpid() % 1024) * 0x200000, 65536)

    def _new(self) -> LxcDriver:
        return LxcDriver(self.state, cloud_id=CLOUD, **{"pool_gib": 8, "soft_reboot_seconds": 20.0} | self.options)

    async def another(self) -> LxcDriver:
        driver = self._new()
        self._all.append(driver)
        await driver.open()
        self.driver = driver
        return driver

    def spec(self, **changes: Any) -> GuestSpec:
        plain: dict[str, Any] = {
            "server_id": str(uuid.uuid4()),
            "project_id": "project",
            "cloud_id": CLOUD,
            "name": "test",
            "hostname": "test",
            "pillar": Pillar.LXC,
            "vcpus": 1,
            "memory_mib": 64,
            "disk_gib": 1,
            "image": Artefact(sha256="0" * 64, form=ImageForm.ROOTFS, path=str(self.image), size_mib=3),
            "identity": MachineIdentity(smbios_uuid="u", id_base=next(self._bases)),
            "processes_max": 64,
        }
        return GuestSpec(**plain | changes)

    async def stranger(self) -> Callable[[], Awaitable[bool]]:
        """A running container of somebody else's, in its own lxcpath, and one in ours with another cloud's mark."""
        home = Path(tempfile.mkdtemp(prefix="lxo-"))
        home.chmod(0o755)
        name = str(uuid.uuid4())
        (home / name / "rootfs").mkdir(parents=True)
        config = [
            f"lxc.rootfs.path = dir:{self.image}",
            "lxc.init.cmd = /bin/sleep 600",
            "lxc.net.0.type = empty",
            f"lxc.environment = {MARKER}=another",
        ]
        (home / name / "config").write_text("\n".join(config) + "\n")
        await self._tool("lxc-start", "-P", str(home), "-n", name, "-d")
        ours = self.state / "ct" / name
        ours.mkdir()
        shutil.copy(home / name / "config", ours / "config")
        (ours / "guest.json").write_text("{}")

        async def whole() -> bool:
            try:
                info = await self._tool("lxc-info", "-P", str(home), "-n", name, "-sH")
                return info.strip() == b"RUNNING" and (ours / "guest.json").read_text() == "{}"
            finally:
                await self._tool("lxc-stop", "-k", "-P", str(home), "-n", name)
                await asyncio.to_thread(shutil.rmtree, home)
                await asyncio.to_thread(shutil.rmtree, ours)

        return whole

    async def _tool(self, *argv: str) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await process.communicate()
        assert process.returncode == 0, (argv, err)
        return out

    async def leftovers(self) -> list[str]:
        return await asyncio.to_thread(self._leftovers)

    def _leftovers(self) -> list[str]:
        found = [str(path) for name in ("ct", "run", "pool") for path in (self.state / name).iterdir()]
        found += [
            line
            for line in Path("/proc/self/mounts").read_text().splitlines()
            if f"{self.state}/" in line and not line.split()[1].endswith("/pool")
        ]
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if f"{self.state}/ct".encode() in command:
                    found.append(f"process {entry.name} {command!r}")
        return found

    async def close(self) -> None:
        """All away, also what a failed test left."""
        last = self.driver
        for found in await last.facts():
            await last.delete(found.server_id)
        await last.teardown()
        for driver in self._all:
            await driver.close()
        await asyncio.to_thread(shutil.rmtree, self.state)


@asynccontextmanager
async def lxc_bench(image: Path, **options: Any) -> AsyncIterator[LxcBench]:
    state = Path(tempfile.mkdtemp(prefix="lxt-"))  # short: the console's unix socket must fit
    bench = LxcBench(state, image, **options)
    try:
        await bench.driver.open()
        yield bench
    finally:
        await bench.close()
