"""server.migrate: a stopped move to another node, with the flavor it has or a new one, to be confirmed or reverted.

The root travels as a blob of the cloud: the source writes a copy of it, the destination starts from that copy. The
source keeps its guest, stopped and off the network, until the move is confirmed; to revert is to start it again.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from trilith.agent.calls import PlanArgs, ServerArgs, StopArgs
from trilith.commands import blobs, ports, server_moves, server_root
from trilith.commands.server_candidates import question
from trilith.commands.server_networks import OWNER
from trilith.jobs import arguments, server_plan
from trilith.jobs.kind import Context, Kind, Step
from trilith.jobs.server_copy import clear, copy_root, path_of
from trilith.jobs.server_resize import WAS_RUNNING, growth_back
from trilith.jobs.server_steps import fail_softly, finish_action, order, owned, wait_up
from trilith.jobs.services import Services
from trilith.model import server as model
from trilith.model.guest import PowerState
from trilith.model.image import BlobFacts
from trilith.model.job import Job, JobError
from trilith.model.node import Node
from trilith.model.plan import GuestPlan
from trilith.model.server import FlavorData, Migration, RootImage, Server
from trilith.placement.choose import choose
from trilith.reconcile.networks import ensure_ports
from trilith.store.tx import Reader, Tx


async def records(context: Context[Any]) -> tuple[Server, Migration]:
    """As they are now. args: any with a `migration_id`."""

    def read(reader: Reader) -> tuple[Server, Migration]:
        return reader.get(Server, context.job.resource_id), reader.get(Migration, context.args.migration_id)

    return await context.store.read(read)


def choose_rows(tx: Tx, job: Job, args: Any, services: Services, flavor: FlavorData | None = None) -> list[str]:
    """Another node, and what it takes there claimed. Its reasons in words. Raises NoValidHost."""
    found, migration = tx.get(Server, job.resource_id), tx.get(Migration, args.migration_id)
    if migration.dest_node:
        return []
    wanted = replace(found, flavor=flavor or found.flavor)
    demand, nodes = question(tx, services.adviser, wanted, node=args.node)
    decision = choose(replace(demand, not_nodes=demand.not_nodes | {found.node}), nodes)
    server_moves.hand_over(tx, found, migration, decision.node, wanted.flavor)
    tx.change(migration, dest_node=decision.node, job_id=job.id)
    return [decision.reason, *(f"{node}: {why}" for node, why in decision.passed_over.items())]


async def unchoose(context: Context[Any]) -> None:
    def body(tx: Tx) -> None:
        migration = tx.get(Migration, context.args.migration_id)
        server_moves.hand_back(tx, tx.get(Server, context.job.resource_id), migration)

    await context.store.write(body)


def settle_on(tx: Tx, found: Server, node: str, **changes: Any) -> Server:
    """The server and its ports are `node`'s from now on. Again is success."""
    for port in server_plan.ports_of(tx, found.id):
        ports.bind_port(tx, port, node, found.id, OWNER)
    row = tx.first(Node, name=node)
    return tx.change(found, node=node, zone=row.zone if row else found.zone, **changes)


async def lay_out_on(context: Context[Any], found: Server, node: str, name: str = "guest.create") -> GuestPlan:
    """On that node, by that call; and its ports in the network's backend."""

    def read(reader: Reader) -> tuple[GuestPlan, list[str]]:
        plan = server_plan.build(reader, context.services, found)
        return plan, [p.id for p in server_plan.ports_of(reader, found.id)]

    plan, ids = await context.store.read(read)
    if ids:
        await ensure_ports(context.services, ids)
    await order(context, node, name, PlanArgs(plan), timeout=600)
    return plan


def _place_rows(tx: Tx, job: Job, args: arguments.Migrate, services: Services) -> list[str]:
    return choose_rows(tx, job, args, services, args.flavor)


async def _place(context: Context[arguments.Migrate]) -> None:
    for note in await context.store.write(lambda tx: _place_rows(tx, context.job, context.args, context.services)):
        context.note(note)


async def _stop(context: Context[arguments.Migrate]) -> None:
    found, migration = await records(context)
    await order(context, migration.source_node, "guest.stop", StopArgs(found.id, 30.0), timeout=90)


async def _start_again(context: Context[arguments.Migrate]) -> None:
    found, migration = await records(context)
    if context.args.was_running:
        await order(context, migration.source_node, "guest.start", ServerArgs(found.id), timeout=120)


