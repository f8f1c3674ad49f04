"""Facts of the machine that the figures belong to, and what its processes take."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path


def facts(root: Path) -> list[tuple[str, str]]:
    cpu = next((x.partition(":")[2].strip() for x in _lines("/proc/cpuinfo") if x.startswith("model name")), "unknown")
    total = next(int(x.split()[1]) for x in _lines("/proc/meminfo") if x.startswith("MemTotal")) / 2**20
    release = next((x.partition("=")[2].strip('"') for x in _lines("/etc/os-release") if x.startswith("PRETTY")), "?")
    flags = next((x for x in _lines("/proc/cpuinfo") if x.startswith("flags")), "").split()
    load = " ".join(_lines("/proc/loadavg")[0].split()[:3])
    return [
        ("processor", f"{os.cpu_count()} × {cpu}" + (" (inside a virtual machine)" if "hypervisor" in flags else "")),
        ("memory", f"{total:.1f} GiB"),
        ("system", f"{release}, Linux {os.uname().release}"),
        ("file system of the state", _file_system(root)),
        ("load before the run (1, 5, 15 min)", load),
        ("settings", "as shipped: WAL, full sync; OVN port, security group and limits on"),
    ]


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()


def _file_system(path: Path) -> str:
    done = subprocess.run(["stat", "-f", "-c", "%T", str(path)], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


@dataclass(frozen=True)
class Process:
    """One process at one moment. pss, rss: MiB; cpu: seconds since it began."""

    pid: int
    name: str
    pss: float
    rss: float
    cpu: float


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, its threads included (the ended ones, too), its children not.

    The clock of another process: clock_getcpuclockid(3), whose id Linux makes of the pid (posix-timers_types.h).
    """
    return time.clock_gettime(((~pid) << 3) | 2)


def look(pid: int) -> Process | None:
    """None when it has ended."""
    base = Path(f"/proc/{pid}")
    try:
        words = [w.decode(errors="replace") for w in (base / "cmdline").read_bytes().split(b"\0") if w]
        sizes = {
            x.split(":")[0]: int(x.split()[1]) / 1024
            for x in (base / "smaps_rollup").read_text().splitlines()
            if x.startswith(("Pss:", "Rss:"))
        }
        return Process(pid, _name(words), sizes.get("Pss", 0.0), sizes.get("Rss", 0.0), cpu_seconds(pid))
    except OSError:
        return None


def _name(words: list[str]) -> str:
    """The program; for an interpreter what it runs; for ovsdb-server which database."""
    if not words:
        return "(ended)"
    name = os.path.basename(words[0].split(" ")[0].rstrip(":"))
    if name.startswith("python") and len(words) > 1:
        name = os.path.basename(words[1])
    if name == "ovsdb-server":
        bases = [os.path.basename(w) for w in words if w.endswith(".db")]
        name += f" ({', '.join(bases)})" if bases else ""
    return name


def descendants(root: int) -> list[int]:
    """The process and all below it."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            below.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += below.get(pid, [])
    return found


def in_namespace(netns: Path) -> list[int]:
    """Processes whose network namespace is this file's."""
    wanted = netns.stat().st_ino
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "ns" / "net").stat().st_ino == wanted:
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
    return sorted(found)


def mentioning(text: str) -> list[int]:
    """Processes with this text in their command line: daemons are told where their files are."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if text.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return sorted(found)
