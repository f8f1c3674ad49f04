"""An image's data: upload, stage, download."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import structlog
from litestar.exceptions import HTTPException

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer, Gone, MediaType
from trilith.api.image.visibility import visible
from trilith.api.image.wire import RangeNotSatisfiable
from trilith.commands import blobs, image_copies, image_data, images
from trilith.commands.image_data import node_name
from trilith.commands.image_inspection import Inspection
from trilith.commands.image_signature import signature_of
from trilith.commands.image_stores import ImageStore
from trilith.commands.image_uploads import Failed
from trilith.model.image import BlobFacts, Image, ImageState

log = structlog.get_logger("image")
#: 18 digits are beyond every image; more are no range that is read
_RANGE = re.compile(r"^bytes=([0-9]{0,18})-([0-9]{0,18})$")


def _check_upload(call: Call) -> None:
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/octet-stream":
        raise MediaType(f"Unsupported Content-Type {kind or '(none)'}: image data is sent as application/octet-stream.")
    length = call.headers.get("content-length", "")
    limit = call.host.settings.max_image
    if length.isdigit() and int(length) > limit:
        raise errors.TooLarge(f"The image is larger than {limit} bytes.", hint="See the setting max_image.")


async def _arriving(call: Call) -> AsyncIterator[bytes]:
    try:
        async for chunk in call.stream():
            yield chunk
    except HTTPException as err:  # the client went away: nobody reads the answer
        raise errors.Invalid("The upload ended before all data had come.") from err


async def upload(call: Call) -> None:
    """204. 400 for content that is not of the declared format, not safe or not what was signed, 409 for an image that
    is not queued, 410 when it was deleted meanwhile, 413 for too much data or a full disk, 415 for another
    content type.

    On any failure the image is queued again, and nothing stays on the disk.
    """
    image = await visible(call, "upload_image")
    _check_upload(call)
    node = node_name(call.host.settings)
    store = upload_store(call)
    signature = await asyncio.to_thread(signature_of, image.properties, call.host.settings.state)
    image = await call.write(lambda tx: images.begin_upload(tx, image.id, node), "image.upload")
    settings = call.host.settings
    inspection = Inspection(image.disk_format, enforce=settings.image_format_check, container=image.container_format)
    facts: BlobFacts | None = None
    try:
        also = signature.hash_name if signature else ""
        async with blobs.sink(store.files, inspection, limit=settings.max_image, also=also) as sink:
            facts = await blobs.fill(sink, _arriving(call))
            if signature is not None and sink.also is not None:
                signature.verify(sink.also.digest())
            with blobs.pinned(facts.sha256):
                await asyncio.to_thread(sink.keep, blobs.path_of(store.files, facts.sha256))
                await _activate(call, image, facts, store.name)
    except BaseException as err:
        await _back(call, image.id, err, facts.sha256 if facts is not None else "")
        raise


async def _activate(call: Call, image: Image, facts: BlobFacts, store: str) -> None:
    try:
        await call.write(lambda tx: images.finish_upload(tx, image.id, facts, store=store), "image.activate")
    except errors.Missing as err:
        raise _gone(image) from err


def _gone(image: Image) -> errors.TrilithError:
    return Gone(f"Image {image.id} could not be found after upload. It was deleted during the upload.")


async def _back(call: Call, image_id: str, why: BaseException, sha256: str = "") -> None:
    """Also when the request's task is cancelled: then the write goes on shielded, and the sweep of the next start
    covers a process that dies here."""
    reason = str(why) or type(why).__name__
    log.info("upload failed", image=image_id, reason=reason)
    services = call.host.services
    failed = Failed(image_id, reason, call.actor, sha256)
    await asyncio.shield(services.uploads.settle(services.store, services.stores, failed))


async def stage(call: Call) -> None:
    """204: the data waits for `import` by glance-direct. 409 for an image that is not queued, 413, 415 as upload."""
    image = await visible(call, "modify_image")
    _check_upload(call)
    node, directory = node_name(call.host.settings), call.host.services.blobs
    image = await call.write(lambda tx: images.begin_stage(tx, image.id, node), "image.stage")
    try:
        async with blobs.sink(directory, limit=call.host.settings.max_image) as sink:
            await blobs.fill(sink, _arriving(call))
            await asyncio.to_thread(sink.keep, blobs.staged_path(directory, image.id))
            await call.write(lambda tx: images.finish_stage(tx, image.id, sink.size), "image.staged")
    except errors.Missing as err:
        await blobs.unstage(directory, image.id)
        raise _gone(image) from err
    except BaseException as err:
        await asyncio.shield(blobs.unstage(directory, image.id))
        await _back(call, image.id, err)
        raise


async def download(call: Call) -> Answer:
    """200, 206 for a range, 204 where there is no data yet. 403 while deactivated, 416 for a range outside of it."""
    image = await visible(call, "download_image")
    if image.state is ImageState.DEACTIVATED and not call.actor.is_admin:
        raise errors.Forbidden("The requested image has been deactivated. Image data download is forbidden.")
    if image.state not in (ImageState.ACTIVE, ImageState.DEACTIVATED) or not (image.sha256 or image.locations):
        return Answer(status=204)
    host = call.host
    path = await image_data.present(host.store, host.services.stores, host.settings, image)
    if path.parent == host.services.stores.cache:
        node = image_data.node_name(host.settings)
        await call.host.store.write(lambda tx: image_copies.hit(tx, image.id, node), action="image.cache_hit")
    size = (await asyncio.to_thread(path.stat)).st_size
    headers = {"Accept-Ranges": "bytes"}
    start, end = _span(call.headers.get("range", ""), size)
    status = 200
    if (start, end) != (0, size):
        status = 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    elif image.checksum:
        headers["Content-MD5"] = image.checksum
    headers["Content-Length"] = str(end - start)
    if size == 0:
        return Answer(b"", headers=headers, media_type="application/octet-stream")
    return Answer(
        status=status,
        headers=headers,
        media_type="application/octet-stream",
        stream=blobs.read_file(path, start=start, length=end - start),
    )


def _span(header: str, size: int) -> tuple[int, int]:
    """Start and end (exclusive) of what is asked for; a header in another unit is ignored (RFC 9110, 14.2)."""
    match = _RANGE.match(header.replace(" ", ""))
    if match is None or match[1] == match[2] == "":
        if header.startswith("bytes") and "," in header:
            raise RangeNotSatisfiable("Several ranges at once are not served.")
        return 0, size
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
        fine = int(match[2]) > 0
    else:
        start = int(match[1])
        end = min(size, int(match[2]) + 1) if match[2] else size
        fine = start < end
    if not fine or start >= size:
        raise RangeNotSatisfiable(f"The range {header} is outside of the image's {size} bytes.")
    return start, end


def upload_store(call: Call) -> ImageStore:
    """The one that the header X-Image-Meta-Store names, or the default. Raises Invalid for one that takes no data."""
    stores, name = call.host.services.stores, call.headers.get("x-image-meta-store", "")
    found = stores.get(name) if name else stores.local
    if found is None or found.read_only:
        raise errors.Invalid(f"Store for identifier {name} not found.", field="x-image-meta-store")
    return found
