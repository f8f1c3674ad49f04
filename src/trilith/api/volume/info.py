"""Versions, zones, pools, services, limits and quotas of the block storage service."""

from __future__ import annotations

from typing import Any

import msgspec

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.volume.microversions import MICROVERSIONS
from trilith.api.volume.wire import VERSION, when
from trilith.commands import quota
from trilith.model.identity import Project
from trilith.model.node import Node, Quota
from trilith.model.volume import VolumePool, VolumeType
from trilith.store.tx import Reader, Tx, new_id

RESOURCES = ("volumes", "snapshots", "gigabytes", "per_volume_gigabytes", "backups", "backup_gigabytes", "groups")


def _version(call: Call) -> dict[str, Any]:
    return {
        "id": "v3.0",
        "status": "CURRENT",
        "version": str(MICROVERSIONS.maximum),
        "min_version": str(MICROVERSIONS.minimum),
        "updated": "2026-11-23T00:00:00Z",
        "links": [{"rel": "self", "href": call.url(f"{VERSION}/")}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.volume+json;version=3"}],
    }


async def choices(call: Call) -> Any:
    """300: the versions."""
    return {"versions": [_version(call)]}


async def version(call: Call) -> Any:
    """200: v3."""
    return {"versions": [_version(call)]}


async def extensions(call: Call) -> Any:
    """200: what once were extensions; clients look for their aliases."""
    names = {
        "os-availability-zone": "AvailabilityZones", "os-extended-snapshot-attributes": "ExtendedSnapshotAttributes",
        "os-quota-sets": "Quotas", "os-services": "Services", "os-types-extra-specs": "TypesExtraSpecs",
        "os-types-manage": "TypesManage", "os-used-limits": "UsedLimits", "os-volume-actions": "VolumeActions",
        "os-vol-host-attr": "VolumeHostAttribute", "os-vol-tenant-attr": "VolumeTenantAttribute",
        "os-vol-image-meta": "VolumeImageMetadata", "os-vol-mig-status-attr": "VolumeMigStatusAttribute",
        "os-volume-type-access": "VolumeTypeAccess", "scheduler-stats": "Scheduler_stats",
    }  # fmt: skip
    return {
        "extensions": [
            {"name": name, "alias": alias, "description": f"{name} support.", "updated": "2016-01-01T00:00:00+00:00",
             "links": []}
            for alias, name in names.items()
        ]
    }  # fmt: skip


async def zones(call: Call) -> Any:
    """200."""
    call.allow("volume:availability_zone_list")
    pools = await call.read(lambda r: r.select(VolumePool))
    names = sorted({p.zone for p in pools if not p.absent}) or ["nova"]
    return {"availabilityZoneInfo": [{"zoneName": name, "zoneState": {"available": True}} for name in names]}


async def pools(call: Call) -> Any:
    """200; 403. detail=true shows what each can do."""
    detail = call.flag("detail")
    ratio = call.host.settings.volume_allocation_ratio
    found = []
    for pool in sorted(await call.read(lambda r: r.select(VolumePool)), key=lambda p: p.id):
        made: dict[str, Any] = {"name": pool.id}
        if detail:
            thin = "thin" in pool.capabilities
            made["capabilities"] = {
                "volume_backend_name": pool.backend, "pool_name": pool.backend, "storage_protocol": pool.driver,
                "vendor_name": "Trilith", "driver_version": "1", "total_capacity_gb": pool.total,
                "free_capacity_gb": pool.free, "provisioned_capacity_gb": pool.promised,
                "allocated_capacity_gb": pool.promised, "reserved_percentage": 0,
                "max_over_subscription_ratio": str(ratio if thin else 1.0), "thin_provisioning_support": thin,
                "thick_provisioning_support": not thin, "QoS_support": False, "multiattach": False,
                "backend_state": "down" if pool.absent else "up", "timestamp": when(pool.updated_at or pool.created_at),
                **dict.fromkeys(pool.capabilities, True),
            }  # fmt: skip
        found.append(made)
    return {"pools": found}


async def services(call: Call) -> Any:
    """200; 403."""

    def read(reader: Reader) -> list[dict[str, Any]]:
        nodes = {n.name: n for n in reader.select(Node)}
        found = []
        for pool in reader.select(VolumePool):
            node = nodes.get(pool.node)
            up = node is not None and node.alive and not pool.absent
            found.append({
                "binary": "cinder-volume", "host": pool.id.partition("#")[0], "zone": pool.zone,
                "status": "enabled" if pool.enabled else "disabled", "state": "up" if up else "down",
                "updated_at": when(node.alive_at) if node is not None and node.alive_at else None,
                "disabled_reason": None,
            })  # fmt: skip
        binary = {"binary": "cinder-scheduler", "host": "controller", "zone": "nova", "status": "enabled",
                  "state": "up", "updated_at": when(max((n.alive_at for n in nodes.values()), default=0.0)),
                  "disabled_reason": None}  # fmt: skip
        return [binary, *found]

    rows = await call.read(read)
    wanted = {"binary": call.one("binary"), "host": call.one("host")}
    return {"services": [r for r in rows if all(not v or r[k] == v for k, v in wanted.items())]}


def _names(reader: Reader) -> tuple[str, ...]:
    kinds = sorted(k.name for k in reader.select(VolumeType))
    return (*RESOURCES, *(f"{base}_{kind}" for kind in kinds for base in ("volumes", "gigabytes", "snapshots")))


async def limits(call: Call) -> Any:
    """200: what the caller's project may have, and has."""
    project = call.actor.project_id

    def read(reader: Reader) -> tuple[dict[str, int], dict[str, int]]:
        return quota.limits(reader, project, RESOURCES), quota.usage(reader, project, RESOURCES)

    most, used = await call.read(read)
    return {
        "limits": {
            "rate": [],
            "absolute": {
                "maxTotalVolumes": most["volumes"], "maxTotalSnapshots": most["snapshots"],
                "maxTotalVolumeGigabytes": most["gigabytes"], "maxTotalBackups": most["backups"],
                "maxTotalBackupGigabytes": most["backup_gigabytes"],
                "totalVolumesUsed": used["volumes"], "totalSnapshotsUsed": used["snapshots"],
                "totalGigabytesUsed": used["gigabytes"], "totalBackupsUsed": 0, "totalBackupGigabytesUsed": 0,
            },
        }
    }  # fmt: skip


class QuotaBody(msgspec.Struct):
    quota_set: dict[str, Any]


def _set(project: str, most: dict[str, int], used: dict[str, int] | None) -> dict[str, Any]:
    if used is None:
        return {"quota_set": {"id": project, **most}}
    shown = {name: {"limit": limit, "in_use": used.get(name, 0), "reserved": 0} for name, limit in most.items()}
    return {"quota_set": {"id": project, **shown}}


async def show_quota(call: Call) -> Any:
    """200; 403 for another project's."""
    project = call.params["id"]
    call.allow("volume_extension:quotas:show", project_id=project)
    usage = call.flag("usage")

    def read(reader: Reader) -> Any:
        names = _names(reader)
        return _set(
            project, quota.limits(reader, project, names), quota.usage(reader, project, names) if usage else None
        )

    return await call.read(read)


async def default_quota(call: Call) -> Any:
    """200."""
    project = call.params["id"]
    call.allow("volume_extension:quotas:show", project_id=project)
    return await call.read(lambda r: _set(project, quota.limits(r, quota.CLASS, _names(r)), None))


async def update_quota(call: Call) -> Any:
    """200; 400; 403."""
    project = call.params["id"]

    def body(tx: Tx) -> Any:
        if tx.find(Project, project) is None:
            raise errors.Invalid(f"Project {project} could not be found.", field="project_id")
        _change(tx, project, call.body.quota_set)
        return {"quota_set": quota.limits(tx, project, _names(tx))}

    return await call.write(body, "volume_quota.update")


def _change(tx: Tx, owner: str, wanted: dict[str, Any]) -> None:
    names = _names(tx)
    for name, value in wanted.items():
        if name in ("tenant_id", "id", "force"):
            continue
        if name not in names:
            raise errors.Invalid(f"Bad key(s) in quota set: {name}", field=name)
        if isinstance(value, bool) or not str(value).lstrip("-").isdecimal() or not -1 <= int(value) < 2**31:
            raise errors.Invalid(f"Invalid input for field/attribute {name}. Value: {value}.", field=name)
        held = tx.first(Quota, project_id=owner, resource=name)
        if held is None:
            tx.add(Quota(id=new_id(), project_id=owner, resource=name, limit=int(value)))
        else:
            tx.change(held, limit=int(value))


async def delete_quota(call: Call) -> Answer:
    """200: the project has the defaults again."""
    project = call.params["id"]

    def body(tx: Tx) -> None:
        names = _names(tx)
        for held in tx.select(Quota, project_id=project, resource=names):
            tx.remove(held)

    await call.write(body, "volume_quota.delete")
    return Answer(status=200)


async def show_class(call: Call) -> Any:
    """200: the defaults of all projects."""
    most = await call.read(lambda r: quota.limits(r, quota.CLASS, _names(r)))
    return {"quota_class_set": {"id": call.params["id"], **most}}


class ClassBody(msgspec.Struct):
    quota_class_set: dict[str, Any]


async def update_class(call: Call) -> Any:
    """200; 400; 404 for another class than the default."""
    if call.params["id"] != "default":
        raise errors.Missing("There is no quota class but default.")

    def body(tx: Tx) -> Any:
        _change(tx, quota.CLASS, call.body.quota_class_set)
        return {"quota_class_set": quota.limits(tx, quota.CLASS, _names(tx))}

    return await call.write(body, "volume_quota.update")
