"""Blob → form: one function each. Every one works in a folder of its own and returns names inside it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from trilith.drivers.contract import BlobSource
from trilith.drivers.storage.confined import Bounds, Outcome, confined, fault, full, tool
from trilith.drivers.storage.inspect import bare_kind, boot_files, inspect_disk
from trilith.errors import Backend, Invalid, Unsupported
from trilith.model.guest import Artefact, ImageForm

MIB = 1 << 20
ROOT_FORMATS = ("root-tar", "squashfs")
CMDLINE = "root=/dev/vda rw console=tty0 console=ttyS0,115200 net.ifnames=0"
#: kernels and initrds beyond this are a mistake
BOOT_FILE_MAX = 512 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an uploaded image may ask of a node. ratio: unpacked by packed bytes, above `ratio_from_bytes`."""

    max_bytes: int = 64 << 30
    max_files: int = 2_000_000
    ratio: int = 100
    ratio_from_bytes: int = 256 * MIB
    max_virtual_gib: int = 16 * 1024
    reserve_bytes: int = 64 * MIB

    def unpacked(self, blob_bytes: int, free_bytes: int) -> int:
        """Bytes that an archive of this size may unpack to on a disk with this much free."""
        bound = max(self.ratio_from_bytes, blob_bytes * self.ratio)
        return max(0, min(self.max_bytes, bound, free_bytes - self.reserve_bytes))


def possible(blob: BlobSource, form: ImageForm) -> None:
    """Raises Unsupported for a form that this kind of blob can never have."""
    bare = blob.properties.get("trilith_boot") == "bare"
    allowed: tuple[ImageForm, ...]
    if bare:
        allowed = (ImageForm.BARE,)
    elif blob.disk_format in ROOT_FORMATS:
        allowed = (ImageForm.ROOTFS, ImageForm.DISK)
    else:
        allowed = (ImageForm.DISK,)
    if form not in allowed:
        kind = "bare" if bare else blob.disk_format
        raise Unsupported(
            f"A {kind} image has no form {form.value}; it has {', '.join(f.value for f in allowed)}.",
            capability=f"image.{form.value}",
        )


def _free(folder: Path) -> int:
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize


