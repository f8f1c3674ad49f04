"""What a project may use that is another's: images, by Glance's own rule of who may see them."""

from __future__ import annotations

import pytest

from tests.api.compute_calls import Caller, member
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
