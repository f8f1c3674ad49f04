"""The job engine on both databases, with kinds of the test's own: where a job goes on, and what the feed tells it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import msgspec
import pytest
import sqlalchemy as sa

from trilith import errors
from trilith.jobs.engine import Engine
from trilith.jobs.kind import Context, Kind, Step
from trilith.jobs.services import Services
from trilith.jobs.submit import cancel, next_state, submit
from trilith.model.job import FINAL, Job, JobError, JobState, JobStep
from trilith.model.record import Change, FeedRow
from trilith.store.contract import Store
from trilith.store.postgres import PostgresStore
from trilith.store.tx import Tx


class Nothing(msgspec.Struct):
    pass


@dataclass(frozen=True)
class OnlyStore:
    """Of the services, what these steps use."""

    store: Store


@dataclass
class Done:
    """What the steps did, in order; a step named in `held` waits for its event."""

    log: list[str] = field(default_factory=list)
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    begun: dict[str, asyncio.Event] = field(default_factory=dict)

    def step(self, name: str) -> Step:
        async def do(_context: Context[Any]) -> None:
            self.log.append(name)
            if name in self.begun:
                self.begun[name].set()
            if name in self.held:
                await self.held[name].wait()

        async def undo(_context: Context[Any]) -> None:
            self.log.append(f"-{name}")

        return Step(name, do, undo=undo)

    def kind(self, *names: str) -> dict[str, Kind]:
        def finish(_tx: Tx, _job: Job, _args: Any) -> None:
            self.log.append("finish")

        def fail(_tx: Tx, _job: Job, _args: Any, _error: JobError) -> None:
            self.log.append("fail")

        steps = tuple(self.step(name) for name in names)
        return {"test": Kind(name="test", args=Nothing, steps=steps, finish=finish, fail=fail)}


@asynccontextmanager
async def running(store: Store, kinds: dict[str, Kind]) -> AsyncIterator[Engine]:
    engine = Engine(cast(Services, OnlyStore(store)), kinds)
    task = asyncio.create_task(engine.run())
    try:
        yield engine
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def queue(tx: Tx) -> Job:
    return submit(tx, "test", resource="server", resource_id="s", args=Nothing(), deadline=600)


async def ended(store: Store, job_id: str) -> Job:
    async with asyncio.timeout(20):
        while True:
            cursor = await store.head()
            job = await store.read(lambda r: r.get(Job, job_id))
            if job.state in FINAL:
                return job
            await store.wait(cursor, timeout=5)


async def interrupted(store: Store, done: Done, *names: str, at: str) -> Job:
    """A job whose process ended in the step `at`."""
    done.held[at], done.begun[at] = asyncio.Event(), asyncio.Event()
    async with running(store, done.kind(*names)):
        job = await store.write(queue)
        async with asyncio.timeout(20):
            await done.begun[at].wait()
    del done.held[at]
    return await store.read(lambda r: r.get(Job, job.id))


async def test_a_job_goes_on_at_the_step_of_the_name_and_not_of_the_number(store: Store) -> None:
    done = Done()
    job = await interrupted(store, done, "place", "create", "start", at="start")
    assert (job.state, job.reached) == (JobState.RUNNING, "create")
    done.log.clear()
    async with running(store, done.kind("place", "network", "disk", "create", "start", "up")):
        job = await ended(store, job.id)
    assert done.log == ["start", "up", "finish"]
    assert (job.state, job.reached, job.step, job.steps_total) == (JobState.DONE, "up", 6, 6)


async def test_a_job_at_a_step_that_is_no_more_is_undone_and_says_so(store: Store) -> None:
    done = Done()
    job = await interrupted(store, done, "place", "create", "start", at="start")
    done.log.clear()
    async with running(store, done.kind("place", "build", "start")):
        job = await ended(store, job.id)
    assert done.log == ["-start", "-build", "-place", "fail"]
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert "'create'" in job.error.message
    assert "again" in job.error.hint


async def test_an_undo_goes_on_under_other_steps(store: Store) -> None:
    done = Done()
    job = await interrupted(store, done, "place", "create", "start", at="start")
    error = JobError(code="backend", message="no", step="start")
    await store.write(lambda tx: tx.change(tx.get(Job, job.id), **next_state(job, "undo"), error=error, step=2))
    done.log.clear()
    async with running(store, done.kind("place", "network", "create", "start", "up")):
        job = await ended(store, job.id)
    assert done.log == ["-start", "-create", "-network", "-place", "fail"]
    assert job.error is not None
    assert job.error.message == "no"


def test_what_the_engine_wrote_itself_is_no_news_to_it() -> None:
    """Neither of a job that runs here nor of one that ended here; what others wrote after it is, and any other job."""
    engine = Engine(cast(Services, None), {})
    engine._own_revision["runs"], engine._ended["ended"] = 3, 5

    def row(noun: str, id: str, revision: int) -> FeedRow:
        return FeedRow(cursor="1.1", noun=noun, id=id, revision=revision, change=Change.UPDATED, project_id="", at=0.0)

    ours = [row("job", "runs", 2), row("job", "runs", 3), row("job", "ended", 5), row("server", "new", 9)]
    assert engine._news(ours) == []
    assert engine._news([*ours, row("job", "runs", 4), row("job", "new", 1), row("job", "new", 2)]) == ["runs", "new"]
    assert engine._news([row("job", "ended", 6)]) == ["ended"]


async def test_a_bug_in_the_step_that_goes_with_the_claim_ends_the_job(store: Store) -> None:
    """Such a step runs in the claim's own transaction, from which the bug must not take the job's end away."""

    def rows(_tx: Tx, _job: Job, _args: Any) -> list[str]:
        raise NameError("no such name")

    async def do(context: Context[Any]) -> None:
        await context.store.write(lambda tx: rows(tx, context.job, context.args))

    done = Done()
    kinds = done.kind("one", "two")
    steps = (Step("first", do, rows=rows), *kinds["test"].steps)
    async with running(store, {"test": replace(kinds["test"], steps=steps)}):
        job = await ended(store, (await store.write(queue)).id)
    assert (job.state, job.error and job.error.code) == (JobState.FAILED, "bug")
    assert job.error is not None
    assert (job.error.step, job.error.message) == ("first", "NameError: no such name")
    assert done.log == ["fail"]


@pytest.mark.parametrize("times", [1, 2])
async def test_a_wish_to_cancel_is_news_though_the_job_runs_here(store: Store, times: int) -> None:
    done = Done(held={"create": asyncio.Event()}, begun={"create": asyncio.Event()})
    async with running(store, done.kind("place", "create")):
        job = await store.write(queue)
        async with asyncio.timeout(20):
            await done.begun["create"].wait()
        for _ in range(times):
            await store.write(lambda tx: cancel(tx, job.id))
        job = await ended(store, job.id)
    assert job.state is JobState.CANCELLED
    assert done.log == ["place", "create", "-create", "-place", "fail"]
    assert not [s for s in await store.read(lambda r: r.select(JobStep, job_id=job.id)) if s.result == "Success"][1:]


async def test_a_database_that_goes_away_in_a_step_is_no_failure_of_the_job(store: Store) -> None:
    """The step is repeated when it is back, and so is an undo."""
    done = Done()
    kinds = done.kind("place", "create")
    times = {"create": 1, "-place": 1}

    def flaky(step: Step, name: str, act: Any) -> Any:
        async def run(context: Context[Any]) -> None:
            if times.get(name, 0):
                times[name] -= 1
                raise errors.DatabaseAway("gone")
            await act(context)

        return run

    steps = [replace(s, do=flaky(s, s.name, s.do), undo=flaky(s, f"-{s.name}", s.undo)) for s in kinds["test"].steps]
    kinds = {"test": replace(kinds["test"], steps=tuple(steps))}
    async with running(store, kinds):
        job = await store.write(queue)
        job = await ended(store, job.id)
        assert (job.state, job.error, done.log) == (JobState.DONE, None, ["place", "create", "finish"])
        done.log.clear()
        done.held["create"], done.begun["create"] = asyncio.Event(), asyncio.Event()
        job = await store.write(queue)
        async with asyncio.timeout(20):
            await done.begun["create"].wait()
        await store.write(lambda tx: cancel(tx, job.id))
        job = await ended(store, job.id)
    assert job.state is JobState.CANCELLED
    # what was undone before it went away is undone again: undoing is repeatable, too
    assert done.log == ["place", "create", "-create", "-create", "-place", "fail"]
    assert times == {"create": 0, "-place": 0}


@pytest.mark.postgres
async def test_who_loses_the_leadership_stops_and_leads_again(open_postgres: Callable[[], Awaitable[Store]]) -> None:
    store = await open_postgres()
    assert isinstance(store, PostgresStore)
    done = Done(held={"create": asyncio.Event()}, begun={"create": asyncio.Event()})
    async with running(store, done.kind("place", "create", "start")):
        job = await store.write(queue)
        async with asyncio.timeout(20):
            await done.begun["create"].wait()
        done.begun["create"].clear()
        async with store._get().begin() as conn:
            await conn.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'trilith-leader' AND datname = current_database()"
                )
            )
        async with asyncio.timeout(20):
            await done.begun["create"].wait()  # broken off, claimed anew and begun again
        done.held["create"].set()
        job = await ended(store, job.id)
    assert (job.state, job.epoch) == (JobState.DONE, 2)
    assert done.log == ["place", "create", "create", "start", "finish"]
