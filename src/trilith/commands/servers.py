"""What a request changes about servers: rules, quota, action record and job, one transaction each."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from trilith import errors
from trilith.commands import blobs, consoles, quota, server_groups, server_networks, server_root
from trilith.commands.adviser import Adviser
from trilith.commands.server_networks import NetworkRequest
from trilith.jobs import arguments as args
from trilith.jobs.submit import cancel, submit
from trilith.model import server as model
from trilith.model.guest import PowerState
from trilith.model.image import BlobReference, Image, ImageMember, ImageState
from trilith.model.job import FINAL, Job
from trilith.model.node import Node
from trilith.model.record import CLOUD, Actor
from trilith.model.server import TASKS, Flavor, InstanceAction, KeyPair, Server, ServerGroup, ServerState
from trilith.placement.advisor.here import PillarsHere
from trilith.placement.choose import forms_allow, wanted_pillar
from trilith.placement.flavor_specs import check_specs
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx, new_id

__all__ = ["NetworkRequest", "ServerRequest"]

_HOSTNAME, _SEPARATOR = re.compile(r"[^a-z0-9-]+"), re.compile(r"[ _.]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRequest:
    """networks None: `auto` (the project's only network, or none when it has none); empty: no network."""

    name: str
    flavor_id: str
    image_id: str
    networks: tuple[NetworkRequest, ...] | None = None
    description: str = ""
    hostname: str = ""
    key_name: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    user_data: bytes = b""
    config_drive: bool = False
    disk_config: str = "MANUAL"
    security_groups: tuple[str, ...] = ()
    zone: str = ""
    node: str = ""
    group_id: str = ""
    access_ipv4: str = ""
    access_ipv6: str = ""
    min_count: int = 1
    max_count: int = 1
    hints: dict[str, str] = field(default_factory=dict)


def host_name(name: str, server_id: str) -> str:
    """Nova's rule (sanitize_hostname): one label of lower case, blanks, dots and underscores as dashes, what else DNS
    does not allow dropped, at most 63 characters."""
    clean = _HOSTNAME.sub("", _SEPARATOR.sub("-", name.lower())).strip("-")[:63]
    return clean or f"server-{server_id}"


def create(tx: Tx, actor: Actor, request: ServerRequest, adviser: Adviser) -> list[Server]:
    """One server, or max_count of them, where the advisor knows a pillar for what they demand. Raises Missing, Invalid,
    QuotaExceeded, Conflict; then nothing is made."""
    flavor, image = requested(tx, actor, request)
    # which nodes there are does not matter yet: that is placement's to say
    adviser.pillars_for(tx, draft(actor, request, flavor, image, server_id="", name=""), PillarsHere())
    key = _key(tx, actor, request.key_name)
    count = request.max_count
    try:
        quota.use(tx, actor.project_id, quota.of_server(flavor, count))
    except errors.QuotaExceeded:
        if request.min_count == count:
            raise
        count = request.min_count
        quota.use(tx, actor.project_id, quota.of_server(flavor, count))
    quota.check_user(tx, actor.project_id, actor.user_id, quota.of_server(flavor, count))
    if request.group_id:
        server_groups.check_members(tx, actor, request.group_id, count)
    reservation = f"r-{new_id()[:8]}"
    made = []
    for index in range(count):
        name = request.name if count == 1 else f"{request.name}-{index + 1}"
        made.append(_create_one(tx, actor, request, name, index, reservation, flavor, image, key))
    return made


def _create_one(
    tx: Tx,
    actor: Actor,
    request: ServerRequest,
    name: str,
    index: int,
    reservation: str,
    flavor: Flavor,
    image: Image,
    key: KeyPair | None,
) -> Server:
    server_id = new_id()
    user_data = tx.sealer.seal(request.user_data, context=f"server.user_data:{server_id}") if request.user_data else ""
    server = replace(
        draft(actor, request, flavor, image, server_id=server_id, name=name),
        key_name=request.key_name,
        key_public=key.public_key if key else "",
        user_data=user_data,
        reservation_id=reservation,
        launch_index=index,
    )
    job = submit_job(tx, server, "server.create", args.Create(node=request.node), action="create")
    server = tx.add(replace(server, job_id=job.id))
    blobs.hold(tx, image.sha256, "server", server.id)
    if kernel := image.properties.get("trilith_kernel"):
        blobs.hold(tx, kernel, "server", server.id)
    server_networks.attach(tx, actor, server, request.networks)
    return server


def draft(actor: Actor, request: ServerRequest, flavor: Flavor, image: Image, *, server_id: str, name: str) -> Server:
    """The server that the request would be, with all that placement looks at. Not stored."""
    return Server(
        id=server_id,
        name=name,
        project_id=actor.project_id,
        user_id=actor.user_id,
        hostname=request.hostname or host_name(name, server_id),
        description=request.description,
        task="scheduling",
        flavor=flavor.data(),
        image_id=image.id,
        image_sha256=image.sha256,
        image_properties=image.properties,
        image_format=image.disk_format,
        metadata=request.metadata,
        tags=request.tags,
        config_drive=request.config_drive,
        disk_config=request.disk_config,
        security_groups=request.security_groups or ("default",),
        zone=request.zone or "nova",
        zone_requested=request.zone,
        access_ipv4=request.access_ipv4,
        access_ipv6=request.access_ipv6,
        group_id=request.group_id,
    )


def requested(reader: Reader, actor: Actor, request: ServerRequest) -> tuple[Flavor, Image]:
    """What the request names, where a server can be made of it. Raises Invalid."""
    flavor = usable_flavor(reader, actor, request.flavor_id)
    image = usable_image(reader, actor, request.image_id)
    check_sizes(flavor, image)
    check_specs(flavor.extra_specs)
    wanted_pillar(image.properties, flavor.extra_specs)
    group = reader.find(ServerGroup, request.group_id) if request.group_id else None
    hidden = group is not None and group.project_id != actor.project_id and not actor.is_admin
    if request.group_id and (group is None or hidden):
        raise errors.Invalid(f"Instance group {request.group_id} could not be found.", field="group")
    return flavor, image


def usable_flavor(reader: Reader, actor: Actor, flavor_id: str) -> Flavor:
    """Raises Invalid for a flavor that is not there for the actor's project, or disabled."""
    flavor = reader.find(Flavor, flavor_id)
    given = flavor is not None and (flavor.public or actor.project_id in flavor.projects or actor.is_admin)
    if flavor is None or not given or flavor.disabled:
        raise errors.Invalid(f"Flavor {flavor_id} could not be found.", field="flavorRef")
    return flavor


def usable_image(reader: Reader, actor: Actor, image_id: str) -> Image:
    """Raises Invalid for an image that is not there for the actor, not active, or has no form that runs."""
    image = reader.find(Image, image_id)
    if image is None or not _shown(reader, actor, image):
        raise errors.Invalid(f"Image {image_id} could not be found.", field="imageRef")
    if image.state is not ImageState.ACTIVE:
        raise errors.Invalid(f"Image {image_id} is not active.", field="imageRef")
    if not image.sha256:
        raise errors.Invalid(
            f"The data of image {image_id} was not read yet from where it lies, or is not fit to boot.",
            hint=image.message or "Try again when its task has ended.",
            field="imageRef",
        )
    kernel = image.properties.get(server_root.KERNEL, "")
    if kernel and not _kernel_shown(reader, actor, image, kernel):
        raise errors.Invalid(
            f"The kernel of image {image_id} is of no image that could be found.",
            hint=f"{server_root.KERNEL} is the SHA-256 of an image's data.",
            field="imageRef",
        )
    if not forms_allow(image.disk_format, image.properties):
        raise errors.Invalid(
            f"Image {image_id} has the disk format {image.disk_format}, which boots on no pillar.", field="imageRef"
        )
    return image


def _kernel_shown(reader: Reader, actor: Actor, image: Image, sha256: str) -> bool:
    """Whether the image keeps that data itself, as one of a server's root does, or another does that the actor sees."""
    holders = reader.select(BlobReference, sha256=sha256)
    if any(held.holder_id == image.id for held in holders):
        return True
    others = [held.holder_id for held in holders if held.holder_kind == "image"]
    return any(_shown(reader, actor, other) for other in (reader.select(Image, id=others) if others else ()))


def _shown(reader: Reader, actor: Actor, image: Image) -> bool:
    """Glance's rule of who may see an image: a shared one only its owner and its members, of any status."""
    if actor.is_admin or image.visibility in ("public", "community"):
        return True
    if not actor.project_id:
        return False
    shared = image.visibility == "shared"
    return image.owner == actor.project_id or (
        shared and reader.first(ImageMember, image_id=image.id, member_id=actor.project_id) is not None
    )


def check_sizes(flavor: Flavor | model.FlavorData, image: Image) -> None:
    """Nova's checks: FlavorMemoryTooSmall, FlavorDiskSmallerThanMinDisk, FlavorDiskSmallerThanImage."""
    if image.min_ram > flavor.ram:
        raise errors.Invalid("Flavor's memory is too small for requested image.", field="flavorRef")
    if flavor.disk and image.min_disk > flavor.disk:
        raise errors.Invalid(
            f"Flavor's disk is smaller than the minimum size specified in image metadata: {flavor.disk} GiB, "
            f"minimum {image.min_disk} GiB.",
            field="flavorRef",
        )
    virtual = max(image.virtual_size, 0)
    if flavor.disk and virtual > flavor.disk * 1024**3:
        raise errors.Invalid("Flavor's disk is too small for requested image.", field="flavorRef")


def delete(tx: Tx, server: Server) -> Server:
    """Always allowed, also while another job runs: that one is cancelled and undone first."""
    if server.task == "deleting":
        return server
    after = _cancel_running(tx, server)
    consoles.forget(tx, server.id)
    job = submit_job(tx, server, "server.delete", args.Delete(), action="delete", after=after)
    return tx.change(server, task="deleting", job_id=job.id)


#: verb → the driver's capability that it needs
_NEEDS = {"pause": "pause", "unpause": "pause", "suspend": "suspend", "resume": "suspend"}


def require_capability(tx: Tx, server: Server, capability: str, cannot: str) -> None:
    """Raises Unsupported when the facts of the server's node say that its driver lacks it."""
    node = node_of(tx, server.node) if server.node else None
    if node is None or node.facts is None or server.pillar is None:
        return
    able = node.facts.capabilities.get(server.pillar)
    if able is not None and capability not in able:
        raise errors.Unsupported(
            f"Instance {server.id}: {server.pillar} guests on node {node.name} {cannot}.", capability=capability
        )


def power(tx: Tx, server: Server, verb: str, *, timeout: float = 60.0) -> Server:
    """verb: start stop reboot reboot_hard pause unpause suspend resume.

    Raises Conflict by the transition table, Unsupported for what the server's node cannot do on its pillar.
    """
    task, action, desired = args.POWER[verb]
    model.require(server, task)
    if verb in _NEEDS:
        require_capability(tx, server, _NEEDS[verb], f"cannot {verb}")
    wanted: dict[str, Any] = {"desired": desired} if desired is not None else {}
    job = submit_job(tx, server, f"server.{verb}", args.Power(timeout=timeout), action=action)
    return tx.change(server, **model.begin(server, task), job_id=job.id, **wanted)


def reset_state(tx: Tx, server: Server, state: str) -> Server:
    """os-resetState: an operator's word that the server is active, or in error."""
    event = "reset-active" if state == "active" else "reset-error"
    after = _cancel_running(tx, server)
    del after
    return tx.change(server, **model.end(server, event))


def rename(tx: Tx, server: Server, **changes: Any) -> Server:
    return tx.change(server, **changes)


def _key(tx: Tx, actor: Actor, name: str) -> KeyPair | None:
    if not name:
        return None
    key = tx.first(KeyPair, user_id=actor.user_id, name=name)
    if key is None:
        raise errors.Invalid("Invalid key_name provided.", field="key_name")
    return key


def _cancel_running(tx: Tx, server: Server) -> str:
    """The id of the job that must end before the next one may begin, or ""."""
    if not server.job_id:
        return ""
    running = tx.find(Job, server.job_id)
    if running is None or running.state in FINAL:
        return ""
    if not running.cancel:
        cancel(tx, running.id)
    return running.id


def submit_job(tx: Tx, server: Server, kind: str, arguments: Any, *, action: str, after: str = "") -> Job:
    job = submit(
        tx,
        kind,
        resource="server",
        resource_id=server.id,
        args=arguments,
        project_id=server.project_id,
        deadline=args.DEADLINES[kind],
        after=after,
    )
    record_action(tx, server, action, job.id)
    return job


def record_action(tx: Tx, server: Server, action: str, job_id: str = "") -> InstanceAction:
    return tx.add(
        InstanceAction(
            id=new_id(),
            server_id=server.id,
            project_id=server.project_id,
            user_id=tx.actor.user_id,
            request_id=tx.actor.request_id or f"req-{new_id()}",
            action=action,
            job_id=job_id,
        )
    )


def check_lock(server: Server, actor: Actor, *, override: bool) -> None:
    """Raises Conflict for a locked server, unless policy lets the caller override."""
    if server.locked and not override:
        raise errors.Conflict(f"Instance {server.id} is locked")


def node_of(tx: Tx, name: str) -> Node | None:
    return tx.first(Node, name=name)


def may_begin(server: Server, task: str) -> bool:
    return server.state in TASKS[task][0] and not server.task


def is_stopped(server: Server) -> bool:
    return server.state in (ServerState.STOPPED, ServerState.SUSPENDED)


#: restores of one server within _RESTORE_WINDOW seconds before it is left in ERROR: a guest that dies at once must
#: not be started for ever
_RESTORES = 3
_RESTORE_WINDOW = 600.0


def restore(tx: Tx, server: Server) -> Server:
    """A hard reboot in the cloud's own name: the guest was lost, its desired state is running."""
    table = REGISTRY[InstanceAction].table
    recent = tx.select(
        InstanceAction,
        table.c.created_at > tx.now - _RESTORE_WINDOW,
        server_id=server.id,
        user_id=CLOUD.user_id,
        action="reboot",
    )
    if len(recent) >= _RESTORES:
        message = f"The guest ended by itself {len(recent) + 1} times within {_RESTORE_WINDOW / 60:.0f} minutes."
        fault = model.Fault(
            code=500, message=message, created=tx.now, details="Look at its console log, then start it."
        )
        return tx.change(server, **model.end(server, "failed"), fault=fault, power=PowerState.CRASHED)
    job = submit_job(tx, server, "server.reboot_hard", args.Power(timeout=0), action="reboot")
    return tx.change(server, **model.begin(server, "rebooting_hard"), job_id=job.id)
