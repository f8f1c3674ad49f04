"""What a disk image really is, found by looking at its bytes before any tool opens it."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from trilith.errors import Invalid, Unsupported

#: disk_format of the image API → what the inspector may find in such a blob, best first
CLAIMS: dict[str, tuple[str, ...]] = {
    "qcow2": ("qcow2",),
    "raw": ("raw", "gpt"),
    "gpt": ("gpt",),
    "vmdk": ("vmdk",),
    "vhd": ("vhd",),
    "vhdx": ("vhdx",),
    "vdi": ("vdi",),
    "iso": ("iso",),
}
#: the inspector's name → qemu-img's
QEMU = {"qcow2": "qcow2", "raw": "raw", "gpt": "raw", "vmdk": "vmdk", "vhd": "vpc", "vhdx": "vhdx", "vdi": "vdi",
        "iso": "raw"}  # fmt: skip
GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFacts:
    """format: qemu-img's name; virtual_bytes: size that a guest sees."""

    format: str
    virtual_bytes: int


def inspect_disk(path: Path, disk_format: str, *, max_virtual_gib: int) -> DiskFacts:
    """The blob's true format and size. Blocks; run it in a thread.

    Raises Invalid when the blob is not what it is said to be, refers to other files (a backing file, a data file, VMDK
    extents with paths), or asks for more than `max_virtual_gib`; Unsupported for formats that hold no bootable disk.
    Source of the rules: OpenStack security notes OSSA-2024-001 and -002, as oslo.utils checks them.
    """
    # its import costs a tenth of a second, which a node that never sees a disk image need not pay
    from oslo_utils.imageutils import format_inspector

    if disk_format not in CLAIMS:
        raise Unsupported(
            f"An image of disk_format {disk_format!r} holds no disk that can be booted.", capability="image.disk"
        )
    try:
        inspector = format_inspector.detect_file_format(str(path))
    except format_inspector.ImageFormatError as e:
        raise Invalid(f"The image cannot be recognised: {e}.") from e
    found = str(inspector)
    if found not in CLAIMS[disk_format]:
        raise Invalid(f"The image is said to be {disk_format} and is {found}.", field="disk_format")
    try:
        inspector.safety_check()
    except format_inspector.SafetyCheckFailed as e:
        reasons = "; ".join(f"{name}: {why}" for name, why in sorted(e.failures.items()))
        raise Invalid(f"The image is unsafe to open ({reasons}).", hint="Convert it to a standalone qcow2.") from e
    except format_inspector.ImageFormatError as e:
        raise Invalid(f"The image is broken: {e}.") from e
    virtual = path.stat().st_size if QEMU[found] == "raw" else int(inspector.virtual_size)
    if virtual <= 0:
        raise Invalid("The image has no size.")
    if virtual > max_virtual_gib * GIB:
        raise Invalid(f"The image is a disk of {virtual // GIB} GiB; {max_virtual_gib} GiB are allowed.")
    return DiskFacts(format=QEMU[found], virtual_bytes=virtual)


def qcow2_size(path: Path) -> int:
    """Virtual bytes of a qcow2 of our own, from its header (no process, and no lock on a running guest's disk)."""
    with path.open("rb") as f:
        head = f.read(32)
    if len(head) < 32 or head[:4] != b"QFI\xfb":
        raise Invalid(f"{path.name} is not a qcow2 file.")
    size: int = struct.unpack(">Q", head[24:32])[0]
    return size


def qcow2_backing(path: Path) -> str:
    """The file below a qcow2 of our own, "" for none. Source: QEMU, docs/interop/qcow2.txt, header bytes 8 to 19."""
    with path.open("rb") as f:
        head = f.read(20)
        if len(head) < 20 or head[:4] != b"QFI\xfb":
            raise Invalid(f"{path.name} is not a qcow2 file.")
        offset, length = struct.unpack(">QI", head[8:20])
        if not offset:
            return ""
        if length > 1023:
            raise Invalid(f"{path.name} names a backing file of {length} bytes.")
        f.seek(offset)
        return f.read(length).decode(errors="surrogateescape")


def bare_kind(path: Path) -> str:
    """elf or rom. Raises Invalid for anything that a machine without firmware cannot start from.

    An ELF needs a PVH entry note (Xen's XEN_ELFNOTE_PHYS32_ENTRY, 18); a ROM fills whole 64 KiB blocks and at most
    16 MiB below 4 GiB.
    """
    size = path.stat().st_size
    with path.open("rb") as f:
        head = f.read(1 << 20)
    if head[:4] == b"\x7fELF":
        if b"Xen\0" not in head:
            raise Invalid("The ELF has no PVH note: a machine without firmware does not find its entry.")
        return "elf"
    if size == 0 or size % 65536 or size > 16 << 20:
        raise Invalid(f"{size} bytes are neither an ELF nor a ROM (whole blocks of 64 KiB, at most 16 MiB).")
    return "rom"


_VERSIONED = re.compile(r"vmlinu[xz]-[A-Za-z0-9.+~_-]+")


def boot_files(root: Path) -> tuple[Path, Path | None, str] | None:
    """(kernel, initrd, command line) below boot/ of an unpacked tree, or None.

    The tree is a tenant's: a symbolic link is followed only to a name in the same folder.
    """
    boot = root / "boot"
    if boot.is_symlink() or not boot.is_dir():
        return None

    def regular(name: str) -> Path | None:
        path = boot / name
        if path.is_symlink():
            target = os.readlink(path)
            if "/" in target or target in {"", ".", ".."}:
                return None
            path = boot / target
        return path if not path.is_symlink() and path.is_file() else None

    kernel = regular("vmlinuz") or regular("vmlinux")
    if kernel is None:
        names = sorted((n for n in os.listdir(boot) if _VERSIONED.fullmatch(n)), key=_version)
        kernel = regular(names[-1]) if names else None
    if kernel is None:
        return None
    version = kernel.name.partition("-")[2]
    candidates = [f"initrd.img-{version}", f"initramfs-{version}.img"] if version else []
    initrd = next((p for name in [*candidates, "initrd", "initrd.img"] if (p := regular(name)) is not None), None)
    words = ""
    line = regular("cmdline")
    if line is not None and line.stat().st_size <= 1024:
        words = line.read_text(errors="replace").strip()
        if not words.isprintable():
            words = ""
    return kernel, initrd, words


def _version(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"[^A-Za-z0-9]+", name)]