async def rootfs(blob: BlobSource, made: Path, limits: Limits) -> Artefact:
    """root-tar or squashfs, unpacked to `made`/root with its own owners."""
    source = Path(blob.path)
    size = os.stat(source).st_size
    room = _free(made)
    allowed = limits.unpacked(size, room)
    if blob.disk_format == "squashfs":
        used = await _unsquash(source, made, allowed, limits)
    else:
        # a file bound above the whole's, so that the unpacker says which rule was broken
        bounds = Bounds(memory_bytes=1 << 30, file_bytes=allowed + MIB)
        order = {"max_bytes": allowed, "max_files": limits.max_files}
        outcome = await confined(inputs={"blob": source}, output=made, bounds=bounds, unpack=order)
        used = _unpacked(outcome, made, allowed, room, limits)
    if not (made / "root").is_dir():
        raise Invalid("The archive has no root folder.")
    return Artefact(sha256=blob.sha256, form=ImageForm.ROOTFS, path="root", size_mib=-(-used // MIB))


def _unpacked(outcome: Outcome, made: Path, allowed: int, room: int, limits: Limits) -> int:
    lines = outcome.out.decode(errors="replace").splitlines()
    try:
        said: dict[str, object] = json.loads(lines[-1]) if lines else {}
    except ValueError:
        said = {}
    if "invalid" in said:
        reason = str(said["invalid"])
        if "MiB" in reason and allowed >= room - limits.reserve_bytes:
            raise full(made.parent)
        raise Invalid(f"The archive is refused: {reason}.", hint="Make it with tar, from a tree of its own.")
    if "failed" in said:
        raise fault("Unpacking", Outcome(code=outcome.code, out=b"", err=str(said["failed"]).encode()), made.parent)
    if outcome.code or not isinstance(said.get("bytes"), int):
        raise fault("Unpacking", outcome, made.parent)
    return int(str(said["bytes"]))


_LISTED = re.compile(rb"^([-dlbcps])[-rwxsStT]{9}\s+(\d+)/(\d+)\s+(\d+)(?:,\s*\d+)?\s")


@dataclass(slots=True)
class _Listing:
    """What unsquashfs lists, counted as it comes. used: bytes."""

    limits: Limits
    used: int = 0
    count: int = 0
    devices: int = 0

    def line(self, line: bytes) -> None:
        """Raises Invalid."""
        entry = _LISTED.match(line)
        if entry is None:
            return
        self.count += 1
        self.devices += entry[1] in b"bc"
        self.used += int(entry[4]) if entry[1] == b"-" else 0
        if int(entry[2]) > 65535 or int(entry[3]) > 65535:
            raise Invalid("The squashfs image has owners outside of 0 to 65535.")
        if self.count > self.limits.max_files:
            raise Invalid(f"The squashfs image holds more than {self.limits.max_files} files.")


async def _unsquash(source: Path, made: Path, allowed: int, limits: Limits) -> int:
    """The listing is checked first: squashfs holds neither climbing names nor hard links to elsewhere, but anything
    may be claimed of sizes."""
    with source.open("rb") as f:
        if f.read(4) != b"hsqs":
            raise Invalid("The image is said to be squashfs and is not.", field="disk_format")
    bounds = Bounds(memory_bytes=4 << 30, file_bytes=allowed + MIB)
    listing = _Listing(limits)
    listed = await confined(
        inputs={"blob": source},
        output=made,
        bounds=bounds,
        argv=["unsquashfs", "-lln", "-p", "1", "/in/blob"],
        each=listing.line,
    )
    if listed.code:
        raise Invalid(f"The squashfs image is broken: {listed.words}")
    used = listing.used
    if used > allowed:
        raise Invalid(f"The squashfs image unpacks to {used // MIB} MiB; {allowed // MIB} MiB are allowed here.")
    outcome = await confined(
        inputs={"blob": source},
        output=made,
        bounds=bounds,
        argv=["unsquashfs", "-no-progress", "-p", "2", "-d", "/out/root", "/in/blob"],
    )
    # 2 is "with warnings": device nodes cannot be made in a user namespace, and need not be
    if outcome.code not in ({0, 2} if listing.devices else {0}):
        raise fault("unsquashfs", outcome, made.parent)
    return used


async def disk_of_tree(sha256: str, root: Path, used_mib: int, made: Path) -> Artefact:
    """An ext4 with the tree in it, written without a mount, as a qcow2; kernel and initrd beside it.

    Raises Unsupported when the tree has no kernel.
    """
    boot = await asyncio.to_thread(boot_files, root)
    if boot is None:
        raise Unsupported(
            "The image has no kernel below /boot: it serves containers, not machines.", capability="image.disk"
        )
    kernel, initrd, cmdline = boot
    files = await asyncio.to_thread(_count, root)
    # ext4's own tables, a journal, and room to work in; a multiple of 64 MiB
    size_mib = -(-(used_mib + used_mib // 8 + files * 4096 // MIB // 2 + 64) // 64) * 64
    raw = made / "disk.raw"
    await asyncio.to_thread(_sparse, raw, size_mib * MIB)
    outcome = await confined(
        inputs={"root": root},
        output=made,
        bounds=Bounds(file_bytes=size_mib * MIB + MIB),
        argv=[
            "mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-m", "1", "-N", str(max(4096, files * 3 // 2)),
            "-O", "^metadata_csum_seed,^orphan_file" if await _has_orphan_file() else "^metadata_csum_seed",
            "-E", "lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0", "-d", "/in/root", "/out/disk.raw",
        ],
    )  # fmt: skip
    if outcome.code:
        raise fault("mke2fs", outcome, made.parent)
    where = made.parent
    await tool(["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", str(raw), str(made / "disk.qcow2")],
               timeout=3600, where=where)  # fmt: skip
    await asyncio.to_thread(_finish_disk, made, raw, {"kernel": kernel, "initrd": initrd})
    return Artefact(
        sha256=sha256,
        form=ImageForm.DISK,
        path="disk.qcow2",
        kernel="kernel",
        initrd="initrd" if initrd else "",
        cmdline=cmdline or CMDLINE,
        size_mib=size_mib,
    )


async def _has_orphan_file() -> bool:
    """e2fsprogs from 1.47.1 on makes file systems that older kernels cannot write, unless told not to."""
    return b"orphan_file" in await asyncio.to_thread(Path("/etc/mke2fs.conf").read_bytes)


def _count(root: Path) -> int:
    return sum(len(folders) + len(files) for _, folders, files in os.walk(root)) + 1


def _sparse(path: Path, size: int) -> None:
    with path.open("xb") as f:
        f.truncate(size)


def _finish_disk(made: Path, raw: Path | None, boot: dict[str, Path | None]) -> None:
    if raw is not None:
        raw.unlink()
    for name, source in boot.items():
        if source is None:
            continue
        if source.stat().st_size > BOOT_FILE_MAX:
            raise Invalid(f"The image's {name} is larger than {BOOT_FILE_MAX // MIB} MiB.")
        shutil.copyfile(source, made / name, follow_symlinks=False)
        (made / name).chmod(0o644)
    (made / "disk.qcow2").chmod(0o644)


async def disk_of_file(blob: BlobSource, made: Path, limits: Limits, kernel: Artefact | None) -> Artefact:
    """A standalone qcow2 of a disk image of any format, inspected first and converted in the jail.

    kernel: the artefact whose kernel boots it (a snapshot of a guest that has no boot loader), or None.
    """
    source = Path(blob.path)
    facts = await asyncio.to_thread(inspect_disk, source, blob.disk_format, max_virtual_gib=limits.max_virtual_gib)
    outcome = await confined(
        inputs={"blob": source},
        output=made,
        # the bounds that Nova puts on qemu-img, with room for conversion's own buffers
        bounds=Bounds(memory_bytes=4 << 30, cpu_seconds=1800, file_bytes=facts.virtual_bytes * 9 // 8 + 64 * MIB),
        argv=["qemu-img", "convert", "-q", "-f", facts.format, "-O", "qcow2", "/in/blob", "/out/disk.qcow2"],
    )
    if outcome.code:
        error = fault("qemu-img", outcome, made.parent)
        if "full" in error.message or outcome.code >= 124:
            raise error
        raise Invalid(f"The image cannot be read: {outcome.words}")
    boot: dict[str, Path | None] = {}
    if kernel is not None:
        boot = {"kernel": Path(kernel.kernel), "initrd": Path(kernel.initrd) if kernel.initrd else None}
    await asyncio.to_thread(_finish_disk, made, None, boot)
    return Artefact(
        sha256=blob.sha256,
        form=ImageForm.DISK,
        path="disk.qcow2",
        kernel="kernel" if kernel else "",
        initrd="initrd" if kernel and kernel.initrd else "",
        cmdline=kernel.cmdline if kernel else "",
        size_mib=-(-facts.virtual_bytes // MIB),
    )


async def bare(blob: BlobSource, made: Path) -> Artefact:
    """The ELF or ROM as it is."""
    source = Path(blob.path)
    if blob.disk_format != "raw":
        raise Invalid(f"A bare image is raw, not {blob.disk_format}.", field="disk_format")
    kind = await asyncio.to_thread(bare_kind, source)
    await asyncio.to_thread(shutil.copyfile, source, made / kind)
    await asyncio.to_thread((made / kind).chmod, 0o644)
    size = -(-os.stat(source).st_size // MIB)
    return Artefact(sha256=blob.sha256, form=ImageForm.BARE, path=kind, size_mib=size)


def surprising(e: OSError, where: Path) -> Backend:
    """An error of the file system, in plain words."""
    if e.errno in {28, 122}:  # ENOSPC, EDQUOT
        return full(where)
    return Backend(f"The storage below {where} failed: {e}.")
