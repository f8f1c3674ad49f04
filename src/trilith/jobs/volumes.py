"""The jobs of volumes and their snapshots: each ends with the record as the storage is."""

from __future__ import annotations

from typing import Any

from trilith import errors
from trilith.agent.volumes import CreateVolumeArgs, Done, VolumeArgs
from trilith.commands import quota, volume_pools, volume_snapshots, volumes
from trilith.jobs import server_plan
from trilith.jobs.kind import Context, Kind, Step
from trilith.jobs.server_steps import call
from trilith.jobs.services import Services
from trilith.jobs.volume_arguments import Create, Extend, Nothing, Revert
from trilith.model.image import Image
from trilith.model.job import Job, JobError
from trilith.model.volume import (
    SNAPSHOT_TABLE,
    VOLUME_TABLE,
    Volume,
    VolumePool,
    VolumeSnapshot,
    VolumeType,
)
from trilith.placement.pools import VolumeDemand, choose_pool
from trilith.store.tx import Tx

#: seconds for what copies data, and for what does not
COPY, QUICK = 6 * 3600.0, 300.0


# ---- volumes


def _place_rows(tx: Tx, job: Job, args: Create, _services: Services) -> list[str]:
    """The pool, claimed. Raises NoValidHost, Conflict."""
    volume = tx.get(Volume, job.resource_id)
    if volume.pool:
        return []
    kind = tx.find(VolumeType, volume.type_id) if volume.type_id else None
    source = volume.source_volume_id or (
        tx.get(VolumeSnapshot, volume.snapshot_id).volume_id if volume.snapshot_id else ""
    )
    demand = VolumeDemand(
        size=volume.size,
        zone=volume.zone,
        pool=tx.get(Volume, source).pool if source else "",
        specs=kind.extra_specs if kind is not None else {},
    )
    decision = choose_pool(demand, volume_pools.candidates(tx, args.ratio))
    volume_pools.promise(tx, decision.pool, volume.size, args.ratio)
    tx.change(volume, pool=decision.pool, reason=decision.reason)
    return [decision.reason, *(f"{pool}: {why}" for pool, why in decision.passed_over.items())]


async def _place(context: Context[Create]) -> None:
    for note in await context.store.write(lambda tx: _place_rows(tx, context.job, context.args, context.services)):
        context.note(note)


def _unplace_rows(tx: Tx, volume_id: str) -> None:
    volume = tx.find(Volume, volume_id)
    if volume is not None and volume.pool:
        volume_pools.give_back(tx, volume)
        tx.change(volume, pool="")


async def _unplace(context: Context[Create]) -> None:
    await context.store.write(lambda tx: _unplace_rows(tx, context.job.resource_id))


async def _where(context: Context[Any]) -> tuple[Volume, str]:
    """The volume of the job, and the node of its pool. Raises Missing."""

    def read(reader: Any) -> tuple[Volume, str]:
        volume = reader.get(Volume, context.job.resource_id)
        pool = reader.find(VolumePool, volume.pool) if volume.pool else None
        return volume, pool.node if pool is not None else ""

    return await context.store.read(read)


async def _make(context: Context[Create]) -> None:
    volume, node = await _where(context)

    def source(reader: Any) -> tuple[str, Any]:
        snapshot = reader.get(VolumeSnapshot, volume.snapshot_id) if volume.snapshot_id else None
        image = reader.get(Image, volume.image_id) if volume.image_id else None
        blob = (
            server_plan.blob(context.services, image.sha256, image.disk_format, image.properties)
            if image is not None else None
        )  # fmt: skip
        return (snapshot.volume_id if snapshot is not None else volume.source_volume_id), blob

    origin, blob = await context.store.read(source)
    args = CreateVolumeArgs(
        pool=volume_pools.name_on_node(volume.pool),
        volume_id=volume.id,
        size=volume.size,
        source_volume_id=origin,
        snapshot_id=volume.snapshot_id,
        blob=blob,
    )
    await call(context, node, "volume.create", args, Done, timeout=COPY)


async def _remove(context: Context[Any]) -> None:
    """Of a volume that has a place: one that never had leaves nothing."""
    volume, node = await _where(context)
    if node:
        args = VolumeArgs(volume_pools.name_on_node(volume.pool), volume.id)
        await call(context, node, "volume.delete", args, Done, timeout=QUICK)


def _move(tx: Tx, job: Job, event: str, **changes: Any) -> Volume | None:
    """The job's volume, moved, if the job still owns it."""
    volume = tx.find(Volume, job.resource_id)
    if volume is None or volume.job_id != job.id:
        return None
    return tx.change(volume, state=VOLUME_TABLE.next(volume.state, event), **changes)


def _made(tx: Tx, job: Job, _args: Any) -> None:
    _move(tx, job, "made", message="")


def _failed(tx: Tx, job: Job, _args: Any, error: JobError) -> None:
    """The volume says what went wrong; what it counts for is given back when it is deleted."""
    _move(tx, job, "fail", message=error.message)


def _deleted(tx: Tx, job: Job, _args: Any) -> None:
    volume = tx.find(Volume, job.resource_id)
    if volume is None or volume.job_id != job.id:
        return
    volume_pools.give_back(tx, volume)
    quota.free(tx, volume.project_id, volumes.quota_of(tx, volume))
    tx.change(volume, state=VOLUME_TABLE.next(volume.state, "deleted"), deleted_at=tx.now)


