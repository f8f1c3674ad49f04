"""The measurement of pillars: its program, its arithmetic, and what it decides to measure."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trilith import errors
from trilith.cli.measuring import host, pillars, program
from trilith.cli.measuring.pillars import Target
from trilith.cli.measuring.program import Line, Rounds
from trilith.model.figures import UNITS, FigureName
from trilith.model.guest import Pillar
from trilith.model.pillar_figures import GuestKind

_COMPILES = shutil.which("gcc") is not None and platform.machine() == "x86_64"
compiled = pytest.mark.skipif(not _COMPILES, reason="needs gcc on x86-64")
#: bytes that the API takes of user data, in base64
_USER_DATA = 65_535


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return program.build(tmp_path_factory.mktemp("program"))


@compiled
def test_a_bare_process_is_measured_in_every_figure_that_it_has(built: Path, tmp_path: Path) -> None:
    rounds = Rounds(guests=1, wake=40, call=5, sync=4, stream=2, stream_mib=1, rtt=20, send=2, send_mib=1)
    found = host.bare_process(built, rounds, tmp_path)
    without = {FigureName.MEMORY, FigureName.MEMORY_OVERHEAD, FigureName.MEMORY_OVERHEAD_SHARE}
    assert set(found) == set(FigureName) - without == {n for n in program.HOW if n not in without}
    assert set(program.HOW) == set(UNITS)
    counts = {n: s.samples for n, s in found.items()}
    assert (counts[FigureName.SCHEDULING_LATENCY], counts[FigureName.NETWORK_ROUND_TRIP]) == (40, 20)
    for spread in found.values():
        assert 0 < spread.low <= spread.value <= spread.high
    assert list(tmp_path.iterdir()) == []


@compiled
def test_a_sleep_is_as_late_as_the_clock_says(built: Path) -> None:
    """Beside a clock that is not the program's own: 50 sleeps of 2 ms take 100 ms and the lateness of the last."""
    began = os.times().elapsed
    line = program.run_here(built, ("wake", "50", "2000"))
    assert os.times().elapsed - began >= 0.09
    assert 0 < line.p10 <= line.median <= line.p90 < 1e9


@compiled
@pytest.mark.parametrize(
    ("words", "errno"),
    [
        (("sync", "1", "/nowhere/at/all"), 2),
        (("wake", "0", "1000"), 22),
        (("wake", "5", "1x"), 22),
        (("wake", "99999999999999999999", "1000"), 22),
        (("rtt", "1", "1.2.3", "7"), 22),
        (("rtt", "1", "1.2.3.400", "7"), 22),
        (("send", "1", "1", "127.0.0.1", "1"), 111),
        (("call", "5"), 22),
        (("other",), 22),
    ],
)
def test_what_the_program_cannot_do_it_says(built: Path, words: tuple[str, ...], errno: int) -> None:
    with pytest.raises(errors.Backend, match=f"errno {errno}"):
        program.run_here(built, words)


@compiled
def test_user_data_holds_the_program_and_fits(built: Path, tmp_path: Path) -> None:
    commands = [*Rounds().commands(program.guest_folder(), "198.18.77.3").values(), ("hello",)]
    script = program.measuring_script(built, commands)
    assert len(script) * 4 / 3 < _USER_DATA
    # as a guest runs it, in a directory of this test
    text = script.decode().replace("cd /var/tmp", f"cd {tmp_path}").replace("/dev/console", "told")
    lines = [line for line in text.splitlines() if "./trilith-measure " not in line or "hello" in line]
    text = "\n".join(lines).replace("while :; do say >told; sleep 3; done", "say >told")
    subprocess.run(["sh", "-c", text], check=True, timeout=20, cwd=tmp_path)
    assert (tmp_path / "trilith-measure").read_bytes() == built.read_bytes()
    assert (tmp_path / "told").read_text() == "trilith-benchmark: hello\ntrilith-benchmark: end\n"
    assert program.END.search((tmp_path / "told").read_bytes())


