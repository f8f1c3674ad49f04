"""The job that imports an image: what was staged, or what a URL gives, becomes the image's blob.

Steps: fetch (web-download only) → store → clean. The staged file survives a crash; a fetch that broke off begins again.
"""

from __future__ import annotations

import asyncio
from typing import Any

from trilith import errors
from trilith.commands import blobs, images
from trilith.commands.image_inspection import Inspection
from trilith.commands.images import IMPORT_DEADLINE, IMPORT_KIND, ImportArgs
from trilith.jobs.download import download
from trilith.jobs.kind import Context, Kind, Step
from trilith.model.image import Image
from trilith.model.job import Job, JobError
from trilith.store.tx import Tx


async def _staged(context: Context[ImportArgs]) -> bool:
    path = blobs.staged_path(context.services.blobs, context.args.image_id)
    return await asyncio.to_thread(path.exists)


async def _fetch(context: Context[ImportArgs]) -> None:
    args = context.args
    if args.method != "web-download":
        raise errors.Conflict(f"The staged data of image {args.image_id} is not on this node.")
    target = blobs.staged_path(context.services.blobs, args.image_id)
    async with blobs.sink(context.services.blobs, limit=args.limit) as sink:
        await download(args.uri, sink.write, allow=context.services.settings.image_import_allow)
        await asyncio.to_thread(sink.finish)
        await asyncio.to_thread(sink.keep, target)
    context.note(f"{sink.size} bytes")


async def _unstage(context: Context[ImportArgs]) -> None:
    path = blobs.staged_path(context.services.blobs, context.args.image_id)
    await asyncio.to_thread(path.unlink, missing_ok=True)


async def _kept(context: Context[ImportArgs]) -> bool:
    image = await context.store.read(lambda r: r.get(Image, context.args.image_id))
    if not image.sha256:
        return False
    return await asyncio.to_thread(blobs.path_of(context.services.blobs, image.sha256).exists)


async def _store(context: Context[ImportArgs]) -> None:
    args, directory = context.args, context.services.blobs
    image = await context.store.read(lambda r: r.get(Image, args.image_id))
    inspection = Inspection(image.disk_format, enforce=args.enforce, container=image.container_format)
    async with blobs.sink(directory, inspection, limit=args.limit) as sink:
        # hashed from a file of our own: the staged one stays until the job has ended, so a crash repeats this
        facts = await blobs.fill(sink, blobs.read_file(blobs.staged_path(directory, args.image_id)))
        with blobs.pinned(facts.sha256):
            await asyncio.to_thread(sink.keep, blobs.path_of(directory, facts.sha256))
            await context.store.write(lambda tx: images.keep_import(tx, args.image_id, facts))


async def _drop(context: Context[ImportArgs]) -> None:
    gone = await context.store.write(lambda tx: blobs.release(tx, context.args.image_id))
    await blobs.collect(context.store, context.services.blobs, gone)


def _finish(tx: Tx, job: Job, args: Any) -> None:
    images.finish_import(tx, args.image_id)


def _fail(tx: Tx, job: Job, args: Any, error: JobError) -> None:
    images.fail_import(tx, args.image_id, error.message)


IMPORT = Kind(
    name=IMPORT_KIND,
    args=ImportArgs,
    steps=(
        Step("fetch", _fetch, undo=_unstage, check=_staged, timeout=IMPORT_DEADLINE),
        Step("store", _store, undo=_drop, check=_kept, timeout=IMPORT_DEADLINE),
        Step("clean", _unstage),
    ),
    finish=_finish,
    fail=_fail,
    deadline=IMPORT_DEADLINE,
    summary="Import an image's data, staged or from a URL.",
)
