"""Simulated volumes: a small file a volume, so that they outlive the process as real ones do. For tests and scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from trilith.drivers.simulated.fabric import Fault, no_fault
from trilith.drivers.volume_contract import (
    DiskSource,
    PoolCapabilities,
    PoolRoom,
    SourceKind,
    VolumeDriver,
    VolumeFacts,
    VolumeSource,
)
from trilith.errors import Conflict, Invalid, Missing


class _Kept(msgspec.Struct, frozen=True):
    """size, and the size at each snapshot: GiB."""

    size: int
    snapshots: dict[str, int] = {}


class SimulatedVolumes:
    """A VolumeDriver. total_gib: of the pool that does not exist."""

    def __init__(self, folder: Path, *, total_gib: int = 4096) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._total = total_gib
        self.fault: Fault = no_fault

    @property
    def capabilities(self) -> PoolCapabilities:
        return PoolCapabilities(driver="simulated", thin=True, clone_without_copy=True, revert=True, simulated=True)

    def _path(self, volume_id: str) -> Path:
        return self._folder / volume_id

    def _find(self, volume_id: str) -> _Kept | None:
        try:
            return msgspec.json.decode(self._path(volume_id).read_bytes(), type=_Kept)
        except FileNotFoundError:
            return None

    def _get(self, volume_id: str) -> _Kept:
        kept = self._find(volume_id)
        if kept is None:
            raise Missing(f"There is no volume {volume_id} in this pool.")
        return kept

    def _put(self, volume_id: str, kept: _Kept) -> None:
        new = self._path(f".{volume_id}.new")
        new.write_bytes(msgspec.json.encode(kept))
        new.rename(self._path(volume_id))

    async def room(self) -> PoolRoom:
        promised = sum(self._get(p.name).size for p in self._folder.glob("[!.]*"))
        return PoolRoom(total=self._total * 1024, free=(self._total - promised) * 1024, promised=promised * 1024)

    async def volumes(self) -> Sequence[VolumeFacts]:
        found = {p.name: self._get(p.name) for p in sorted(self._folder.glob("[!.]*"))}
        return [VolumeFacts(volume_id=v, size_gib=k.size, snapshots=tuple(k.snapshots)) for v, k in found.items()]

    async def create(self, volume_id: str, *, size_gib: int, source: VolumeSource | None = None) -> None:
        self.fault("volume.create")
        if self._find(volume_id) is not None:
            return
        if source is not None and source.kind is not SourceKind.DISK:
            kept = self._get(source.volume_id)
            held = kept.size if source.kind is SourceKind.VOLUME else kept.snapshots.get(source.snapshot_id)
            if held is None:
                raise Missing(f"Volume {source.volume_id} has no snapshot {source.snapshot_id}.")
            if size_gib < held:
                raise Invalid(f"The source is {held} GiB, and the volume only {size_gib}.", field="size")
        self._put(volume_id, _Kept(size_gib))

    async def delete(self, volume_id: str) -> None:
        self.fault("volume.delete")
        kept = self._find(volume_id)
        if kept is not None and kept.snapshots:
            raise Conflict(f"Volume {volume_id} has {len(kept.snapshots)} snapshots.", hint="Delete them.")
        self._path(volume_id).unlink(missing_ok=True)

    async def extend(self, volume_id: str, *, size_gib: int) -> None:
        self.fault("volume.extend")
        kept = self._get(volume_id)
        if size_gib < kept.size:
            raise Invalid(f"The volume is {kept.size} GiB; it cannot shrink to {size_gib}.", field="new_size")
        self._put(volume_id, msgspec.structs.replace(kept, size=size_gib))

    async def snapshot(self, volume_id: str, snapshot_id: str) -> None:
        self.fault("volume.snapshot")
        kept = self._get(volume_id)
        if snapshot_id not in kept.snapshots:
            self._put(volume_id, _Kept(kept.size, kept.snapshots | {snapshot_id: kept.size}))

    async def delete_snapshot(self, volume_id: str, snapshot_id: str) -> None:
        self.fault("volume.delete_snapshot")
        kept = self._find(volume_id)
        if kept is not None and snapshot_id in kept.snapshots:
            self._put(volume_id, _Kept(kept.size, {k: v for k, v in kept.snapshots.items() if k != snapshot_id}))

    async def revert(self, volume_id: str, snapshot_id: str) -> None:
        self.fault("volume.revert")
        kept = self._get(volume_id)
        if snapshot_id not in kept.snapshots:
            raise Missing(f"Volume {volume_id} has no snapshot {snapshot_id}.")
        self._put(volume_id, msgspec.structs.replace(kept, size=kept.snapshots[snapshot_id]))

    async def disk(self, volume_id: str) -> DiskSource:
        self._get(volume_id)
        return DiskSource(driver="raw", path=f"/simulated/{volume_id}")


#: the type checker holds the class to the contract
_CONTRACT: type[VolumeDriver] = SimulatedVolumes
