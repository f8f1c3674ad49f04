"""Login shells in real containers: how they end, and what refuses them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts.lxc_bench import LxcBench, busybox_root, lxc_bench
from trilith import errors
from trilith.agent.channels import Descriptor
from trilith.drivers.contract import InteractiveShell
from trilith.drivers.lxc.shell import Shell

pytestmark = [pytest.mark.root, pytest.mark.lxc]


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return busybox_root(tmp_path_factory.mktemp("image") / "root")


@pytest.fixture
async def bench(image: Path) -> AsyncIterator[LxcBench]:
    async with lxc_bench(image) as made:
        yield made


async def opened(bench: LxcBench, server_id: str) -> tuple[Shell, Descriptor]:
    shell = await bench.driver.shell(server_id, rows=24, cols=80)
    assert isinstance(shell, Shell)
    return shell, Descriptor(shell.descriptor, said=shell.said, set_size=shell.resize)


async def until(line: Descriptor, words: bytes) -> bytes:
    seen = b""
    async with asyncio.timeout(10):
        while words not in seen:
            data = await line.read()
            assert data, seen
            seen += data
    return seen


async def shells(bench: LxcBench, server_id: str) -> int:
    """How many the container has."""
    ran = await bench.driver.execute(server_id, ["sh", "-c", "ps | grep -c '[s]h -l\\|[-]sh$'"], timeout=10)
    return int(ran.stdout)


async def test_a_shell_that_ignores_the_hangup_and_a_job_that_is_meant_to_stay(bench: LxcBench) -> None:
    assert isinstance(bench.driver, InteractiveShell)
    assert bench.driver.capabilities.shell
    spec = bench.spec()
    await bench.driver.start(spec)
    shell, line = await opened(bench, spec.server_id)
    await line.write(b"trap '' HUP; setsid sleep 4242 & echo re''ady\r")
    await until(line, b"ready")
    assert await shells(bench, spec.server_id) == 1
    await shell.close()
    await shell.close()
    assert await shells(bench, spec.server_id) == 0
    ran = await bench.driver.execute(spec.server_id, ["sh", "-c", "ps | grep -c '[s]leep 4242'"], timeout=10)
    assert ran.stdout.strip() == b"1", "as after ssh"


async def test_the_container_has_no_terminal_of_the_hosts(bench: LxcBench) -> None:
    spec = bench.spec()
    await bench.driver.start(spec)
    shell, line = await opened(bench, spec.server_id)
    await line.write(b"for f in 0 1 2; do stat -L -c dev=%d /proc/self/fd/$f; done; echo fini''shed\r")
    seen = await until(line, b"finished")
    devices = {word.removeprefix(b"dev=") for word in seen.split() if word.startswith(b"dev=") and word[4:].isdigit()}
    host = str(os.stat("/dev/pts").st_dev).encode()
    assert devices, seen
    assert host not in devices
    await shell.close()


async def test_the_shell_ends_when_the_agent_is_killed(bench: LxcBench) -> None:
    spec = bench.spec()
    await bench.driver.start(spec)
    shell, line = await opened(bench, spec.server_id)
    await until(line, b"# ")
    os.close(shell.descriptor)  # all that the kernel does for a process that is killed
    shell._descriptor = -1
    async with asyncio.timeout(10):
        # lxc-attach dies of the hang-up, or tells that its shell did, whichever is first
        assert await shell._process.wait() in (-signal.SIGHUP, 128 + signal.SIGHUP)
        while await shells(bench, spec.server_id):
            await asyncio.sleep(0.02)


async def test_where_no_shell_can_be(bench: LxcBench) -> None:
    spec = bench.spec()
    await bench.driver.create(spec)
    with pytest.raises(errors.Conflict, match="not running"):
        await bench.driver.shell(spec.server_id, rows=24, cols=80)
    with pytest.raises(errors.Missing):
        await bench.driver.shell("11111111-1111-1111-1111-111111111111", rows=24, cols=80)
    await bench.driver.start(spec)
    shell, line = await opened(bench, spec.server_id)
    await until(line, b"# ")
    await bench.driver.pause(spec.server_id)
    with pytest.raises(errors.Conflict, match="paused"):
        await bench.driver.shell(spec.server_id, rows=24, cols=80)
    began = time.monotonic()
    await shell.close()  # of a frozen container
    assert time.monotonic() - began < 10
    await bench.driver.unpause(spec.server_id)
    async with asyncio.timeout(10):
        while await shells(bench, spec.server_id):
            await asyncio.sleep(0.02)
    await bench.driver.execute(spec.server_id, ["rm", "/bin/sh"], timeout=10)
    shell, line = await opened(bench, spec.server_id)
    seen = b""
    async with asyncio.timeout(10):
        while data := await line.read():
            seen += data
    assert b"/bin/sh" in seen, "the reason is on the screen"
    await shell.close()


async def test_an_opening_that_is_cancelled_leaves_nothing(bench: LxcBench) -> None:
    spec = bench.spec()
    await bench.driver.start(spec)
    for delay in (0.0, 0.002, 0.005, 0.01):
        opening = asyncio.create_task(bench.driver.shell(spec.server_id, rows=24, cols=80))
        await asyncio.sleep(delay)
        opening.cancel()
        done = (await asyncio.gather(opening, return_exceptions=True))[0]
        if isinstance(done, Shell):
            await done.close()
    async with asyncio.timeout(10):
        while await shells(bench, spec.server_id):
            await asyncio.sleep(0.02)
