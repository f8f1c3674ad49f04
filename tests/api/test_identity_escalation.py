"""What was handed on stays as small as it was: no project, role or time more than the one who handed it on gave."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.api.conftest import ApiCloud
from tests.api.test_identity_delegation import chain
from tests.api.test_identity_federation import IDP, come, provider  # noqa: F401  a fixture
from tests.api.test_identity_federation import trust as known_provider
from tests.api.test_identity_oauth1 import delegated
from tests.api.test_identity_resources import V3, Api
from tests.api.test_identity_secrets import TOKENS, app_credential, login
from trilith.model.identity import Trust


@pytest.fixture
async def admin(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.token())


async def grant(admin: Api, user_id: str, project_id: str, role: str) -> None:
    found = (await admin.get(f"/roles?name={role}"))["roles"][0]["id"]
    await admin.do("PUT", f"/projects/{project_id}/users/{user_id}/roles/{found}", 204)


async def test_a_trust_is_handed_on_for_its_own_project_only(cloud: ApiCloud, admin: Api) -> None:
    """The trustor has the same role elsewhere, too: that was not given."""
    _, _, bob, ask = await chain(cloud, admin)
    other = await admin.make("project", name="other")
    await grant(admin, ask["trustor_user_id"], other["id"], "member")
    await bob.do("POST", "/OS-TRUST/trusts", 403, {"trust": ask | {"project_id": other["id"]}})
    assert len(await cloud.store.read(lambda r: r.select(Trust))) == 1


async def test_an_application_credential_trusts_others_with_no_more_than_it_has(cloud: ApiCloud, admin: Api) -> None:
    user_id, alpha = await cloud.user("alice", "alpha", "member")
    bob = await admin.make("user", name="bob", password="pw")
    other = await admin.make("project", name="other")
    await grant(admin, user_id, other["id"], "reader")
    ask = {"trustor_user_id": user_id, "trustee_user_id": bob["id"], "impersonation": False}
    async with app_credential(cloud, unrestricted=True, roles=[{"name": "reader"}]) as (_, _, headers):
        program = Api(cloud, headers)
        reader, member = [{"name": "reader"}], [{"name": "member"}]
        await program.do("POST", "/OS-TRUST/trusts", 403, {"trust": ask | {"project_id": alpha, "roles": member}})
        await program.do("POST", "/OS-TRUST/trusts", 403, {"trust": ask | {"project_id": other["id"], "roles": reader}})
        await program.do("POST", "/OS-TRUST/trusts", 201, {"trust": ask | {"project_id": alpha, "roles": reader}})


async def test_no_method_is_claimed_that_was_not_proved(cloud: ApiCloud) -> None:
    """Beside an application credential the password was neither looked at nor left out of the token's methods."""
    alice = Api(cloud, await cloud.member("alice", "alpha"))
    user_id, _ = await cloud.user("alice", "alpha")
    path = f"/users/{user_id}/application_credentials"
    made = (await alice.do("POST", path, 201, {"application_credential": {"name": "a"}}))["application_credential"]
    given = {"id": made["id"], "secret": made["secret"]}
    wrong = {"user": {"id": user_id, "password": "wrong"}}
    identity = {"application_credential": given, "password": wrong}
    for methods, status in ((["application_credential", "password"], 401), (["application_credential"], 201)):
        answer = await cloud.client.post(TOKENS, json={"auth": {"identity": identity | {"methods": methods}}})
        assert answer.status_code == status, answer.text


async def test_an_access_token_of_oauth_becomes_no_lasting_key(cloud: ApiCloud, admin: Api) -> None:
    client, _, _ = await delegated(cloud, admin)
    body = {"auth": {"identity": {"methods": ["oauth1"], "oauth1": {}}}}
    _, made, _ = client.sign("http://testserver" + TOKENS, http_method="POST")
    answer = await cloud.client.post(TOKENS, headers=made, json=body)
    assert answer.status_code == 201, answer.text
    program = Api(cloud, {"X-Auth-Token": answer.headers["x-subject-token"]})
    user_id = answer.json()["token"]["user"]["id"]
    path = f"/users/{user_id}/application_credentials"
    await program.do("POST", path, 403, {"application_credential": {"name": "for ever"}})


