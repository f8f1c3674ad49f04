"""The supervisor with small processes of its own: order, adoption, deaths, stops."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from trilith.agent.process import Process, boot_id, find_by_token, start_time
from trilith.agent.supervise import TOKEN, DaemonEvent, DaemonSpec, Supervisor, answers
from trilith.errors import Backend, Deadline, Invalid

#: Makes the file given, and stays; a second argument makes it deaf to SIGTERM.
DAEMON = """
import signal, sys, time
if len(sys.argv) > 2: signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "a").close()
time.sleep(600)
"""


class Bench:
    def __init__(self, tmp_path: Path) -> None:
        self.path = tmp_path
        self.events: list[DaemonEvent] = []
        self.changed = asyncio.Event()
        self.supervisors: list[Supervisor] = []

    def supervisor(self) -> Supervisor:
        made = Supervisor(self.path / "state", notify=self._told)
        self.supervisors.append(made)
        return made

    def spec(self, name: str, *more: str, **settings: object) -> DaemonSpec:
        ready = self.path / f"{name}.ready"
        return DaemonSpec(
            name=name,
            argv=(sys.executable, "-S", "-c", DAEMON, str(ready), *more),
            ready=settings.pop("ready", ready),  # type: ignore[arg-type]
            log=self.path / f"{name}.log",
            **settings,  # type: ignore[arg-type]
        )

    def said(self, what: str) -> list[str]:
        return [e.name for e in self.events if e.what == what]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def _told(self, event: DaemonEvent) -> None:
        self.events.append(event)
        self.changed.set()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for supervisor in made.supervisors:
        await supervisor.stop()
        await supervisor.close()


def pids(supervisor: Supervisor) -> dict[str, int]:
    return {s.name: s.pid for s in supervisor.status()}


async def test_starts_in_order_and_stops_in_reverse(bench: Bench) -> None:
    supervisor = bench.supervisor()
    await supervisor.start([bench.spec("c", depends_on=("b",)), bench.spec("b", depends_on=("a",)), bench.spec("a")])
    running = pids(supervisor)
    assert bench.said("started") == ["a", "b", "c"]
    assert all(os.getsid(pid) == pid for pid in running.values())
    await supervisor.stop()
    assert bench.said("stopped") == ["c", "b", "a"]
    assert not any(start_time(pid) for pid in running.values())
    assert list((bench.path / "state").iterdir()) == []
    assert not list(bench.path.glob("*.ready"))
    await supervisor.stop()


async def test_adopts_what_runs(bench: Bench) -> None:
    first = bench.supervisor()
    await first.start([bench.spec("a")])
    before = pids(first)
    await first.close()
    second = bench.supervisor()
    await second.start([bench.spec("a")])
    assert pids(second) == before
    assert bench.said("adopted") == ["a"]
    # an adopted daemon's death is seen, too
    os.kill(before["a"], signal.SIGKILL)
    await bench.until(lambda: bench.said("started") == ["a", "a"])
    assert pids(second)["a"] not in (0, before["a"])


async def test_adopts_without_a_record(bench: Bench) -> None:
    """The starter died between the start and the record."""
    first = bench.supervisor()
    await first.start([bench.spec("a")])
    before = pids(first)
    await first.close()
    (bench.path / "state" / "a.json").unlink()
    second = bench.supervisor()
    await second.start([bench.spec("a")])
    assert pids(second) == before
    assert (bench.path / "state" / "a.json").exists()


async def test_stops_what_another_started(bench: Bench) -> None:
    first = bench.supervisor()
    await first.start([bench.spec("a"), bench.spec("b", depends_on=("a",))])
    before = pids(first)
    await first.close()
    second = bench.supervisor()
    second.know([bench.spec("a"), bench.spec("b", depends_on=("a",)), bench.spec("never-started")])
    await second.stop()
    assert not any(start_time(pid) for pid in before.values())
    assert list((bench.path / "state").iterdir()) == []


@pytest.mark.parametrize("damage", ["boot", "start", "cut"])
async def test_a_record_that_is_not_to_be_trusted(bench: Bench, damage: str) -> None:
    """Another boot's, another process's, or half a file: the token finds the daemon all the same."""
    first = bench.supervisor()
    await first.start([bench.spec("a")])
    before = pids(first)
    await first.close()
    path = bench.path / "state" / "a.json"
    record = json.loads(path.read_text())
    path.write_text("{" if damage == "cut" else json.dumps(record | {damage: "1"}))
    second = bench.supervisor()
    await second.start([bench.spec("a")])
    assert pids(second) == before


async def test_a_pid_of_another_process_is_not_ours(bench: Bench) -> None:
    (bench.path / "state").mkdir()
    record = {
        "pid": os.getpid(),
        "start": start_time(os.getpid()) - 1,
        "boot": boot_id(),
        "fingerprint": "",
        "cgroup": "",
    }
    (bench.path / "state" / "a.json").write_text(json.dumps(record))
    supervisor = bench.supervisor()
    await supervisor.start([bench.spec("a")])
    assert pids(supervisor)["a"] != os.getpid()
    assert bench.said("started") == ["a"]


async def test_a_changed_command_replaces_the_daemon(bench: Bench) -> None:
    first = bench.supervisor()
    await first.start([bench.spec("a")])
    before = pids(first)["a"]
    await first.close()
    second = bench.supervisor()
    await second.start([bench.spec("a", env={"NEW": "1"})])
    assert pids(second)["a"] != before
    assert not start_time(before)


async def test_a_death_takes_those_along_that_must_not_outlive_it(bench: Bench) -> None:
    prepared: list[str] = []

    def noting(name: str) -> Callable[[], object]:
        async def note() -> None:
            prepared.append(name)

        return note

    supervisor = bench.supervisor()
    await supervisor.start(
        [
            bench.spec("switch", prepare=noting("prepare"), arrange=noting("arrange")),
            bench.spec("controller", depends_on=("switch",), restart_with=("switch",)),
            bench.spec("other", depends_on=("switch",)),
        ]
    )
    before = pids(supervisor)
    os.kill(before["switch"], signal.SIGKILL)
    await bench.until(lambda: bench.said("started").count("controller") == 2)
    after = pids(supervisor)
    assert after["switch"] != before["switch"]
    assert after["controller"] != before["controller"]
    assert after["other"] == before["other"]
    assert bench.said("started")[3:] == ["switch", "controller"]
    assert prepared == ["prepare", "arrange"] * 2
    assert {s.name: s.restarts for s in supervisor.status()} == {"switch": 1, "controller": 1, "other": 0}


async def test_one_that_keeps_dying_is_tried_ever_more_slowly(bench: Bench) -> None:
    supervisor = bench.supervisor()
    await supervisor.start([bench.spec("a")])

    async def broken() -> None:
        raise Backend("The disk is full.")

    supervisor._daemons["a"].spec = bench.spec("a", prepare=broken)
    os.kill(pids(supervisor)["a"], signal.SIGKILL)
    await bench.until(lambda: len(bench.said("failed")) == 3)
    assert [e.detail for e in bench.events if e.what == "restarting"][:2] == ["in 0.1 s", "in 0.2 s"]
    assert supervisor.status()[0].detail == "The disk is full."
    # stopped while it waits for its next try: it stays down
    await supervisor.stop()
    assert supervisor.status() == []


def test_a_socket_counts_once_somebody_listens(tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert not answers(path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert not answers(path)
        server.listen(1)
        assert all(answers(path) for _ in range(5))
    assert not answers(path)


async def test_a_full_disk_at_a_restart_is_one_failed_try(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: what was no Backend ended the watch, and the daemon stayed dead with room on the disk again."""
    supervisor = bench.supervisor()
    await supervisor.start([bench.spec("a")])
    found, left = supervisor._launch, [OSError(errno.ENOSPC, "No space left on device")]

    def launch(spec: DaemonSpec) -> Process:
        if left:
            raise left.pop()
        return found(spec)

    monkeypatch.setattr(supervisor, "_launch", launch)
    os.kill(pids(supervisor)["a"], signal.SIGKILL)
    await bench.until(lambda: bench.said("started") == ["a", "a"])
    assert bench.said("failed") == ["a"]


