"""The record of a running `trilith up`: its pid and start time, so that a reused pid is never taken for it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import msgspec

from trilith import errors
from trilith.agent.process import adopt, start_time
from trilith.config import Settings

#: seconds for an orderly end before it is said that it hangs
_END = 30.0


class Record(msgspec.Struct):
    pid: int
    started: int
    url: str


def _path(settings: Settings) -> Path:
    return settings.state / "run" / "up.json"


def write(settings: Settings) -> None:
    path = _path(settings)
    fresh = path.with_suffix(".new")
    pid = os.getpid()
    fresh.write_bytes(msgspec.json.encode(Record(pid=pid, started=start_time(pid), url=settings.url)))
    fresh.replace(path)


def read(settings: Settings) -> Record | None:
    try:
        return msgspec.json.decode(_path(settings).read_bytes(), type=Record)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


async def stop(settings: Settings) -> bool:
    """End the control plane in order. False when none ran. Raises Deadline when it does not end."""
    record = await asyncio.to_thread(read, settings)
    process = adopt(record.pid, record.started) if record is not None else None
    if process is None:
        return False
    try:
        process.send(signal.SIGTERM)
        if not await process.wait(_END):
            raise errors.Deadline(
                f"Process {process.pid} did not end within {_END:.0f} s.", hint=f"kill -9 {process.pid}; guests go on."
            )
    finally:
        process.release()
    return True
