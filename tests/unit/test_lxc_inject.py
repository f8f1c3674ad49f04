"""Files of a personality in a container's layer: the image's links are followed, and never out of the root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trilith.drivers.lxc import inject
from trilith.errors import Invalid
from trilith.model.instance import InjectedFile


@pytest.fixture
def root(tmp_path: Path) -> tuple[Path, Path]:
    image, upper = tmp_path / "image", tmp_path / "upper"
    for folder in (image / "etc", image / "usr/bin", upper):
        folder.mkdir(parents=True)
    (image / "bin").symlink_to("usr/bin")
    (image / "escape").symlink_to("../../../..")
    (image / "host").symlink_to(str(tmp_path))
    (image / "loop").symlink_to("loop")
    (image / "etc").chmod(0o751)
    (image / "etc/motd").write_text("of the image")
    (image / "etc/passwd").symlink_to("/host/stolen")
    return image, upper


def _write(root: tuple[Path, Path], path: str, content: bytes = b"x") -> None:
    inject.write([InjectedFile(path=path, content=content)], *root)


def test_a_file_lies_over_the_images(root: tuple[Path, Path]) -> None:
    _write(root, "/etc/motd", b"mine")
    _write(root, "/etc/motd", b"mine again")
    assert (root[1] / "etc/motd").read_bytes() == b"mine again"
    assert (root[1] / "etc").stat().st_mode & 0o7777 == 0o751, "the image's folder is seen as it was"
    assert (root[0] / "etc/motd").read_text() == "of the image"
    _write(root, "srv/new/file")
    assert (root[1] / "srv/new/file").read_bytes() == b"x"


def test_links_of_the_image_are_followed_inside(root: tuple[Path, Path]) -> None:
    _write(root, "/bin/tool")
    assert (root[1] / "usr/bin/tool").is_file()
    assert not os.path.lexists(root[1] / "bin")
    _write(root, "/escape/etc/../inside")
    assert (root[1] / "inside").is_file()
    _write(root, "../../outside")
    assert (root[1] / "outside").is_file()
    _write(root, "/etc/passwd", b"covers the link")
    assert (root[1] / "etc/passwd").read_bytes() == b"covers the link"
    _write(root, "/host/x")
    assert not (root[0].parent / "x").exists(), "an absolute link begins at the guest's root"


@pytest.mark.parametrize("path", ["/", "/etc", "/etc/motd/below", "/loop/x", "/.."])
def test_what_is_no_place_for_a_file_is_refused(root: tuple[Path, Path], path: str) -> None:
    with pytest.raises(Invalid):
        _write(root, path)
