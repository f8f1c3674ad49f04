"""OAuth 1.0a: a user lets a program act with some of the user's roles on a project; signatures by oauthlib's client."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from oauthlib.oauth1 import Client

from tests.api.conftest import ApiCloud
from tests.api.test_identity_resources import V3, Api
from trilith.model.identity_extensions import AccessToken, RequestToken

BASE = "http://testserver"
OAUTH = f"{V3}/OS-OAUTH1"
TOKENS = f"{V3}/auth/tokens"


@pytest.fixture
async def admin(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.token())


async def signed(cloud: ApiCloud, client: Client, path: str, json: Any = None, **headers: str) -> httpx.Response:
    _, made, _ = client.sign(BASE + path, http_method="POST")
    return await cloud.client.post(path, headers=headers | made, json=json)


def form(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 201, answer.text
    assert answer.headers["content-type"].startswith("application/x-www-form-urlencoded")
    return {name: values[0] for name, values in parse_qs(answer.text).items()}


async def consumer(admin: Api) -> dict[str, Any]:
    made: dict[str, Any] = await admin.make("consumer", "OS-OAUTH1/consumers", description="a program")
    return made


async def delegated(cloud: ApiCloud, admin: Api, roles: tuple[str, ...] = ("reader",)) -> tuple[Client, Api, str]:
    """What alice, member of alpha, gave to a program: its signing client, alice, and the access token's id."""
    program = await consumer(admin)
    alice = Api(cloud, await cloud.member("alice", "alpha"))
    _, alpha = await cloud.user("alice", "alpha")
    client = Client(program["id"], client_secret=program["secret"], callback_uri="oob")
    asked = form(await signed(cloud, client, f"{OAUTH}/request_token", **{"Requested-Project-Id": alpha}))
    known = {r["name"]: r["id"] for r in (await admin.get("/roles"))["roles"]}
    body = {"roles": [{"id": known[name]} for name in roles]}
    told = await alice.do("PUT", f"/OS-OAUTH1/authorize/{asked['oauth_token']}", 200, body)
    client = Client(
        program["id"],
        client_secret=program["secret"],
        resource_owner_key=asked["oauth_token"],
        resource_owner_secret=asked["oauth_token_secret"],
        verifier=told["token"]["oauth_verifier"],
    )
    answer = await signed(cloud, client, f"{OAUTH}/access_token")
    given = form(answer)
    assert (await signed(cloud, client, f"{OAUTH}/access_token")).status_code == 401  # the request token is used up
    client = Client(
        program["id"],
        client_secret=program["secret"],
        resource_owner_key=given["oauth_token"],
        resource_owner_secret=given["oauth_token_secret"],
    )
    return client, alice, given["oauth_token"]


LOGIN = {"auth": {"identity": {"methods": ["oauth1"], "oauth1": {}}}}


async def test_consumers(admin: Api) -> None:
    made = await consumer(admin)
    assert len(made["secret"]) == 32
    shown = (await admin.get(f"/OS-OAUTH1/consumers/{made['id']}"))["consumer"]
    assert shown == {k: v for k, v in made.items() if k != "secret"}
    assert [c["id"] for c in (await admin.get("/OS-OAUTH1/consumers"))["consumers"]] == [made["id"]]
    path = f"/OS-OAUTH1/consumers/{made['id']}"
    assert (await admin.do("PATCH", path, 200, {"consumer": {"description": "b"}}))["consumer"]["description"] == "b"
    await admin.do("PATCH", path, 400, {"consumer": {"secret": "mine"}})
    await admin.do("DELETE", path, 204)
    await admin.do("GET", path, 404)


async def test_an_access_token_logs_in_with_the_roles_that_were_given(cloud: ApiCloud, admin: Api) -> None:
    client, alice, access_id = await delegated(cloud, admin)
    answer = await signed(cloud, client, TOKENS, json=LOGIN)
    assert answer.status_code == 201, answer.text
    token = answer.json()["token"]
    assert token["methods"] == ["oauth1"]
    assert token["user"]["name"] == "alice"
    assert token["project"]["name"] == "alpha"
    assert [r["name"] for r in token["roles"]] == ["reader"]  # alice is member, the program is not
    assert token["OS-OAUTH1"]["access_token_id"] == access_id
    program = Api(cloud, {"X-Auth-Token": answer.headers["x-subject-token"]})
    user_id = token["user"]["id"]
    await program.do("GET", f"/users/{user_id}", 200)
    path = f"/users/{user_id}/OS-OAUTH1/access_tokens"
    await program.do("GET", path, 403)
    await program.do("POST", "/credentials", 403, {"credential": {"type": "t", "blob": "b"}})
    (listed,) = (await alice.get(path))["access_tokens"]
    assert (listed["id"], listed["authorizing_user_id"]) == (access_id, user_id)
    assert (await alice.get(f"{path}/{access_id}"))["access_token"] == listed
    (role,) = (await alice.get(f"{path}/{access_id}/roles"))["roles"]
    assert role["name"] == "reader"
    assert (await alice.get(f"{path}/{access_id}/roles/{role['id']}"))["role"]["id"] == role["id"]
    await alice.do("GET", f"{path}/{access_id}/roles/nosuch", 404)
    rescoped = {"identity": {"methods": ["token"], "token": {"id": answer.headers["x-subject-token"]}}}
    assert (await cloud.client.post(TOKENS, json={"auth": rescoped})).status_code == 403
    await alice.do("DELETE", f"{path}/{access_id}", 204)
    await program.do("GET", f"/users/{user_id}", 401)
    assert (await signed(cloud, client, TOKENS, json=LOGIN)).status_code == 401


