"""Tools that read what a tenant wrote, run in the jail; and plain tools for what is our own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trilith.errors import Backend, Deadline

JAIL = Path(__file__).parent / "inside" / "jail.py"
#: exit code of jail.py when the confinement itself failed
NO_JAIL, NO_JAIL_SAYS = 125, b"confinement: "
TAIL = 800


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    code: int
    out: bytes
    err: bytes

    @property
    def words(self) -> str:
        """The tool's last words, for an error."""
        return (self.err.strip() or self.out.strip()).decode(errors="replace")[-TAIL:]


#: bytes of what a tool says that are kept, the last ones of each stream
KEPT = 256 * 1024
_CHUNK = 64 * 1024


async def spawn(argv: Sequence[str], *, timeout: float, each: Callable[[bytes], None] | None = None) -> Outcome:
    """Run to the end in a session of its own; killed with its group when late or cancelled.

    each: called with every line of standard output, which then is not kept; what it raises ends the tool.
    Raises Backend (not installed) and Deadline.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        )
    except FileNotFoundError as e:
        raise Backend(f"{argv[0]} is not installed on this node.", hint="Run `trilith doctor`.") from e
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.timeout(timeout):
            try:
                async with asyncio.TaskGroup() as group:
                    out = group.create_task(_said(process.stdout, each))
                    err = group.create_task(_said(process.stderr))
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from None
            await process.wait()
    except TimeoutError as e:
        raise Deadline(f"{Path(argv[0]).name} did not end within {timeout:.0f} s.") from e
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return Outcome(code=process.returncode or 0, out=out.result(), err=err.result())


async def _said(stream: asyncio.StreamReader, each: Callable[[bytes], None] | None = None) -> bytes:
    """The last KEPT bytes: an image can make a tool say more than there is memory."""
    kept = b""
    while data := await stream.read(_CHUNK):
        kept += data
        if each is not None:
            *lines, kept = kept.split(b"\n")
            for line in lines:
                each(line)
        kept = kept[-KEPT:]
    return kept


def fault(what: str, outcome: Outcome, where: Path) -> Backend:
    """A tool's failure in plain words; a full disk by its name."""
    if "No space left on device" in outcome.words or "ENOSPC" in outcome.words:
        return full(where)
    return Backend(f"{what} failed with {outcome.code}: {outcome.words}")


def full(where: Path) -> Backend:
    return Backend(f"The disk below {where} is full.", hint="Free space there, or delete unused images and servers.")


async def tool(argv: Sequence[str], *, timeout: float, where: Path) -> bytes:
    """Output of a tool that works on our own files only. Raises Backend with its words."""
    outcome = await spawn(argv, timeout=timeout)
    if outcome.code:
        raise fault(Path(argv[0]).name, outcome, where)
    return outcome.out


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits on one confined run. memory: address space."""

    memory_bytes: int = 2 << 30
    cpu_seconds: int = 1800
    file_bytes: int = 1 << 41
    timeout: float = 3600


def _spec(
    inputs: Mapping[str, Path], output: Path, bounds: Bounds, argv: Sequence[str], unpack: Mapping[str, int] | None
) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "inputs": {name: os.path.abspath(path) for name, path in inputs.items()},
        "output": os.path.abspath(output),
        "memory_bytes": bounds.memory_bytes,
        "cpu_seconds": bounds.cpu_seconds,
        "file_bytes": bounds.file_bytes,
    }
    if unpack is not None:
        return {**spec, "unpack": dict(unpack)}
    found = shutil.which(argv[0], path="/usr/bin:/usr/sbin:/bin:/sbin")
    if found is None:
        raise Backend(f"{argv[0]} is not installed on this node.", hint="Run `trilith doctor`.")
    return {**spec, "argv": [found, *argv[1:]]}


async def confined(
    *,
    inputs: Mapping[str, Path],
    output: Path,
    bounds: Bounds,
    argv: Sequence[str] = (),
    unpack: Mapping[str, int] | None = None,
    each: Callable[[bytes], None] | None = None,
) -> Outcome:
    """Run argv (paths as seen inside: /in/NAME, /out) or the unpacker over /in/blob into /out/root. each: see `spawn`.

    Raises Backend when the confinement cannot be made, Deadline.
    """
    spec = _spec(inputs, output, bounds, argv, unpack)
    base = tempfile.mkdtemp(prefix=".jail-", dir=output.parent)
    try:
        spec["base"] = base
        outcome = await spawn([sys.executable, "-I", str(JAIL), json.dumps(spec)], timeout=bounds.timeout, each=each)
    finally:
        os.rmdir(base)
    if outcome.code == NO_JAIL and outcome.err.startswith(NO_JAIL_SAYS):
        raise Backend(
            f"The confinement for untrusted images cannot be made: {outcome.words}",
            hint="Run as root on a kernel with namespaces; `trilith doctor` tries it.",
        )
    return outcome
