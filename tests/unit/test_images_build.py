"""The parts of image building that need no packages."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from pathlib import Path

import pytest

from trilith.errors import Invalid, Unsupported
from trilith.images import NAMES, apt, build
from trilith.images.archive import Tree, cpio, sha256
from trilith.images.kernel import Modules

GUEST = Path(apt.__file__).parent / "guest"

STANZAS = """Types: deb deb-src
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://other.example
Suites: nodistro
Components: main

Enabled: no
Types: deb
URIs: http://off.example
Suites: bookworm
Components: main
"""


def test_only_sources_of_the_release_are_used(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "a.sources").write_text(STANZAS)
    (tmp_path / "sources.list").write_text(
        "deb [arch=amd64] http://one.example/debian bookworm-security main # why\n"
        "deb http://third.example bookworm stable\ndeb-src http://one.example bookworm main\n"
    )
    lines, stanzas = apt.sources("bookworm", etc=tmp_path)
    assert lines == "deb [arch=amd64] http://one.example/debian bookworm-security main\n"
    assert "mirror.example" in stanzas
    assert "Types: deb\n" in stanzas
    assert "other.example" not in stanzas
    assert "off.example" not in stanzas


def test_a_release_without_a_source_is_refused_plainly(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    with pytest.raises(Unsupported, match=r"No package source of this host serves ubuntu noble.*--mirror"):
        apt.sources("noble", etc=tmp_path)
    with pytest.raises(Unsupported, match="not the URL"):
        apt.sources("noble", mirror="x y", etc=tmp_path)


async def test_unknown_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="tiny"):
        await build("windows", tmp_path, progress=lambda what, part: None)
    assert os.listdir(tmp_path) == []
    assert NAMES == ("tiny", "debian-12", "ubuntu-24.04")


async def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Unsupported):
        await build("ubuntu-24.04", tmp_path, progress=lambda what, part: None, mirror="nonsense")
    assert os.listdir(tmp_path) == []


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    def tree(names: list[str]) -> Tree:
        made = Tree()
        for name in names:
            made.file(name, f"content of {name.rsplit('/')[-1]}", 0o4755 if name == "b/sudo" else 0o644)
        made.link("l", "b/sudo")
        return made

    tree(["a", "b/sudo"]).write(tmp_path / "1.tar")
    tree(["b/sudo", "a"]).write(tmp_path / "2.tar")
    assert sha256(tmp_path / "1.tar") == sha256(tmp_path / "2.tar")
    listed = subprocess.run(["tar", "-tvf", tmp_path / "1.tar"], check=True, capture_output=True, text=True).stdout
    assert "-rwsr-xr-x 0/0" in listed
    assert "l -> b/sudo" in listed


def test_cpio_is_what_cpio_reads(tmp_path: Path) -> None:
    tree = Tree()
    tree.file("bin/x", b"12345", 0o755)
    tree.link("init", "bin/x")
    packed = cpio(tree)
    done = subprocess.run(["cpio", "-tv", "--quiet"], input=gzip.decompress(packed), capture_output=True, check=True)
    text = done.stdout.decode()
    assert [line.split()[8] for line in text.splitlines()] == ["bin", "bin/x", "init"]
    assert "init -> bin/x" in text
    assert packed == cpio(tree)


def test_modules_come_after_what_they_need(tmp_path: Path) -> None:
    for name, needs in (("virtio_blk", "virtio,virtio_ring"), ("virtio", "virtio_ring"), ("virtio_ring", "")):
        path = tmp_path / "kernel" / f"{name}.ko"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\0license=GPL\0depends=" + needs.encode() + b"\0name=x\0")
    (tmp_path / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    found = Modules(tmp_path).closure(["virtio-blk", "ext4", "unheard-of"])
    assert [path.name for path in found] == ["virtio_ring.ko", "virtio.ko", "virtio_blk.ko"]


@pytest.mark.parametrize("script", sorted(p.name for p in GUEST.glob("*.sh")))
def test_guest_scripts_parse(script: str) -> None:
    subprocess.run(["busybox", "sh", "-n", str(GUEST / script)], check=True)


def test_json_in_a_guest(tmp_path: Path) -> None:
    value = {
        "uuid": "u-1",
        "empty": {},
        "none": None,
        "list": [1, -2.5e3, [], ["x"]],
        "public_keys": {'na"me': "ssh-ed25519 AAA\n"},
        "text": "a\\b \u00e9 \u20ac",
    }
    for text in (json.dumps(value), json.dumps(value, indent=2)):
        command = ["busybox", "sh", GUEST / "json.sh"]
        done = subprocess.run(command, input=text.encode(), capture_output=True, check=True)
        assert dict(line.split("\t") for line in done.stdout.decode().splitlines()) == {
            "uuid": "u-1",
            "none": "null",
            "list/0": "1",
            "list/1": "-2500.0",
            "list/3/0": "x",
            'public_keys/na"me': "ssh-ed25519 AAA ",
            "text": "a\\b \u00e9 \u20ac",
        }


@pytest.mark.parametrize("text", ["{", '{"a" 1}', '["a"', "", '{"a": "unended}'])
def test_broken_json_in_a_guest_is_an_error(text: str) -> None:
    done = subprocess.run(["busybox", "sh", GUEST / "json.sh"], input=text.encode(), capture_output=True, check=False)
    assert done.returncode != 0
    assert b"json:" in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-lk", "-p", "80", "-e", "echo", "-lk"], "-l -p 80 -l -e echo -lk"),
        (["-k", "-l", "-p", "80", "-e", "cat"], "-l -p 80 -l -e cat"),
        (["-l", "-p", "80", "-e", "cat"], "-l -p 80 -e cat"),
    ],
)
def test_nc_speaks_both_dialects(tmp_path: Path, words: list[str], expected: str) -> None:
    fake = tmp_path / "busybox"
    fake.write_text('#!/bin/sh\nshift\necho "$*"\n')
    fake.chmod(0o755)
    # dash has no nc of its own to prefer
    done = subprocess.run(["/bin/dash", GUEST / "nc.sh", *words], env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
                          capture_output=True, check=True, text=True)  # fmt: skip
    assert done.stdout.strip() == expected
