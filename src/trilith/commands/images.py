"""Images: what a request changes of their records, and their way from queued to active and out."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from trilith import errors
from trilith.commands import blobs
from trilith.jobs.submit import submit
from trilith.model.image import IMAGE_TABLE, BlobFacts, Image, ImageMember, ImageState
from trilith.model.job import Job
from trilith.store.tx import Tx, new_id

#: job kind of imports; jobs/image_import.py has its steps
IMPORT_KIND = "image.import"
METHODS = ("glance-direct", "web-download")
#: seconds that an import may take
IMPORT_DEADLINE = 6 * 3600.0


class ImportArgs(msgspec.Struct, frozen=True):
    """enforce: refuse content that is not of the declared format."""

    image_id: str
    method: str
    uri: str = ""
    limit: int = 64 * 1024**3
    enforce: bool = True
    version: int = 1


def move(image: Image, event: str) -> dict[str, Any]:
    """Raises Conflict where the image's table has no such move."""
    return {"state": IMAGE_TABLE.next(image.state, event)}


def create(tx: Tx, image: Image) -> Image:
    """Raises Conflict for an id that is taken, by a deleted image too."""
    if tx.find(Image, image.id, dead=True) is not None:
        raise errors.Conflict(f"Image ID {image.id} already exists!", field="id")
    return tx.add(image)


def update(tx: Tx, image_id: str, make: Callable[[Image], Mapping[str, Any]]) -> Image:
    """Apply what `make` says of the image as it is now. Raises Missing, and what `make` raises."""
    image = tx.get(Image, image_id)
    changes = dict(make(image))
    return tx.change(image, **changes) if changes else image


def delete(tx: Tx, image_id: str) -> list[str]:
    """Hashes whose blobs may now be needed by nobody. Raises Missing, or Forbidden when it is protected."""
    image = tx.get(Image, image_id)
    if image.protected:
        raise errors.Forbidden(f"Image {image_id} is protected and cannot be deleted.")
    tx.remove_where(ImageMember, image_id=image_id)
    released = blobs.release(tx, image_id)
    tx.change(image, **move(image, "delete"), deleted_at=tx.now)
    return released


def _ready(image: Image) -> None:
    missing = [n for n in ("disk_format", "container_format") if not getattr(image, n)]
    if missing:
        raise errors.Invalid(f"Properties {', '.join(missing)} must be set prior to saving data.", field=missing[0])


def begin_upload(tx: Tx, image_id: str, node: str) -> Image:
    """From queued to saving. node: the one whose process receives the data. Raises Conflict, Invalid."""
    image = tx.get(Image, image_id)
    changes = move(image, "upload")
    _ready(image)
    return tx.change(image, **changes, uploader=node, message="")


def finish_upload(tx: Tx, image_id: str, facts: BlobFacts) -> Image:
    """From saving to active, holding its blob. Raises Missing when the image was deleted meanwhile."""
    image = tx.get(Image, image_id)
    blobs.hold(tx, facts.sha256, "image", image_id)
    return tx.change(image, **move(image, "activate"), **_facts(facts), uploader="")


def fail_upload(tx: Tx, image_id: str, message: str) -> None:
    """Back to queued; nothing to do when the image is gone or was taken back already."""
    image = tx.find(Image, image_id)
    if image is not None and image.uploader:
        tx.change(image, **move(image, "retry"), uploader="", message=message[:1000])


def begin_stage(tx: Tx, image_id: str, node: str) -> Image:
    """From queued to uploading. Raises Conflict, Invalid."""
    image = tx.get(Image, image_id)
    changes = move(image, "stage")
    _ready(image)
    return tx.change(image, **changes, uploader=node, message="")


def finish_stage(tx: Tx, image_id: str, size: int) -> Image:
    """The staged data is whole; the image stays uploading until its import."""
    return tx.change(tx.get(Image, image_id), uploader="", size=size)


