"""/volumes: what they are, and what can be done to them."""

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
    Number,
    Text,
    changed,
    decode_metadata,
    everyone,
    flag,
    links,
    more_links,
    number,
    page,
    when,
    when_or_none,
)
from trilith.commands import volume_snapshots
from trilith.commands import volumes as commands
from trilith.commands.volumes import VolumeRequest
from trilith.model.node import Node
from trilith.model.volume import Volume, VolumePool, VolumeSnapshot, VolumeState, VolumeType
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx

SORT = {
    "created_at": "created_at", "updated_at": "updated_at", "id": "id", "name": "name", "display_name": "name",
    "size": "size", "status": "state", "bootable": "bootable", "availability_zone": "zone", "user_id": "user_id",
    "project_id": "project_id", "host": "pool",
}  # fmt: skip
FILTERS = (
    "name", "status", "metadata", "bootable", "availability_zone", "size", "id", "volume_type_id", "multiattach",
    "project_id", "user_id", "snapshot_id", "source_volid", "created_at", "updated_at",
)  # fmt: skip
LIST_QUERY = (*FILTERS, "all_tenants", "limit", "offset", "marker", "sort", "sort_key", "sort_dir", "with_count")


class VolumeBrief(msgspec.Struct, kw_only=True):
    id: str
    name: str
    links: list[Link]


class VolumeView(VolumeBrief, kw_only=True):
    status: str
    size: int
    availability_zone: str
    created_at: str
    updated_at: str | None
    description: str | None
    volume_type: str | None
    user_id: str
    bootable: str
    encrypted: bool = False
    multiattach: bool
    snapshot_id: str | None
    source_volid: str | None
    consistencygroup_id: str | None = None
    replication_status: str | None = None
    migration_status: str | None = None
    metadata: dict[str, str]
    attachments: list[Any] = []
    tenant: str | UnsetType = msgspec.field(name="os-vol-tenant-attr:tenant_id", default=UNSET)
    image_metadata: dict[str, str] | UnsetType = msgspec.field(name="volume_image_metadata", default=UNSET)
    host: str | UnsetType | None = msgspec.field(name="os-vol-host-attr:host", default=UNSET)
    migrating: str | UnsetType | None = msgspec.field(name="os-vol-mig-status-attr:migstat", default=UNSET)
    name_id: str | UnsetType | None = msgspec.field(name="os-vol-mig-status-attr:name_id", default=UNSET)
    group_id: str | UnsetType | None = UNSET
    provider_id: str | UnsetType | None = UNSET
    shared_targets: bool | UnsetType | None = UNSET
    service_uuid: str | UnsetType | None = UNSET
    cluster_name: str | UnsetType | None = UNSET
    volume_type_id: str | UnsetType | None = UNSET
    consumes_quota: bool | UnsetType = UNSET


class VolumeOne(msgspec.Struct):
    volume: VolumeView


class VolumeList(msgspec.Struct):
    volumes: list[VolumeView]
    volumes_links: list[Link] | UnsetType = UNSET
    count: int | UnsetType = UNSET


class VolumeBriefs(msgspec.Struct):
    volumes: list[VolumeBrief]
    volumes_links: list[Link] | UnsetType = UNSET
    count: int | UnsetType = UNSET


class NewVolume(msgspec.Struct, kw_only=True):
    size: Number | None = None
    name: Name | None = None
    display_name: Name | None = None
    description: Text | None = None
    display_description: Text | None = None
    volume_type: Name | None = None
    availability_zone: Name | None = None
    snapshot_id: Name | None = None
    source_volid: Name | None = None
    imageRef: Name | None = None
    image_id: Name | None = None
    metadata: Metadata | None = None
    multiattach: Flag | UnsetType = UNSET
    consistencygroup_id: Name | None = None
    group_id: Name | None = None
    backup_id: Name | None = None


class Create(msgspec.Struct):
    volume: NewVolume


class ChangedVolume(msgspec.Struct, kw_only=True):
    name: Name | UnsetType | None = UNSET
    display_name: Name | UnsetType | None = UNSET
    description: Text | UnsetType | None = UNSET
    display_description: Text | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET


