"""server.rescue, server.unrescue: booted from another image for a while, its own root beside it. server.password."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trilith.agent.calls import PasswordArgs, PlanArgs, ServerArgs, StopArgs
from trilith.commands import server_details, server_root
from trilith.jobs import arguments, server_plan
from trilith.jobs.kind import Context, Kind, Step
from trilith.jobs.server_steps import fail, fail_softly, finish_action, order, owned, require_node, server, wait_up
from trilith.model import server as model
from trilith.model.guest import PowerState
from trilith.model.job import Job, JobError
from trilith.model.server import Rescue
from trilith.store.tx import Tx


async def _stop(context: Context[Any]) -> None:
    found = await server(context)
    await order(context, require_node(found), "guest.stop", StopArgs(found.id, 30.0), timeout=90)


async def _start_again(context: Context[arguments.StartRescue]) -> None:
    found = await server(context)
    if context.args.was_running:
        await order(context, require_node(found), "guest.start", ServerArgs(found.id), timeout=120)


async def _lay_out(context: Context[Any], rescue: Rescue | None) -> None:
    """The node has the rescue's disk beside the guest's own, or no more."""
    found = replace(await server(context), rescue=rescue)
    plan = await context.store.read(lambda r: server_plan.build(r, context.services, found))
    await order(context, require_node(found), "guest.rescue", PlanArgs(plan), timeout=600)


async def _enter(context: Context[arguments.StartRescue]) -> None:
    await _lay_out(context, context.args.rescue)


async def _leave(context: Context[Any]) -> None:
    await _lay_out(context, None)


async def _start(context: Context[Any]) -> None:
    found = await server(context)
    await order(context, require_node(found), "guest.start", ServerArgs(found.id), timeout=120)


async def _halt(context: Context[Any]) -> None:
    found = await server(context)
    await order(context, require_node(found), "guest.stop", StopArgs(found.id, 0.0), timeout=90)


def _rescued(tx: Tx, job: Job, args: arguments.StartRescue) -> None:
    finish_action(tx, job)
    found = owned(tx, job)
    if found is None or found.job_id != job.id:
        return
    tx.change(
        found,
        **model.end(found, "rescuing"),
        power=PowerState.RUNNING,
        rescue=args.rescue,
        launched_at=tx.now,
        fault=None,
    )


def _not_rescued(tx: Tx, job: Job, args: arguments.StartRescue, error: JobError) -> None:
    found = owned(tx, job)
    if found is not None:
        server_root.let_go(tx, found, args.rescue.image)
    fail_softly(tx, job, args, error)


RESCUE = Kind(
    name="server.rescue",
    args=arguments.StartRescue,
    steps=(
        Step("stop", _stop, undo=_start_again, timeout=150, on_node=True),
        Step("enter", _enter, undo=_leave, timeout=630, on_node=True, event="compute_rescue_instance"),
        Step("start", _start, undo=_halt, timeout=150, on_node=True),
        Step("up", wait_up, timeout=90),
    ),
    finish=_rescued,
    fail=_not_rescued,
    deadline=arguments.DEADLINES["server.rescue"],
    summary="boot a server from a rescue image, its own root beside it",
)


def _unrescued(tx: Tx, job: Job, _args: Any) -> None:
    finish_action(tx, job)
    found = owned(tx, job)
    if found is None or found.job_id != job.id:
        return
    image = found.rescue.image if found.rescue is not None else None
    found = tx.change(found, **model.end(found, "unrescuing"), power=PowerState.RUNNING, rescue=None, fault=None)
    server_root.let_go(tx, found, image)


UNRESCUE = Kind(
    name="server.unrescue",
    args=arguments.EndRescue,
    steps=(
        Step("stop", _halt, timeout=120, on_node=True),
        Step("leave", _leave, timeout=630, on_node=True, event="compute_unrescue_instance"),
        Step("start", _start, timeout=150, on_node=True),
        Step("up", wait_up, timeout=90),
    ),
    finish=_unrescued,
    fail=fail,
    deadline=arguments.DEADLINES["server.unrescue"],
    summary="boot a server from its own root again",
)


async def _set_password(context: Context[arguments.Password]) -> None:
    found = await server(context)
    sealed, what = context.args.sealed, f"server.admin_pass:{found.id}"
    password = (await context.store.read(lambda r: r.sealer.open(sealed, context=what))).decode()
    args = PasswordArgs(found.id, context.args.user, password)
    await order(context, require_node(found), "guest.password", args, timeout=60)


def _password_set(tx: Tx, job: Job, args: arguments.Password) -> None:
    finish_action(tx, job)
    found = owned(tx, job)
    if found is not None and found.job_id == job.id:
        found = server_details.keep(tx, found, **{server_details.ADMIN_PASS: args.sealed})
        tx.change(found, **model.end(found, "updating_password"))


PASSWORD = Kind(
    name="server.password",
    args=arguments.Password,
    steps=(Step("set", _set_password, timeout=90, on_node=True, event="compute_set_admin_password"),),
    finish=_password_set,
    fail=fail_softly,
    deadline=arguments.DEADLINES["server.password"],
    summary="set the administrator's password inside a running server",
)
