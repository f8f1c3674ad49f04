"""A container's power button, pressed while its first process does not listen yet."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.contracts.compute_suite", "tests.contracts.lxc_bench")

from tests.contracts.compute_suite import Listener, power, said  # noqa: E402
from tests.contracts.lxc_bench import LxcBench, busybox_root, lxc_bench  # noqa: E402
from trilith.drivers.lxc import signals, state  # noqa: E402
from trilith.model.guest import GuestEventKind, PowerState  # noqa: E402

pytestmark = [pytest.mark.root, pytest.mark.lxc]


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LxcBench]:
    monkeypatch.setattr(signals, "PRESS_AGAIN", 0.5)
    async with lxc_bench(busybox_root(tmp_path / "root")) as made:
        yield made


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The guest does not hear the first press; the numbers of all that were sent."""
    found, sent = signals.send, list[int]()

    def send(process: state.Process, number: int) -> None:
        sent.append(number)
        if len(sent) > 1 or number == signal.SIGKILL:
            found(process, number)

    monkeypatch.setattr(signals, "send", send)
    return sent


async def test_a_reboot_is_asked_for_again(bench: LxcBench, deaf: list[int]) -> None:
    spec = bench.spec()
    await bench.driver.create(spec)
    await bench.driver.start(spec)
    await said(bench.driver, spec.server_id, b"ready")
    listener = Listener(bench.driver)
    await bench.driver.reboot(spec, hard=False)
    await listener.until(spec.server_id, GuestEventKind.REBOOTED)
    await listener.close()
    assert len(deaf) >= 2
    assert signal.SIGKILL not in deaf


async def test_a_stop_is_asked_for_again(bench: LxcBench, deaf: list[int]) -> None:
    spec = bench.spec()
    await bench.driver.create(spec)
    await bench.driver.start(spec)
    await said(bench.driver, spec.server_id, b"ready")
    await bench.driver.stop(spec.server_id, timeout=30)
    assert await power(bench.driver, spec.server_id) is PowerState.SHUTDOWN
    assert deaf[0] == deaf[1]
