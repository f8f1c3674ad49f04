"""server.shelve, shelve_offload, unshelve: a server that is an image and its rows, and comes back on any node."""

from __future__ import annotations

from typing import Any

from trilith import errors
from trilith.agent.calls import ServerArgs, StopArgs
from trilith.commands import allocations, ports, server_moves, server_root
from trilith.commands.server_candidates import question
from trilith.commands.server_networks import OWNER
from trilith.jobs import arguments
from trilith.jobs.kind import Context, Kind, Step
from trilith.jobs.server_create import lay_out, place, remove
from trilith.jobs.server_plan import KERNEL, KERNEL_FORMAT, ports_of
from trilith.jobs.server_snapshot import WRITE
from trilith.jobs.server_steps import fail_softly, finish_action, order, owned, require_node, server, wait_up
from trilith.jobs.services import Services
from trilith.model import server as model
from trilith.model.guest import PowerState
from trilith.model.image import Image
from trilith.model.job import Job, JobError
from trilith.model.server import RootImage, Server, ServerState
from trilith.placement.choose import choose
from trilith.store.tx import Tx


async def _stop(context: Context[arguments.Shelve]) -> None:
    found = await server(context)
    await order(context, require_node(found), "guest.stop", StopArgs(found.id, 30.0), timeout=90)


async def _start_again(context: Context[arguments.Shelve]) -> None:
    found = await server(context)
    if context.args.was_running:
        await order(context, require_node(found), "guest.start", ServerArgs(found.id), timeout=120)


def _shelved(tx: Tx, job: Job, _args: arguments.Shelve) -> None:
    """The node is left at once, by a job that follows in the same transaction."""
    finish_action(tx, job)
    found = owned(tx, job)
    if found is None or found.job_id != job.id:
        return
    found = tx.change(found, **model.end(found, "shelving"), power=PowerState.SHUTDOWN, shelved_at=tx.now, fault=None)
    server_moves.offload_next(tx, found)


def _not_shelved(tx: Tx, job: Job, args: arguments.Shelve, error: JobError) -> None:
    """As it was; what was paused or suspended is stopped, since its memory went with the stop."""
    found = owned(tx, job)
    if found is not None and found.job_id == job.id:
        changes: dict[str, Any] = {"shelved_image_id": ""}
        if args.was_running:
            changes["desired"] = PowerState.RUNNING
        elif found.state in (ServerState.PAUSED, ServerState.SUSPENDED):
            changes |= {"state": ServerState.STOPPED, "power": PowerState.SHUTDOWN}
        tx.change(found, **changes)
    fail_softly(tx, job, args, error)


SHELVE = Kind(
    name="server.shelve",
    args=arguments.Shelve,
    steps=(
        Step("stop", _stop, undo=_start_again, timeout=150, on_node=True, event="compute_shelve_instance"),
        WRITE,
    ),
    finish=_shelved,
    fail=_not_shelved,
    deadline=arguments.DEADLINES["server.shelve"],
    summary="stop a server and make an image of its root; its node is left by a job that follows",
)


async def _leave(context: Context[arguments.Offload]) -> None:
    found = await server(context)
    if not found.node:
        return
    try:
        await order(context, found.node, "guest.delete", ServerArgs(found.id), timeout=120)
    except errors.Backend as err:
        if found.node in context.services.links.connected():
            raise
        context.note(f"{found.node} is away ({err.message}); the guest is removed when it reports again")


def _offloaded(tx: Tx, job: Job, _args: Any) -> None:
    """The server starts from its image from now on. Its identity stays, and its ports keep their addresses."""
    finish_action(tx, job)
    found = owned(tx, job)
    if found is None or found.job_id != job.id:
        return
    before = server_root.root_of(found)
    # also one that was deleted since: its data are held by the server, and the guest's own are gone
    image = tx.find(Image, found.shelved_image_id, dead=True)
    if image is not None and image.sha256:
        kernel = {k: image.properties[k] for k in (KERNEL, KERNEL_FORMAT) if k in image.properties}
        properties = found.image_properties | kernel | {server_root.COPIED: "yes"}
        root = RootImage(sha256=image.sha256, disk_format=image.disk_format, properties=properties)
        found = server_root.take(tx, found, root)
        server_root.let_go(tx, found, before)
    for port in ports_of(tx, found.id):
        ports.bind_port(tx, port, "", found.id, OWNER)
    allocations.release(tx, found.id)
    tx.change(found, **model.end(found, "shelving_offloading"), node="", power=PowerState.SHUTDOWN, fault=None)


