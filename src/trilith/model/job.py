"""Durable jobs: what is being done to a resource, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trilith.model.record import Record
from trilith.model.states import table


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    UNDOING = "undoing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


_S = JobState
JOB_TABLE = table(
    "job",
    {
        (_S.QUEUED, "claim"): _S.RUNNING,
        (_S.RUNNING, "claim"): _S.RUNNING,  # by another process, or this one after a restart
        (_S.UNDOING, "claim"): _S.UNDOING,
        (_S.RUNNING, "finish"): _S.DONE,
        (_S.RUNNING, "undo"): _S.UNDOING,
        (_S.UNDOING, "fail"): _S.FAILED,
        (_S.UNDOING, "cancel"): _S.CANCELLED,
        (_S.QUEUED, "cancel"): _S.CANCELLED,
    },
)

FINAL = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
ACTIVE = (JobState.QUEUED, JobState.RUNNING, JobState.UNDOING)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    code: str
    message: str
    step: str = ""
    node: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Record):
    """kind names a row of the table of job kinds; args is that kind's own struct as JSON, with args_version.

    epoch grows with each claim: a result that carries an older one is refused. reached names the last finished step,
    "" before the first: a version with other steps goes on at the right one. step (how many are finished), steps_total
    (0 before it began) and progress (0..100) are for people. deadline is UTC, 0 for none; a job past it is undone.
    """

    kind: str
    resource: str  # noun
    resource_id: str
    project_id: str = ""
    user_id: str = ""
    request_id: str = ""
    state: JobState = JobState.QUEUED
    args: str = "{}"
    args_version: int = 1
    reached: str = ""
    step: int = 0
    steps_total: int = 0
    progress: int = 0
    epoch: int = 0
    deadline: float = 0.0
    cancel: bool = False
    after: str = ""  # id of a job that must be final first (a delete waits for the cancelled create)
    batch: str = ""
    error: JobError | None = None
    finished_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStep(Record):
    """A finished (or failed) step: the log of its job, and the events of os-instance-actions."""

    job_id: str
    idx: int
    name: str
    node: str = ""
    result: str = ""  # "Success" | "Error"
    started_at: float = 0.0
    finished_at: float = 0.0
    note: str = ""
    undo: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyKey(Record):
    """A POST of /trilith/v1 that was done, and what it answered. fingerprint: SHA-256 of what was asked."""

    user_id: str
    key: str
    fingerprint: str
    status: int
    answer: str
