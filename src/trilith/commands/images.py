"""Images: what a request changes of their records, and their way from queued to active and out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trilith import errors
from trilith.commands import blobs, image_limits
from trilith.jobs.submit import active_for, cancel
from trilith.model.image import IMAGE_TABLE, LOCAL, BlobFacts, CachedImage, Image, ImageMember, ImageState
from trilith.store.tx import Tx, new_id


def move(image: Image, event: str) -> dict[str, Any]:
    """Raises Conflict where the image's table has no such move."""
    return {"state": IMAGE_TABLE.next(image.state, event)}


def create(tx: Tx, image: Image) -> Image:
    """Raises Conflict for an id that is taken, by a deleted image too; TooLarge over the project's limit."""
    if tx.find(Image, image.id, dead=True) is not None:
        raise errors.Conflict(f"Image ID {image.id} already exists!", field="id")
    image_limits.check(tx, image.owner, image_count_total=1)
    return tx.add(image)


def update(tx: Tx, image_id: str, make: Callable[[Image], Mapping[str, Any]]) -> Image:
    """Apply what `make` says of the image as it is now. Raises Missing, and what `make` raises."""
    image = tx.get(Image, image_id)
    changes = dict(make(image))
    return tx.change(image, **changes) if changes else image


def delete(tx: Tx, image_id: str) -> list[str]:
    """Hashes whose blobs may now be needed by nobody; jobs at it are cancelled. Raises Missing, or Forbidden when it
    is protected."""
    image = tx.get(Image, image_id)
    if image.protected:
        raise errors.Forbidden(f"Image {image_id} is protected and cannot be deleted.")
    tx.remove_where(ImageMember, image_id=image_id)
    cached = [entry.sha256 for entry in tx.remove_where(CachedImage, image_id=image_id) if entry.sha256]
    for job in active_for(tx, image_id):
        cancel(tx, job.id)
    released = blobs.release(tx, image_id)
    tx.change(image, **move(image, "delete"), deleted_at=tx.now)
    return [*released, *cached]


def check_ready(image: Image) -> None:
    missing = [n for n in ("disk_format", "container_format") if not getattr(image, n)]
    if missing:
        raise errors.Invalid(f"Properties {', '.join(missing)} must be set prior to saving data.", field=missing[0])


def begin_upload(tx: Tx, image_id: str, node: str) -> Image:
    """From queued to saving. node: the one whose process receives the data. Raises Conflict, Invalid, TooLarge over the
    project's limit."""
    image = tx.get(Image, image_id)
    changes = move(image, "upload")
    check_ready(image)
    image_limits.check(tx, image.owner, image_size_total=0, image_count_uploading=1)
    return tx.change(image, **changes, uploader=node, message="")


def finish_upload(tx: Tx, image_id: str, facts: BlobFacts, *, store: str = LOCAL) -> Image:
    """From saving to active, holding its blob. Raises Missing when the image was deleted meanwhile."""
    image = tx.get(Image, image_id)
    blobs.hold(tx, facts.sha256, "image", image_id, store)
    return tx.change(image, **move(image, "activate"), **known(facts), stores=(store,), locations=(), uploader="")


def fail_upload(tx: Tx, image_id: str, message: str) -> None:
    """Back to queued; nothing to do when the image is gone or was taken back already."""
    image = tx.find(Image, image_id)
    if image is not None and image.uploader:
        tx.change(image, **move(image, "retry"), uploader="", message=message[:1000])


def begin_stage(tx: Tx, image_id: str, node: str) -> Image:
    """From queued to uploading. Raises Conflict, Invalid, TooLarge over the project's limit."""
    image = tx.get(Image, image_id)
    changes = move(image, "stage")
    check_ready(image)
    image_limits.check(tx, image.owner, image_stage_total=0, image_count_uploading=1)
    return tx.change(image, **changes, uploader=node, message="")


def finish_stage(tx: Tx, image_id: str, size: int) -> Image:
    """The staged data is whole; the image stays uploading until its import."""
    return tx.change(tx.get(Image, image_id), uploader="", size=size)


