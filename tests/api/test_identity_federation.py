"""Federation: users of an OpenID Connect provider that the test makes itself, with its own keys and HTTP server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from tests.api.conftest import ApiCloud
from tests.api.test_identity_resources import V3, Api
from tests.api.test_identity_secrets import with_settings
from trilith.model.identity_extensions import FederatedUser

FEDERATION = "/OS-FEDERATION"
IDP = f"{FEDERATION}/identity_providers/corp"
TOKENS = f"{V3}/auth/tokens"
AUDIENCE = "our-cloud"
RULES: list[dict[str, Any]] = [
    {
        "local": [{"user": {"name": "{0}", "id": "{1}", "email": "{2}"}}],
        "remote": [{"type": "OIDC-preferred_username"}, {"type": "OIDC-sub"}, {"type": "HTTP_OIDC_EMAIL"}],
    },
    {
        "local": [{"groups": "{0}", "domain": {"id": "default"}}],
        "remote": [{"type": "OIDC-groups", "blacklist": ["secret"]}],
    },
]


class Provider:
    """An OpenID Connect provider on a loopback port: discovery, keys, and tokens signed with them."""

    def __init__(self) -> None:
        self.key: Any = self.new_key()
        self.asked: list[str] = []
        self.groups: list[str] = []
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked.append(self.path)
                body = provider.answer(self.path)
                self.send_response(200 if body is not None else 404)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def do_POST(self) -> None:
                """The token endpoint; who asks is who the test says."""
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = {"access_token": provider.token(groups=provider.groups), "token_type": "Bearer"}
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/realms/corp"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @staticmethod
    def new_key(kind: Any = RSAKey, size: Any = 2048) -> Any:
        key = kind.generate_key(size)
        key.ensure_kid()
        return key

    def answer(self, path: str) -> Any:
        if path == "/realms/corp/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys", "token_endpoint": f"{self.url}/token"}
        if path == "/realms/corp/keys":
            return KeySet([self.key]).as_dict(private=False)
        return None

    def token(self, *, key: Any = None, alg: str = "RS256", **claims: Any) -> str:
        signing = key or self.key
        now = int(time.time())
        base = {"iss": self.url, "aud": AUDIENCE, "sub": "42", "exp": now + 300, "iat": now}
        base |= {"preferred_username": "eve", "email": "eve@example.org"}
        made = {k: v for k, v in (base | claims).items() if v is not None}
        return jwt.encode({"alg": alg, "kid": signing.kid}, made, signing, algorithms=[alg])

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def part(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


@pytest.fixture
async def admin(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.token())


async def trust(cloud: ApiCloud, admin: Api, provider: Provider, rules: Any = None) -> str:
    """Make the provider known; the domain of its users."""
    with_settings(cloud, oidc_issuers=(f"{provider.url}|{AUDIENCE}",))
    body = {"identity_provider": {"enabled": True, "remote_ids": [provider.url]}}
    made = (await admin.do("PUT", IDP, 201, body))["identity_provider"]
    await admin.do("PUT", f"{FEDERATION}/mappings/corp", 201, {"mapping": {"rules": rules or RULES}})
    await admin.do("PUT", f"{IDP}/protocols/openid", 201, {"protocol": {"mapping_id": "corp"}})
    return str(made["domain_id"])


async def come(cloud: ApiCloud, token: str, protocol: str = "openid") -> httpx.Response:
    path = f"{V3}{IDP}/protocols/{protocol}/auth"
    return await cloud.client.post(path, headers={"Authorization": f"Bearer {token}"})


async def scoped(cloud: ApiCloud, answer: httpx.Response, project_id: str) -> httpx.Response:
    identity = {"methods": ["token"], "token": {"id": answer.headers["x-subject-token"]}}
    body = {"auth": {"identity": identity, "scope": {"project": {"id": project_id}}}}
    return await cloud.client.post(TOKENS, json=body)


async def role_id(admin: Api, name: str) -> str:
    return str((await admin.get(f"/roles?name={name}"))["roles"][0]["id"])


async def test_a_person_of_the_provider_comes_in_and_works_by_its_groups(
    cloud: ApiCloud, admin: Api, provider: Provider
) -> None:
    domain_id = await trust(cloud, admin, provider)
    group = await admin.make("group", name="staff")
    await admin.make("group", name="secret")
    project = await admin.make("project", name="shared")
    path = f"/projects/{project['id']}/groups/{group['id']}/roles/{await role_id(admin, 'member')}"
    await admin.do("PUT", path, 204)
    answer = await come(cloud, provider.token(groups=["staff", "secret", "unknown"]))
    assert answer.status_code == 201, answer.text
    body = answer.json()["token"]
    assert body["methods"] == ["openid"]
    assert (body["user"]["name"], body["user"]["domain"]["id"]) == ("eve", domain_id)
    assert body["user"]["OS-FEDERATION"] == {
        "groups": [{"id": group["id"]}],
        "identity_provider": {"id": "corp"},
        "protocol": {"id": "openid"},
    }
    assert not {"project", "roles", "catalog"} & set(body)
    eve = Api(cloud, {"X-Auth-Token": answer.headers["x-subject-token"]})
    for old in ("/auth/projects", "/OS-FEDERATION/projects"):
        assert [p["name"] for p in (await eve.get(old))["projects"]] == ["shared"]
    inside = await scoped(cloud, answer, project["id"])
    assert inside.status_code == 201, inside.text
    token = inside.json()["token"]
    assert {r["name"] for r in token["roles"]} == {"member", "reader"}
    assert token["methods"] == ["openid", "token"]
    assert token["user"]["OS-FEDERATION"] == body["user"]["OS-FEDERATION"]
    headers = {"X-Auth-Token": inside.headers["x-subject-token"]}
    assert (await cloud.call("GET", "/compute/v2.1/servers", headers)).status_code == 200

    user = (await admin.get(f"/users/{body['user']['id']}"))["user"]
    assert user["email"] == "eve@example.org"
    ties = [{"idp_id": "corp", "protocols": [{"protocol_id": "openid", "unique_id": "42"}]}]
    assert user["federated"] == ties
    listed = (await admin.get("/users?idp_id=corp&unique_id=42"))["users"]
    assert [(u["id"], u["federated"]) for u in listed] == [(user["id"], ties)]
    assert (await admin.get("/users?idp_id=other"))["users"] == []

    # out of the group: the same user, and nothing to work on
    again = await come(cloud, provider.token())
    assert again.json()["token"]["user"]["id"] == user["id"]
    assert (await scoped(cloud, again, project["id"])).status_code == 401
    # of another name at the provider: still the same person
    renamed = await come(cloud, provider.token(preferred_username="eva"))
    assert (renamed.json()["token"]["user"]["id"], renamed.json()["token"]["user"]["name"]) == (user["id"], "eva")

    await admin.do("PATCH", IDP, 200, {"identity_provider": {"enabled": False}})
    assert (await cloud.call("GET", "/compute/v2.1/servers", headers)).status_code == 401
    assert (await come(cloud, provider.token())).status_code == 403


async def test_projects_are_made_for_who_comes(cloud: ApiCloud, admin: Api, provider: Provider) -> None:
    rules = [
        {
            "local": [
                {"user": {"name": "{0}"}},
                {"projects": [{"name": "home of {0}", "roles": [{"name": "member"}]}]},
            ],
            "remote": [{"type": "OIDC_CLAIM_preferred_username"}],
        }
    ]
    domain_id = await trust(cloud, admin, provider, rules)
    answer = await come(cloud, provider.token())
    assert answer.status_code == 201, answer.text
    eve = Api(cloud, {"X-Auth-Token": answer.headers["x-subject-token"]})
    (project,) = (await eve.get("/auth/projects"))["projects"]
    assert (project["name"], project["domain_id"]) == ("home of eve", domain_id)
    inside = await scoped(cloud, answer, project["id"])
    assert {r["name"] for r in inside.json()["token"]["roles"]} == {"member", "reader"}
    made = {"application_credential": {"name": "ac"}}
    bound = Api(cloud, {"X-Auth-Token": inside.headers["x-subject-token"]})
    user_id = answer.json()["token"]["user"]["id"]
    await bound.do("POST", f"/users/{user_id}/application_credentials", 201, made)
    assert (await come(cloud, provider.token())).status_code == 201
    assert len((await eve.get("/auth/projects"))["projects"]) == 1


async def test_a_local_user_by_the_providers_word(cloud: ApiCloud, admin: Api, provider: Provider) -> None:
    user = {"name": "{0}", "domain": {"id": "default"}, "type": "local"}
    await trust(cloud, admin, provider, [{"local": [{"user": user}], "remote": [{"type": "OIDC-preferred_username"}]}])
    assert (await come(cloud, provider.token())).status_code == 401
    local = await admin.make("user", name="eve", password="pw")
    project = await admin.make("project", name="p")
    path = f"/projects/{project['id']}/users/{local['id']}/roles/{await role_id(admin, 'reader')}"
    await admin.do("PUT", path, 204)
    answer = await come(cloud, provider.token())
    body = answer.json()["token"]
    assert body["user"]["id"] == local["id"]
    assert "OS-FEDERATION" not in body["user"]
    assert (await scoped(cloud, answer, project["id"])).status_code == 201
    assert await cloud.store.read(lambda r: r.select(FederatedUser)) == []
    options = {"multi_factor_auth_enabled": True, "multi_factor_auth_rules": [["openid", "totp"]]}
    await admin.do("PATCH", f"/users/{local['id']}", 200, {"user": {"options": options}})
    half = await come(cloud, provider.token())
    assert (half.status_code, half.json()["required_auth_methods"]) == (401, [["openid", "totp"]])
    await admin.do("PATCH", f"/users/{local['id']}", 200, {"user": {"enabled": False}})
    assert (await come(cloud, provider.token())).status_code == 401


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another"},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"nbf": int(time.time()) + 3600},
        {"sub": None},
        {"iss": "http://127.0.0.1:1/elsewhere"},
        {"preferred_username": None},
    ],
)
async def test_claims_that_do_not_hold_are_refused(
    cloud: ApiCloud, admin: Api, provider: Provider, claims: dict[str, Any]
) -> None:
    await trust(cloud, admin, provider)
    assert (await come(cloud, provider.token())).status_code == 201
    refused = await come(cloud, provider.token(**claims))
    assert refused.status_code == 401
    assert "x-subject-token" not in refused.headers


async def test_signatures_that_do_not_hold_are_refused(cloud: ApiCloud, admin: Api, provider: Provider) -> None:
    await trust(cloud, admin, provider)
    good = provider.token()
    forged = provider.new_key()
    forged_dict = forged.as_dict(private=True) | {"kid": provider.key.kid}
    assert (await come(cloud, provider.token(key=RSAKey.import_key(forged_dict)))).status_code == 401
    # the public key as the secret of an HMAC, an old trick
    head, body, signature = good.split(".")
    public = provider.key.as_pem(private=False)
    symmetric = part(json.dumps({"alg": "HS256", "kid": provider.key.kid}).encode()) + f".{body}"
    mac = hmac.new(public, symmetric.encode(), hashlib.sha256).digest()
    assert (await come(cloud, f"{symmetric}.{part(mac)}")).status_code == 401
    unsigned = "eyJhbGciOiJub25lIn0"
    for bad in (
        f"{unsigned}.{body}.",
        f"{head}.{body}.",
        f"{head}.{body[:-2]}.{signature}",
        "opaque",
        "a.b.c",
        "x" * 20000,
    ):
        assert (await come(cloud, bad)).status_code == 401
    assert (await cloud.client.post(f"{V3}{IDP}/protocols/openid/auth")).status_code == 401


async def test_new_keys_of_the_provider_are_taken(
    cloud: ApiCloud, admin: Api, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trilith.api.http import oidc

    await trust(cloud, admin, provider)
    for _ in range(3):
        assert (await come(cloud, provider.token())).status_code == 201
    assert provider.asked.count("/realms/corp/keys") == 1  # kept
    provider.key = provider.new_key(ECKey, "P-256")
    assert (await come(cloud, provider.token(alg="ES256"))).status_code == 401  # asked a moment ago
    monkeypatch.setattr(oidc, "_ASK_AGAIN", 0.0)
    assert (await come(cloud, provider.token(alg="ES256"))).status_code == 201
    provider.close()
    assert (await come(cloud, provider.token(alg="ES256"))).status_code == 201  # from memory


async def test_nobody_is_asked_whom_the_operator_did_not_name(cloud: ApiCloud, admin: Api, provider: Provider) -> None:
    await trust(cloud, admin, provider)
    with_settings(cloud, oidc_issuers=())
    assert (await come(cloud, provider.token())).status_code == 401
    assert provider.asked == []
    with_settings(cloud, oidc_issuers=(f"{provider.url}|{AUDIENCE}",))
    await admin.do("PATCH", IDP, 200, {"identity_provider": {"remote_ids": ["https://other"]}})
    assert (await come(cloud, provider.token())).status_code == 403


async def test_a_provider_that_is_away_is_said_so(cloud: ApiCloud, admin: Api, provider: Provider) -> None:
    await trust(cloud, admin, provider)
    token = provider.token()
    provider.close()
    answer = await come(cloud, token)
    assert answer.status_code == 503
    assert "cannot be fetched" in answer.json()["error"]["message"]


async def test_a_name_that_is_taken(cloud: ApiCloud, admin: Api, provider: Provider) -> None:
    domain_id = await trust(cloud, admin, provider)
    await admin.make("user", name="eve", domain_id=domain_id)
    assert (await come(cloud, provider.token())).status_code == 409


async def test_providers_protocols_and_mappings(cloud: ApiCloud, admin: Api) -> None:
    body = {"identity_provider": {"description": "d", "remote_ids": ["a", "b", "a"]}}
    made = (await admin.do("PUT", IDP, 201, body))["identity_provider"]
    assert (made["enabled"], made["remote_ids"], made["authorization_ttl"]) == (False, ["a", "b"], None)
    assert (await admin.get(f"/domains/{made['domain_id']}"))["domain"]["name"] == "corp"
    await admin.do("PUT", IDP, 409, body)
    other = f"{FEDERATION}/identity_providers/other"
    await admin.do("PUT", other, 409, {"identity_provider": {"remote_ids": ["b"]}})
    await admin.do("PUT", other, 404, {"identity_provider": {"domain_id": "nosuch"}})
    await admin.do("PUT", other, 400, {"identity_provider": {"nosuch": 1}})
    await admin.do("PUT", other, 400, {"identity_provider": {"authorization_ttl": 5}})
    await admin.do("PUT", other, 201, {"identity_provider": {"domain_id": "default", "enabled": True}})
    enabled = (await admin.get(f"{FEDERATION}/identity_providers?enabled=true"))["identity_providers"]
    assert [p["id"] for p in enabled] == ["other"]
    await admin.do("PATCH", IDP, 400, {"identity_provider": {"domain_id": "default"}})
    done = await admin.do("PATCH", IDP, 200, {"identity_provider": {"description": None, "remote_ids": []}})
    assert (done["identity_provider"]["description"], done["identity_provider"]["remote_ids"]) == (None, [])

    mapping = f"{FEDERATION}/mappings/m"
    await admin.do("PUT", mapping, 400, {"mapping": {"rules": [{"local": [], "remote": []}]}})
    kept = (await admin.do("PUT", mapping, 201, {"mapping": {"rules": RULES}}))["mapping"]
    assert (kept["rules"], kept["schema_version"]) == (RULES, "1.0")
    await admin.do("PUT", mapping, 409, {"mapping": {"rules": RULES}})
    changed = (await admin.do("PATCH", mapping, 200, {"mapping": {"rules": RULES[:1]}}))["mapping"]
    assert len(changed["rules"]) == 1
    assert [m["id"] for m in (await admin.get(f"{FEDERATION}/mappings"))["mappings"]] == ["m"]

    protocol = f"{IDP}/protocols/openid"
    await admin.do("PUT", protocol, 400, {"protocol": {"mapping_id": "nosuch"}})
    shown = (await admin.do("PUT", protocol, 201, {"protocol": {"mapping_id": "m"}}))["protocol"]
    assert (shown["id"], shown["mapping_id"]) == ("openid", "m")
    await admin.do("PUT", protocol, 409, {"protocol": {"mapping_id": "m"}})
    await admin.do("PATCH", protocol, 200, {"protocol": {"remote_id_attribute": "OIDC-iss"}})
    assert (await admin.get(f"{IDP}/protocols"))["protocols"][0]["remote_id_attribute"] == "OIDC-iss"
    await admin.do("GET", f"{FEDERATION}/identity_providers/nosuch/protocols", 404)

    tie = {"idp_id": "corp", "protocols": [{"protocol_id": "openid", "unique_id": "7"}]}
    user = await admin.make("user", name="bound", federated=[tie])
    assert user["federated"] == [tie]
    await admin.do("POST", "/users", 409, {"user": {"name": "twin", "federated": [tie]}})
    unknown = tie | {"idp_id": "nosuch"}
    await admin.do("PATCH", f"/users/{user['id']}", 400, {"user": {"federated": [unknown]}})
    cut = (await admin.do("PATCH", f"/users/{user['id']}", 200, {"user": {"federated": []}}))["user"]
    assert "federated" not in cut

    await admin.do("DELETE", mapping, 204)
    await admin.do("DELETE", protocol, 204)
    await admin.do("DELETE", IDP, 204)
    await admin.do("GET", IDP, 404)
    alice = Api(cloud, await cloud.member())
    for method, path in (("GET", f"{FEDERATION}/mappings"), ("PUT", IDP), ("DELETE", other)):
        await alice.do(method, path, 403, {"identity_provider": {}} if method == "PUT" else None)


async def test_a_domain_goes_with_its_provider_and_the_people_in_it(
    cloud: ApiCloud, admin: Api, provider: Provider
) -> None:
    domain_id = await trust(cloud, admin, provider)
    answer = await come(cloud, provider.token())
    headers = {"X-Auth-Token": answer.headers["x-subject-token"]}
    await admin.do("PATCH", f"/domains/{domain_id}", 200, {"domain": {"enabled": False}})
    assert (await cloud.call("GET", f"{V3}/auth/projects", headers)).status_code == 401
    assert (await come(cloud, provider.token())).status_code == 401
    await admin.do("DELETE", f"/domains/{domain_id}", 204)
    await admin.do("GET", IDP, 404)
    assert await cloud.store.read(lambda r: r.select(FederatedUser)) == []
    assert (await come(cloud, provider.token())).status_code == 404
