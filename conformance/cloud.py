"""A fresh cloud for Tempest, seeded with what it must find: two images, two flavors, an external network."""

from __future__ import annotations

import http.server
import secrets
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from demo.process import Up

from conformance.configuration import LOCKOUT_ATTEMPTS, LOCKOUT_SECONDS, PASSWORD_HISTORY, Target
from conformance.stub import stub


@contextmanager
def simulated(folder: Path, *, enforce_format: bool) -> Iterator[Target]:
    """Two simulated nodes, no root. enforce_format: uploads must be of the format that they declare."""
    with _files(folder / "files") as (files, port):
        settings = {
            "LOCKOUT_ATTEMPTS": LOCKOUT_ATTEMPTS,
            "LOCKOUT_SECONDS": LOCKOUT_SECONDS,
            "PASSWORD_HISTORY": PASSWORD_HISTORY,
            "IMAGE_FORMAT_CHECK": str(enforce_format).lower(),
            "IMAGE_IMPORT_ALLOW": f"127.0.0.1:{port}",
            "ADMIN_PASSWORD": secrets.token_urlsafe(12),
        }
        env = {f"TRILITH_{key}": str(value) for key, value in settings.items()}
        listen = f"127.0.0.1:{_free_port()}"
        up = Up(folder / "cloud", listen=listen, env=env, args=("--simulated", "2", "--clouds-yaml", "none"))
        facts = up.start()
        try:
            yield _target(facts, files=files, enforce_format=enforce_format)
        finally:
            up.stop()


@contextmanager
def nothing() -> Iterator[Target]:
    """The 404 stub: a cloud that has users and nothing else."""
    with stub() as url:
        yield Target(url=url, password="none", image="none", image_alt="other", flavor="1", flavor_alt="2",
                     public_network="none", files=url, guests=False, nodes=2, networks=False)  # fmt: skip


def _target(facts: dict[str, Any], *, files: str, enforce_format: bool) -> Target:
    import openstack

    root = "http://" + urlsplit(facts["url"]).netloc
    with openstack.connection.Connection(
        auth={"auth_url": f"{root}/identity/v3", "username": facts["user"], "password": facts["password"],
              "project_name": facts["project"], "user_domain_id": "default", "project_domain_id": "default"},
        region_name="RegionOne",
    ) as sdk:  # fmt: skip
        return Target(
            url=root,
            password=facts["password"],
            image=sdk.image.find_image("tiny", ignore_missing=False).id,
            image_alt=sdk.image.find_image("tiny-alt", ignore_missing=False).id,
            flavor=sdk.compute.find_flavor("m1.nano", ignore_missing=False).id,
            flavor_alt=sdk.compute.find_flavor("m1.micro", ignore_missing=False).id,
            public_network=sdk.network.find_network("public", ignore_missing=False).id,
            files=files,
            guests=False,
            nodes=2,
            enforce_format=enforce_format,
        )


@contextmanager
def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """An HTTP server of small files, for images that the cloud fetches itself."""
    folder.mkdir(parents=True)
    (folder / "small.img").write_bytes(secrets.token_bytes(64 * 1024))
    (folder / "small.qcow2").write_bytes(_empty_qcow2())
    handler = partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", server.server_port
        finally:
            server.shutdown()
            thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def _empty_qcow2() -> bytes:
    """16 MiB of nothing: header, refcount table and block, L1 table (docs/interop/qcow2.txt of QEMU)."""
    cluster, size = 65536, 16 << 20
    fields = (b"QFI\xfb", 3, 0, 0, 16, size, 0, 1, 3 * cluster, cluster, 1, 0, 0, 0, 0, 0, 4, 104)
    header = struct.pack(">4sIQIIQIIQQIIQQQQII", *fields)
    table = struct.pack(">Q", 2 * cluster)
    block = struct.pack(">4H", 1, 1, 1, 1)
    return b"".join(part.ljust(cluster, b"\0") for part in (header, table, block, b""))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