class Update(msgspec.Struct):
    volume: ChangedVolume


def views(call: Call, reader: Reader, rows: list[Volume], *, whole: bool = True) -> list[VolumeView]:
    """Three reads, whatever their number. whole: with what Cinder leaves out of the answers to POST and PUT."""
    types = {k.id: k for k in reader.select(VolumeType, id=sorted({v.type_id for v in rows}))}
    nodes = {p.id: p.node for p in reader.select(VolumePool, id=sorted({v.pool for v in rows if v.pool}))}
    services = {n.name: n.id for n in reader.select(Node, name=sorted(set(nodes.values())))}
    return [_view(call, v, types.get(v.type_id), services.get(nodes.get(v.pool, ""), ""), whole=whole) for v in rows]


def _view(call: Call, volume: Volume, kind: VolumeType | None, service: str, *, whole: bool) -> VolumeView:
    version = call.version
    made = VolumeView(
        id=volume.id,
        name=volume.name,
        links=links(call, "volumes", volume.id),
        status=volume.state.value,
        size=volume.size,
        availability_zone=volume.zone,
        created_at=when(volume.created_at),
        updated_at=when_or_none(volume.updated_at),
        description=volume.description,
        volume_type=kind.name if kind is not None else None,
        user_id=volume.user_id,
        bootable=str(volume.bootable).lower(),
        multiattach=volume.multiattach,
        snapshot_id=volume.snapshot_id or None,
        source_volid=volume.source_volume_id or None,
        metadata=dict(volume.metadata),
    )
    if not whole:
        return made
    made.tenant = volume.project_id
    if volume.image_metadata:
        made.image_metadata = dict(volume.image_metadata)
    admin = call.can("volume_extension:volume_host_attribute")
    if admin:
        made.host, made.migrating, made.name_id = volume.pool or None, None, None
    if has(version, "group_id"):
        made.group_id = None
    if has(version, "provider_id") and admin:
        made.provider_id = None
    if has(version, "shared_targets"):
        made.shared_targets, made.service_uuid = False, service or None
    if has(version, "cluster_name") and admin:
        made.cluster_name = None
    if has(version, "type_id"):
        made.volume_type_id = volume.type_id or None
    if has(version, "consumes_quota"):
        made.consumes_quota = True
    return made


def one(call: Call, reader: Reader, rule: str = "volume:get") -> Volume:
    """The volume of the path. Raises Missing, for one that the caller may not see, too; Forbidden."""
    found = commands.get(reader, call.params["id"])
    if not call.can("volume:get", project_id=found.project_id):
        raise errors.Missing(f"Volume {found.id} could not be found.")
    call.allow(rule, project_id=found.project_id)
    return found


def _clauses(call: Call) -> list[sa.ColumnElement[bool]]:
    t = REGISTRY[Volume].table.c
    clauses: list[sa.ColumnElement[bool]] = []
    if not everyone(call):
        clauses.append(t.project_id == call.actor.project_id)
    elif project := call.one("project_id"):
        clauses.append(t.project_id == project)
    plain = {"name": t.name, "status": t.state, "availability_zone": t.zone, "id": t.id, "user_id": t.user_id,
             "volume_type_id": t.type_id, "snapshot_id": t.snapshot_id, "source_volid": t.source_volume_id}  # fmt: skip
    for name, column in plain.items():
        if value := call.one(name):
            clauses.append(column.in_([v for v in value.split(",") if v]) if name == "status" else column == value)
    if call.one("size"):
        clauses.append(t.size == call.number("size", 0))
    for name, column in (("bootable", t.bootable), ("multiattach", t.multiattach)):
        if call.one(name):
            clauses.append(column == call.flag(name))
    return clauses


def _has_metadata(call: Call) -> dict[str, str]:
    text = call.one("metadata")
    return decode_metadata(text) if text else {}


