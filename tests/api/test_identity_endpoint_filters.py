"""Endpoint groups and project endpoints: what they say, and that a project's catalogue follows them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import ApiCloud
from tests.api.test_identity_resources import V3, Api

EP = "/OS-EP-FILTER"


@pytest.fixture
async def admin(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.token())


async def types(cloud: ApiCloud, headers: dict[str, str]) -> dict[str, list[str]]:
    """Of the caller's catalogue: type → its interfaces."""
    answer = await cloud.call("GET", f"{V3}/auth/catalog", headers)
    assert answer.status_code == 200
    return {s["type"]: [e["interface"] for e in s["endpoints"]] for s in answer.json()["catalog"]}


async def test_a_projects_catalogue_is_what_was_chosen_for_it(cloud: ApiCloud, admin: Api) -> None:
    alice = await cloud.member("alice", "alpha")
    _, alpha = await cloud.user("alice", "alpha")
    everything = await types(cloud, alice)
    assert len(everything) > 3
    endpoints = (await admin.get("/endpoints"))["endpoints"]
    services = {s["type"]: s["id"] for s in (await admin.get("/services"))["services"]}
    one = next(e for e in endpoints if e["service_id"] == services["image"] and e["interface"] == "public")
    path = f"{EP}/projects/{alpha}/endpoints/{one['id']}"
    await admin.do("GET", path, 404)
    await admin.do("PUT", path, 204)
    await admin.do("PUT", path, 409)
    await admin.do("GET", path, 204)
    assert await types(cloud, alice) == {"image": ["public"]}
    assert len(await types(cloud, admin.headers)) == len(everything)  # another project

    made = await admin.do(
        "POST",
        f"{EP}/endpoint_groups",
        201,
        {"endpoint_group": {"name": "inner", "filters": {"service_id": services["compute"], "interface": "internal"}}},
    )
    group = made["endpoint_group"]
    assert group["description"] == ""
    held = f"{EP}/endpoint_groups/{group['id']}/projects/{alpha}"
    await admin.do("GET", held, 404)
    await admin.do("PUT", held, 204)
    shown = (await admin.do("GET", held, 200))["project_endpoint_group"]
    assert (shown["project_id"], shown["endpoint_group_id"]) == (alpha, group["id"])
    assert await types(cloud, alice) == {"image": ["public"], "compute": ["internal"]}
    listed = (await admin.get(f"{EP}/projects/{alpha}/endpoints"))["endpoints"]
    assert {(e["service_id"], e["interface"]) for e in listed} == {
        (services["image"], "public"),
        (services["compute"], "internal"),
    }
    assert [p["id"] for p in (await admin.get(f"{EP}/endpoints/{one['id']}/projects"))["projects"]] == [alpha]
    assert [p["id"] for p in (await admin.get(f"{EP}/endpoint_groups/{group['id']}/projects"))["projects"]] == [alpha]
    groups = (await admin.get(f"{EP}/projects/{alpha}/endpoint_groups"))["endpoint_groups"]
    assert [g["id"] for g in groups] == [group["id"]]
    of_group = (await admin.get(f"{EP}/endpoint_groups/{group['id']}/endpoints"))["endpoints"]
    assert [e["interface"] for e in of_group] == ["internal"]

    change = {"endpoint_group": {"filters": {"service_id": services["network"]}}}
    await admin.do("PATCH", f"{EP}/endpoint_groups/{group['id']}", 200, change)
    assert set(await types(cloud, alice)) == {"image", "network"}
    await admin.do("DELETE", f"{EP}/endpoint_groups/{group['id']}", 204)
    assert await types(cloud, alice) == {"image": ["public"]}
    await admin.do("DELETE", path, 204)
    await admin.do("DELETE", path, 404)
    assert await types(cloud, alice) == everything


@pytest.mark.parametrize("filters", [{"nosuch": "x"}, {"interface": "sideways"}, "x"])
async def test_a_group_of_unknown_filters_is_refused(admin: Api, filters: Any) -> None:
    await admin.do("POST", f"{EP}/endpoint_groups", 400, {"endpoint_group": {"name": "g", "filters": filters}})


async def test_members_may_not_choose(cloud: ApiCloud) -> None:
    alice = Api(cloud, await cloud.member("alice", "alpha"))
    _, alpha = await cloud.user("alice", "alpha")
    await alice.do("GET", f"{EP}/endpoint_groups", 403)
    await alice.do("PUT", f"{EP}/projects/{alpha}/endpoints/x", 403)


async def test_what_is_deleted_leaves_the_choice(cloud: ApiCloud, admin: Api) -> None:
    service = await admin.make("service", type="t")
    fields = {"service_id": service["id"], "interface": "public", "url": "http://x"}
    endpoint = await admin.make("endpoint", **fields)
    project = await admin.make("project", name="p")
    await admin.do("PUT", f"{EP}/projects/{project['id']}/endpoints/{endpoint['id']}", 204)
    await admin.do("DELETE", f"/services/{service['id']}", 204)
    assert (await admin.get(f"{EP}/projects/{project['id']}/endpoints"))["endpoints"] == []
