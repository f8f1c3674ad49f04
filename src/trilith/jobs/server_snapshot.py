"""server.snapshot, server.backup: the root disk becomes the blob of an image; of backups only the newest are kept."""

from __future__ import annotations

import asyncio
from typing import Any

import sqlalchemy as sa

from trilith.commands import blobs, images
from trilith.jobs import arguments
from trilith.jobs.kind import Context, Kind, Step
from trilith.jobs.server_copy import clear, copy_root, path_of
from trilith.jobs.server_plan import KERNEL, KERNEL_FORMAT
from trilith.jobs.server_steps import fail_softly, finish_action, owned, require_node, server
from trilith.model import server as model
from trilith.model.image import BlobFacts, Image, ImageState
from trilith.model.job import Job
from trilith.model.server import RootImage
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Tx


async def written(context: Context[Any]) -> bool:
    """An image that has its blob already is not written again: a second one would differ by a second of the guest."""
    image = await context.store.read(lambda r: r.find(Image, context.args.image_id))
    return image is not None and image.state is ImageState.ACTIVE


async def write(context: Context[Any]) -> None:
    found = await server(context)

    def keep(tx: Tx, facts: BlobFacts, root: RootImage) -> None:
        image = tx.get(Image, context.args.image_id)
        kernel = {k: root.properties[k] for k in (KERNEL, KERNEL_FORMAT) if k in root.properties}
        if KERNEL in kernel:
            blobs.hold(tx, kernel[KERNEL], "kernel", image.id)
        images.finish_snapshot(tx, image.id, facts, disk_format=root.disk_format, properties=image.properties | kernel)

    path = path_of(context, f"snapshot-{context.args.image_id}")
    await copy_root(context, found, require_node(found), path, keep)


async def unwrite(context: Context[Any]) -> None:
    await asyncio.to_thread(clear, path_of(context, f"snapshot-{context.args.image_id}"))
    await context.store.write(lambda tx: images.fail_snapshot(tx, context.args.image_id))


#: arguments: any with an `image_id`
WRITE = Step("write", write, undo=unwrite, check=written, timeout=1900, on_node=True, event="compute_snapshot_instance")


def _ended(task: str, tx: Tx, job: Job) -> None:
    finish_action(tx, job)
    found = owned(tx, job)
    if found is not None and found.job_id == job.id:
        tx.change(found, **model.end(found, task))


def _finish(tx: Tx, job: Job, _args: arguments.Snapshot) -> None:
    _ended("image_snapshot", tx, job)


SNAPSHOT = Kind(
    name="server.snapshot",
    args=arguments.Snapshot,
    steps=(WRITE,),
    finish=_finish,
    fail=fail_softly,
    deadline=arguments.DEADLINES["server.snapshot"],
    summary="make an image of a server's root disk",
)


def _rotate(tx: Tx, job: Job, args: arguments.Backup) -> None:
    """Nova's rule: of this server's backups of this type the newest `rotation` stay; 0 leaves none.

    Of the project that this one is made in: anybody can write the same properties on images of his own."""
    _ended("image_backup", tx, job)
    table = REGISTRY[Image].table
    made = tx.find(Image, args.image_id)
    if made is None:
        return
    mine = {"instance_uuid": job.resource_id, "image_type": "backup", "backup_type": args.backup_type}
    owned_by = tx.select(
        Image,
        # properties are text: narrowed there, compared below
        sa.type_coerce(table.c.properties, sa.Text).contains(job.resource_id, autoescape=True),
        owner=made.owner,
        state=ImageState.ACTIVE,
        order=[table.c.created_at.desc(), table.c.seq.desc()],
    )
    backups = [i for i in owned_by if all(i.properties.get(k) == v for k, v in mine.items())]
    for old in backups[args.rotation :]:
        if not old.protected:
            images.delete(tx, old.id)


BACKUP = Kind(
    name="server.backup",
    args=arguments.Backup,
    steps=(WRITE,),
    finish=_rotate,
    fail=fail_softly,
    deadline=arguments.DEADLINES["server.backup"],
    summary="make a backup image of a server's root disk, and delete the oldest beyond the rotation",
)
