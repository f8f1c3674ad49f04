"""What is remembered of each container on disk, and how it is read back: by us after a restart, or by another
instance. Written by the driver (`guest.json`) and by the container's own hooks (`run/`), never only in memory.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from trilith.errors import Backend
from trilith.model.guest import NicSpec

MARKER = "TRILITH_CLOUD"


class Guest(msgspec.Struct, frozen=True, kw_only=True):
    """What calls that get only a server's id need to know. version: of this record."""

    version: int = 1
    server_id: str
    cloud_id: str
    image: str
    id_base: int
    halt_signal: int
    reboot_signal: int
    vcpus: int
    memory_mib: int
    processes_max: int
    disk_mib: int
    nics: tuple[NicSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class Process:
    """A process by what never repeats: pid and start time (clock ticks since boot)."""

    pid: int
    ticks: int

    def alive(self) -> bool:
        return start_ticks(self.pid) == self.ticks

    @property
    def started_at(self) -> float:
        """Seconds since the epoch."""
        return _boot_time() + self.ticks / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Run:
    """The last start. init is None when it never started; ended: "" (not yet), "stop" or "reboot"."""

    init: Process | None
    monitor: Process | None
    kind: str
    ended: str
    this_boot: bool


class Paths:
    """The directory of one driver. `ct` is also liblxc's lxcpath."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ct = root / "ct"
        self.run = root / "run"
        self.hook = root / "hook.sh"
        self.bin = root / "bin"

    def home(self, server_id: str) -> Path:
        return self.ct / server_id

    def config(self, server_id: str) -> Path:
        return self.ct / server_id / "config"

    def of_run(self, server_id: str, suffix: str) -> Path:
        return self.run / f"{server_id}.{suffix}"


def write(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Whole or not at all, also after a power cut. Nothing is written when the file says so already."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == data:
            return
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.write(descriptor, data)
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(fresh, path)


def save(paths: Paths, guest: Guest) -> None:
    write(paths.home(guest.server_id) / "guest.json", msgspec.json.encode(guest))


def ours(paths: Paths, server_id: str, cloud_id: str) -> bool:
    """Whether a container was finished and carries this cloud's mark."""
    try:
        config = (paths.home(server_id) / "config").read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return False
    return f"lxc.environment = {MARKER}={cloud_id}\n" in config and (paths.home(server_id) / "guest.json").exists()


def names(paths: Paths, cloud_id: str) -> list[str]:
    """The ids of all containers of this cloud. One whose record is broken is among them."""
    found = sorted(os.listdir(paths.ct)) if paths.ct.is_dir() else []
    return [name for name in found if ours(paths, name, cloud_id)]


def load(paths: Paths, server_id: str, cloud_id: str) -> Guest | None:
    """None for what does not exist, was not finished, or belongs to somebody else. Raises Backend if broken."""
    if not ours(paths, server_id, cloud_id):
        return None
    try:
        return msgspec.json.decode((paths.home(server_id) / "guest.json").read_bytes(), type=Guest)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as exc:
        raise Backend(f"The record of container {server_id} is broken: {exc}.", hint="Rebuild the server.") from exc


def run_of(paths: Paths, server_id: str) -> Run:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    words = _words(paths.of_run(server_id, "run"))
    ended = _words(paths.of_run(server_id, "end"))
    init = None
    if len(words) == 4 and words[0].isdigit() and words[1].isdigit():
        init = Process(int(words[0]), int(words[1]))
    return Run(
        init=init,
        monitor=monitor_of(paths, server_id),
        kind=words[3] if len(words) == 4 else "stop",
        ended=ended[0] if ended else "",
        this_boot=len(words) == 4 and words[2] == boot,
    )


def monitor_of(paths: Paths, server_id: str) -> Process | None:
    """The living monitor: liblxc writes its pid, and names the process by path and container."""
    words = _words(paths.of_run(server_id, "monitor"))
    if not words or not words[0].isdigit():
        return None
    pid = int(words[0])
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    ticks = start_ticks(pid)
    if server_id.encode() not in title or ticks is None:
        return None
    return Process(pid, ticks)


def start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat (proc(5)); None for no process or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return []


def _boot_time() -> float:
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    raise Backend("/proc/stat names no boot time.")
