"""Images of every disk format, good ones and bad ones, and the manifest by which Tempest finds them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

_SIZE = "1M"


@dataclass(frozen=True, slots=True)
class _Sample:
    """usable: it may be taken as what it is."""

    name: str
    format: str
    filename: str
    usable: bool


def make(folder: Path) -> Path:
    """The manifest. Raises CalledProcessError with qemu-img's words."""
    folder.mkdir(parents=True, exist_ok=True)
    made: list[_Sample] = []
    for name, format, kind, options in (
        ("raw", "raw", "raw", ""), ("qcow2-v2", "qcow2", "qcow2", "compat=0.10"), ("qcow2-v3", "qcow2", "qcow2", ""),
        ("vmdk-sparse", "vmdk", "vmdk", "subformat=monolithicSparse"), ("vdi", "vdi", "vdi", ""),
        ("vmdk-stream", "vmdk", "vmdk", "subformat=streamOptimized"), ("vhd", "vhd", "vpc", "subformat=dynamic"),
        ("vhdx", "vhdx", "vhdx", ""),
    ):  # fmt: skip
        _qemu_img(folder / f"{name}.img", kind, options)
        made.append(_Sample(name, format, f"{name}.img", usable=True))
    (folder / "cd.iso").write_bytes(_iso())
    made.append(_Sample("iso", "iso", "cd.iso", usable=True))
    (folder / "disk.gpt").write_bytes(_gpt())
    made.append(_Sample("gpt", "gpt", "disk.gpt", usable=True))
    _qemu_img(folder / "backed.img", "qcow2", "", backing=folder / "raw.img")
    made.append(_Sample("qcow2-backing", "qcow2", "backed.img", usable=False))
    _qemu_img(folder / "data.img", "qcow2", f"data_file={folder / 'data.raw'}")
    made.append(_Sample("qcow2-data-file", "qcow2", "data.img", usable=False))
    _qemu_img(folder / "flat.vmdk", "vmdk", "subformat=monolithicFlat")
    made.append(_Sample("vmdk-flat", "vmdk", "flat.vmdk", usable=False))
    manifest = folder / "manifest.yaml"
    entries = [{"name": s.name, "format": s.format, "filename": s.filename, "usable": s.usable} for s in made]
    manifest.write_text(yaml.safe_dump({"images": entries}))
    return manifest


def _qemu_img(path: Path, kind: str, options: str, *, backing: Path | None = None) -> None:
    argv = ["qemu-img", "create", "-q", "-f", kind, *(["-o", options] if options else [])]
    if backing is not None:
        argv += ["-b", str(backing), "-F", "raw"]
    subprocess.run([*argv, str(path), _SIZE], check=True, capture_output=True, text=True)


def _iso() -> bytes:
    """A primary volume descriptor at sector 16 and the set's end behind it (ECMA-119, 8.4 and 8.3)."""
    sectors = 40
    primary = bytearray(2048)
    primary[0:7] = b"\x01CD001\x01"
    primary[40:72] = b"TRILITH".ljust(32)
    primary[80:88] = sectors.to_bytes(4, "little") + sectors.to_bytes(4, "big")
    primary[128:132] = (2048).to_bytes(2, "little") + (2048).to_bytes(2, "big")
    end = b"\xffCD001\x01".ljust(2048, b"\0")
    return (bytes(16 * 2048) + bytes(primary) + end).ljust(sectors * 2048, b"\0")


def _gpt() -> bytes:
    """A protective MBR and a header behind it (UEFI 2.10, chapter 5)."""
    mbr = bytearray(512)
    mbr[446:462] = (
        bytes((0, 0, 2, 0, 0xEE, 0xFF, 0xFF, 0xFF)) + (1).to_bytes(4, "little") + (2047).to_bytes(4, "little")
    )
    mbr[510:512] = b"\x55\xaa"
    header = b"EFI PART" + bytes((0, 0, 1, 0, 92, 0, 0, 0))
    return (bytes(mbr) + header).ljust(1 << 20, b"\0")
