"""Moving a server between nodes, and off them: migrate, live-migrate, evacuate, shelve, unshelve. One transaction each.

A move is one Migration record. What the server holds of its source in Placement is that record's until it is settled.
"""

from __future__ import annotations

from typing import Any

from trilith import errors
from trilith.commands import allocations, blobs, consoles, server_resources, server_root
from trilith.commands.servers import node_of, require_capability, submit_job
from trilith.jobs import arguments as args
from trilith.jobs.submit import cancel, submit
from trilith.model import server as model
from trilith.model.guest import PowerState
from trilith.model.image import Image
from trilith.model.node import Allocation, Inventory, Node, ResourceProvider
from trilith.model.record import Actor
from trilith.model.server import FlavorData, Migration, MigrationType, Server, ServerState
from trilith.placement.flavor_specs import resources_of
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx, new_id

#: statuses of a migration that waits for its confirmation or its end
UNSETTLED = ("queued", "migrating", "running", "finished", "confirming", "reverting")


def record(tx: Tx, server: Server, kind: MigrationType, *, dest: str = "", flavor: str = "") -> Migration:
    """dest: "" until placement has chosen. flavor: the new one's id, "" for the old."""
    consoles.forget(tx, server.id)
    return tx.add(
        Migration(
            id=new_id(),
            server_id=server.id,
            project_id=server.project_id,
            user_id=tx.actor.user_id,
            type=kind,
            status="queued" if kind is MigrationType.LIVE else "migrating",
            source_node=server.node,
            dest_node=dest,
            old_flavor=server.flavor.id,
            new_flavor=flavor or server.flavor.id,
            old_root=server_root.root_of(server),
        )
    )


def unsettled(reader: Reader, server_id: str) -> Migration | None:
    """The server's move that is not settled, the last one where a fault left more."""
    table = REGISTRY[Migration].table
    found = reader.select(Migration, server_id=server_id, status=list(UNSETTLED), order=[table.c.seq.desc()], limit=1)
    return found[0] if found else None


def has_room(reader: Reader, server: Server, flavor: FlavorData) -> bool:
    """Whether the server's node has what the larger of both flavors needs, which it holds until a resize is settled."""
    provider = reader.first(ResourceProvider, name=server.node)
    if provider is None:
        return True  # no word of what the node has: the claim decides
    held = {a.resource_class: a.used for a in reader.select(Allocation, consumer_id=server.id, provider_id=provider.id)}
    wanted = resources_of(flavor, server.image_properties)
    for inventory in reader.select(Inventory, provider_id=provider.id, resource_class=list(wanted)):
        more = wanted[inventory.resource_class] - held.get(inventory.resource_class, 0)
        capacity = int((inventory.total - inventory.reserved) * inventory.allocation_ratio)
        if more > 0 and inventory.used + more > capacity:
            return False
    return True


# between nodes


def migrate(tx: Tx, server: Server, host: str = "") -> Server:
    """To another node while it is stopped, to be confirmed or reverted. host: its name, "" for any.

    Raises Conflict, Invalid for a host that cannot be, Unsupported where its root cannot be copied.
    """
    model.require(server, "resize_prep")
    _destination(tx, server, host, "Unable to migrate instance ({server}) to current host ({host}).")
    return move_cold(tx, server, server.flavor, kind=MigrationType.MIGRATION, action="migrate", host=host)


def move_cold(
    tx: Tx, server: Server, flavor: FlavorData, *, kind: MigrationType, action: str, host: str = ""
) -> Server:
    """The server, moving. Raises Unsupported where its root cannot be copied."""
    require_capability(tx, server, "snapshot", "cannot copy their roots, so they stay on their node")
    migration = record(tx, server, kind, flavor=flavor.id)
    arguments = args.Migrate(
        flavor=flavor,
        migration_id=migration.id,
        node=host,
        was_running=server.state is ServerState.ACTIVE,
    )
    job = submit_job(tx, server, "server.migrate", arguments, action=action)
    tx.change(migration, job_id=job.id)
    return tx.change(server, **model.begin(server, "resize_prep"), job_id=job.id)


def live_migrate(tx: Tx, server: Server, host: str = "") -> Server:
    """While it runs. Raises Conflict, Invalid for a host or a guest that cannot (Nova's 400 of its checks before)."""
    model.require(server, "migrating")
    _destination(tx, server, host, "Unable to migrate instance ({server}) to current host ({host}).")
    try:
        require_capability(tx, server, "live_migration", "cannot be moved while they run; migrate them stopped")
    except errors.Unsupported as err:
        raise errors.Invalid(f"Migration pre-check error: {err.message}") from err
    migration = record(tx, server, MigrationType.LIVE)
    job = submit_job(
        tx,
        server,
        "server.live_migrate",
        args.Move(migration_id=migration.id, node=host),
        action="live-migration",
    )
    tx.change(migration, job_id=job.id)
    return tx.change(server, **model.begin(server, "migrating"), job_id=job.id)


def abort(tx: Tx, migration: Migration) -> None:
    """The server stays where it is, unless it has arrived. Raises Conflict when the move has ended."""
    cancel(tx, migration.job_id)


