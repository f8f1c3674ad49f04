"""server.confirm_resize and server.revert_resize: the end of a resize or a migration, on one node or two."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trilith import errors
from trilith.agent.calls import PlanArgs, ServerArgs, StopArgs
from trilith.commands import quota, server_moves, server_root
from trilith.jobs import arguments, server_plan
from trilith.jobs.kind import Context, Kind, Step
from trilith.jobs.server_migrate import back
from trilith.jobs.server_resize import WAS_RUNNING, reclaim
from trilith.jobs.server_steps import fail, fail_softly, finish_action, order, owned, require_node, server, wait_up
from trilith.model import server as model
from trilith.model.guest import PowerState
from trilith.model.job import Job
from trilith.model.server import Migration, Server
from trilith.reconcile.networks import ensure_ports
from trilith.store.tx import Tx


async def _forget(context: Context[arguments.Settle]) -> None:
    """The kept root on the server's node, or the kept guest on its old one."""
    found = await server(context)
    await order(context, require_node(found), "guest.forget_root", ServerArgs(found.id), timeout=120)
    if not found.old_node:
        return
    try:
        await order(context, found.old_node, "guest.delete", ServerArgs(found.id), timeout=120)
    except errors.Backend as err:
        if found.old_node in context.services.links.connected():
            raise
        context.note(f"{found.old_node} is away ({err.message}); the guest is removed when it reports again")


def _confirmed(tx: Tx, job: Job, args: Any) -> None:
    finish_action(tx, job)
    found = owned(tx, job)
    if found is None or found.job_id != job.id or found.old_flavor is None:
        return
    quota.free(tx, found.project_id, quota.growth(found.flavor, found.old_flavor))
    reclaim(tx, found, found.flavor)
    migration = server_moves.unsettled(tx, found.id)
    if migration is not None and migration.root is not None:
        server_root.let_go(tx, found, migration.old_root)
    server_moves.settle(tx, migration, "confirmed")
    stopped = found.power is PowerState.SHUTDOWN
    event = "resize_confirming_stopped" if stopped else "resize_confirming"
    tx.change(found, **model.end(found, event), old_flavor=None, old_node="", fault=None)


CONFIRM = Kind(
    name="server.confirm_resize",
    args=arguments.Settle,
    steps=(Step("forget", _forget, timeout=270, on_node=True, event="compute_confirm_resize"),),
    finish=_confirmed,
    fail=fail_softly,
    deadline=arguments.DEADLINES["server.confirm_resize"],
    summary="keep the new sizes of a server, or its new node",
)


async def _moved(context: Context[arguments.Settle]) -> Migration | None:
    """The move that is reverted; None for a resize that stayed on its node."""
    found = await context.store.read(lambda r: server_moves.unsettled(r, context.job.resource_id))
    return found if found is not None and found.dest_node != found.source_node else None


async def _clear(context: Context[arguments.Settle]) -> None:
    """Nothing of it runs at the destination any more."""
    migration = await _moved(context)
    if migration is not None:
        await order(context, migration.dest_node, "guest.delete", ServerArgs(context.job.resource_id), timeout=120)


async def _back(context: Context[arguments.Settle]) -> None:
    migration = await _moved(context)
    if migration is None:
        return

    def body(tx: Tx) -> list[str]:
        found = tx.get(Server, context.job.resource_id)
        if found.old_node:
            back(tx, found, migration)
        return [p.id for p in server_plan.ports_of(tx, found.id)]

    ids = await context.store.write(body)
    if ids:
        await ensure_ports(context.services, ids)


async def _revert(context: Context[arguments.Settle]) -> None:
    found = await server(context)
    if found.old_flavor is None:
        return
    old = replace(found, flavor=found.old_flavor)
    plan = await context.store.read(lambda r: server_plan.build(r, context.services, old))
    node = require_node(found)
    await order(context, node, "guest.stop", StopArgs(found.id, 0.0), timeout=90)
    await order(context, node, "guest.restore_root", PlanArgs(plan), timeout=300)
    if found.system_metadata.get(WAS_RUNNING, "True") == "True":
        await order(context, node, "guest.start", ServerArgs(found.id), timeout=120)
        await wait_up(context)


def _reverted(tx: Tx, job: Job, args: Any) -> None:
    finish_action(tx, job)
    found = owned(tx, job)
    if found is None or found.job_id != job.id or found.old_flavor is None:
        return
    quota.free(tx, found.project_id, quota.growth(found.old_flavor, found.flavor))
    migration = server_moves.unsettled(tx, found.id)
    if migration is not None:
        server_root.let_go(tx, found, migration.root)
    server_moves.settle(tx, migration, "reverted")
    reclaim(tx, found, found.old_flavor)
    running = found.system_metadata.get(WAS_RUNNING, "True") == "True"
    event = "resize_reverting" if running else "resize_reverting_stopped"
    power = PowerState.RUNNING if running else PowerState.SHUTDOWN
    tx.change(found, **model.end(found, event), flavor=found.old_flavor, old_flavor=None, power=power, fault=None)


REVERT = Kind(
    name="server.revert_resize",
    args=arguments.Settle,
    steps=(
        Step("clear", _clear, timeout=150, on_node=True),
        Step("back", _back, timeout=90),
        Step("revert", _revert, timeout=600, on_node=True, event="compute_revert_resize"),
    ),
    finish=_reverted,
    fail=fail,
    deadline=arguments.DEADLINES["server.revert_resize"],
    summary="put back the old sizes and the old root of a server, or bring it back to its old node",
)
