"""The whole table of routes at once: no request, however odd, is answered with a 5xx or without Keystone's form."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from tests.api.conftest import ApiCloud
from trilith.api.http.route import ANY, PUBLIC, Route
from trilith.api.identity.routes import SERVICE

ODD = ("x", "default", "a%20b", "%C3%BC", "..%2f", "'%22;--", "0" * 300, "%00")
QUERIES = (
    "",
    "?limit=x",
    "?limit=-1",
    "?limit=--1",
    "?limit=%C2%B2",
    "?limit=1&marker=nosuch",
    "?enabled=maybe",
    "?name__nosuch=x",
    "?name__contains=%25_",
    "?name__startswith=",
    "?domain_id=&name=",
    "?password_expires_at=lt:never",
    "?effective&include_names&include_subtree",
    "?scope.project.id=nosuch&effective&include_names",
    "?tags=a,,b&not-tags=%22",
    "?parents_as_list=true&subtree_as_ids=true",
    "?is_domain=true",
    "?name=%00",
)
VALUES: tuple[Any, ...] = (None, 1, "x", ["x"], {"id": "x"}, "a" * 5000, "\x00", 2**70)


def bodies(route: Route) -> list[Any]:
    """Odd ones, and one of each known attribute with each odd value."""
    found: list[Any] = [None, {}, [], "x", 3]
    if route.body is None:
        return found[:2]
    for field in msgspec.structs.fields(route.body):
        found += [{field.encode_name: value} for value in VALUES]
        for name in ("name", "description", "domain_id", "enabled", "options", "tags", "type", "blob", "region", "url"):
            found += [{field.encode_name: {"name": "n", "type": "t", name: value}} for value in VALUES]
    return found


@pytest.mark.parametrize("route", SERVICE.routes, ids=lambda r: f"{r.method} {r.path}")
def test_a_route_names_a_policy_that_there_is(route: Route) -> None:
    assert route.policy in (ANY, PUBLIC) or route.policy in {p.name for p in SERVICE.policies}


def test_no_two_routes_are_the_same() -> None:
    seen = [(r.method, re.sub(r"\{[^}]*\}", "{}", r.path)) for r in SERVICE.routes]
    assert len(seen) == len(set(seen))


async def test_nothing_but_the_open_routes_works_without_a_token(cloud: ApiCloud) -> None:
    for route in SERVICE.routes:
        path = SERVICE.prefix + re.sub(r"\{[^}]*\}", "x", route.path)
        answer = await cloud.client.request(route.method, path, json={})
        if route.policy == PUBLIC:
            assert answer.status_code in (200, 300, 400, 401), path
        else:
            assert answer.status_code == 401, f"{route.method} {path}: {answer.status_code}"


async def made(cloud: ApiCloud, admin: dict[str, str]) -> dict[str, str]:
    """A record of each noun: part of a path → its id."""
    ids: dict[str, str] = {}

    async def make(noun: str, plural: str, **fields: Any) -> None:
        answer = await cloud.call("POST", f"{SERVICE.prefix}/v3/{plural}", admin, json={noun: fields})
        assert answer.status_code == 201, answer.text
        ids[f"{noun}_id"] = answer.json()[noun]["id"]

    await make("domain", "domains", name="d")
    for noun in ("user", "project", "group", "role"):
        await make(noun, f"{noun}s", name="n")
    await make("region", "regions", id="west")
    await make("service", "services", type="t")
    await make("endpoint", "endpoints", service_id=ids["service_id"], interface="public", url="http://x")
    await make("policy", "policies", blob="b", type="t")
    await make("credential", "credentials", blob="b", type="t", user_id=ids["user_id"])
    return ids


async def test_odd_requests_get_a_4xx_in_keystones_form(cloud: ApiCloud) -> None:
    admin = await cloud.token()
    failed: list[str] = []
    ids = await made(cloud, admin)

    async def send(route: Route, path: str, body: Any) -> None:
        answer = await cloud.call(route.method, path, admin, json=body)
        if answer.status_code >= 500:
            failed.append(f"{route.method} {path[:90]} {str(body)[:90]}: {answer.status_code} {answer.text[:120]}")
        elif answer.status_code >= 400 and route.method != "HEAD":
            assert set(answer.json()["error"]) == {"code", "message", "title"}
        elif answer.status_code == 204:
            assert answer.content == b""

    for route in SERVICE.routes:
        if route.path.endswith("/auth/tokens") and route.method == "DELETE":
            continue
        paths = [SERVICE.prefix + re.sub(r"\{[^}]*\}", odd, route.path) for odd in ODD]
        for path in dict.fromkeys(paths) if route.method != "DELETE" else paths[:1] + paths[2:]:
            await send(route, path, {})
        if route.method == "GET":
            for query in QUERIES:
                await send(route, paths[0] + query, None)
        if route.method in ("POST", "PATCH", "PUT"):
            real = SERVICE.prefix + re.sub(r"\{([^}]*)\}", lambda m: ids.get(m[1], "x"), route.path)
            for body in bodies(route):
                await send(route, real, body)
    assert failed == []