async def test_a_deaf_daemon_is_killed_at_the_deadline(bench: Bench) -> None:
    supervisor = bench.supervisor()
    await supervisor.start([bench.spec("a", "deaf", stop_timeout=0.1)])
    pid = pids(supervisor)["a"]
    await supervisor.stop()
    assert not start_time(pid)


async def test_failed_starts_say_why_and_leave_nothing(bench: Bench) -> None:
    supervisor = bench.supervisor()
    bad = DaemonSpec(
        name="bad",
        argv=(sys.executable, "-S", "-c", "raise SystemExit('no such disk')"),
        ready=bench.path / "never",
        log=bench.path / "bad.log",
    )
    with pytest.raises(Backend, match="no such disk"):
        await supervisor.start([bad])
    with pytest.raises(Backend, match="not start"):
        await supervisor.start([DaemonSpec(name="absent", argv=("/nonexistent",), log=bench.path / "x.log")])
    with pytest.raises(Deadline, match="not ready"):
        await supervisor.start([bench.spec("slow", ready=bench.path / "never", ready_timeout=0.2)])
    assert all(s.pid == 0 for s in supervisor.status())
    assert find_by_token(TOKEN, f"{bench.path / 'state'}:slow") is None
    with pytest.raises(Invalid, match="itself"):
        await bench.supervisor().start([bench.spec("a", depends_on=("b",)), bench.spec("b", depends_on=("a",))])


async def test_a_dependant_of_a_failed_daemon_is_not_started(bench: Bench) -> None:
    supervisor = bench.supervisor()
    broken = bench.spec("a", ready=bench.path / "never", ready_timeout=0.1)
    with pytest.raises(Deadline):
        await supervisor.start([broken, bench.spec("b", depends_on=("a",))])
    assert bench.said("started") == []
    assert pids(supervisor) == {"a": 0, "b": 0}


@pytest.mark.root
async def test_a_cgroup_of_its_own_is_removed_with_it(bench: Bench) -> None:
    supervisor = bench.supervisor()
    name = f"trilith-test-{os.getpid()}"
    await supervisor.start([bench.spec("a", cgroup=name)])
    group = Path(json.loads((bench.path / "state" / "a.json").read_text())["cgroup"])
    assert group.name == name
    assert (group / "cgroup.procs").read_text().split() == [str(pids(supervisor)["a"])]
    await supervisor.stop()
    assert group.name not in os.listdir(group.parent)


async def test_daemons_outlive_a_killed_supervisor(bench: Bench) -> None:
    script = f"""
import asyncio, os, signal, sys
from pathlib import Path
from trilith.agent.supervise import DaemonSpec, Supervisor, answers
async def main():
    spec = DaemonSpec(name="a", argv=(sys.executable, "-S", "-c", {DAEMON!r}, {str(bench.path / "a.ready")!r}),
                      ready=Path({str(bench.path / "a.ready")!r}), log=Path({str(bench.path / "a.log")!r}))
    await Supervisor(Path({str(bench.path / "state")!r})).start([spec])
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    assert await child.wait() == -signal.SIGKILL
    supervisor = bench.supervisor()
    await supervisor.start([bench.spec("a")])
    assert bench.said("adopted") == ["a"]
    pid = pids(supervisor)["a"]
    await supervisor.stop()
    assert not start_time(pid)
