"""Metadata definitions: the standard catalogue, namespaces, and what is in them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import ApiCloud

BASE = "/image/v2/metadefs/namespaces"
COLOUR = {"title": "Colour", "type": "string", "enum": ["red", "blue"]}


async def make(cloud: ApiCloud, headers: dict[str, str], name: str = "Mine", **more: Any) -> Any:
    answer = await cloud.call("POST", BASE, headers, json={"namespace": name, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_the_standard_catalogue_is_there_and_filtered_by_resource_type(cloud: ApiCloud) -> None:
    alice = await cloud.member()
    types = (await cloud.call("GET", "/image/v2/metadefs/resource_types", alice)).json()["resource_types"]
    assert {"OS::Glance::Image", "OS::Nova::Flavor"} <= {t["name"] for t in types}
    query = "?resource_types=OS::Nova::Aggregate&sort_key=namespace&sort_dir=asc&limit=100"
    found = (await cloud.call("GET", BASE + query, alice)).json()["namespaces"]
    names = [n["namespace"] for n in found]
    assert "OS::Compute::AggregateDiskFilter" in names
    assert "OS::Compute::LibvirtImage" not in names
    assert names == sorted(names)
    whole = await cloud.call("GET", f"{BASE}/OS::Compute::Watchdog?resource_type=OS::Nova::Flavor", alice)
    assert list(whole.json()["properties"]) == ["hw:watchdog_action"]
    one = f"{BASE}/OS::Compute::Watchdog/properties/hw:watchdog_action"
    assert (await cloud.call("GET", f"{one}?resource_type=OS::Nova::Flavor", alice)).json()["name"] == (
        "hw:watchdog_action"
    )
    assert (await cloud.call("GET", f"{one}?resource_type=OS::Glance::Image", alice)).status_code == 404
    admin = await cloud.token()
    assert (await cloud.call("DELETE", f"{BASE}/OS::Compute::Watchdog", admin)).status_code == 403


async def test_pages_follow_each_other(cloud: ApiCloud) -> None:
    alice = await cloud.member()
    seen, path = [], "/v2/metadefs/namespaces?limit=7"
    while path:
        page = (await cloud.call("GET", f"/image{path}", alice)).json()
        seen += [n["namespace"] for n in page["namespaces"]]
        path = page.get("next", "")
    assert len(seen) == len(set(seen)) > 20


async def test_a_namespace_with_all_its_parts(cloud: ApiCloud) -> None:
    admin, alice = await cloud.token(), await cloud.member()
    body = {
        "display_name": "Paint",
        "visibility": "public",
        "resource_type_associations": [{"name": "OS::Glance::Image", "prefix": "p_"}],
        "properties": {"colour": COLOUR},
        "objects": [{"name": "coat", "required": ["colour"], "properties": {"colour": COLOUR}}],
        "tags": [{"name": "wet"}],
    }
    made = await make(cloud, admin, **body)
    assert made["properties"] == {"colour": COLOUR}
    shown = (await cloud.call("GET", f"{BASE}/Mine?resource_type=OS::Glance::Image", alice)).json()
    assert list(shown["properties"]) == ["p_colour"]
    assert shown["objects"][0]["required"] == ["p_colour"]
    assert [t["name"] for t in shown["tags"]] == ["wet"]
    for path, more, status in (
        ("", {"namespace": "Mine"}, 409),
        ("/Mine/objects", {"name": "coat"}, 409),
        ("/Mine/properties", {"name": "colour", **COLOUR}, 409),
        ("/Mine/properties", {"name": "size"}, 400),
        ("/Mine/properties", {"name": "size", "title": "x", "type": "colour"}, 400),
        ("/Mine/objects", {"name": "lid", "self": "/x"}, 403),
        ("/Mine/resource_types", {"name": "OS::Nobody"}, 404),
        ("/None/objects", {"name": "x"}, 404),
    ):
        answer = await cloud.call("POST", BASE + path, admin, json=more)
        assert answer.status_code == status, (path, answer.text)
    assert (await cloud.call("POST", f"{BASE}/Mine/tags/dry", alice)).status_code == 403
    assert (await cloud.call("DELETE", f"{BASE}/Mine", admin)).status_code == 204
    assert (await cloud.call("GET", f"{BASE}/Mine", admin)).status_code == 404


async def test_a_private_namespace_is_unseen_by_others(cloud: ApiCloud) -> None:
    admin, alice = await cloud.token(), await cloud.member()
    await make(cloud, admin)
    assert (await cloud.call("GET", f"{BASE}/Mine", alice)).status_code == 404
    assert (await cloud.call("GET", f"{BASE}/Mine/tags", alice)).status_code == 404
    names = (await cloud.call("GET", f"{BASE}?limit=1000", alice)).json()["namespaces"]
    assert "Mine" not in [n["namespace"] for n in names]


@pytest.mark.parametrize("kind", ["objects", "properties", "tags"])
async def test_the_life_of_a_part(cloud: ApiCloud, kind: str) -> None:
    admin = await cloud.token()
    await make(cloud, admin)
    base = f"{BASE}/Mine/{kind}"
    extra = COLOUR if kind == "properties" else {}
    for name in ("a", "b"):
        if kind == "tags":
            made = await cloud.call("POST", f"{base}/{name}", admin)
        else:
            made = await cloud.call("POST", base, admin, json={"name": name, **extra})
        assert made.status_code == 201, made.text
    renamed = await cloud.call("PUT", f"{base}/a", admin, json={"name": "c", **extra})
    assert (renamed.status_code, renamed.json()["name"]) == (200, "c")
    assert (await cloud.call("PUT", f"{base}/c", admin, json={"name": "b", **extra})).status_code == 409
    assert (await cloud.call("GET", f"{base}/a", admin)).status_code == 404
    assert (await cloud.call("GET", f"{base}/c", admin)).status_code == 200
    assert (await cloud.call("DELETE", f"{base}/c", admin)).status_code == 204
    assert len((await cloud.call("GET", base, admin)).json()[kind]) == 1
    await cloud.call("PUT", f"{BASE}/Mine", admin, json={"namespace": "Mine", "protected": True})
    assert (await cloud.call("DELETE", f"{base}/b", admin)).status_code == 403
    assert (await cloud.call("DELETE", base, admin)).status_code == 403
    await cloud.call("PUT", f"{BASE}/Mine", admin, json={"namespace": "Mine", "protected": False})
    assert (await cloud.call("DELETE", base, admin)).status_code == 204
    assert len((await cloud.call("GET", base, admin)).json()[kind]) == 0


async def test_tags_are_replaced_or_appended(cloud: ApiCloud) -> None:
    admin = await cloud.token()
    await make(cloud, admin)

    async def put(names: list[str], **headers: str) -> Any:
        body = {"tags": [{"name": n} for n in names]}
        return await cloud.call("POST", f"{BASE}/Mine/tags", admin | headers, json=body)

    async def names() -> list[str]:
        path = f"{BASE}/Mine/tags?sort_key=name&sort_dir=asc"
        return [t["name"] for t in (await cloud.call("GET", path, admin)).json()["tags"]]

    assert (await put(["a", "b"])).status_code == 201
    assert (await put(["c"], **{"X-Openstack-Append": "true"})).status_code == 201
    assert await names() == ["a", "b", "c"]
    assert (await put(["c"], **{"X-Openstack-Append": "true"})).status_code == 409
    assert (await put(["d"])).status_code == 201
    assert await names() == ["d"]


async def test_schemas(cloud: ApiCloud) -> None:
    alice = await cloud.member()
    for name in ("namespace", "namespaces", "object", "objects", "property", "properties", "tag", "tags"):
        answer = await cloud.call("GET", f"/image/v2/schemas/metadefs/{name}", alice)
        assert answer.json()["name"] == name
    assert (await cloud.call("GET", "/image/v2/schemas/metadefs/none", alice)).status_code == 404
