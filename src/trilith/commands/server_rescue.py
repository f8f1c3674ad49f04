"""Rescue, and a new password for a server's administrator. One transaction each, a job where the node acts."""

from __future__ import annotations

from trilith import errors
from trilith.commands import server_root
from trilith.commands.servers import node_of, require_capability, submit_job, usable_image
from trilith.jobs import arguments as args
from trilith.model import machine
from trilith.model import server as model
from trilith.model.image import Image, ImageState
from trilith.model.job import Job
from trilith.model.record import Actor
from trilith.model.server import Rescue, RootImage, Server, ServerState
from trilith.placement.choose import forms_allow
from trilith.store.tx import Tx

#: image properties that ask for a stable device rescue (Glance's own names), and what they may say
DEVICE, BUS = "hw_rescue_device", "hw_rescue_bus"
DEVICES = ("disk", "cdrom")
BUSES = ("virtio", "scsi", "usb", "ide", "sata")


def rescue(tx: Tx, actor: Actor, server: Server, password: str, image_id: str = "") -> Server:
    """Boot from an image with the own root beside it. image_id: "" for the image that the server was made of.

    Raises Conflict, and Invalid where image or node cannot.
    """
    model.require(server, "rescuing")
    image = _image(tx, actor, server, image_id)
    wanted = Rescue(
        image=image,
        device=image.properties.get(DEVICE, "disk"),
        bus=image.properties.get(BUS, ""),
        stable=bool(image_id) and (DEVICE in image.properties or BUS in image.properties),
        admin_pass=_sealed(tx, server, password),
    )
    _check(tx, server, wanted)
    server_root.hold(tx, server, image)
    arguments = args.StartRescue(rescue=wanted, was_running=server.state is ServerState.ACTIVE)
    job = submit_job(tx, server, "server.rescue", arguments, action="rescue")
    return tx.change(server, **model.begin(server, "rescuing"), job_id=job.id)


def _image(tx: Tx, actor: Actor, server: Server, image_id: str) -> RootImage:
    chosen = usable_image(tx, actor, image_id) if image_id else tx.find(Image, server.image_id)
    if chosen is None or chosen.state is not ImageState.ACTIVE:
        # deleted since: what the root starts from is held, and boots as well
        return server_root.root_of(server)
    return RootImage(sha256=chosen.sha256, disk_format=chosen.disk_format, properties=chosen.properties)


def _check(tx: Tx, server: Server, wanted: Rescue) -> None:
    """Raises Invalid: Nova's InstanceNotRescuable and UnsupportedRescueImage are 400."""
    if wanted.device not in DEVICES or wanted.bus not in ("", *BUSES):
        raise errors.Invalid(
            f"Requested rescue image has invalid properties: {DEVICE}={wanted.device}, {BUS}={wanted.bus or 'unset'}.",
            hint=f"Known: {', '.join(DEVICES)}; {', '.join(BUSES)}.",
            field="rescue_image_ref",
        )
    if server.image_properties.get("trilith_boot") == "bare" or wanted.image.properties.get("trilith_boot") == "bare":
        raise errors.Invalid(
            f"Instance {server.id} cannot be rescued: guests without a firmware have nothing to rescue them with."
        )
    if server.pillar is not None and server.pillar not in forms_allow(
        wanted.image.disk_format, wanted.image.properties
    ):
        raise errors.Invalid(f"Requested rescue image has no form for {server.pillar}.", field="rescue_image_ref")
    if (wanted.device, wanted.bus) == ("cdrom", "virtio"):
        raise errors.Invalid(
            "Requested rescue image has unsupported properties: virtio has no CD-ROM.",
            hint="Use sata, scsi or usb.",
            field="rescue_image_ref",
        )
    if wanted.stable and server.identity is not None and not machine.has_bus(server.identity, wanted.bus):
        raise errors.Invalid(
            f"Requested rescue image has unsupported properties: a {server.identity.machine} machine has no "
            f"{wanted.bus.upper()} bus ({BUS}).",
            hint="Use sata for a CD-ROM, virtio or scsi for a disk.",
            field="rescue_image_ref",
        )
    capability = "stable_rescue" if wanted.stable else "rescue"
    try:
        require_capability(tx, server, capability, f"have no {capability.replace('_', ' ')}")
    except errors.Unsupported as err:
        raise errors.Invalid(f"Instance {server.id} cannot be rescued: {err.message}") from err


def unrescue(tx: Tx, server: Server) -> Server:
    """Raises Conflict for a server that is not in rescue."""
    model.require(server, "unrescuing")
    job = submit_job(tx, server, "server.unrescue", args.EndRescue(), action="unrescue")
    return tx.change(server, **model.begin(server, "unrescuing"), job_id=job.id)


def change_password(tx: Tx, server: Server, password: str) -> Job:
    """The job whose end is the answer. Raises Conflict, Unsupported where the node's driver cannot."""
    model.require(server, "updating_password")
    require_capability(tx, server, "password", "have no way to set a password")
    if node_of(tx, server.node) is None:
        raise errors.Conflict(f"Instance {server.id} is on no host.")
    arguments = args.Password(
        sealed=_sealed(tx, server, password), user=server.image_properties.get("os_admin_user", "")
    )
    job = submit_job(tx, server, "server.password", arguments, action="changePassword")
    tx.change(server, **model.begin(server, "updating_password"), job_id=job.id)
    return job


def _sealed(tx: Tx, server: Server, password: str) -> str:
    return tx.sealer.seal(password.encode(), context=f"server.admin_pass:{server.id}")
