"""Control groups of both versions: which files bound what, the freezer, and what a container used.

The kernel's documents admin-guide/cgroup-v1/* and admin-guide/cgroup-v2.rst. A hybrid host (each controller of v1
in its own tree, an empty v2 tree beside) counts as v1.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from trilith.errors import Backend, Conflict

_ROOT = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    vcpus: int
    memory_mib: int
    processes_max: int


@dataclass(frozen=True, slots=True)
class Used:
    cpu_seconds: float
    memory_mib: int
    frozen: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """What is mounted here. version: 1 or 2; trees: controller → its tree (v2: all the same one).
    swap: the file that bounds swap exists."""

    version: int
    trees: dict[str, Path] = field(default_factory=dict)
    every: tuple[Path, ...] = ()  # all trees, where a container's groups may be left behind
    swap: bool = False

    def missing(self) -> list[str]:
        return [name for name in ("cpu", "memory", "pids") if name not in self.trees]

    @property
    def freezer(self) -> bool:
        return "freezer" in self.trees

    def settings(self, limits: Limits) -> list[tuple[str, str]]:
        """(file, value) in the order in which they can be written when a group is new. A controller that is not
        there is left out: `missing` says so and the driver's probe warns."""
        quota, memory = limits.vcpus * _PERIOD_US, str(limits.memory_mib * _MIB)
        found: list[tuple[str, str, str]] = []
        if self.version == 2:
            found += [("cpu", "cpu.max", f"{quota} {_PERIOD_US}"), ("memory", "memory.max", memory)]
            found += [("memory", "memory.swap.max", "0")] if self.swap else []
        else:
            found += [("cpu", "cpu.cfs_period_us", str(_PERIOD_US)), ("cpu", "cpu.cfs_quota_us", str(quota))]
            found += [("memory", "memory.limit_in_bytes", memory)]
            found += [("memory", "memory.memsw.limit_in_bytes", memory)] if self.swap else []
        found.append(("pids", "pids.max", str(limits.processes_max)))
        return [(name, value) for controller, name, value in found if controller in self.trees]

    def key(self) -> str:
        """lxc.container.conf(5)'s prefix for these files."""
        return "lxc.cgroup2" if self.version == 2 else "lxc.cgroup"

    def apply(self, group: str, limits: Limits) -> None:
        """Change a live container's limits. Raises Conflict when the container uses more memory than it may keep.
        Blocks: for a thread."""
        if self.version == 2 and "memory" in self.trees:
            self._make_room(group, limits.memory_mib * _MIB)
        wanted = self.settings(limits)
        # memory and memory+swap bound each other on v1: which order works depends on the direction of the change
        for attempt in (wanted, list(reversed(wanted))):
            refused = ""
            for name, value in attempt:
                try:
                    self._file(group, name).write_text(value, encoding="ascii")
                except OSError as exc:
                    refused = f"{name}: {exc.strerror}"
            if not refused:
                return
        raise Conflict(f"The new limits were refused, {refused}.", hint="Free memory in the server, or stop it first.")

    def _make_room(self, group: str, limit: int) -> None:
        """v2 never refuses a memory.max: it kills until the limit holds. A memory.high reclaims, too, and kills
        nobody (cgroup-v2.rst), so it tells beforehand."""
        current, high = self._file(group, "memory.current"), self._file(group, "memory.high")
        if _number(current) <= limit:
            return
        try:
            high.write_text(str(limit), encoding="ascii")  # returns when what could be reclaimed was
            used = _number(current)
        except OSError as exc:
            raise Backend(f"memory.high: {exc.strerror}.") from exc
        finally:
            with contextlib.suppress(OSError):  # the container ended meanwhile
                high.write_text("max", encoding="ascii")
        if used > limit:
            raise Conflict(
                f"The server uses {-(-used // _MIB)} MiB of memory and would get {limit // _MIB} MiB.",
                hint="Free memory in the server, or stop it first.",
            )

    def _file(self, group: str, name: str) -> Path:
        tree = self.trees.get(name.split(".", 1)[0])
        if tree is None:
            raise Backend(f"No cgroup controller for {name} is mounted.")
        return tree / group / name

    def used(self, group: str) -> Used:
        """CPU time in seconds, memory in MiB, and whether it is frozen. Zeros for a group that is gone."""
        if self.version == 2:
            usage = dict(line.split() for line in _read(_ROOT / group / "cpu.stat").splitlines() if " " in line)
            cpu = int(usage.get("usage_usec", "0")) / 1e6
            memory = _number(self.trees.get("memory", _ROOT) / group / "memory.current")
        else:
            cpu = _number(self.trees.get("cpuacct", _ROOT) / group / "cpuacct.usage") / 1e9
            memory = _number(self.trees.get("memory", _ROOT) / group / "memory.usage_in_bytes")
        return Used(cpu, -(-memory // _MIB), self.frozen(group))

    def frozen(self, group: str) -> bool:
        tree = self.trees.get("freezer")
        if tree is None:
            return False
        if self.version == 2:
            return "frozen 1" in _read(tree / group / "cgroup.events")
        return _read(tree / group / "freezer.state").strip() in ("FROZEN", "FREEZING")

    def freeze(self, group: str, *, frozen: bool, timeout: float = 10.0) -> None:
        """Freeze or thaw, and return when it is so. Blocks: for a thread. v1 has no event for it, and takes a
        second write when a process forked meanwhile (cgroup-v1/freezer-subsystem.rst)."""
        tree = self.trees["freezer"]
        v2 = self.version == 2
        path = tree / group / ("cgroup.freeze" if v2 else "freezer.state")
        text = ("1" if frozen else "0") if v2 else ("FROZEN" if frozen else "THAWED")
        deadline = time.monotonic() + timeout
        while True:
            try:
                path.write_text(text, encoding="ascii")
            except OSError as exc:
                if not frozen and not path.exists():
                    return  # what ended needs no thawing
                raise Backend(f"The freezer refused: {exc}.") from exc
            state = _read(tree / group / ("cgroup.events" if v2 else "freezer.state"))
            if (f"frozen {text}" in state) if v2 else (state.strip() == text):
                return
            if time.monotonic() > deadline:
                path.write_text("0" if v2 else "THAWED", encoding="ascii")
                raise Backend(f"The container did not freeze within {timeout:g} s.")
            time.sleep(0.002)

    def members(self, group: str) -> list[int]:
        """Processes in a group or below it. One tree is enough: liblxc puts a container into all of them."""
        found: list[int] = []
        for path, _, _ in os.walk((self.trees.get("pids") or self.every[0]) / group):
            found += [int(word) for word in _read(Path(path) / "cgroup.procs").split()]
        return found

    def remove(self, *groups: str) -> None:
        """Remove what a container left (groups it made inside its own, too). Blocks: for a thread.
        Raises Backend for a group that still has processes."""
        for tree in self.every:
            for group in groups:
                for path, _, _ in os.walk(tree / group, topdown=False):
                    try:
                        os.rmdir(path)
                    except FileNotFoundError:
                        continue
                    except OSError as exc:
                        raise Backend(f"The control group {path} cannot be removed: {exc.strerror}.") from exc


def detect(root: Path = _ROOT) -> Layout:
    """Read what is mounted at `root`. An empty layout where nothing is."""
    if (root / "cgroup.controllers").exists():
        names = _read(root / "cgroup.controllers").split()
        trees = {name: root for name in names if name in ("cpu", "memory", "pids", "io")}
        swap = any(root.glob("*/memory.swap.max"))
        return Layout(2, trees | {"freezer": root}, (root,), swap)
    trees, every = {}, []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        left, _, right = line.partition(" - ")
        point, (kind, _, options) = Path(left.split()[4]), right.split()[:3]
        if not point.is_relative_to(root) or kind not in ("cgroup", "cgroup2"):
            continue
        every.append(point)
        if kind == "cgroup":
            trees |= {name: point for name in options.split(",") if "=" not in name}
    swap = "memory" in trees and (trees["memory"] / "memory.memsw.limit_in_bytes").exists()
    known = ("cpu", "cpuacct", "memory", "pids", "freezer", "blkio", "devices", "cpuset")
    return Layout(1, {name: trees[name] for name in known if name in trees}, tuple(every), swap)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:  # the container ended meanwhile
        return ""


def _number(path: Path) -> int:
    text = _read(path).strip()
    return int(text) if text.isdigit() else 0
