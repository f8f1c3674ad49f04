"""The OpenAPI document of identity says what is answered: statuses, and the form of each body."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import msgspec
import pytest

from tests.api.conftest import ApiCloud
from tests.api.test_identity_resources import V3, Api
from trilith.api.http.openapi import document
from trilith.api.http.route import Route
from trilith.api.identity.routes import SERVICE

DOCUMENT = json.loads(
    msgspec.json.encode(document(SERVICE.name, SERVICE.prefix, SERVICE.routes, SERVICE.error_body, SERVICE.name))
)
#: answers that are forms, documents of their own, or whatever the caller put there
FREE = ("/openapi.json",)


@pytest.fixture
async def admin(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.token())


async def furnish(cloud: ApiCloud, admin: Api) -> dict[str, str]:
    """One of each noun: the parts of paths."""
    user_id, project_id = await cloud.user("admin", "admin", "member")
    ids = {"user_id": user_id, "project_id": project_id, "actor": user_id}
    ids["domain_id"] = (await admin.make("domain", name="d"))["id"]
    config = {"config": {"identity": {"list_limit": 5}}}
    await admin.do("PUT", f"/domains/{ids['domain_id']}/config", 201, config)
    ids["group_id"] = (await admin.make("group", name="g"))["id"]
    await admin.do("PUT", f"/groups/{ids['group_id']}/users/{user_id}", 204)
    roles = {r["name"]: r["id"] for r in (await admin.get("/roles"))["roles"]}
    ids |= {"role_id": roles["member"], "implied_role_id": roles["reader"]}
    for kind, id in (("users", user_id), ("groups", ids["group_id"])):
        for place in (f"/projects/{project_id}", f"/domains/{ids['domain_id']}", "/system"):
            await admin.do("PUT", f"{place}/{kind}/{id}/roles/{ids['role_id']}", 204)
    ids["region_id"] = "RegionOne"
    ids["service_id"] = (await admin.make("service", type="t"))["id"]
    fields: dict[str, Any] = {"service_id": ids["service_id"], "interface": "public", "url": "http://x"}
    ids["endpoint_id"] = (await admin.make("endpoint", **fields))["id"]
    ids["policy_id"] = (await admin.make("policy", "policies", blob="b", type="t"))["id"]
    ids["credential_id"] = (await admin.make("credential", blob="b", type="t"))["id"]
    path = f"/users/{user_id}/credentials/OS-EC2"
    ids["access"] = (await admin.do("POST", path, 201, {"tenant_id": project_id}))["credential"]["access"]
    rule = {"service": "compute", "method": "GET", "path": "/v2.1/servers"}
    made = await admin.do(
        "POST",
        f"/users/{user_id}/application_credentials",
        201,
        {"application_credential": {"name": "ac", "access_rules": [rule]}},
    )
    ids["application_credential_id"] = made["application_credential"]["id"]
    ids["access_rule_id"] = made["application_credential"]["access_rules"][0]["id"]
    trust = {"trustor_user_id": user_id, "trustee_user_id": user_id, "impersonation": False, "project_id": project_id}
    ids["trust_id"] = (await admin.make("trust", "OS-TRUST/trusts", **trust, roles=[{"name": "member"}]))["id"]
    registered = {"service_id": ids["service_id"], "resource_name": "r", "default_limit": 3}
    await admin.do("POST", "/registered_limits", 201, {"registered_limits": [registered]})
    limit = {"service_id": ids["service_id"], "resource_name": "r", "resource_limit": 2, "project_id": project_id}
    ids["limit_id"] = (await admin.do("POST", "/limits", 201, {"limits": [limit]}))["limits"][0]["id"]
    group = {"name": "e", "filters": {"interface": "public"}}
    ids["endpoint_group_id"] = (await admin.make("endpoint_group", "OS-EP-FILTER/endpoint_groups", **group))["id"]
    await admin.do("PUT", f"/OS-EP-FILTER/endpoint_groups/{ids['endpoint_group_id']}/projects/{project_id}", 204)
    await admin.do("PUT", f"/OS-EP-FILTER/projects/{project_id}/endpoints/{ids['endpoint_id']}", 204)
    ids["consumer_id"] = (await admin.make("consumer", "OS-OAUTH1/consumers"))["id"]
    rules = [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "OIDC-sub"}]}]
    await admin.do("PUT", "/OS-FEDERATION/mappings/m", 201, {"mapping": {"rules": rules}})
    await admin.do("PUT", "/OS-FEDERATION/identity_providers/i", 201, {"identity_provider": {"enabled": True}})
    await admin.do("PUT", "/OS-FEDERATION/identity_providers/i/protocols/p", 201, {"protocol": {"mapping_id": "m"}})
    ids |= {"mapping_id": "m", "idp_id": "i", "protocol_id": "p", "group": "identity", "option": "list_limit"}
    return ids


def checked(route: Route, status: int, body: Any) -> None:
    """The status is documented, and the body has the form that is documented for it."""
    operation = DOCUMENT["paths"][SERVICE.prefix + route.path][route.method.lower()]
    assert str(status) in operation["responses"], f"{route.method} {route.path}: {status} is not documented"
    content = operation["responses"][str(status)].get("content")
    if content is None or body is None:
        return
    schema = content["application/json"]["schema"] | {"components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(schema).validate(body)


async def test_what_is_read_has_the_form_of_the_document(cloud: ApiCloud, admin: Api) -> None:
    ids = await furnish(cloud, admin)
    served = 0
    for route in SERVICE.routes:
        if route.method != "GET" or route.path in FREE:
            continue
        path = SERVICE.prefix + re.sub(r"\{([^}:]*)[^}]*\}", lambda m: ids.get(m[1], "x"), route.path)
        if "registered_limits/" in path:
            path = path.replace(ids["limit_id"], (await admin.get("/registered_limits"))["registered_limits"][0]["id"])
        headers = admin.headers | {"X-Subject-Token": admin.headers["X-Auth-Token"]}
        answer = await cloud.call("GET", path, headers)
        body = answer.json() if answer.content else None
        checked(route, answer.status_code, body)
        if answer.status_code == 200:
            served += 1
            assert route.response is not None, f"{route.path} answers a body that is not documented"
    assert served > 75


async def test_what_is_made_and_changed_has_the_form_of_the_document(cloud: ApiCloud, admin: Api) -> None:
    by_path = {(r.method, r.path): r for r in SERVICE.routes}
    for noun, plural, fields, change in (
        ("user", "users", {"name": "n", "shoe": 42}, {"email": "e@x"}),
        ("project", "projects", {"name": "n", "tags": ["t"]}, {"description": "d"}),
        ("domain", "domains", {"name": "n"}, {"enabled": False}),
        ("group", "groups", {"name": "n"}, {"name": "m"}),
        ("role", "roles", {"name": "n"}, {"description": "d"}),
        ("service", "services", {"type": "t"}, {"name": "n"}),
        ("region", "regions", {"id": "w"}, {"description": "d"}),
    ):
        for status in (201, 409):
            answer = await cloud.call("POST", f"{V3}/{plural}", admin.headers, json={noun: fields})
            if noun != "service":
                assert answer.status_code == status
            checked(by_path["POST", f"/v3/{plural}"], answer.status_code, answer.json())
            if status == 201:
                id = answer.json()[noun]["id"]
        done = await cloud.call("PATCH", f"{V3}/{plural}/{id}", admin.headers, json={noun: change})
        assert done.status_code == 200
        checked(by_path["PATCH", f"/v3/{plural}/{{{noun}_id}}"], 200, done.json())
