"""What the server jobs share: reading the server, calling its node, ending it well or badly."""

from __future__ import annotations

from typing import Any, TypeVar

from trilith import errors
from trilith.agent.calls import Nothing, PlanArgs
from trilith.jobs.kind import Context
from trilith.jobs.server_plan import ports_of
from trilith.model import server as model
from trilith.model.job import Job, JobError
from trilith.model.server import Fault, InstanceAction, Server
from trilith.store.tx import Tx

T = TypeVar("T")

#: seconds that a step waits for a node whose agent restarts
NODE_WAIT = 15.0

#: error code → the HTTP code that Nova's fault shows
_FAULT_CODES = {"no_valid_host": 500, "invalid": 400, "unsupported": 501, "quota": 403, "conflict": 409}


async def server(context: Context[Any]) -> Server:
    """The row as it is now."""
    found = await context.store.read(lambda r: r.get(Server, context.job.resource_id))
    context.memo["node"] = found.node
    return found


async def call(context: Context[Any], node: str, name: str, args: Any, result: type[T], *, timeout: float = 60.0) -> T:
    """A node call under this job's claim."""
    context.memo["node"] = node
    answer = await context.services.links.call(
        node,
        name,
        args,
        result,
        timeout=timeout,
        resource=context.job.id,
        epoch=context.job.epoch,
        wait=NODE_WAIT,
        progress=lambda percent, _note: context.progress(percent),
    )
    if isinstance(args, PlanArgs):
        context.services.sent.note(args.plan)
    return answer


async def order(context: Context[Any], node: str, name: str, args: Any, *, timeout: float = 60.0) -> None:
    await call(context, node, name, args, Nothing, timeout=timeout)


async def wait_up(context: Context[Any]) -> None:
    """Until the server's ports are bound and up. Raises Deadline naming those that are not."""
    ids = await context.store.read(lambda r: [p.id for p in ports_of(r, context.job.resource_id)])
    if ids:
        await context.services.network.wait_up(ids, timeout=60)


def finish_action(tx: Tx, job: Job, message: str = "") -> None:
    for action in tx.select(InstanceAction, job_id=job.id):
        tx.change(action, finished_at=tx.now, message=message)


def owned(tx: Tx, job: Job) -> Server | None:
    """The server, if this job still owns it; a delete that waits for this job may have taken it over."""
    return tx.find(Server, job.resource_id)


def fail(tx: Tx, job: Job, _args: Any, error: JobError) -> None:
    """The server ends in ERROR with a fault that says what and where; a server that another job took over is left."""
    finish_action(tx, job, "Error")
    found = owned(tx, job)
    if found is None or found.job_id != job.id:
        return
    where = f" (step {error.step} of {job.kind}" + (f" on {found.node}" if found.node else "") + ")"
    fault = Fault(
        code=_FAULT_CODES.get(error.code, 500),
        message=error.message[:255],
        created=tx.now,
        details=f"{error.message}{where}. {error.hint}".strip(),
    )
    tx.change(found, **model.end(found, "failed"), fault=fault)


def fail_softly(tx: Tx, job: Job, _args: Any, error: JobError) -> None:
    """For tasks after whose failure the server is as it was: state stays, the action and the fault say why."""
    finish_action(tx, job, "Error")
    found = owned(tx, job)
    if found is None or found.job_id != job.id:
        return
    fault = Fault(
        code=_FAULT_CODES.get(error.code, 500), message=error.message[:255], created=tx.now, details=error.hint
    )
    tx.change(found, task="", job_id="", fault=fault)


def require_node(found: Server) -> str:
    if not found.node:
        raise errors.Conflict(f"Server {found.id} is on no node.")
    return found.node
