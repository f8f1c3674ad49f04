"""What every compute driver must do, whatever it drives. A driver's own test file gives a `bench` and inherits this.

class TestLxc(ComputeSuite):
    @pytest.fixture
    async def bench(self): ...
"""

# ruff: noqa: ASYNC240 (the loop under test has nothing else to do)
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from trilith.drivers.contract import ComputeDriver
from trilith.errors import Conflict, Missing, TrilithError, Unsupported
from trilith.model.guest import GuestEvent, GuestEventKind, GuestFacts, GuestSpec, PowerState

ABSENT = "00000000-dead-4bad-8bad-000000000000"
PATIENCE = 60.0


class Bench(Protocol):
    """One node for one test."""

    driver: ComputeDriver

    async def another(self) -> ComputeDriver:
        """A further instance on the same node, as after a restart of the process. The bench closes it."""
        ...

    def spec(self, **changes: Any) -> GuestSpec:
        """A small guest that says "ready" on its console, halts and reboots when asked. Each with a new id."""
        ...

    async def stranger(self) -> Callable[[], Awaitable[bool]]:
        """Make a guest of somebody else; the answer says whether it is still whole."""
        ...

    async def leftovers(self) -> list[str]:
        """What of this cloud's guests is on the node: processes, files, mounts, control groups, domains."""
        ...


async def fact(driver: ComputeDriver, server_id: str) -> GuestFacts | None:
    """What the driver says of one guest, which is what it says of it among all."""
    one = next(iter(await driver.facts(server_id)), None)
    among = next((found for found in await driver.facts() if found.server_id == server_id), None)
    assert (one is None) == (among is None)
    return one


async def power(driver: ComputeDriver, server_id: str) -> PowerState | None:
    found = await fact(driver, server_id)
    return None if found is None else found.power


class Listener:
    """The driver's events from its making on."""

    def __init__(self, driver: ComputeDriver) -> None:
        self._events = driver.events()

    async def until(self, server_id: str, kind: GuestEventKind) -> GuestEvent:
        async with asyncio.timeout(PATIENCE):
            async for event in self._events:
                if event.server_id == server_id and event.kind == kind:
                    return event
        raise AssertionError("the events ended")

    async def close(self) -> None:
        await self._events.aclose()  # type: ignore[attr-defined]


async def said(driver: ComputeDriver, server_id: str, text: bytes, *, times: int = 1) -> bytes:
    """The console log once it holds a text. A log has no event: a bounded wait."""
    async with asyncio.timeout(PATIENCE):
        while True:
            log = await driver.console_log(server_id, max_bytes=1 << 16)
            if log.count(text) >= times:
                return log
            await asyncio.sleep(0.02)


