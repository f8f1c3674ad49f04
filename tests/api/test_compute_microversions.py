"""The table of microversions: each flag is asked for somewhere, and what its step says is so on the wire."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import trilith.api.compute
from tests.api.compute_calls import admin, member
from tests.api.conftest import ApiCloud
from trilith.api.compute.microversions import STEPS
from trilith.model.node import Node
from trilith.model.server import InstanceAction


def error(answer: Any, status: int) -> None:
    assert answer.status_code == status, answer.text
    (body,) = answer.json().values()
    assert body["code"] == status
    assert body["message"]


def test_each_flag_is_asked_for() -> None:
    folder = Path(trilith.api.compute.__file__).parent
    source = "\n".join(p.read_text() for p in folder.glob("*.py") if p.name != "microversions.py")
    named = set(re.findall(r'"([a-z0-9_]+)"', source)) | {"boot_tags", "boot_tags_restored"}
    # of volumes, which are refused alike until they can be attached
    lacking = {flag for step in STEPS for flag in step.flags} - named - {"update_attachment"}
    assert lacking == set(), "a step that no handler heeds"


@pytest.mark.parametrize(
    ("version", "nic", "disk"),
    [("2.31", 400, 400), ("2.32", 202, 202), ("2.33", 202, 400), ("2.37", 400, 400), ("2.42", 202, 202)],
)
async def test_tags_at_boot_were_lost_for_a_while(cloud: ApiCloud, version: str, nic: int, disk: int) -> None:
    alice = await member(cloud)
    network, image = await alice.network("n", "10.9.0.0/24"), await alice.image()
    body = {"name": "x", "flavorRef": await alice.flavor(), "imageRef": image, "networks": [{"uuid": network}]}
    tagged = {**body, "networks": [{"uuid": network, "tag": "t"}]}
    made = await alice.ask("POST", "/servers", version, json={"server": tagged})
    assert made.status_code == nic, made.text
    root = {"uuid": image, "source_type": "image", "destination_type": "local", "boot_index": 0, "tag": "t"}
    made = await alice.ask("POST", "/servers", version, json={"server": {**body, "block_device_mapping_v2": [root]}})
    assert made.status_code == disk, made.text


async def test_what_is_gone_says_so(cloud: ApiCloud) -> None:
    alice, root = await member(cloud), await admin(cloud)
    for method, path in (
        ("GET", "/os-cells"),
        ("POST", "/os-networks"),
        ("DELETE", "/os-tenant-networks/x"),
        ("GET", "/os-floating-ips-bulk"),
        ("GET", "/servers/x/os-virtual-interfaces"),
    ):
        error(await alice.ask(method, path), 410)
    snapshot = {"volume_id": "11111111-2222-3333-4444-555555555555", "create_info": {}}
    path = "/os-assisted-volume-snapshots"
    error(await alice.ask("POST", path, json={"snapshot": snapshot}), 403)
    error(await root.ask("POST", path, json={"snapshot": snapshot}), 400)
    error(await root.ask("DELETE", f"{path}/x"), 400)
    error(await root.ask("DELETE", f'{path}/x?delete_info={{"volume_id":"v"}}'), 400)


async def test_the_path_for_volumes_ends_with_2_103(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    body = {"name": "x", "flavorRef": await alice.flavor(), "imageRef": await alice.image()}
    made = await alice.ask("POST", "/os-volumes_boot", json={"server": body})
    assert made.status_code == 202, made.text
    server_id = made.json()["server"]["id"]
    await alice.settle(server_id)
    assert (await alice.get(f"/os-volumes_boot/{server_id}", "2.102"))["server"]["name"] == "x"
    error(await alice.ask("GET", f"/os-volumes_boot/{server_id}", "2.103"), 404)


async def test_the_quota_of_image_metadata_ends_with_2_39(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    made = await alice.boot()
    image = {"name": "i", "metadata": {f"k{n}": "v" for n in range(129)}}
    error(await alice.act(made["id"], "createImage", image, "2.38"), 403)
    assert (await alice.act(made["id"], "createImage", image, "2.39")).status_code == 202


async def test_host_status_tells_silence_from_an_operators_word(cloud: ApiCloud) -> None:
    root = await admin(cloud)
    made = await root.boot()

    async def shown(**changes: Any) -> str:
        def body(tx: Any) -> None:
            for node in tx.select(Node):
                tx.change(node, **changes)

        await cloud.store.write(body)
        return str((await root.get(f"/servers/{made['id']}", "2.16"))["server"]["host_status"])

    assert await shown() == "UP"
    assert await shown(enabled=False) == "MAINTENANCE"
    assert await shown(enabled=True, forced_down=True) == "DOWN"
    assert await shown(forced_down=False) == "UP"


async def test_actions_of_a_deleted_server(cloud: ApiCloud) -> None:
    alice, root = await member(cloud), await admin(cloud)
    made = await alice.boot()
    path = f"/servers/{made['id']}/os-instance-actions"
    assert (await alice.ask("DELETE", f"/servers/{made['id']}")).status_code == 204
    await alice.settle(made["id"])
    error(await alice.ask("GET", path, "2.20"), 404)
    actions = (await alice.get(path, "2.21"))["instanceActions"]
    assert [a["action"] for a in actions] == ["delete", "create"]
    assert "updated_at" not in actions[0]
    page = await alice.get(f"{path}?limit=1", "2.58")
    assert [a["action"] for a in page["instanceActions"]] == ["delete"]
    rest = await alice.get(f"{path}?marker={page['instanceActions'][0]['request_id']}", "2.58")
    assert [a["action"] for a in rest["instanceActions"]] == ["create"]
    assert (await alice.get(f"{path}?changes-since=2100-01-01T00:00:00Z", "2.58"))["instanceActions"] == []
    assert (await alice.get(f"{path}?changes-before=2000-01-01T00:00:00Z", "2.66"))["instanceActions"] == []
    error(await alice.ask("GET", f"{path}?changes-since=x", "2.58"), 400)

    one = f"{path}/{rest['instanceActions'][0]['request_id']}"
    assert "events" not in (await alice.get(one, "2.50"))["instanceAction"]
    events = (await alice.get(one, "2.51"))["instanceAction"]["events"]
    assert events
    assert not {"traceback", "hostId", "host", "details"} & set(events[0])
    assert {"hostId"} <= set((await alice.get(one, "2.62"))["instanceAction"]["events"][0])
    event = (await root.get(one, "2.84"))["instanceAction"]["events"][0]
    assert {"traceback", "host", "hostId", "details"} <= set(event)
    assert await cloud.store.read(lambda r: r.count(InstanceAction, server_id=made["id"])) == 2