@pytest.mark.parametrize("impersonation", [True, False])
async def test_who_changes_a_password_ends_the_tokens_of_trusts_too(
    cloud: ApiCloud, admin: Api, impersonation: bool
) -> None:
    """Also those in which the trustee acts as the trustor: whoever knew the password has one."""
    _, _, bob, ask = await chain(cloud, admin, impersonation=impersonation, allow_redelegation=False)
    assert (await cloud.call("GET", f"{V3}/auth/catalog", bob.headers)).status_code == 200
    trustee = (await admin.get("/users?name=bob"))["users"][0]["id"]
    await asyncio.sleep(0.01)  # a token that is made in the very moment of the change counts
    change = {"user": {"original_password": "pw", "password": "another"}}
    await Api(cloud, {}).do("POST", f"/users/{trustee}/password", 204, change)
    assert (await cloud.call("GET", f"{V3}/auth/catalog", bob.headers)).status_code == 401
    assert ask["trustor_user_id"]


async def test_the_own_change_of_a_password_is_in_the_audit_in_its_users_name(cloud: ApiCloud, admin: Api) -> None:
    import sqlalchemy as sa

    from trilith.store.tx import audit_table

    user = await admin.make("user", name="u", password="one")
    change = {"user": {"original_password": "one", "password": "two"}}
    await Api(cloud, {}).do("POST", f"/users/{user['id']}/password", 204, change)
    who = sa.select(audit_table.c.user_id).where(audit_table.c.action == "identity.user.password")
    assert await cloud.store.read(lambda r: r.conn.execute(who).scalars().all()) == [user["id"]]


async def test_a_claim_that_is_called_like_the_issuer_is_not_the_issuer(
    cloud: ApiCloud,
    admin: Api,
    provider: Any,  # noqa: F811
) -> None:
    """HTTP_OIDC_ISS tells providers apart; the claim ISS is anybody's word at the provider."""
    await known_provider(cloud, admin, provider)
    remote = {"identity_provider": {"remote_ids": ["https://head.example.org"]}}
    await admin.do("PATCH", IDP, 200, remote)
    for name in ("ISS", "Iss", "ıss", "iß"):
        answer = await come(cloud, provider.token(**{name: "https://head.example.org"}))
        assert answer.status_code == 403, answer.text


async def test_a_reader_of_a_domain_sees_no_other_domain(cloud: ApiCloud, admin: Api) -> None:
    mine = await admin.make("domain", name="mine")
    await admin.make("domain", name="secret", description="of another customer")
    user = await admin.make("user", name="eve", password="pw", domain_id=mine["id"])
    role = (await admin.get("/roles?name=manager"))["roles"][0]["id"]
    await admin.do("PUT", f"/domains/{mine['id']}/users/{user['id']}/roles/{role}", 204)
    token = await login(cloud, user["id"], "pw", scope={"domain": {"id": mine["id"]}})
    eve = Api(cloud, {"X-Auth-Token": token.headers["x-subject-token"]})
    assert {d["name"] for d in (await eve.get("/domains"))["domains"]} == {"mine"}
    assert {d["name"] for d in (await eve.get("/projects?is_domain=true"))["projects"]} <= {"mine"}
    assert {d["name"] for d in (await admin.get("/projects?is_domain=true"))["projects"]} >= {"mine", "secret"}


async def test_no_time_is_kept_that_cannot_be_shown(cloud: ApiCloud, admin: Api) -> None:
    """One such trust would make every list of it fail."""
    user_id, project_id = await cloud.user("alice", "alpha")
    alice = Api(cloud, await cloud.token("alice", "alpha"))
    late = "9999-12-31T23:59:59-10:00"
    trust = {"trustor_user_id": user_id, "trustee_user_id": user_id, "project_id": project_id, "impersonation": False,
             "roles": [{"name": "member"}], "expires_at": late}  # fmt: skip
    await alice.do("POST", "/OS-TRUST/trusts", 400, {"trust": trust})
    assert (await alice.get(f"/OS-TRUST/trusts?trustor_user_id={user_id}"))["trusts"] == []
    path = f"/users/{user_id}/application_credentials"
    await alice.do("POST", path, 400, {"application_credential": {"name": "a", "expires_at": late}})
    assert (await alice.get(path))["application_credentials"] == []
    assert (await admin.do("GET", f"/users?password_expires_at=lt:{late}".replace("+", "%2B"), 400))["error"]


async def test_two_changes_at_once_of_further_attributes_are_both_kept(cloud: ApiCloud, admin: Api) -> None:
    user = await admin.make("user", name="u", shoe=42)
    path = f"/users/{user['id']}"
    await asyncio.gather(
        *(admin.do("PATCH", path, 200, {"user": {f"field{n}": n, "options": {option: True}}})
          for n, option in enumerate(("ignore_password_expiry", "lock_password", "ignore_user_inactivity")))
    )  # fmt: skip
    found = (await admin.get(path))["user"]
    assert [found.get(f"field{n}") for n in range(3)] == [0, 1, 2]
    assert found["options"] == {"ignore_password_expiry": True, "lock_password": True, "ignore_user_inactivity": True}
