"""/v2/images/{id}/members: with whom a shared image is shared."""

from __future__ import annotations

from typing import Annotated

import msgspec
import sqlalchemy as sa

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.image.visibility import find_visible, target
from trilith.api.image.wire import MemberList, MemberView, member_view
from trilith.commands import image_members
from trilith.model.image import Image, ImageMember
from trilith.store.mapping import REGISTRY

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class NewMember(msgspec.Struct):
    member: _Id


class MemberStatus(msgspec.Struct):
    status: str


async def _image(call: Call) -> tuple[Image, str]:
    return await call.read(lambda r: find_visible(r, call, call.params["image_id"]))


async def _owned(call: Call, rule: str) -> Image:
    """Raises Forbidden for who sees the image but does not own it."""
    image, member = await _image(call)
    call.allow(rule, **target(image, member))
    return image


async def list_members(call: Call) -> MemberList:
    """200: all of them for the owner, one's own for a member. 403 for an image that is not shared."""
    image, member = await _image(call)
    if image.visibility != "shared":
        raise errors.Forbidden("Only shared images have members.")
    call.allow("get_members", **target(image, member))
    owner = call.actor.is_admin or image.owner == call.actor.project_id
    mine = sa.true() if owner else REGISTRY[ImageMember].table.c.member_id == member
    found = await call.read(lambda r: r.select(ImageMember, mine, image_id=image.id, limit=1000))
    return MemberList(members=[member_view(m) for m in found], schema="/v2/schemas/members")


async def create(call: Call) -> MemberView:
    """200. 403 for who is not the owner or an image that is not shared, 409 for a member already, 413 for too many."""
    body: NewMember = call.body
    image = await _owned(call, "add_member")
    return member_view(await call.write(lambda tx: image_members.add(tx, image.id, body.member), "image_member.create"))


async def show(call: Call) -> MemberView:
    """200. 404 for who is neither the owner nor that member."""
    image, member = await _image(call)
    wanted = call.params["member_id"]
    call.allow("get_member", **target(image, member))
    if not (call.actor.is_admin or image.owner == call.actor.project_id or member == wanted):
        raise errors.Missing(f"{wanted} not found in the member list of the image {image.id}.")
    return member_view(await call.read(lambda r: image_members.get(r, image.id, wanted)))


async def update(call: Call) -> MemberView:
    """200. 400 for an unknown status, 403 for who is not that member (the owner too), 404 for no such member."""
    body: MemberStatus = call.body
    image, member = await _image(call)
    wanted = call.params["member_id"]
    if not call.actor.is_admin and image.owner != call.actor.project_id and member != wanted:
        raise errors.Missing(f"{wanted} not found in the member list of the image {image.id}.")
    call.allow("modify_member", **target(image, member) | {"project_id": member, "member_id": member})
    done = await call.write(
        lambda tx: image_members.set_status(tx, image.id, wanted, body.status), "image_member.update"
    )
    return member_view(done)


async def delete(call: Call) -> None:
    """204. 403 for who is not the owner, 404 for no such member."""
    image = await _owned(call, "delete_member")
    await call.write(lambda tx: image_members.remove(tx, image.id, call.params["member_id"]), "image_member.delete")
