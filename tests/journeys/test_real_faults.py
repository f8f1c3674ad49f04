"""Bad images, a full disk and crashes, on real guests: each ends in a clear answer, and nothing is left behind."""

from __future__ import annotations

import gzip
import io
import os
import signal
import struct
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openstack.exceptions import BadRequestException

from tests.journeys.harness import Cloud, cloud
from trilith.images import BuiltImage

pytestmark = [
    pytest.mark.root,
    pytest.mark.ovn,
    pytest.mark.lxc,
    pytest.mark.libvirt,
    pytest.mark.journey,
    pytest.mark.timeout(420),
]
#: unpacked, of some 2 MiB: a thousand times as much
_BOMB_GIB = 2


@pytest.fixture(scope="module")
def real(tiny_image: BuiltImage) -> Iterator[Cloud]:
    with cloud(tiny_image) as running:
        yield running


@pytest.mark.parametrize(
    "moment",
    [
        "server.create:create:before",
        "server.create:create:effect",
        "server.create:start:effect",
        "server.create:up:effect",
        "server.delete:guest:effect",
        "server.delete:rows:before",
    ],
)
def test_a_crash_in_the_middle_ends_whole_after_a_restart(real: Cloud, moment: str) -> None:
    real.up.stop()
    real.start(TRILITH_CRASH_AT=moment)
    real.node_up()
    server = real.order(f"crash-{moment.replace(':', '-').replace('.', '-')}", "lxc")
    if moment.startswith("server.delete"):
        real.wait(server)
        real.sdk.compute.delete_server(server)
    assert real.up.wait(60) == -9
    real.up.kill()
    real.start()
    real.node_up()
    if moment.startswith("server.create"):
        real.wait(server)
        floating = real.float(server)
        real.login(floating)
        real.delete(server)
    else:
        real.sdk.compute.wait_for_delete(server, wait=60, interval=0.1)
    assert real.traces(server.id) == []
    assert [p for p in real.sdk.network.ports() if p.device_id == server.id] == []


def _tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _member(name: str, kind: bytes = tarfile.REGTYPE, **more: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in more.items():
        setattr(info, key, value)
    return info


def _qcow2(folder: Path, *options: str) -> bytes:
    path = folder / "bad.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), "16M"], check=True)
    return path.read_bytes()


def _images(folder: Path) -> dict[str, tuple[str, bytes]]:
    """What is wrong with it → its disk format and content."""
    (folder / "base.raw").write_bytes(bytes(1 << 20))
    descriptor = (
        b"# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n"
        b"# Extent description\nRW 2048 FLAT \"/etc/shadow\" 0\n"
    )  # fmt: skip
    header = struct.pack("<4sIIQQQQIQQQB", b"KDMV", 1, 3, 2048, 128, 1, 20, 512, 21, 26, 128, 0)
    vmdk = header.ljust(512, b"\0") + descriptor.ljust(20 * 512, b"\0") + bytes(1 << 16)
    escape = _tar((_member("etc"), b""), (_member("../../../../tmp/trilith-escaped"), b"out"))
    link = _tar((_member("out", tarfile.SYMTYPE, linkname="/tmp"), b""), (_member("out/trilith-escaped"), b"out"))
    device = _tar((_member("dev/vda", tarfile.BLKTYPE, devmajor=254, devminor=0, mode=0o666), b""))
    huge = _member("bomb")
    huge.size = _BOMB_GIB << 30
    # members of gzip may follow each other: the same 64 KiB over and over
    part = gzip.compress(bytes(1 << 26), 1)
    bomb = gzip.compress(huge.tobuf(tarfile.GNU_FORMAT)) + part * (_BOMB_GIB << 4)
    return {
        "backing file": ("qcow2", _qcow2(folder, "-F", "raw", "-b", "/etc/shadow")),
        "data file": ("qcow2", _qcow2(folder, "-o", f"data_file={folder}/data.raw")),
        "vmdk that names a path": ("vmdk", vmdk),
        "tar with ..": ("root-tar", escape),
        "tar through a link": ("root-tar", link),
        "tar with a device": ("root-tar", device),
        "no image at all": ("qcow2", b"not an image" * 1000),
        "archive bomb": ("root-tar", bomb),
    }


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, bytes]]:
    return _images(tmp_path_factory.mktemp("bad"))


def _upload(real: Cloud, name: str, disk_format: str, data: bytes) -> tuple[Any, Any]:
    image = real.sdk.image.create_image(
        name, disk_format=disk_format, container_format="bare", allow_duplicates=True, min_disk=0
    )
    answer = real.sdk.image.put(
        f"/images/{image.id}/file", data=data, headers={"Content-Type": "application/octet-stream"}, raise_exc=False
    )
    return image, answer


