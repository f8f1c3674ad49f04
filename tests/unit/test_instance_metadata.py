"""The metadata of one server against golden files: the service's whole tree, and the config drive.

TRILITH_GOLDEN=write makes the files anew; look at the difference before committing it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from trilith.agent import config_drive
from trilith.agent.config_drives import NodeConfigDrives
from trilith.agent.instance_metadata import (
    OPENSTACK_VERSIONS,
    Listing,
    media_type,
    network_data,
    resolve,
    takes_password,
)
from trilith.errors import Backend
from trilith.model.instance import (
    FixedAddress,
    InjectedFile,
    InstanceData,
    InstanceNic,
    Keypair,
    TaggedDevice,
)

GOLDEN = Path(__file__).parent.parent / "golden" / "metadata"

SERVER = InstanceData(
    uuid="83679162-1378-4288-a2d4-70e13ec132aa",
    name="Web 1",
    hostname="web-1.novalocal",
    project_id="f7ac731cc11f40efbc03a9f9e1d1d21f",
    availability_zone="nova",
    flavor="m1.small",
    image_id="9d2d1c2e-3f4a-4b5c-8d6e-7f8091a2b3c4",
    keys=(Keypair(name="mykey", public_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI me@here\n"),),
    meta={"role": "web", "priority": "low"},
    user_data=b"#!/bin/sh\necho hello\n",
    admin_pass="Sup3rS3cret",
    launch_index=0,
    reservation_id="r-4xyfuf8k",
    security_groups=("default", "web"),
    random_seed=bytes(range(256)) * 2,
    password=b"",
    vendor_data={"organisation": "example"},
    vendor_data2={"static": {"organisation": "example"}},
    files=(InjectedFile(path="/etc/motd", content=b"welcome\n"),),
    devices=(
        TaggedDevice(type="nic", bus="pci", address="0000:00:02.0", mac="fa:16:3e:4c:2c:30", tags=("trunk",), vlan=7),
        TaggedDevice(type="disk", bus="virtio", address="0000:00:05.0", serial="disk-vol-2352423", path="/dev/vdb",
                     tags=("baz",)),
    ),
    networks=(
        InstanceNic(
            port_id="cd9f6d46-4a3a-43ab-a466-994af9db96fc",
            network_id="99e88329-f20d-4741-9593-25bf07847b16",
            mac="fa:16:3e:4c:2c:30",
            link="tapcd9f6d46-4a",
            mtu=1442,
            addresses=(
                FixedAddress(address="10.0.0.5", cidr="10.0.0.0/24", gateway="10.0.0.1", dns=("10.0.0.2", "9.9.9.9"),
                             ntp=("10.0.0.3",), floating="203.0.113.7"),
                FixedAddress(address="2001:db8::5", cidr="2001:db8::/64", gateway="2001:db8::1", dns=("2001:db8::53",),
                             ipv6_address_mode="dhcpv6-stateful"),
            ),
        ),
        InstanceNic(
            port_id="0b4c1d1e-0000-4000-8000-000000000002",
            network_id="aaaaaaaa-f20d-4741-9593-25bf07847b16",
            mac="fa:16:3e:4c:2c:31",
            link="tap0b4c1d1e-00",
            mtu=9000,
            addresses=(
                FixedAddress(address="192.168.7.9", cidr="192.168.7.0/24", gateway="192.168.7.1", dhcp=False,
                             dns=("9.9.9.9",), routes=(("10.8.0.0/16", "192.168.7.254"),)),
            ),
        ),
    ),
)  # fmt: skip


def golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("TRILITH_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text(), f"{name} has changed"


def pretty(content: bytes) -> object:
    text = content.decode()
    return json.loads(text) if text.startswith("{") else text


def crawl(data: InstanceData, path: str, into: dict[str, object]) -> None:
    """As a client does: follow every listing."""
    found = resolve(data, path)
    assert found is not None, path
    if isinstance(found, bytes):
        into[path] = pretty(found)
        return
    into[path or "/"] = list(found.entries)
    for entry in found.entries:
        # EC2 names a key 0=name
        crawl(data, f"{path}/{entry.split('=')[0].rstrip('/')}", into)


def test_the_service(tmp_path: Path) -> None:
    tree: dict[str, object] = {}
    crawl(SERVER, "", tree)
    crawl(SERVER, "/openstack", tree)
    golden("service.json", json.dumps(tree, indent=1, sort_keys=True) + "\n")


def test_the_config_drive() -> None:
    found = {path: pretty(content) for path, content in config_drive.files(SERVER).items()}
    golden("config_drive.json", json.dumps(found, indent=1, sort_keys=True) + "\n")


def test_a_bare_server_has_no_empty_keys() -> None:
    bare = InstanceData(uuid="u", name="n", hostname="n", project_id="p")
    meta = json.loads(resolve(bare, "/openstack/latest/meta_data.json") or b"")
    assert set(meta) == {"uuid", "hostname", "name", "launch_index", "availability_zone", "project_id", "devices",
                         "dedicated_cpus"}  # fmt: skip
    assert resolve(bare, "/openstack/latest/user_data") is None
    assert resolve(bare, "/latest/user-data") is None
    assert resolve(bare, "/latest/meta-data/public-keys") is None
    assert resolve(bare, "/latest") == Listing(("meta-data/",))
    assert network_data(bare) == {"links": [], "networks": [], "services": []}


@pytest.mark.parametrize("path", ["/openstack/2011-01-01", "/openstack/latest/nothing", "/2003-01-01/meta-data",
                                  "/latest/meta-data/no", "/openstack/content", "/openstack/content/0001",
                                  "/openstack/latest/meta_data.json/x", "/latest/meta-data/public-keys/0/_name",
                                  "/latest/meta-data/hostname/x", "/openstack/content/../../x"])  # fmt: skip
def test_what_is_not_there(path: str) -> None:
    assert resolve(SERVER, path) is None


@pytest.mark.parametrize(
    ("path", "same"),
    [
        ("/latest/meta-data/", "/ec2/latest/meta-data"),
        ("//openstack/", "openstack"),
        ("/openstack/latest/../latest/user_data", "/openstack/latest/user_data"),
        ("", "/ec2"),
    ],
)
def test_paths_are_read_as_nova_reads_them(path: str, same: str) -> None:
    assert resolve(SERVER, path) == resolve(SERVER, same) is not None


def test_versions_are_cumulative() -> None:
    listings = [resolve(SERVER, f"/openstack/{version}") for version in OPENSTACK_VERSIONS]
    entries = [set(listing.entries) for listing in listings if isinstance(listing, Listing)]
    assert len(entries) == len(OPENSTACK_VERSIONS)
    assert all(older <= newer for older, newer in pairwise(entries))
    assert entries[0] == {"meta_data.json", "user_data"}


def test_the_password_is_on_the_config_drive_only() -> None:
    tree: dict[str, object] = {}
    crawl(SERVER, "", tree)
    crawl(SERVER, "/openstack", tree)
    assert SERVER.admin_pass not in json.dumps(tree)
    assert any(SERVER.admin_pass.encode() in content for content in config_drive.files(SERVER).values())


def test_media_types() -> None:
    assert media_type("/openstack/latest/meta_data.json") == "application/json"
    assert media_type("/latest/meta-data/") == "text/plain; charset=UTF-8"


async def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    dest = tmp_path / "drive"
    await config_drive.write_folder(SERVER, dest, owner=os.geteuid())
    await config_drive.write_folder(replace(SERVER, files=(), user_data=None), dest, owner=os.geteuid())
    found = {str(path.relative_to(dest)) for path in dest.rglob("*") if path.is_file()}
    assert found == set(config_drive.files(replace(SERVER, files=(), user_data=None)))
    assert {path.stat().st_mode & 0o777 for path in dest.rglob("*") if path.is_file()} == {0o400}
    assert os.listdir(tmp_path) == ["drive"]


async def test_an_iso_says_the_same(tmp_path: Path) -> None:
    if shutil.which("xorriso") is None:
        pytest.skip("needs xorriso to look into the image")
    dest = tmp_path / "drive.iso"
    await config_drive.write_iso(SERVER, dest)
    assert os.listdir(tmp_path) == ["drive.iso"]
    assert dest.stat().st_mode & 0o777 == 0o640
    assert dest.read_bytes()[32808:32840].decode().strip() == "config-2"
    out = tmp_path / "out"
    command = ["xorriso", "-osirrox", "on", "-indev", dest, "-extract", "/", out]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    found = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert found == config_drive.files(SERVER)


@pytest.mark.parametrize("container", [True, False])
async def test_a_drive_that_is_cancelled_while_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: bool
) -> None:
    write, begun, go_on = config_drive._write, threading.Event(), threading.Event()

    def slowly(content: dict[str, bytes], folder: Path, owner: int) -> None:
        begun.set()
        assert go_on.wait(10)
        write(content, folder, owner)

    monkeypatch.setattr(config_drive, "_write", slowly)
    making = config_drive.write_folder if container else config_drive.write_iso
    task = asyncio.create_task(making(SERVER, tmp_path / "drive"))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    asyncio.get_running_loop().call_later(0.1, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    left = os.listdir(tmp_path)
    assert left == (["drive"] if container else [])  # the folder was whole by then, and whoever cancelled removes it
    await asyncio.sleep(0.1)
    assert os.listdir(tmp_path) == left


def test_half_a_drive_of_an_agent_that_died_is_swept(tmp_path: Path) -> None:
    (tmp_path / "config-drives" / ".one.iso-12ab" / "tree").mkdir(parents=True)
    NodeConfigDrives(tmp_path)
    assert os.listdir(tmp_path / "config-drives") == []


async def test_without_a_tool_the_iso_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Backend, match="genisoimage or xorriso"):
        await config_drive.write_iso(SERVER, tmp_path / "drive.iso")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "path", ["/openstack/latest/password", "openstack/2013-04-04/password/", "//openstack//2020-10-14/password"]
)
def test_a_password_is_posted_here(path: str) -> None:
    assert takes_password(path)


@pytest.mark.parametrize("path", ["/", "/latest/password", "/openstack/password", "/openstack/2012-08-10/password",
                                  "/openstack/2099-01-01/password", "/openstack/latest/user_data",
                                  "/openstack/latest/password/x"])  # fmt: skip
def test_a_password_is_posted_nowhere_else(path: str) -> None:
    assert not takes_password(path)