CREATE = Kind(
    name="volume.create",
    args=Create,
    steps=(
        Step("place", _place, undo=_unplace, timeout=30, rows=_place_rows),
        Step("make", _make, undo=_remove, timeout=COPY, on_node=True),
    ),
    finish=_made,
    fail=_failed,
    deadline=COPY,
    summary="make a volume",
)

DELETE = Kind(
    name="volume.delete",
    args=Nothing,
    steps=(Step("remove", _remove, timeout=QUICK, on_node=True),),
    finish=_deleted,
    fail=_failed,
    deadline=2 * QUICK,
    cancellable=False,
    summary="delete a volume",
)


async def _grow(context: Context[Extend]) -> None:
    volume, node = await _where(context)
    args = VolumeArgs(volume_pools.name_on_node(volume.pool), volume.id, size=context.args.size)
    await call(context, node, "volume.extend", args, Done, timeout=QUICK)


def _extended(tx: Tx, job: Job, args: Extend) -> None:
    _move(tx, job, "extended", size=args.size, message="")


def _not_extended(tx: Tx, job: Job, args: Extend, error: JobError) -> None:
    """It keeps its size, and what was counted for more is given back."""
    volume = _move(tx, job, "fail", message=error.message)
    if volume is not None:
        more = args.size - args.before
        volume_pools.promise(tx, volume.pool, -more, 1.0)
        counted = volumes.quota_of(tx, volume)
        quota.free(tx, volume.project_id, {name: more for name in counted if name.startswith("gigabytes")})


EXTEND = Kind(
    name="volume.extend",
    args=Extend,
    steps=(Step("grow", _grow, timeout=QUICK, on_node=True),),
    finish=_extended,
    fail=_not_extended,
    deadline=2 * QUICK,
    summary="grow a volume",
)


async def _put_back(context: Context[Revert]) -> None:
    volume, node = await _where(context)
    args = VolumeArgs(volume_pools.name_on_node(volume.pool), volume.id, snapshot_id=context.args.snapshot_id)
    await call(context, node, "volume.revert", args, Done, timeout=QUICK)
    if (snapshot := await context.store.read(lambda r: r.find(VolumeSnapshot, args.snapshot_id))) is None:
        raise errors.Missing(f"Snapshot {args.snapshot_id} could not be found.")
    if snapshot.size < volume.size:  # as in Cinder, the volume keeps its size
        grown = VolumeArgs(args.pool, volume.id, size=volume.size)
        await call(context, node, "volume.extend", grown, Done, timeout=QUICK)


def _reverted(tx: Tx, job: Job, _args: Revert) -> None:
    _move(tx, job, "reverted", message="")


REVERT = Kind(
    name="volume.revert",
    args=Revert,
    steps=(Step("revert", _put_back, timeout=2 * QUICK, on_node=True),),
    finish=_reverted,
    fail=_failed,
    deadline=3 * QUICK,
    summary="put a volume back to its last snapshot",
)


# ---- snapshots


async def _of(context: Context[Any], name: str) -> None:
    def read(reader: Any) -> tuple[VolumeSnapshot, Volume, str]:
        snapshot = reader.get(VolumeSnapshot, context.job.resource_id)
        volume = reader.get(Volume, snapshot.volume_id)
        pool = reader.get(VolumePool, volume.pool)
        return snapshot, volume, pool.node

    snapshot, volume, node = await context.store.read(read)
    args = VolumeArgs(volume_pools.name_on_node(volume.pool), volume.id, snapshot_id=snapshot.id)
    await call(context, node, name, args, Done, timeout=QUICK)


async def _keep(context: Context[Nothing]) -> None:
    await _of(context, "volume.snapshot")


async def _let_go(context: Context[Nothing]) -> None:
    await _of(context, "volume.delete_snapshot")


def _move_snapshot(tx: Tx, job: Job, event: str, **changes: Any) -> VolumeSnapshot | None:
    snapshot = tx.find(VolumeSnapshot, job.resource_id)
    if snapshot is None or snapshot.job_id != job.id:
        return None
    return tx.change(snapshot, state=SNAPSHOT_TABLE.next(snapshot.state, event), **changes)


def _kept(tx: Tx, job: Job, _args: Any) -> None:
    _move_snapshot(tx, job, "made", progress=100, message="")


def _snapshot_failed(tx: Tx, job: Job, _args: Any, error: JobError) -> None:
    _move_snapshot(tx, job, "fail", message=error.message)


def _snapshot_deleted(tx: Tx, job: Job, _args: Any) -> None:
    snapshot = _move_snapshot(tx, job, "deleted", deleted_at=tx.now)
    if snapshot is not None:
        quota.free(tx, snapshot.project_id, volume_snapshots.quota_of(snapshot))


SNAPSHOT = Kind(
    name="volume_snapshot.create",
    args=Nothing,
    steps=(Step("keep", _keep, undo=_let_go, timeout=QUICK, on_node=True),),
    finish=_kept,
    fail=_snapshot_failed,
    deadline=2 * QUICK,
    summary="keep a volume as it is",
)

DELETE_SNAPSHOT = Kind(
    name="volume_snapshot.delete",
    args=Nothing,
    steps=(Step("let_go", _let_go, timeout=COPY, on_node=True),),
    finish=_snapshot_deleted,
    fail=_snapshot_failed,
    deadline=COPY,
    cancellable=False,
    summary="delete a snapshot of a volume",
)

VOLUME_KINDS = (CREATE, DELETE, EXTEND, REVERT, SNAPSHOT, DELETE_SNAPSHOT)
