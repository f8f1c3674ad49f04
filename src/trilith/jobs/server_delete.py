"""server.delete: everything on the node, then everything in the database, in one transaction."""

from __future__ import annotations

from typing import Any

from trilith import errors
from trilith.agent.calls import ServerArgs
from trilith.commands import allocations, blobs, boot_data, ports, quota, server_moves, server_root
from trilith.jobs import arguments, server_plan
from trilith.jobs.kind import Context, Kind, Step
from trilith.jobs.server_steps import fail, finish_action, order, server
from trilith.model import server as model
from trilith.model.guest import PowerState
from trilith.model.job import Job
from trilith.model.server import IdRange, Migration, Server
from trilith.store.tx import Tx


async def _on_node(context: Context[arguments.Delete]) -> None:
    found = await server(context)
    for node in filter(None, (found.old_node, found.node)):
        try:
            await order(context, node, "guest.delete", ServerArgs(found.id), timeout=120)
        except errors.Backend as err:
            if node in context.services.links.connected():
                raise
            # As Nova's local delete: the node is away. When it comes back its report shows a guest that nobody owns,
            # and reconciliation removes it there.
            context.note(f"{node} is away ({err.message}); the guest is removed when it reports again")


async def _record(context: Context[arguments.Delete]) -> None:
    """The rows go in the transaction that ends the job."""


def _finish(tx: Tx, job: Job, _args: Any) -> None:
    finish_action(tx, job)
    found = tx.find(Server, job.resource_id)
    if found is None:
        return
    for port in server_plan.ports_of(tx, found.id):
        if port.created_by_server:
            ports.delete_port(tx, port)
        else:
            ports.unbind(tx, port)
    allocations.release(tx, found.id)
    for migration in tx.select(Migration, server_id=found.id, status=list(server_moves.UNSETTLED)):
        server_moves.settle(tx, migration, "confirmed" if migration.status == "finished" else "error")
    server_root.drop_shelved_image(tx, found)
    blobs.release(tx, found.id)
    boot_data.forget(tx, found.id)
    for held in tx.select(IdRange, id=found.id):
        tx.remove(held)
    quota.free(tx, found.project_id, quota.of_server(found.flavor))
    if found.old_flavor is not None:  # a resize that nobody confirmed holds the larger of both
        quota.free(tx, found.project_id, quota.growth(found.flavor, found.old_flavor))
    tx.change(
        found,
        **model.end(found, "deleting"),
        power=PowerState.SHUTDOWN,
        user_data="",
        rescue=None,
        terminated_at=tx.now,
        deleted_at=tx.now,
    )


DELETE = Kind(
    name="server.delete",
    args=arguments.Delete,
    steps=(
        Step("guest", _on_node, timeout=180, on_node=True, event="compute_terminate_instance"),
        Step("rows", _record),
    ),
    finish=_finish,
    fail=fail,
    deadline=arguments.DEADLINES["server.delete"],
    cancellable=False,
    summary="remove a server from its node and from the database",
)
