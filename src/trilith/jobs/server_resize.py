"""server.resize, on the node where the server is. Where that has no room, it is a server.migrate with a new flavor.

The old disk is kept beside the new one until the user decides: confirm forgets it, revert puts it back, as Nova does.
"""

from __future__ import annotations

from dataclasses import replace

from trilith.agent.calls import PlanArgs, ServerArgs, StopArgs
from trilith.commands import allocations, quota, server_moves, server_resources
from trilith.jobs import arguments, server_plan
from trilith.jobs.kind import Context, Kind, Step
from trilith.jobs.server_steps import (
    fail_softly,
    finish_action,
    order,
    owned,
    require_node,
    server,
    wait_up,
)
from trilith.model import server as model
from trilith.model.guest import PowerState
from trilith.model.job import Job, JobError
from trilith.model.node import ResourceProvider
from trilith.model.server import FlavorData, Migration, Server
from trilith.store.tx import Tx

#: system_metadata key: whether the server ran before its resize
WAS_RUNNING = "resize:was_running"


def reclaim(tx: Tx, found: Server, flavor: FlavorData, *, also: FlavorData | None = None) -> None:
    """The server's allocation as `flavor` needs it; with `also`, as either of both does, which is what a server holds
    until its resize is settled. Raises Conflict when the node has not that much."""
    provider = tx.first(ResourceProvider, name=found.node)
    assert provider is not None, found.node
    allocations.release(tx, found.id)
    one, other = (server_resources.of_server(tx, found, f) for f in (flavor, also or flavor))
    allocations.claim(
        tx,
        consumer_id=found.id,
        provider_id=provider.id,
        resources={name: max(one.get(name, 0), other.get(name, 0)) for name in one | other},
        project_id=found.project_id,
        user_id=found.user_id,
    )


async def _claim(context: Context[arguments.Resize]) -> None:
    def body(tx: Tx) -> None:
        found = tx.get(Server, context.job.resource_id)
        reclaim(tx, found, found.flavor, also=context.args.flavor)

    await context.store.write(body)


async def _unclaim(context: Context[arguments.Resize]) -> None:
    await context.store.write(lambda tx: _give_back(tx, context.job.resource_id))


def _give_back(tx: Tx, server_id: str) -> None:
    found = tx.get(Server, server_id)
    reclaim(tx, found, found.flavor)


async def _stop(context: Context[arguments.Resize]) -> None:
    found = await server(context)
    await order(context, require_node(found), "guest.stop", StopArgs(found.id, 30.0), timeout=90)


async def _keep(context: Context[arguments.Resize]) -> None:
    found = await server(context)
    await order(context, require_node(found), "guest.keep_root", ServerArgs(found.id), timeout=300)


async def _put_back(context: Context[arguments.Resize]) -> None:
    """Old root, old sizes, and running again if it ran."""
    found = await server(context)
    plan = await context.store.read(lambda r: server_plan.build(r, context.services, found))
    node = require_node(found)
    await order(context, node, "guest.restore_root", PlanArgs(plan), timeout=300)
    if context.args.was_running:
        await order(context, node, "guest.start", ServerArgs(found.id), timeout=120)


async def _apply(context: Context[arguments.Resize]) -> None:
    found = replace(await server(context), flavor=context.args.flavor)
    plan = await context.store.read(lambda r: server_plan.build(r, context.services, found))
    await order(context, require_node(found), "guest.resize", PlanArgs(plan), timeout=300)


async def _start(context: Context[arguments.Resize]) -> None:
    found = await server(context)
    if context.args.was_running:
        await order(context, require_node(found), "guest.start", ServerArgs(found.id), timeout=120)
        await wait_up(context)


def _resized(tx: Tx, job: Job, args: arguments.Resize) -> None:
    finish_action(tx, job)
    found = owned(tx, job)
    if found is None or found.job_id != job.id:
        return
    power = PowerState.RUNNING if args.was_running else PowerState.SHUTDOWN
    if args.migration_id:
        tx.change(tx.get(Migration, args.migration_id), status="finished")
    tx.change(
        found,
        **model.end(found, "resize_prep"),
        flavor=args.flavor,
        old_flavor=found.flavor,
        power=power,
        system_metadata=found.system_metadata | {WAS_RUNNING: str(args.was_running)},
        fault=None,
    )


def _not_resized(tx: Tx, job: Job, args: arguments.Resize, error: JobError) -> None:
    found = owned(tx, job)
    if found is not None:
        growth_back(tx, found, args.flavor)
    if args.migration_id:
        server_moves.settle(tx, tx.find(Migration, args.migration_id), "error")
    fail_softly(tx, job, args, error)


def growth_back(tx: Tx, found: Server, flavor: FlavorData) -> None:
    """What a resize that came to nothing used of the quota."""
    quota.free(tx, found.project_id, quota.growth(found.flavor, flavor))


RESIZE = Kind(
    name="server.resize",
    args=arguments.Resize,
    steps=(
        Step("claim", _claim, undo=_unclaim, timeout=30),
        Step("stop", _stop, undo=_put_back, timeout=150, on_node=True),
        Step("keep", _keep, timeout=330, on_node=True),
        Step("apply", _apply, timeout=330, on_node=True, event="compute_finish_resize"),
        Step("start", _start, timeout=240, on_node=True),
    ),
    finish=_resized,
    fail=_not_resized,
    deadline=arguments.DEADLINES["server.resize"],
    summary="change a server's sizes",
)
