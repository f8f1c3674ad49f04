"""What is on this machine, to show that nothing of the cloud is left on it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Host:
    processes: frozenset[str]
    namespaces: frozenset[str]
    interfaces: frozenset[str]
    mounts: frozenset[str]
    loops: frozenset[str]
    cgroups: frozenset[str]

    def left_since(self, before: Host, marks: Iterable[str]) -> dict[str, list[str]]:
        """What is new. Processes and interfaces are this network namespace's own; of what all share, that which holds
        one of the marks (directories and ids of the cloud), as another cloud on this machine may come and go."""
        known = tuple(marks)

        def ours(new: frozenset[str]) -> set[str]:
            return {item for item in new if any(mark in item for mark in known)}

        found = {
            "processes": self.processes - before.processes,
            "namespaces": ours(self.namespaces - before.namespaces),
            "interfaces": self.interfaces - before.interfaces,
            "mounts": ours(self.mounts - before.mounts),
            "loop devices": ours(self.loops - before.loops),
            "cgroups": ours(self.cgroups - before.cgroups),
        }
        return {kind: sorted(items) for kind, items in found.items() if items}


#: programs that the cloud starts
_OURS = ("ovs", "ovn", "libvirtd", "virtlogd", "qemu", "lxc-", "dnsmasq", "trilith")


def look() -> Host:
    """A snapshot of what a cloud in this network namespace could leave behind."""
    here = os.readlink("/proc/self/ns/net")
    processes = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if os.readlink(entry / "ns" / "net") != here:
                    continue
            except (FileNotFoundError, ProcessLookupError, PermissionError):  # gone, or not ours to look into
                continue
            name = Path(words[0].decode(errors="replace")).name
            if name.startswith(_OURS):
                processes.add(f"{entry.name} {name}")
    mounts = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    loops = set()
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(FileNotFoundError, OSError):  # let go meanwhile
            loops.add(f"{backing.parent.parent.name} of {backing.read_text().strip()}")
    cgroups = {
        str(p) for p in Path("/sys/fs/cgroup").rglob("*") if p.is_dir() and ("trilith" in p.name or "lxc" in p.name)
    }
    return Host(
        processes=frozenset(processes),
        namespaces=frozenset(p.name for p in Path("/run/netns").glob("*")),
        interfaces=frozenset(p.name for p in Path("/sys/class/net").iterdir()),
        mounts=frozenset(mounts),
        loops=frozenset(loops),
        cgroups=frozenset(cgroups),
    )


def run(*argv: str, timeout: float = 60.0, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False, input=stdin)