async def _list(call: Call, *, detail: bool) -> VolumeList | VolumeBriefs:
    call.allow("volume:get_all")
    wanted = _has_metadata(call)
    clauses = _clauses(call)
    count = has(call.version, "with_count") and call.flag("with_count")
    if wanted:
        t = REGISTRY[Volume].table.c
        # the column is JSON text with sorted keys or not: each pair is looked for as it is written
        for key, value in wanted.items():
            pair = msgspec.json.encode({key: value}).decode()[1:-1]
            clauses.append(sa.cast(t.metadata, sa.Text).contains(pair, autoescape=True))

    def read(reader: Reader) -> VolumeList | VolumeBriefs:
        made = page(reader, call, Volume, clauses, SORT, count=count)
        path = "volumes/detail" if detail else "volumes"
        found: VolumeList | VolumeBriefs
        if detail:
            found = VolumeList(views(call, reader, made.rows), more_links(call, path, made))
        else:
            briefs = [VolumeBrief(id=v.id, name=v.name, links=links(call, "volumes", v.id)) for v in made.rows]
            found = VolumeBriefs(briefs, more_links(call, path, made))
        if made.count is not None:
            found.count = made.count
        return found

    return await call.read(read)


async def index(call: Call) -> Any:
    """200; 400."""
    return await _list(call, detail=False)


async def detail(call: Call) -> Any:
    """200; 400."""
    return await _list(call, detail=True)


async def show(call: Call) -> VolumeOne:
    """200; 404."""
    return VolumeOne(await call.read(lambda r: views(call, r, [one(call, r)])[0]))


async def create(call: Call) -> VolumeOne:
    """202; 400; 404 for a source that is not there; 413 over the quota."""
    new: NewVolume = call.body.volume
    call.allow("volume:create")
    for name in ("consistencygroup_id", "group_id", "backup_id"):
        if getattr(new, name):
            raise errors.Invalid(f"There are no volumes by {name} here yet.", field=name)
    zone = new.availability_zone or ""
    size = new.size
    if size is None and not (new.snapshot_id or new.source_volid):
        raise errors.Invalid("Invalid input for field/attribute size. It is required.", field="size")
    request = VolumeRequest(
        size=number(size, "size", least=1) if size is not None else 0,
        name=(new.name or new.display_name or "").strip(),
        description=new.description if new.description is not None else new.display_description,
        type=new.volume_type or "",
        zone=zone,
        source_volume_id=new.source_volid or "",
        snapshot_id=new.snapshot_id or "",
        image_id=new.imageRef or new.image_id or "",
        metadata=new.metadata or {},
    )
    ratio = call.host.settings.volume_allocation_ratio

    def body(tx: Tx) -> VolumeView:
        if zone and tx.first(VolumePool, zone=zone) is None:
            raise errors.Invalid(f"Availability zone '{zone}' is invalid.", field="availability_zone")
        return views(call, tx, [commands.create(tx, call.actor, request, ratio=ratio)], whole=False)[0]

    return VolumeOne(await call.write(body, "volume.create"))


async def update(call: Call) -> VolumeOne:
    """200; 400; 403; 404."""
    new: ChangedVolume = call.body.volume
    name = new.display_name if new.name is UNSET else new.name
    about = new.display_description if new.description is UNSET else new.description
    wanted = changed(
        name=(name or "").strip() if name is not UNSET else UNSET,
        description=about,
        metadata=new.metadata if isinstance(new.metadata, dict) else UNSET,
    )
    if not wanted:
        raise errors.Invalid("At least one of name, description and metadata must be given.")

    def body(tx: Tx) -> VolumeView:
        return views(call, tx, [commands.update(tx, one(call, tx, "volume:update"), wanted)], whole=False)[0]

    return VolumeOne(await call.write(body, "volume.update"))


async def delete(call: Call) -> Answer:
    """202; 400 for one in use, at work or with snapshots; 403; 404."""
    cascade, force = call.flag("cascade"), call.flag("force")

    def body(tx: Tx) -> None:
        volume = one(call, tx, "volume:force_delete" if force else "volume:delete")
        if cascade:
            for snapshot in tx.select(VolumeSnapshot, volume_id=volume.id):
                raise errors.Invalid(f"Volume {volume.id} has the snapshot {snapshot.id}: delete it first.")
        commands.delete(tx, volume, force=force)

    await call.write(body, "volume.delete")
    return Answer(status=202)


