"""Images: their records, by the API."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.api.conftest import ApiCloud
from trilith.commands import images as commands
from trilith.model.image import Image
from trilith.store.tx import Tx, new_id

PATCH = "application/openstack-images-v2.1-json-patch"
BASIC = {"name": "one", "disk_format": "raw", "container_format": "bare"}


async def make(cloud: ApiCloud, headers: dict[str, str], **fields: Any) -> dict[str, Any]:
    answer = await cloud.call("POST", "/image/v2/images", headers, json=BASIC | fields)
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def patch(cloud: ApiCloud, headers: dict[str, str], id: str, *ops: dict[str, Any], kind: str = PATCH) -> Any:
    import json

    return await cloud.call(
        "PATCH", f"/image/v2/images/{id}", headers | {"Content-Type": kind}, content=json.dumps(list(ops))
    )


async def ids(cloud: ApiCloud, headers: dict[str, str], query: str = "") -> list[str]:
    answer = await cloud.call("GET", f"/image/v2/images{query}", headers)
    assert answer.status_code == 200, answer.text
    return [i["id"] for i in answer.json()["images"]]


async def test_the_root_offers_versions_with_300(cloud: ApiCloud) -> None:
    answer = await cloud.client.get("/image")
    assert answer.status_code == 300
    assert answer.json()["versions"][0]["links"] == [{"rel": "self", "href": "http://testserver/image/v2/"}]
    assert (await cloud.client.get("/image/")).status_code == 300
    assert (await cloud.client.get("/image/versions")).status_code == 200


async def test_an_image_shows_what_it_was_made_with(cloud: ApiCloud) -> None:
    alice = await cloud.member()
    made = await make(cloud, alice, tags=["b", "a", "b"], min_disk=2, hw_disk_bus="scsi", protected=True)
    assert made["status"] == "queued"
    assert made["visibility"] == "shared"
    assert sorted(made["tags"]) == ["a", "b"]
    assert made["hw_disk_bus"] == "scsi"
    assert (made["size"], made["checksum"], made["os_hash_algo"]) == (None, None, None)
    shown = await cloud.call("GET", f"/image/v2/images/{made['id']}", alice)
    assert shown.json() == made
    assert (await cloud.call("DELETE", f"/image/v2/images/{made['id']}", alice)).status_code == 403


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"disk_format": "wrong"}, 400),
        ({"container_format": "wrong"}, 400),
        ({"min_disk": -1}, 400),
        ({"name": "x" * 256}, 400),
        ({"visibility": "secret"}, 400),
        ({"custom": 7}, 400),
        ({"id": "not-a-uuid"}, 400),
        ({"os_glance_foo": "bar"}, 403),
        ({"status": "active"}, 403),
        ({"owner": "someone-else"}, 403),
        ({"visibility": "public"}, 403),
    ],
)
async def test_a_wrong_field_is_refused(cloud: ApiCloud, fields: dict[str, Any], status: int) -> None:
    alice = await cloud.member()
    before = await ids(cloud, alice)
    answer = await cloud.call("POST", "/image/v2/images", alice, json=BASIC | fields)
    assert answer.status_code == status, answer.text
    assert answer.json()["title"]
    assert await ids(cloud, alice) == before


async def test_a_reader_may_look_but_not_make(cloud: ApiCloud) -> None:
    made = await make(cloud, await cloud.member())
    reader = await cloud.member("rita", "alpha", "reader")
    assert made["id"] in await ids(cloud, reader)
    assert (await cloud.call("POST", "/image/v2/images", reader, json=BASIC)).status_code == 403
    assert (await cloud.call("DELETE", f"/image/v2/images/{made['id']}", reader)).status_code == 403


async def test_a_taken_id_is_a_conflict_even_of_a_deleted_image(cloud: ApiCloud) -> None:
    alice, id = await cloud.member(), new_id()
    await make(cloud, alice, id=id)
    assert (await cloud.call("POST", "/image/v2/images", alice, json=BASIC | {"id": id})).status_code == 409
    assert (await cloud.call("DELETE", f"/image/v2/images/{id}", alice)).status_code == 204
    assert (await cloud.call("GET", f"/image/v2/images/{id}", alice)).status_code == 404
    assert (await cloud.call("DELETE", f"/image/v2/images/{id}", alice)).status_code == 404
    assert (await cloud.call("POST", "/image/v2/images", alice, json=BASIC | {"id": id})).status_code == 409


async def test_a_patch_adds_replaces_and_removes(cloud: ApiCloud) -> None:
    alice = await cloud.member()
    image = await make(cloud, alice, old="1")
    answer = await patch(
        cloud,
        alice,
        image["id"],
        {"op": "replace", "path": "/name", "value": "two"},
        {"op": "add", "path": "/a~1b~0c", "value": "x"},
        {"op": "remove", "path": "/old"},
        {"op": "replace", "path": "/tags", "value": ["t"]},
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["name"], found["a/b~c"], found["tags"]) == ("two", "x", ["t"])
    assert "old" not in found


@pytest.mark.parametrize(
    ("op", "status"),
    [
        ({"op": "replace", "path": "/missing", "value": "x"}, 409),
        ({"op": "remove", "path": "/missing"}, 409),
        ({"op": "remove", "path": "/name"}, 403),
        ({"op": "replace", "path": "/status", "value": "active"}, 403),
        ({"op": "replace", "path": "/id", "value": new_id()}, 403),
        ({"op": "add", "path": "/os_glance_x", "value": "y"}, 403),
        ({"op": "add", "path": "/owner", "value": "other"}, 403),
        ({"op": "replace", "path": "/visibility", "value": "public"}, 403),
        ({"op": "add", "path": "/a/b", "value": "x"}, 400),
        ({"op": "add", "path": "a", "value": "x"}, 400),
        ({"op": "add", "path": "/a~2", "value": "x"}, 400),
        ({"op": "add", "path": "//a", "value": "x"}, 400),
        ({"op": "add", "path": "/a"}, 400),
        ({"op": "move", "path": "/a", "from": "/b"}, 400),
        ({"op": "replace", "path": "/min_ram", "value": "many"}, 400),
        ({"op": "replace", "path": "/container_format", "value": "docker"}, 200),
        ({"op": "add", "path": "/n", "value": 5}, 400),
    ],
)
async def test_a_patch_that_may_not_be_changes_nothing(cloud: ApiCloud, op: dict[str, Any], status: int) -> None:
    alice = await cloud.member()
    image = await make(cloud, alice)
    good = {"op": "replace", "path": "/name", "value": "changed"}
    answer = await patch(cloud, alice, image["id"], good, op)
    assert answer.status_code == status, answer.text
    shown = (await cloud.call("GET", f"/image/v2/images/{image['id']}", alice)).json()
    assert shown["name"] == ("changed" if status == 200 else "one")


async def test_the_older_patch_form_and_no_other_content_type(cloud: ApiCloud) -> None:
    alice = await cloud.member()
    image = await make(cloud, alice)
    old = "application/openstack-images-v2.0-json-patch"
    assert (await patch(cloud, alice, image["id"], {"add": "/k", "value": "v"}, kind=old)).json()["k"] == "v"
    assert (await patch(cloud, alice, image["id"], {"add": "/k", "value": "w"}, kind=old)).status_code == 409
    assert (await patch(cloud, alice, image["id"], {"replace": "/os_hidden", "value": True}, kind=old)).json()[
        "os_hidden"
    ]
    assert (await patch(cloud, alice, image["id"], kind="application/json")).status_code == 415


async def test_who_sees_what(cloud: ApiCloud) -> None:
    alice, bob, admin = await cloud.member(), await cloud.member("bob", "beta"), await cloud.token()
    private = (await make(cloud, alice, visibility="private"))["id"]
    shared = (await make(cloud, alice))["id"]
    community = (await make(cloud, alice, visibility="community"))["id"]
    public = (await make(cloud, admin, visibility="public"))["id"]
    hidden = (await make(cloud, alice, os_hidden=True))["id"]
    seeded = set(await ids(cloud, bob)) - {public}
    assert set(await ids(cloud, alice)) - seeded == {private, shared, community, public}
    assert set(await ids(cloud, alice, "?os_hidden=true")) == {hidden}
    assert set(await ids(cloud, bob)) - seeded == {public}
    assert set(await ids(cloud, bob, "?visibility=community")) == {community}
    assert community in await ids(cloud, bob, "?visibility=all")
    for id, status in ((private, 404), (shared, 404), (community, 200), (public, 200)):
        assert (await cloud.call("GET", f"/image/v2/images/{id}", bob)).status_code == status
    for id in (community, public):
        assert (await cloud.call("DELETE", f"/image/v2/images/{id}", bob)).status_code == 403
    assert (await cloud.call("DELETE", f"/image/v2/images/{private}", bob)).status_code == 404
    assert {private, shared} <= set(await ids(cloud, admin))


async def test_filters(cloud: ApiCloud) -> None:
    alice = await cloud.member()
    one = (await make(cloud, alice, name="one", tags=["x", 'q"t'], flavour='a"b', visibility="private"))["id"]
    two = (await make(cloud, alice, name="two,three", disk_format="qcow2", tags=["x"], flavour="c"))["id"]
    cases = {
        "?name=one": {one},
        '?name=in:one,"two,three"': {one, two},
        "?tag=x": {one, two},
        '?tag=x&tag=q"t': {one},
        "?tag=q": set(),
        '?flavour=a"b': {one},
        "?flavour=b": set(),
        "?disk_format=in:qcow2,vmdk": {two},
        "?visibility=private": {one},
        "?status=active&name=one": set(),
        "?size_min=0&name=one": set(),
        "?created_at=gt:2020-01-01T00:00:00Z&name=one": {one},
        "?created_at=lt:2020-01-01T00:00:00Z": set(),
        "?protected=false&name=one": {one},
        f"?id={two}": {two},
    }
    for query, wanted in cases.items():
        assert set(await ids(cloud, alice, query)) == wanted, query
    for bad in (
        "?size_min=-1",
        "?created_at=yesterday",
        "?visibility=secret",
        "?sort=nothing:asc",
        "?sort=name:up",
        "?sort=name&sort_key=id",
        "?limit=-1",
        "?marker=nothing",
        "?os_hidden=perhaps",
        "?member_status=maybe",
        "?changes-since=2020-01-01",
    ):
        answer = await cloud.call("GET", f"/image/v2/images{bad}", alice)
        assert answer.status_code == 400, bad


async def test_pages_follow_the_order_and_end(cloud: ApiCloud) -> None:
    alice = await cloud.member()
    for n in range(7):
        await make(cloud, alice, name=f"n{n % 3}", visibility="private")
    path, seen = "/v2/images?limit=3&sort=name:asc&visibility=private", []
    for _ in range(5):
        page = (await cloud.call("GET", f"/image{path}", alice)).json()
        seen += [(i["name"], i["id"]) for i in page["images"]]
        assert page["first"].startswith("/v2/images?limit=3")
        if "next" not in page:
            break
        path = page["next"]
    assert len(seen) == len(set(seen)) == 7
    assert [name for name, _ in seen] == sorted(name for name, _ in seen)
    assert await ids(cloud, alice, "?limit=0") == []


async def test_tags_schemas_and_information(cloud: ApiCloud) -> None:
    alice = await cloud.member()
    image = await make(cloud, alice)
    tag = f"/image/v2/images/{image['id']}/tags/blue"
    assert (await cloud.call("PUT", tag, alice)).status_code == 204
    assert (await cloud.call("PUT", tag, alice)).status_code == 204
    assert (await cloud.call("GET", f"/image/v2/images/{image['id']}", alice)).json()["tags"] == ["blue"]
    assert (await cloud.call("DELETE", tag, alice)).status_code == 204
    assert (await cloud.call("DELETE", tag, alice)).status_code == 404
    for name in ("image", "images", "member", "members"):
        assert (await cloud.call("GET", f"/image/v2/schemas/{name}", alice)).json()["name"] == name
    assert (await cloud.call("GET", "/image/v2/schemas/none", alice)).status_code == 404
    info = (await cloud.call("GET", "/image/v2/info/import", alice)).json()
    assert "web-download" in info["import-methods"]["value"]
    assert (await cloud.call("GET", "/image/v2/info/stores", alice)).json()["stores"][0]["id"] == "local"


async def test_an_image_without_an_id_is_missing(cloud: ApiCloud) -> None:
    alice = await cloud.member()
    for method, path, status in (
        ("GET", "/image/v2/images/", 404),
        ("DELETE", "/image/v2/images/", 404),
        ("DELETE", "/image/v2/images", 405),
    ):
        assert (await cloud.call(method, path, alice)).status_code == status, (method, path)


async def test_a_thousand_images_are_listed_at_once(cloud: ApiCloud) -> None:
    def fill(tx: Tx) -> None:
        for n in range(1000):
            commands.create(tx, Image(id=new_id(), name=f"i{n}", visibility="public", properties={"k": "v" * 20}))

    await cloud.store.write(fill)
    alice = await cloud.member()
    assert len(await ids(cloud, alice, "?limit=1000")) == 1000
    started = time.perf_counter()
    await cloud.call("GET", "/image/v2/images?limit=1000", alice)
    print(f"1,000 images listed in {(time.perf_counter() - started) * 1000:.0f} ms")


async def test_keystones_limits_hold_for_images(cloud: ApiCloud) -> None:
    alice, admin = await cloud.member(), await cloud.token()
    assert (await cloud.call("GET", "/image/v2/info/usage", alice)).json() == {"usage": {}}
    listed = (await cloud.call("GET", "/identity/v3/services?type=image", admin)).json()["services"]
    limits = [
        {"service_id": listed[0]["id"], "resource_name": name, "default_limit": limit}
        for name, limit in (("image_count_total", 2), ("image_size_total", 1), ("image_count_uploading", 5))
    ]
    made = await cloud.call("POST", "/identity/v3/registered_limits", admin, json={"registered_limits": limits})
    assert made.status_code == 201, made.text
    first, second = await make(cloud, alice), await make(cloud, alice)
    refused = await cloud.call("POST", "/image/v2/images", alice, json=BASIC)
    assert refused.status_code == 413
    assert "image_count_total" in refused.text
    octets = alice | {"Content-Type": "application/octet-stream"}
    data = bytes(2 << 20)
    assert (await cloud.call("PUT", f"/image/v2/images/{first['id']}/file", octets, content=data)).status_code == 204
    over = await cloud.call("PUT", f"/image/v2/images/{second['id']}/file", octets, content=b"x")
    assert over.status_code == 413
    usage = (await cloud.call("GET", "/image/v2/info/usage", alice)).json()["usage"]
    assert usage["image_size_total"] == {"limit": 1, "usage": 2}
    assert usage["image_count_total"] == {"limit": 2, "usage": 2}
    assert (await cloud.call("GET", f"/image/v2/images/{second['id']}", alice)).json()["status"] == "queued"


@pytest.mark.parametrize(
    "query", ["limit=²", "limit=" + "9" * 5000, "size_min=²", "size_max=" + "9" * 5000, "min_disk=" + "9" * 30]
)
async def test_numbers_that_are_none_are_refused(cloud: ApiCloud, query: str) -> None:
    answer = await cloud.call("GET", f"/image/v2/images?{query}", await cloud.member())
    assert answer.status_code == 400, answer.text


async def test_a_range_beyond_all_numbers_is_outside(cloud: ApiCloud) -> None:
    alice = await cloud.member()
    id = (await make(cloud, alice))["id"]
    binary = {**alice, "Content-Type": "application/octet-stream"}
    assert (await cloud.call("PUT", f"/image/v2/images/{id}/file", binary, content=b"x" * 512)).status_code == 204
    for asked, status in (("bytes=" + "9" * 5000 + "-", 416), ("bytes=0-" + "9" * 5000, 206), ("bytes=-0", 416)):
        answer = await cloud.call("GET", f"/image/v2/images/{id}/file", {**alice, "Range": asked})
        assert answer.status_code in (status, 200), (asked[:20], answer.text)