def test_what_a_guests_own_processes_hold_is_read_by_the_shell(tmp_path: Path) -> None:
    text = program.quiet_script().decode()
    text = text.replace("cd /var/tmp", f"cd {tmp_path}").replace("/dev/console", "told")
    text = text.replace("/proc/[0-9]*", f"/proc/{os.getpid()}").replace(
        "while :; do say >told; sleep 3; done", "say>told"
    )
    subprocess.run(["sh", "-c", text], check=True, timeout=20)
    found = program.OWN.search((tmp_path / "told").read_bytes())
    assert found is not None
    mine = Path("/proc/self/smaps_rollup").read_text()
    pss = sum(int(line.split()[1]) for line in mine.splitlines() if line.startswith("Pss:"))
    assert int(found[1]) == pytest.approx(pss, rel=0.2)


def test_lines_are_found_among_what_a_console_shows() -> None:
    text = "[ 0.1] eth0 up\r\ntrilith-benchmark: figure call 5 1 2 3 4\r\nx\r\ntrilith-benchmark: failed rtt 110\r\n"
    assert program.read(text, "call") == Line(samples=5, p10=1, median=2, p90=3)
    with pytest.raises(errors.Backend, match="rtt failed with errno 110"):
        program.read(text, "rtt")
    with pytest.raises(errors.Backend, match="sync said nothing"):
        program.read(text, "sync")
    assert program.OWN.search(b"trilith-benchmark: own 12") is None, "a line that is not whole yet"


def test_a_telling_of_which_the_console_lost_a_part_is_waited_out() -> None:
    call, end = b"trilith-benchmark: figure call 5 1 2 3 4\r\n", b"trilith-benchmark: end\r\n"
    assert not program.complete(call, ["call"])
    assert program.complete(call + end, ["call"])
    assert not program.complete(call + end, ["call", "rtt"])
    assert not program.complete(b"figure rtt 5 1\r\n" + call + end, ["call", "rtt"]), "only the end of a line"
    assert program.complete(call + end + b"trilith-benchmark: failed rtt 110\r\n" + end, ["call", "rtt"])
    assert program.complete((call + end) * 4, ["call", "rtt"]), "it will never come"


def test_units_of_times_and_throughputs() -> None:
    line = Line(samples=3, p10=1_000_000_000, median=2_000_000_000, p90=4_000_000_000)
    rounds = Rounds(stream_mib=64, send_mib=100)
    disk = rounds.spread(FigureName.DISK_THROUGHPUT, line)
    assert (disk.low, disk.value, disk.high) == (16.0, 32.0, 64.0)
    assert rounds.spread(FigureName.NETWORK_THROUGHPUT, line).value == pytest.approx(419.43)
    assert rounds.spread(FigureName.SYSTEM_CALL, line).value == 2e9
    assert rounds.spread(FigureName.DISK_WRITE_LATENCY, line).value == 2e6


def test_percentiles_are_by_nearest_rank() -> None:
    ten = host.spread([float(n) for n in range(10, 0, -1)])
    assert (ten.low, ten.value, ten.high, ten.samples) == (1.0, 5.0, 9.0, 10)
    one = host.spread([7.0])
    assert (one.low, one.value, one.high) == (7.0, 7.0, 7.0)


def test_memory_of_a_guest_is_that_of_the_processes_that_name_it() -> None:
    name = f"guest-{os.getpid()}-of-this-test"
    script = "import sys; held = bytearray(b'x') * (32 << 20); print(flush=True); sys.stdin.read()"
    argv = [sys.executable, "-c", script, name]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert host.processes_of(name) == [child.pid]
        assert 32 < host.memory_of(name) < 80
        child.communicate(b"")
    with pytest.raises(errors.Missing):
        host.memory_of(name)


_ID = "18f22970-e598-4c3d-bffa-a3ddb3b181c1"


@pytest.mark.parametrize(
    ("text", "group"),
    [
        (f"4:memory:/trilith-{_ID}/user/x\n9:name=systemd:/trilith-{_ID}\n", f"memory/trilith-{_ID}"),
        (f"0::/trilith-{_ID}/system.slice\n", f"trilith-{_ID}"),
        (
            f"0::/machine.slice/machine-qemu\\x2d1\\x2d{_ID.replace('-', chr(92) + 'x2d')}.scope/libvirt/emulator\n",
            f"machine.slice/machine-qemu\\x2d1\\x2d{_ID.replace('-', chr(92) + 'x2d')}.scope",
        ),
    ],
)
def test_the_group_whose_kernel_memory_counts_is_the_guests_own(text: str, group: str) -> None:
    assert list(host.memory_groups(text, _ID)) == [Path("/sys/fs/cgroup", group)]
    assert list(host.memory_groups("4:memory:/\n0::/user.slice\n", _ID)) == []