async def _copied(context: Context[arguments.Migrate]) -> bool:
    return (await records(context))[1].root is not None


async def _copy(context: Context[arguments.Migrate]) -> None:
    found, migration = await records(context)

    def keep(tx: Tx, _facts: BlobFacts, root: RootImage) -> None:
        row = tx.get(Migration, migration.id)
        blobs.hold(tx, root.sha256, "migration", row.id)
        tx.change(row, root=root)

    path = path_of(context, f"migration-{migration.id}")
    await copy_root(context, found, migration.source_node, path, keep)


async def _uncopy(context: Context[arguments.Migrate]) -> None:
    await asyncio.to_thread(clear, path_of(context, f"migration-{context.args.migration_id}"))

    def body(tx: Tx) -> None:
        migration = tx.get(Migration, context.args.migration_id)
        server_root.let_go(tx, tx.get(Server, context.job.resource_id), migration.root)
        blobs.release(tx, migration.id)

    await context.store.write(body)


async def _park(context: Context[arguments.Migrate]) -> None:
    found, migration = await records(context)
    await order(context, migration.source_node, "guest.park", ServerArgs(found.id), timeout=90)


async def _switch(context: Context[arguments.Migrate]) -> None:
    def body(tx: Tx) -> None:
        found, migration = tx.get(Server, context.job.resource_id), tx.get(Migration, context.args.migration_id)
        assert migration.root is not None
        found = server_root.take(tx, found, migration.root)
        settle_on(tx, found, migration.dest_node, old_node=migration.source_node)

    await context.store.write(body)


async def _switch_back(context: Context[arguments.Migrate]) -> None:
    def body(tx: Tx) -> None:
        found, migration = tx.get(Server, context.job.resource_id), tx.get(Migration, context.args.migration_id)
        if found.old_node:
            back(tx, found, migration)

    await context.store.write(body)


def back(tx: Tx, found: Server, migration: Migration) -> Server:
    """The server is the source's again, with the root that it kept there."""
    assert migration.old_root is not None
    found = server_root.take(tx, found, migration.old_root)
    return settle_on(tx, found, migration.source_node, old_node="")


async def _create(context: Context[arguments.Migrate]) -> None:
    found, migration = await records(context)
    await lay_out_on(context, replace(found, flavor=context.args.flavor), migration.dest_node)


async def _remove(context: Context[arguments.Migrate]) -> None:
    found, migration = await records(context)
    await order(context, migration.dest_node, "guest.delete", ServerArgs(found.id), timeout=120)


async def _start(context: Context[arguments.Migrate]) -> None:
    found, migration = await records(context)
    if context.args.was_running:
        await order(context, migration.dest_node, "guest.start", ServerArgs(found.id), timeout=120)
        await wait_up(context)


def _finish(tx: Tx, job: Job, args: arguments.Migrate) -> None:
    finish_action(tx, job)
    found = owned(tx, job)
    if found is None or found.job_id != job.id:
        return
    tx.change(tx.get(Migration, args.migration_id), status="finished")
    tx.change(
        found,
        **model.end(found, "resize_prep"),
        flavor=args.flavor,
        old_flavor=found.flavor,
        power=PowerState.RUNNING if args.was_running else PowerState.SHUTDOWN,
        system_metadata=found.system_metadata | {WAS_RUNNING: str(args.was_running)},
        fault=None,
    )


def _fail(tx: Tx, job: Job, args: arguments.Migrate, error: JobError) -> None:
    found = owned(tx, job)
    if found is not None:
        growth_back(tx, found, args.flavor)
    server_moves.settle(tx, tx.find(Migration, args.migration_id), "error")
    fail_softly(tx, job, args, error)


MIGRATE = Kind(
    name="server.migrate",
    args=arguments.Migrate,
    steps=(
        Step("place", _place, undo=unchoose, timeout=30, rows=_place_rows, event="cold_migrate"),
        Step("stop", _stop, undo=_start_again, timeout=150, on_node=True, event="compute_resize_instance"),
        Step("copy", _copy, undo=_uncopy, check=_copied, timeout=1900, on_node=True),
        Step("park", _park, timeout=120, on_node=True),
        Step("switch", _switch, undo=_switch_back, timeout=30),
        Step("create", _create, undo=_remove, timeout=630, on_node=True, event="compute_finish_resize"),
        Step("start", _start, timeout=240, on_node=True),
    ),
    finish=_finish,
    fail=_fail,
    deadline=arguments.DEADLINES["server.migrate"],
    summary="move a stopped server to another node, its root along",
)
