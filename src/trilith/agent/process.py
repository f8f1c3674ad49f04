"""A process that may not be our child: told apart by pid and start time, watched and signalled by pidfd."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from trilith.errors import Backend

_CGROUP = Path("/sys/fs/cgroup")


def start_time(pid: int) -> int:
    """Clock ticks after boot (proc(5), /proc/PID/stat field 22); 0 when there is no such process, or a dead one."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


class Process:
    """Holds a pidfd, so that a signal never reaches another process that got the same pid."""

    def __init__(self, pid: int, *, cgroup: str = "", child: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self.cgroup = cgroup
        self._child = child
        self._fd = os.pidfd_open(pid)
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def of_child(cls, child: subprocess.Popen[bytes], *, cgroup: str = "") -> Process:
        return cls(child.pid, cgroup=cgroup, child=child)

    @property
    def alive(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return start_time(self.pid) != 0 and self.send(0)

    def exit_code(self) -> str:
        if self._child is None or self._child.poll() is None:
            return ""
        code = self._child.returncode
        return f"exit status {code}" if code >= 0 else f"signal {-code}"

    def send(self, number: int) -> bool:
        """False when it is gone."""
        try:
            signal.pidfd_send_signal(self._fd, number)
        except ProcessLookupError:
            return False
        return True

    def kill_session(self) -> None:
        """The process and all of its group (it leads a session of its own)."""
        if self.alive:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                return  # ended in between
            except PermissionError:
                self.send(signal.SIGKILL)

    def on_exit(self, call: Callable[[], None]) -> None:
        """Call once, in the loop, when it ends."""
        self._loop = asyncio.get_running_loop()

        def ended() -> None:
            self._unwatch()
            self._reap()
            call()

        self._loop.add_reader(self._fd, ended)

    async def wait(self, timeout: float) -> bool:
        """True when it ended within `timeout` seconds."""
        self._unwatch()
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        loop.add_reader(self._fd, over.set)
        try:
            async with asyncio.timeout(timeout):
                await over.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self._fd)
        self._reap()
        return True

    def _reap(self) -> None:
        """It is dead. It may be our child though we adopted it: two supervisors one after the other in one process."""
        if self._child is not None:
            self._child.wait()
            return
        try:
            os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return  # init's, or another parent's

    def release(self) -> None:
        """Let go of it, running or not."""
        self._unwatch()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._child is not None and self._child.returncode is None:
            self._child.returncode = 0  # ours no longer: keeps Popen from warning of a child left behind

    def _unwatch(self) -> None:
        if self._loop is not None and self._fd >= 0:
            self._loop.remove_reader(self._fd)
        self._loop = None


def adopt(pid: int, started: int, *, cgroup: str = "") -> Process | None:
    """The process with this pid and start time, or None."""
    try:
        process = Process(pid, cgroup=cgroup)
    except ProcessLookupError:
        return None
    # asked after the pidfd is open: what it holds is what is looked at
    if started and start_time(pid) == started:
        return process
    process.release()
    return None


def boot_id() -> str:
    """Start times count from boot: the same pid and ticks in another boot are another process (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def find_by_token(variable: str, token: str) -> tuple[Process, str] | None:
    """The session leader whose environment has `variable=token:rest`, and the rest."""
    wanted = f"{variable}={token}:".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            rest = next((e[len(wanted) :].decode() for e in environment if e.startswith(wanted)), None)
            if rest is None or os.getsid(pid) != pid:
                continue
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # gone while we looked, or not ours to look at
        found = adopt(pid, start_time(pid), cgroup=_own_cgroup(pid))
        if found is not None:
            return found, rest
    return None


def cgroup_parent(name: str) -> Path | None:
    """Make cgroup `name` below our own: in the v2 tree, else in its hybrid place, else in v1 `pids`.

    One tree is enough to keep a daemon apart. None where none can be written.
    """
    for root, prefix in ((_CGROUP, "0::"), (_CGROUP / "unified", "0::"), (_CGROUP / "pids", "pids:")):
        if not (root / "cgroup.procs").exists():
            continue
        own = _line(os.getpid(), prefix)
        group = root / own.lstrip("/") / name
        try:
            group.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        return group
    return None


async def remove_cgroup(path: str) -> None:
    """The kernel frees it a moment after its last process. Raises Backend where it does not."""
    if not path:
        return
    for _ in range(100):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise Backend(f"cgroup {path} cannot be removed: {error.strerror}.") from error
            await asyncio.sleep(0.005)
        else:
            return
    raise Backend(f"cgroup {path} is still in use.", hint="Something started inside it that was not ours to stop.")


def _own_cgroup(pid: int) -> str:
    """Unknown after a lost record; found again in the places where `cgroup_parent` would have made it."""
    for root, prefix in ((_CGROUP, "0::"), (_CGROUP / "unified", "0::"), (_CGROUP / "pids", "pids:")):
        if (root / "cgroup.procs").exists():
            theirs, ours = _line(pid, prefix), _line(os.getpid(), prefix)
            return str(root / theirs.lstrip("/")) if theirs != ours else ""
    return ""


def _line(pid: int, prefix: str) -> str:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if (prefix == "0::" and number == "0") or controllers == prefix.rstrip(":"):
            return path
    return "/"
