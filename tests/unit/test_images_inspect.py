"""Disk images that lie, refer to other files, or are broken: each is refused before a tool opens it."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from trilith.drivers.storage.inspect import bare_kind, boot_files, inspect_disk, qcow2_size
from trilith.errors import Invalid, Unsupported

needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")


def qemu_img(*words: str) -> None:
    subprocess.run(["qemu-img", *words], check=True, capture_output=True)


def look(path: Path, disk_format: str, gib: int = 10) -> int:
    return inspect_disk(path, disk_format, max_virtual_gib=gib).virtual_bytes


@needs_qemu_img
@pytest.mark.parametrize(("claimed", "made"), [("qcow2", "qcow2"), ("vmdk", "vmdk"), ("vdi", "vdi"), ("vhdx", "vhdx"),
                                               ("raw", "raw")])  # fmt: skip
def test_honest_images_pass(tmp_path: Path, claimed: str, made: str) -> None:
    path = tmp_path / "image"
    qemu_img("create", "-f", made, str(path), "64M")
    assert look(path, claimed) == 64 << 20


@needs_qemu_img
def test_backing_file(tmp_path: Path) -> None:
    qemu_img("create", "-f", "qcow2", "-F", "raw", "-b", "/etc/shadow", "-u", str(tmp_path / "x"), "64M")
    with pytest.raises(Invalid, match="backing"):
        look(tmp_path / "x", "qcow2")


@needs_qemu_img
def test_data_file(tmp_path: Path) -> None:
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={tmp_path}/data,data_file_raw=on", str(tmp_path / "x"), "64M")
    with pytest.raises(Invalid, match="data"):
        look(tmp_path / "x", "qcow2")


@needs_qemu_img
def test_a_qcow2_said_to_be_raw(tmp_path: Path) -> None:
    qemu_img("create", "-f", "qcow2", str(tmp_path / "x"), "64M")
    with pytest.raises(Invalid, match="said to be raw and is qcow2"):
        look(tmp_path / "x", "raw")


def test_raw_said_to_be_qcow2(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(1 << 20))
    with pytest.raises(Invalid, match="said to be qcow2"):
        look(tmp_path / "x", "qcow2")


@pytest.mark.parametrize("extent", ['RW 2048 FLAT "/etc/shadow" 0', 'RW 2048 SPARSE "../../secret.vmdk"'])
def test_vmdk_descriptor_with_a_path(tmp_path: Path, extent: str) -> None:
    text = f'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n{extent}\n'
    (tmp_path / "x").write_text(text + "\n" * 4096)
    with pytest.raises(Invalid):
        look(tmp_path / "x", "vmdk")


@needs_qemu_img
def test_vmdk_flat_of_a_real_tool(tmp_path: Path) -> None:
    qemu_img("create", "-f", "vmdk", "-o", "subformat=monolithicFlat", str(tmp_path / "x.vmdk"), "64M")
    with pytest.raises(Invalid):
        look(tmp_path / "x.vmdk", "vmdk")


@needs_qemu_img
def test_too_big(tmp_path: Path) -> None:
    qemu_img("create", "-f", "qcow2", str(tmp_path / "x"), "1T")
    with pytest.raises(Invalid, match="1024 GiB; 10 GiB are allowed"):
        look(tmp_path / "x", "qcow2")


@needs_qemu_img
def test_truncated(tmp_path: Path) -> None:
    qemu_img("create", "-f", "qcow2", str(tmp_path / "x"), "64M")
    os.truncate(tmp_path / "x", 20)
    with pytest.raises(Invalid):
        look(tmp_path / "x", "qcow2")


def test_formats_without_a_disk(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"kernel")
    with pytest.raises(Unsupported, match="aki"):
        look(tmp_path / "x", "aki")


@needs_qemu_img
def test_own_header(tmp_path: Path) -> None:
    qemu_img("create", "-f", "qcow2", str(tmp_path / "x"), "3G")
    assert qcow2_size(tmp_path / "x") == 3 << 30


def test_bare(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\x7fELF" + bytes(60) + struct.pack("<III", 4, 4, 18) + b"Xen\0" + bytes(4))
    assert bare_kind(path) == "elf"
    path.write_bytes(bytes(65536))
    assert bare_kind(path) == "rom"
    for bad in (b"", b"\x7fELF" + bytes(100), bytes(1000)):
        path.write_bytes(bad)
        with pytest.raises(Invalid):
            bare_kind(path)


def test_kernels_are_found_and_links_do_not_lead_out(tmp_path: Path) -> None:
    boot = tmp_path / "boot"
    boot.mkdir()
    assert boot_files(tmp_path) is None
    (boot / "vmlinuz-6.1.0-9-amd64").write_bytes(b"old")
    (boot / "vmlinuz-6.1.0-10-amd64").write_bytes(b"new")
    (boot / "initrd.img-6.1.0-10-amd64").write_bytes(b"i")
    assert boot_files(tmp_path) == (boot / "vmlinuz-6.1.0-10-amd64", boot / "initrd.img-6.1.0-10-amd64", "")
    (boot / "vmlinuz").symlink_to("vmlinuz-6.1.0-9-amd64")
    (boot / "cmdline").write_text("root=/dev/vda quiet\n")
    assert boot_files(tmp_path) == (boot / "vmlinuz-6.1.0-9-amd64", None, "root=/dev/vda quiet")
    for name in os.listdir(boot):
        (boot / name).unlink()
    (boot / "vmlinuz").symlink_to("/etc/shadow")
    assert boot_files(tmp_path) is None
    boot.rename(tmp_path / "elsewhere")
    boot.symlink_to("/boot")
    assert boot_files(tmp_path) is None
