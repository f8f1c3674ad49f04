"""Servers through the compute API: life, refusals, lists, and what each microversion shows."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.api.compute_calls import Caller, admin, member
from tests.api.conftest import ApiCloud
from trilith.model.server import ServerState


def error(answer: Any, status: int, name: str) -> str:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert list(body) == [name]
    assert body[name]["code"] == status
    message: str = body[name]["message"]
    return message


async def test_a_server_lives_from_create_to_delete(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    await alice.network("n1", "10.1.0.0/24")
    data = base64.b64encode(b"#!/bin/sh\n").decode()
    made = await alice.boot(metadata={"a": "b"}, user_data=data, adminPass="s3cret")
    assert made["adminPass"] == "s3cret"
    assert made["security_groups"] == [{"name": "default"}]

    shown = (await alice.get(f"/servers/{made['id']}"))["server"]
    assert (shown["status"], shown["OS-EXT-STS:vm_state"], shown["OS-EXT-STS:power_state"]) == ("ACTIVE", "active", 1)
    assert shown["metadata"] == {"a": "b"}
    assert shown["security_groups"] == [{"name": "default"}]
    (address,) = shown["addresses"]["n1"]
    assert address["OS-EXT-IPS:type"] == "fixed"
    assert address["addr"].startswith("10.1.0.")
    assert "OS-EXT-SRV-ATTR:host" not in shown  # for admins only

    for action, value, status in (
        ("os-stop", None, "SHUTOFF"),
        ("os-start", None, "ACTIVE"),
        ("reboot", {"type": "SOFT"}, "ACTIVE"),
        ("pause", None, "PAUSED"),
        ("unpause", None, "ACTIVE"),
        ("suspend", None, "SUSPENDED"),
        ("resume", None, "ACTIVE"),
    ):
        answer = await alice.act(made["id"], action, value)
        assert (answer.status_code, answer.content) == (202, b""), answer.text
        await alice.settle(made["id"])
        assert (await alice.get(f"/servers/{made['id']}"))["server"]["status"] == status
    error(await alice.act(made["id"], "os-start"), 409, "conflictingRequest")

    answer = await alice.ask("DELETE", f"/servers/{made['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert await alice.settle(made["id"]) is None
    error(await alice.ask("GET", f"/servers/{made['id']}"), 404, "itemNotFound")
    root = await admin(cloud)
    actions = (await root.get(f"/servers/{made['id']}/os-instance-actions", "2.84"))["instanceActions"]
    assert [a["action"] for a in actions][:2] == ["delete", "resume"]
    first = await root.get(f"/servers/{made['id']}/os-instance-actions/{actions[-1]['request_id']}", "2.84")
    assert {e["result"] for e in first["instanceAction"]["events"]} == {"Success"}


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("name", "", 400),
        ("name", "x" * 256, 400),
        ("flavorRef", "nowhere", 400),
        ("imageRef", -1, 400),
        ("imageRef", "", 400),
        ("accessIPv4", "1.1.1.1.1.1", 400),
        ("accessIPv6", "notvalid", 400),
        ("networks", [{"fixed_ip": "10.0.1.1", "uuid": "a-b-c-d-e-f-g-h-i-j"}], 400),
        ("networks", [{}], 400),
        ("key_name", "nobody", 400),
        ("metadata", {"a": "b" * 256}, 400),
        ("metadata", {"": "b"}, 400),
        ("metadata", {f"key{i}": "v" for i in range(129)}, 403),
        ("security_groups", [{"name": "nowhere"}], 400),
        ("user_data", "###", 400),
        ("min_count", 0, 400),
        ("personality", [{"path": "/x", "contents": "=="}], 400),
        ("personality", [{"path": "/x", "contents": "eA=="}] * 6, 403),
        ("personality", [{"path": "/" + 255 * "x", "contents": "eA=="}], 403),
        ("availability_zone", "mars", 400),
        ("unknown", 1, 400),
        ("tags", ["too-early"], 400),
        ("block_device_mapping_v2", [{"source_type": "volume", "uuid": "x", "boot_index": 0}], 400),
        ("hostname", "too-early", 400),
    ],
)
async def test_what_cannot_be_created_is_refused_as_nova_does(
    cloud: ApiCloud, field: str, value: Any, status: int
) -> None:
    alice = await member(cloud)
    body = {"name": "one", "flavorRef": await alice.flavor(), "imageRef": await alice.image(), field: value}
    answer = await alice.ask("POST", "/servers", json={"server": body})
    error(answer, status, {400: "badRequest", 403: "forbidden"}[status])
    assert (await alice.get("/servers"))["servers"] == []


async def test_networks_are_required_from_2_37_on(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    body = {"name": "one", "flavorRef": await alice.flavor(), "imageRef": await alice.image()}
    error(await alice.ask("POST", "/servers", "2.37", json={"server": body}), 400, "badRequest")
    error(await alice.ask("POST", "/servers", "2.36", json={"server": {**body, "networks": "none"}}), 400, "badRequest")
    for networks, names in (("none", []), ("auto", ["auto_allocated_network"])):
        made = await alice.boot(version="2.37", networks=networks)
        assert list((await alice.get(f"/servers/{made['id']}/ips"))["addresses"]) == names


async def test_a_quota_ends_the_creating(cloud: ApiCloud) -> None:
    alice, root = await member(cloud), await admin(cloud)
    _, project = await cloud.user("alice", "alpha")
    limits = {"quota_set": {"instances": 1}}
    assert (await root.ask("PUT", f"/os-quota-sets/{project}", json=limits)).json()["quota_set"]["instances"] == 1
    await alice.boot()
    body = {"name": "two", "flavorRef": await alice.flavor(), "imageRef": await alice.image()}
    error(await alice.ask("POST", "/servers", json={"server": body}), 403, "forbidden")
    limits = {"quota_set": {"instances": 0}}
    error(await root.ask("PUT", f"/os-quota-sets/{project}", json=limits), 400, "badRequest")
    used = (await alice.get("/limits"))["limits"]["absolute"]
    assert (used["totalInstancesUsed"], used["maxTotalInstances"]) == (1, 1)


async def test_several_at_once_share_a_reservation(cloud: ApiCloud) -> None:
    root = await admin(cloud)
    body = {
        "name": "many",
        "flavorRef": await root.flavor(),
        "imageRef": await root.image(),
        "min_count": 2,
        "max_count": "3",
        "return_reservation_id": True,
    }
    answer = await root.ask("POST", "/servers", json={"server": body})
    reservation = answer.json()["reservation_id"]
    found = (await root.get(f"/servers?reservation_id={reservation}"))["servers"]
    assert sorted(s["name"] for s in found) == ["many-1", "many-2", "many-3"]


async def test_another_projects_server_is_not_there(cloud: ApiCloud) -> None:
    alice, bob = await member(cloud), await member(cloud, "bob", "beta")
    made = await alice.boot()
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/metadata"), ("GET", "/os-interface"), ("GET", "/ips")):
        error(await bob.ask(method, f"/servers/{made['id']}{path}"), 404, "itemNotFound")
    error(await bob.act(made["id"], "os-stop"), 404, "itemNotFound")
    error(await bob.ask("GET", "/servers?all_tenants=1"), 403, "forbidden")
    error(await bob.ask("GET", "/servers?status=deleted"), 403, "forbidden")
    reader = await member(cloud, "rita", "alpha", "reader")
    assert (await reader.get(f"/servers/{made['id']}"))["server"]["name"] == "one"
    error(await reader.act(made["id"], "os-stop"), 403, "forbidden")
    error(await reader.ask("DELETE", f"/servers/{made['id']}"), 403, "forbidden")


async def test_a_locked_server_is_the_admins_to_change(cloud: ApiCloud) -> None:
    alice, root = await member(cloud), await admin(cloud)
    made = await alice.boot()
    assert (await root.act(made["id"], "lock", {"locked_reason": "audit"}, "2.73")).status_code == 202
    shown = (await alice.get(f"/servers/{made['id']}", "2.73"))["server"]
    assert (shown["locked"], shown["locked_reason"]) == (True, "audit")
    error(await alice.act(made["id"], "os-stop"), 409, "conflictingRequest")
    error(await alice.ask("DELETE", f"/servers/{made['id']}"), 409, "conflictingRequest")
    error(await alice.act(made["id"], "unlock"), 403, "forbidden")
    assert (await root.act(made["id"], "os-stop")).status_code == 202
    await root.settle(made["id"])
    assert (await root.act(made["id"], "unlock")).status_code == 202
    assert (await alice.ask("DELETE", f"/servers/{made['id']}")).status_code == 204


async def test_filters_sorting_and_pages(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    network = await alice.network("n1", "10.1.0.0/24")
    ids = {}
    for name in ("alpha-1", "alpha-2", "beta.1"):
        made = await alice.boot(name, "2.52", networks=[{"uuid": network}], tags=[name, "all"])
        ids[name] = made["id"]

    async def names(query: str, version: str = "2.73") -> list[str]:
        return [
            s["name"]
            for s in (await alice.get(f"/servers?sort_key=display_name&sort_dir=asc&{query}", version))["servers"]
        ]

    assert await names("") == ["alpha-1", "alpha-2", "beta.1"]
    assert await names("name=alpha") == ["alpha-1", "alpha-2"]
    assert await names("name=^.*-[0-9]%2B$") == ["alpha-1", "alpha-2"]
    assert await names("name=beta.1") == ["beta.1"]
    assert await names("name=%27%20OR%201=1--") == []
    assert await names("status=active") == ["alpha-1", "alpha-2", "beta.1"]
    assert await names("status=shutoff") == []
    assert await names("tags=alpha-1,all") == ["alpha-1"]
    assert await names("tags-any=alpha-1,beta.1") == ["alpha-1", "beta.1"]
    assert await names("not-tags=alpha-1") == ["alpha-2", "beta.1"]
    assert await names("not-tags-any=alpha-1,beta.1") == ["alpha-2"]
    assert await names("ip=10.1.0.") == ["alpha-1", "alpha-2", "beta.1"]
    assert await names("ip6=fd00") == []
    assert await names(f"flavor={await alice.flavor()}") == ["alpha-1", "alpha-2", "beta.1"]
    assert await names("flavor=non_existing") == []
    assert await names(f"image={await alice.image()}") == ["alpha-1", "alpha-2", "beta.1"]
    assert await names("locked=true") == []
    assert await names("changes-since=2051-01-01T12:34:00Z") == []
    assert await names("host=sim-1") == ["alpha-1", "alpha-2", "beta.1"], "not a member's filter: not heeded"

    page = await alice.get("/servers?limit=2&sort_key=display_name&sort_dir=asc")
    assert [s["name"] for s in page["servers"]] == ["alpha-1", "alpha-2"]
    (link,) = page["servers_links"]
    assert link["rel"] == "next"
    assert f"marker={ids['alpha-2']}" in link["href"]
    rest = await alice.get(link["href"].split("/compute/v2.1", 1)[1])
    assert [s["name"] for s in rest["servers"]] == ["beta.1"]
    assert "servers_links" not in rest
    assert (await alice.get("/servers?limit=0"))["servers"] == []

    for query in (
        "limit=testing", "limit=-1", "marker=nowhere", "changes-since=2011/01/01", "sort_key=nothing", "sort_dir=up",
        "name=(", "name=(a%2B)%2B$", "status=nonsense", "_x=1", "metadata=a",
    ):  # fmt: skip
        error(await alice.ask("GET", f"/servers?{query}", "2.66"), 400, "badRequest")
    assert (await alice.get("/servers?status=nonsense", "2.37"))["servers"] == []
    assert len((await alice.get("/servers?unknown=1", "2.74"))["servers"]) == 3
    error(await alice.ask("GET", "/servers?unknown=1", "2.75"), 400, "badRequest")

    since = "2020-01-01T00:00:00Z"
    await alice.ask("DELETE", f"/servers/{ids['beta.1']}")
    await alice.settle(ids["beta.1"])
    assert await names("") == ["alpha-1", "alpha-2"]
    changed = (await alice.get(f"/servers/detail?changes-since={since}"))["servers"]
    assert {s["name"]: s["status"] for s in changed}["beta.1"] == "DELETED"
    root = await admin(cloud)
    gone = (await root.get("/servers?deleted=true&all_tenants=1"))["servers"]
    assert [s["name"] for s in gone] == ["beta.1"]


#: field → the first version that shows it to an admin
_FIELDS = {
    "OS-EXT-SRV-ATTR:reservation_id": 3,
    "OS-EXT-SRV-ATTR:user_data": 3,
    "locked": 9,
    "host_status": 16,
    "description": 19,
    "tags": 26,
    "trusted_image_certificates": 63,
    "server_groups": 71,
    "locked_reason": 73,
    "pinned_availability_zone": 96,
    "scheduler_hints": 100,
}


async def test_each_microversion_shows_what_it_brought(cloud: ApiCloud) -> None:
    root = await admin(cloud)
    made = await root.boot()
    for field, minor in _FIELDS.items():
        for version, there in ((minor - 1, False), (minor, True)):
            shown = (await root.get(f"/servers/{made['id']}", f"2.{version}"))["server"]
            assert (field in shown) is there, (field, version)
            if field != "server_groups":
                listed = (await root.get("/servers/detail", f"2.{version}"))["servers"][0]
                assert (field in listed) is there, (field, version)
    flavor = (await root.get(f"/servers/{made['id']}", "2.46"))["server"]["flavor"]
    assert set(flavor) == {"id", "links"}
    flavor = (await root.get(f"/servers/{made['id']}", "2.47"))["server"]["flavor"]
    assert set(flavor) == {"original_name", "vcpus", "ram", "disk", "ephemeral", "swap", "extra_specs"}
    assert "properties" not in (await root.get(f"/servers/{made['id']}", "2.97"))["server"]["image"]
    assert "properties" in (await root.get(f"/servers/{made['id']}", "2.98"))["server"]["image"]
    alice = await member(cloud)
    mine = await alice.boot()
    assert "OS-EXT-SRV-ATTR:hostname" not in (await alice.get(f"/servers/{mine['id']}", "2.89"))["server"]
    assert (await alice.get(f"/servers/{mine['id']}", "2.90"))["server"]["OS-EXT-SRV-ATTR:hostname"] == "one"
    named = await alice.boot(name="Web_1 (A).Example.com")
    shown = (await alice.get(f"/servers/{named['id']}", "2.90"))["server"]
    assert shown["OS-EXT-SRV-ATTR:hostname"] == "web-1-a-example-com"  # one label, as the guest's own name is
    update = {"server": {"name": "renamed"}}
    before = (await root.ask("PUT", f"/servers/{made['id']}", "2.74", json=update)).json()["server"]
    after = (await root.ask("PUT", f"/servers/{made['id']}", "2.75", json=update)).json()["server"]
    assert "OS-EXT-STS:vm_state" not in before
    assert "OS-EXT-STS:vm_state" in after
    assert after["name"] == "renamed"


async def test_metadata_and_tags(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    made = await alice.boot()
    path = f"/servers/{made['id']}/metadata"
    assert (await alice.ask("PUT", path, json={"metadata": {"a": "1"}})).json() == {"metadata": {"a": "1"}}
    assert (await alice.ask("POST", path, json={"metadata": {"b": "2"}})).json() == {"metadata": {"a": "1", "b": "2"}}
    assert (await alice.ask("PUT", f"{path}/a", json={"meta": {"a": "3"}})).json() == {"meta": {"a": "3"}}
    assert await alice.get(f"{path}/a") == {"meta": {"a": "3"}}
    error(await alice.ask("PUT", f"{path}/a", json={"meta": {"c": "3"}}), 400, "badRequest")
    error(await alice.ask("PUT", path, json={"meta": {"c": "3"}}), 400, "badRequest")
    assert (await alice.ask("DELETE", f"{path}/a")).status_code == 204
    error(await alice.ask("GET", f"{path}/a"), 404, "itemNotFound")
    error(await alice.ask("DELETE", f"{path}/a"), 404, "itemNotFound")

    path = f"/servers/{made['id']}/tags"
    error(await alice.ask("GET", path, "2.25"), 404, "itemNotFound")
    first = await alice.ask("PUT", f"{path}/blue", "2.26")
    assert first.status_code == 201
    assert first.headers["location"].endswith(f"{path}/blue")
    assert (await alice.ask("PUT", f"{path}/blue", "2.26")).status_code == 204
    assert (await alice.ask("GET", f"{path}/blue", "2.26")).status_code == 204
    assert (await alice.ask("PUT", path, "2.26", json={"tags": ["x", "y"]})).json() == {"tags": ["x", "y"]}
    error(await alice.ask("PUT", path, "2.26", json={"tags": ["a,b"]}), 400, "badRequest")
    error(await alice.ask("DELETE", f"{path}/blue", "2.26"), 404, "itemNotFound")
    assert (await alice.ask("DELETE", path, "2.26")).status_code == 204
    assert await alice.get(path, "2.26") == {"tags": []}


async def test_interfaces_come_and_go(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    made = await alice.boot()
    network = await alice.network("n1", "10.1.0.0/24")
    path = f"/servers/{made['id']}/os-interface"
    asked = {"interfaceAttachment": {"net_id": network, "tag": "nic"}}
    attached = (await alice.ask("POST", path, "2.70", json=asked)).json()["interfaceAttachment"]
    assert (attached["tag"], attached["net_id"], attached["port_state"]) == ("nic", network, "ACTIVE")
    assert (await alice.get(f"{path}/{attached['port_id']}"))["interfaceAttachment"]["fixed_ips"]
    assert [g["name"] for g in (await alice.get(f"/servers/{made['id']}/os-security-groups"))["security_groups"]] == [
        "default"
    ]
    both = {"interfaceAttachment": {"net_id": network, "port_id": attached["port_id"]}}
    error(await alice.ask("POST", path, json=both), 400, "badRequest")
    answer = await alice.ask("DELETE", f"{path}/{attached['port_id']}")
    assert (answer.status_code, answer.content) == (202, b"")
    await alice.settle(made["id"])
    assert (await alice.get(path))["interfaceAttachments"] == []
    error(await alice.ask("DELETE", f"{path}/{attached['port_id']}"), 404, "itemNotFound")


async def test_resize_rebuild_and_image(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    made = await alice.boot()
    error(await alice.act(made["id"], "resize", {"flavorRef": "nowhere"}), 400, "badRequest")
    error(await alice.act(made["id"], "resize", {"flavorRef": ""}), 400, "badRequest")
    error(await alice.act(made["id"], "confirmResize"), 409, "conflictingRequest")
    assert (await alice.act(made["id"], "resize", {"flavorRef": await alice.flavor(1)})).status_code == 202
    await alice.settle(made["id"])
    assert (await alice.get(f"/servers/{made['id']}"))["server"]["status"] == "VERIFY_RESIZE"
    answer = await alice.act(made["id"], "confirmResize")
    assert (answer.status_code, answer.content) == (204, b"")
    await alice.settle(made["id"])

    value = {"imageRef": await alice.image(), "name": "again", "metadata": {"x": "y"}}
    answer = await alice.act(made["id"], "rebuild", value, "2.54")
    rebuilt = answer.json()["server"]
    assert answer.status_code == 202
    assert rebuilt["name"] == "again"
    assert rebuilt["status"] == "REBUILD"
    assert "adminPass" in rebuilt
    assert rebuilt["key_name"] is None
    server = await alice.settle(made["id"])
    assert server is not None
    assert server.state is ServerState.ACTIVE
    assert server.metadata == {"x": "y"}

    answer = await alice.act(made["id"], "createImage", {"name": "snap"}, "2.45")
    assert answer.status_code == 202
    assert list(answer.json()) == ["image_id"]
    await alice.settle(made["id"])
    answer = await alice.act(made["id"], "createImage", {"name": "snap"})
    assert answer.content == b""
    assert "/images/" in answer.headers["location"]
    await alice.settle(made["id"])
    output = await alice.act(made["id"], "os-getConsoleOutput", {"length": 5})
    assert list(output.json()) == ["output"]


async def test_what_this_cloud_lacks_is_refused_plainly(cloud: ApiCloud) -> None:
    root = await admin(cloud)
    made = await root.boot()
    for action, status, name in (
        ("unshelve", 409, "conflictingRequest"),
        ("unrescue", 409, "conflictingRequest"),
        ("shelveOffload", 409, "conflictingRequest"),
        ("restore", 409, "conflictingRequest"),
        ("resetNetwork", 410, "computeFault"),
        ("nonsense", 400, "badRequest"),
    ):
        error(await root.act(made["id"], action, {}), status, name)
        error(
            await root.act("4f1b5a3e-0000-4000-8000-000000000000", action, {}),
            400 if name == "badRequest" and action == "nonsense" else 404,
            "badRequest" if action == "nonsense" else "itemNotFound",
        )
    assert (await root.get(f"/servers/{made['id']}/os-volume_attachments"))["volumeAttachments"] == []
    assert (await root.get("/os-migrations"))["migrations"] == []


async def test_what_a_state_forbids_is_told_in_novas_words(cloud: ApiCloud) -> None:
    """Clients and people look for them: action, instance, vm_state."""
    root = await admin(cloud)
    made = await root.boot()
    actions = {"unpause": None, "resume": None, "os-start": None, "confirmResize": None, "unrescue": None,
               "revertResize": None, "unshelve": None, "shelveOffload": None}  # fmt: skip
    for action, value in actions.items():
        answer = await root.act(made["id"], action, value)
        told = f"Cannot '{action.removeprefix('os-')}' instance {made['id']} while it is in vm_state active"
        assert (answer.status_code, answer.json()["conflictingRequest"]["message"]) == (409, told)


async def test_reset_state_is_the_operators(cloud: ApiCloud) -> None:
    root, alice = await admin(cloud), await member(cloud)
    made = await alice.boot()
    error(await alice.act(made["id"], "os-resetState", {"state": "error"}), 403, "forbidden")
    assert (await root.act(made["id"], "os-resetState", {"state": "error"})).status_code == 202
    assert (await alice.get(f"/servers/{made['id']}"))["server"]["status"] == "ERROR"
    assert (await root.act(made["id"], "os-resetState", {"state": "active"})).status_code == 202
    error(await root.act(made["id"], "os-resetState", {"state": "paused"}), 400, "badRequest")


async def test_a_zone_with_a_host_is_for_admins(cloud: ApiCloud) -> None:
    root, alice = await admin(cloud), await member(cloud)
    body = {"name": "x", "flavorRef": await alice.flavor(), "imageRef": await alice.image()}
    there = {**body, "availability_zone": "nova:sim-2"}
    error(await alice.ask("POST", "/servers", json={"server": there}), 403, "forbidden")
    made = await root.boot(availability_zone="nova:sim-2")
    shown = (await root.get(f"/servers/{made['id']}", "2.96"))["server"]
    assert (shown["OS-EXT-SRV-ATTR:host"], shown["pinned_availability_zone"]) == ("sim-2", "nova")
    made = await root.boot(version="2.74", networks="none", host="sim-1")
    shown = (await root.get(f"/servers/{made['id']}", "2.100"))["server"]
    assert (shown["OS-EXT-SRV-ATTR:host"], shown["scheduler_hints"]) == ("sim-1", {})
    unpin = {"server": {"pinned_availability_zone": "mars"}}
    error(await root.ask("PUT", f"/servers/{made['id']}", "2.104", json=unpin), 409, "conflictingRequest")
    error(await root.ask("PUT", f"/servers/{made['id']}", "2.103", json=unpin), 400, "badRequest")


async def test_headers_and_versions(cloud: ApiCloud) -> None:
    root: Caller = await admin(cloud)
    answer = await root.ask("GET", "/servers", "2.60")
    assert answer.headers["openstack-api-version"] == "compute 2.60"
    assert answer.headers["x-openstack-nova-api-version"] == "2.60"
    assert answer.headers["x-compute-request-id"] == answer.headers["x-openstack-request-id"]
    error(await root.ask("GET", "/servers", "2.999"), 406, "computeFault")
    error(await root.ask("GET", "/servers", "2.x"), 400, "badRequest")
    versions = (await cloud.client.get("/compute/")).json()["versions"]
    assert [v["id"] for v in versions] == ["v2.0", "v2.1"]
    assert (versions[1]["min_version"], versions[1]["version"]) == ("2.1", "2.104")
    assert (await cloud.client.get("/compute/v2.1/")).json()["version"]["id"] == "v2.1"


async def test_addresses_by_actions_until_2_43(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    network = await alice.network("n1", "10.1.0.0/24")
    made = await alice.boot()
    assert (await alice.act(made["id"], "addFixedIp", {"networkId": network})).status_code == 202
    two = (await alice.get(f"/servers/{made['id']}/ips"))["addresses"]["n1"]
    assert len(two) == 2
    assert (await alice.act(made["id"], "removeFixedIp", {"address": two[0]["addr"]})).status_code == 202
    assert (await alice.get(f"/servers/{made['id']}/ips/n1")) == {"n1": [two[1]]}
    error(await alice.act(made["id"], "removeFixedIp", {"address": "10.1.0.99"}), 400, "badRequest")
    error(await alice.act(made["id"], "addFixedIp", {"networkId": made["id"]}), 400, "badRequest")
    error(await alice.act(made["id"], "addFixedIp", {"networkId": network}, "2.44"), 404, "itemNotFound")

    floating = (await alice.ask("POST", "/os-floating-ips", json={"pool": "public"})).json()["floating_ip"]
    give = {"address": floating["ip"]}
    assert (await alice.act(made["id"], "addFloatingIp", {"address": "192.0.2.1"})).status_code == 404
    error(await alice.act(made["id"], "removeFloatingIp", give), 409, "conflictingRequest")
    headers = alice.headers
    public = (await cloud.client.get("/network/v2.0/networks?router:external=true", headers=headers)).json()["networks"]
    router = {"router": {"name": "r", "external_gateway_info": {"network_id": public[0]["id"]}}}
    made_router = (await cloud.client.post("/network/v2.0/routers", headers=headers, json=router)).json()["router"]
    subnets = (await cloud.client.get(f"/network/v2.0/subnets?network_id={network}", headers=headers)).json()["subnets"]
    path = f"/network/v2.0/routers/{made_router['id']}/add_router_interface"
    joined = await cloud.client.put(path, headers=headers, json={"subnet_id": subnets[0]["id"]})
    assert joined.status_code == 200, joined.text
    assert (await alice.act(made["id"], "addFloatingIp", give)).status_code == 202
    shown = (await alice.get(f"/servers/{made['id']}"))["server"]["addresses"]["n1"]
    assert [(a["OS-EXT-IPS:type"]) for a in shown] == ["fixed", "floating"]
    listed = (await alice.get("/os-floating-ips"))["floating_ips"][0]
    assert (listed["instance_id"], listed["fixed_ip"]) == (made["id"], shown[0]["addr"])
    assert (await alice.act(made["id"], "removeFloatingIp", give)).status_code == 202
    assert (await alice.ask("DELETE", f"/os-floating-ips/{floating['id']}")).status_code == 202
