"""`trilith doctor` on this very host: real guests, a real container, a real OVN; and nothing is left, also when it is
cut short in the middle of any trial."""

# ruff: noqa: ASYNC240 (the loop under test has nothing else to do)
from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.root, pytest.mark.ovn, pytest.mark.lxc, pytest.mark.libvirt]

_MAIN = (sys.executable, "-m", "trilith.cli.main", "doctor")


@dataclass
class Host:
    """What a doctor with this pid could leave."""

    state: Path
    pid: int

    def left(self) -> list[str]:
        """Everything that carries the trial's names: namespaces, directories, mounts, loops, processes, groups."""
        found = [str(p) for p in Path("/run/netns").glob(f"tld-{self.pid}-*")]
        found += [str(p) for p in self.state.glob("tld-*")]
        found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if f"{self.state}/tld-" in line]
        for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
            with contextlib.suppress(OSError):  # others' devices come and go
                found += [str(backing)] if str(self.state) in backing.read_text() else []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                found += [f"process {entry.name}"] if self._ours(entry) else []
        return found

    def _ours(self, entry: Path) -> bool:
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return int(parent) == self.pid or f"{self.state}/tld-" in command


@pytest.fixture
def state() -> Iterator[Path]:
    """Where a container's root may pass, unlike pytest's own directories."""
    made = Path(tempfile.mkdtemp(prefix="doctored-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


async def doctor(state: Path, *argv: str) -> tuple[dict[str, Any], Host, int]:
    process = await asyncio.create_subprocess_exec(
        *_MAIN, "--state", str(state), *argv, "--json",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 200)
    assert b"Traceback" not in err, err.decode()
    return json.loads(out), Host(state, process.pid), process.returncode or 0


def by_check(found: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [f for f in found["findings"] if f["check"] == name]


async def test_this_host_is_tested_for_real(state: Path) -> None:
    found, host, code = await doctor(state)
    assert await asyncio.to_thread(host.left) == []
    names = {f["check"] for f in found["findings"]}
    assert names == {
        "system", "packages", "clock", "disk", "cgroups", "user-namespaces", "confinement", "datapath", "firewall",
        "ports", "cloud", "kvm", "container", "network", "advisor-rules",
    }  # fmt: skip
    for finding in found["findings"]:
        assert finding["level"] in ("fine", "warning", "problem", "unknown")
        assert finding["text"]
        if finding["level"] != "fine":
            assert finding["todo"], finding
    assert code == (1 if found["problems"] else 0)
    assert any("limits hold: memory, disk, processes" in f["text"] for f in by_check(found, "container")), found
    assert any("ping each other through OVN" in f["text"] for f in by_check(found, "network")), found
    kvm = by_check(found, "kvm")[0]
    assert kvm["facts"]["kvm.bare"] in ("true", "false")
    if Path("/dev/kvm").exists():
        assert "4 MiB guest ran" in kvm["text"] or kvm["level"] == "warning"


@pytest.mark.parametrize("check", ["kvm", "container", "network"])
@pytest.mark.parametrize("after", [0.15, 0.35, 0.5, 0.55, 0.6])  # a trial takes about that long: also into its removal
async def test_ctrl_c_in_a_trial_leaves_nothing(state: Path, check: str, after: float) -> None:
    process = await asyncio.create_subprocess_exec(
        *_MAIN, "--state", str(state), "--only", check,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    started = await asyncio.wait_for(process.stderr.readline(), 30)
    assert started, "the trial's own line says that it has begun"
    await asyncio.sleep(after)  # into the midst of it, wherever that is
    if process.returncode is None:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)  # an impatient user
    out, err = await asyncio.wait_for(process.communicate(), 60)
    # -SIGINT: the trial was over, and the signal met the interpreter's own end
    assert process.returncode in (0, 1, 130, -signal.SIGINT), err.decode()
    assert b"Traceback" not in err, err.decode()
    assert await asyncio.to_thread(Host(state, process.pid).left) == [], (process.returncode, out + err)


@pytest.mark.parametrize("check", ["container", "network"])
async def test_what_a_killed_doctor_left_is_told_with_what_removes_it(state: Path, check: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *_MAIN, "--state", str(state), "--only", check,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    await asyncio.wait_for(process.stderr.readline(), 30)
    host = Host(state, process.pid)
    while not list(state.glob("tld-*")) and process.returncode is None:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.25)
    process.kill()
    await process.wait()
    found, _, _ = await doctor(state, "--only", "cloud")
    told = [f for f in by_check(found, "cloud") if "was killed" in f["text"]]
    left = await asyncio.to_thread(host.left)
    assert bool(told) == bool(left), (told, left)
    if told:
        ours = [c for c in told[0]["todo"].split("; ") if f"-{process.pid}-" in c]
        shell = await asyncio.create_subprocess_exec("bash", "-c", "; ".join(ours))
        await asyncio.wait_for(shell.wait(), 60)
        assert await asyncio.to_thread(host.left) == []


async def test_a_directory_that_containers_cannot_pass_is_named(state: Path) -> None:
    state.chmod(0o700)
    found, host, code = await doctor(state, "--only", "container")
    assert code == 1
    assert by_check(found, "container")[0]["todo"].startswith(f"chmod o+x {state}")
    assert await asyncio.to_thread(host.left) == []


async def test_a_taken_port_is_a_problem_with_an_answer(state: Path) -> None:
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        found, _, code = await doctor(state, "--only", "ports", "--listen", f"127.0.0.1:{port}")
    finally:
        server.close()
    assert code == 1
    assert "--listen" in by_check(found, "ports")[0]["todo"]


async def test_a_dead_control_plane_and_dead_daemons_are_told(state: Path) -> None:
    """The records that `trilith up` and its supervisor write, of processes that are gone."""
    (state / "run").mkdir()
    (state / "run/up.json").write_text(json.dumps({"pid": 4_000_000, "started": 1, "url": "http://127.0.0.1:1"}))
    daemons = state / "node/daemons"
    daemons.mkdir(parents=True)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (daemons / "ovn-northd.json").write_text(json.dumps({"boot": boot, "pid": 4_000_000, "start": 1}))
    own = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    (daemons / "ovsdb-local.json").write_text(json.dumps({"boot": boot, "pid": os.getpid(), "start": int(own)}))
    (daemons / "broken.json").write_text("{")
    found, _, _ = await doctor(state, "--only", "cloud")
    text = " ".join(f["text"] for f in by_check(found, "cloud"))
    assert "control plane is not running" in text
    assert re.search(r"Daemons are dead: ovn-northd\.", text)
    assert "daemons alive: ovsdb-local" in text
    assert "cannot be read: broken" in text


async def test_an_unknown_check_is_named() -> None:
    process = await asyncio.create_subprocess_exec(*_MAIN, "--only", "nope", stderr=asyncio.subprocess.PIPE)
    _, err = await process.communicate()
    assert process.returncode == 1
    assert b"There are: system, packages" in err
