"""This host: what it is, what a guest's processes hold of it, and the same measurements as a bare process."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from trilith import errors
from trilith.cli.measuring import program
from trilith.cli.measuring.program import Rounds
from trilith.model.figures import FigureName, MeasuredHost
from trilith.model.pillar_figures import Spread

_PROC, _CGROUP = Path("/proc"), Path("/sys/fs/cgroup")


def facts(node: str) -> MeasuredHost:
    info = (_PROC / "cpuinfo").read_text()
    first = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in info.split("\n\n")[0].splitlines())}
    memory = next(
        int(line.split()[1]) // 1024
        for line in (_PROC / "meminfo").read_text().splitlines()
        if line.startswith("MemTotal:")
    )
    return MeasuredHost(
        name=node,
        cpu=first.get("model name", ""),
        threads=len(os.sched_getaffinity(0)),
        memory_mib=memory,
        kernel=os.uname().release,
        virtualization=_virtualization(first.get("flags", "").split()),
        version=version("trilith"),
        load=round(os.getloadavg()[0], 2),
    )


def _virtualization(flags: Sequence[str]) -> str:
    """What this machine itself runs in; "" on metal. The CPU says that, DMI or Xen's own file says in what."""
    with contextlib.suppress(OSError):
        return Path("/sys/hypervisor/type").read_text().strip()
    if "hypervisor" not in flags:
        return ""
    words = []
    for name in ("sys_vendor", "product_name"):
        with contextlib.suppress(OSError):
            words.append(Path("/sys/class/dmi/id", name).read_text().strip())
    return " ".join(words) or "a virtual machine"


def spread(values: Sequence[float]) -> Spread:
    """Median, 10th and 90th percentile, each by nearest rank. Raises ValueError for none."""
    ordered = sorted(values)

    def at(percent: int) -> float:
        return round(ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)], 3)

    return Spread(value=at(50), low=at(10), high=at(90), samples=len(ordered))


# ---- memory


def processes_of(server_id: str) -> list[int]:
    """Every process of the host that is a guest's: the command line names it (QEMU, a container's monitor), or the
    control group does (what runs in a container)."""
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # ended meanwhile
            line = (entry / "cmdline").read_bytes().decode(errors="replace")
            if server_id in line or server_id in _plain((entry / "cgroup").read_text()):
                found.append(int(entry.name))
    return found


def _plain(text: str) -> str:
    """systemd.unit(5): a hyphen in the name of what a unit is for is written so."""
    return text.replace("\\x2d", "-")


def memory_of(server_id: str) -> float:
    """MiB of this host's memory that a running guest holds: the PSS of its processes (proc(5), smaps_rollup), and what
    the kernel holds for its control group where that is counted. Raises Missing when nothing of it runs."""
    kib = 0
    groups: set[Path] = set()
    for pid in processes_of(server_id):
        with contextlib.suppress(OSError):
            text = (_PROC / str(pid) / "smaps_rollup").read_text()
            kib += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
            groups |= set(memory_groups((_PROC / str(pid) / "cgroup").read_text(), server_id))
    if not kib:
        raise errors.Missing(f"No process of the guest {server_id} runs on this host.")
    return kib / 1024 + sum(_kernel_mib(group) for group in groups)


def memory_groups(text: str, server_id: str) -> Iterator[Path]:
    """text: of /proc/<pid>/cgroup (cgroups(7)). The guest's own group, not one that something in it made below."""
    for line in text.splitlines():
        number, names, path = line.split(":", 2)
        parts = path.strip("/").split("/")
        named = next((i for i, part in enumerate(parts) if server_id in _plain(part)), None)
        if named is None:
            continue
        if "memory" in names.split(","):
            yield Path(_CGROUP, "memory", *parts[: named + 1])
        elif number == "0":
            yield Path(_CGROUP, *parts[: named + 1])


def _kernel_mib(group: Path) -> float:
    """cgroup-v2.rst: memory.stat, kernel. cgroup-v1/memory.rst: memory.kmem.usage_in_bytes."""
    with contextlib.suppress(OSError):
        return int((group / "memory.kmem.usage_in_bytes").read_text()) / 2**20
    with contextlib.suppress(OSError):
        for line in (group / "memory.stat").read_text().splitlines():
            if line.startswith("kernel "):
                return int(line.split()[1]) / 2**20
    return 0.0


# ---- the bare process


def bare_process(built: Path, rounds: Rounds, folder: Path) -> dict[FigureName, Spread]:
    """Every figure that a process without any pillar has. folder: on the disk that the guests' roots are on."""
    found = {FigureName.START_TO_FIRST_ANSWER: bare_process_start(built, rounds)}
    with _other_ends(built) as ports:
        for name, words in rounds.commands(str(folder), "127.0.0.1", ports).items():
            found[name] = rounds.spread(name, program.run_here(built, words))
    return found


def bare_process_start(built: Path, rounds: Rounds) -> Spread:
    """Milliseconds from its start to its line."""
    took = []
    for _ in range(5 * rounds.guests):
        began = time.perf_counter()
        with subprocess.Popen([built, "hello"], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            took.append((time.perf_counter() - began) * 1e3)
    return spread(took)


@contextlib.contextmanager
def _other_ends(built: Path) -> Iterator[tuple[int, int]]:
    """Ports of this host, UDP and TCP, at which the program answers itself."""
    ends = [subprocess.Popen([built, kind, "0"], stdout=subprocess.PIPE, text=True) for kind in ("echo", "sink")]
    try:
        udp, tcp = (_port(end) for end in ends)
        yield udp, tcp
    finally:
        for end in ends:
            end.kill()
            end.communicate()


def _port(end: subprocess.Popen[str]) -> int:
    assert end.stdout is not None
    word, _, port = end.stdout.readline().strip().partition(" ")
    if word != "serves":
        raise errors.Backend(f"The other end of the measurement over loopback does not start: {word} {port}.")
    return int(port)
