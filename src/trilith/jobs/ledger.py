"""The records of a running job's steps, on their way into the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from trilith.model.job import JobStep

#: seconds that the record of a lazy step waits for others: a quick job ends within, and all become its last write
_LINGER = 0.01


class Ledger:
    """One job's. save: writes rows, in order, in one transaction."""

    def __init__(self, save: Callable[[list[JobStep]], Awaitable[None]]) -> None:
        self._save = save
        self._rows: list[JobStep] = []
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def later(self, row: JobStep) -> None:
        """Raises what an earlier write failed with."""
        self._check()
        self._rows.append(row)
        if self._timer is None and self._task is None:
            self._timer = asyncio.get_running_loop().call_later(_LINGER, self._begin)

    async def now(self, row: JobStep) -> None:
        """Returns when all earlier rows are written and the writing of this one has begun."""
        await self._written()
        self._rows.append(row)
        self._stop_timer()
        self._begin()

    async def rest(self) -> list[JobStep]:
        """The rows that are not written: the caller writes them. Waits for those that are being written."""
        self._stop_timer()
        await self._written()
        rows, self._rows = self._rows, []
        return rows

    async def flush(self) -> None:
        rows = await self.rest()
        if rows:
            await self._save(rows)

    def _begin(self) -> None:
        self._timer = None
        self._task = asyncio.create_task(self._write(), name="job-record")

    async def _write(self) -> None:
        while self._rows:
            rows, self._rows = self._rows, []
            await self._save(rows)

    async def _written(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await task

    def _check(self) -> None:
        if self._task is not None and self._task.done():
            task, self._task = self._task, None
            task.result()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
