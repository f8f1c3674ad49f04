"""Changes to a server that exists: rebuild, resize, snapshot, ports. One transaction each, a job where a node acts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trilith import errors
from trilith.commands import blobs, consoles, ports, quota, server_moves, server_networks, server_resources, server_root
from trilith.commands.adviser import Adviser
from trilith.commands.server_candidates import candidates, look
from trilith.commands.server_networks import NetworkRequest
from trilith.commands.servers import (
    check_sizes,
    require_capability,
    submit_job,
    usable_flavor,
    usable_image,
)
from trilith.jobs import arguments as args
from trilith.model import server as model
from trilith.model.image import Image
from trilith.model.network import Port
from trilith.model.record import Actor
from trilith.model.server import MigrationType, Server, ServerState
from trilith.placement.choose import forms_allow, wanted_pillar
from trilith.placement.flavor_specs import check_specs
from trilith.placement.rules import unmet
from trilith.store.tx import Reader, Tx


def rebuild(
    tx: Tx,
    actor: Actor,
    server: Server,
    image_id: str,
    *,
    name: str | None = None,
    hostname: str | None = None,
    description: str | None = None,
    metadata: dict[str, str] | None = None,
    key_name: str | None = None,
    key_public: str | None = None,
    user_data: bytes | None = None,
    access_ipv4: str | None = None,
    access_ipv6: str | None = None,
    disk_config: str | None = None,
) -> Server:
    """A new root from an image; identity, ports and node stay. Raises Conflict, Invalid.

    The new values are kept in the job, and reach the server only when the new root is there: a rebuild that fails
    before it touched the guest leaves the server as it was.
    """
    model.require(server, "rebuilding")
    image = usable_image(tx, actor, image_id)
    check_sizes(server.flavor, image)
    wanted = wanted_pillar(image.properties, server.flavor.extra_specs)
    allowed = forms_allow(image.disk_format, image.properties)
    if server.pillar is not None and (server.pillar not in allowed or wanted not in (None, server.pillar)):
        raise errors.Invalid(
            f"Image {image_id} has no form for {server.pillar}, which this server was made on.", field="imageRef"
        )
    sealed = None
    if user_data is not None:
        sealed = tx.sealer.seal(user_data, context=f"server.user_data:{server.id}") if user_data else ""
    consoles.forget(tx, server.id)
    blobs.hold(tx, image.sha256, "server", server.id)
    if kernel := image.properties.get("trilith_kernel"):
        blobs.hold(tx, kernel, "server", server.id)
    changes: dict[str, Any] = {
        "name": name,
        "hostname": hostname,
        "description": description,
        "metadata": metadata,
        "key_name": key_name,
        "key_public": key_public,
        "user_data": sealed,
        "access_ipv4": access_ipv4,
        "access_ipv6": access_ipv6,
        "disk_config": disk_config,
    }
    given = {k: v for k, v in changes.items() if v is not None}
    arguments = args.Rebuild(
        image_id=image.id,
        image_sha256=image.sha256,
        image_format=image.disk_format,
        image_properties=image.properties,
        old_sha256=server.image_sha256,
        old_image_id=server.image_id,
        start=server.state is not ServerState.STOPPED,
    )
    job = submit_job(tx, server, "server.rebuild", arguments, action="rebuild")
    # what the user sees changes at once, as in Nova; what the root is of follows when the new one is there
    return tx.change(server, **model.begin(server, "rebuilding"), **given, image_id=image.id, job_id=job.id)


def _meets(reader: Reader, wanted: Server, adviser: Adviser) -> bool:
    """Whether its node has what the flavor demands. Raises Invalid where the pillar that it has never can."""
    nodes = look(reader)
    choice = adviser.pillars_for(reader, wanted, nodes.here())
    mine = next((c for c in candidates(reader, wanted, nodes) if c.name == wanted.node), None)
    pillar = wanted.pillar
    return mine is None or pillar is None or unmet(choice.needs.get(pillar, ()), mine, pillar) is None


def resize(tx: Tx, actor: Actor, server: Server, flavor_id: str, adviser: Adviser) -> Server:
    """To another flavor, to be confirmed or reverted: on its node, or where that has no room or not what the flavor
    demands, on another.

    Raises Invalid, QuotaExceeded, Conflict.
    """
    model.require(server, "resize_prep")
    flavor = usable_flavor(tx, actor, flavor_id)
    if flavor.id == server.flavor.id:
        raise errors.Invalid("When resizing, instances must change flavor!", field="flavorRef")
    if 0 < flavor.disk < server.flavor.disk or (flavor.disk == 0 and server.flavor.disk > 0):
        raise errors.Invalid("Resize error: Unable to resize disk down.", field="flavorRef")
    check_specs(flavor.extra_specs)
    image = tx.find(Image, server.image_id)
    if image is not None:
        check_sizes(flavor, image)
    wanted = wanted_pillar({}, flavor.extra_specs)
    if wanted is not None and server.pillar is not None and wanted is not server.pillar:
        raise errors.Invalid(
            f"Flavor {flavor.id} is for {wanted}, and this server was made on {server.pillar}.", field="flavorRef"
        )
    stays = _meets(tx, replace(server, flavor=flavor.data()), adviser)
    growth = quota.growth(server.flavor, flavor)
    quota.use(tx, server.project_id, growth)
    quota.check_user(tx, server.project_id, server.user_id, growth)
    if not stays or not server_moves.has_room(tx, server, flavor.data()):
        return server_moves.move_cold(tx, server, flavor.data(), kind=MigrationType.RESIZE, action="resize")
    migration = server_moves.record(tx, server, MigrationType.RESIZE, dest=server.node, flavor=flavor.id)
    arguments = args.Resize(
        flavor=flavor.data(), was_running=server.state is ServerState.ACTIVE, migration_id=migration.id
    )
    job = submit_job(tx, server, "server.resize", arguments, action="resize")
    tx.change(migration, job_id=job.id)
    return tx.change(server, **model.begin(server, "resize_prep"), job_id=job.id)


def confirm_resize(tx: Tx, server: Server) -> Server:
    """Raises Conflict unless a resize waits for it."""
    model.require(server, "resize_confirming")
    job = submit_job(tx, server, "server.confirm_resize", args.Settle(), action="confirmResize")
    return tx.change(server, **model.begin(server, "resize_confirming"), job_id=job.id)


def revert_resize(tx: Tx, server: Server) -> Server:
    model.require(server, "resize_reverting")
    job = submit_job(tx, server, "server.revert_resize", args.Settle(), action="revertResize")
    return tx.change(server, **model.begin(server, "resize_reverting"), job_id=job.id)


def snapshot(tx: Tx, actor: Actor, server: Server, name: str, metadata: dict[str, str]) -> Image:
    """An image of the root disk, in the caller's project; the record is there at once, `saving`.

    Raises Conflict, and Unsupported where the server's node has no snapshots on its pillar.
    """
    model.require(server, "image_snapshot")
    require_capability(tx, server, "snapshot", "have no snapshots")
    image = server_root.begin_image(tx, actor, server, name=name, owner=actor.project_id, properties=metadata)
    job = submit_job(tx, server, "server.snapshot", args.Snapshot(image_id=image.id), action="createImage")
    tx.change(server, **model.begin(server, "image_snapshot"), job_id=job.id)
    return image


def backup(
    tx: Tx,
    actor: Actor,
    server: Server,
    name: str,
    backup_type: str,
    rotation: int,
    *,
    metadata: dict[str, str] | None = None,
) -> Image:
    """As `snapshot`; when it is made, the oldest of this type beyond `rotation` are deleted. Raises as `snapshot`."""
    model.require(server, "image_backup")
    require_capability(tx, server, "snapshot", "have no snapshots")
    properties = {**(metadata or {}), "image_type": "backup", "backup_type": backup_type}
    image = server_root.begin_image(tx, actor, server, name=name, owner=actor.project_id, properties=properties)
    arguments = args.Backup(image_id=image.id, backup_type=backup_type, rotation=rotation)
    job = submit_job(tx, server, "server.backup", arguments, action="createBackup")
    tx.change(server, **model.begin(server, "image_backup"), job_id=job.id)
    return image


def inject_network_info(tx: Tx, server: Server) -> Server:
    """The node makes the guest's metadata and config drive anew from its ports. Raises Conflict."""
    model.require(server, "attaching")
    job = submit_job(tx, server, "server.inject_network", args.Settle(), action="inject_network_info")
    return tx.change(server, **model.begin(server, "attaching"), job_id=job.id)


