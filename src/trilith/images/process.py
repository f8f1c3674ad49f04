"""Tools run as argv, in a session of their own, with a deadline, and never outlived by what they started."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from trilith.errors import Backend, Deadline

#: how much of a tool's own words goes into an error
TAIL = 800


async def run(
    argv: Sequence[str | Path],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> bytes:
    """Standard output of a tool that ended with 0.

    Raises Backend with the tool's last words when it failed or isn't there, Deadline after `timeout` seconds.
    Cancelled or late, its whole process group is killed and waited for.
    """
    words = [os.fspath(word) for word in argv]
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            start_new_session=True,
        )
    except FileNotFoundError as e:
        raise Backend(f"{words[0]} is not installed.", hint=f"Install the package that has {words[0]}.") from e
    try:
        async with asyncio.timeout(timeout):
            out, err = await process.communicate()
    except TimeoutError as e:
        raise Deadline(f"{words[0]} did not end within {timeout:.0f} s.") from e
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        said = (err.strip() or out.strip()).decode(errors="replace")[-TAIL:]
        raise Backend(f"{words[0]} failed with {process.returncode}: {said}")
    return out
