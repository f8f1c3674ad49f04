"""Writing a job, in the transaction of the change that needs it."""

from __future__ import annotations

from typing import Any

import msgspec

from trilith import errors
from trilith.model.job import ACTIVE, FINAL, JOB_TABLE, Job
from trilith.store.tx import Tx, new_id


def submit(
    tx: Tx,
    kind: str,
    *,
    resource: str,
    resource_id: str,
    args: msgspec.Struct,
    project_id: str = "",
    deadline: float,
    after: str = "",
    batch: str = "",
    version: int = 1,
) -> Job:
    """The queued job. deadline: its kind's, seconds from now; 0 for none. after: a job that must end first."""
    return tx.add(
        Job(
            id=new_id(),
            kind=kind,
            resource=resource,
            resource_id=resource_id,
            project_id=project_id,
            user_id=tx.actor.user_id,
            request_id=tx.actor.request_id,
            args=msgspec.json.encode(args).decode(),
            args_version=version,
            deadline=tx.now + deadline if deadline else 0.0,
            after=after,
            batch=batch,
        )
    )


def cancel(tx: Tx, job_id: str) -> Job:
    """Ask a job to stop and undo what it did. A queued one is cancelled at once. Raises Conflict when it has ended."""
    job = tx.get(Job, job_id)
    if job.state in FINAL:
        raise errors.Conflict(f"Job {job_id} has ended already ({job.state}).")
    return tx.change(job, cancel=True)


def active_for(tx: Any, resource_id: str) -> list[Job]:
    jobs: list[Job] = tx.select(Job, resource_id=resource_id, state=ACTIVE)
    return jobs


def next_state(job: Job, event: str) -> dict[str, Any]:
    return {"state": JOB_TABLE.next(job.state, event)}