async def test_a_signed_request_counts_once_and_only_with_its_signature(cloud: ApiCloud, admin: Api) -> None:
    client, _, _ = await delegated(cloud, admin)
    _, made, _ = client.sign(BASE + TOKENS, http_method="POST")
    assert (await cloud.client.post(TOKENS, headers=made, json=LOGIN)).status_code == 201
    assert (await cloud.client.post(TOKENS, headers=made, json=LOGIN)).status_code == 401
    client.client_secret = "x" * 32
    assert (await signed(cloud, client, TOKENS, json=LOGIN)).status_code == 401
    assert (await cloud.client.post(TOKENS, json=LOGIN)).status_code == 401
    client.timestamp = str(int(time.time()) - 3600)
    assert (await signed(cloud, client, TOKENS, json=LOGIN)).status_code == 401


async def test_what_the_user_loses_the_program_loses(cloud: ApiCloud, admin: Api) -> None:
    client, _, access_id = await delegated(cloud, admin, ("member",))
    user_id, alpha = await cloud.user("alice", "alpha")
    assert (await signed(cloud, client, TOKENS, json=LOGIN)).status_code == 201
    role = next(r["id"] for r in (await admin.get("/roles?name=member"))["roles"])
    await admin.do("DELETE", f"/projects/{alpha}/users/{user_id}/roles/{role}", 204)
    assert (await signed(cloud, client, TOKENS, json=LOGIN)).status_code == 401
    await admin.do("DELETE", f"/users/{user_id}", 204)
    assert await cloud.store.read(lambda r: r.find(AccessToken, access_id)) is None


async def test_authorizing_has_rules(cloud: ApiCloud, admin: Api) -> None:
    program = await consumer(admin)
    alice = Api(cloud, await cloud.member("alice", "alpha"))
    _, alpha = await cloud.user("alice", "alpha")
    client = Client(program["id"], client_secret=program["secret"], callback_uri="oob")
    assert (await signed(cloud, client, f"{OAUTH}/request_token")).status_code == 400  # for no project
    assert (await signed(cloud, client, f"{OAUTH}/request_token", **{"Requested-Project-Id": "x"})).status_code == 404
    asked = form(await signed(cloud, client, f"{OAUTH}/request_token", **{"Requested-Project-Id": alpha}))
    known = {r["name"]: r["id"] for r in (await admin.get("/roles"))["roles"]}
    path = f"/OS-OAUTH1/authorize/{asked['oauth_token']}"
    await alice.do("PUT", path, 400, {"roles": []})
    await alice.do("PUT", path, 404, {"roles": [{"id": "nosuch"}]})
    await alice.do("PUT", path, 401, {"roles": [{"id": known["admin"]}]})
    await alice.do("PUT", "/OS-OAUTH1/authorize/nosuch", 404, {"roles": [{"id": known["member"]}]})
    early = Client(
        program["id"],
        client_secret=program["secret"],
        resource_owner_key=asked["oauth_token"],
        resource_owner_secret=asked["oauth_token_secret"],
        verifier="12345678",
    )
    assert (await signed(cloud, early, f"{OAUTH}/access_token")).status_code == 401  # nobody authorized it
    await alice.do("PUT", path, 200, {"roles": [{"id": known["member"]}]})
    assert (await signed(cloud, early, f"{OAUTH}/access_token")).status_code == 401  # another verifier

    def expire(tx: Any) -> None:
        tx.change(tx.get(RequestToken, asked["oauth_token"]), expires_at=1.0)

    await cloud.store.write(expire)
    await alice.do("PUT", path, 401, {"roles": [{"id": known["member"]}]})


async def test_deleting_a_consumer_ends_what_it_was_given(cloud: ApiCloud, admin: Api) -> None:
    client, _, access_id = await delegated(cloud, admin)
    answer = await signed(cloud, client, TOKENS, json=LOGIN)
    program = Api(cloud, {"X-Auth-Token": answer.headers["x-subject-token"]})
    await admin.do("DELETE", f"/OS-OAUTH1/consumers/{client.client_key}", 204)
    assert await cloud.store.read(lambda r: r.find(AccessToken, access_id)) is None
    await program.do("GET", "/auth/projects", 401)
