"""server.live_migrate: a running or paused server goes to another node; server.evacuate: a new start without it."""

from __future__ import annotations

from typing import Any

from trilith import errors
from trilith.agent.calls import Address, SendArgs, ServerArgs
from trilith.commands import server_moves
from trilith.jobs import arguments
from trilith.jobs.kind import Context, Kind, Step
from trilith.jobs.server_migrate import choose_rows, lay_out_on, records, settle_on, unchoose
from trilith.jobs.server_plan import ports_of
from trilith.jobs.server_steps import call, fail, fail_softly, finish_action, order, owned, wait_up
from trilith.model import server as model
from trilith.model.guest import GuestFacts, PowerState
from trilith.model.job import Job, JobError
from trilith.model.server import Migration, Server, ServerState
from trilith.store.tx import Tx


async def _place(context: Context[arguments.Move]) -> None:
    for note in await context.store.write(lambda tx: choose_rows(tx, context.job, context.args, context.services)):
        context.note(note)


async def _receive(context: Context[arguments.Move]) -> None:
    found, migration = await records(context)
    await lay_out_on(context, found, migration.dest_node)


async def _unreceive(context: Context[arguments.Move]) -> None:
    """A guest that has arrived is never removed: the server is the destination's then, whatever else failed."""
    found, migration = await records(context)
    if found.node == migration.dest_node:
        return
    if not await _alive(context, migration.source_node) and await _alive(context, migration.dest_node):
        await _switch(context)
        return
    await order(context, migration.dest_node, "guest.delete", ServerArgs(found.id), timeout=120)


async def _alive(context: Context[arguments.Move], node: str) -> bool:
    fact = await call(context, node, "guest.state", ServerArgs(context.job.resource_id), GuestFacts, timeout=30)
    return fact.power in (PowerState.RUNNING, PowerState.PAUSED)


async def _send(context: Context[arguments.Move]) -> None:
    """Where the source was sent to is asked anew each time: a listener does not outlive a crash."""
    found, migration = await records(context)
    await context.store.write(lambda tx: tx.change(tx.get(Migration, migration.id), status="running"))
    where = await call(context, migration.dest_node, "guest.receive", ServerArgs(found.id), Address, timeout=60)
    send = SendArgs(found.id, where.address)
    await order(context, migration.source_node, "guest.send", send, timeout=3600)


async def _switch(context: Context[arguments.Move]) -> None:
    def body(tx: Tx) -> None:
        migration = tx.get(Migration, context.args.migration_id)
        settle_on(tx, tx.get(Server, context.job.resource_id), migration.dest_node)

    await context.store.write(body)


async def _clear(context: Context[arguments.Move]) -> None:
    """The source's remains. The guest runs elsewhere: a source that is away does not undo that."""
    found, migration = await records(context)
    try:
        await order(context, migration.source_node, "guest.delete", ServerArgs(found.id), timeout=120)
    except errors.Backend as err:
        context.note(f"{migration.source_node}: {err.message} Its remains go when it reports again.")


def _moved(tx: Tx, job: Job, args: arguments.Move) -> None:
    finish_action(tx, job)
    server_moves.settle(tx, tx.get(Migration, args.migration_id), "completed")
    found = owned(tx, job)
    if found is not None and found.job_id == job.id:
        tx.change(found, **model.end(found, "migrating"), fault=None)


def _not_moved(tx: Tx, job: Job, args: arguments.Move, error: JobError) -> None:
    migration = tx.find(Migration, args.migration_id)
    if migration is not None:
        status = "cancelled" if job.cancel else "error"
        server_moves.settle(tx, migration, status)
    fail_softly(tx, job, args, error)


async def _unplace(context: Context[arguments.Move]) -> None:
    found, migration = await records(context)
    if found.node != migration.dest_node:  # once it is there it stays there
        await unchoose(context)


LIVE_MIGRATE = Kind(
    name="server.live_migrate",
    args=arguments.Move,
    steps=(
        Step("place", _place, undo=_unplace, timeout=30, rows=choose_rows, event="conductor_live_migrate_instance"),
        Step("receive", _receive, undo=_unreceive, timeout=630, on_node=True, event="compute_pre_live_migration"),
        Step("send", _send, timeout=3700, on_node=True, event="compute_live_migration"),
        Step("switch", _switch, timeout=30, event="compute_post_live_migration_at_destination"),
        Step("clear", _clear, timeout=150, on_node=True),
        Step("up", wait_up, timeout=90),
    ),
    finish=_moved,
    fail=_not_moved,
    deadline=arguments.DEADLINES["server.live_migrate"],
    summary="move a running server to another node",
)


async def _leave(context: Context[arguments.Move]) -> None:
    """The lost node's ports and resources are no longer the server's; what is left there goes when it comes back."""

    def body(tx: Tx) -> None:
        found, migration = tx.get(Server, context.job.resource_id), tx.get(Migration, context.args.migration_id)
        settle_on(tx, found, migration.dest_node, old_node="")

    await context.store.write(body)


async def _unleave(context: Context[arguments.Move]) -> None:
    def body(tx: Tx) -> None:
        found, migration = tx.get(Server, context.job.resource_id), tx.get(Migration, context.args.migration_id)
        settle_on(tx, found, migration.source_node)

    await context.store.write(body)


async def _create(context: Context[arguments.Move]) -> None:
    found, migration = await records(context)
    await lay_out_on(context, found, migration.dest_node)


async def _remove(context: Context[arguments.Move]) -> None:
    found, migration = await records(context)
    await order(context, migration.dest_node, "guest.delete", ServerArgs(found.id), timeout=120)


async def _start(context: Context[arguments.Move]) -> None:
    found, migration = await records(context)
    if context.args.start:
        await order(context, migration.dest_node, "guest.start", ServerArgs(found.id), timeout=120)
        if await context.store.read(lambda r: ports_of(r, found.id)):
            await wait_up(context)


def _evacuated(tx: Tx, job: Job, args: arguments.Move) -> None:
    finish_action(tx, job)
    server_moves.settle(tx, tx.get(Migration, args.migration_id), "done")
    found = owned(tx, job)
    if found is None or found.job_id != job.id:
        return
    changes: dict[str, Any] = model.end(found, "rebuilding")
    changes["state"] = ServerState.ACTIVE if args.start else ServerState.STOPPED
    power = PowerState.RUNNING if args.start else PowerState.SHUTDOWN
    tx.change(found, **changes, power=power, desired=power, launched_at=tx.now, fault=None)


def _not_evacuated(tx: Tx, job: Job, args: arguments.Move, error: JobError) -> None:
    server_moves.settle(tx, tx.find(Migration, args.migration_id), "error")
    fail(tx, job, args, error)


EVACUATE = Kind(
    name="server.evacuate",
    args=arguments.Move,
    steps=(
        Step("place", _place, undo=unchoose, timeout=30, rows=choose_rows, event="rebuild_server"),
        Step("leave", _leave, undo=_unleave, timeout=30),
        Step("create", _create, undo=_remove, timeout=630, on_node=True, event="compute_rebuild_instance"),
        Step("start", _start, timeout=240, on_node=True),
    ),
    finish=_evacuated,
    fail=_not_evacuated,
    deadline=arguments.DEADLINES["server.evacuate"],
    summary="start a server anew on another node, its own being lost",
)
