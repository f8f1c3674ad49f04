"""Unified limits by both models."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import PASSWORD, ApiCloud
from tests.api.test_identity_resources import V3, Api
from tests.api.test_identity_secrets import with_settings


@pytest.fixture
async def admin(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.token())


async def registered(admin: Api, default: int = 10) -> str:
    service = await admin.make("service", type="t")
    fields = {"service_id": service["id"], "resource_name": "things", "default_limit": default}
    await admin.do("POST", "/registered_limits", 201, {"registered_limits": [fields]})
    return str(service["id"])


def limit(service: str, amount: int, **of: str) -> dict[str, Any]:
    return {"service_id": service, "resource_name": "things", "resource_limit": amount, **of}


async def test_the_flat_model_takes_each_limit_for_itself(admin: Api) -> None:
    assert (await admin.get("/limits/model"))["model"]["name"] == "flat"
    service = await registered(admin)
    project = await admin.make("project", name="p")
    await admin.do("POST", "/limits", 201, {"limits": [limit(service, 100, project_id=project["id"])]})
    await admin.do("POST", "/limits", 201, {"limits": [limit(service, 1, domain_id="default")]})


async def test_a_limit_without_a_registered_one_is_forbidden(admin: Api) -> None:
    service = await registered(admin)
    project = await admin.make("project", name="p")
    unknown = limit(service, 1, project_id=project["id"]) | {"resource_name": "unknown"}
    elsewhere = limit(service, 1, project_id=project["id"], region_id="RegionOne")
    await admin.do("POST", "/limits", 403, {"limits": [unknown]})
    await admin.do("POST", "/limits", 403, {"limits": [elsewhere]})
    assert not (await admin.get("/limits"))["limits"]


async def test_no_project_is_above_its_domain_by_the_strict_model(cloud: ApiCloud, admin: Api) -> None:
    with_settings(cloud, limit_model="strict_two_level")
    assert (await admin.get("/limits/model"))["model"]["name"] == "strict_two_level"
    service = await registered(admin)
    domain = (await admin.make("domain", name="d"))["id"]
    one, two = [(await admin.make("project", name=n, domain_id=domain))["id"] for n in ("one", "two")]
    # the registered default stands in for the domain's own
    await admin.do("POST", "/limits", 403, {"limits": [limit(service, 11, project_id=one)]})
    await admin.do("POST", "/limits", 403, {"limits": [limit(service, -1, project_id=one)]})
    # both of one request, the project's first
    both = [limit(service, 20, project_id=one), limit(service, 20, domain_id=domain)]
    made = (await admin.do("POST", "/limits", 201, {"limits": both}))["limits"]
    of_project, of_domain = (m["id"] for m in made)
    await admin.do("POST", "/limits", 403, {"limits": [limit(service, 21, project_id=two)]})
    await admin.do("PATCH", f"/limits/{of_project}", 403, {"limit": {"resource_limit": 21}})
    await admin.do("PATCH", f"/limits/{of_domain}", 403, {"limit": {"resource_limit": 19}})
    assert (await admin.get(f"/limits/{of_domain}"))["limit"]["resource_limit"] == 20
    await admin.do("PATCH", f"/limits/{of_project}", 200, {"limit": {"resource_limit": 5}})
    await admin.do("PATCH", f"/limits/{of_domain}", 200, {"limit": {"resource_limit": 5}})
    await admin.do("PATCH", f"/limits/{of_domain}", 200, {"limit": {"resource_limit": -1}})
    await admin.do("PATCH", f"/limits/{of_project}", 200, {"limit": {"resource_limit": -1}})


async def test_the_strict_model_has_two_levels(cloud: ApiCloud, admin: Api) -> None:
    service = await registered(admin)
    above = await admin.make("project", name="above")
    below = await admin.make("project", name="below", parent_id=above["id"])
    with_settings(cloud, limit_model="strict_two_level")
    await admin.do("POST", "/projects", 403, {"project": {"name": "deep", "parent_id": above["id"]}})
    await admin.do("POST", "/limits", 403, {"limits": [limit(service, 1, project_id=below["id"])]})
    await admin.make("project", name="flat")


async def test_who_sees_which_limits(cloud: ApiCloud, admin: Api) -> None:
    service = await registered(admin)
    alice = Api(cloud, await cloud.member("alice", "alpha"))
    user_id, alpha = await cloud.user("alice", "alpha")
    other = await admin.make("project", name="other")
    domain = (await admin.make("domain", name="d"))["id"]
    inside = await admin.make("project", name="inside", domain_id=domain)
    asked = [limit(service, 1, project_id=p) for p in (alpha, other["id"], inside["id"])]
    asked.append(limit(service, 2, domain_id=domain))
    made = {
        m["project_id"] or m["domain_id"]: m["id"]
        for m in (await admin.do("POST", "/limits", 201, {"limits": asked}))["limits"]
    }
    assert [m["project_id"] for m in (await alice.get("/limits"))["limits"]] == [alpha]
    await alice.do("GET", f"/limits/{made[alpha]}", 200)
    await alice.do("GET", f"/limits/{made[other['id']]}", 403)
    assert len((await admin.get("/limits"))["limits"]) == 4
    assert len((await admin.get(f"/limits?domain_id={domain}"))["limits"]) == 1
    reader = next(r["id"] for r in (await admin.get("/roles?name=reader"))["roles"])
    await admin.do("PUT", f"/domains/{domain}/users/{user_id}/roles/{reader}", 204)
    await admin.do("PATCH", f"/users/{user_id}", 200, {"user": {"password": PASSWORD}})
    auth = {
        "identity": {"methods": ["password"], "password": {"user": {"id": user_id, "password": PASSWORD}}},
        "scope": {"domain": {"id": domain}},
    }
    answer = await cloud.client.post(f"{V3}/auth/tokens", json={"auth": auth})
    manager = Api(cloud, {"X-Auth-Token": answer.headers["x-subject-token"]})
    seen = {m["project_id"] or m["domain_id"] for m in (await manager.get("/limits"))["limits"]}
    assert seen == {inside["id"], domain}
    await manager.do("GET", f"/limits/{made[inside['id']]}", 200)
    await manager.do("GET", f"/limits/{made[alpha]}", 403)
