"""TOTP alone and as a second factor, receipts, and the rules of passwords and users in time."""

from __future__ import annotations

import base64
import time
from typing import Any

import httpx
import pytest

from tests.api.conftest import ApiCloud
from tests.api.test_identity_resources import V3, Api
from tests.api.test_identity_secrets import TOKENS, login, with_settings
from trilith.commands.identity_totp import STEP, passcode_at
from trilith.model.identity import Credential, User

SECRET = b"twelve bytes"
BLOB = base64.b32encode(SECRET).decode().rstrip("=")


@pytest.fixture
async def admin(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.token())


def passcode(earlier: int = 0) -> str:
    return passcode_at(SECRET, int(time.time() // STEP) - earlier)


async def careful(admin: Api, rules: list[list[str]] | None = None) -> str:
    """A user with a password and a TOTP credential; the id."""
    options: dict[str, Any] = {}
    if rules is not None:
        options = {"multi_factor_auth_enabled": True, "multi_factor_auth_rules": rules}
    user = await admin.make("user", name="careful", password="pw", options=options)
    await admin.make("credential", type="totp", blob=BLOB, user_id=user["id"])
    return str(user["id"])


async def prove(cloud: ApiCloud, user_id: str, password: str = "", code: str = "", receipt: str = "") -> httpx.Response:
    identity: dict[str, Any] = {"methods": []}
    if password:
        identity["methods"].append("password")
        identity["password"] = {"user": {"id": user_id, "password": password}}
    if code:
        identity["methods"].append("totp")
        identity["totp"] = {"user": {"id": user_id, "passcode": code}}
    headers = {"Openstack-Auth-Receipt": receipt} if receipt else {}
    return await cloud.client.post(TOKENS, json={"auth": {"identity": identity}}, headers=headers)


def test_passcodes_are_those_of_rfc_6238() -> None:
    """Its appendix B, of whose eight digits ours are the last six."""
    secret = b"12345678901234567890"
    for at, code in ((59, "94287082"), (1111111109, "07081804"), (20000000000, "65353130")):
        assert passcode_at(secret, at // STEP) == code[-6:]


async def test_a_passcode_counts_once(cloud: ApiCloud, admin: Api) -> None:
    user_id = await careful(admin)
    code = passcode()
    answer = await prove(cloud, user_id, code=code)
    assert answer.status_code == 201
    assert answer.json()["token"]["methods"] == ["totp"]
    assert (await prove(cloud, user_id, code=code)).status_code == 401
    assert (await prove(cloud, user_id, code=passcode(earlier=1))).status_code == 401  # older than one that was used


async def test_a_passcode_of_a_moment_ago_counts_and_none_before(cloud: ApiCloud, admin: Api) -> None:
    user_id = await careful(admin)
    assert (await prove(cloud, user_id, code=passcode(earlier=3))).status_code == 401
    assert (await prove(cloud, user_id, code=passcode(earlier=1))).status_code == 201


async def test_the_second_factor_follows_with_a_receipt(cloud: ApiCloud, admin: Api) -> None:
    user_id = await careful(admin, [["password", "totp"]])
    half = await prove(cloud, user_id, "pw")
    assert half.status_code == 401
    receipt = half.headers["openstack-auth-receipt"]
    body = half.json()
    assert body["required_auth_methods"] == [["password", "totp"]]
    assert body["receipt"]["methods"] == ["password"]
    assert body["receipt"]["user"]["id"] == user_id
    # a receipt is no token, and a token is no receipt
    assert (await cloud.call("GET", f"{V3}/auth/projects", {"X-Auth-Token": receipt})).status_code == 401
    held = admin.headers["X-Auth-Token"]
    assert (await prove(cloud, user_id, code=passcode(), receipt=held)).status_code == 401
    other = await admin.make("user", name="other", password="pw")
    assert (await prove(cloud, other["id"], "pw", receipt=receipt)).status_code == 401  # somebody else's
    assert (await prove(cloud, user_id, code="000000x", receipt=receipt)).status_code == 401
    whole = await prove(cloud, user_id, code=passcode(), receipt=receipt)
    assert whole.status_code == 201
    assert sorted(whole.json()["token"]["methods"]) == ["password", "totp"]
    rescoped = {"identity": {"methods": ["token"], "token": {"id": whole.headers["x-subject-token"]}}}
    assert (await cloud.client.post(TOKENS, json={"auth": rescoped})).status_code == 201


async def test_both_factors_at_once(cloud: ApiCloud, admin: Api) -> None:
    user_id = await careful(admin, [["password", "totp"]])
    code = passcode()
    assert (await prove(cloud, user_id, "wrong", code)).status_code == 401
    assert (await prove(cloud, user_id, "pw", code)).status_code == 201  # the wrong password did not use it up
    assert (await prove(cloud, user_id, "pw", "123")).status_code == 401


async def test_a_trustee_meets_its_own_rules(cloud: ApiCloud, admin: Api) -> None:
    user_id = await careful(admin, [["password", "totp"]])
    alice_id, alpha = await cloud.user("alice", "alpha")
    alice = Api(cloud, await cloud.token("alice", "alpha"))
    ask = {"trustor_user_id": alice_id, "trustee_user_id": user_id, "impersonation": True, "project_id": alpha}
    trust = await alice.make("trust", "OS-TRUST/trusts", **ask, roles=[{"name": "member"}])
    scope = {"scope": {"OS-TRUST:trust": {"id": trust["id"]}}}
    half = await login(cloud, user_id, "pw", **scope)
    assert half.status_code == 401
    assert half.json()["receipt"]["user"]["id"] == user_id
    both = {
        "methods": ["password", "totp"],
        "password": {"user": {"id": user_id, "password": "pw"}},
        "totp": {"user": {"id": user_id, "passcode": passcode()}},
    }
    whole = await cloud.client.post(TOKENS, json={"auth": {"identity": both} | scope})
    assert whole.status_code == 201
    assert whole.json()["token"]["user"]["id"] == alice_id


async def test_guesses_at_a_passcode_are_bounded(cloud: ApiCloud, admin: Api) -> None:
    user_id = await careful(admin)
    for _ in range(5):
        assert (await prove(cloud, user_id, code="x")).status_code == 401
    assert (await prove(cloud, user_id, code=passcode())).status_code == 401


@pytest.mark.parametrize("blob", ["not base32!", "AAAA", ""])
async def test_a_secret_that_could_log_nobody_in_is_refused(admin: Api, blob: str) -> None:
    user = await admin.make("user", name="u")
    body = {"credential": {"type": "totp", "blob": blob, "user_id": user["id"]}}
    await admin.do("POST", "/credentials", 400, body)


async def test_the_secret_is_sealed(cloud: ApiCloud, admin: Api) -> None:
    user_id = await careful(admin)
    (kept,) = await cloud.store.read(lambda r: r.select(Credential, user_id=user_id))
    assert BLOB not in kept.blob


async def change(cloud: ApiCloud, user_id: str, old: str, new: str) -> httpx.Response:
    body = {"user": {"original_password": old, "password": new}}
    return await cloud.client.post(f"{V3}/users/{user_id}/password", json=body)


async def test_a_password_has_to_be_kept_for_a_while(cloud: ApiCloud, admin: Api) -> None:
    with_settings(cloud, password_minimum_days=1.0)
    user = await admin.make("user", name="u", password="one")
    early = await change(cloud, user["id"], "one", "two")
    assert early.status_code == 400
    assert "minimum password age" in early.json()["error"]["message"]
    assert (await change(cloud, user["id"], "wrong", "two")).status_code == 401  # says nothing to a stranger
    await admin.do("PATCH", f"/users/{user['id']}", 200, {"user": {"password": "two"}})  # an administrator may

    def age(tx: Any) -> None:
        tx.change(tx.get(User, user["id"]), password_at=time.time() - 86401)

    await cloud.store.write(age)
    assert (await change(cloud, user["id"], "two", "three")).status_code == 204


async def test_an_administrators_password_has_to_be_changed_first(cloud: ApiCloud, admin: Api) -> None:
    with_settings(cloud, password_first_use=True, password_minimum_days=1.0)
    user = await admin.make("user", name="u", password="one")
    assert (await login(cloud, user["id"], "one")).status_code == 401
    assert (await change(cloud, user["id"], "one", "two")).status_code == 204
    assert (await login(cloud, user["id"], "two")).status_code == 201
    option = {"ignore_change_password_upon_first_use": True}
    robot = await admin.make("user", name="robot", password="one", options=option)
    assert (await login(cloud, robot["id"], "one")).status_code == 201


async def test_who_was_away_for_too_long_counts_as_disabled(cloud: ApiCloud, admin: Api) -> None:
    with_settings(cloud, inactive_days=30.0)
    user = await admin.make("user", name="u", password="pw")
    assert (await login(cloud, user["id"], "pw")).status_code == 201
    seen = (await cloud.store.read(lambda r: r.get(User, user["id"]))).last_active_at
    assert abs(seen - time.time()) < 60
    credential = {"application_credential": {"name": "ac"}}
    alice = Api(cloud, await cloud.member("alice", "alpha"))
    alice_id, _ = await cloud.user("alice", "alpha")
    made = await alice.do("POST", f"/users/{alice_id}/application_credentials", 201, credential)

    def away(tx: Any) -> None:
        for id in (user["id"], alice_id):
            tx.change(tx.get(User, id), last_active_at=time.time() - 31 * 86400)

    await cloud.store.write(away)
    cloud.cloud.host.tokens.forget()
    assert (await login(cloud, user["id"], "pw")).status_code == 401
    given = {k: made["application_credential"][k] for k in ("id", "secret")}
    auth = {"identity": {"methods": ["application_credential"], "application_credential": given}}
    assert (await cloud.client.post(TOKENS, json={"auth": auth})).status_code == 401
    path = f"/users/{user['id']}"
    assert (await admin.get(path))["user"]["enabled"] is False
    await admin.do("PATCH", path, 200, {"user": {"options": {"ignore_user_inactivity": True}}})
    assert (await login(cloud, user["id"], "pw")).status_code == 201
    await admin.do("PATCH", path, 200, {"user": {"options": {"ignore_user_inactivity": None}}})
    await cloud.store.write(away)
    assert (await admin.do("PATCH", path, 200, {"user": {"enabled": True}}))["user"]["enabled"] is True
    assert (await login(cloud, user["id"], "pw")).status_code == 201
