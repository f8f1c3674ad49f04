"""/snapshots of volumes."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.volume import metadata
from trilith.api.volume.microversions import has
from trilith.api.volume.wire import (
    Flag,
    Link,
    Metadata,
    Name,
    Text,
    changed,
    decode_metadata,
    everyone,
    more_links,
    page,
    when,
    when_or_none,
)
from trilith.commands import volume_snapshots as commands
from trilith.commands import volumes
from trilith.model.volume import SnapshotState, VolumeSnapshot
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx

SORT = {
    "created_at": "created_at", "updated_at": "updated_at", "id": "id", "name": "name", "display_name": "name",
    "volume_id": "volume_id", "volume_size": "size", "size": "size", "status": "state", "user_id": "user_id",
    "project_id": "project_id", "progress": "progress",
}  # fmt: skip
FILTERS = ("name", "status", "volume_id", "metadata", "id", "project_id", "user_id")
LIST_QUERY = (*FILTERS, "all_tenants", "limit", "offset", "marker", "sort", "sort_key", "sort_dir", "with_count")


class SnapshotView(msgspec.Struct, kw_only=True):
    id: str
    name: str
    description: str | None
    volume_id: str
    status: str
    size: int
    created_at: str
    updated_at: str | None
    metadata: dict[str, str]
    progress: str | UnsetType = msgspec.field(name="os-extended-snapshot-attributes:progress", default=UNSET)
    project: str | UnsetType = msgspec.field(name="os-extended-snapshot-attributes:project_id", default=UNSET)
    group_snapshot_id: str | UnsetType | None = UNSET
    user_id: str | UnsetType = UNSET
    consumes_quota: bool | UnsetType = UNSET


class SnapshotOne(msgspec.Struct):
    snapshot: SnapshotView


class SnapshotList(msgspec.Struct):
    snapshots: list[SnapshotView]
    snapshots_links: list[Link] | UnsetType = UNSET
    count: int | UnsetType = UNSET


class NewSnapshot(msgspec.Struct, kw_only=True):
    """force: since snapshots of volumes in use are not asked for apart (3.66), it says nothing."""

    volume_id: Name
    name: Name | None = None
    display_name: Name | None = None
    description: Text | None = None
    display_description: Text | None = None
    force: Flag | UnsetType = UNSET
    metadata: Metadata | None = None


class Create(msgspec.Struct):
    snapshot: NewSnapshot


class ChangedSnapshot(msgspec.Struct, kw_only=True):
    name: Name | UnsetType | None = UNSET
    display_name: Name | UnsetType | None = UNSET
    description: Text | UnsetType | None = UNSET
    display_description: Text | UnsetType | None = UNSET


class Update(msgspec.Struct):
    snapshot: ChangedSnapshot


def view(call: Call, snapshot: VolumeSnapshot, *, detail: bool) -> SnapshotView:
    version = call.version
    made = SnapshotView(
        id=snapshot.id,
        name=snapshot.name,
        description=snapshot.description,
        volume_id=snapshot.volume_id,
        status=snapshot.state.value,
        size=snapshot.size,
        created_at=when(snapshot.created_at),
        updated_at=when_or_none(snapshot.updated_at),
        metadata=dict(snapshot.metadata),
    )
    if detail:
        made.progress, made.project = f"{snapshot.progress}%", snapshot.project_id
    if has(version, "group_snapshot_id") and detail:
        made.group_snapshot_id = None
    if has(version, "snapshot_user"):
        made.user_id = snapshot.user_id
    if has(version, "consumes_quota"):
        made.consumes_quota = True
    return made


def one(call: Call, reader: Reader, rule: str = "volume:get_snapshot") -> VolumeSnapshot:
    """The snapshot of the path. Raises Missing, for one that the caller may not see, too; Forbidden."""
    found = commands.get(reader, call.params["id"])
    if not call.can("volume:get_snapshot", project_id=found.project_id):
        raise errors.Missing(f"Snapshot {found.id} could not be found.")
    call.allow(rule, project_id=found.project_id)
    return found


async def _list(call: Call, *, detail: bool) -> SnapshotList:
    call.allow("volume:get_all_snapshots")
    t = REGISTRY[VolumeSnapshot].table.c
    clauses: list[sa.ColumnElement[bool]] = []
    if not everyone(call):
        clauses.append(t.project_id == call.actor.project_id)
    elif project := call.one("project_id"):
        clauses.append(t.project_id == project)
    plain = {"name": t.name, "status": t.state, "volume_id": t.volume_id, "id": t.id, "user_id": t.user_id}
    clauses += [column == value for name, column in plain.items() if (value := call.one(name))]
    if text := call.one("metadata"):
        for key, value in decode_metadata(text).items():
            pair = msgspec.json.encode({key: value}).decode()[1:-1]
            clauses.append(sa.cast(t.metadata, sa.Text).contains(pair, autoescape=True))
    count = has(call.version, "with_count") and call.flag("with_count")

    def read(reader: Reader) -> SnapshotList:
        made = page(reader, call, VolumeSnapshot, clauses, SORT, count=count)
        rows = [view(call, s, detail=detail) for s in made.rows]
        found = SnapshotList(rows, more_links(call, "snapshots/detail" if detail else "snapshots", made))
        if made.count is not None:
            found.count = made.count
        return found

    return await call.read(read)


async def index(call: Call) -> SnapshotList:
    """200; 400."""
    return await _list(call, detail=False)


async def detail(call: Call) -> SnapshotList:
    """200; 400."""
    return await _list(call, detail=True)


async def show(call: Call) -> SnapshotOne:
    """200; 404."""
    return SnapshotOne(view(call, await call.read(lambda r: one(call, r)), detail=True))


async def create(call: Call) -> SnapshotOne:
    """202; 400 for a volume at work; 404; 413 over the quota."""
    new: NewSnapshot = call.body.snapshot

    def body(tx: Tx) -> VolumeSnapshot:
        volume = volumes.get(tx, new.volume_id)
        if not call.can("volume:get", project_id=volume.project_id):
            raise errors.Missing(f"Volume {volume.id} could not be found.")
        call.allow("volume:create_snapshot", project_id=volume.project_id)
        about = new.description if new.description is not None else new.display_description
        return commands.create(
            tx,
            call.actor,
            volume,
            name=(new.name or new.display_name or "").strip(),
            description=about,
            metadata=new.metadata or {},
        )

    return SnapshotOne(view(call, await call.write(body, "volume_snapshot.create"), detail=False))


async def update(call: Call) -> SnapshotOne:
    """200; 400; 403; 404."""
    new: ChangedSnapshot = call.body.snapshot
    name = new.display_name if new.name is UNSET else new.name
    about = new.display_description if new.description is UNSET else new.description
    wanted = changed(name=(name or "").strip() if name is not UNSET else UNSET, description=about)
    if not wanted:
        raise errors.Invalid("At least one of name and description must be given.")
    found = await call.write(
        lambda tx: commands.update(tx, one(call, tx, "volume:update_snapshot"), wanted), "volume_snapshot.update"
    )
    return SnapshotOne(view(call, found, detail=False))


async def delete(call: Call) -> Answer:
    """202; 400 for one at work; 403; 404."""
    await call.write(lambda tx: commands.delete(tx, one(call, tx, "volume:delete_snapshot")), "volume_snapshot.delete")
    return Answer(status=202)


class Reset(msgspec.Struct):
    status: Name


class Action(msgspec.Struct, rename={"reset": "os-reset_status", "force_delete": "os-force_delete"}):
    reset: Reset | UnsetType = UNSET
    force_delete: dict[str, Any] | UnsetType | None = UNSET


async def action(call: Call) -> Answer:
    """202; 400; 403; 404."""
    wanted: Action = call.body
    if isinstance(wanted.reset, Reset):
        name = wanted.reset.status.lower()
        if name not in tuple(SnapshotState) or name == SnapshotState.DELETED:
            raise errors.Invalid(f"Must specify a valid status, not {name!r}.", field="status")
        rule = "volume_extension:snapshot_admin_actions:reset_status"
        await call.write(
            lambda tx: commands.reset(tx, one(call, tx, rule), SnapshotState(name)), "volume_snapshot.reset_status"
        )
    elif wanted.force_delete is not UNSET:
        rule = "volume_extension:snapshot_admin_actions:force_delete"
        await call.write(
            lambda tx: commands.delete(tx, one(call, tx, rule), force=True), "volume_snapshot.force_delete"
        )
    else:
        raise errors.Invalid("There is no such action.", hint="os-reset_status and os-force_delete there are.")
    return Answer(status=202)


METADATA = metadata.Of("volume_snapshot", one, commands.update, "volume:{verb}_snapshot_metadata")
