"""Which images a caller may know of, and what the policy rules compare."""

from __future__ import annotations

from trilith import errors
from trilith.api.http.call import Call
from trilith.model.image import Image, ImageMember
from trilith.store.tx import Reader


def find_visible(reader: Reader, call: Call, image_id: str) -> tuple[Image, str]:
    """The image, and the caller's project where it is a member (any status) or "". Raises Missing for one that the
    caller may not know of."""
    image = reader.find(Image, image_id)
    project, member = call.actor.project_id, ""
    if image is not None and image.visibility == "shared" and project and image.owner != project:
        found = reader.first(ImageMember, image_id=image_id, member_id=project)
        member = project if found is not None else ""
    if image is None or not (
        call.actor.is_admin
        or (project and image.owner == project)
        or image.visibility in ("public", "community")
        or member
    ):
        raise errors.Missing(f"No image found with ID {image_id}")
    return image, member


def target(image: Image, member: str = "") -> dict[str, str]:
    """What the policy rules compare. 'shared' counts only for a member, which `find_visible` has found out."""
    shown = image.visibility if image.visibility != "shared" or member else "private"
    return {"project_id": image.owner, "owner": image.owner, "member_id": member, "visibility": shown}


async def visible(call: Call, rule: str) -> Image:
    """The image of the path, if the caller may see it and do `rule` to it. Raises Missing, Forbidden."""
    image_id = call.params["image_id"]
    image, member = await call.read(lambda r: find_visible(r, call, image_id))
    call.allow(rule, **target(image, member))
    return image
