"""Volumes in a folder: qcow2 layers, one above the other. A folder on NFS is the same pool on every node.

Only a volume's top layer is written; what is below one never changes, so snapshots and clones share it. A snapshot or
a clone is a new empty layer: its cost does not grow with the volume. The records (volume_record.py) are the truth; a
layer that no record leads to is swept away.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from trilith.drivers.storage import forms
from trilith.drivers.storage.artefacts import sync_folder
from trilith.drivers.storage.confined import fault, spawn, tool
from trilith.drivers.storage.inspect import qcow2_backing, qcow2_size
from trilith.drivers.storage.volume_record import Records, VolumeRecord, check_id
from trilith.drivers.volume_contract import (
    DiskSource,
    PoolCapabilities,
    PoolRoom,
    SourceKind,
    VolumeDriver,
    VolumeFacts,
    VolumeSource,
)
from trilith.errors import Backend, Conflict, Invalid, Missing, TrilithError

T = TypeVar("T")
GIB, MIB = 1 << 30, 1 << 20
#: seconds for a tool that touches metadata only, and for one that copies data
QUICK, COPY = 60.0, 6 * 3600.0
#: bytes of data in a layer up to which it is merged at once, while the pool waits
SMALL = 256 * MIB


class DirVolumes:
    """See `VolumeDriver`. folder: of this pool alone. shared: other nodes have it, too. group: id of the group that
    QEMU runs in, or -1."""

    def __init__(self, folder: Path, *, shared: bool = False, group: int = -1) -> None:
        self._folder = Path(os.path.abspath(folder))  # qcow2 headers want paths that hold from anywhere
        self._layers = self._folder / "layers"
        self._records = Records(self._folder / "volumes")
        self._shared = shared
        self._group = group
        self._busy = asyncio.Lock()  # of this process; the lock file is for other nodes
        self._opened = False
        self._making: set[Path] = set()

    @property
    def capabilities(self) -> PoolCapabilities:
        return PoolCapabilities(driver="dir", thin=True, shared=self._shared, clone_without_copy=True, revert=True)

    async def _call(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except OSError as e:
            raise forms.surprising(e, self._folder) from e

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One change of the pool at a time, over all nodes that have it."""
        async with self._busy:
            if not self._opened:
                await self._call(self._prepare)
                self._opened = True
            handle = await self._call(self._lock)
            try:
                yield
            finally:
                os.close(handle)  # and with it the lock

    def _prepare(self) -> None:
        self._layers.mkdir(parents=True, exist_ok=True)
        self._layers.chmod(0o750)
        if self._group >= 0:
            os.chown(self._layers, -1, self._group)
        self._records.open()

    def _lock(self) -> int:
        handle = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # of the open file, and so between two of us in one process, too; over NFS Linux makes it a lock of the
            # whole file at the server (flock(2), NFS details)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            os.close(handle)
            raise
        return handle

    # --- what is there -------------------------------------------------------------------------------------------

    async def room(self) -> PoolRoom:
        async with self._turn():
            return await self._call(self._room)

    def _room(self) -> PoolRoom:
        disk = os.statvfs(self._folder)
        promised = sum(self._records.get(v).size_gib for v in self._records.ids())
        return PoolRoom(
            total=disk.f_blocks * disk.f_frsize // MIB,
            free=disk.f_bavail * disk.f_frsize // MIB,
            promised=promised * 1024,
        )

    async def volumes(self) -> Sequence[VolumeFacts]:
        async with self._turn():
            return await self._call(lambda: [self._facts(v) for v in self._records.ids()])

    def _facts(self, volume_id: str) -> VolumeFacts:
        try:
            record = self._records.get(volume_id)
            list(self._chain(record.top))
        except TrilithError as err:
            return VolumeFacts(volume_id=volume_id, size_gib=0, fault=err.message)
        return VolumeFacts(volume_id=volume_id, size_gib=record.size_gib, snapshots=tuple(record.snapshots))

    async def disk(self, volume_id: str) -> DiskSource:
        def find() -> DiskSource:
            record = self._records.get(volume_id)
            list(self._chain(record.top))
            return DiskSource(driver="qcow2", path=str(self._layer(record.top)))

        async with self._turn():
            return await self._call(find)

    # --- volumes -------------------------------------------------------------------------------------------------

    async def create(self, volume_id: str, *, size_gib: int, source: VolumeSource | None = None) -> None:
        check_id(volume_id)
        if size_gib < 1:
            raise Invalid(f"A volume of {size_gib} GiB cannot be.", field="size")
        async with self._turn():
            if await self._call(lambda: self._records.find(volume_id)) is not None:
                return
            if source is None or source.kind is not SourceKind.DISK:
                below = await self._frozen(source, size_gib) if source is not None else ""
                top = await self._layer_on(below, size_gib)
                await self._call(lambda: self._records.put(volume_id, VolumeRecord(size_gib=size_gib, top=top)))
                return
        await self._create_copied(volume_id, Path(source.path), size_gib)

    async def _frozen(self, source: VolumeSource, size_gib: int) -> str:
        """The layer that holds what the source holds, and that nobody will write to."""
        record = await self._call(lambda: self._records.get(source.volume_id))
        if source.kind is SourceKind.SNAPSHOT:
            held, layer = record.sizes.get(source.snapshot_id, 0), record.snapshots.get(source.snapshot_id, "")
            if not layer:
                raise Missing(f"Volume {source.volume_id} has no snapshot {source.snapshot_id}.")
        else:
            held, layer = record.size_gib, record.top
        if size_gib < held:
            raise Invalid(f"The source is {held} GiB, and the volume only {size_gib}.", field="size")
        if source.kind is SourceKind.VOLUME:
            await self._idle(source.volume_id, record)
            top = await self._layer_on(layer, record.size_gib)
            await self._call(lambda: self._records.put(source.volume_id, msgspec.structs.replace(record, top=top)))
        return layer

    async def delete(self, volume_id: str) -> None:
        async with self._turn():
            record = await self._call(lambda: self._records.find(volume_id))
            if record is not None:
                if record.snapshots:
                    raise Conflict(f"Volume {volume_id} has {len(record.snapshots)} snapshots.", hint="Delete them.")
                await self._idle(volume_id, record)
                await self._call(lambda: self._records.remove(volume_id))
            await self._call(self._sweep)

    async def extend(self, volume_id: str, *, size_gib: int) -> None:
        async with self._turn():
            record = await self._call(lambda: self._records.get(volume_id))
            if size_gib < record.size_gib:
                raise Invalid(f"The volume is {record.size_gib} GiB; it cannot shrink to {size_gib}.", field="new_size")
            await self._idle(volume_id, record)
            path = self._layer(record.top)
            if await self._call(lambda: qcow2_size(path)) < size_gib * GIB:
                await self._tool("resize", "-f", "qcow2", str(path), str(size_gib * GIB))
            await self._call(lambda: self._records.put(volume_id, msgspec.structs.replace(record, size_gib=size_gib)))

    # --- snapshots -----------------------------------------------------------------------------------------------

    async def snapshot(self, volume_id: str, snapshot_id: str) -> None:
        check_id(snapshot_id)
        async with self._turn():
            record = await self._call(lambda: self._records.get(volume_id))
            if snapshot_id in record.snapshots:
                return
            await self._idle(volume_id, record)
            changed = msgspec.structs.replace(
                record,
                top=await self._layer_on(record.top, record.size_gib),
                snapshots=record.snapshots | {snapshot_id: record.top},
                sizes=record.sizes | {snapshot_id: record.size_gib},
            )
            await self._call(lambda: self._records.put(volume_id, changed))

    async def delete_snapshot(self, volume_id: str, snapshot_id: str) -> None:
        async with self._turn():
            record = await self._call(lambda: self._records.find(volume_id))
            if record is None:
                return
            if snapshot_id in record.snapshots:
                changed = msgspec.structs.replace(
                    record,
                    snapshots={k: v for k, v in record.snapshots.items() if k != snapshot_id},
                    sizes={k: v for k, v in record.sizes.items() if k != snapshot_id},
                )
                await self._call(lambda: self._records.put(volume_id, changed))
            await self._call(self._sweep)
            await self._shorten()

    async def revert(self, volume_id: str, snapshot_id: str) -> None:
        async with self._turn():
            record = await self._call(lambda: self._records.get(volume_id))
            layer = record.snapshots.get(snapshot_id)
            if layer is None:
                raise Missing(f"Volume {volume_id} has no snapshot {snapshot_id}.")
            await self._idle(volume_id, record)
            size = record.sizes[snapshot_id]
            changed = msgspec.structs.replace(record, top=await self._layer_on(layer, size), size_gib=size)
            await self._call(lambda: self._records.put(volume_id, changed))
            await self._call(self._sweep)

    # --- layers --------------------------------------------------------------------------------------------------

    def _layer(self, name: str) -> Path:
        return self._layers / f"{name}.qcow2"

    def _chain(self, top: str) -> Iterator[str]:
        """Names from the top down. Raises Backend for one that is missing."""
        name = top
        while name:
            path = self._layer(name)
            if not path.exists():
                raise Backend(
                    f"The layer {name} below {top} is missing: what it held is lost, the other layers are untouched.",
                    hint=f"Restore {path} from a backup, or the volume from one.",
                )
            yield name
            name = Path(qcow2_backing(path)).stem

    async def _idle(self, volume_id: str, record: VolumeRecord) -> None:
        """Raises Conflict while QEMU has the top layer: its own lock tells."""
        held = await spawn(["qemu-img", "info", "-f", "qcow2", str(self._layer(record.top))], timeout=QUICK)
        if held.code:
            if "lock" in held.words:
                raise Conflict(
                    f"Volume {volume_id} is in use by a running guest.", hint="Stop the server, or detach it."
                )
            raise fault("qemu-img", held, self._folder)

    async def _tool(self, *words: str, timeout: float = QUICK) -> None:
        await tool(["qemu-img", words[0], "-q", *words[1:]], timeout=timeout, where=self._folder)

    async def _layer_on(self, below: str, size_gib: int) -> str:
        """A new empty layer, above another one or none."""
        name = uuid.uuid4().hex
        backing = ["-F", "qcow2", "-b", str(self._layer(below))] if below else []
        with self._new(name) as new:
            await self._tool("create", "-f", "qcow2", *backing, str(new), str(size_gib * GIB))
            await self._call(lambda: self._publish(new, self._layer(name)))
        return name

    async def _create_copied(self, volume_id: str, path: Path, size_gib: int) -> None:
        """With all that a disk holds. Others have their turn while it is copied. Raises Invalid for a larger disk."""
        held = await self._call(lambda: qcow2_size(path))
        if held > size_gib * GIB:
            raise Invalid(f"The image is {held / GIB:.1f} GiB, and the volume only {size_gib}.", field="size")

        name = uuid.uuid4().hex
        with self._new(name) as new:
            await self._tool("convert", "-f", "qcow2", "-O", "qcow2", str(path), str(new), timeout=COPY)
            await self._tool("resize", "-f", "qcow2", str(new), str(size_gib * GIB))
            async with self._turn():
                if await self._call(lambda: self._records.find(volume_id)) is None:
                    await self._call(lambda: self._publish(new, self._layer(name)))
                    await self._call(lambda: self._records.put(volume_id, VolumeRecord(size_gib=size_gib, top=name)))

    @contextlib.contextmanager
    def _new(self, name: str) -> Iterator[Path]:
        """Where a layer is made, until it has its name. It is gone afterwards."""
        new = self._layers / f".{name}.new"
        self._making.add(new)
        try:
            yield new
        finally:
            new.unlink(missing_ok=True)
            self._making.discard(new)

    def _publish(self, new: Path, path: Path) -> None:
        new.chmod(0o660)
        handle = os.open(new, os.O_RDONLY)
        try:
            if self._group >= 0:
                os.fchown(handle, -1, self._group)
            os.fsync(handle)
        finally:
            os.close(handle)
        new.rename(path)
        sync_folder(self._layers)

    def _reached(self) -> set[str]:
        """Every layer that a record leads to. A record that cannot be read stops the sweep: nothing is lost by it."""
        found: set[str] = set()
        for volume_id in self._records.ids():
            record = self._records.get(volume_id)
            for top in (record.top, *record.snapshots.values()):
                with contextlib.suppress(Backend):  # what is missing is missing; what is there below it stays
                    found.update(self._chain(top))
        return found

    def _sweep(self) -> None:
        """Remove the layers that nothing leads to, and what a crash left half made: on a shared pool, once it is so
        old that nobody can be at it any more."""
        keep = self._reached()
        gone = [p for p in self._layers.glob("[!.]*.qcow2") if p.stem not in keep]
        for path in self._layers.glob(".*.new"):
            with contextlib.suppress(FileNotFoundError):
                old = time.time() - path.stat().st_mtime > COPY
                if path not in self._making and (old or not self._shared):
                    gone.append(path)
        for path in gone:
            path.unlink(missing_ok=True)
        if gone:
            sync_folder(self._layers)

    async def _shorten(self) -> None:
        """Merge small layers that only one other needs any more into it, so that chains do not grow with each snapshot
        that comes and goes. Those of volumes in use wait for the next time."""
        tried: set[tuple[str, str]] = set()
        while left := [pair for pair in await self._call(self._lonely) if pair not in tried]:
            below, above = left[0]
            tried.add((below, above))
            held = await spawn(["qemu-img", "info", "-f", "qcow2", str(self._layer(above))], timeout=QUICK)
            if held.code:
                continue
            await self._rebase(above, qcow2_backing(self._layer(below)))
            await self._call(self._sweep)

    async def _rebase(self, layer: str, under: str) -> None:
        """Take into the layer what lies between it and `under`, "" for all. A crash leaves it as it was."""
        backing = ["-F", "qcow2", "-b", under] if under else ["-b", ""]
        await self._tool("rebase", "-f", "qcow2", *backing, str(self._layer(layer)), timeout=COPY)

    def _lonely(self) -> list[tuple[str, str]]:
        """(small layer, the one above it) where no record names the layer itself and nothing else is above it."""
        named: set[str] = set()
        above: dict[str, set[str]] = {}
        for volume_id in self._records.ids():
            record = self._records.get(volume_id)
            named |= {record.top, *record.snapshots.values()}
        for name in self._reached():
            if under := Path(qcow2_backing(self._layer(name))).stem:
                above.setdefault(under, set()).add(name)
        pairs = [(name, next(iter(on))) for name, on in above.items() if name not in named and len(on) == 1]
        return sorted(p for p in pairs if self._layer(p[0]).stat().st_blocks * 512 <= SMALL)


#: the type checker holds the class to the contract
_CONTRACT: type[VolumeDriver] = DirVolumes
