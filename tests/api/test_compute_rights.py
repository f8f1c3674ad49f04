"""What a project may use that is another's: images, by Glance's own rule of who may see them."""

from __future__ import annotations

import pytest

from tests.api.compute_calls import Caller, admin, member
from tests.api.conftest import ApiCloud
from trilith.model.image import Image, ImageMember
from trilith.store.tx import Tx, new_id


async def _image_of(cloud: ApiCloud, owner: str, visibility: str, *, member_id: str = "") -> str:
    """An active image of that project, with the data of one that is there."""

    def body(tx: Tx) -> str:
        source = tx.first(Image, name="tiny")
        assert source is not None
        made = tx.change(source, owner=owner, visibility=visibility)
        if member_id:
            tx.add(ImageMember(id=new_id(), image_id=made.id, member_id=member_id))
        return made.id

    return await cloud.store.write(body)  # type: ignore[no-any-return]


async def _tries(caller: Caller, image_id: str) -> list[int]:
    """The answers to each way of booting from the image: a creation, a rebuild, a rescue."""
    mine = await caller.boot("mine", imageRef=await _other(caller, image_id))
    body = {"name": "x", "flavorRef": await caller.flavor(), "imageRef": image_id}
    created = await caller.ask("POST", "/servers", json={"server": body})
    rebuilt = await caller.act(mine["id"], "rebuild", {"imageRef": image_id})
    if rebuilt.status_code == 202:
        await caller.settle(mine["id"])
    rescued = await caller.act(mine["id"], "rescue", {"rescue_image_ref": image_id}, "2.87")
    return [created.status_code, rebuilt.status_code, rescued.status_code]


async def _other(caller: Caller, image_id: str) -> str:
    found = await caller.cloud.store.read(lambda r: r.first(Image, name="tiny-alt"))
    assert found.id != image_id
    return str(found.id)


@pytest.mark.parametrize("visibility", ["private", "shared"])
async def test_another_projects_image_does_not_boot(cloud: ApiCloud, visibility: str) -> None:
    """`shared` is what an image is when its owner says nothing: it is its owner's until a member is named."""
    _, alpha = await cloud.user("alice", "alpha")
    bob = await member(cloud, "bob", "beta")
    image_id = await _image_of(cloud, alpha, visibility)
    assert (await cloud.call("GET", f"/image/v2/images/{image_id}", bob.headers)).status_code == 404
    assert await _tries(bob, image_id) == [400, 400, 400]


async def test_a_member_boots_from_what_is_shared_with_it(cloud: ApiCloud) -> None:
    _, alpha = await cloud.user("alice", "alpha")
    _, beta = await cloud.user("bob", "beta")
    bob = await member(cloud, "bob", "beta")
    image_id = await _image_of(cloud, alpha, "shared", member_id=beta)
    assert await _tries(bob, image_id) == [202, 202, 200]


async def test_a_private_flavor_is_not_shown_to_others(cloud: ApiCloud) -> None:
    root, bob = await admin(cloud), await member(cloud, "bob", "beta")
    body = {"name": "secret", "id": "secret", "ram": 64, "vcpus": 1, "disk": 1, "os-flavor-access:is_public": False}
    assert (await root.ask("POST", "/flavors", json={"flavor": body})).status_code == 200
    await root.ask("POST", "/flavors/secret/os-extra_specs", json={"extra_specs": {"k": "v"}})
    paths = ("/flavors/secret", "/flavors/secret/os-extra_specs", "/flavors/secret/os-extra_specs/k")
    assert [(await root.ask("GET", p)).status_code for p in paths] == [200, 200, 200]
    assert [(await bob.ask("GET", p)).status_code for p in paths] == [404, 404, 404]
    _, beta = await cloud.user("bob", "beta")
    await root.ask("POST", "/flavors/secret/action", json={"addTenantAccess": {"tenant": beta}})
    assert [(await bob.ask("GET", p)).status_code for p in paths] == [200, 200, 200]


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("/servers?limit={}", "2.1"),
        ("/flavors?limit={}", "2.1"),
        ("/os-server-groups?offset={}", "2.1"),
        ("/os-hypervisors?marker={}", "2.33"),
        ("/os-services/{}", "2.1"),
    ],
)
@pytest.mark.parametrize("digits", [20, 5000])
async def test_a_number_of_any_length_is_no_fault_of_ours(
    cloud: ApiCloud, path: str, version: str, digits: int
) -> None:
    root = await admin(cloud)
    method = "DELETE" if "services" in path else "GET"
    answer = await root.ask(method, path.format("9" * digits), version)
    assert answer.status_code in (200, 400, 404), answer.text