class ComputeSuite:
    @pytest.fixture
    async def bench(self) -> Bench:
        raise NotImplementedError("a driver's test file gives the bench")

    @pytest.fixture(autouse=True)
    async def _leaves_nothing(self, bench: Bench) -> AsyncIterator[None]:
        yield
        for found in await bench.driver.facts():
            await bench.driver.delete(found.server_id)
        assert await bench.leftovers() == []

    async def test_life(self, bench: Bench) -> None:
        driver, spec = bench.driver, bench.spec()
        listener = Listener(driver)
        assert await fact(driver, spec.server_id) is None
        await driver.create(spec)
        assert await power(driver, spec.server_id) is PowerState.SHUTDOWN
        await driver.start(spec)
        await listener.until(spec.server_id, GuestEventKind.STARTED)
        running = await fact(driver, spec.server_id)
        assert running is not None
        assert running.power is PowerState.RUNNING
        assert running.pid > 0
        assert running.started_at > 0
        await said(driver, spec.server_id, b"ready")
        await driver.stop(spec.server_id, timeout=PATIENCE)
        await listener.until(spec.server_id, GuestEventKind.STOPPED)
        assert await power(driver, spec.server_id) is PowerState.SHUTDOWN
        await driver.start(spec)
        await listener.until(spec.server_id, GuestEventKind.STARTED)
        await driver.delete(spec.server_id)
        assert await fact(driver, spec.server_id) is None
        await listener.close()

    async def test_each_call_twice(self, bench: Bench) -> None:
        driver, spec = bench.driver, bench.spec()
        await driver.create(spec)
        await driver.create(spec)
        await driver.start(spec)
        first = await fact(driver, spec.server_id)
        await driver.start(spec)
        assert first is not None
        again = await fact(driver, spec.server_id)
        assert again is not None
        assert again.pid == first.pid, "a second start must leave the guest as it runs"
        await driver.create(spec)
        assert await power(driver, spec.server_id) is PowerState.RUNNING
        await driver.stop(spec.server_id, timeout=0)
        await driver.stop(spec.server_id, timeout=0)
        await driver.resize(spec)
        await driver.resize(spec)
        assert await power(driver, spec.server_id) is PowerState.SHUTDOWN
        await driver.delete(spec.server_id)
        await driver.delete(spec.server_id)
        await driver.delete(ABSENT)

    async def test_start_makes_what_is_missing(self, bench: Bench) -> None:
        driver, spec = bench.driver, bench.spec()
        await driver.start(spec)
        assert await power(driver, spec.server_id) is PowerState.RUNNING

    async def test_absent_guest_is_missing(self, bench: Bench) -> None:
        with pytest.raises(Missing):
            await bench.driver.stop(ABSENT, timeout=0)
        with pytest.raises(Missing):
            await bench.driver.console_log(ABSENT, max_bytes=10)
        with pytest.raises(Missing):
            await bench.driver.resize(bench.spec())

    async def test_reboot_soft_and_hard(self, bench: Bench) -> None:
        driver, spec = bench.driver, bench.spec()
        await driver.create(spec)
        await driver.start(spec)
        await said(driver, spec.server_id, b"ready")
        listener = Listener(driver)
        await driver.reboot(spec, hard=False)
        await listener.until(spec.server_id, GuestEventKind.REBOOTED)
        assert await power(driver, spec.server_id) is PowerState.RUNNING
        await said(driver, spec.server_id, b"ready", times=2)
        before = await fact(driver, spec.server_id)
        await driver.reboot(spec, hard=True)
        after = await fact(driver, spec.server_id)
        assert before is not None
        assert after is not None
        assert after.power is PowerState.RUNNING
        assert (after.pid, after.started_at) != (before.pid, before.started_at)
        await listener.close()

    async def test_hard_reboot_of_a_stopped_guest_starts_it(self, bench: Bench) -> None:
        spec = bench.spec()
        await bench.driver.create(spec)
        await bench.driver.reboot(spec, hard=True)
        assert await power(bench.driver, spec.server_id) is PowerState.RUNNING

    async def test_adoption_by_a_second_instance(self, bench: Bench) -> None:
        spec = bench.spec()
        await bench.driver.create(spec)
        await bench.driver.start(spec)
        before = await fact(bench.driver, spec.server_id)
        await bench.driver.close()
        second = await bench.another()
        listener = Listener(second)
        assert before is not None
        found = await fact(second, spec.server_id)
        assert found is not None
        assert (found.power, found.pid) == (PowerState.RUNNING, before.pid)
        assert found.started_at == pytest.approx(before.started_at, abs=2)
        await second.stop(spec.server_id, timeout=0)
        await listener.until(spec.server_id, GuestEventKind.STOPPED)
        await second.start(spec)
        await second.delete(spec.server_id)
        await listener.close()

    async def test_pause(self, bench: Bench) -> None:
        driver, spec = bench.driver, bench.spec()
        await driver.create(spec)
        await driver.start(spec)
        if not driver.capabilities.pause:
            with pytest.raises(Unsupported):
                await driver.pause(spec.server_id)
            return
        listener = Listener(driver)
        for _ in range(2):
            await driver.pause(spec.server_id)
        await listener.until(spec.server_id, GuestEventKind.PAUSED)
        assert await power(driver, spec.server_id) is PowerState.PAUSED
        for _ in range(2):
            await driver.unpause(spec.server_id)
        await listener.until(spec.server_id, GuestEventKind.RESUMED)
        assert await power(driver, spec.server_id) is PowerState.RUNNING
        await driver.pause(spec.server_id)
        await driver.stop(spec.server_id, timeout=0)
        assert await power(driver, spec.server_id) is PowerState.SHUTDOWN
        with pytest.raises(Conflict):
            await driver.pause(spec.server_id)
        await listener.close()

    async def test_suspend(self, bench: Bench) -> None:
        driver, spec = bench.driver, bench.spec()
        await driver.create(spec)
        await driver.start(spec)
        if not driver.capabilities.suspend:
            with pytest.raises(Unsupported) as refused:
                await driver.suspend(spec.server_id)
            assert refused.value.capability == "suspend"
            return
        await driver.suspend(spec.server_id)
        assert await power(driver, spec.server_id) is PowerState.SUSPENDED
        await driver.resume(spec)
        assert await power(driver, spec.server_id) is PowerState.RUNNING

    async def test_execute(self, bench: Bench) -> None:
        driver, spec = bench.driver, bench.spec()
        await driver.create(spec)
        if not driver.capabilities.execute:
            with pytest.raises(Unsupported):
                await driver.execute(spec.server_id, ["true"], timeout=5)
            return
        with pytest.raises(Conflict):
            await driver.execute(spec.server_id, ["true"], timeout=5)
        await driver.start(spec)
        done = await driver.execute(spec.server_id, ["sh", "-c", "echo out; echo err >&2; exit 3"], timeout=PATIENCE)
        assert (done.exit_code, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
        odd = "a b\"c'$HOME;`id`"
        assert (await driver.execute(spec.server_id, ["echo", odd], timeout=PATIENCE)).stdout == f"{odd}\n".encode()
        left = await driver.execute(spec.server_id, ["sh", "-c", "sleep 3600 & echo left"], timeout=PATIENCE)
        assert (left.exit_code, left.stdout) == (0, b"left\n"), "what stays in the background is not waited for"
        with pytest.raises(TrilithError) as late:
            await driver.execute(spec.server_id, ["sleep", "3721"], timeout=0.5)
        assert late.value.code == "deadline"
        listing = (await driver.execute(spec.server_id, ["ps"], timeout=PATIENCE)).stdout
        assert b"3721" not in listing, "what ran too long is killed inside, too"

    async def test_console_log_is_the_tail(self, bench: Bench) -> None:
        driver, spec = bench.driver, bench.spec()
        await driver.create(spec)
        assert await driver.console_log(spec.server_id, max_bytes=100) == b""
        await driver.start(spec)
        log = await said(driver, spec.server_id, b"ready")
        tail = await driver.console_log(spec.server_id, max_bytes=3)
        assert len(tail) == 3
        assert tail in log
        await driver.stop(spec.server_id, timeout=0)
        assert b"ready" in await driver.console_log(spec.server_id, max_bytes=1 << 16), "kept for a stopped guest"

    async def test_snapshot(self, bench: Bench, tmp_path: Path) -> None:
        driver, spec = bench.driver, bench.spec()
        await driver.create(spec)
        dest = tmp_path / "snapshot"
        if not driver.capabilities.snapshot:
            with pytest.raises(Unsupported):
                await driver.snapshot(spec.server_id, str(dest))
            return
        await driver.start(spec)
        await driver.snapshot(spec.server_id, str(dest))
        assert dest.stat().st_size > 0
        assert await power(driver, spec.server_id) is PowerState.RUNNING
        with pytest.raises(Conflict):
            await driver.snapshot(spec.server_id, str(dest))
        assert [path.name for path in tmp_path.iterdir()] == ["snapshot"], "nothing half-made beside it"

    async def test_resize(self, bench: Bench) -> None:
        driver, spec = bench.driver, bench.spec()
        await driver.create(spec)
        await driver.start(spec)
        larger = replace(spec, memory_mib=spec.memory_mib * 2, vcpus=spec.vcpus + 1)
        if not driver.capabilities.live_resize:
            await driver.stop(spec.server_id, timeout=0)
        await driver.resize(larger)
        if not driver.capabilities.live_resize:
            await driver.start(larger)
        assert await power(driver, spec.server_id) is PowerState.RUNNING

    async def test_strangers_are_left_alone(self, bench: Bench) -> None:
        whole = await bench.stranger()
        spec = bench.spec()
        await bench.driver.create(spec)
        await bench.driver.start(spec)
        assert [found.server_id for found in await bench.driver.facts()] == [spec.server_id]
        await bench.driver.delete(spec.server_id)
        assert await whole()

    async def test_bad_calls_are_refused_and_leave_nothing(self, bench: Bench) -> None:
        for changes in ({"hostname": "a\nb"}, {"server_id": "../../etc"}, {"vcpus": 0}):
            spec = replace(bench.spec(), **changes)  # type: ignore[arg-type]
            with pytest.raises(TrilithError) as refused:
                await bench.driver.create(spec)
            assert refused.value.code == "invalid", changes
        assert await bench.driver.facts() == []

    async def test_many_at_once(self, bench: Bench) -> None:
        specs = [bench.spec() for _ in range(4)]
        await asyncio.gather(*(bench.driver.start(spec) for spec in specs))
        states = {found.server_id: found.power for found in await bench.driver.facts()}
        assert states == {spec.server_id: PowerState.RUNNING for spec in specs}
        await asyncio.gather(*(bench.driver.delete(spec.server_id) for spec in specs))
        assert await bench.driver.facts() == []

    async def test_probe(self, bench: Bench) -> None:
        facts = await bench.driver.probe()
        assert bench.driver.capabilities.pillar in facts.pillars
        assert set(facts.inventories) == {"VCPU", "MEMORY_MB", "DISK_GB"}
        assert facts.inventories["VCPU"] > 0
        assert facts.inventories["MEMORY_MB"] > 0
