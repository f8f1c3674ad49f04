"""Keys of tokens change while tokens are in use."""

from __future__ import annotations

import asyncio
import base64

import pytest

from tests.api.conftest import PASSWORD, ApiCloud
from tests.api.test_identity_resources import V3, Api
from tests.api.test_identity_secrets import with_settings
from trilith.api.http.tokens import Tokens
from trilith.commands import identity_token_keys
from trilith.store.seal import Sealer

KEYS = "/trilith/v1/token-keys"
TOKENS = f"{V3}/auth/tokens"
LOGIN = {
    "auth": {
        "identity": {
            "methods": ["password"],
            "password": {"user": {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}},
        },
        "scope": {"project": {"name": "admin", "domain": {"id": "default"}}},
    }
}


async def logged_in(cloud: ApiCloud) -> dict[str, str]:
    answer = await cloud.client.post(TOKENS, json=LOGIN)
    assert answer.status_code == 201
    return {"X-Auth-Token": answer.headers["x-subject-token"]}


async def works(cloud: ApiCloud, token: dict[str, str]) -> bool:
    cloud.cloud.host.tokens.forget()  # not from memory
    return (await cloud.call("GET", f"{V3}/auth/projects", token)).status_code == 200


async def test_tokens_outlive_the_rotation_of_their_key(cloud: ApiCloud) -> None:
    first = await logged_in(cloud)
    (base,) = (await cloud.call("GET", KEYS, first)).json()["token_keys"]
    assert base == {"id": "base", "created_at": None, "valid_until": None}
    made = await cloud.call("POST", KEYS, first, json={})
    assert made.status_code == 201
    newest, oldest = made.json()["token_keys"]
    assert newest["valid_until"] is None
    assert oldest["id"] == "base"
    assert oldest["valid_until"] is not None
    second = await logged_in(cloud)
    assert await works(cloud, first)
    assert await works(cloud, second)
    ended = await cloud.call("POST", KEYS, second, json={"end_tokens": True})
    assert len(ended.json()["token_keys"]) == 1
    assert not await works(cloud, first)
    assert not await works(cloud, second)
    assert await works(cloud, await logged_in(cloud))


async def test_many_use_their_tokens_while_keys_rotate(cloud: ApiCloud) -> None:
    admin = await logged_in(cloud)
    held = [await logged_in(cloud) for _ in range(3)]
    statuses: list[int] = []

    async def use(token: dict[str, str]) -> None:
        for _ in range(10):
            statuses.append((await cloud.call("GET", f"{V3}/projects", token)).status_code)
            fresh = {"identity": {"methods": ["token"], "token": {"id": token["X-Auth-Token"]}}}
            statuses.append((await cloud.client.post(TOKENS, json={"auth": fresh})).status_code)

    async def rotate() -> None:
        statuses.extend([(await cloud.call("POST", KEYS, admin, json={})).status_code for _ in range(5)])

    await asyncio.gather(rotate(), *(use(token) for token in held))
    assert set(statuses) == {200, 201}


async def test_another_controller_meets_a_key_that_it_does_not_know(cloud: ApiCloud) -> None:
    other = Tokens(cloud.store, cloud.cloud.sealer)
    admin = await logged_in(cloud)
    assert (await other.actor(admin["X-Auth-Token"])).user_name == "admin"
    assert (await cloud.call("POST", KEYS, admin, json={})).status_code == 201
    fresh = await logged_in(cloud)
    assert (await other.actor(fresh["X-Auth-Token"])).user_name == "admin"


async def test_a_key_gets_old_by_itself(cloud: ApiCloud) -> None:
    first = await logged_in(cloud)
    with_settings(cloud, token_key_seconds=1e-6)
    second = await logged_in(cloud)
    keys = (await cloud.call("GET", KEYS, second)).json()["token_keys"]
    assert [k["id"] for k in keys][1:] == ["base"]
    assert await works(cloud, first)
    with_settings(cloud, token_key_seconds=3600.0)
    third = await logged_in(cloud)
    assert len((await cloud.call("GET", KEYS, third)).json()["token_keys"]) == 2


async def test_a_new_master_key_leaves_tokens_good(cloud: ApiCloud) -> None:
    first = await logged_in(cloud)
    raw = [base64.b64decode(line) for line in (cloud.cloud.settings.state / "master.key").read_bytes().split()]
    rotated = Sealer([b"n" * 32, *raw])
    after = Tokens(cloud.store, rotated)
    assert (await after.actor(first["X-Auth-Token"])).user_name == "admin"


async def test_keys_are_sealed_and_shown_to_nobody(cloud: ApiCloud) -> None:
    admin = await logged_in(cloud)
    await cloud.call("POST", KEYS, admin, json={})
    kept = await cloud.store.read(identity_token_keys.stored_keys)
    text = await cloud.store.read(lambda r: r.setting("identity.token_keys"))
    assert kept[0].secret
    assert kept[0].secret not in text
    assert kept[0].secret not in (await cloud.call("GET", KEYS, admin)).text
    alice = Api(cloud, await cloud.member())
    for method in ("GET", "POST"):
        assert (await cloud.call(method, KEYS, alice.headers, json={})).status_code == 403


@pytest.mark.parametrize("keep", [0.0, 60.0])
async def test_rotating_twice_never_makes_an_old_key_last_longer(cloud: ApiCloud, keep: float) -> None:
    one = await cloud.store.write(lambda tx: identity_token_keys.rotate(tx, keep=10.0))
    two = await cloud.store.write(lambda tx: identity_token_keys.rotate(tx, keep=keep))
    until = {k.id: k.until for k in two}
    if keep:
        assert until["base"] == one[1].until
    else:
        assert list(until) == [two[0].id]