async def test_a_root_without_a_bound_is_not_for_members(cloud: ApiCloud) -> None:
    """Regression: the rule servers:create:zero_disk_flavor was there, and nobody asked it."""
    root, bob = await admin(cloud), await member(cloud, "bob", "beta")
    body = {"name": "endless", "id": "endless", "ram": 64, "vcpus": 1, "disk": 0}
    assert (await root.ask("POST", "/flavors", json={"flavor": body})).status_code == 200
    wanted = {"server": {"name": "x", "flavorRef": "endless", "imageRef": await bob.image()}}
    assert (await bob.ask("POST", "/servers", json=wanted)).status_code == 403
    assert (await root.ask("POST", "/servers", json=wanted)).status_code == 202


async def test_a_group_holds_as_many_servers_of_a_user_as_the_quota_says(cloud: ApiCloud) -> None:
    """Regression: server_group_members was kept and shown, and held for nobody."""
    root, bob = await admin(cloud), await member(cloud, "bob", "beta")
    _, beta = await cloud.user("bob", "beta")
    assert (
        await root.ask("PUT", f"/os-quota-sets/{beta}", json={"quota_set": {"server_group_members": 2}})
    ).status_code == 200
    group = {"server_group": {"name": "g", "policies": ["affinity"]}}
    group_id = (await bob.ask("POST", "/os-server-groups", json=group)).json()["server_group"]["id"]
    body = {
        "server": {"name": "x", "flavorRef": await bob.flavor(), "imageRef": await bob.image(), "max_count": 3},
        "os:scheduler_hints": {"group": group_id},
    }
    refused = await bob.ask("POST", "/servers", json={**body, "server": {**body["server"], "min_count": 3}})
    assert (refused.status_code, refused.json()["forbidden"]["message"][:14]) == (403, "Quota exceeded")
    del body["server"]["max_count"]
    codes = [(await bob.ask("POST", "/servers", json=body)).status_code for _ in range(3)]
    assert codes == [202, 202, 403]


@pytest.mark.parametrize("there", [True, False])
async def test_a_kernel_of_another_projects_image_boots_nothing(cloud: ApiCloud, there: bool) -> None:
    """Regression: an image property named any data of the cloud by its hash, and what is not there was a 404."""
    _, alpha = await cloud.user("alice", "alpha")
    bob = await member(cloud, "bob", "beta")
    _, beta = await cloud.user("bob", "beta")
    other = await _other(bob, "")

    def body(tx: Tx) -> str:
        theirs, mine = tx.first(Image, name="tiny"), tx.get(Image, other)
        assert theirs is not None
        tx.change(theirs, owner=alpha, visibility="private")
        kernel = theirs.sha256 if there else "0" * 64
        return tx.change(mine, owner=beta, properties=mine.properties | {"trilith_kernel": kernel}).id

    image_id = await cloud.store.write(body)
    wanted = {"server": {"name": "x", "flavorRef": await bob.flavor(), "imageRef": image_id}}
    answer = await bob.ask("POST", "/servers", json=wanted)
    assert (answer.status_code, list(answer.json())) == (400, ["badRequest"]), answer.text
