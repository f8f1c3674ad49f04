"""server.create: place, lay out beside its network, start, wait until its ports are up."""

from __future__ import annotations

import asyncio
from typing import Any

import sqlalchemy as sa

from trilith import errors
from trilith.agent.calls import PlanArgs, ServerArgs
from trilith.commands import allocations, ports, server_resources
from trilith.commands.server_candidates import question
from trilith.commands.server_networks import OWNER
from trilith.jobs import arguments, image_presence, server_plan, vendor_data
from trilith.jobs.kind import Context, Kind, Step
from trilith.jobs.server_steps import fail, finish_action, order, owned, server
from trilith.jobs.services import Services
from trilith.model import server as model
from trilith.model.guest import ImageForm, MachineIdentity, Pillar, PowerState
from trilith.model.job import Job
from trilith.model.machine import default_identity
from trilith.model.node import Node, ResourceProvider
from trilith.model.plan import GuestPlan
from trilith.model.server import IdRange, Server
from trilith.placement.choose import CONTAINER_FORMATS, Decision, choose
from trilith.reconcile.networks import ensure_ports
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx

#: first host id of the first container's range, above what distributions give to users
_FIRST_ID_BASE = 1_000_000_000 // 65536 * 65536
_RANGE = 65536


def _place_rows(tx: Tx, job: Job, args: Any, services: Services) -> list[str]:
    """The whole of the step, with its reasons in words. Raises NoValidHost, and what the rules raise."""
    found = tx.get(Server, job.resource_id)
    if found.node:
        return []
    decision = choose(*question(tx, services.adviser, found, node=args.node))
    place(tx, found, decision)
    return [decision.reason, *(f"{node}: {why}" for node, why in decision.passed_over.items())]


async def _place(context: Context[arguments.Create]) -> None:
    for note in await context.store.write(lambda tx: _place_rows(tx, context.job, context.args, context.services)):
        context.note(note)


def place(tx: Tx, found: Server, decision: Decision) -> Server:
    """Claim the node's resources, write the identity once and for all, bind the ports to the node."""
    provider = tx.first(ResourceProvider, name=decision.node)
    assert provider is not None, decision.node
    allocations.claim(
        tx,
        consumer_id=found.id,
        provider_id=provider.id,
        resources=server_resources.of_server(tx, found),
        project_id=found.project_id,
        user_id=found.user_id,
    )
    identity = found.identity or _identity(tx, found, decision)
    node = tx.first(Node, name=decision.node)
    for port in server_plan.ports_of(tx, found.id):
        ports.bind_port(tx, port, decision.node, found.id, OWNER)
    return tx.change(
        found,
        node=decision.node,
        pillar=decision.pillar,
        identity=identity,
        reason=decision.reason,
        zone=node.zone if node else found.zone,
    )


def _identity(tx: Tx, found: Server, decision: Decision) -> MachineIdentity:
    if decision.pillar is Pillar.LXC:
        base = _free_range(tx)
        tx.add(IdRange(id=found.id, base=base))
        # containers have no machine to speak of: their identity is their uuid and their ids
        return MachineIdentity(smbios_uuid=found.id, id_base=base)
    node = tx.first(Node, name=decision.node)
    if node is None or node.facts is None:
        raise errors.Backend(f"Node {decision.node} has not said what it is.")
    bare = found.image_properties.get("trilith_boot") == "bare"
    return default_identity(
        node.facts,
        server_id=found.id,
        form=ImageForm.BARE if bare else ImageForm.DISK,
        direct_kernel=found.image_format in CONTAINER_FORMATS or server_plan.KERNEL in found.image_properties,
        properties=found.image_properties | found.flavor.extra_specs,
    )


def _free_range(tx: Tx) -> int:
    """The lowest range that no server has: the first gap, found in SQL."""
    table = REGISTRY[IdRange].table
    later = table.alias("later")
    if not tx.count(IdRange, base=_FIRST_ID_BASE):
        return _FIRST_ID_BASE
    gap = (
        sa.select(sa.func.min(table.c.base) + _RANGE)
        .select_from(table.outerjoin(later, later.c.base == table.c.base + _RANGE))
        .where(later.c.base.is_(None))
    )
    return int(tx.conn.execute(gap).scalar_one())


async def _unplace(context: Context[arguments.Create]) -> None:
    def body(tx: Tx) -> None:
        found = tx.find(Server, context.job.resource_id)
        if found is None:
            return
        allocations.release(tx, found.id)
        for port in server_plan.ports_of(tx, found.id):
            ports.bind_port(tx, port, "", found.id, OWNER)
        for held in tx.select(IdRange, id=found.id):
            tx.remove(held)
        # the next try places anew: nothing of this node is kept, the identity included
        tx.change(found, node="", identity=None)

    await context.store.write(body)


async def lay_out(context: Context[Any]) -> None:
    """On its node, and beside it its ports in the network's backend: neither needs the other before the start."""

    def read(reader: Reader) -> tuple[str, GuestPlan, list[str]]:
        found = reader.get(Server, context.job.resource_id)
        ids = [p.id for p in server_plan.ports_of(reader, found.id)]
        return found.node, server_plan.build(reader, context.services, found), ids

    await vendor_data.gather(context.services, context.job.resource_id)
    await image_presence.bring(context.services, context.job.resource_id)
    node, plan, ids = await context.store.read(read)
    context.memo["ports"] = ids
    try:
        async with asyncio.TaskGroup() as group:
            if ids:
                group.create_task(ensure_ports(context.services, ids), name=f"ports-{plan.server_id}")
            group.create_task(order(context, node, "guest.create", PlanArgs(plan), timeout=600))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None  # the first; the other was cancelled for it, or says the same


async def remove(context: Context[Any]) -> None:
    found = await server(context)
    if found.node:
        await order(context, found.node, "guest.delete", ServerArgs(found.id), timeout=120)


async def _start(context: Context[arguments.Create]) -> None:
    node = context.memo.get("node") or (await server(context)).node
    await order(context, node, "guest.start", ServerArgs(context.job.resource_id), timeout=120)


async def _wait_up(context: Context[arguments.Create]) -> None:
    ids = context.memo.get("ports")
    if ids is None:
        ids = await context.store.read(lambda r: [p.id for p in server_plan.ports_of(r, context.job.resource_id)])
    if ids:
        await context.services.network.wait_up(ids, timeout=60)


def _finish(tx: Tx, job: Job, _args: Any) -> None:
    finish_action(tx, job)
    found = owned(tx, job)
    if found is None or found.job_id != job.id:
        return
    tx.change(
        found, **model.end(found, "scheduling"), power=PowerState.RUNNING, launched_at=tx.now, progress=100, fault=None
    )


CREATE = Kind(
    name="server.create",
    args=arguments.Create,
    steps=(
        Step("place", _place, undo=_unplace, timeout=30, event="compute__do_build_and_run_instance", rows=_place_rows),
        Step("create", lay_out, undo=remove, timeout=600, on_node=True, lazy=True),
        Step("start", _start, timeout=150, on_node=True, lazy=True),
        Step("up", _wait_up, timeout=90),
    ),
    finish=_finish,
    fail=fail,
    deadline=arguments.DEADLINES["server.create"],
    summary="place a server, lay it out on its node, start it, wait for its ports",
)
