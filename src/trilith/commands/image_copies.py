"""The cache: copies of image data that a node keeps near, and what is queued to be copied."""

from __future__ import annotations

import msgspec

from trilith import errors
from trilith.jobs.submit import active_for, submit
from trilith.model.image import CachedImage, Image, ImageState
from trilith.store.tx import Reader, Tx, new_id

#: job kind of filling the cache; jobs/image_cache.py has its step
CACHE_KIND = "image.cache"
DEADLINE = 6 * 3600.0


class CacheArgs(msgspec.Struct, frozen=True):
    image_id: str
    node: str
    version: int = 1


def find(reader: Reader, image_id: str, node: str) -> CachedImage | None:
    return reader.first(CachedImage, image_id=image_id, node=node)


def queue(tx: Tx, image_id: str, node: str) -> None:
    """Again is success. Raises Missing, Invalid for an image without data."""
    image = tx.get(Image, image_id)
    if image.state is not ImageState.ACTIVE:
        raise errors.Invalid("Only images with status active can be targeted for queueing.")
    if find(tx, image_id, node) is not None:
        return
    tx.add(CachedImage(id=new_id(), image_id=image_id, node=node))
    args = CacheArgs(image_id, node)
    # of no resource: an image's own jobs are those that its data waits for
    submit(tx, CACHE_KIND, resource="cached_image", resource_id=f"cache-{image_id}", args=args, deadline=DEADLINE)


def filled(tx: Tx, image_id: str, node: str, *, sha256: str, size: int) -> bool:
    """The copy is there. size: bytes. False when nobody waits for it any more: it was taken from the queue."""
    entry = find(tx, image_id, node)
    if entry is None:
        return False
    tx.change(entry, state="cached", sha256=sha256, size=size, last_accessed=tx.now)
    return True


def keep(tx: Tx, image_id: str, node: str, *, sha256: str, size: int) -> None:
    """A copy that was made because somebody wanted the data."""
    entry = find(tx, image_id, node)
    if entry is None:
        tx.add(CachedImage(id=new_id(), image_id=image_id, node=node, state="cached", sha256=sha256, size=size,
                           last_accessed=tx.now))  # fmt: skip
    elif entry.state != "cached":
        tx.change(entry, state="cached", sha256=sha256, size=size, last_accessed=tx.now)


def hit(tx: Tx, image_id: str, node: str) -> None:
    """It was read once more; none there is success."""
    entry = find(tx, image_id, node)
    if entry is not None and entry.state == "cached":
        tx.change(entry, hits=entry.hits + 1, last_accessed=tx.now)


def remove(tx: Tx, image_id: str, node: str) -> list[str]:
    """Hashes whose copies nobody needs any more. Raises Missing for an image that is neither cached nor queued."""
    entry = find(tx, image_id, node)
    if entry is None:
        raise errors.Missing(f"Image {image_id} is neither cached nor queued for it.")
    return _end(tx, [entry])


def clear(tx: Tx, node: str, target: str) -> list[str]:
    """target: cache, queue, or "" for both. Hashes whose copies nobody needs any more."""
    states = {"cache": ("cached",), "queue": ("queued",)}.get(target, ("cached", "queued"))
    return _end(tx, tx.select(CachedImage, node=node, state=states))


def _end(tx: Tx, entries: list[CachedImage]) -> list[str]:
    for entry in entries:
        for job in active_for(tx, f"cache-{entry.image_id}"):
            tx.change(job, cancel=True)
        tx.remove(entry)
    hashes = {e.sha256 for e in entries if e.sha256}
    return [sha256 for sha256 in sorted(hashes) if tx.first(CachedImage, sha256=sha256) is None]
