"""What a server is given at its birth: the files of its personality, vendor data, tagged devices."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.api.compute_calls import member
from tests.api.conftest import ApiCloud
from trilith import errors
from trilith.agent import config_drive
from trilith.jobs import server_plan, vendor_data
from trilith.model.instance import InstanceData
from trilith.model.server import BootData, Server


def _text(content: str) -> str:
    return base64.b64encode(content.encode()).decode()


async def _instance(cloud: ApiCloud, server_id: str) -> InstanceData:
    services = cloud.cloud.host.services

    def read(reader: Any) -> InstanceData:
        return server_plan.build(reader, services, reader.get(Server, server_id)).instance

    found: InstanceData = await cloud.store.read(read)
    return found


async def test_a_personality_reaches_drive_and_metadata(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    made = await alice.boot("one", personality=[{"path": "/etc/motd", "contents": _text("hello")}])
    instance = await _instance(cloud, made["id"])
    drive = config_drive.files(instance)
    assert drive["openstack/content/0000"] == b"hello"
    meta = json.loads(drive["openstack/latest/meta_data.json"])
    assert meta["files"] == [{"path": "/etc/motd", "content_path": "/content/0000"}]
    (kept,) = await cloud.store.read(lambda r: r.select(BootData))
    assert _text("hello") not in kept.files, "sealed: it may be a secret"

    body = {"imageRef": await alice.image(), "personality": [{"path": "new", "contents": _text("again")}]}
    assert (await alice.act(made["id"], "rebuild", body)).status_code == 202
    await alice.settle(made["id"])
    assert [f.path for f in (await _instance(cloud, made["id"])).files] == ["new"]
    assert (await alice.act(made["id"], "rebuild", {"imageRef": await alice.image()})).status_code == 202
    await alice.settle(made["id"])
    assert (await _instance(cloud, made["id"])).files == ()

    late = await alice.act(made["id"], "rebuild", body, "2.57")
    assert late.status_code == 400
    assert "personality" in late.text
    assert (await alice.ask("DELETE", f"/servers/{made['id']}")).status_code == 204
    await alice.settle(made["id"])
    assert await cloud.store.read(lambda r: r.select(BootData)) == []


async def test_personality_is_bounded_by_three_quotas(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    absolute = (await alice.get("/limits"))["limits"]["absolute"]
    assert (absolute["maxPersonality"], absolute["maxPersonalitySize"]) == (5, 10240)
    body = {"name": "x", "flavorRef": await alice.flavor(), "imageRef": await alice.image()}
    for files in (
        [{"path": f"/f{n}", "contents": ""} for n in range(6)],
        [{"path": "/" + "p" * 255, "contents": ""}],
        [{"path": "/big", "contents": _text("b" * 10241)}],
    ):
        answer = await alice.ask("POST", "/servers", json={"server": {**body, "personality": files}})
        assert answer.status_code == 403, answer.text
        assert "Personality" in answer.json()["forbidden"]["message"]


async def test_tags_name_devices_in_the_metadata(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    network = await alice.network("n", "10.9.0.0/24")
    image = await alice.image()
    root = {"uuid": image, "source_type": "image", "destination_type": "local", "boot_index": 0, "tag": "boot"}
    made = await alice.boot("one", "2.42", networks=[{"uuid": network, "tag": "front"}], block_device_mapping_v2=[root])
    instance = await _instance(cloud, made["id"])
    tagged = {d.type: d for d in instance.devices}
    assert tagged["nic"].tags == ("front",)
    assert tagged["nic"].mac == instance.networks[0].mac
    assert tagged["disk"].tags == ("boot",)
    devices = json.loads(config_drive.files(instance)["openstack/latest/meta_data.json"])["devices"]
    assert sorted(d["tags"][0] for d in devices) == ["boot", "front"]


@asynccontextmanager
async def _target(answer: bytes, asked: list[dict[str, Any]]) -> AsyncIterator[str]:
    """A service of vendor data; asked: what it was sent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        asked.append(json.loads(await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(answer), answer))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_vendor_data_is_asked_for_and_kept(cloud: ApiCloud, tmp_path: Path) -> None:
    alice = await member(cloud)
    made = await alice.boot("one", metadata={"k": "v"}, user_data=_text("#!/bin/sh"))
    file = tmp_path / "vendor.json"
    file.write_text('{"support": "1234"}')
    asked: list[dict[str, Any]] = []
    services = cloud.cloud.host.services
    async with _target(b'{"join": "secret"}', asked) as url:
        settings = replace(
            services.settings, vendordata_file=str(file), vendordata_targets=(f"ipa@{url}", "away@http://127.0.0.1:1/")
        )
        await vendor_data.gather(replace(services, settings=settings), made["id"])
    (question,) = asked
    assert question["instance-id"] == made["id"]
    assert question["metadata"] == {"k": "v"}
    assert question["hostname"] == "one"
    assert base64.b64decode(question["user-data"]) == b"#!/bin/sh"
    drive = config_drive.files(await _instance(cloud, made["id"]))
    assert json.loads(drive["openstack/latest/vendor_data.json"]) == {"support": "1234"}
    second = json.loads(drive["openstack/latest/vendor_data2.json"])
    assert second == {"static": {"support": "1234"}, "ipa": {"join": "secret"}, "away": {}}

    needed = replace(services.settings, vendordata_targets=("away@http://127.0.0.1:1/",), vendordata_required=True)
    with pytest.raises(errors.Backend, match="away"):
        await vendor_data.gather(replace(services, settings=needed), made["id"])
    file.write_text("[]")
    with pytest.raises(errors.Invalid, match="vendordata_file"):
        await vendor_data.gather(
            replace(services, settings=replace(services.settings, vendordata_file=str(file))), made["id"]
        )
