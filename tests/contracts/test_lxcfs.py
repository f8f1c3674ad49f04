"""lxcfs of our own: what a container reads of itself in /proc, and what is left when it ends."""

# ruff: noqa: ASYNC240 (the loop under test has nothing else to do)
from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.contracts.lxc_bench")

from tests.contracts.lxc_bench import busybox_root, lxc_bench  # noqa: E402
from trilith.agent.lxcfs import PrivateLxcfs  # noqa: E402
from trilith.agent.supervise import DaemonEvent, Supervisor  # noqa: E402

pytestmark = [
    pytest.mark.root,
    pytest.mark.lxc,
    pytest.mark.skipif(shutil.which("lxcfs") is None or not os.path.exists("/dev/fuse"), reason="needs lxcfs and FUSE"),
]


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="lxfs-"))
    path.chmod(0o711)  # as the state directory: a container's root passes here
    yield path
    shutil.rmtree(path)


def mounted(path: Path) -> bool:
    return f" {path} fuse.lxcfs " in Path("/proc/self/mounts").read_text()


async def test_a_container_sees_its_own_memory_and_processors(place: Path) -> None:
    image = await asyncio.to_thread(busybox_root, place / "image")
    own = PrivateLxcfs(point=place / "lxcfs", run=place)
    supervisor = Supervisor(place / "daemons")
    await supervisor.start([own.spec()])
    try:
        async with lxc_bench(image, lxcfs=True, lxcfs_dir=str(own.point)) as bench:
            spec = bench.spec(vcpus=1, memory_mib=64)
            await bench.driver.create(spec)
            await bench.driver.start(spec)
            said = await bench.driver.execute(
                spec.server_id, ["sh", "-c", "grep -c ^processor /proc/cpuinfo; head -1 /proc/meminfo"], timeout=30
            )
            processors, memory = said.stdout.decode().splitlines()
            assert processors == "1"
            assert memory.split()[1] == str(64 * 1024)
    finally:
        await supervisor.stop()
    assert not mounted(own.point)


async def test_one_that_was_killed_is_mounted_again_and_one_that_runs_is_adopted(place: Path) -> None:
    own = PrivateLxcfs(point=place / "lxcfs", run=place)
    started = asyncio.Event()

    def notify(event: DaemonEvent) -> None:
        if event.what == "started":
            started.set()

    supervisor = Supervisor(place / "daemons", notify=notify)
    await supervisor.start([own.spec()])
    try:
        started.clear()
        (status,) = supervisor.status()
        os.kill(status.pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            await started.wait()
        assert (own.point / "proc" / "meminfo").read_text().startswith("MemTotal")
        (again,) = supervisor.status()
        await supervisor.close()
        supervisor = Supervisor(place / "daemons")
        await supervisor.start([own.spec()])
        (adopted,) = supervisor.status()
        assert (adopted.pid, adopted.adopted) == (again.pid, True)
    finally:
        await supervisor.stop()
    assert not mounted(own.point)


async def test_a_mount_without_its_process_is_taken_away_before_a_start(place: Path) -> None:
    own = PrivateLxcfs(point=place / "lxcfs", run=place)
    first = Supervisor(place / "first")
    await first.start([own.spec()])
    (status,) = first.status()
    await first.close()
    os.kill(status.pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        while os.path.exists(f"/proc/{status.pid}/fd/0"):
            await asyncio.sleep(0.01)
    assert mounted(own.point)
    second = Supervisor(place / "second")
    await second.start([own.spec()])
    try:
        assert (own.point / "proc" / "meminfo").read_text().startswith("MemTotal")
    finally:
        await second.stop()
    assert not mounted(own.point)
