"""Trusts that are handed on, access rules on the other services, and what goes with a user, role or domain."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import ApiCloud
from tests.api.test_identity_resources import V3, Api
from tests.api.test_identity_secrets import TOKENS, app_credential, login
from trilith.model.identity import Trust


@pytest.fixture
async def admin(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.token())


async def chain(cloud: ApiCloud, admin: Api, **more: Any) -> tuple[Api, dict[str, Any], Api, dict[str, Any]]:
    """Alice trusts bob, who may hand it on; alice, her trust, bob by a token of it, and what carol's trust needs."""
    alice_id, project_id = await cloud.user("alice", "alpha")
    alice = Api(cloud, await cloud.token("alice", "alpha"))
    bob = await admin.make("user", name="bob", password="pw")
    carol = await admin.make("user", name="carol", password="pw")
    ask = {
        "trustor_user_id": alice_id,
        "trustee_user_id": bob["id"],
        "project_id": project_id,
        "impersonation": True,
        "roles": [{"name": "member"}],
        "allow_redelegation": True,
        "expires_at": "2099-01-01T00:00:00.000000Z",
    }
    trust = await alice.make("trust", "OS-TRUST/trusts", **(ask | more))
    token = await login(cloud, bob["id"], "pw", scope={"OS-TRUST:trust": {"id": trust["id"]}})
    by_trust = Api(cloud, {"X-Auth-Token": token.headers["x-subject-token"]})
    ask = {k: v for k, v in ask.items() if k != "expires_at"} | {"trustee_user_id": carol["id"]}
    return alice, trust, by_trust, ask


async def test_a_trust_is_handed_on_and_ends_with_the_one_it_came_from(cloud: ApiCloud, admin: Api) -> None:
    alice, trust, bob, ask = await chain(cloud, admin)
    assert (trust["redelegation_count"], trust["redelegated_trust_id"]) == (3, None)
    second = await bob.make("trust", "OS-TRUST/trusts", **ask)
    assert second["redelegated_trust_id"] == trust["id"]
    assert second["redelegation_count"] == 2
    assert second["expires_at"] == trust["expires_at"]
    carol = await login(cloud, ask["trustee_user_id"], "pw", scope={"OS-TRUST:trust": {"id": second["id"]}})
    assert carol.status_code == 201
    headers = {"X-Auth-Token": carol.headers["x-subject-token"]}
    assert (await cloud.call("GET", f"{V3}/auth/catalog", headers)).status_code == 200
    await alice.do("DELETE", f"/OS-TRUST/trusts/{trust['id']}", 204)
    assert (await cloud.call("GET", f"{V3}/auth/catalog", headers)).status_code == 401
    assert await cloud.store.read(lambda r: r.select(Trust)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"remaining_uses": 1, "allow_redelegation": False},
        {"redelegation_count": 1},
        {"expires_at": "2100-01-01T00:00:00.000000Z"},
    ],
)
async def test_no_more_can_be_handed_on_than_was_given(cloud: ApiCloud, admin: Api, change: dict[str, Any]) -> None:
    _, _, bob, ask = await chain(cloud, admin)
    await bob.do("POST", "/OS-TRUST/trusts", 403, {"trust": ask | change})


async def test_a_trust_that_allows_it_once_ends_there(cloud: ApiCloud, admin: Api) -> None:
    _, _, bob, ask = await chain(cloud, admin, redelegation_count=1)
    last = await bob.make("trust", "OS-TRUST/trusts", **ask)
    assert last["redelegation_count"] == 0
    token = await login(cloud, ask["trustee_user_id"], "pw", scope={"OS-TRUST:trust": {"id": last["id"]}})
    carol = Api(cloud, {"X-Auth-Token": token.headers["x-subject-token"]})
    await carol.do("POST", "/OS-TRUST/trusts", 403, {"trust": ask})


async def test_bounds_of_redelegation(cloud: ApiCloud, admin: Api) -> None:
    alice, _, _, ask = await chain(cloud, admin)
    await alice.do("POST", "/OS-TRUST/trusts", 403, {"trust": ask | {"redelegation_count": 4}})
    await alice.do("POST", "/OS-TRUST/trusts", 400, {"trust": ask | {"remaining_uses": 1}})


@pytest.mark.parametrize("gone", ["user", "role", "project", "domain"])
async def test_a_trust_goes_with_what_it_rests_on(cloud: ApiCloud, admin: Api, gone: str) -> None:
    domain = await admin.make("domain", name="d")
    project = await admin.make("project", name="p", domain_id=domain["id"])
    role = await admin.make("role", name="r")
    users = [await admin.make("user", name=n, password="pw", domain_id=domain["id"]) for n in ("alice", "bob")]
    alice, bob = users
    await admin.do("PUT", f"/projects/{project['id']}/users/{alice['id']}/roles/{role['id']}", 204)
    token = await login(cloud, alice["id"], "pw", scope={"project": {"id": project["id"]}})
    own = Api(cloud, {"X-Auth-Token": token.headers["x-subject-token"]})
    ask = {
        "trustor_user_id": alice["id"],
        "trustee_user_id": bob["id"],
        "project_id": project["id"],
        "impersonation": False,
        "roles": [{"id": role["id"]}],
    }
    trust = await own.make("trust", "OS-TRUST/trusts", **ask)
    token = await login(cloud, bob["id"], "pw", scope={"OS-TRUST:trust": {"id": trust["id"]}})
    headers = {"X-Auth-Token": token.headers["x-subject-token"]}
    assert (await cloud.call("GET", f"{V3}/auth/catalog", headers)).status_code == 200
    if gone == "domain":
        await admin.do("PATCH", f"/domains/{domain['id']}", 200, {"domain": {"enabled": False}})
        assert (await cloud.call("GET", f"{V3}/auth/catalog", headers)).status_code == 401
    id = {"user": alice["id"], "role": role["id"], "project": project["id"], "domain": domain["id"]}[gone]
    await admin.do("DELETE", f"/{gone}s/{id}", 204)
    assert await cloud.store.read(lambda r: r.select(Trust)) == []
    assert (await cloud.call("GET", f"{V3}/auth/catalog", headers)).status_code == 401


async def test_access_rules_hold_on_the_other_services(cloud: ApiCloud, admin: Api) -> None:
    rules = [
        {"service": "compute", "method": "GET", "path": "/v2.1/servers"},
        {"service": "network", "method": "GET", "path": "/v2.0/networks/*"},
    ]
    async with app_credential(cloud, access_rules=rules) as (_, _, headers):
        for method, path, status in (
            ("GET", "/compute/v2.1/servers", 200),
            ("GET", "/compute/v2.1/servers/detail", 401),
            ("POST", "/compute/v2.1/servers", 401),
            ("GET", "/network/v2.0/networks/nosuch", 404),
            ("GET", "/network/v2.0/networks", 401),
            ("GET", "/image/v2/images", 401),
        ):
            answer = await cloud.call(method, path, headers, json={} if method == "POST" else None)
            assert answer.status_code == status, (path, answer.text)
        # a service that does not hold requests to the rules is not told that the token is good
        subject = {"X-Subject-Token": headers["X-Auth-Token"]}
        assert (await cloud.client.get(TOKENS, headers=admin.headers | subject)).status_code == 404
        knows = {"OpenStack-Identity-Access-Rules": "1.0"}
        shown = await cloud.client.get(TOKENS, headers=admin.headers | subject | knows)
        assert len(shown.json()["token"]["application_credential"]["access_rules"]) == 2