def begin_snapshot(
    tx: Tx,
    *,
    name: str,
    owner: str,
    disk_format: str,
    properties: dict[str, str] | None = None,
    container_format: str = "bare",
    min_disk: int = 0,
    min_ram: int = 0,
    visibility: str = "private",
    job_id: str = "",
    image_id: str = "",
) -> Image:
    """An image in state saving, to be filled by a job (a server's snapshot, an image build).

    min_disk: GiB, min_ram: MiB. job_id: the job that ends it with finish_snapshot or fail_snapshot.
    """
    queued = tx.add(
        Image(
            id=image_id or new_id(),
            name=name,
            owner=owner,
            visibility=visibility,
            disk_format=disk_format,
            container_format=container_format,
            min_disk=min_disk,
            min_ram=min_ram,
            properties=dict(properties or {}),
            job_id=job_id,
        )
    )
    return tx.change(queued, **move(queued, "snapshot"))


def finish_snapshot(
    tx: Tx, image_id: str, facts: BlobFacts, *, disk_format: str = "", properties: dict[str, str] | None = None
) -> Image:
    """Active, holding its blob; done already is success. Raises Missing when the image was deleted meanwhile."""
    image = tx.get(Image, image_id)
    if image.state is ImageState.ACTIVE and image.sha256 == facts.sha256:
        return image
    blobs.hold(tx, facts.sha256, "image", image_id)
    return tx.change(
        image,
        **move(image, "activate"),
        **known(facts),
        stores=(LOCAL,),
        job_id="",
        disk_format=disk_format or image.disk_format,
        properties=image.properties if properties is None else properties,
    )


def fail_snapshot(tx: Tx, image_id: str) -> None:
    """Deleted, as with Nova: it will never have data, and the server's action says why. Absent or ended already is
    success."""
    image = tx.find(Image, image_id)
    if image is None or image.state is not ImageState.SAVING:
        return
    blobs.release(tx, image_id)
    tx.remove_where(ImageMember, image_id=image_id)
    tx.change(image, **move(image, "delete"), job_id="", deleted_at=tx.now)


def deactivate(tx: Tx, image_id: str) -> Image:
    """Raises Forbidden where the state does not allow it (Glance's own answer)."""
    return _switch(tx, image_id, "deactivate")


def reactivate(tx: Tx, image_id: str) -> Image:
    """Raises Forbidden where the state does not allow it (Glance's own answer)."""
    return _switch(tx, image_id, "reactivate")


def _switch(tx: Tx, image_id: str, event: str) -> Image:
    image = tx.get(Image, image_id)
    if not IMAGE_TABLE.allows(image.state, event):
        raise errors.Forbidden(f"Not allowed to {event} image in status '{image.state}'.")
    changes = move(image, event)
    return image if changes["state"] is image.state else tx.change(image, **changes)


def add_tag(tx: Tx, image_id: str, tag: str) -> Image:
    """Again is success."""
    image = tx.get(Image, image_id)
    return image if tag in image.tags else tx.change(image, tags=(*image.tags, tag))


def remove_tag(tx: Tx, image_id: str, tag: str) -> Image:
    """Raises Missing for a tag that is not there."""
    image = tx.get(Image, image_id)
    if tag not in image.tags:
        raise errors.Missing(f"Image {image_id} has no tag {tag!r}.")
    return tx.change(image, tags=tuple(t for t in image.tags if t != tag))


def known(facts: BlobFacts) -> dict[str, Any]:
    """Fields of the image that its data decides."""
    return {
        "sha256": facts.sha256,
        "checksum": facts.checksum,
        "hash_algo": "sha512" if facts.hash_value else "",
        "hash_value": facts.hash_value,
        "size": facts.size,
        "virtual_size": facts.virtual_size,
    }


def remove_from_store(tx: Tx, image_id: str, store: str) -> list[str]:
    """Hashes whose blobs may now be needed by nobody there. Raises Missing for a store that does not have the image,
    Conflict for one that is not active, Forbidden for the last place of its data."""
    image = tx.get(Image, image_id)
    if image.state not in (ImageState.ACTIVE, ImageState.DEACTIVATED):
        raise errors.Conflict(f"The status of image {image_id} is {image.state}: it has no data in stores.")
    there = [loc for loc in image.locations if loc.store == store]
    if store not in image.stores and not there:
        raise errors.Missing(f"Image {image_id} has no data in the store {store}.")
    if len(image.stores) + len(image.locations) == max(1, len(there)):
        raise errors.Forbidden(f"The store {store} has the only copy of image {image_id}.")
    tx.change(
        image,
        stores=tuple(s for s in image.stores if s != store),
        locations=tuple(loc for loc in image.locations if loc.store != store),
    )
    return blobs.release(tx, image_id, store=store)
