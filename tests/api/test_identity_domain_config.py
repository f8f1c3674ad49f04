"""A domain's configuration: what is in force is kept, what would not be is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import ApiCloud
from tests.api.test_identity_resources import Api
from tests.api.test_identity_secrets import with_settings


@pytest.fixture
async def admin(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.token())


async def test_a_domains_list_limit_is_in_force(admin: Api) -> None:
    domain = await admin.make("domain", name="d")
    path = f"/domains/{domain['id']}/config"
    await admin.do("GET", path, 404)
    await admin.do("PATCH", path, 404, {"config": {"identity": {"list_limit": 2}}})
    config = {"identity": {"driver": "sql", "list_limit": 2}}
    assert (await admin.do("PUT", path, 201, {"config": config}))["config"] == config
    assert (await admin.get(path))["config"] == config
    assert (await admin.get(f"{path}/identity"))["config"] == config
    assert (await admin.get(f"{path}/identity/list_limit"))["config"] == {"list_limit": 2}
    for name in ("a", "b", "c"):
        await admin.make("user", name=name, domain_id=domain["id"])
        await admin.make("group", name=name, domain_id=domain["id"])
    for plural in ("users", "groups"):
        listed = await admin.get(f"/{plural}?domain_id={domain['id']}")
        assert [r["name"] for r in listed[plural]] == ["a", "b"]
        assert listed["truncated"] is True
        assert "truncated" not in await admin.get(f"/{plural}?domain_id={domain['id']}&limit=1")
    done = await admin.do("PATCH", f"{path}/identity/list_limit", 200, {"config": {"list_limit": 3}})
    assert done["config"]["identity"]["list_limit"] == 3
    listed = await admin.get(f"/users?domain_id={domain['id']}")
    assert (len(listed["users"]), "truncated" in listed) == (3, False)
    await admin.do("PATCH", f"{path}/identity", 400, {"config": {"ldap": {}}})
    await admin.do("DELETE", f"{path}/identity/list_limit", 204)
    await admin.do("GET", f"{path}/identity/list_limit", 404)
    assert (await admin.do("PUT", path, 200, {"config": config}))["config"] == config
    await admin.do("DELETE", f"{path}/identity", 204)
    await admin.do("GET", path, 404)
    await admin.do("PUT", path, 201, {"config": config})
    await admin.do("PATCH", f"/domains/{domain['id']}", 200, {"domain": {"enabled": False}})
    await admin.do("DELETE", f"/domains/{domain['id']}", 204)
    await admin.do("GET", path, 404)


@pytest.mark.parametrize(
    ("config", "status"),
    [
        ({"ldap": {"url": "ldap://x"}}, 403),
        ({"identity": {"driver": "ldap"}}, 403),
        ({"identity": {"nosuch": 1}}, 403),
        ({"identity": {"list_limit": 0}}, 403),
        ({"identity": {"list_limit": True}}, 403),
        ({"nosuch": {}}, 403),
        ({"identity": 3}, 400),
    ],
)
async def test_options_without_effect_are_refused(admin: Api, config: Any, status: int) -> None:
    await admin.do("PUT", "/domains/default/config", status, {"config": config})
    await admin.do("GET", "/domains/default/config", 404)


async def test_what_holds_for_all(cloud: ApiCloud, admin: Api) -> None:
    whole = (await admin.get("/domains/config/default"))["config"]
    assert whole == {"identity": {"driver": "sql", "list_limit": None}, "ldap": {}}
    assert (await admin.get("/domains/config/identity/driver/default"))["config"] == {"driver": "sql"}
    await admin.do("GET", "/domains/config/nosuch/default", 403)
    with_settings(cloud, password_regex="^.{8,}$", password_regex_description="eight letters")
    alice = Api(cloud, await cloud.member())
    shown = (await alice.get("/domains/default/config/security_compliance"))["config"]
    assert shown["security_compliance"]["password_regex_description"] == "eight letters"
    one = await alice.get("/domains/default/config/security_compliance/password_regex")
    assert one["config"] == {"password_regex": "^.{8,}$"}
    await alice.do("GET", "/domains/default/config", 403)