def test_the_facts_of_this_host() -> None:
    found = host.facts("n")
    assert (found.name, found.kernel) == ("n", os.uname().release)
    assert found.threads > 0
    assert found.memory_mib > 100
    assert found.cpu


# ---- what is measured


def node(*pillars: str, traits: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return {"name": "n", "simulated": False, "alive": True, "enabled": True, "pillars": list(pillars),
            "traits": list(traits)} | more  # fmt: skip


LXC = Target(pillar=Pillar.LXC, guest=GuestKind.LINUX)
BARE = Target(pillar=Pillar.KVM, guest=GuestKind.BARE)
KVM = Target(pillar=Pillar.KVM, guest=GuestKind.LINUX)
SLOW = Target(pillar=Pillar.KVM, guest=GuestKind.LINUX, emulated=True)
XEN = Target(pillar=Pillar.XEN, guest=GuestKind.LINUX)
BOTH = ("CUSTOM_KVM_BARE", "CUSTOM_KVM_LINUX")


@pytest.mark.parametrize(
    ("traits", "emulated", "targets", "not_here"),
    [
        (BOTH, False, {LXC, BARE, KVM}, {"xen"}),
        (BOTH, True, {LXC, BARE, KVM}, {"xen"}),
        (BOTH[:1], False, {LXC, BARE}, {"xen", "kvm"}),
        (BOTH[:1], True, {LXC, BARE, SLOW}, {"xen", "kvm"}),
        ((), False, {LXC}, {"xen", "kvm"}),
        ((), True, {LXC, SLOW}, {"xen", "kvm"}),
    ],
)
def test_linux_under_emulation_is_never_taken_for_kvm(
    traits: tuple[str, ...], emulated: bool, targets: set[Target], not_here: set[str]
) -> None:
    found = pillars.plan(node("kvm", "lxc", traits=traits), emulated=emulated)
    assert (set(found.targets), set(found.not_here)) == (targets, not_here)
    assert found.not_here["xen"] == "not on this host"


def test_only_the_pillars_asked_for() -> None:
    found = pillars.plan(node("xen", "lxc"), only=[Pillar.XEN])
    assert (found.targets, found.not_here) == ((XEN,), {})


@pytest.mark.parametrize(
    ("given", "only", "error", "words"),
    [
        (node("lxc", simulated=True), [], errors.Unsupported, "its guests do not exist"),
        (node("lxc", alive=False), [], errors.Conflict, "takes no servers"),
        (node("lxc", enabled=False), [], errors.Conflict, "takes no servers"),
        (node("lxc"), [Pillar.XEN], errors.Unsupported, "nothing to measure on n: xen: not on this host"),
        (node("kvm"), [], errors.Unsupported, "kvm: Linux runs only under emulation"),
        (node(), [], errors.Unsupported, "nothing to measure"),
    ],
)
def test_where_there_is_nothing_to_measure_it_says_so(
    given: dict[str, Any], only: list[Pillar], error: type[errors.TrilithError], words: str
) -> None:
    with pytest.raises(error, match=words):
        pillars.plan(given, only=only)


def test_one_at_a_time_and_what_a_killed_one_left_goes(tmp_path: Path) -> None:
    (tmp_path / "benchmark" / "left").mkdir(parents=True)
    with pillars.one_at_a_time(tmp_path) as folder:
        assert list((tmp_path / "benchmark").iterdir()) == [folder]
        with pytest.raises(errors.Conflict, match="Another measurement"), pillars.one_at_a_time(tmp_path):
            pass
    assert list((tmp_path / "benchmark").iterdir()) == []


def test_without_a_compiler_it_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.Unsupported, match="no C compiler") as caught:
        program.build(tmp_path)
    assert "gcc" in caught.value.hint
