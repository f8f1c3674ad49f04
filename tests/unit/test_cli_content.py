"""What a file is, by its content."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from trilith.cli import probe_kernel
from trilith.cli.image_content import is_tar, look
from trilith.errors import Backend, Invalid


def tar_bytes(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def qcow2(size: int) -> bytes:
    """A header of version 3 (QEMU's docs/interop/qcow2.txt), with nothing behind."""
    fields = (0x514649FB, 3, 0, 0, 16, size, 0, 1, 0x30000, 0x10000, 1, 0, 0, 0, 0, 0, 4, 104)
    return struct.pack(">IIQIIQIIQQIIQQQQII", *fields).ljust(0x40000, b"\0")


def disk(size: int) -> bytes:
    return (b"\0" * 510 + b"\x55\xaa").ljust(size, b"\0")


@pytest.mark.parametrize(
    ("data", "disk_format", "gib"),
    [
        (tar_bytes(a=b"1"), "root-tar", 0),
        (gzip.compress(tar_bytes(a=b"1")), "root-tar", 0),
        (lzma.compress(tar_bytes(a=b"1")), "root-tar", 0),
        (b"hsqs" + b"\0" * 600, "squashfs", 0),
        (qcow2(5 * 1024**3 - 1), "qcow2", 5),
        (disk(1 << 20), "raw", 1),
    ],
    # not by their bytes: a compressed one holds the time, and two workers would collect two tests
    ids=["tar", "tar.gz", "tar.xz", "squashfs", "qcow2", "raw"],
)
def test_formats(tmp_path: Path, data: bytes, disk_format: str, gib: int) -> None:
    path = tmp_path / "lies.iso"
    path.write_bytes(data)
    found = look(path)
    assert (found.disk_format, found.min_disk_gib) == (disk_format, gib)


@pytest.mark.skipif(shutil.which("zstd") is None, reason="needs zstd")
def test_zstd(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(tar_bytes(a=b"1" * 100_000))
    subprocess.run(["zstd", "-q", tmp_path / "t", "-o", tmp_path / "t.zst"], check=True)
    assert look(tmp_path / "t.zst").disk_format == "root-tar"
    (tmp_path / "t.zst").write_bytes(b"\x28\xb5\x2f\xfd" + b"broken")
    with pytest.raises(Invalid):
        look(tmp_path / "t.zst")


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")
@pytest.mark.parametrize(("kind", "taken"), [("qcow2", True), ("vmdk", True), ("vdi", False), ("vpc", False)])
def test_what_qemu_makes(tmp_path: Path, kind: str, taken: bool) -> None:
    path = tmp_path / "disk"
    subprocess.run(["qemu-img", "create", "-q", "-f", kind, path, "1G"], check=True)
    if taken:
        assert (look(path).disk_format, look(path).min_disk_gib) == (kind, 1)
    else:
        with pytest.raises(Invalid) as caught:
            look(path)
        assert "qemu-img convert" in caught.value.hint


@pytest.mark.parametrize(
    "data",
    [b"", b"hello\n", b"\0" * 1024, gzip.compress(b"hello"), gzip.compress(b"x" * 4096)[:30], b"\xfd7zXZ\0nonsense",
     bz2.compress(tar_bytes(a=b"1")), b"<!DOCTYPE html>" + b" " * 497],
    ids=["empty", "text", "zeros", "gzip-of-text", "cut-gzip", "broken-xz", "bzip2", "page"],
)  # fmt: skip
def test_what_no_server_starts_from(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "image.qcow2"
    path.write_bytes(data)
    with pytest.raises(Invalid):
        look(path)


def test_a_plain_disk_when_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "d"
    path.write_bytes(b"\0" * 1024)
    assert look(path, raw=True).disk_format == "raw"


def test_a_tars_checksum_counts() -> None:
    block = bytearray(tar_bytes(a=b"1")[:512])
    assert is_tar(bytes(block))
    block[0] ^= 1
    assert not is_tar(bytes(block))


@pytest.mark.skipif(shutil.which("zstd") is None, reason="needs zstd")
def test_the_kernel_is_handed_over_whole(tmp_path: Path) -> None:
    kernel = b"MZ" + b"k" * 100_000
    (tmp_path / "t").write_bytes(tar_bytes(etc__passwd=b"x", **{"boot__vmlinuz-6": kernel}, z=b"z" * 2_000_000))
    subprocess.run(["zstd", "-q", tmp_path / "t", "-o", tmp_path / "t.zst"], check=True)
    dest = tmp_path / "node/probe-kernel"
    assert probe_kernel.hand_over(tmp_path / "t.zst", dest) == dest
    assert dest.read_bytes() == kernel
    assert [p.name for p in dest.parent.iterdir()] == ["probe-kernel"]
    (tmp_path / "u").write_bytes(tar_bytes(etc__passwd=b"x"))
    subprocess.run(["zstd", "-q", tmp_path / "u", "-o", tmp_path / "u.zst"], check=True)
    assert probe_kernel.hand_over(tmp_path / "u.zst", tmp_path / "none") is None
    (tmp_path / "v.zst").write_bytes(b"no archive")
    with pytest.raises(Backend):
        probe_kernel.hand_over(tmp_path / "v.zst", tmp_path / "none")
    assert not (tmp_path / "none").exists()
