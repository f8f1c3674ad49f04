"""What a job is made of: kinds, steps, and the context that a step sees."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from trilith.model.job import Job, JobError
from trilith.store.contract import Store
from trilith.store.tx import Tx

if TYPE_CHECKING:
    from trilith.jobs.services import Services

A = TypeVar("A", bound=msgspec.Struct)


@dataclass
class Context(Generic[A]):
    """One job while it runs. note() and progress() are kept with the step's record."""

    job: Job
    args: A
    services: Services
    notes: list[str] = field(default_factory=list)
    on_progress: Callable[[int], None] | None = None
    memo: dict[str, Any] = field(default_factory=dict)  # what a step learned, for the next; lost at a crash

    @property
    def store(self) -> Store:
        return self.services.store

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, percent: int) -> None:
        if self.on_progress is not None:
            self.on_progress(percent)


Act = Callable[[Context[Any]], Awaitable[None]]
Check = Callable[[Context[Any]], Awaitable[bool]]


@dataclass(frozen=True)
class Step:
    """do must be idempotent: after a crash it runs again from its start. check looks, and must not touch: True when
    the effect is there already. undo takes the effect back, whether it was there whole, in part or not at all.

    timeout: seconds for each of them. event: the name in os-instance-actions.

    rows: the whole effect as a change of rows, returning its notes; a job's first step with it shares the claim's
    transaction. lazy: its record may wait for a later one, since running it again does no harm after any later step.
    """

    name: str
    do: Act
    undo: Act | None = None
    check: Check | None = None
    timeout: float = 60.0
    on_node: bool = False
    event: str = ""
    rows: Callable[[Tx, Job, Any, Services], list[str]] | None = None
    lazy: bool = False


@dataclass(frozen=True)
class Kind:
    """finish, fail: the last change, in one transaction with the job's own end. fail also serves a cancel.

    deadline: seconds from submission, 0 for none. args_version: of the struct; older ones are decoded by `args` (new
    fields have defaults). cancellable: false for a job that goes on to its end. slow: it waits for others' servers, so
    that it has no place among the jobs that a user waits for.
    """

    name: str
    args: type[msgspec.Struct]
    steps: tuple[Step, ...]
    finish: Callable[[Tx, Job, Any], None]
    fail: Callable[[Tx, Job, Any, JobError], None]
    deadline: float = 600.0
    args_version: int = 1
    cancellable: bool = True
    slow: bool = False
    summary: str = ""

    def after(self, reached: str) -> int | None:
        """Index of the step after the one of that name, 0 for "". None: these steps do not have it."""
        names = ["", *(step.name for step in self.steps)]
        return names.index(reached) if reached in names else None
