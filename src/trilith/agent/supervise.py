"""Keeps a node's daemons running: starts, adopts, restarts and stops them. They outlive it.

Each daemon gets a session (and where possible a cgroup) of its own, and a record of its pid and start time. A
supervisor that comes later adopts by that record; a daemon whose record was lost to a crash is found by a token in its
environment. Deaths are told by pidfds.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import logging
import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trilith.agent.process import Process, adopt, boot_id, cgroup_parent, find_by_token, remove_cgroup, start_time
from trilith.drivers.ovn.tools import enter_netns
from trilith.errors import Backend, Deadline, Invalid, TrilithError

_LOG = logging.getLogger(__name__)

#: Seconds between restarts: none after the first death, then doubling. A daemon that ran this long starts over.
_BACKOFF = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_SETTLED = 60.0
#: Of the log, in an error.
_TAIL_BYTES = 600
TOKEN = "TRILITH_DAEMON"


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSpec:
    """How to run one daemon in the foreground.

    ready: a path that appears (pidfile; socket that somebody listens on), or a question asked until it says yes.
    clear: files of a dead predecessor, removed before the start (`ready` is, too, when it is a path).
    prepare: run before each start (databases, configuration); arrange: after each start or adoption, before what
    depends on it (addresses on its interfaces); finish: after a stop that was asked for.
    depends_on: started after these are ready, stopped before them.
    restart_with: restarted whenever one of these was.
    stop_argv: asks for a clean end instead of SIGTERM; "{pid}" stands for the pid.
    cgroup: a name without slashes for a cgroup of its own, "" for none.
    netns: path or name under /run/netns of the network namespace to run in.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Path | Callable[[], Awaitable[bool]] | None = None
    ready_timeout: float = 15.0
    clear: tuple[Path, ...] = ()
    prepare: Callable[[], Awaitable[None]] | None = None
    arrange: Callable[[], Awaitable[None]] | None = None
    finish: Callable[[], Awaitable[None]] | None = None
    depends_on: tuple[str, ...] = ()
    restart_with: tuple[str, ...] = ()
    stop_argv: tuple[str, ...] = ()
    stop_timeout: float = 5.0
    cgroup: str = ""
    netns: str = ""

    @property
    def command(self) -> tuple[str, ...]:
        return (*enter_netns(self.netns), *self.argv)

    @property
    def fingerprint(self) -> str:
        said = json.dumps([self.command, sorted(self.env.items())])
        return hashlib.sha256(said.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStatus:
    name: str
    pid: int = 0  # 0: not running
    adopted: bool = False
    restarts: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonEvent:
    """what: started, adopted, died, restarting, failed, stopped."""

    name: str
    what: str
    detail: str = ""


@dataclass(slots=True)
class _Daemon:
    spec: DaemonSpec
    process: Process | None = None
    adopted: bool = False
    restarts: int = 0
    strikes: int = 0
    started: float = 0.0
    detail: str = ""


class Supervisor:
    """One node's daemons. `state_dir` holds the records. notify is called in the loop, with each event."""

    def __init__(self, state_dir: Path, *, notify: Callable[[DaemonEvent], None] | None = None) -> None:
        self._dir = state_dir
        self._daemons: dict[str, _Daemon] = {}
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reviving: set[str] = set()
        self._closing = False
        self._notify = notify or (lambda event: None)

    async def start(self, specs: Sequence[DaemonSpec]) -> None:
        """Start or adopt all of these, what they depend on first, independent ones at once.

        Raises Backend with the end of the log of the first that does not get ready; the others stay up.
        """
        async with self._lock:
            known = {**{n: d.spec for n, d in self._daemons.items()}, **{s.name: s for s in specs}}
            order = _ordered(known.values())
            await asyncio.to_thread(self._dir.mkdir, parents=True, exist_ok=True)
            for spec in specs:
                daemon = self._daemons.setdefault(spec.name, _Daemon(spec))
                daemon.spec = spec
            await self._bring_up([name for name in order if name in {s.name for s in specs}])

    def know(self, specs: Iterable[DaemonSpec]) -> None:
        """Take responsibility without starting: what an earlier supervisor left running can then be stopped."""
        for spec in specs:
            self._daemons.setdefault(spec.name, _Daemon(spec))

    async def stop(self, names: Iterable[str] | None = None) -> None:
        """Stop these (default: all), dependants first, and forget them. Absent is success. Raises Deadline."""
        async with self._lock:
            wanted = set(self._daemons) if names is None else set(names) & set(self._daemons)
            order = [n for n in _ordered(d.spec for d in self._daemons.values()) if n in wanted]
            for name in reversed(order):
                daemon = self._daemons[name]
                await self._end(daemon, gently=True)
                if daemon.spec.finish is not None:
                    await daemon.spec.finish()
                del self._daemons[name]
                self._tell(name, "stopped")

    async def close(self) -> None:
        """Let go: daemons run on, to be adopted by the next supervisor."""
        self._closing = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for daemon in self._daemons.values():
            if daemon.process is not None:
                daemon.process.release()
                daemon.process = None

    def status(self) -> list[DaemonStatus]:
        return [
            DaemonStatus(
                name=name,
                pid=d.process.pid if d.process is not None and d.process.alive else 0,
                adopted=d.adopted,
                restarts=d.restarts,
                detail=d.detail,
            )
            for name, d in self._daemons.items()
        ]

    # ---- up

    async def _bring_up(self, names: Sequence[str]) -> None:
        done: dict[str, asyncio.Task[None]] = {}

        async def one(name: str) -> None:
            for dependency in self._daemons[name].spec.depends_on:
                if dependency in done:
                    await asyncio.shield(done[dependency])
            await self._adopt_or_start(self._daemons[name])

        for name in names:
            done[name] = asyncio.create_task(one(name), name=f"start {name}")
        try:
            results = await asyncio.gather(*done.values(), return_exceptions=True)
        except asyncio.CancelledError:
            for task in done.values():
                task.cancel()
            await asyncio.gather(*done.values(), return_exceptions=True)
            raise
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _adopt_or_start(self, daemon: _Daemon) -> None:
        spec = daemon.spec
        if daemon.process is not None and daemon.process.alive:
            return
        found = await asyncio.to_thread(self._find, spec)
        if found is not None:
            process, fingerprint = found
            daemon.process, daemon.adopted, daemon.started = process, True, time.monotonic()
            if fingerprint == spec.fingerprint:
                await asyncio.to_thread(self._record, spec, process)
                self._watch(daemon)
                if spec.arrange is not None:
                    await spec.arrange()
                self._tell(spec.name, "adopted", f"pid {process.pid}")
                return
            await self._end(daemon, gently=True)
        await self._spawn(daemon)

    def _find(self, spec: DaemonSpec) -> tuple[Process, str] | None:
        try:
            kept = json.loads(self._record_path(spec.name).read_text())
            if kept["boot"] == boot_id():
                process = adopt(int(kept["pid"]), int(kept["start"]), cgroup=str(kept["cgroup"]))
                if process is not None:
                    return process, str(kept["fingerprint"])
        except FileNotFoundError:
            pass  # never started, or its record was lost with its starter: the token tells
        except (ValueError, KeyError, TypeError) as error:
            _LOG.warning("%s: %s; looking for the process itself", self._record_path(spec.name), error)
        return find_by_token(TOKEN, self._token(spec))

    async def _spawn(self, daemon: _Daemon) -> None:
        spec = daemon.spec
        for path in (*spec.clear, *([spec.ready] if isinstance(spec.ready, Path) else [])):
            await asyncio.to_thread(path.unlink, missing_ok=True)
        if spec.prepare is not None:
            await spec.prepare()
        process = await asyncio.to_thread(self._launch, spec)
        daemon.process, daemon.adopted, daemon.started = process, False, time.monotonic()
        await self._until_ready(daemon, process)
        self._watch(daemon)
        if spec.arrange is not None:
            await spec.arrange()
        daemon.detail = ""
        self._tell(spec.name, "started", f"pid {process.pid}")

    def _launch(self, spec: DaemonSpec) -> Process:
        spec.log.parent.mkdir(parents=True, exist_ok=True)
        group = cgroup_parent(spec.cgroup) if spec.cgroup else None
        token = {TOKEN: f"{self._token(spec)}:{spec.fingerprint}"}
        with spec.log.open("ab") as log:
            try:
                child = subprocess.Popen(
                    spec.command,
                    env={**_base_environment(), **spec.env, **token},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    cwd="/",
                )
            except OSError as error:
                raise Backend(f"{spec.argv[0]} does not start: {error}.", hint="Is its package installed?") from error
        process = Process.of_child(child, cgroup=str(group or ""))
        if group is not None:
            (group / "cgroup.procs").write_text(str(child.pid))
        self._record(spec, process)
        return process

    async def _until_ready(self, daemon: _Daemon, process: Process) -> None:
        """A bounded wait; the sockets of eight daemons in one directory make inotify the clumsier way."""
        spec = daemon.spec
        until = time.monotonic() + spec.ready_timeout
        while not await _is_ready(spec):
            if not process.alive:
                code = process.exit_code()
                await self._end(daemon, gently=False)
                raise Backend(f"{spec.name} ended at its start ({code}): {_tail(spec.log)}")
            if time.monotonic() > until:
                await self._end(daemon, gently=False)
                raise Deadline(f"{spec.name} was not ready in {spec.ready_timeout:g} s: {_tail(spec.log)}")
            await asyncio.sleep(0.005)

    # ---- watching

    def _watch(self, daemon: _Daemon) -> None:
        process = daemon.process
        assert process is not None
        process.on_exit(lambda: self._died(daemon, process))

    def _died(self, daemon: _Daemon, process: Process) -> None:
        name = daemon.spec.name
        if self._closing or daemon.process is not process or self._daemons.get(name) is not daemon:
            return
        self._tell(name, "died", process.exit_code())
        if name not in self._reviving:
            self._reviving.add(name)
            task = asyncio.create_task(self._revive(daemon), name=f"revive {name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _revive(self, daemon: _Daemon) -> None:
        name = daemon.spec.name
        try:
            while not self._closing:
                if time.monotonic() - daemon.started > _SETTLED:
                    daemon.strikes = 0
                delay = _BACKOFF[min(daemon.strikes, len(_BACKOFF) - 1)]
                daemon.strikes += 1
                if delay:
                    self._tell(name, "restarting", f"in {delay:g} s")
                    await asyncio.sleep(delay)
                async with self._lock:
                    if self._daemons.get(name) is not daemon or (daemon.process and daemon.process.alive):
                        return
                    try:
                        await self._restart(daemon)
                    except (TrilithError, OSError) as error:
                        daemon.detail = str(error)
                        self._tell(name, "failed", daemon.detail)
                        continue
                    return
        finally:
            self._reviving.discard(name)

    async def _restart(self, daemon: _Daemon) -> None:
        """The dead one and all that must not outlive it."""
        name = daemon.spec.name
        order = _ordered(d.spec for d in self._daemons.values())
        together = {name}
        for other in order:
            if together & set(self._daemons[other].spec.restart_with):
                together.add(other)
        for other in reversed(order):
            if other in together:
                await self._end(self._daemons[other], gently=False)
        for other in together:
            self._daemons[other].restarts += 1
        await self._bring_up([n for n in order if n in together])

    # ---- down

    async def _end(self, daemon: _Daemon, *, gently: bool) -> None:
        """gently: ask, then kill at the deadline; else kill (a restart in which every millisecond is lost traffic)."""
        process, spec = daemon.process, daemon.spec
        if process is None:
            found = await asyncio.to_thread(self._find, spec)
            if found is None:
                await asyncio.to_thread(self._record_path(spec.name).unlink, missing_ok=True)
                return
            process = found[0]
        daemon.process = None  # from here on its death is ours
        if process.alive and gently:
            if not (spec.stop_argv and await self._asked(spec, process)):
                process.send(signal.SIGTERM)
            await process.wait(spec.stop_timeout)
        process.kill_session()
        if not await process.wait(5.0):
            raise Deadline(f"{spec.name} (pid {process.pid}) does not end, not even by SIGKILL.")
        process.release()
        await remove_cgroup(process.cgroup)
        for path in (
            self._record_path(spec.name),
            *spec.clear,
            *([spec.ready] if isinstance(spec.ready, Path) else []),
        ):
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def _asked(self, spec: DaemonSpec, process: Process) -> bool:
        argv = [*enter_netns(spec.netns), *(a.replace("{pid}", str(process.pid)) for a in spec.stop_argv)]
        asking = await asyncio.create_subprocess_exec(
            *argv,
            env={**_base_environment(), **spec.env},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(spec.stop_timeout):
                return await asking.wait() == 0
        except TimeoutError:
            asking.kill()
            await asking.wait()
            return False

    # ---- records

    def _token(self, spec: DaemonSpec) -> str:
        return f"{self._dir.resolve()}:{spec.name}"

    def _record_path(self, name: str) -> Path:
        return self._dir / f"{name}.json"

    def _record(self, spec: DaemonSpec, process: Process) -> None:
        path = self._record_path(spec.name)
        kept = {
            "pid": process.pid,
            "start": start_time(process.pid),
            "boot": boot_id(),
            "fingerprint": spec.fingerprint,
            "cgroup": process.cgroup,
        }
        partial = path.with_suffix(".tmp")
        partial.write_text(json.dumps(kept))
        partial.rename(path)

    def _tell(self, name: str, what: str, detail: str = "") -> None:
        _LOG.log(logging.WARNING if what in ("died", "failed") else logging.INFO, "%s %s %s", name, what, detail)
        self._notify(DaemonEvent(name=name, what=what, detail=detail))


def answers(path: Path) -> bool:
    """It is there, and if it is a socket somebody listens on it: between bind(2) and listen(2) connects are refused."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return True
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        # a full backlog (EAGAIN) is an answer, too, and so is a socket of another type
        return probe.connect_ex(str(path)) not in (errno.ECONNREFUSED, errno.ENOENT)


async def _is_ready(spec: DaemonSpec) -> bool:
    match spec.ready:
        case None:
            return True
        case Path() as path:
            return answers(path)
        case ask:
            return await ask()


def _ordered(specs: Iterable[DaemonSpec]) -> list[str]:
    """Names, dependencies first. Raises Invalid for a circle; a dependency that is nobody here is ignored."""
    by_name = {s.name: s for s in specs}
    order: list[str] = []
    state: dict[str, bool] = {}

    def visit(name: str) -> None:
        if state.get(name):
            return
        if name in state:
            raise Invalid(f"Daemon {name} depends on itself.")
        state[name] = False
        for dependency in by_name[name].depends_on:
            if dependency in by_name:
                visit(dependency)
        state[name] = True
        order.append(name)

    for name in by_name:
        visit(name)
    return order


def _tail(log: Path) -> str:
    try:
        return log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip() or "its log is empty."
    except OSError as error:
        return f"no log: {error}."


def _base_environment() -> dict[str, str]:
    """Little of ours: what a daemon inherits it keeps for months."""
    sbin = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TZ") if name in os.environ}
    return {"PATH": sbin, "HOME": "/root", **kept}
