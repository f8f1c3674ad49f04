"""Snapshots of volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trilith import errors
from trilith.commands import quota
from trilith.jobs.submit import active_for, cancel, submit
from trilith.jobs.volume_arguments import Nothing
from trilith.model.record import Actor
from trilith.model.volume import SNAPSHOT_TABLE, SnapshotState, Volume, VolumeSnapshot, VolumeState
from trilith.store.tx import Reader, Tx, new_id

#: seconds that a job has
DEADLINE = 600.0


def quota_of(snapshot: VolumeSnapshot) -> dict[str, int]:
    return {"snapshots": 1, "gigabytes": snapshot.size}


def get(reader: Reader, snapshot_id: str) -> VolumeSnapshot:
    """Raises Missing."""
    found = reader.find(VolumeSnapshot, snapshot_id)
    if found is None:
        raise errors.Missing(f"Snapshot {snapshot_id} could not be found.")
    return found


def create(
    tx: Tx, actor: Actor, volume: Volume, *, name: str, description: str | None, metadata: Mapping[str, str]
) -> VolumeSnapshot:
    """Raises Invalid for a volume at work or in use, QuotaExceeded."""
    if volume.state is not VolumeState.AVAILABLE:
        raise errors.Invalid(
            f"Invalid volume: Volume {volume.id} status must be available, but current status is: {volume.state}."
        )
    snapshot = VolumeSnapshot(
        id=new_id(),
        project_id=volume.project_id,
        user_id=actor.user_id,
        volume_id=volume.id,
        size=volume.size,
        name=name,
        description=description,
        metadata=dict(metadata),
    )
    quota.use(tx, volume.project_id, quota_of(snapshot))
    snapshot = tx.add(snapshot)
    # a job of the volume's, so that a delete of it finds it
    job = _submit(tx, snapshot, "volume_snapshot.create")
    return tx.change(snapshot, job_id=job)


def _submit(tx: Tx, snapshot: VolumeSnapshot, kind: str, *, after: str = "") -> str:
    job = submit(tx, kind, resource="volume_snapshot", resource_id=snapshot.id, args=Nothing(),
                 project_id=snapshot.project_id, deadline=DEADLINE, after=after)  # fmt: skip
    return job.id


def update(tx: Tx, snapshot: VolumeSnapshot, changes: Mapping[str, Any]) -> VolumeSnapshot:
    return tx.change(snapshot, **changes) if changes else snapshot


def delete(tx: Tx, snapshot: VolumeSnapshot, *, force: bool = False) -> VolumeSnapshot:
    """Raises Invalid for one at work."""
    event = "force_delete" if force else "delete"
    if not SNAPSHOT_TABLE.allows(snapshot.state, event):
        raise errors.Invalid(
            f"Invalid snapshot: Snapshot status must be available or error, but it is {snapshot.state}."
        )
    after = ""
    for job in active_for(tx, snapshot.id):
        cancel(tx, job.id)
        after = job.id
    job_id = _submit(tx, snapshot, "volume_snapshot.delete", after=after)
    return tx.change(snapshot, state=SNAPSHOT_TABLE.next(snapshot.state, event), job_id=job_id)


def reset(tx: Tx, snapshot: VolumeSnapshot, state: SnapshotState) -> VolumeSnapshot:
    """What an administrator says it is. Raises Conflict for one that is deleted."""
    return tx.change(snapshot, state=SNAPSHOT_TABLE.next(snapshot.state, f"reset_{state}"))
