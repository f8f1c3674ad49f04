"""The pools of volumes on this node, and the calls that reach them. Every call is idempotent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import msgspec
import structlog

from trilith import errors
from trilith.drivers.volume_contract import SourceKind, VolumeDriver, VolumeSource
from trilith.model.guest import BlobSource, ImageForm, PoolFacts

if TYPE_CHECKING:
    from trilith.agent.agent import Agent

log = structlog.get_logger("volumes")


class Volumes:
    """pools: a driver by the pool's name."""

    def __init__(self, pools: Mapping[str, VolumeDriver]) -> None:
        self._pools = dict(pools)

    def pool(self, name: str) -> VolumeDriver:
        """Raises Missing."""
        found = self._pools.get(name)
        if found is None:
            known = ", ".join(self._pools) or "none"
            raise errors.Missing(f"This node has no pool {name!r}.", hint=f"It has {known}.")
        return found

    async def facts(self) -> tuple[PoolFacts, ...]:
        """Of the pools that answer; the others are said in the log, and not offered."""
        found = []
        for name, pool in self._pools.items():
            can = pool.capabilities
            try:
                room = await pool.room()
            except errors.TrilithError as err:
                log.error("a pool of volumes does not answer", pool=name, error=str(err))
                continue
            names = tuple(key for key, value in asdict(can).items() if value is True)
            found.append(PoolFacts(name=name, driver=can.driver, total=room.total // 1024, free=room.free // 1024,
                                   shared=can.shared, capabilities=names))  # fmt: skip
        return tuple(found)


class VolumeArgs(msgspec.Struct, frozen=True):
    """size: GiB, where the call makes or grows. snapshot_id: where it is about one."""

    pool: str
    volume_id: str
    size: int = 0
    snapshot_id: str = ""


class CreateVolumeArgs(msgspec.Struct, frozen=True):
    """source_volume_id, snapshot_id: what it starts from; with a snapshot the volume that it is of. blob: an image."""

    pool: str
    volume_id: str
    size: int
    source_volume_id: str = ""
    snapshot_id: str = ""
    blob: BlobSource | None = None


class Done(msgspec.Struct, frozen=True):
    """No result."""


Progress = Callable[[int, str], None]


async def create(agent: Agent, args: CreateVolumeArgs, progress: Progress) -> Done:
    source: VolumeSource | None = None
    if args.blob is not None:
        disk = await agent.guests.storage.realize(args.blob, ImageForm.DISK)
        source = VolumeSource(kind=SourceKind.DISK, path=disk.path)
    elif args.source_volume_id:
        kind = SourceKind.SNAPSHOT if args.snapshot_id else SourceKind.VOLUME
        source = VolumeSource(kind=kind, volume_id=args.source_volume_id, snapshot_id=args.snapshot_id)
    await agent.volumes.pool(args.pool).create(args.volume_id, size_gib=args.size, source=source)
    return Done()


async def delete(agent: Agent, args: VolumeArgs, progress: Progress) -> Done:
    await agent.volumes.pool(args.pool).delete(args.volume_id)
    return Done()


async def extend(agent: Agent, args: VolumeArgs, progress: Progress) -> Done:
    await agent.volumes.pool(args.pool).extend(args.volume_id, size_gib=args.size)
    return Done()


async def snapshot(agent: Agent, args: VolumeArgs, progress: Progress) -> Done:
    await agent.volumes.pool(args.pool).snapshot(args.volume_id, args.snapshot_id)
    return Done()


async def delete_snapshot(agent: Agent, args: VolumeArgs, progress: Progress) -> Done:
    await agent.volumes.pool(args.pool).delete_snapshot(args.volume_id, args.snapshot_id)
    return Done()


async def revert(agent: Agent, args: VolumeArgs, progress: Progress) -> Done:
    await agent.volumes.pool(args.pool).revert(args.volume_id, args.snapshot_id)
    return Done()
