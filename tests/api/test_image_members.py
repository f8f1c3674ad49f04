"""Sharing images."""

from __future__ import annotations

from tests.api.conftest import ApiCloud
from tests.api.test_image_images import ids, make


async def test_sharing_accepting_and_rejecting(cloud: ApiCloud) -> None:
    alice, bob, carol = await cloud.member(), await cloud.member("bob", "beta"), await cloud.member("carol", "gamma")
    (_, beta), (_, gamma) = await cloud.user("bob", "beta"), await cloud.user("carol", "gamma")
    image = await make(cloud, alice)
    base = f"/image/v2/images/{image['id']}/members"
    made = await cloud.call("POST", base, alice, json={"member": beta})
    assert made.status_code == 200
    assert (made.json()["member_id"], made.json()["status"]) == (beta, "pending")
    assert (await cloud.call("POST", base, alice, json={"member": beta})).status_code == 409
    # a pending member may look at it, but does not see it in the list
    assert (await cloud.call("GET", f"/image/v2/images/{image['id']}", bob)).status_code == 200
    assert image["id"] not in await ids(cloud, bob)
    assert await ids(cloud, bob, "?visibility=shared&member_status=pending") == [image["id"]]
    assert (await cloud.call("POST", base, bob, json={"member": gamma})).status_code == 403
    assert (await cloud.call("PUT", f"{base}/{beta}", alice, json={"status": "accepted"})).status_code == 403
    assert (await cloud.call("PUT", f"{base}/{beta}", bob, json={"status": "perhaps"})).status_code == 400
    assert (await cloud.call("PUT", f"{base}/{beta}", bob, json={"status": "accepted"})).json()["status"] == "accepted"
    assert image["id"] in await ids(cloud, bob)
    assert (await cloud.call("PUT", f"{base}/{beta}", bob, json={"status": "rejected"})).status_code == 200
    assert image["id"] not in await ids(cloud, bob)
    # who has nothing to do with it knows nothing of it
    for path in (base, f"{base}/{beta}"):
        assert (await cloud.call("GET", path, carol)).status_code == 404
    await cloud.call("POST", base, alice, json={"member": gamma})
    assert len((await cloud.call("GET", base, alice)).json()["members"]) == 2
    assert [m["member_id"] for m in (await cloud.call("GET", base, carol)).json()["members"]] == [gamma]
    assert (await cloud.call("GET", f"{base}/{beta}", carol)).status_code == 404
    assert (await cloud.call("DELETE", f"{base}/{beta}", bob)).status_code == 403
    assert (await cloud.call("DELETE", f"{base}/{beta}", alice)).status_code == 204
    assert (await cloud.call("DELETE", f"{base}/{beta}", alice)).status_code == 404
    assert (await cloud.call("GET", f"/image/v2/images/{image['id']}", bob)).status_code == 404


async def test_only_shared_images_have_members(cloud: ApiCloud) -> None:
    alice = await cloud.member()
    image = await make(cloud, alice, visibility="private")
    base = f"/image/v2/images/{image['id']}/members"
    assert (await cloud.call("POST", base, alice, json={"member": "x"})).status_code == 403
    assert (await cloud.call("GET", base, alice)).status_code == 403
    assert (await cloud.call("POST", base, alice, json={})).status_code == 400
