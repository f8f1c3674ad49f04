"""The job that copies an image's data into the cache."""

from __future__ import annotations

import asyncio
from typing import Any

from trilith.commands import image_copies, image_data
from trilith.commands.image_copies import CACHE_KIND, DEADLINE, CacheArgs
from trilith.jobs.kind import Context, Kind, Step
from trilith.model.image import CachedImage, Image
from trilith.model.job import Job, JobError
from trilith.store.tx import Tx


async def _fill(context: Context[CacheArgs]) -> None:
    args, services = context.args, context.services
    image = await context.store.read(lambda r: r.get(Image, args.image_id))
    source = await image_data.present(context.store, services.stores, services.settings, image)
    target = services.stores.cache / source.name
    await image_data.copy_near(source, target)
    size = (await asyncio.to_thread(target.stat)).st_size
    wanted = await context.store.write(
        lambda tx: image_copies.filled(tx, args.image_id, args.node, sha256=source.name, size=size)
    )
    if not wanted:
        await _forget_unused(context, source.name)


async def _forget_unused(context: Context[CacheArgs], sha256: str) -> None:
    if not await context.store.read(lambda r: r.count(CachedImage, sha256=sha256)):
        await image_data.forget(context.services.stores, [sha256])


async def _empty(context: Context[CacheArgs]) -> None:
    image = await context.store.read(lambda r: r.find(Image, context.args.image_id))
    if image is not None and image.sha256:
        await _forget_unused(context, image.sha256)


def _finish(tx: Tx, job: Job, args: Any) -> None:
    """The entry says so already."""


def _fail(tx: Tx, job: Job, args: Any, error: JobError) -> None:
    entry = image_copies.find(tx, args.image_id, args.node)
    if entry is not None and entry.state == "queued":
        tx.remove(entry)


CACHE = Kind(
    name=CACHE_KIND,
    args=CacheArgs,
    steps=(Step("fill", _fill, undo=_empty, timeout=DEADLINE),),
    finish=_finish,
    fail=_fail,
    deadline=DEADLINE,
    slow=True,
    summary="Copy an image's data into the cache.",
)