@pytest.mark.parametrize(
    "what",
    [
        "backing file",
        "data file",
        "vmdk that names a path",
        "tar with ..",
        "tar through a link",
        "tar with a device",
        "no image at all",
        "archive bomb",
    ],
)
def test_a_malicious_image_is_refused_or_its_server_fails(
    real: Cloud, bad: dict[str, tuple[str, bytes]], what: str
) -> None:
    disk_format, data = bad[what]
    image, answer = _upload(real, what.replace(" ", "-"), disk_format, data)
    if answer.status_code < 300:
        pillar = "lxc" if disk_format == "root-tar" else "kvm"
        server = real.order("victim", pillar, image=image.name)
        fault = real.failure(server)
        print(f"{what}: {fault[:300]}")
        real.delete(server)
        assert real.traces(server.id) == []
    else:
        print(f"{what}: {answer.status_code} {answer.text[:300]}")
        assert answer.status_code in (400, 409, 413, 415), answer.text
    real.sdk.image.delete_image(image.id)
    assert not Path("/tmp/trilith-escaped").exists()
    assert not list((real.state / "node" / "storage").rglob("*.part")), "half-made files"


def test_an_image_larger_than_the_flavors_disk_is_refused(real: Cloud, tmp_path: Path) -> None:
    path = tmp_path / "wide.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "5G"], check=True)
    image, answer = _upload(real, "wide", "qcow2", path.read_bytes())
    assert answer.status_code == 204, answer.text
    with pytest.raises(BadRequestException, match=r"(?i)disk"):
        real.order("narrow", "kvm", image="wide")
    real.sdk.image.delete_image(image.id)


def test_a_northbound_that_restarts_is_waited_for(real: Cloud) -> None:
    os.kill(real.daemons()["ovsdb-central"], signal.SIGKILL)
    server = real.order("meanwhile", "lxc")
    real.wait(server)
    real.delete(server)


def test_a_northbound_that_hangs_fails_the_server_and_the_next_try_works(real: Cloud) -> None:
    """What users wish for is taken meanwhile, and is in force once it answers again."""
    net = real.sdk.network
    pid = real.daemons()["ovsdb-central"]
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        network = net.create_network(name="wished")
        subnet = net.create_subnet(network_id=network.id, ip_version=4, cidr="10.30.0.0/24", name="wished")
        port = net.create_port(network_id=network.id, name="wished")
        rule = net.create_security_group_rule(
            security_group_id=real.group.id, direction="ingress", ethertype="IPv4", protocol="udp",
            port_range_min=99, port_range_max=99,
        )  # fmt: skip
        assert [p.id for p in net.ports(name="wished")] == [port.id]
        took = time.monotonic() - began
        server = real.order("hung", "lxc")
        fault = real.failure(server)
        print(f"wishes took {took:.2f} s; the fault after {time.monotonic() - began:.0f} s: {fault[:300]}")
        assert took < 5
        assert "OVN" in fault
    finally:
        os.kill(pid, signal.SIGCONT)
    real.delete(server)
    assert real.traces(server.id) == []
    again = real.boot("on-the-wished", "lxc", networks=[{"port": port.id}], security_groups=[])
    assert net.get_port(port).status == "ACTIVE"
    real.delete(again)
    net.delete_security_group_rule(rule)
    net.delete_port(port)
    net.delete_subnet(subnet)
    net.delete_network(network)


def test_a_full_disk_fails_the_server_and_the_next_try_works(tiny_image: BuiltImage) -> None:
    """The state on a small file system that something else fills."""
    with cloud(tiny_image, room_mib=4096) as small:
        works = small.boot("before", "lxc")
        small.delete(works)
        image = small.sdk.image.find_image("tiny")
        hog = small.folder / "s" / "hog"
        with hog.open("wb") as file:
            free = os.statvfs(hog).f_bavail * os.statvfs(hog).f_frsize
            os.posix_fallocate(file.fileno(), 0, free - (2 << 20))
        # a form of the image that is not there yet must be made, and has no room
        server = small.order("full", "kvm", image=image.name)
        fault = small.failure(server)
        print(f"full disk: {fault[:400]}")
        assert any(word in fault.lower() for word in ("space", "full"))
        small.delete(server)
        hog.unlink()
        again = small.boot("after", "kvm")
        small.delete(again)
        assert small.traces(server.id) == []
