"""/trilith/v1/jobs: what is being done, step by step."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.http.times import seconds_z
from trilith.commands import idempotency
from trilith.commands.jobs import cancel as cancel_job
from trilith.model.job import Job, JobError, JobState, JobStep
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx

_LIMIT = 100
_MOST = 1000


class StepView(msgspec.Struct):
    name: str
    result: str
    node: str
    started_at: str
    finished_at: str
    note: str


class JobView(msgspec.Struct, omit_defaults=True):
    """progress: percent. finished_at: null while it goes on."""

    id: str
    kind: str
    state: str
    resource: str
    resource_id: str
    project_id: str
    user_id: str
    request_id: str
    step: int
    steps_total: int
    progress: int
    cancelling: bool
    created_at: str
    updated_at: str
    deadline: str | None
    finished_at: str | None
    error: JobError | None
    steps: list[StepView] | msgspec.UnsetType = msgspec.UNSET


class Jobs(msgspec.Struct, omit_defaults=True):
    jobs: list[JobView]
    next: str = ""


def _time(at: float) -> str | None:
    return seconds_z(at) if at else None


def view(job: Job, steps: list[JobStep] | None = None) -> JobView:
    made = JobView(
        id=job.id,
        kind=job.kind,
        state=str(job.state),
        resource=job.resource,
        resource_id=job.resource_id,
        project_id=job.project_id,
        user_id=job.user_id,
        request_id=job.request_id,
        step=job.step,
        steps_total=job.steps_total,
        progress=job.progress,
        cancelling=job.cancel,
        created_at=seconds_z(job.created_at),
        updated_at=seconds_z(job.updated_at),
        deadline=_time(job.deadline),
        finished_at=_time(job.finished_at),
        error=job.error,
    )
    if steps is not None:
        made.steps = [
            StepView(s.name, s.result, s.node, seconds_z(s.started_at), seconds_z(s.finished_at), s.note) for s in steps
        ]
    return made


async def list_jobs(call: Call) -> Jobs:
    """200, newest first; `next` where there are more. 400 for an unknown state or marker."""
    states = call.all("state")
    for state in states:
        if state not in [str(s) for s in JobState]:
            raise errors.Invalid(f"{state!r} is no state of a job.", field="state")
    limit = call.number("limit", _LIMIT, least=1, most=_MOST)
    t = REGISTRY[Job].table.c
    where: list[sa.ColumnElement[bool]] = []
    if states:
        where.append(t.state.in_(states))
    for name, column in (("resource", t.resource), ("resource_id", t.resource_id), ("kind", t.kind)):
        if call.all(name):
            where.append(column == call.one(name))
    if not call.actor.is_admin:
        where.append(t.project_id == call.actor.project_id)
    elif call.all("project_id"):
        where.append(t.project_id == call.one("project_id"))

    def body(reader: Reader) -> list[Job]:
        clauses = list(where)
        if marker := call.one("marker"):
            last = reader.find(Job, marker)
            if last is None:
                raise errors.Invalid(f"There is no job {marker}.", field="marker")
            clauses.append(t.seq < last.seq)
        return reader.select(Job, *clauses, order=[t.seq.desc()], limit=limit + 1)

    found = await call.read(body)
    more = len(found) > limit
    return Jobs([view(j) for j in found[:limit]], next=found[limit - 1].id if more else "")


def _get(reader: Reader, call: Call, rule: str) -> Job:
    job = reader.find(Job, call.params["job_id"])
    if job is None or not call.can("trilith:jobs:show", project_id=job.project_id):
        raise errors.Missing(f"There is no job {call.params['job_id']}.")
    call.allow(rule, project_id=job.project_id)
    return job


async def show(call: Call) -> JobView:
    """200, with its steps. 404 for no such job in the caller's project."""

    def body(reader: Reader) -> tuple[Job, list[JobStep]]:
        job = _get(reader, call, "trilith:jobs:show")
        return job, reader.select(JobStep, job_id=job.id, limit=1000)

    job, steps = await call.read(body)
    return view(job, steps)


async def cancel(call: Call) -> Answer:
    """202 and the job: it stops after its running step and undoes what it did. 404, 409 when it has ended already,
    422 for an Idempotency-Key that came with another request."""
    job_id = call.params["job_id"]
    await call.read(lambda r: _get(r, call, "trilith:jobs:cancel"))
    key = call.headers.get("idempotency-key", "")

    def do(tx: Tx) -> tuple[int, str]:
        return 202, msgspec.json.encode(view(cancel_job(tx, job_id))).decode()

    def body(tx: Tx) -> tuple[int, str]:
        mark = idempotency.fingerprint("POST", "jobs.cancel", job_id)
        return idempotency.once(tx, key=key, fingerprint=mark, do=do)

    status, text = await call.write(body, "job.cancel")
    return Answer(text.encode(), status=status)