async def _has_image(context: Context[arguments.Offload]) -> None:
    """Nothing is removed whose copy is gone: the image is the user's, who may have deleted it."""

    def check(tx: Tx) -> None:
        found = tx.get(Server, context.job.resource_id)
        image = tx.find(Image, found.shelved_image_id)
        if image is None or not image.sha256:
            raise errors.Conflict(
                f"The image {found.shelved_image_id} of the shelved server is gone.", hint="Unshelve the server."
            )
        server_root.hold(
            tx, found, RootImage(sha256=image.sha256, disk_format=image.disk_format, properties=image.properties)
        )

    await context.store.write(check)


OFFLOAD = Kind(
    name="server.shelve_offload",
    args=arguments.Offload,
    steps=(
        Step("image", _has_image, timeout=30),
        Step("leave", _leave, timeout=150, on_node=True, event="compute_shelve_offload_instance"),
    ),
    finish=_offloaded,
    fail=fail_softly,
    deadline=arguments.DEADLINES["server.shelve_offload"],
    summary="take a shelved server off its node",
)


def _place_rows(tx: Tx, job: Job, args: arguments.Unshelve, services: Services) -> list[str]:
    found = tx.get(Server, job.resource_id)
    if found.node:
        return []
    decision = choose(*question(tx, services.adviser, found, node=args.node))
    place(tx, found, decision)
    return [decision.reason, *(f"{node}: {why}" for node, why in decision.passed_over.items())]


async def _place(context: Context[arguments.Unshelve]) -> None:
    for note in await context.store.write(lambda tx: _place_rows(tx, context.job, context.args, context.services)):
        context.note(note)


async def _unplace(context: Context[arguments.Unshelve]) -> None:
    def body(tx: Tx) -> None:
        found = tx.get(Server, context.job.resource_id)
        if found.state is not ServerState.SHELVED_OFFLOADED:
            return
        allocations.release(tx, found.id)
        for port in ports_of(tx, found.id):
            ports.bind_port(tx, port, "", found.id, OWNER)
        tx.change(found, node="")

    await context.store.write(body)


async def _create(context: Context[arguments.Unshelve]) -> None:
    if (await server(context)).state is ServerState.SHELVED_OFFLOADED:
        await lay_out(context)


async def _uncreate(context: Context[arguments.Unshelve]) -> None:
    if (await server(context)).state is ServerState.SHELVED_OFFLOADED:
        await remove(context)


async def _start(context: Context[arguments.Unshelve]) -> None:
    found = await server(context)
    await order(context, require_node(found), "guest.start", ServerArgs(found.id), timeout=120)


async def _stop_again(context: Context[arguments.Unshelve]) -> None:
    """A server that is still on its node stays there, stopped."""
    found = await server(context)
    if found.node and found.state is ServerState.SHELVED:
        await order(context, found.node, "guest.stop", StopArgs(found.id, 0.0), timeout=90)


def _unshelved(tx: Tx, job: Job, _args: Any) -> None:
    finish_action(tx, job)
    found = owned(tx, job)
    if found is None or found.job_id != job.id:
        return
    server_root.drop_shelved_image(tx, found)
    tx.change(
        found,
        **model.end(found, "unshelving"),
        power=PowerState.RUNNING,
        shelved_image_id="",
        shelved_at=0.0,
        launched_at=tx.now,
        fault=None,
    )


UNSHELVE = Kind(
    name="server.unshelve",
    args=arguments.Unshelve,
    steps=(
        Step("place", _place, undo=_unplace, timeout=30, rows=_place_rows, event="conductor_unshelve_instance"),
        Step("create", _create, undo=_uncreate, timeout=630, on_node=True, event="compute_unshelve_instance"),
        Step("start", _start, undo=_stop_again, timeout=150, on_node=True),
        Step("up", wait_up, timeout=90),
    ),
    finish=_unshelved,
    fail=fail_softly,
    deadline=arguments.DEADLINES["server.unshelve"],
    summary="place a shelved server anew and start it",
)
