"""Run one of the host's tools: argv only, bounded in time, its own words in the error."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence

from trilith.errors import Backend, Deadline
from trilith.model.guest import ExecResult

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DRAIN_SECONDS = 0.5


def find(name: str, package: str) -> str:
    """Absolute path of a tool. Raises Backend naming the distribution's package that holds it."""
    path = shutil.which(name, path=_PATH)
    if path is None:
        raise Backend(f"The tool {name} is not installed.", hint=f"Install the package {package}.")
    return path


def clean_env() -> dict[str, str]:
    """A small fixed environment: nothing of ours (secrets among it) reaches a tool or a guest."""
    return {"PATH": _PATH, "LANG": "C.UTF-8", "HOME": "/root"}


async def call(argv: Sequence[str], *, timeout: float = 30.0) -> bytes:
    """Run a tool to its end and return its standard output. Raises Backend or Deadline."""
    result = await capture(argv, timeout=timeout)
    if result.exit_code != 0:
        words = result.stderr.decode(errors="replace").strip() or f"exit code {result.exit_code}"
        raise Backend(f"{os.path.basename(argv[0])} failed: {words[-2000:]}")
    return result.stdout


class _Capture(asyncio.SubprocessProtocol):
    """asyncio's own Process.wait() returns only when the pipes are closed, too, and what a command leaves in the
    background holds them open for ever. Here the end of the process and of the pipes are two things."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = {1, 2}
        self.kept = {1: bytearray(), 2: bytearray()}
        self.exited = asyncio.Event()
        self.closed = asyncio.Event()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        kept = self.kept[fd]
        kept += data[: self._limit - len(kept)]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._open.discard(fd)
        if not self._open:
            self.closed.set()

    def process_exited(self) -> None:
        self.exited.set()


@contextlib.contextmanager
def _input(given: bytes) -> Iterator[int]:
    """A descriptor to read it from: in memory, so that nobody waits for a reader and nothing reaches a disk."""
    if not given:
        yield asyncio.subprocess.DEVNULL
        return
    descriptor = os.memfd_create("input")
    try:
        os.write(descriptor, given)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


async def capture(argv: Sequence[str], *, timeout: float, max_bytes: int = 4 << 20, given: bytes = b"") -> ExecResult:
    """As `call`, but a failure is a result. A process that outlives `timeout` seconds is killed with its children.
    Of each stream the first `max_bytes` are kept and the rest is read and dropped. given: its standard input."""
    with _input(given) as stdin:
        transport, seen = await asyncio.get_running_loop().subprocess_exec(
            lambda: _Capture(max_bytes),
            *argv,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=clean_env(),
            start_new_session=True,
        )
    try:
        async with asyncio.timeout(timeout):
            await seen.exited.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):  # all that the process itself wrote is in the pipes by now
                await seen.closed.wait()
    except TimeoutError as exc:
        raise Deadline(f"{os.path.basename(argv[0])} did not end within {timeout:g} s.") from exc
    finally:
        if transport.get_returncode() is None:
            await asyncio.to_thread(kill_tree, transport.get_pid())
            with contextlib.suppress(ProcessLookupError):
                transport.kill()
            await seen.exited.wait()
        transport.close()
    code = transport.get_returncode()
    assert code is not None
    return ExecResult(exit_code=code, stdout=bytes(seen.kept[1]), stderr=bytes(seen.kept[2]))


def kill_tree(pid: int) -> None:
    """SIGKILL the descendants of a process. lxc-attach passes no signal on, and what it started in the
    container has its own session, so neither a signal to it nor to its group would reach them."""
    for _ in range(20):  # a process may fork while it is looked at: look again until there is none
        found = _descendants(pid)
        if not found:
            return
        for child in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, 9)


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as handle:
                fields = handle.read().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if fields and fields[0] not in "ZX":
            children.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    todo = [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found
