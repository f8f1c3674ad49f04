"""A copy of a server's root as a blob of the cloud: what images of servers and moves between nodes are made of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trilith.agent.calls import Snapshot as Written
from trilith.agent.calls import SnapshotArgs
from trilith.commands import blobs
from trilith.commands.server_root import COPIED
from trilith.jobs.kind import Context
from trilith.jobs.server_plan import KERNEL, KERNEL_FORMAT
from trilith.jobs.server_steps import call
from trilith.model.image import BlobFacts
from trilith.model.server import RootImage, Server
from trilith.placement.choose import CONTAINER_FORMATS
from trilith.store.tx import Tx

Keep = Callable[[Tx, BlobFacts, RootImage], None]


def path_of(context: Context[Any], name: str) -> Path:
    return context.services.blobs / "incoming" / name


async def copy_root(context: Context[Any], found: Server, node: str, path: Path, keep: Keep) -> None:
    """`node` writes the root to the new file `path` (one that a crash left is begun anew), and it becomes a blob.

    keep: holds the blob, in one transaction, while its file is pinned.
    """
    await asyncio.to_thread(clear, path)
    written = await call(context, node, "guest.snapshot", SnapshotArgs(found.id, str(path)), Written, timeout=1800)
    properties = found.image_properties | {COPIED: "yes"}
    if written.disk_format != "root-tar" and KERNEL not in properties and found.image_format in CONTAINER_FORMATS:
        # a guest that boots by a kernel beside its disk takes that kernel along
        properties |= {KERNEL: found.image_sha256, KERNEL_FORMAT: found.image_format}
    async with blobs.ingesting(path, context.services.blobs) as facts:
        root = RootImage(sha256=facts.sha256, disk_format=written.disk_format, properties=properties)
        await context.store.write(lambda tx: keep(tx, facts, root))


def clear(path: Path) -> None:
    """Nothing of a copy is left, nor what a node had begun beside it (NAME.part, NAME.partial) when it died."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for begun in (path, *path.parent.glob(f"{path.name}.*")):
        begun.unlink(missing_ok=True)
