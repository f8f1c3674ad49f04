"""Log-in, scopes, rescoping, revocation, and what the answer holds."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from tests.api.conftest import PASSWORD, ApiCloud

TOKENS = "/identity/v3/auth/tokens"
ADMIN = {"user": {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}}
PROJECT = {"project": {"name": "admin", "domain": {"name": "Default"}}}


def by_password(scope: Any = None, user: dict[str, Any] | None = None) -> dict[str, Any]:
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": user or ADMIN}}
    return {"auth": auth | ({"scope": scope} if scope is not None else {})}


def by_token(token: str, scope: Any = None) -> dict[str, Any]:
    auth: dict[str, Any] = {"identity": {"methods": ["token"], "token": {"id": token}}}
    return {"auth": auth | ({"scope": scope} if scope is not None else {})}


async def login(cloud: ApiCloud, body: dict[str, Any], query: str = "") -> httpx.Response:
    return await cloud.client.post(TOKENS + query, json=body)


async def new_user(cloud: ApiCloud, admin: dict[str, str], **fields: Any) -> dict[str, Any]:
    made = await cloud.call("POST", "/identity/v3/users", admin, json={"user": fields})
    assert made.status_code == 201, made.text
    return made.json()["user"]  # type: ignore[no-any-return]


async def test_versions(cloud: ApiCloud) -> None:
    root = await cloud.client.get("/identity")
    assert root.status_code == 300
    (version,) = root.json()["versions"]["values"]
    assert version["links"] == [{"rel": "self", "href": "http://testserver/identity/v3/"}]
    one = await cloud.client.get("/identity/v3")
    assert one.status_code == 200
    assert one.json()["version"] == version
    assert (await cloud.client.get("/identity/v3/")).status_code == 200


async def test_a_password_gives_a_token_for_a_project_by_name(cloud: ApiCloud) -> None:
    made = await login(cloud, by_password(PROJECT))
    assert made.status_code == 201
    body = made.json()["token"]
    assert body["methods"] == ["password"]
    assert body["user"]["name"] == "admin"
    assert body["user"]["domain"] == {"id": "default", "name": "Default"}
    assert body["user"]["password_expires_at"] is None
    assert body["project"]["name"] == "admin"
    assert [r["name"] for r in body["roles"]] == ["admin", "manager", "member", "reader"]
    assert len(body["audit_ids"]) == 1
    urls = {e["type"]: e["endpoints"][0]["url"] for e in body["catalog"]}
    assert urls["identity"] == "http://testserver/identity"
    assert urls["compute"] == "http://testserver/compute/v2.1"
    assert {e["interface"] for e in body["catalog"][0]["endpoints"]} == {"public", "internal", "admin"}
    token = made.headers["x-subject-token"]
    shown = await cloud.client.get(TOKENS, headers={"X-Auth-Token": token, "X-Subject-Token": token})
    assert shown.status_code == 200
    assert shown.json()["token"] == body
    assert shown.headers["x-subject-token"] == token
    head = await cloud.client.head(TOKENS, headers={"X-Auth-Token": token, "X-Subject-Token": token})
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    ("scope", "key"),
    [
        ({"domain": {"id": "default"}}, "domain"),
        ({"domain": {"name": "Default"}}, "domain"),
        ({"system": {"all": True}}, "system"),
    ],
)
async def test_other_scopes(cloud: ApiCloud, scope: dict[str, Any], key: str) -> None:
    made = await login(cloud, by_password(scope), "?nocatalog")
    assert made.status_code == 201
    body = made.json()["token"]
    assert "project" not in body
    assert "catalog" not in body
    assert body[key] == ({"all": True} if key == "system" else {"id": "default", "name": "Default"})


@pytest.mark.parametrize("scope", ["unscoped", {"unscoped": {}}])
async def test_unscoped_on_purpose(cloud: ApiCloud, scope: Any) -> None:
    body = (await login(cloud, by_password(scope))).json()["token"]
    assert not {"project", "domain", "system", "roles", "catalog"} & set(body)


async def test_no_scope_means_the_default_project_where_there_is_a_role(cloud: ApiCloud) -> None:
    admin = await cloud.token()
    assert (await login(cloud, by_password())).json()["token"]["project"]["name"] == "admin"
    user = await new_user(cloud, admin, name="u", password="pw", default_project_id="nosuch")
    body = (await login(cloud, by_password(user={"user": {"id": user["id"], "password": "pw"}}))).json()["token"]
    assert "project" not in body


async def test_rescoping_keeps_expiry_and_chain(cloud: ApiCloud) -> None:
    first = await login(cloud, by_password("unscoped"))
    one = first.json()["token"]
    second = await login(cloud, by_token(first.headers["x-subject-token"], PROJECT))
    two = second.json()["token"]
    assert second.status_code == 201
    assert two["expires_at"] == one["expires_at"]
    assert set(two["methods"]) == {"password", "token"}
    assert two["audit_ids"][1] == one["audit_ids"][0]
    assert two["audit_ids"][0] != one["audit_ids"][0]
    assert two["user"] == one["user"]
    admin = await cloud.token()
    gone = {"X-Subject-Token": second.headers["x-subject-token"]}
    assert (await cloud.client.delete(TOKENS, headers=admin | gone)).status_code == 204
    assert (await cloud.client.get(TOKENS, headers=admin | gone)).status_code == 404
    third = await login(cloud, by_token(first.headers["x-subject-token"], PROJECT))
    assert third.status_code == 201  # its parent was not revoked
    assert (await login(cloud, by_token(second.headers["x-subject-token"]))).status_code == 404


@pytest.mark.parametrize(
    ("auth", "status"),
    [
        ({}, 400),
        ({"identity": {"methods": []}}, 400),
        ({"identity": {"methods": ["password"]}}, 400),
        ({"identity": {"methods": ["telepathy"]}}, 401),
        ({"identity": {"methods": ["password"], "password": {"user": {"name": "admin", "password": "x"}}}}, 400),
        ({"identity": {"methods": ["password"], "password": {"user": {"id": "x", "password": 3}}}}, 400),
        ({"identity": {"methods": ["password"], "password": ADMIN}, "scope": {"project": {"name": "admin"}}}, 400),
        ({"identity": {"methods": ["password"], "password": ADMIN}, "scope": "everything"}, 400),
        ({"identity": {"methods": ["password"], "password": ADMIN}, "scope": {}}, 400),
        ({"identity": {"methods": ["password"], "password": ADMIN}, "scope": {"project": {"id": "nosuch"}}}, 401),
        ({"identity": {"methods": ["password"], "password": ADMIN}, "scope": {"domain": {"id": "nosuch"}}}, 401),
        ({"identity": {"methods": ["token"], "token": {"id": "gAAAA"}}}, 404),
    ],
)
async def test_requests_that_are_none(cloud: ApiCloud, auth: dict[str, Any], status: int) -> None:
    refused = await login(cloud, {"auth": auth})
    assert refused.status_code == status, refused.text
    error = refused.json()["error"]
    assert set(error) == {"code", "message", "title"}
    assert error["code"] == status


async def test_wrong_password_and_unknown_user_get_the_same_answer_after_the_same_work(
    cloud: ApiCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trilith.commands import passwords

    verified: list[bool] = []
    real = passwords.matches
    monkeypatch.setattr(passwords, "matches", lambda s, p: verified.append(bool(s)) or real(s, p))
    wrong = await login(cloud, by_password(user={"user": ADMIN["user"] | {"password": "no"}}))
    unknown = await login(cloud, by_password(user={"user": ADMIN["user"] | {"name": "nobody"}}))
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()
    assert verified == [True, False]  # one argon2 verification each, of a dummy hash for the unknown


async def test_tokens_end_with_what_they_stand_for(cloud: ApiCloud) -> None:
    admin = await cloud.token()
    alice = await cloud.member("alice", "alpha")
    user_id, project_id = await cloud.user("alice", "alpha")

    async def status() -> int:
        return (await cloud.call("GET", "/identity/v3/auth/projects", alice)).status_code

    async def patch(noun: str, id: str, **fields: Any) -> None:
        done = await cloud.call("PATCH", f"/identity/v3/{noun}s/{id}", admin, json={noun: fields})
        assert done.status_code == 200, done.text

    assert await status() == 200
    await patch("project", project_id, enabled=False)
    assert await status() == 401
    await patch("project", project_id, enabled=True)
    assert await status() == 200
    await patch("user", user_id, enabled=False)
    assert await status() == 401
    await patch("user", user_id, enabled=True)
    assert await status() == 401  # disabling revoked them for good
    alice = await cloud.token("alice", "alpha")
    assert await status() == 200
    await patch("user", user_id, password="another")
    assert await status() == 401
    alice = await cloud.token("alice", "alpha")
    assert (await cloud.call("DELETE", f"/identity/v3/projects/{project_id}", admin)).status_code == 204
    assert await status() == 401


async def test_only_ones_own_token_is_shown_to_a_member(cloud: ApiCloud) -> None:
    admin, alice = await cloud.token(), await cloud.member()
    other = {"X-Subject-Token": admin["X-Auth-Token"]}
    own = {"X-Subject-Token": alice["X-Auth-Token"]}
    assert (await cloud.client.get(TOKENS, headers=alice | other)).status_code == 403
    assert (await cloud.client.get(TOKENS, headers=alice | own)).status_code == 200
    assert (await cloud.client.delete(TOKENS, headers=alice | own)).status_code == 204
    assert (await cloud.client.get(TOKENS, headers=admin | own)).status_code == 404
    assert (await cloud.client.get(TOKENS, headers=own)).status_code == 401


async def test_what_the_caller_may_scope_to(cloud: ApiCloud) -> None:
    alice = await cloud.member("alice", "alpha")
    admin = await cloud.token()
    listed = (await cloud.call("GET", "/identity/v3/auth/projects", alice)).json()
    assert [p["name"] for p in listed["projects"]] == ["alpha"]
    assert listed["links"]["next"] is None
    assert (await cloud.call("GET", "/identity/v3/auth/domains", alice)).json()["domains"] == []
    assert (await cloud.call("GET", "/identity/v3/auth/system", alice)).json()["system"] == []
    assert (await cloud.call("GET", "/identity/v3/auth/system", admin)).json()["system"] == [{"all": True}]
    assert [d["id"] for d in (await cloud.call("GET", "/identity/v3/auth/domains", admin)).json()["domains"]] == [
        "default"
    ]
    assert (await cloud.call("GET", "/identity/v3/auth/catalog", alice)).json()["catalog"]
    unscoped = {"X-Auth-Token": (await login(cloud, by_password("unscoped"))).headers["x-subject-token"]}
    assert (await cloud.call("GET", "/identity/v3/auth/catalog", unscoped)).status_code == 403
    assert (await cloud.call("GET", "/identity/v3/auth/projects", unscoped)).status_code == 200


async def test_a_kept_token_costs_no_read(cloud: ApiCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await login(cloud, by_password(PROJECT))
    token = made.headers["x-subject-token"]

    async def never(_fn: Any) -> Any:
        raise AssertionError("the store was read")

    monkeypatch.setattr(cloud.store, "read", never)
    started = time.process_time()
    for _ in range(100):
        await cloud.cloud.host.tokens.actor(token)
    assert time.process_time() - started < 1.0


async def test_multi_factor_rules_are_kept(cloud: ApiCloud) -> None:
    """Rules that nobody can meet refuse; one that the password meets lets in; switched off they say nothing."""
    admin = await cloud.token()
    rules = [["password", "totp"], []]
    made = await new_user(
        cloud, admin, name="careful", password="a-long-one",
        options={"multi_factor_auth_enabled": True, "multi_factor_auth_rules": rules},
    )  # fmt: skip
    careful = by_password(user={"user": {"id": made["id"], "password": "a-long-one"}})
    refused = await login(cloud, careful)
    assert refused.status_code == 401
    assert refused.json()["required_auth_methods"] == [["password", "totp"]]
    assert refused.json()["receipt"]["methods"] == ["password"]
    for options in ({"multi_factor_auth_rules": [*rules, ["password"]]}, {"multi_factor_auth_enabled": False}):
        body = {"user": {"options": {"multi_factor_auth_rules": rules} | options}}
        changed = await cloud.call("PATCH", f"/identity/v3/users/{made['id']}", admin, json=body)
        assert changed.status_code == 200, changed.text
        assert (await login(cloud, careful)).status_code == 201