def begin_import(tx: Tx, image_id: str, args: ImportArgs) -> Job:
    """The job that imports. Raises Conflict for an image in another state, or one whose staging goes on."""
    image = tx.get(Image, image_id)
    _ready(image)
    wanted = ImageState.UPLOADING if args.method == "glance-direct" else ImageState.QUEUED
    if image.state is not wanted or image.uploader:
        raise errors.Conflict(
            f"Only images with status '{wanted}' can be imported by {args.method}; this one is {image.state}."
        )
    job = submit(
        tx,
        IMPORT_KIND,
        resource="image",
        resource_id=image_id,
        args=args,
        project_id=image.owner,
        deadline=IMPORT_DEADLINE,
        version=args.version,
    )
    tx.change(image, **move(image, "import"), job_id=job.id, message="")
    return job


def keep_import(tx: Tx, image_id: str, facts: BlobFacts) -> None:
    """The imported blob is in place and held; the image becomes active with the job's end. Raises Missing."""
    image = tx.get(Image, image_id)
    blobs.hold(tx, facts.sha256, "image", image_id)
    tx.change(image, **_facts(facts))


def finish_import(tx: Tx, image_id: str) -> None:
    image = tx.find(Image, image_id)
    if image is not None and image.state is ImageState.IMPORTING:
        tx.change(image, **move(image, "activate"), job_id="")


def fail_import(tx: Tx, image_id: str, message: str) -> None:
    """Back to queued, without a blob."""
    image = tx.find(Image, image_id)
    if image is None or image.state is not ImageState.IMPORTING:
        return
    blobs.release(tx, image_id)
    tx.change(
        image,
        **move(image, "retry"),
        job_id="",
        message=message[:1000],
        size=-1,
        virtual_size=-1,
        checksum="",
        hash_value="",
        sha256="",
    )


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
        **_facts(facts),
        job_id="",
        disk_format=disk_format or image.disk_format,
        properties=image.properties if properties is None else properties,
    )


def fail_snapshot(tx: Tx, image_id: str, message: str = "") -> None:
    """Killed, as it will never have data; absent or ended already is success."""
    image = tx.find(Image, image_id)
    if image is None or image.state is not ImageState.SAVING:
        return
    blobs.release(tx, image_id)
    tx.change(image, **move(image, "kill"), job_id="", message=message[:1000])


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


def _facts(facts: BlobFacts) -> dict[str, Any]:
    return {
        "sha256": facts.sha256,
        "checksum": facts.checksum,
        "hash_value": facts.hash_value,
        "size": facts.size,
        "virtual_size": facts.virtual_size,
    }


def check_uri(uri: str, allow: tuple[str, ...]) -> None:
    """Raises Invalid for a URL that may not be fetched. Names are checked again by the address they lead to."""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as err:
        raise errors.Invalid(f"Invalid uri {uri!r}: {err}.", field="uri") from err
    host = (parts.hostname or "").lower()
    if parts.scheme not in ("http", "https") or not host or parts.username or port == 0:
        raise errors.Invalid(f"URI for web-download does not pass filtering: {uri}", field="uri")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if host in ("localhost", "localhost.localdomain") or host.endswith(".localhost"):
            _refuse_unless(host in allow or allowed(ipaddress.ip_address("127.0.0.1"), host, allow), uri)
        return
    _refuse_unless(allowed(address, host, allow), uri)


def _refuse_unless(fine: bool, uri: str) -> None:
    if not fine:
        raise errors.Invalid(
            f"URI for web-download does not pass filtering: {uri}",
            hint="The operator may allow the host in image_import_allow.",
            field="uri",
        )


def allowed(address: ipaddress.IPv4Address | ipaddress.IPv6Address, host: str, allow: tuple[str, ...]) -> bool:
    """False for addresses of this machine or its link, unless the settings name them. allow: hosts and CIDRs."""
    plain = getattr(address, "ipv4_mapped", None) or address
    for item in allow:
        if item.lower() == host:
            return True
        try:
            if plain in ipaddress.ip_network(item, strict=False):
                return True
        except ValueError:  # a name, compared above
            continue
    return not (
        plain.is_loopback or plain.is_link_local or plain.is_unspecified or plain.is_multicast or plain.is_reserved
    )
