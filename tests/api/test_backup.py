"""The drill of docs/backup.md on a simulated cloud: copied while it runs, it comes up elsewhere as it was."""

from __future__ import annotations

import hashlib
import shutil
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from demo.process import Up, connect

from tests.api.conftest import PASSWORD


def _up(state: Path) -> Up:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    return Up(state, listen=listen, env={"TRILITH_ADMIN_PASSWORD": PASSWORD}, args=("--simulated", "1"))


def _back_up(state: Path, to: Path) -> None:
    """What docs/backup.md says, in its order; `.backup` of the sqlite3 tool is the same call as here."""
    to.mkdir(mode=0o700)
    with closing(sqlite3.connect(state / "trilith.db")) as live, closing(sqlite3.connect(to / "trilith.db")) as copy:
        live.backup(copy)
    shutil.copy2(state / "master.key", to / "master.key")
    for name in ("images", "simulated"):
        shutil.copytree(state / name, to / name)


def _seen(connection: Any) -> dict[str, Any]:
    images = list(connection.image.images())
    return {
        "servers": {s.name: (s.id, s.status) for s in connection.compute.servers()},
        "images": {i.name: hashlib.sha256(connection.image.download_image(i).content).hexdigest() for i in images},
        "networks": sorted(n.name for n in connection.network.networks()),
    }


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy of a cloud that is no more, and what its clients saw."""
    up = _up(tmp_path / "old")
    try:
        connection = connect(up.start())
        connection.create_network("inside")
        image, flavor = connection.get_image("tiny"), connection.get_flavor("m1.nano")
        server = connection.compute.create_server(name="one", image_id=image.id, flavor_id=flavor.id, networks="none")
        connection.compute.wait_for_server(server, interval=0.05, wait=30)
        _back_up(tmp_path / "old", tmp_path / "copy")
        seen = _seen(connection)
    finally:
        up.kill()
    shutil.rmtree(tmp_path / "old")
    return tmp_path / "copy", seen


def test_a_copy_comes_up_as_it_was(saved: tuple[Path, dict[str, Any]]) -> None:
    copy, seen = saved
    assert seen["servers"]["one"][1] == "ACTIVE"
    up = _up(copy)
    try:
        assert _seen(connect(up.start())) == seen
    finally:
        up.stop()


def test_without_its_master_key_it_says_what_is_missing(saved: tuple[Path, dict[str, Any]]) -> None:
    copy, _ = saved
    (copy / "master.key").unlink()
    up = _up(copy)
    try:
        with pytest.raises(RuntimeError, match=r"master\.key"):
            up.start()
    finally:
        up.stop()
