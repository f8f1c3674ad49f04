"""The storage driver `dir`: everything is a file below one folder; root disks are qcow2 on a shared backing file."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from trilith.drivers.contract import BlobSource, StorageCapabilities, StorageDriver
from trilith.drivers.storage import forms
from trilith.drivers.storage.artefacts import Shelf, check_sha256, sync_folder
from trilith.drivers.storage.confined import fault, spawn, tool
from trilith.drivers.storage.forms import Limits
from trilith.drivers.storage.inspect import qcow2_size
from trilith.errors import Backend, Conflict, Invalid, Missing, Unsupported
from trilith.model.guest import Artefact, ImageForm

T = TypeVar("T")
GIB = 1 << 30
MIB = 1 << 20
DISK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(slots=True)
class _Making:
    """One artefact in the making, and how many wait for it."""

    task: asyncio.Task[Artefact]
    waiting: int = 0


class DirStorage:
    """See `StorageDriver`. state: a folder of this driver's own. qemu_group: the group that QEMU runs in, or ""."""

    def __init__(self, state: Path, *, qemu_group: str = "", limits: Limits | None = None) -> None:
        # qcow2 headers and mounts want paths that hold from anywhere
        state = Path(os.path.abspath(state))
        self._state = state
        self._disks = state / "disks"
        self._limits = limits or Limits()
        try:
            group = grp.getgrnam(qemu_group).gr_gid if qemu_group else -1
        except KeyError as e:
            raise Backend(f"This node has no group {qemu_group!r}.", hint="Install the qemu packages.") from e
        self._shelf = Shelf(state, group=group)
        self._group = group
        self._opened: asyncio.Task[None] | None = None
        self._making: dict[tuple[str, ImageForm], _Making] = {}

    @property
    def capabilities(self) -> StorageCapabilities:
        return StorageCapabilities(name="dir")

    async def _open(self) -> None:
        """Once, before anything else: folders there, leftovers of a crash swept. Tried again after a failure."""
        task = self._opened
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._opened = asyncio.create_task(self._call(self._prepare))
        await asyncio.shield(task)

    def _prepare(self) -> None:
        self._shelf.open()
        self._disks.mkdir(exist_ok=True)
        self._disks.chmod(0o750)
        if self._group >= 0:
            os.chown(self._disks, -1, self._group)
        for leftover in self._disks.glob(".*.new"):
            leftover.unlink(missing_ok=True)

    async def _call(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except OSError as e:
            raise forms.surprising(e, self._state) from e

    # --- artefacts -----------------------------------------------------------------------------------------------

    async def realize(self, blob: BlobSource, form: ImageForm) -> Artefact:
        check_sha256(blob.sha256)
        forms.possible(blob, form)
        await self._open()
        found = await self._call(lambda: self._shelf.find(blob.sha256, form))
        if found is not None:
            return found
        key = (blob.sha256, form)
        making = self._making.get(key)
        if making is None:
            making = self._making[key] = _Making(asyncio.create_task(self._make(blob, form)))
            making.task.add_done_callback(lambda _: self._making.pop(key, None))
        making.waiting += 1
        try:
            return await asyncio.shield(making.task)
        finally:
            making.waiting -= 1
            if making.waiting == 0 and not making.task.done():
                # nobody wants it any more; its processes end before we go on
                making.task.cancel()
                await asyncio.gather(making.task, return_exceptions=True)

    async def _make(self, blob: BlobSource, form: ImageForm) -> Artefact:
        await self._verify(blob)
        root: Artefact | None = None
        kernel: Artefact | None = None
        if form is ImageForm.DISK and blob.disk_format in forms.ROOT_FORMATS:
            root = await self.realize(blob, ImageForm.ROOTFS)
        elif form is ImageForm.DISK and "trilith_kernel" in blob.properties:
            kernel = await self._kernel_of(blob.properties["trilith_kernel"])
        try:
            with self._shelf.work() as work:
                made = work / form.value
                made.mkdir()
                if form is ImageForm.ROOTFS:
                    artefact = await forms.rootfs(blob, made, self._limits)
                elif form is ImageForm.BARE:
                    artefact = await forms.bare(blob, made)
                elif root is not None:
                    artefact = await forms.disk_of_tree(blob.sha256, Path(root.path), root.size_mib, made)
                else:
                    artefact = await forms.disk_of_file(blob, made, self._limits, kernel)
                return await asyncio.to_thread(self._shelf.publish, made, artefact)
        except OSError as e:
            raise forms.surprising(e, self._state) from e

    async def _verify(self, blob: BlobSource) -> None:
        def digest() -> str:
            with Path(blob.path).open("rb") as f:
                return hashlib.file_digest(f, "sha256").hexdigest()

        try:
            found = await asyncio.to_thread(digest)
        except FileNotFoundError as e:
            raise Missing(f"The image's blob {blob.path} is not on this node.") from e
        except OSError as e:
            raise Backend(f"The image's blob cannot be read: {e}.") from e
        if found != blob.sha256:
            raise Backend(
                f"The image's blob is damaged: its SHA-256 is {found}, not {blob.sha256}.", hint="Upload it again."
            )

    async def _kernel_of(self, sha256: str) -> Artefact:
        check_sha256(sha256)
        found = await self._call(lambda: self._shelf.find(sha256, ImageForm.DISK))
        if found is None:
            raise Missing(
                f"The kernel of this image comes from the image with SHA-256 {sha256}, whose disk is not on this node.",
                hint="Realize that image first.",
            )
        if not found.kernel:
            raise Invalid(f"The image with SHA-256 {sha256} has no kernel of its own.", field="trilith_kernel")
        return found

    async def artefacts(self) -> list[Artefact]:
        await self._open()
        return await self._call(self._shelf.all)

    async def drop(self, sha256: str) -> None:
        check_sha256(sha256)
        await self._open()
        for (making, form), entry in list(self._making.items()):
            if making == sha256:
                raise Conflict(f"The form {form.value} of this image is being made ({entry.waiting} wait for it).")
        await self._call(lambda: self._shelf.drop(sha256))

    # --- disks ---------------------------------------------------------------------------------------------------

    def _path(self, disk_id: str) -> Path:
        if not DISK_ID.fullmatch(disk_id):
            raise Invalid(f"{disk_id[:80]!r} cannot name a disk.", field="disk_id")
        if disk_id.endswith((".qcow2", ".kept")):
            raise Invalid(f"{disk_id!r} cannot name a disk: the ending is the driver's.", field="disk_id")
        return self._disks / f"{disk_id}.qcow2"

    async def create_disk(self, disk_id: str, *, size_gib: int, backing: Artefact) -> str:
        path = self._path(disk_id)
        if backing.form is not ImageForm.DISK:
            raise Unsupported(f"No disk starts from the form {backing.form.value}.", capability="storage.disk")
        if size_gib < 0:
            raise Invalid("A disk has no negative size.", field="size_gib")
        await self._open()
        known = await self._call(lambda: self._shelf.find(backing.sha256, ImageForm.DISK))
        if known is None or known.path != backing.path:
            raise Missing(f"The image with SHA-256 {backing.sha256} has no disk on this node.")
        image_bytes = await self._call(lambda: qcow2_size(Path(backing.path)))
        if size_gib and image_bytes > size_gib * GIB:
            raise Invalid(
                f"The image's disk is {image_bytes / GIB:.1f} GiB and the flavor's only {size_gib} GiB.",
                hint="Choose a flavor with a bigger disk.",
                field="flavor",
            )
        if await self._call(path.exists):
            return str(path)
        new = self._disks / f".{disk_id}.new"
        try:
            await self._call(lambda: new.unlink(missing_ok=True))
            await tool(
                ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", backing.path, str(new),
                 str(size_gib * GIB or image_bytes)],
                timeout=60, where=self._state,
            )  # fmt: skip
            await self._call(lambda: self._publish_disk(new, path))
        finally:
            new.unlink(missing_ok=True)
        return str(path)

    def _publish_disk(self, new: Path, path: Path) -> None:
        new.chmod(0o660)
        handle = os.open(new, os.O_RDONLY)
        try:
            if self._group >= 0:
                os.fchown(handle, -1, self._group)
            os.fsync(handle)
        finally:
            os.close(handle)
        new.rename(path)
        sync_folder(self._disks)

    async def resize_disk(self, disk_id: str, *, size_gib: int) -> None:
        path = self._path(disk_id)
        await self._open()
        if not await self._call(path.exists):
            raise Missing(f"There is no disk {disk_id}.")
        now = await self._call(lambda: qcow2_size(path))
        if size_gib * GIB < now:
            raise Invalid(f"The disk is {now / GIB:.1f} GiB; it cannot shrink to {size_gib} GiB.", field="size_gib")
        if size_gib * GIB > now:
            await tool(["qemu-img", "resize", "-q", "-f", "qcow2", str(path), str(size_gib * GIB)],
                       timeout=60, where=self._state)  # fmt: skip

    async def delete_disk(self, disk_id: str) -> None:
        path = self._path(disk_id)
        await self._open()

        def remove() -> None:
            path.unlink(missing_ok=True)
            path.with_suffix(".kept").unlink(missing_ok=True)
            sync_folder(self._disks)

        await self._call(remove)

    async def keep_disk(self, disk_id: str) -> None:
        """A copy beside it: what the guest wrote since its creation, shared blocks where the file system can.

        Raises Missing, and Conflict while a guest runs on it.
        """
        path = self._path(disk_id)
        await self._open()
        kept = path.with_suffix(".kept")
        if await self._call(kept.exists):
            return
        if not await self._call(path.exists):
            raise Missing(f"There is no disk {disk_id}.")
        # QEMU's own lock tells whether someone writes to it
        held = await spawn(["qemu-img", "info", "-f", "qcow2", str(path)], timeout=60)
        if held.code:
            if "lock" in held.words:
                raise Conflict(f"The disk {disk_id} is in use by a running guest.", hint="Stop the server first.")
            raise fault("qemu-img", held, self._state)
        new = self._disks / f".{disk_id}.kept.new"
        try:
            await tool(["cp", "--reflink=auto", "--sparse=always", "--", str(path), str(new)],
                       timeout=3600, where=self._state)  # fmt: skip
            await self._call(lambda: self._publish_disk(new, kept))
        finally:
            new.unlink(missing_ok=True)

    async def restore_disk(self, disk_id: str) -> None:
        path = self._path(disk_id)
        await self._open()

        def restore() -> None:
            with contextlib.suppress(FileNotFoundError):
                path.with_suffix(".kept").replace(path)
                sync_folder(self._disks)

        await self._call(restore)

    async def forget_disk(self, disk_id: str) -> None:
        path = self._path(disk_id)
        await self._open()
        await self._call(lambda: path.with_suffix(".kept").unlink(missing_ok=True))

    async def disks(self) -> list[str]:
        await self._open()
        return await self._call(lambda: sorted(p.name.removesuffix(".qcow2") for p in self._disks.glob("[!.]*.qcow2")))

    async def free_mib(self) -> int:
        await self._open()

        def free() -> int:
            room = os.statvfs(self._state)
            return room.f_bavail * room.f_frsize // MIB

        return await self._call(free)

    async def close(self) -> None:
        """End what is being made; nothing half-made stays."""
        making = [entry.task for entry in self._making.values()]
        for task in making:
            task.cancel()
        await asyncio.gather(*making, return_exceptions=True)


#: the type checker holds the class to the contract
_CONTRACT: type[StorageDriver] = DirStorage
