"""Volumes: asked for, described, grown, put back, deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trilith import errors
from trilith.commands import quota, volume_pools, volume_types
from trilith.jobs.submit import active_for, cancel, submit
from trilith.jobs.volume_arguments import Create, Extend, Nothing, Revert
from trilith.model.image import Image, ImageState
from trilith.model.record import Actor
from trilith.model.volume import (
    VOLUME_TABLE,
    SnapshotState,
    Volume,
    VolumeSnapshot,
    VolumeState,
    VolumeType,
)
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx, new_id

GIB = 1 << 30
#: seconds that the jobs have: those that may copy data, and those that do not
COPY, QUICK = 6 * 3600.0, 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeRequest:
    """size: GiB, 0 for the source's. type: a name or id, "" for the source's or the default one."""

    size: int = 0
    name: str = ""
    description: str | None = None
    type: str = ""
    zone: str = ""
    source_volume_id: str = ""
    snapshot_id: str = ""
    image_id: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


def quota_of(reader: Reader, volume: Volume) -> dict[str, int]:
    """What a volume counts for: by itself, and by its type."""
    found = {"volumes": 1, "gigabytes": volume.size}
    kind = reader.find(VolumeType, volume.type_id) if volume.type_id else None
    return found if kind is None else found | {f"volumes_{kind.name}": 1, f"gigabytes_{kind.name}": volume.size}


def get(reader: Reader, volume_id: str) -> Volume:
    """Raises Missing."""
    found = reader.find(Volume, volume_id)
    if found is None:
        raise errors.Missing(f"Volume {volume_id} could not be found.")
    return found


def create(tx: Tx, actor: Actor, request: VolumeRequest, *, ratio: float) -> Volume:
    """ratio: how often the size of a thin pool may be promised. Raises Invalid, Missing, QuotaExceeded."""
    given = [n for n in ("source_volume_id", "snapshot_id", "image_id") if getattr(request, n)]
    if len(given) > 1:
        raise errors.Invalid("Only one of snapshot_id, source_volid and imageRef may be given.", field=given[1])
    snapshot = _snapshot(tx, actor, request.snapshot_id) if request.snapshot_id else None
    origin = request.source_volume_id or (snapshot.volume_id if snapshot is not None else "")
    source = _source(tx, actor, origin, idle=snapshot is None) if origin else None
    image = _image(tx, actor, request.image_id) if request.image_id else None
    held = snapshot.size if snapshot is not None else source.size if source is not None else 0
    size = request.size or held
    if size < 1:
        raise errors.Invalid("Volume size must be an integer and greater than 0.", field="size")
    if size < held:
        what = "snapshot" if snapshot is not None else "source volume"
        raise errors.Invalid(f"Volume size '{size}'GB cannot be smaller than the {what} size {held}GB.", field="size")
    if image is not None and size < max(image.min_disk, -(-(image.virtual_size or image.size or 0) // GIB)):
        least = max(image.min_disk, -(-(image.virtual_size or image.size or 0) // GIB))
        raise errors.Invalid(f"Size of specified image {least}GB is larger than volume size {size}GB.", field="size")
    if request.type:
        kind = volume_types.named(tx, actor, request.type)
    elif source is not None and source.type_id:
        kind = tx.get(VolumeType, source.type_id)
    else:
        kind = volume_types.default_of(tx)
    volume = Volume(
        id=new_id(),
        project_id=actor.project_id,
        user_id=actor.user_id,
        size=size,
        name=request.name,
        description=request.description,
        type_id=kind.id,
        zone=request.zone or (source.zone if source is not None else "nova"),
        bootable=image is not None or (source is not None and source.bootable),
        multiattach=_true(kind.extra_specs.get("multiattach", "")),
        source_volume_id=request.source_volume_id,
        snapshot_id=request.snapshot_id,
        image_id=request.image_id,
        metadata=dict(request.metadata),
        image_metadata=_image_metadata(image) if image is not None else dict(source.image_metadata) if source else {},
    )
    _check_size(tx, actor.project_id, size)
    quota.use(tx, actor.project_id, quota_of(tx, volume))
    job = _submit(tx, volume, "volume.create", Create(ratio=ratio), COPY)
    return tx.add(replace(volume, job_id=job))


def _check_size(tx: Tx, project_id: str, size: int) -> None:
    """Raises Invalid for one volume of more than the project may have in one (Cinder's per_volume_gigabytes)."""
    most = quota.limits(tx, project_id, ("per_volume_gigabytes",))["per_volume_gigabytes"]
    if 0 <= most < size:
        raise errors.Invalid(
            f"Requested volume size {size}G is larger than maximum allowed limit {most}G.", field="size"
        )


def _true(spec: str) -> bool:
    return spec.removeprefix("<is>").strip().lower() == "true"


def _submit(tx: Tx, volume: Volume, kind: str, args: Any, deadline: float, *, after: str = "") -> str:
    job = submit(tx, kind, resource="volume", resource_id=volume.id, args=args, project_id=volume.project_id,
                 deadline=deadline, after=after)  # fmt: skip
    return job.id


def _source(tx: Tx, actor: Actor, volume_id: str, *, idle: bool) -> Volume:
    found = tx.find(Volume, volume_id)
    if found is None or (found.project_id != actor.project_id and not actor.is_admin):
        raise errors.Missing(f"Volume {volume_id} could not be found.", field="source_volid")
    if idle and found.state is not VolumeState.AVAILABLE:
        raise errors.Invalid(
            f"Invalid volume: Source volume {volume_id} is {found.state}, and must be available.", field="source_volid"
        )
    return found


def _snapshot(tx: Tx, actor: Actor, snapshot_id: str) -> VolumeSnapshot:
    found = tx.find(VolumeSnapshot, snapshot_id)
    if found is None or (found.project_id != actor.project_id and not actor.is_admin):
        raise errors.Missing(f"Snapshot {snapshot_id} could not be found.", field="snapshot_id")
    if found.state is not SnapshotState.AVAILABLE:
        raise errors.Invalid(
            f"Invalid snapshot: Originating snapshot status must be one of 'available' values, is '{found.state}'.",
            field="snapshot_id",
        )
    return found


def _image(tx: Tx, actor: Actor, image_id: str) -> Image:
    found = tx.find(Image, image_id)
    if found is None or not (
        actor.is_admin or found.owner == actor.project_id or found.visibility in ("public", "community")
    ):
        raise errors.Invalid("Invalid image identifier or unable to access requested image.", field="imageRef")
    if found.state is not ImageState.ACTIVE:
        raise errors.Invalid(f"Image {image_id} is not active.", field="imageRef")
    return found


def _image_metadata(image: Image) -> dict[str, str]:
    """What a bootable volume keeps of its image (Cinder: volume_image_metadata)."""
    return {
        **image.properties,
        "image_id": image.id,
        "image_name": image.name or "",
        "checksum": image.checksum or "",
        "container_format": image.container_format or "",
        "disk_format": image.disk_format or "",
        "min_disk": str(image.min_disk),
        "min_ram": str(image.min_ram),
        "size": str(image.size or 0),
    }


def update(tx: Tx, volume: Volume, changes: Mapping[str, Any]) -> Volume:
    return tx.change(volume, **changes) if changes else volume


def delete(tx: Tx, volume: Volume, *, force: bool = False) -> Volume:
    """Raises Invalid for one in use, at work or with snapshots."""
    event = "force_delete" if force else "delete"
    if not VOLUME_TABLE.allows(volume.state, event):
        raise errors.Invalid(
            "Invalid volume: Volume status must be available or error or error_restoring or error_extending or "
            f"error_managing and must not be migrating, attached, belong to a group, have snapshots, awaiting a "
            f"transfer, or be disassociated from snapshots after volume transfer; it is {volume.state}.",
        )
    if tx.first(VolumeSnapshot, volume_id=volume.id) is not None:
        raise errors.Invalid(
            f"Invalid volume: Volume {volume.id} still has snapshots.", hint="Delete them, or delete with cascade."
        )
    after = ""
    for job in active_for(tx, volume.id):
        cancel(tx, job.id)
        after = job.id
    job_id = _submit(tx, volume, "volume.delete", Nothing(), QUICK, after=after)
    return tx.change(volume, state=VOLUME_TABLE.next(volume.state, event), job_id=job_id)


def extend(tx: Tx, volume: Volume, size: int, *, ratio: float) -> Volume:
    """Raises Invalid for a size that is not larger, or one at work; QuotaExceeded, Conflict for a pool without room."""
    if volume.state is not VolumeState.AVAILABLE:
        raise errors.Invalid(f"Invalid volume: Volume {volume.id} is {volume.state}, and must be available.")
    if size <= volume.size:
        raise errors.Invalid(
            f"Invalid input received: New size for extend must be greater than current size. (current: {volume.size}, "
            f"extended: {size}).", field="new_size"
        )  # fmt: skip
    _check_size(tx, volume.project_id, size)
    more = size - volume.size
    quota.use(tx, volume.project_id, {n: more for n in quota_of(tx, volume) if n.startswith("gigabytes")})
    volume_pools.promise(tx, volume.pool, more, ratio)
    job = _submit(tx, volume, "volume.extend", Extend(size=size, before=volume.size), QUICK)
    return tx.change(volume, state=VOLUME_TABLE.next(volume.state, "extend"), job_id=job)


def revert(tx: Tx, volume: Volume, snapshot: VolumeSnapshot) -> Volume:
    """Raises Invalid for a snapshot that is not the last one of the volume, or a volume at work."""
    t = REGISTRY[VolumeSnapshot].table
    last = tx.select(VolumeSnapshot, volume_id=volume.id, order=[t.c.seq.desc()], limit=1)
    if not last or last[0].id != snapshot.id:
        raise errors.Invalid(
            f"Invalid snapshot: Volume {volume.id} can only be reverted to its latest snapshot.", field="snapshot_id"
        )
    if volume.state is not VolumeState.AVAILABLE:
        raise errors.Invalid(f"Invalid volume: Volume {volume.id} is {volume.state}, and must be available.")
    job = _submit(tx, volume, "volume.revert", Revert(snapshot_id=snapshot.id), 2 * QUICK)
    return tx.change(volume, state=VOLUME_TABLE.next(volume.state, "revert"), job_id=job)


def reset(tx: Tx, volume: Volume, state: VolumeState) -> Volume:
    """What an administrator says it is. Raises Conflict for one that is deleted."""
    return tx.change(volume, state=VOLUME_TABLE.next(volume.state, f"reset_{state}"))
