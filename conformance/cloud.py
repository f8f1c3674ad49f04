"""A fresh cloud for Tempest, seeded with what it must find: two images, two flavors, an external network."""

from __future__ import annotations

import http.server
import secrets
import shutil
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openstack
from bench.plan import Plan
from bench.real import Namespace
from demo import pictures
from demo.process import Up

from conformance import formats
from conformance.configuration import LOCKOUT_ATTEMPTS, LOCKOUT_SECONDS, PASSWORD_HISTORY, Target
from conformance.stub import stub
from trilith.cli import probe_kernel
from trilith.commands import image_limits


@contextmanager
def simulated(folder: Path, *, enforce_format: bool) -> Iterator[Target]:
    """Two simulated nodes, no root. enforce_format: uploads must be of the format that they declare."""
    with _files(folder / "files") as files:
        listen = f"127.0.0.1:{_free_port()}"
        args = ("--simulated", "2", "--clouds-yaml", "none")
        up = Up(folder / "cloud", listen=listen, env=_settings(folder, files, enforce_format), args=args)
        facts = up.start()
        try:
            with _connected(facts) as (root, sdk):
                target = _target(root, facts["password"], sdk, files)
            # where content is not looked at, the tests of formats ask simulated guests to refuse it, which read nothing
            samples = formats.make(folder / "formats") if enforce_format and shutil.which("qemu-img") else None
            yield replace(target, enforce_format=enforce_format, nodes=2, formats=samples)
        finally:
            up.stop()


@contextmanager
def real(folder: Path, pillar: str, *, unified_limits: bool) -> Iterator[Target]:
    """This machine's drivers in a network namespace of their own, guests of one pillar (lxc or kvm) that answer ssh.
    unified_limits: servers are counted by Keystone's limits. Needs root. Raises RuntimeError when the node does not
    come up."""
    tiny = pictures.built("tiny")[0]  # before: the namespace has no way out
    plan = Plan(folder)
    with Namespace(plan) as namespace, _files(folder / "files") as files:
        env = {"TRILITH_NODE_NAME": "conformance", "TRILITH_CONTAINER_POOL_GIB": "16",
               "TRILITH_EGRESS_KBPS": "1000000", "TRILITH_INGRESS_KBPS": "1000000"}  # fmt: skip
        env |= {"TRILITH_QUOTA_DRIVER": "unified"} if unified_limits else {}
        up = Up(folder / "cloud", listen=plan.listen(), env=_settings(folder, files, True) | env,
                args=("--clouds-yaml", "none"))  # fmt: skip
        if pillar == "kvm":
            # the probe of what KVM can do here boots this kernel, so it must lie there before the node looks
            probe_kernel.hand_over(tiny.path, folder / "cloud" / "node" / "probe-kernel")
        facts = up.start()
        try:
            namespace.ready(facts)
            with _connected(facts) as (root, sdk):
                for name in ("tiny", "tiny-alt"):
                    pictures.upload(sdk, replace(tiny, name=name))
                for name, vcpus, ram, disk in (("tempest.small", 1, 128, 1), ("tempest.large", 2, 192, 2)):
                    flavor = sdk.compute.create_flavor(name=name, vcpus=vcpus, ram=ram, disk=disk)
                    sdk.compute.create_flavor_extra_specs(flavor, {"trilith:pillar": pillar})
                _limit_images(sdk)
                target = _target(root, facts["password"], sdk, files, flavors=("tempest.small", "tempest.large"))
                emulated = pillar == "kvm" and "CUSTOM_KVM_LINUX" not in _traits(sdk)
            yield replace(
                target, guests=True, unified_limits=unified_limits, containers=pillar == "lxc", emulated=emulated
            )
        finally:
            up.stop()
            up.down()


def _settings(folder: Path, files: str, enforce_format: bool) -> dict[str, str]:
    settings = {
        "LOCKOUT_ATTEMPTS": LOCKOUT_ATTEMPTS,
        "LOCKOUT_SECONDS": LOCKOUT_SECONDS,
        "PASSWORD_HISTORY": PASSWORD_HISTORY,
        "IMAGE_FORMAT_CHECK": str(enforce_format).lower(),
        "IMAGE_IMPORT_ALLOW": urlsplit(files).netloc,
        # by weight and by name in the same order, which Tempest's two ways to compare them take for granted
        "IMAGE_STORES": f"archive:20={folder / 'archive'},fast:10={folder / 'fast'},web=http",
        "IMAGE_LOCATIONS": "true",
        "IMAGE_CONVERSION": "raw",
        "ENFORCE_SCOPE": "compute",
        "ADMIN_PASSWORD": secrets.token_urlsafe(12),
    }
    return {f"TRILITH_{key}": str(value) for key, value in settings.items()}


@contextmanager
def nothing() -> Iterator[Target]:
    """The 404 stub: a cloud that has users and nothing else."""
    with stub() as url:
        yield Target(url=url, password="none", image="none", image_alt="other", flavor="1", flavor_alt="2",
                     public_network="none", files=url, guests=False, nodes=2, networks=False)  # fmt: skip


@contextmanager
def _connected(facts: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The cloud's root URL, and an openstacksdk connection as its administrator."""
    root = "http://" + urlsplit(facts["url"]).netloc
    with openstack.connection.Connection(
        auth={"auth_url": f"{root}/identity/v3", "username": facts["user"], "password": facts["password"],
              "project_name": facts["project"], "user_domain_id": "default", "project_domain_id": "default"},
        region_name="RegionOne",
    ) as sdk:  # fmt: skip
        yield root, sdk


def _target(
    root: str, password: str, sdk: Any, files: str, flavors: tuple[str, str] = ("m1.nano", "m1.micro")
) -> Target:
    return Target(
        url=root,
        password=password,
        image=sdk.image.find_image("tiny", ignore_missing=False).id,
        image_alt=sdk.image.find_image("tiny-alt", ignore_missing=False).id,
        flavor=sdk.compute.find_flavor(flavors[0], ignore_missing=False).id,
        flavor_alt=sdk.compute.find_flavor(flavors[1], ignore_missing=False).id,
        public_network=sdk.network.find_network("public", ignore_missing=False).id,
        files=files,
        guests=False,
        nodes=1,
        # aggregate tests look for nodes of the type that the configuration names
        hypervisor=next(h.hypervisor_type for h in sdk.compute.hypervisors(details=True)),
    )


def _traits(sdk: Any) -> set[str]:
    """Of the one node."""
    provider = next(iter(sdk.placement.resource_providers()))
    answer = sdk.placement.get(f"/resource_providers/{provider.id}/traits", microversion="1.6")
    return set(answer.json()["traits"])


def _limit_images(sdk: Any) -> None:
    """Bounds that no test reaches by chance: the scenarios of image quotas lower them for a project of their own."""
    service = next(s for s in sdk.identity.services() if s.type == "image")
    for name, amount in (
        (image_limits.SIZE, 100_000),  # MiB
        (image_limits.STAGED, 100_000),  # MiB
        (image_limits.COUNT, 1000),
        (image_limits.UPLOADING, 1000),
    ):
        sdk.identity.create_registered_limit(
            service_id=service.id, region_id="RegionOne", resource_name=name, default_limit=amount
        )


@contextmanager
def _files(folder: Path) -> Iterator[str]:
    """An HTTP server of small files, for images that the cloud fetches itself."""
    folder.mkdir(parents=True)
    (folder / "small.img").write_bytes(secrets.token_bytes(64 * 1024))
    (folder / "small.qcow2").write_bytes(_empty_qcow2())
    handler = partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
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
