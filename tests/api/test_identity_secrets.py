"""Passwords and their rules, lock-out, application credentials, credentials, trusts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.api.conftest import ApiCloud
from tests.api.test_identity_resources import V3, Api
from trilith.store.mapping import metadata
from trilith.store.tx import Reader

TOKENS = f"{V3}/auth/tokens"
Login = Callable[..., Awaitable[int]]


@pytest.fixture
async def admin(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.token())


def with_settings(cloud: ApiCloud, **changes: Any) -> None:
    cloud.cloud.host.settings = replace(cloud.cloud.host.settings, **changes)


async def login(cloud: ApiCloud, user_id: str, password: str, **scope: Any) -> Any:
    auth: dict[str, Any] = {
        "identity": {"methods": ["password"], "password": {"user": {"id": user_id, "password": password}}}
    }
    return await cloud.client.post(TOKENS, json={"auth": auth | scope})


async def test_a_user_changes_its_own_password_without_a_token(cloud: ApiCloud, admin: Api) -> None:
    user = await admin.make("user", name="u", password="one")
    held = (await login(cloud, user["id"], "one")).headers["x-subject-token"]

    async def change(old: str, new: str) -> int:
        body = {"user": {"original_password": old, "password": new}}
        return (await cloud.client.post(f"{V3}/users/{user['id']}/password", json=body)).status_code

    assert await change("wrong", "two") == 401
    assert await change("one", "two") == 204
    assert (await login(cloud, user["id"], "one")).status_code == 401
    assert (await login(cloud, user["id"], "two")).status_code == 201
    gone = await cloud.client.get(TOKENS, headers=admin.headers | {"X-Subject-Token": held})
    assert gone.status_code == 404
    body = {"user": {"original_password": "x", "password": "y"}}
    assert (await cloud.client.post(f"{V3}/users/nosuch/password", json=body)).status_code == 401
    await admin.do("PATCH", f"/users/{user['id']}", 200, {"user": {"options": {"lock_password": True}}})
    assert await change("two", "three") == 400


async def test_password_rules(cloud: ApiCloud, admin: Api) -> None:
    with_settings(cloud, password_history=2, password_regex=r"^(?=.*\d).{4,}$", password_days=1.0)
    await admin.do("POST", "/users", 400, {"user": {"name": "weak", "password": "abc"}})
    user = await admin.make("user", name="u", password="pass1")
    assert user["password_expires_at"] is not None
    path = f"/users/{user['id']}/password"

    async def change(old: str, new: str, status: int) -> None:
        await admin.do("POST", path, status, {"user": {"original_password": old, "password": new}})

    await change("pass1", "short", 400)
    await change("pass1", "pass1", 400)
    await change("pass1", "pass2", 204)
    await change("pass2", "pass1", 400)
    await change("pass2", "pass3", 204)
    await change("pass3", "pass1", 204)  # two others lie between
    await admin.do("PATCH", f"/users/{user['id']}", 200, {"user": {"password": "pass1"}})  # an administrator may

    def expire(tx: Any) -> None:
        from trilith.model.identity import User

        tx.change(tx.get(User, user["id"]), password_expires_at=1.0)

    await cloud.store.write(expire)
    refused = await login(cloud, user["id"], "pass1")
    assert refused.status_code == 401
    assert "expired" in refused.json()["error"]["message"]
    assert "expired" not in (await login(cloud, user["id"], "wrong")).json()["error"]["message"]
    listed = await admin.get("/users?password_expires_at=lt:2016-01-01T00:00:00Z")
    assert [u["id"] for u in listed["users"]] == [user["id"]]
    await change("pass1", "pass4", 204)
    assert (await login(cloud, user["id"], "pass4")).status_code == 201


async def test_too_many_wrong_passwords_lock_the_user_out(cloud: ApiCloud, admin: Api) -> None:
    with_settings(cloud, lockout_attempts=2, lockout_seconds=3600.0)
    user = await admin.make("user", name="u", password="pw")

    async def status(password: str) -> int:
        return (await login(cloud, user["id"], password)).status_code  # type: ignore[no-any-return]

    assert await status("bad") == 401
    assert await status("pw") == 201  # starts the count anew
    assert [await status("bad"), await status("bad")] == [401, 401]
    assert await status("pw") == 401
    body = {"user": {"original_password": "pw", "password": "new"}}
    assert (await cloud.client.post(f"{V3}/users/{user['id']}/password", json=body)).status_code == 401
    with_settings(cloud, lockout_seconds=0.0)
    assert await status("pw") == 201
    with_settings(cloud, lockout_seconds=3600.0)
    await admin.do(
        "PATCH", f"/users/{user['id']}", 200, {"user": {"options": {"ignore_lockout_failure_attempts": True}}}
    )
    for _ in range(3):
        assert await status("bad") == 401
    assert await status("pw") == 201


@asynccontextmanager
async def app_credential(cloud: ApiCloud, **fields: Any) -> AsyncIterator[tuple[Api, dict[str, Any], dict[str, str]]]:
    """Of alice, member of alpha; and the headers of a token that it gives."""
    alice = Api(cloud, await cloud.member("alice", "alpha"))
    user_id, _ = await cloud.user("alice", "alpha")
    path = f"/users/{user_id}/application_credentials"
    made = await alice.do("POST", path, 201, {"application_credential": {"name": "ac"} | fields})
    credential = made["application_credential"]
    given = {"id": credential["id"], "secret": credential["secret"]}
    body = {"auth": {"identity": {"methods": ["application_credential"], "application_credential": given}}}
    token = await cloud.client.post(TOKENS, json=body)
    assert token.status_code == 201, token.text
    yield alice, credential, {"X-Auth-Token": token.headers["x-subject-token"]}


async def test_an_application_credential_logs_in_with_no_more_than_it_was_given(cloud: ApiCloud, admin: Api) -> None:
    async with app_credential(cloud, roles=[{"name": "reader"}]) as (alice, credential, headers):
        path = f"/users/{credential['user_id']}/application_credentials"
        shown = (await alice.get(f"{path}/{credential['id']}"))["application_credential"]
        assert shown == {k: v for k, v in credential.items() if k != "secret"}
        assert [c["id"] for c in (await alice.get(f"{path}?name=ac"))["application_credentials"]] == [credential["id"]]
        token = await cloud.client.get(TOKENS, headers=headers | {"X-Subject-Token": headers["X-Auth-Token"]})
        body = token.json()["token"]
        assert [r["name"] for r in body["roles"]] == ["reader"]
        assert body["project"]["id"] == credential["project_id"]
        assert body["application_credential"] == {"id": credential["id"], "name": "ac", "restricted": True}
        await alice.do("POST", path, 409, {"application_credential": {"name": "ac"}})
        await alice.do("POST", path, 400, {"application_credential": {"name": "x", "roles": [{"name": "admin"}]}})
        await alice.do("POST", path, 400, {"application_credential": {"name": "x", "expires_at": "2001-01-01"}})
        await admin.do("POST", path, 403, {"application_credential": {"name": "mine"}})
        bound = Api(cloud, headers)
        await bound.do("POST", path, 403, {"application_credential": {"name": "child"}})
        await bound.do("DELETE", f"{path}/{credential['id']}", 403)
        await bound.do("POST", "/credentials", 403, {"credential": {"type": "t", "blob": "b"}})
        rescope = {"identity": {"methods": ["token"], "token": {"id": headers["X-Auth-Token"]}}}
        assert (await cloud.client.post(TOKENS, json={"auth": rescope})).status_code == 403
        wrong = {"id": credential["id"], "secret": "no"}
        auth = {"identity": {"methods": ["application_credential"], "application_credential": wrong}}
        assert (await cloud.client.post(TOKENS, json={"auth": auth})).status_code == 401
        await alice.do("DELETE", f"{path}/{credential['id']}", 204)
        assert (await cloud.call("GET", f"{V3}/auth/projects", headers)).status_code == 401


async def test_an_application_credential_by_name_and_its_expiry(cloud: ApiCloud) -> None:
    async with app_credential(cloud, expires_at="2099-01-01T00:00:00.000000", secret="s") as (_, credential, _headers):
        assert credential["expires_at"] == "2099-01-01T00:00:00.000000"
        given = {"name": "ac", "secret": "s", "user": {"name": "alice", "domain": {"id": "default"}}}
        auth = {"identity": {"methods": ["application_credential"], "application_credential": given}}
        assert (await cloud.client.post(TOKENS, json={"auth": auth})).status_code == 201


async def test_access_rules_hold_every_request(cloud: ApiCloud) -> None:
    rule = {"service": "identity", "method": "GET", "path": "/v3/users/*"}
    async with app_credential(cloud, access_rules=[rule]) as (alice, credential, headers):
        (kept,) = credential["access_rules"]
        assert kept == rule | {"id": kept["id"]}
        user = credential["user_id"]
        assert (await cloud.call("GET", f"{V3}/users/{user}", headers)).status_code == 200
        assert (await cloud.call("GET", f"{V3}/users/{user}/projects", headers)).status_code == 401
        assert (await cloud.call("PATCH", f"{V3}/users/{user}", headers, json={"user": {}})).status_code == 401
        assert (await cloud.call("GET", f"{V3}/auth/projects", headers)).status_code == 401
        rules = f"/users/{user}/access_rules"
        assert [r["id"] for r in (await alice.get(rules))["access_rules"]] == [kept["id"]]
        await alice.do("DELETE", f"{rules}/{kept['id']}", 403)
        await alice.do("DELETE", f"/users/{user}/application_credentials/{credential['id']}", 204)
        assert (await alice.get(f"{rules}/{kept['id']}"))["access_rule"]["path"] == rule["path"]
        await alice.do("DELETE", f"{rules}/{kept['id']}", 204)
        await alice.do("GET", f"{rules}/{kept['id']}", 404)


async def test_taking_the_grant_away_takes_the_application_credential(cloud: ApiCloud, admin: Api) -> None:
    async with app_credential(cloud) as (alice, credential, headers):
        member = (await admin.get("/roles?name=member"))["roles"][0]["id"]
        grant = f"/projects/{credential['project_id']}/users/{credential['user_id']}/roles/{member}"
        await admin.do("DELETE", grant, 204)
        assert (await cloud.call("GET", f"{V3}/auth/projects", headers)).status_code == 401
        await admin.do("PUT", grant, 204)
        assert (await cloud.call("GET", f"{V3}/auth/projects", headers)).status_code == 401
        path = f"/users/{credential['user_id']}/application_credentials/{credential['id']}"
        await Api(cloud, await cloud.token("alice", "alpha")).do("GET", path, 404)
        assert alice


async def test_credentials_are_sealed(cloud: ApiCloud, admin: Api, tmp_path: Path) -> None:
    user_id, project_id = await cloud.user("alice", "alpha")
    planted = "planted-8d1f"
    blob = f'{{"access": "a", "secret": "{planted}"}}'
    asked = {"type": "ec2", "blob": blob, "user_id": user_id, "project_id": project_id}
    made = await admin.make("credential", **asked)
    assert made["blob"] == blob
    await admin.do("POST", "/credentials", 409, {"credential": asked})
    await admin.do("POST", "/credentials", 400, {"credential": asked | {"project_id": None}})
    await admin.do("POST", "/credentials", 400, {"credential": asked | {"blob": "{}"}})

    def dump(reader: Reader) -> str:
        tables = metadata.sorted_tables
        return "".join(repr(row) for t in tables for row in reader.conn.execute(sa.select(t)))

    assert planted not in await cloud.store.read(dump)
    path = f"/credentials/{made['id']}"
    changed = await admin.do("PATCH", path, 200, {"credential": {"blob": '{"access": "b", "secret": "c"}'}})
    assert changed["credential"]["blob"] == '{"access": "b", "secret": "c"}'
    await admin.do("PATCH", path, 400, {"credential": {"user_id": "other"}})
    alice, mallory = Api(cloud, await cloud.token("alice", "alpha")), Api(cloud, await cloud.member("mallory", "alpha"))
    assert [c["id"] for c in (await alice.get("/credentials"))["credentials"]] == [made["id"]]
    assert (await mallory.get("/credentials"))["credentials"] == []
    await mallory.do("GET", path, 403)
    await admin.do("DELETE", f"/users/{user_id}", 204)
    await admin.do("GET", path, 404)


async def test_ec2_credentials(cloud: ApiCloud) -> None:
    user_id, project_id = await cloud.user("alice", "alpha")
    alice = Api(cloud, await cloud.token("alice", "alpha"))
    path = f"/users/{user_id}/credentials/OS-EC2"
    made = (await alice.do("POST", path, 201, {"tenant_id": project_id}))["credential"]
    assert (made["user_id"], made["tenant_id"]) == (user_id, project_id)
    assert made["secret"]
    assert [c["access"] for c in (await alice.get(path))["credentials"]] == [made["access"]]
    assert (await alice.get(f"{path}/{made['access']}"))["credential"] == made
    await Api(cloud, await cloud.member("mallory", "beta")).do("GET", f"{path}/{made['access']}", 403)
    await alice.do("DELETE", f"{path}/{made['access']}", 204)
    await alice.do("GET", f"{path}/{made['access']}", 404)


@pytest.mark.parametrize("impersonation", [True, False])
async def test_a_trust_lets_another_act(cloud: ApiCloud, admin: Api, impersonation: bool) -> None:
    alice_id, project_id = await cloud.user("alice", "alpha")
    alice = Api(cloud, await cloud.token("alice", "alpha"))
    bob = await admin.make("user", name="bob", password="pw")
    ask = {
        "trustor_user_id": alice_id,
        "trustee_user_id": bob["id"],
        "project_id": project_id,
        "impersonation": impersonation,
        "roles": [{"name": "reader"}],
        "remaining_uses": 1,
    }
    trust = await alice.make("trust", "OS-TRUST/trusts", **ask)
    assert [r["name"] for r in trust["roles"]] == ["reader"]
    assert trust["expires_at"] is None
    scope = {"scope": {"OS-TRUST:trust": {"id": trust["id"]}}}
    token = await login(cloud, bob["id"], "pw", **scope)
    assert token.status_code == 201, token.text
    body = token.json()["token"]
    assert body["user"]["id"] == (alice_id if impersonation else bob["id"])
    assert body["OS-TRUST:trust"]["trustee_user"] == {"id": bob["id"]}
    assert [r["name"] for r in body["roles"]] == ["reader"]
    headers = {"X-Auth-Token": token.headers["x-subject-token"]}
    assert (await cloud.call("GET", f"{V3}/auth/catalog", headers)).status_code == 200
    assert (await login(cloud, bob["id"], "pw", **scope)).status_code == 401  # used up
    again = await alice.make("trust", "OS-TRUST/trusts", **(ask | {"remaining_uses": None}))
    path = f"/OS-TRUST/trusts/{again['id']}"
    listed = (await alice.get(f"/OS-TRUST/trusts?trustor_user_id={alice_id}"))["trusts"]
    assert [t["id"] for t in listed] == [again["id"]]
    assert "roles" not in listed[0]
    role = again["roles"][0]["id"]
    assert (await alice.get(f"{path}/roles/{role}"))["role"]["name"] == "reader"
    await alice.do("HEAD", f"{path}/roles/nosuch", 404)
    await Api(cloud, await cloud.member("mallory", "alpha")).do("GET", path, 403)
    token = await login(cloud, bob["id"], "pw", scope={"OS-TRUST:trust": {"id": again["id"]}})
    headers = {"X-Auth-Token": token.headers["x-subject-token"]}
    await alice.do("DELETE", path, 204)
    await alice.do("GET", path, 404)
    assert (await cloud.call("GET", f"{V3}/auth/catalog", headers)).status_code == 401
    for wrong, status in (
        ({"expires_at": "bad.123Z"}, 400),
        ({"roles": [{"name": "admin"}]}, 404),
        ({"trustor_user_id": bob["id"]}, 403),
        ({"trustee_user_id": "nosuch"}, 404),
    ):
        await alice.do("POST", "/OS-TRUST/trusts", status, {"trust": ask | wrong})
