"""Runs the durable jobs: claims them, goes on where they stopped, records each step, undoes what fails.

Order of things for one step: do, then its record. A crash in between repeats `do`, which is idempotent. The record of
a step is written while the next step already runs, and is awaited before the next record (those of lazy steps are
gathered a moment longer): so a crash loses at most the record of effects that the repeated steps find in place.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import structlog

from trilith import errors
from trilith.jobs.kind import Act, Context, Kind, Step
from trilith.jobs.ledger import Ledger
from trilith.jobs.services import Services
from trilith.jobs.submit import next_state
from trilith.model.job import ACTIVE, FINAL, Job, JobError, JobState, JobStep
from trilith.model.record import FeedRow
from trilith.store.tx import Reader, Tx, new_id

log = structlog.get_logger("jobs")

#: seconds between attempts of an undo that failed, and how many
_UNDO_PAUSES = (0.2, 1.0, 3.0)
#: jobs that run at once, and beside them those of slow kinds
_PARALLEL = 32
_PARALLEL_SLOW = 16

#: seconds between looks at a database that is away, which announces nothing when it is back
_DATABASE_PAUSE = 1.0

#: ended jobs whose last revision is remembered
_ENDED = 256

_CANCELLED = JobError(code="conflict", message="Cancelled.")


class Engine:
    """One a controller. crash_at: `kind:step:moment` (before | effect | record) where a test has the process killed."""

    def __init__(self, services: Services, kinds: dict[str, Kind], *, crash_at: str = "") -> None:
        self.services = services
        self.kinds = kinds
        self.crash_at = crash_at
        self._running: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.Event] = {}  # job that another waits for → set when it may have ended
        self._slots = {False: asyncio.Semaphore(_PARALLEL), True: asyncio.Semaphore(_PARALLEL_SLOW)}
        self._stopping = False
        self._stepping: set[str] = set()  # jobs whose task is at its steps: only there may it be broken into
        self._unwanted: set[str] = set()  # jobs that run here and are to be cancelled
        self._own_revision: dict[str, int] = {}  # job that runs here → revision of our own last write
        self._ended: dict[str, int] = {}  # the same of the last that ended here, whose rows the feed may still bring

    async def run(self) -> None:
        """Until cancelled. What still runs then is left as it is, to be taken up at the next start.

        So it is, too, when the leadership is lost with the database: it is taken up again with the next one.
        """
        while True:
            try:
                async with self.services.store.leadership() as lost:
                    await self._lead(lost)
            except errors.DatabaseAway as err:
                log.warning("jobs wait for the database", error=str(err))
            await asyncio.sleep(_DATABASE_PAUSE)

    async def _lead(self, lost: asyncio.Event) -> None:
        """Until the leadership is lost. Raises DatabaseAway."""
        self._stopping = False
        tasks = [asyncio.create_task(self._follow(), name="engine-follow"), asyncio.create_task(lost.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            log.warning("this controller no longer leads")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._stop()

    async def _follow(self) -> None:
        store = self.services.store
        cursor = await store.head()
        for job in await store.read(lambda r: r.select(Job, state=ACTIVE)):
            self._consider(job)
        while True:
            try:
                await store.wait(cursor, timeout=30)
                rows = await store.feed(cursor)
                if not rows:
                    continue
                ids = self._news(rows)
                for job in await store.read(_load(ids)) if ids else ():
                    self._consider(job)
                cursor = rows[-1].cursor
            except errors.DatabaseAway as err:
                # jobs under way go on: each finds out by itself whether it can be recorded
                log.warning("the change feed is away", error=str(err))
                await asyncio.sleep(_DATABASE_PAUSE)

    def _news(self, rows: list[FeedRow]) -> list[str]:
        """Jobs that are new, or that somebody else changed: of a running one, its cancel flag was set."""
        return list(dict.fromkeys(row.id for row in rows if row.noun == "job" and row.revision > self._known(row.id)))

    def _known(self, job_id: str) -> int:
        """The revision that we ourselves wrote last, 0 for a job of others."""
        return self._own_revision.get(job_id) or self._ended.get(job_id, 0)

    def _consider(self, job: Job) -> None:
        if job.state in FINAL:
            self._tell_ended(job.id)
            return
        if job.id in self._running:
            if job.cancel and self.kinds[job.kind].cancellable and job.state in (JobState.QUEUED, JobState.RUNNING):
                self._cancel(job.id)
            return
        kind = self.kinds.get(job.kind)
        self._spawn(job.id, slow=kind is not None and kind.slow, free=not job.after)

    def _cancel(self, job_id: str) -> None:
        """Break into the job's steps, once, if it is at them; else it finds the wish when it gets there."""
        if job_id not in self._unwanted:
            self._unwanted.add(job_id)
            if job_id in self._stepping:
                self._running[job_id].cancel()

    def _spawn(self, job_id: str, *, slow: bool, free: bool = False) -> None:
        """free: known to wait for no other."""
        if job_id not in self._running:
            task = asyncio.create_task(self._guarded(job_id, slow=slow, free=free), name=f"job-{job_id}")
            self._running[job_id] = task

    async def _stop(self) -> None:
        self._stopping = True
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _guarded(self, job_id: str, *, slow: bool, free: bool) -> None:
        try:
            if not free:
                await self._wait_for_earlier(job_id)  # without a slot: the earlier one may need it
            async with self._slots[slow]:
                await self._run(job_id)
        except errors.Conflict as err:
            log.info("job left to its other owner", job=job_id, error=str(err))
        except errors.DatabaseAway as err:
            # the job stays as it is, and goes on at its first step without a record when the database is back
            log.warning("job interrupted", job=job_id, error=str(err))
            await asyncio.sleep(_DATABASE_PAUSE)
            self._running.pop(job_id, None)
            self._spawn(job_id, slow=slow)
            return
        except Exception:
            log.exception("bug in how a job ends; it stays as it is until the next start", job=job_id)
        finally:
            if self._running.get(job_id) is asyncio.current_task():
                self._running.pop(job_id, None)
            if (revision := self._own_revision.pop(job_id, 0)) != 0:
                self._ended[job_id] = revision
                if len(self._ended) > _ENDED:
                    self._ended.pop(next(iter(self._ended)))
            self._unwanted.discard(job_id)
            self._tell_ended(job_id)

    def _tell_ended(self, job_id: str) -> None:
        if (event := self._ends.pop(job_id, None)) is not None:
            event.set()

    async def _claim(self, job_id: str) -> Job | None:
        """The claimed job, its first step done along where that changes rows only; None when there is nothing to do."""

        def claim(tx: Tx) -> Job | None:
            job = tx.get(Job, job_id)
            if job.state in FINAL:
                return None
            if job.state is JobState.QUEUED and job.cancel:
                kind = self.kinds[job.kind]
                error = JobError(code="conflict", message="Cancelled before it began.")
                kind.fail(tx, job, self._args(kind, job), error)
                return tx.change(job, **next_state(job, "cancel"), error=error, finished_at=tx.now)
            steps = self.kinds[job.kind].steps
            at = self.kinds[job.kind].after(job.reached)
            claimed = {"epoch": job.epoch + 1, "step": at, "steps_total": len(steps)}
            if at is not None:
                return tx.change(job, **next_state(job, "claim"), **claimed)
            # begun by a version with other steps: what any of them may have done is taken back
            claimed["step"] = len(steps) - 1
            event = "claim" if job.state is JobState.UNDOING else "undo"
            return tx.change(job, **next_state(job, event), **claimed, error=job.error or _unknown(job))

        def claim_and_begin(tx: Tx) -> Job | None:
            job = claim(tx)
            if job is None or job.state is not JobState.RUNNING or job.step != 0:
                return job
            kind = self.kinds[job.kind]
            step = kind.steps[0]
            if step.rows is None:
                return job
            self._crash(job, step, "before")
            notes = step.rows(tx, job, self._args(kind, job), self.services)
            tx.add(self._row(job, step, 0, tx.now, notes))
            return tx.change(job, reached=step.name, step=1, progress=_percent(kind, 1))

        store = self.services.store
        try:
            return await store.write(claim_and_begin)
        except errors.DatabaseAway:
            raise
        except errors.TrilithError as err:
            # rolled back as a whole: claimed alone, the step fails again, and then as the step that it is
            log.debug("a first step does not go with its claim", job=job_id, error=str(err))
            return await store.write(claim)
        except Exception:
            log.exception("bug in a first step", job=job_id)
            return await store.write(claim)

    async def _run(self, job_id: str) -> None:
        job = await self._claim(job_id)
        if job is None or job.state in FINAL:
            return
        self._own_revision[job_id] = job.revision
        kind = self.kinds[job.kind]
        if job.step == 1:
            self._crash(job, kind.steps[0], "effect")  # one moment where effect and record are one transaction
            self._crash(job, kind.steps[0], "record")
        context = Context(job=job, args=self._args(kind, job), services=self.services)
        if job.state is JobState.UNDOING:
            await self._undo(kind, context, job.error or JobError(code="bug", message="interrupted"))
            return
        try:
            if job.cancel:
                self._cancel(job_id)
            if job_id not in self._unwanted:
                self._stepping.add(job_id)
                try:
                    await self._forward(kind, context)
                finally:
                    self._stepping.discard(job_id)
                return
            await self._fail(kind, context, _CANCELLED)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._stopping or task is None or job_id not in self._unwanted:
                raise
            task.uncancel()
            await self._fail(kind, context, _CANCELLED)
        except errors.DatabaseAway:
            raise
        except errors.TrilithError as err:
            step = kind.steps[min(context.job.step, len(kind.steps) - 1)].name
            await self._fail(kind, context, JobError(code=err.code, message=err.message, step=step, hint=err.hint))
        except Exception as err:
            step = kind.steps[min(context.job.step, len(kind.steps) - 1)].name
            if isinstance(err, OSError) and (known := errors.of_disk(err)) is not None:
                await self._fail(
                    kind, context, JobError(code=known.code, message=known.message, step=step, hint=known.hint)
                )
                return
            log.exception("bug in a step", job=job.id, kind=job.kind, step=step)
            text = f"{type(err).__name__}: {err}"
            await self._fail(kind, context, JobError(code="bug", message=text, step=step))

    async def _wait_for_earlier(self, job_id: str) -> None:
        """Return when the job that must end first has ended, here or at another controller."""
        job = await self.services.store.read(lambda r: r.get(Job, job_id))
        while job.after:
            ended = self._ends.setdefault(job.after, asyncio.Event())  # before looking: an end in between sets it
            before = await self.services.store.read(lambda r: r.find(Job, job.after))
            if before is None or before.state in FINAL:
                self._tell_ended(job.after)
                return
            await ended.wait()

    async def _forward(self, kind: Kind, context: Context[Any]) -> None:
        ledger = Ledger(lambda rows: self._record(kind, context, rows))
        try:
            for idx in range(context.job.step, len(kind.steps)):
                step = kind.steps[idx]
                context.job = replace(context.job, step=idx)
                self._crash(context.job, step, "before")
                started = time.time()
                context.notes = []
                if step.check is None or not await self._timed(step, step.check, context):
                    await self._timed(step, step.do, context)
                self._crash(context.job, step, "effect")
                node = context.memo.get("node", "") if step.on_node else ""
                row = self._row(context.job, step, idx, started, context.notes, node)
                if idx + 1 == len(kind.steps):
                    await self._finish(kind, context, [*await ledger.rest(), row])
                elif step.lazy:
                    ledger.later(row)
                else:
                    await ledger.now(row)
                if self._crashes(context.job, step, "record"):
                    await ledger.flush()
                self._crash(context.job, step, "record")
        finally:
            await ledger.flush()

    async def _record(self, kind: Kind, context: Context[Any], rows: list[JobStep]) -> None:
        job, done = context.job, rows[-1].idx + 1

        def body(tx: Tx) -> Job:
            for row in rows:
                tx.add(row)
            reached = kind.steps[done - 1].name
            return tx.change(_owned(tx, job), reached=reached, step=done, progress=_percent(kind, done))

        recorded = await self.services.store.write(body)
        self._own_revision[job.id] = recorded.revision
        if recorded.cancel and kind.cancellable and job.id in self._running:
            # the request came just before this record, whose revision hides it from the feed's reader
            self._cancel(job.id)

    async def _finish(self, kind: Kind, context: Context[Any], rows: list[JobStep]) -> None:
        job, done = context.job, rows[-1].idx + 1

        def body(tx: Tx) -> Job:
            for row in rows:
                tx.add(row)
            current = _owned(tx, job)
            kind.finish(tx, current, context.args)
            ended = {"reached": kind.steps[-1].name, "step": done, "progress": 100, "finished_at": tx.now}
            return tx.change(current, **next_state(current, "finish"), **ended)

        self._own_revision[job.id] = (await self.services.store.write(body)).revision

    async def _fail(self, kind: Kind, context: Context[Any], error: JobError) -> None:
        job = context.job
        at = job.step
        failed = kind.steps[min(at, len(kind.steps) - 1)]

        def body(tx: Tx) -> Job:
            current = _owned(tx, job)
            tx.add(
                JobStep(
                    id=new_id(),
                    job_id=job.id,
                    idx=at,
                    name=failed.event or failed.name,
                    result="Error",
                    started_at=tx.now,
                    finished_at=tx.now,
                    note=error.message[:2000],
                )
            )
            return tx.change(current, **next_state(current, "undo"), error=error, step=at)

        context.job = await self.services.store.write(body)
        self._own_revision[job.id] = context.job.revision
        await self._undo(kind, context, error)

    async def _undo(self, kind: Kind, context: Context[Any], error: JobError) -> None:
        last = min(context.job.step, len(kind.steps) - 1)
        left: list[str] = []
        for idx in range(last, -1, -1):
            step = kind.steps[idx]
            if step.undo is None:
                continue
            self._crash(context.job, step, "undo")
            problem = await self._undo_one(step, step.undo, context)
            if problem:
                left.append(f"{step.name}: {problem}")
        if left:
            error = replace(error, hint=f"{error.hint} Not undone: {'; '.join(left)}".strip())
        cancelled = context.job.cancel or error.message == "Cancelled."

        def body(tx: Tx) -> Job:
            current = _owned(tx, context.job)
            kind.fail(tx, current, context.args, error)
            event = "cancel" if cancelled else "fail"
            return tx.change(current, **next_state(current, event), error=error, finished_at=tx.now)

        self._own_revision[context.job.id] = (await self.services.store.write(body)).revision
        log.warning(
            "job ended without success", job=context.job.id, kind=kind.name, step=error.step, error=error.message
        )

    async def _undo_one(self, step: Step, undo: Act, context: Context[Any]) -> str:
        """The problem that remained, or nothing."""
        problem = ""
        for pause in (0.0, *_UNDO_PAUSES):
            await asyncio.sleep(pause)
            try:
                await self._timed(step, undo, context)
                return ""
            except errors.DatabaseAway:
                raise  # it is repeated as a whole when the database is back
            except errors.TrilithError as err:
                problem = str(err)
            except Exception as err:
                log.exception("bug in an undo", job=context.job.id, step=step.name)
                problem = f"{type(err).__name__}: {err}"
        return problem

    async def _timed(self, step: Step, act: Callable[[Context[Any]], Any], context: Context[Any]) -> Any:
        left = context.job.deadline - time.time() if context.job.deadline and act is not step.undo else step.timeout
        limit = max(0.0, min(step.timeout, left))
        try:
            async with asyncio.timeout(limit):
                return await act(context)
        except TimeoutError:
            raise errors.Deadline(f"Step {step.name} did not end within {limit:.0f} s.") from None

    def _row(self, job: Job, step: Step, idx: int, started: float, notes: list[str], node: str = "") -> JobStep:
        return JobStep(
            id=new_id(),
            job_id=job.id,
            idx=idx,
            name=step.event or step.name,
            node=node,
            result="Success",
            started_at=started,
            finished_at=time.time(),
            note="; ".join(notes)[:2000],
        )

    def _args(self, kind: Kind, job: Job) -> Any:
        return msgspec.json.decode(job.args, type=kind.args)

    def _crashes(self, job: Job, step: Step, moment: str) -> bool:
        return bool(self.crash_at) and self.crash_at == f"{job.kind}:{step.name}:{moment}"

    def _crash(self, job: Job, step: Step, moment: str) -> None:
        if self._crashes(job, step, moment):
            os.kill(os.getpid(), signal.SIGKILL)


def _percent(kind: Kind, done: int) -> int:
    return min(99, done * 100 // len(kind.steps))


def _unknown(job: Job) -> JobError:
    message = (
        f"This version of Trilith does not know the step {job.reached!r} of {job.kind}, which the job had reached."
    )
    return JobError(code="conflict", message=message, step=job.reached, hint="It was undone. Ask for it again.")


def _owned(tx: Tx, job: Job) -> Job:
    """The job's row, if this claim still owns it. Raises Conflict when another claimed it since."""
    current = tx.get(Job, job.id)
    if current.epoch != job.epoch:
        raise errors.Conflict(f"Job {job.id} was claimed by another controller.")
    return current


def _load(ids: list[str]) -> Callable[[Reader], list[Job]]:
    return lambda reader: reader.select(Job, id=ids)
