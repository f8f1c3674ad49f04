"""The job that imports an image: what was staged, or what a URL gives, becomes the image's blob in its stores.

Steps: fetch (where nothing was staged) → convert → store → clean. The staged file survives a crash; a fetch that broke
off begins again.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

from trilith import errors
from trilith.commands import blobs, image_data, image_imports
from trilith.commands.image_imports import IMPORT_DEADLINE, IMPORT_KIND, ImportArgs
from trilith.commands.image_inspection import Inspection
from trilith.commands.image_signature import signature_of
from trilith.jobs import image_remote
from trilith.jobs.download import download
from trilith.jobs.image_remote import Described
from trilith.jobs.kind import Context, Kind, Step
from trilith.model.image import Image
from trilith.model.job import Job, JobError
from trilith.store.tx import Tx

#: formats that stay as they are: a CD is booted as what it is, archives and parts are no disks
_KEPT = ("iso", "root-tar", "squashfs", "ami", "ari", "aki", "ploop", "luks")


async def _staged(context: Context[ImportArgs]) -> bool:
    if context.args.method == "copy-image":
        return True
    path = blobs.staged_path(context.services.blobs, context.args.image_id)
    return await asyncio.to_thread(path.exists)


async def _fetch(context: Context[ImportArgs]) -> None:
    args, directory = context.args, context.services.blobs
    if args.method == "glance-direct":
        raise errors.Conflict(f"The staged data of image {args.image_id} is not on this node.")
    secret = await context.store.read(lambda r: image_imports.unseal(r, args))
    async with blobs.sink(directory, limit=args.limit) as sink:
        if args.method == "glance-download":
            await _described(context)  # first: it tells most of what can be wrong, and quickly
            assert args.remote is not None
            url = image_remote.data_url(await _endpoint(context), args.remote)
            await download(url, sink.write, allow=None, headers={"X-Auth-Token": secret.token})
        else:
            await download(secret.uri, sink.write, allow=context.services.settings.image_import_allow)
        await asyncio.to_thread(sink.finish)
        await asyncio.to_thread(sink.keep, blobs.staged_path(directory, args.image_id))
    context.note(f"{sink.size} bytes")


async def _endpoint(context: Context[ImportArgs]) -> str:
    remote = context.args.remote
    assert remote is not None
    own = f"{context.services.settings.url}/image"
    return await context.store.read(lambda r: image_remote.endpoint(r, remote, own))


async def _described(context: Context[ImportArgs]) -> Described:
    """Asked once; again after a crash."""
    if "described" not in context.memo:
        args = context.args
        assert args.remote is not None
        secret = await context.store.read(lambda r: image_imports.unseal(r, args))
        context.memo["described"] = await image_remote.describe(await _endpoint(context), args.remote, secret.token)
    found: Described = context.memo["described"]
    return found


async def _formats(context: Context[ImportArgs]) -> tuple[Image, str, str]:
    """The image, and the disk and container format of the data that came."""
    image = await context.store.read(lambda r: r.get(Image, context.args.image_id))
    if context.args.method != "glance-download":
        return image, image.disk_format, image.container_format
    described = await _described(context)
    return image, described.disk_format, described.container_format


def _converted(context: Context[ImportArgs]) -> Path:
    return blobs.converted_path(context.services.blobs, context.args.image_id)


async def _convert(context: Context[ImportArgs]) -> None:
    """The data in the format that the settings want, beside what was staged. Unsafe content is refused before any tool
    opens it."""
    args = context.args
    if args.method == "copy-image":
        return
    await _verify(context)
    if not args.convert:
        return
    _, disk_format, container = await _formats(context)
    if disk_format in (args.convert, *_KEPT) or container not in ("bare", ""):
        return
    if context.services.convert is None:
        raise errors.Unsupported("This node cannot convert images.", capability="image.conversion")
    staged, target = blobs.staged_path(context.services.blobs, args.image_id), _converted(context)
    await _look(staged, Inspection(disk_format, container=container))
    await context.services.convert(staged, target, disk_format, args.convert)
    context.note(f"{disk_format} to {args.convert}")


async def _look(path: Path, inspection: Inspection) -> None:
    async for chunk in blobs.read_file(path):
        await asyncio.to_thread(inspection.feed, chunk)
    await asyncio.to_thread(inspection.finish)


async def _verify(context: Context[ImportArgs]) -> None:
    """A signature is of the data as it came. Raises Invalid."""
    args, services = context.args, context.services
    image = await context.store.read(lambda r: r.get(Image, args.image_id))
    signature = await asyncio.to_thread(signature_of, image.properties, services.settings.state)
    if signature is None:
        return
    digest = hashlib.new(signature.hash_name, usedforsecurity=False)
    async for chunk in blobs.read_file(blobs.staged_path(services.blobs, args.image_id)):
        await asyncio.to_thread(digest.update, chunk)
    signature.verify(digest.digest())


async def _is_converted(context: Context[ImportArgs]) -> bool:
    return await asyncio.to_thread(_converted(context).is_file)


async def _unstage(context: Context[ImportArgs]) -> None:
    if context.args.method != "copy-image":
        await blobs.unstage(context.services.blobs, context.args.image_id)


async def _kept(context: Context[ImportArgs]) -> bool:
    args, stores = context.args, context.services.stores
    image = await context.store.read(lambda r: r.get(Image, args.image_id))
    places = [stores.get(name) for name in image.stores]
    if not image.sha256 or not set(args.stores) <= {*image.stores, *image.failed_import}:
        return False
    there = [blobs.path_of(p.files, image.sha256).exists for p in places if p is not None and not p.read_only]
    return bool(there) and all([await asyncio.to_thread(exists) for exists in there])


async def _store(context: Context[ImportArgs]) -> None:
    """Into each store. One that fails ends the import where all must succeed, or where it was the last hope."""
    args = context.args
    failed: errors.TrilithError | None = None
    kept = 0
    for name in args.stores:
        try:
            await _store_one(context, name)
            kept += 1
        except errors.DatabaseAway:  # no fault of the store's
            raise
        except (errors.TooLarge, errors.Backend) as err:
            if args.must_succeed:
                raise
            failed = err
            context.note(f"{name}: {err.message}")
            await context.store.write(lambda tx, name=name: image_imports.miss(tx, args.image_id, name))  # type: ignore[misc]
    if failed is not None and not kept:
        raise failed


async def _store_one(context: Context[ImportArgs], name: str) -> None:
    args, store = context.args, context.services.stores.get(name)
    if store is None or store.read_only:
        raise errors.Backend(f"The store {name} is not configured any more.")
    image, disk_format, container = await _formats(context)
    if args.method == "copy-image":
        source, inspection = await _present(context, image), None
    else:
        source = _converted(context)
        if await _is_converted(context):
            disk_format = args.convert
        else:
            source = blobs.staged_path(context.services.blobs, args.image_id)
        inspection = Inspection(disk_format, enforce=args.enforce, container=container)
    described = await _described(context) if args.method == "glance-download" else None
    async with blobs.sink(store.files, inspection, limit=args.limit) as sink:
        # hashed from a file of our own: the staged one stays until the job has ended, so a crash repeats this
        facts = await blobs.fill(sink, blobs.read_file(source))
        with blobs.pinned(facts.sha256):
            await asyncio.to_thread(sink.keep, blobs.path_of(store.files, facts.sha256))
            await context.store.write(
                lambda tx: image_imports.keep(
                    tx,
                    args.image_id,
                    facts,
                    name,
                    disk_format=disk_format,
                    container_format=container,
                    properties=described.properties if described else None,
                )
            )


async def _present(context: Context[ImportArgs], image: Image) -> Path:
    services = context.services
    return await image_data.present(services.store, services.stores, services.settings, image)


async def _drop(context: Context[ImportArgs]) -> None:
    gone = await context.store.write(lambda tx: image_imports.drop(tx, context.args))
    await blobs.collect(context.store, context.services.stores, gone)


def _finish(tx: Tx, job: Job, args: Any) -> None:
    image_imports.finish(tx, args.image_id)


def _fail(tx: Tx, job: Job, args: Any, error: JobError) -> None:
    image_imports.fail(tx, args, error.message)


IMPORT = Kind(
    name=IMPORT_KIND,
    args=ImportArgs,
    steps=(
        Step("fetch", _fetch, undo=_unstage, check=_staged, timeout=IMPORT_DEADLINE),
        Step("convert", _convert, check=_is_converted, timeout=IMPORT_DEADLINE),
        Step("store", _store, undo=_drop, check=_kept, timeout=IMPORT_DEADLINE),
        Step("clean", _unstage),
    ),
    finish=_finish,
    fail=_fail,
    deadline=IMPORT_DEADLINE,
    slow=True,
    summary="Import an image's data, staged, from a URL, another region or its own copy.",
)