def attach_port(tx: Tx, actor: Actor, server: Server, request: NetworkRequest) -> Port:
    """Raises Conflict for a port in use or one that is promised more bandwidth than the node has left, Invalid where
    the request names nothing usable, Unsupported for a running server whose node cannot add interfaces to it."""
    model.require(server, "attaching")
    _require_hotplug(tx, server)
    port = server_networks.attach(tx, actor, server, (request,))[0]
    if server.node:
        port = ports.bind_port(tx, port, server.node, server.id, server_networks.OWNER)
        server_resources.refit(tx, server.id)
    job = submit_job(tx, server, "server.attach_port", args.PortChange(port_id=port.id), action="attach_interface")
    tx.change(server, **model.begin(server, "attaching"), job_id=job.id)
    return port


def detach_port(tx: Tx, server: Server, port_id: str) -> None:
    """Raises Missing for a port that the server does not have."""
    model.require(server, "attaching")
    port = tx.find(Port, port_id)
    if port is None or port.device_id != server.id:
        raise errors.Missing(f"Instance {server.id} does not have interface {port_id}.")
    _require_hotplug(tx, server)
    job = submit_job(tx, server, "server.detach_port", args.PortChange(port_id=port_id), action="detach_interface")
    tx.change(server, **model.begin(server, "attaching"), job_id=job.id)


def _require_hotplug(tx: Tx, server: Server) -> None:
    if server.state is not ServerState.STOPPED:
        require_capability(tx, server, "hotplug_nic", "take and lose no interfaces while they run; stop it first")
