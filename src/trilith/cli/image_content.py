"""What a file is, by its content: the disk format that the image API gets told. Names and endings prove nothing."""

from __future__ import annotations

import gzip
import lzma
import shutil
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

from trilith import errors

_SQUASHFS = b"hsqs"
#: magic → how it is unpacked
_PACKED = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2"}
#: oslo.utils' name → Glance's; what a partition table leads with is a plain disk
_DISKS = {"qcow2": "qcow2", "vmdk": "vmdk", "vhd": "vhd", "vhdx": "vhdx", "vdi": "vdi", "iso": "iso", "qed": "qed",
          "gpt": "raw", "raw": "raw", "luks": "luks"}  # fmt: skip
#: that a cloud of ours takes
TAKEN = ("qcow2", "raw", "vmdk", "root-tar", "squashfs")
_BLOCK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """disk_format in the image API's words; virtual_size in bytes, 0 where it is no disk."""

    disk_format: str
    virtual_size: int = 0
    packed: str = ""

    @property
    def min_disk_gib(self) -> int:
        return -(-self.virtual_size // 1024**3)


def look(path: Path, *, raw: bool = False) -> Content:
    """raw: take it as a plain disk whatever is inside, as --format raw says.

    Raises Invalid for what no server can start from, Unsupported where a tool to look inside is missing."""
    try:
        with path.open("rb") as file:
            head = file.read(_BLOCK)
        size = path.stat().st_size
    except OSError as err:
        raise errors.Invalid(f"{path} cannot be read: {err.strerror}", field="file") from err
    if not head:
        raise errors.Invalid(f"{path} is empty.", field="file")
    if raw:
        return Content(disk_format="raw", virtual_size=size)
    if head.startswith(_SQUASHFS):
        return Content(disk_format="squashfs")
    if is_tar(head):
        return Content(disk_format="root-tar")
    for magic, packing in _PACKED.items():
        if head.startswith(magic):
            if is_tar(_first_block(path, packing)):
                return Content(disk_format="root-tar", packed=packing)
            raise errors.Invalid(
                f"{path} is packed with {packing}, and no tar is inside.",
                hint="Unpack it first, then import what comes out.",
                field="file",
            )
    return _disk(path, size, head)


def is_tar(block: bytes) -> bool:
    """A header of POSIX or GNU tar: its magic and its checksum (pax(1))."""
    if len(block) < _BLOCK or block[257:262] != b"ustar":
        return False
    try:
        wanted = int(block[148:156].split(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        return False
    return wanted == sum(block[:148]) + 8 * 0x20 + sum(block[156:_BLOCK])


def _first_block(path: Path, packing: str) -> bytes:
    try:
        if packing == "gzip":
            with gzip.open(path) as file:
                return file.read(_BLOCK)
        if packing == "xz":
            with lzma.open(path) as file:
                return file.read(_BLOCK)
        if packing == "bzip2":
            raise errors.Invalid(
                f"{path} is packed with bzip2.", hint="Pack it with gzip, xz or zstd instead.", field="file"
            )
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as err:
        raise errors.Invalid(f"{path} is no whole {packing} file: {err}", field="file") from err
    tool = shutil.which("zstd")
    if tool is None:
        raise errors.Unsupported("zstd is not installed here.", capability="image.import", hint="Install zstd.")
    with subprocess.Popen([tool, "-dcq", "--", str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        block = child.stdout.read(_BLOCK)
        child.kill()
    return block


def _disk(path: Path, size: int, head: bytes) -> Content:
    from oslo_utils.imageutils import format_inspector

    try:
        inspector = format_inspector.detect_file_format(str(path))
        name = str(inspector)
        virtual = int(inspector.virtual_size)
    except format_inspector.ImageFormatError as err:
        raise errors.Invalid(f"{path}: {err}", field="file") from err
    if name == "raw" and (size % _BLOCK or head[-2:] != b"\x55\xaa"):
        # 55 AA ends the first sector of every disk that firmware starts from (UEFI specification, 5.2.1)
        raise errors.Invalid(
            f"{path} is nothing that is known here, and no disk with a boot sector.",
            hint="If it is a plain disk all the same, say so: --format raw",
            field="file",
        )
    found = _DISKS.get(name, name)
    if found not in TAKEN:
        raise errors.Invalid(
            f"{path} is {found}, which no server starts from here.",
            hint=f"Turn it: qemu-img convert -O qcow2 {path.name} {path.stem}.qcow2",
            field="file",
        )
    return Content(disk_format=found, virtual_size=virtual if found != "raw" else size)