async def summary(call: Call) -> Any:
    """200: how many there are, and their GiB."""
    call.allow("volume:get_all")
    t = REGISTRY[Volume].table.c
    clauses = [t.deleted_at == 0]
    if not everyone(call):
        clauses.append(t.project_id == call.actor.project_id)
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(t.size), 0)).where(*clauses)
    count, size = await call.read(lambda r: tuple(r.conn.execute(query).one()))
    return {"volume-summary": {"total_count": count, "total_size": int(size)}}


# ---- actions


class Extend(msgspec.Struct):
    new_size: Number


class SetBootable(msgspec.Struct):
    bootable: Flag


class Reset(msgspec.Struct):
    status: Name | UnsetType = UNSET
    attach_status: Name | UnsetType | None = UNSET
    migration_status: Name | UnsetType | None = UNSET


class RevertTo(msgspec.Struct):
    snapshot_id: Name


class Action(
    msgspec.Struct,
    rename={
        "extend": "os-extend", "bootable": "os-set_bootable", "reset": "os-reset_status",
        "force_delete": "os-force_delete",
    },
):  # fmt: skip
    extend: Extend | UnsetType = UNSET
    bootable: SetBootable | UnsetType = UNSET
    reset: Reset | UnsetType = UNSET
    force_delete: dict[str, Any] | UnsetType | None = UNSET
    revert: RevertTo | UnsetType = UNSET


async def action(call: Call) -> Answer:
    """202; 200 for os-set_bootable; 400; 403; 404; 409 for a pool without room; 413 over the quota."""
    wanted: Action = call.body
    ratio = call.host.settings.volume_allocation_ratio
    if isinstance(wanted.extend, Extend):
        size = number(wanted.extend.new_size, "new_size", least=1)
        await call.write(lambda tx: commands.extend(tx, one(call, tx, "volume:extend"), size, ratio=ratio),
                         "volume.extend")  # fmt: skip
    elif isinstance(wanted.bootable, SetBootable):
        bootable = flag(wanted.bootable.bootable, "bootable")
        rule = "volume_extension:volume_actions:set_bootable"
        await call.write(lambda tx: commands.update(tx, one(call, tx, rule), {"bootable": bootable}), "volume.update")
        return Answer(status=200)
    elif isinstance(wanted.reset, Reset):
        await _reset(call, wanted.reset)
    elif wanted.force_delete is not UNSET:
        rule = "volume_extension:volume_admin_actions:force_delete"
        await call.write(lambda tx: commands.delete(tx, one(call, tx, rule), force=True), "volume.force_delete")
    elif isinstance(wanted.revert, RevertTo) and has(call.version, "revert"):
        snapshot_id = wanted.revert.snapshot_id

        def body(tx: Tx) -> None:
            volume = one(call, tx, "volume:revert_to_snapshot")
            snapshot = volume_snapshots.get(tx, snapshot_id)
            if snapshot.volume_id != volume.id:
                raise errors.Invalid(f"Snapshot {snapshot_id} is not of volume {volume.id}.", field="snapshot_id")
            commands.revert(tx, volume, snapshot)

        await call.write(body, "volume.revert")
    else:
        raise errors.Invalid("There is no such action.", hint="See GET /volume/openapi.json.")
    return Answer(status=202)


async def _reset(call: Call, wanted: Reset) -> None:
    if wanted.status is UNSET:
        raise errors.Invalid("Only the status can be reset here.", field="status")
    name = str(wanted.status).lower()
    if name not in tuple(VolumeState) or name == VolumeState.DELETED:
        raise errors.Invalid(f"Must specify a valid status, not {name!r}.", field="status")
    rule = "volume_extension:volume_admin_actions:reset_status"
    await call.write(lambda tx: commands.reset(tx, one(call, tx, rule), VolumeState(name)), "volume.reset_status")


METADATA = metadata.Of("volume", one, commands.update, "volume:{verb}_volume_metadata")
