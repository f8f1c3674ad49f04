"""/v2/images: create, list, show, update, delete, tags, deactivate and reactivate."""

from __future__ import annotations

import uuid
from typing import Any

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer, MethodNotAllowed
from trilith.api.image import locations, patch, query
from trilith.api.image.fields import BASE, SETTABLE, allow_changes, base_changes, check_name, properties
from trilith.api.image.visibility import visible
from trilith.api.image.wire import ImageList, Wire, image_view
from trilith.commands import blobs, image_imports, image_locations, images
from trilith.model.image import Image
from trilith.store.tx import Tx, new_id

_MAX_PATCH = 1024 * 1024


async def list_images(call: Call) -> ImageList:
    """200. 400 for a filter, sort key, limit or marker that does not exist, 404 with a slash at its end: that is an
    image without an id."""
    _named(call)
    found = await call.read(lambda r: query.page(call, r))
    first, following = query.links(call, found)
    return ImageList(
        images=[image_view(i, call) for i in found], schema="/v2/schemas/images", first=first, next=following
    )


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
        image_view(made, call),
        headers={
            "Location": call.url(f"/v2/images/{made.id}"),
            "OpenStack-image-import-methods": ",".join(image_imports.METHODS),
            "OpenStack-image-store-ids": ",".join(s.name for s in call.host.services.stores.all),
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
    return image_view(await visible(call, "get_image"), call)


async def update(call: Call) -> Wire:
    """200. 400 for a malformed patch, 403 for a field that may not be set, 409 for a property that is not there,
    415 for another content type."""
    raw = b""
    async for chunk in call.stream():
        raw += chunk
        if len(raw) > _MAX_PATCH:
            raise errors.TooLarge(f"The body is over {_MAX_PATCH} bytes.")
    changes = patch.parse(call.headers.get("content-type", ""), raw, locations=call.host.settings.image_locations)
    image = await visible(call, "modify_image")
    stores, limit = call.host.services.stores, call.host.settings.max_image
    moves = await locations.prepare(call, image, changes)

    def make(current: Image) -> dict[str, Any]:
        found = patch.apply(current, changes)
        allow_changes(call, current, found)
        return found

    def body(tx: Tx) -> tuple[Image, list[str]]:
        changed = images.update(tx, image.id, make)
        return image_locations.patch(tx, changed, moves, stores, limit=limit) if moves else (changed, [])

    done, gone = await call.write(body, "image.update")
    await blobs.collect(call.host.store, stores, gone)
    return image_view(done, call)


async def delete(call: Call) -> None:
    """204. 403 for a protected image. Its data goes when nobody else needs it."""
    image = await visible(call, "delete_image")
    gone = await call.write(lambda tx: images.delete(tx, image.id), "image.delete")
    directory = call.host.services.blobs
    await blobs.unstage(directory, image.id)
    await blobs.collect(call.host.store, call.host.services.stores, gone)


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
