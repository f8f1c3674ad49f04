"""server.rebuild: a new root on the same node, with the same identity and ports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trilith.agent.calls import PlanArgs, ServerArgs
from trilith.commands import server_root
from trilith.jobs import arguments, image_presence, server_plan, vendor_data
from trilith.jobs.kind import Context, Kind, Step
from trilith.jobs.server_steps import fail, finish_action, order, owned, require_node, server, wait_up
from trilith.model import server as model
from trilith.model.guest import PowerState
from trilith.model.job import Job, JobError
from trilith.model.server import Server
from trilith.store.tx import Tx


def _with_image(found: Server, args: arguments.Rebuild) -> Server:
    return replace(
        found,
        image_id=args.image_id,
        image_sha256=args.image_sha256,
        image_format=args.image_format,
        image_properties=args.image_properties,
    )


async def _rebuild(context: Context[arguments.Rebuild]) -> None:
    found = _with_image(await server(context), context.args)
    await vendor_data.gather(context.services, found.id)
    await image_presence.bring(context.services, found.id)
    plan = await context.store.read(lambda r: server_plan.build(r, context.services, found))
    await order(context, require_node(found), "guest.rebuild", PlanArgs(plan), timeout=600)


async def _start(context: Context[arguments.Rebuild]) -> None:
    found = await server(context)
    if context.args.start:
        await order(context, require_node(found), "guest.start", ServerArgs(found.id), timeout=120)


async def _up(context: Context[arguments.Rebuild]) -> None:
    if context.args.start:
        await wait_up(context)


def _finish(tx: Tx, job: Job, args: arguments.Rebuild) -> None:
    finish_action(tx, job)
    found = owned(tx, job)
    if found is None or found.job_id != job.id:
        return
    power = PowerState.RUNNING if args.start else PowerState.SHUTDOWN
    changes: dict[str, Any] = model.end(found, "rebuilding")
    if args.start:
        changes["state"] = model.ServerState.ACTIVE  # from ERROR a rebuild recovers
    tx.change(_take(tx, found, args), **changes, power=power, launched_at=tx.now, fault=None)


def _fail(tx: Tx, job: Job, args: arguments.Rebuild, error: JobError) -> None:
    """The image shown is the one that the root is of: the new one, once it was laid out."""
    found = owned(tx, job)
    if found is not None and found.job_id == job.id:
        if job.reached in ("rebuild", "start", "up"):
            _take(tx, found, args)
        elif args.old_image_id:
            tx.change(found, image_id=args.old_image_id)
    fail(tx, job, args, error)


def _take(tx: Tx, found: Server, args: arguments.Rebuild) -> Server:
    """From now on the root is of the new image."""
    image, before = _with_image(found, args), server_root.root_of(found)
    found = tx.change(
        found,
        image_id=image.image_id,
        image_sha256=image.image_sha256,
        image_format=image.image_format,
        image_properties=image.image_properties,
    )
    server_root.let_go(tx, found, before)
    return found


REBUILD = Kind(
    name="server.rebuild",
    args=arguments.Rebuild,
    steps=(
        Step("rebuild", _rebuild, timeout=600, on_node=True, event="compute_rebuild_instance"),
        Step("start", _start, timeout=150, on_node=True),
        Step("up", _up, timeout=90),
    ),
    finish=_finish,
    fail=_fail,
    deadline=arguments.DEADLINES["server.rebuild"],
    summary="replace a server's root by an image",
)
