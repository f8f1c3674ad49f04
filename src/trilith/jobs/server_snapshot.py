"""server.snapshot: the root disk becomes the blob of an image."""

from __future__ import annotations

import asyncio
from pathlib import Path

from trilith.agent.calls import Snapshot as Written
from trilith.agent.calls import SnapshotArgs
from trilith.commands import blobs, images
from trilith.jobs import arguments
from trilith.jobs.kind import Context, Kind, Step
from trilith.jobs.server_plan import KERNEL, KERNEL_FORMAT
from trilith.jobs.server_steps import call, fail_softly, finish_action, owned, require_node, server
from trilith.model import server as model
from trilith.model.image import Image, ImageState
from trilith.model.job import Job, JobError
from trilith.store.tx import Tx


def _path(context: Context[arguments.Snapshot]) -> Path:
    return context.services.blobs / "incoming" / f"snapshot-{context.args.image_id}"


async def _written(context: Context[arguments.Snapshot]) -> bool:
    """An image that has its blob already is not written again: a second one would differ by a second of the guest."""
    image = await context.store.read(lambda r: r.find(Image, context.args.image_id))
    return image is not None and image.state is ImageState.ACTIVE


async def _write(context: Context[arguments.Snapshot]) -> None:
    """The node writes a new file; one that a crash left is begun anew."""
    found = await server(context)
    path = _path(context)
    await asyncio.to_thread(_clear, path)
    args = SnapshotArgs(found.id, str(path))
    written = await call(context, require_node(found), "guest.snapshot", args, Written, timeout=1800)
    facts = await blobs.ingest(path, context.services.blobs)
    kernel = ""
    if written.disk_format != "root-tar" and not found.image_properties.get("trilith_kernel"):
        # a guest that boots by a kernel beside its disk takes that kernel along
        kernel = found.image_sha256 if found.image_format in ("root-tar", "squashfs") else ""

    def body(tx: Tx) -> None:
        image = tx.get(Image, context.args.image_id)
        properties = image.properties
        if kernel:
            blobs.hold(tx, kernel, "kernel", image.id)
            properties = properties | {KERNEL: kernel, KERNEL_FORMAT: found.image_format}
        images.finish_snapshot(tx, image.id, facts, disk_format=written.disk_format, properties=properties)

    await context.store.write(body)


async def _unwrite(context: Context[arguments.Snapshot]) -> None:
    await asyncio.to_thread(_clear, _path(context))
    message = context.job.error.message if context.job.error else ""
    await context.store.write(lambda tx: images.fail_snapshot(tx, context.args.image_id, message))


def _clear(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)


def _finish(tx: Tx, job: Job, _args: arguments.Snapshot) -> None:
    finish_action(tx, job)
    found = owned(tx, job)
    if found is not None and found.job_id == job.id:
        tx.change(found, **model.end(found, "image_snapshot"))


def _fail(tx: Tx, job: Job, args: arguments.Snapshot, error: JobError) -> None:
    fail_softly(tx, job, args, error)


SNAPSHOT = Kind(
    name="server.snapshot",
    args=arguments.Snapshot,
    steps=(
        Step(
            "write",
            _write,
            undo=_unwrite,
            check=_written,
            timeout=1900,
            on_node=True,
            event="compute_snapshot_instance",
        ),
    ),
    finish=_finish,
    fail=_fail,
    deadline=3600,
    summary="make an image of a server's root disk",
)
