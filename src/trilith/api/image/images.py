"""/v2/images: create, list, show, update, delete, tags, deactivate and reactivate."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer, MethodNotAllowed
from trilith.api.image import patch, query
from trilith.api.image.fields import BASE, SETTABLE, allow_changes, base_changes, check_name, properties
from trilith.api.image.wire import ImageList, Wire, image_view
from trilith.commands import blobs, images
from trilith.model.image import Image, ImageMember
from trilith.store.tx import Reader, new_id

_MAX_PATCH = 1024 * 1024


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


async def list_images(call: Call) -> ImageList:
    """200. 400 for a filter, sort key, limit or marker that does not exist, 404 with a slash at its end: that is an
    image without an id."""
    _named(call)
    found = await call.read(lambda r: query.page(call, r))
    first, following = query.links(call, found)
    return ImageList(images=[image_view(i) for i in found], schema="/v2/schemas/images", first=first, next=following)


def _named(call: Call) -> None:
    if call.request.scope.get("raw_path", b"").partition(b"?")[0].endswith(b"/"):
        raise errors.Missing("No image found with ID ''.")


async def not_one(call: Call) -> None:
    """405, or 404 for an image without an id."""
    _named(call)
    raise MethodNotAllowed("The method DELETE is not allowed for this resource.")


async def create(call: Call) -> Answer:
    """201. 400 for a value out of its bounds, 403 for a reserved field or another's owner, 409 for a taken id."""
    body: dict[str, Any] = dict(call.body)
    image_id = body.pop("id", None)
    for name in body:
        if name not in SETTABLE:
            check_name(name)
    changes = base_changes({k: v for k, v in body.items() if k in SETTABLE})
    custom = properties({k: v for k, v in body.items() if k not in BASE})
    owner = changes.pop("owner", "") or call.actor.project_id
    if owner != call.actor.project_id and not call.actor.is_admin:
        raise errors.Forbidden(f"You are not permitted to create images owned by '{owner}'.", field="owner")
    image = Image(id=_own_id(image_id), owner=owner, properties=custom, **changes)
    call.allow("add_image", project_id=owner, owner=owner)
    allow_changes(call, image, changes)
    made = await call.write(lambda tx: images.create(tx, image), "image.create")
    return Answer(
        image_view(made),
        headers={
            "Location": call.url(f"/v2/images/{made.id}"),
            "OpenStack-image-import-methods": ",".join(images.METHODS),
            "OpenStack-image-store-ids": "local",
        },
    )


def _own_id(given: Any) -> str:
    if given is None:
        return new_id()
    try:
        made = str(uuid.UUID(given)) if isinstance(given, str) else ""
    except ValueError:
        made = ""
    if not made or made.replace("-", "") != given.replace("-", "").lower():
        raise errors.Invalid(f"Invalid image id format: {given!r} is no UUID.", field="id")
    return made


async def show(call: Call) -> Wire:
    """200. 404 for one that the caller may not see."""
    return image_view(await visible(call, "get_image"))


async def update(call: Call) -> Wire:
    """200. 400 for a malformed patch, 403 for a field that may not be set, 409 for a property that is not there,
    415 for another content type."""
    raw = b""
    async for chunk in call.stream():
        raw += chunk
        if len(raw) > _MAX_PATCH:
            raise errors.TooLarge(f"The body is over {_MAX_PATCH} bytes.")
    changes = patch.parse(call.headers.get("content-type", ""), raw)
    image = await visible(call, "modify_image")

    def make(current: Image) -> dict[str, Any]:
        found = patch.apply(current, changes)
        allow_changes(call, current, found)
        return found

    return image_view(await call.write(lambda tx: images.update(tx, image.id, make), "image.update"))


async def delete(call: Call) -> None:
    """204. 403 for a protected image. Its data goes when nobody else needs it."""
    image = await visible(call, "delete_image")
    gone = await call.write(lambda tx: images.delete(tx, image.id), "image.delete")
    directory = call.host.services.blobs
    await blobs.unstage(directory, image.id)
    await blobs.collect(call.host.store, directory, gone)


async def deactivate(call: Call) -> None:
    """204. 403 where the state does not allow it."""
    image = await visible(call, "deactivate")
    await call.write(lambda tx: images.deactivate(tx, image.id), "image.deactivate")


async def reactivate(call: Call) -> None:
    """204. 403 where the state does not allow it."""
    image = await visible(call, "reactivate")
    await call.write(lambda tx: images.reactivate(tx, image.id), "image.reactivate")


async def add_tag(call: Call) -> None:
    """204. 400 for a tag over 255 characters, 413 for too many."""
    image, tag = await visible(call, "modify_image"), call.params["tag"]
    if len(tag) > 255:
        raise errors.Invalid("A tag has 255 characters at most.", field="tag")
    if len(image.tags) >= 128 and tag not in image.tags:
        raise errors.TooLarge("The limit of 128 tags of an image has been exceeded.")
    await call.write(lambda tx: images.add_tag(tx, image.id, tag), "image.tag")


async def remove_tag(call: Call) -> None:
    """204. 404 for a tag that is not there."""
    image, tag = await visible(call, "modify_image"), call.params["tag"]
    await call.write(lambda tx: images.remove_tag(tx, image.id, tag), "image.untag")


class Store(msgspec.Struct, omit_defaults=True):
    id: str
    description: str = ""
    default: str = ""


class Stores(msgspec.Struct):
    stores: list[Store]


async def stores(call: Call) -> Stores:
    """200: the one store."""
    return Stores([Store(id="local", description="Files on the node that received them", default="true")])


class ImportMethods(msgspec.Struct):
    description: str
    type: str
    value: list[str]


class ImportInfo(msgspec.Struct, rename={"import_methods": "import-methods"}):
    import_methods: ImportMethods


async def import_info(call: Call) -> ImportInfo:
    """200: by which methods an image can be imported."""
    return ImportInfo(ImportMethods("Import methods available.", "array", list(images.METHODS)))
