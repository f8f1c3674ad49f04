"""/v2/cache: copies of image data that this node keeps near."""

from __future__ import annotations

import msgspec

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.image.visibility import visible
from trilith.commands import image_copies, image_data
from trilith.model.image import CachedImage


class CachedView(msgspec.Struct):
    """Times: seconds since the epoch."""

    image_id: str
    hits: int
    last_accessed: float
    last_modified: float
    size: int


class CacheView(msgspec.Struct):
    cached_images: list[CachedView]
    queued_images: list[str]


def _node(call: Call) -> str:
    return image_data.node_name(call.host.settings)


async def show(call: Call) -> CacheView:
    """200: what is cached, and what waits for it."""
    found = await call.read(lambda r: r.select(CachedImage, node=_node(call)))
    views = [
        CachedView(e.image_id, e.hits, e.last_accessed, e.created_at, e.size) for e in found if e.state == "cached"
    ]
    return CacheView(views, [e.image_id for e in found if e.state == "queued"])


async def queue(call: Call) -> None:
    """202. 400 for an image that is not active, 404."""
    image = await visible(call, "cache_image")
    await call.write(lambda tx: image_copies.queue(tx, image.id, _node(call)), "image_copies.queue")


async def remove(call: Call) -> None:
    """204. 404 for an image that is neither cached nor queued."""
    image_id = call.params["image_id"]
    gone = await call.write(lambda tx: image_copies.remove(tx, image_id, _node(call)), "image_copies.remove")
    await image_data.forget(call.host.services.stores, gone)


async def clear(call: Call) -> None:
    """204: all of it, or what the header x-image-cache-clear-target says: cache or queue. 400 for another target."""
    target = call.headers.get("x-image-cache-clear-target", "").lower()
    if target not in ("", "cache", "queue"):
        raise errors.Invalid("If the header x-image-cache-clear-target is given, it must be 'cache' or 'queue'.")
    gone = await call.write(lambda tx: image_copies.clear(tx, _node(call), target), "image_copies.clear")
    await image_data.forget(call.host.services.stores, gone)
