"""The job that hashes what a location serves, and looks whether it is safe. Nothing of it is kept.

The declared format is not enforced here, as the image service owns none of this data: what boots from it looks again.
"""

from __future__ import annotations

import asyncio
from typing import Any

from trilith import errors
from trilith.commands import blobs, image_locations
from trilith.commands.image_inspection import Inspection
from trilith.commands.image_locations import DEADLINE, LOCATION_KIND, LocationArgs
from trilith.jobs.download import download
from trilith.jobs.kind import Context, Kind, Step
from trilith.model.image import Image
from trilith.model.job import Job, JobError
from trilith.store.tx import Tx


async def _hash(context: Context[LocationArgs]) -> None:
    args, settings = context.args, context.services.settings
    image = await context.store.read(lambda r: r.get(Image, args.image_id))
    inspection = Inspection(image.disk_format, enforce=False, container=image.container_format)
    async with blobs.sink(context.services.blobs, inspection, limit=args.limit, also=args.hash_algo) as sink:
        await download(args.url, sink.write, allow=settings.image_import_allow)
        facts = await asyncio.to_thread(sink.finish)
    assert sink.also is not None
    digest = sink.also.hexdigest()
    if args.hash_value and digest != args.hash_value:
        raise errors.Invalid(f"The data at {args.url} has another {args.hash_algo} hash than was given.")
    await context.store.write(lambda tx: image_locations.hashed(tx, args, facts, digest))


def _finish(tx: Tx, job: Job, args: Any) -> None:
    image_locations.finish(tx, args)


def _fail(tx: Tx, job: Job, args: Any, error: JobError) -> None:
    image_locations.fail(tx, args, error.message)


LOCATION = Kind(
    name=LOCATION_KIND,
    args=LocationArgs,
    steps=(Step("hash", _hash, timeout=DEADLINE),),
    finish=_finish,
    fail=_fail,
    deadline=DEADLINE,
    slow=True,
    summary="Hash what an image's location serves.",
)
