"""A container's limits, each tried by going over it. What happens outside of the container is looked at, too."""

# ruff: noqa: ASYNC240 (the loop under test has nothing else to do)
from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.contracts.lxc_bench")

from tests.contracts.lxc_bench import LxcBench, busybox_root, lxc_bench  # noqa: E402
from trilith.drivers.lxc import config  # noqa: E402
from trilith.errors import Conflict  # noqa: E402
from trilith.model.guest import GuestSpec, PowerState  # noqa: E402

pytestmark = [pytest.mark.root, pytest.mark.lxc]


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return busybox_root(tmp_path_factory.mktemp("image") / "root")


@pytest.fixture
async def bench(image: Path) -> AsyncIterator[LxcBench]:
    async with lxc_bench(image, pool_gib=8) as made:
        yield made


async def run(bench: LxcBench, spec: GuestSpec, script: str, *, timeout: float = 240) -> tuple[int, str]:
    done = await bench.driver.execute(spec.server_id, ["sh", "-c", script], timeout=timeout)
    return done.exit_code, (done.stdout + done.stderr).decode(errors="replace")


async def test_disk_is_full_at_its_limit_and_grows_with_resize(bench: LxcBench) -> None:
    spec, neighbour = bench.spec(memory_mib=256), bench.spec()
    await bench.driver.start(spec)
    await bench.driver.start(neighbour)
    code, words = await run(bench, spec, "dd if=/dev/zero of=/big bs=1M count=1500 2>&1; sync; du -m /big | cut -f1")
    assert "quota exceeded" in words or "No space" in words, words
    assert 900 <= int(words.split()[-1]) <= 1024, words
    code, words = await run(bench, neighbour, "echo fine > /file && cat /file")
    assert (code, words) == (0, "fine\n"), "a neighbour is not touched"
    code, words = await run(bench, spec, "echo more > /more")
    assert code != 0, "nothing more fits"
    await bench.driver.resize(replace(spec, disk_gib=2))
    code, words = await run(bench, spec, "echo more > /more && rm /big")
    assert code == 0, words
    await bench.driver.stop(spec.server_id, timeout=0)
    await bench.driver.start(replace(spec, disk_gib=2))
    assert (await run(bench, spec, "cat /more"))[1] == "more\n"


async def test_disk_of_zero_is_the_image_and_one_gib_at_least(bench: LxcBench) -> None:
    spec = bench.spec(disk_gib=0)
    assert config.disk_mib(spec) == 1024
    assert config.disk_mib(replace(spec, image=replace(spec.image, size_mib=3000))) == 3000
    await bench.driver.start(spec)
    _, words = await run(bench, spec, "dd if=/dev/zero of=/big bs=1M count=1100 2>&1")
    assert "quota exceeded" in words or "No space" in words, words


async def test_memory_hog_is_killed_inside(bench: LxcBench) -> None:
    spec = bench.spec(memory_mib=64)
    await bench.driver.start(spec)
    code, _ = await run(bench, spec, "exec tail -c 200000000 /dev/zero")
    assert code in (137, 9), "the kernel killed it"
    facts = await bench.driver.facts()
    assert [found.power for found in facts] == [PowerState.RUNNING], "the server itself goes on"
    assert facts[0].memory_mib <= 64
    await bench.driver.resize(replace(spec, memory_mib=512))
    code, words = await run(bench, spec, "head -c 200000000 /dev/zero | tail -c 200000000 | wc -c")
    assert (code, words.strip()) == (0, "200000000"), "and may have it after a resize"


async def test_a_limit_below_what_is_used_is_refused_and_kills_nobody(bench: LxcBench) -> None:
    spec = bench.spec(memory_mib=256)
    await bench.driver.start(spec)
    code, words = await run(bench, spec, "dd if=/dev/zero of=/run/held bs=1M count=120 2>&1")
    assert code == 0, words
    before = await bench.driver.facts()
    with pytest.raises(Conflict):
        await bench.driver.resize(replace(spec, memory_mib=64))
    assert (await bench.driver.facts())[0].pid == before[0].pid
    assert await run(bench, spec, "du -m /run/held | cut -f1") == (0, "120\n")
    assert (await run(bench, spec, "rm /run/held"))[0] == 0
    await bench.driver.resize(replace(spec, memory_mib=64))
    assert (await run(bench, spec, "exec tail -c 200000000 /dev/zero"))[0] in (137, 9)


async def test_tmpfs_counts_as_memory(bench: LxcBench) -> None:
    spec = bench.spec(memory_mib=64)
    await bench.driver.start(spec)
    code, _ = await run(bench, spec, "exec dd if=/dev/zero of=/run/big bs=1M count=200")
    assert code != 0
    assert (await bench.driver.facts())[0].memory_mib <= 64


async def test_fork_bomb_ends_at_the_limit(bench: LxcBench) -> None:
    spec = bench.spec(processes_max=40)
    await bench.driver.start(spec)
    before = len([path for path in Path("/proc").iterdir() if path.name.isdigit()])
    code, words = await run(
        bench, spec, "i=0; while [ $i -lt 200 ]; do sleep 60 >/dev/null 2>&1 & i=$((i+1)); done; wait"
    )
    assert code != 0
    assert "fork" in words, words
    inside = await asyncio.to_thread(_pids, bench, spec)
    assert 0 < inside <= 40
    after = len([path for path in Path("/proc").iterdir() if path.name.isdigit()])
    assert after - before < 120
    await bench.driver.stop(spec.server_id, timeout=0)
    assert (await bench.driver.facts())[0].power is PowerState.SHUTDOWN, "and it can still be stopped"


def _pids(bench: LxcBench, spec: GuestSpec) -> int:
    tree = bench.driver._node.here.cgroups.trees["pids"]
    return int((tree / config.group(spec.server_id) / "pids.current").read_text())


async def test_two_busy_loops_get_one_vcpu(bench: LxcBench) -> None:
    spec = bench.spec(vcpus=1)
    await bench.driver.start(spec)
    started, before = time.monotonic(), (await bench.driver.facts())[0].cpu_seconds
    await run(bench, spec, "timeout 3 sh -c 'while :; do :; done' & timeout 3 sh -c 'while :; do :; done' & wait")
    wall, used = time.monotonic() - started, (await bench.driver.facts())[0].cpu_seconds - before
    assert used <= wall * 1.15 + 0.2, (used, wall)
    stat = bench.driver._node.here.cgroups.trees["cpu"] / config.group(spec.server_id) / "cpu.stat"
    counted = dict(line.split() for line in stat.read_text().splitlines())
    assert int(counted["nr_throttled"]) > 0, "held back by the quota, not by a busy machine"


async def test_dangerous_calls_are_refused(bench: LxcBench) -> None:
    spec = bench.spec()
    await bench.driver.start(spec)
    for script in (
        "mknod /tmp/disk b 254 0 && head -c1 /tmp/disk",
        "mount -t ext4 /dev/vda /mnt",
        "echo 1 > /proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger",
        "insmod /bin/busybox",
        "date -s 2001-01-01 2>&1 | grep -q permitted && exit 1",
        "echo 99999999999 > /sys/fs/cgroup/memory/memory.limit_in_bytes || echo max > /sys/fs/cgroup/memory.max",
    ):
        code, words = await run(bench, spec, script)
        assert code != 0, (script, words)
    code, words = await run(bench, spec, "grep Seccomp: /proc/1/status")
    assert words.split() == ["Seccomp:", "2"]
