"""What a pool of volumes must do. The rules of drivers/contract.py hold here, too; tests/contracts checks both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolCapabilities:
    """What a pool can do, as data. A call that a pool cannot do raises Unsupported naming the capability."""

    driver: str  # dir, lvm, rbd, iscsi, btrfs, simulated
    thin: bool = False  # a volume takes what was written, not its size
    shared: bool = False  # other nodes reach the same volumes
    clone_without_copy: bool = False  # from a volume or snapshot, in a time that does not grow with its size
    online_snapshot: bool = False
    online_extend: bool = False
    revert: bool = False
    encrypted: bool = False
    simulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRoom:
    """MiB. promised: sum of the volumes' sizes, which a thin pool may have more of than it holds."""

    total: int
    free: int
    promised: int


class SourceKind(StrEnum):
    VOLUME = "volume"
    SNAPSHOT = "snapshot"
    DISK = "disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSource:
    """What a new volume begins with. volume_id: of the snapshot, too. path: of a DISK, a qcow2 of our own making."""

    kind: SourceKind
    volume_id: str = ""
    snapshot_id: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeFacts:
    """snapshots: oldest first. fault: why it cannot be used, or ""."""

    volume_id: str
    size_gib: int
    snapshots: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSource:
    """How QEMU opens a volume. driver: its block driver (qcow2, raw); options: of the protocol below it."""

    driver: str
    path: str
    options: dict[str, str] = field(default_factory=dict)


class VolumeDriver(Protocol):
    """One pool, on this node. Sizes in GiB. Ids are UUIDs that the caller made."""

    @property
    def capabilities(self) -> PoolCapabilities: ...

    async def room(self) -> PoolRoom: ...

    async def volumes(self) -> Sequence[VolumeFacts]:
        """Every volume of this cloud in the pool."""
        ...

    async def create(self, volume_id: str, *, size_gib: int, source: VolumeSource | None = None) -> None:
        """Empty, or with what the source holds. Raises Missing for a source that is not there, Invalid for a size
        below the source's, Conflict for a volume source that a guest writes to."""
        ...

    async def delete(self, volume_id: str) -> None:
        """What was cloned from it stays whole. Absent is success. Raises Conflict while a guest has it, or while it
        has snapshots."""
        ...

    async def extend(self, volume_id: str, *, size_gib: int) -> None:
        """Raises Invalid for a smaller size, Conflict while a guest has it (see online_extend)."""
        ...

    async def snapshot(self, volume_id: str, snapshot_id: str) -> None:
        """Keep the volume as it is now. Raises Conflict while a guest has it (see online_snapshot)."""
        ...

    async def delete_snapshot(self, volume_id: str, snapshot_id: str) -> None:
        """Absent is success. Volumes made from it stay whole."""
        ...

    async def revert(self, volume_id: str, snapshot_id: str) -> None:
        """Put the volume back to what it was then, its size included. Raises Missing, Conflict."""
        ...

    async def disk(self, volume_id: str) -> DiskSource:
        """Raises Missing; Backend for one whose data are not whole."""
        ...
