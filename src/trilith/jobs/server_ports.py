"""server.attach_port and detach_port: interfaces of a server that exists."""

from __future__ import annotations

from typing import Any

from trilith.agent.calls import PlanArgs, PortArgs
from trilith.commands import ports, server_resources
from trilith.jobs import arguments, server_plan
from trilith.jobs.kind import Context, Kind, Step
from trilith.jobs.server_steps import fail_softly, finish_action, order, owned, require_node, server
from trilith.model import server as model
from trilith.model.job import Job, JobError
from trilith.model.network import Port
from trilith.model.server import ServerState
from trilith.reconcile.networks import ensure_ports
from trilith.store.tx import Tx


async def _rows(context: Context[arguments.PortChange]) -> None:
    await ensure_ports(context.services, [context.args.port_id])


async def _plug(context: Context[arguments.PortChange]) -> None:
    found = await server(context)
    plan = await context.store.read(lambda r: server_plan.build(r, context.services, found))
    await order(context, require_node(found), "guest.plug", PortArgs(plan, context.args.port_id), timeout=60)
    if found.state is ServerState.ACTIVE:
        await context.services.network.wait_up([context.args.port_id], timeout=60)


async def _unplug(context: Context[arguments.PortChange]) -> None:
    found = await server(context)
    plan = await context.store.read(lambda r: server_plan.build(r, context.services, found))
    without = server_plan.without_port(plan, context.args.port_id)
    await order(context, require_node(found), "guest.unplug", PortArgs(without, context.args.port_id), timeout=60)


def _attached(tx: Tx, job: Job, _args: Any) -> None:
    finish_action(tx, job)
    found = owned(tx, job)
    if found is not None and found.job_id == job.id:
        tx.change(found, **model.end(found, "attaching"))


def _not_attached(tx: Tx, job: Job, args: arguments.PortChange, error: JobError) -> None:
    _drop(tx, args.port_id)
    fail_softly(tx, job, args, error)


def _detached(tx: Tx, job: Job, args: arguments.PortChange) -> None:
    _drop(tx, args.port_id)
    _attached(tx, job, args)


def _drop(tx: Tx, port_id: str) -> None:
    port = tx.find(Port, port_id)
    if port is None:
        return
    if port.created_by_server:
        ports.delete_port(tx, port)
    else:
        ports.unbind(tx, port)
    server_resources.refit(tx, port.device_id)


ATTACH_PORT = Kind(
    name="server.attach_port",
    args=arguments.PortChange,
    steps=(
        Step("rows", _rows, timeout=60),
        Step("plug", _plug, undo=_unplug, timeout=150, on_node=True, event="compute_attach_interface"),
    ),
    finish=_attached,
    fail=_not_attached,
    deadline=arguments.DEADLINES["server.attach_port"],
    summary="add an interface to a server",
)

DETACH_PORT = Kind(
    name="server.detach_port",
    args=arguments.PortChange,
    steps=(Step("unplug", _unplug, timeout=150, on_node=True, event="compute_detach_interface"),),
    finish=_detached,
    fail=fail_softly,
    deadline=arguments.DEADLINES["server.detach_port"],
    summary="remove an interface from a server",
)


async def _inject(context: Context[arguments.Settle]) -> None:
    found = await server(context)
    plan = await context.store.read(lambda r: server_plan.build(r, context.services, found))
    await order(context, require_node(found), "guest.update", PlanArgs(plan), timeout=60)


INJECT_NETWORK = Kind(
    name="server.inject_network",
    args=arguments.Settle,
    steps=(Step("inject", _inject, timeout=90, on_node=True, event="compute_inject_network_info"),),
    finish=_attached,
    fail=fail_softly,
    deadline=arguments.DEADLINES["server.inject_network"],
    summary="tell a server anew what its interfaces are",
)