def evacuate(tx: Tx, server: Server, host: str = "", *, stopped: bool = False) -> Server:
    """A new start elsewhere, from what its root starts from, since its node is lost; disks are local, so what was
    written to them is lost with it (Nova's rule for disks that are not shared).

    Only from a node that the operator has declared down (`openstack compute service set --down`): that it is off is
    his word, and without it the server could run twice. stopped: it is left stopped (from 2.95 on).
    Raises Invalid, Conflict.
    """
    model.require(server, "rebuilding")
    node = node_of(tx, server.node) if server.node else None
    if node is None:
        raise errors.Conflict(f"Instance {server.id} is on no host.")
    if not node.forced_down or node.alive:
        raise errors.Invalid(
            f"Compute service of {node.name} is still in use.",
            hint="Turn the machine off, then declare it down: openstack compute service set --down.",
        )
    _destination(tx, server, host, "The target host {host} can't be the same one that instance {server} is on.")
    migration = record(tx, server, MigrationType.EVACUATION)
    start = server.state is not ServerState.STOPPED and not stopped
    job = submit_job(
        tx,
        server,
        "server.evacuate",
        args.Move(migration_id=migration.id, node=host, start=start),
        action="evacuate",
    )
    tx.change(migration, job_id=job.id)
    return tx.change(server, **model.begin(server, "rebuilding"), job_id=job.id)


def _destination(tx: Tx, server: Server, host: str, same: str) -> None:
    """Raises Invalid for a host that is none, or the server's own."""
    if not host:
        return
    if node_of(tx, host) is None:
        raise errors.Invalid(f"Compute host {host} could not be found.", field="host")
    if host == server.node:
        raise errors.Invalid(same.format(server=server.id, host=host), field="host")


def hand_over(tx: Tx, server: Server, migration: Migration, dest: str, flavor: FlavorData) -> None:
    """The source's resources to the migration's record, the destination's to the server. Again is success; raises
    Conflict when it does not fit."""
    source = tx.first(ResourceProvider, name=migration.source_node)
    target = tx.first(ResourceProvider, name=dest)
    assert target is not None, dest
    if source is not None and not tx.count(Allocation, consumer_id=migration.id):
        allocations.move(tx, server.id, migration.id, provider_id=source.id, type=allocations.MIGRATION)
    allocations.claim(
        tx,
        consumer_id=server.id,
        provider_id=target.id,
        resources=server_resources.of_server(tx, server, flavor),
        project_id=server.project_id,
        user_id=server.user_id,
    )


def hand_back(tx: Tx, server: Server, migration: Migration) -> None:
    """The reverse of `hand_over`, whether that was done or not."""
    source = tx.first(ResourceProvider, name=migration.source_node)
    if source is None or not tx.count(Allocation, consumer_id=migration.id):
        return
    target = tx.first(ResourceProvider, name=migration.dest_node) if migration.dest_node else None
    if target is not None:
        allocations.release(tx, server.id, provider_id=target.id)
    allocations.move(tx, migration.id, server.id, provider_id=source.id)


def settle(tx: Tx, migration: Migration | None, status: str) -> None:
    """The end of a move: its record holds no resources and no blob any more."""
    if migration is None:
        return
    allocations.release(tx, migration.id)
    blobs.release(tx, migration.id)
    tx.change(migration, status=status)


# off the nodes and back


def shelve(tx: Tx, actor: Actor, server: Server) -> Image:
    """Stopped, its root an image of the project, its node free. Raises Conflict, Unsupported without snapshots."""
    model.require(server, "shelving")
    require_capability(tx, server, "snapshot", "have no snapshots, which shelving needs")
    consoles.forget(tx, server.id)
    image = server_root.begin_image(
        tx, actor, server, name=f"{server.name}-shelved", owner=server.project_id, properties={}
    )
    arguments = args.Shelve(image_id=image.id, was_running=server.power is PowerState.RUNNING)
    job = submit_job(tx, server, "server.shelve", arguments, action="shelve")
    tx.change(
        server,
        **model.begin(server, "shelving"),
        job_id=job.id,
        shelved_image_id=image.id,
        desired=PowerState.SHUTDOWN,
    )
    return image


def shelve_offload(tx: Tx, server: Server) -> Server:
    """A shelved server leaves its node. Raises Conflict for any other."""
    model.require(server, "shelving_offloading")
    job = submit_job(tx, server, "server.shelve_offload", args.Offload(), action="shelveOffload")
    return tx.change(server, **model.begin(server, "shelving_offloading"), job_id=job.id)


def offload_next(tx: Tx, server: Server) -> Server:
    """As `shelve_offload`, as the second half of a shelving (Nova: shelved_offload_time = 0), within its action."""
    job = submit(
        tx,
        "server.shelve_offload",
        resource="server",
        resource_id=server.id,
        args=args.Offload(),
        project_id=server.project_id,
        deadline=args.DEADLINES["server.shelve_offload"],
    )
    return tx.change(server, **model.begin(server, "shelving_offloading"), job_id=job.id)


def unshelve(tx: Tx, server: Server, *, zone: str | None = None, host: str = "") -> Server:
    """Placed anew from its image, or started where it still is. zone: "" takes a pin away, None leaves it.

    Raises Conflict for a server that is not shelved, or that is still on its node when a place is named; Invalid for
    a place that does not exist.
    """
    model.require(server, "unshelving")
    changes: dict[str, Any] = {}
    if (zone is not None or host) and server.state is not ServerState.SHELVED_OFFLOADED:
        raise errors.Conflict(
            f"Specifying an availability zone or a host when unshelving server {server.id} with status "
            f"'{server.state.value.upper()}' is not supported. The server status must be SHELVED_OFFLOADED.",
        )
    if zone and not tx.count(Node, zone=zone):
        raise errors.Invalid(f"The requested availability zone {zone} is not available", field="availability_zone")
    if zone is not None:
        changes["zone_requested"] = zone
    if host and node_of(tx, host) is None:
        raise errors.Invalid(f"Compute host {host} could not be found.", field="host")
    job = submit_job(tx, server, "server.unshelve", args.Unshelve(node=host), action="unshelve")
    return tx.change(server, **model.begin(server, "unshelving"), job_id=job.id, desired=PowerState.RUNNING, **changes)
