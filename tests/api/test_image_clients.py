"""The ordinary client, openstacksdk, against a real `trilith up --simulated`: images and resource providers."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openstack
import pytest
from openstack.connection import Connection

PASSWORD = "correct horse battery staple"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    up = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("trilith")),
            *("up", "--state", str(tmp_path / "state"), "--listen", f"127.0.0.1:{_free_port()}"),
            *("--simulated", "1", "--json"),
        ],
        stdout=subprocess.PIPE,
        stderr=(tmp_path / "log").open("wb"),
        env=os.environ | {"TRILITH_ADMIN_PASSWORD": PASSWORD},
    )
    try:
        assert up.stdout is not None
        line = up.stdout.readline()
        assert line, (tmp_path / "log").read_text()
        yield openstack.connect(
            auth={
                "auth_url": json.loads(line)["url"],
                "username": "admin",
                "password": PASSWORD,
                "project_name": "admin",
                "user_domain_id": "default",
                "project_domain_id": "default",
            },
            load_yaml_config=False,
            load_envvars=False,
        )
    finally:
        up.send_signal(signal.SIGINT)
        assert up.wait(timeout=30) == 0


def test_images_and_providers(connection: Connection, tmp_path: Path) -> None:
    data = os.urandom(2_000_000)
    (tmp_path / "in").write_bytes(data)
    made = connection.create_image(
        "one", filename=str(tmp_path / "in"), disk_format="raw", container_format="bare", wait=True, hw_disk_bus="scsi"
    )
    found = connection.image.find_image("one")
    assert found is not None
    assert (found.id, found.status, found.size) == (made.id, "active", len(data))
    assert found.hash_value == hashlib.sha512(data).hexdigest()
    connection.image.update_image(found, name="two", min_disk=4)
    connection.image.add_tag(found, "blue")
    (tagged,) = connection.image.images(tag="blue")
    assert (tagged.name, tagged.min_disk, tagged.hw_disk_bus) == ("two", 4, "scsi")
    connection.image.download_image(tagged, output=str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == data
    for number in range(3):
        connection.image.create_image(f"empty{number}", disk_format="raw", container_format="bare")
    pages = [i.id for i in connection.image.images(limit=2)]
    assert len(pages) == len(set(pages)) >= 4
    connection.image.deactivate_image(tagged)
    assert connection.image.get_image(tagged).status == "deactivated"
    connection.image.delete_image(tagged)
    assert connection.image.find_image("two") is None
    providers = list(connection.placement.resource_providers())
    assert [p.name for p in providers] == ["sim-1"]
    classes = {i.resource_class for i in connection.placement.resource_provider_inventories(providers[0])}
    assert {"VCPU", "MEMORY_MB", "DISK_GB"} <= classes
