"""An image's data as a file on this machine, wherever it lies: fetched into the cache where it is only at a URL."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import uuid
from contextlib import suppress
from functools import partial
from pathlib import Path

from trilith import errors
from trilith.commands import blobs, image_copies
from trilith.commands.image_stores import Stores
from trilith.config import Settings
from trilith.jobs.download import download, probe
from trilith.model.image import BlobFacts, Image, Location
from trilith.store.contract import Store

#: one fetch of an image at a time, others wait for it
_fetching: dict[str, asyncio.Lock] = {}


def node_name(settings: Settings) -> str:
    """Of the machine that this process runs on."""
    return settings.node_name or socket.gethostname()


async def present(store: Store, stores: Stores, settings: Settings, image: Image) -> Path:
    """Raises Missing for data that is nowhere, Backend for a URL that cannot be fetched or holds other data now."""
    path = await asyncio.to_thread(stores.find, image.sha256)
    if path is not None:
        return path
    if not image.locations:
        raise errors.Missing(
            f"The data of image {image.id} is in none of the stores.", hint="It was removed from a store's directory."
        )
    lock = _fetching.setdefault(image.id, asyncio.Lock())
    try:
        async with lock:
            path = await asyncio.to_thread(stores.find, image.sha256)
            return path or await _fetch(store, stores, settings, image)
    finally:
        if not lock.locked():
            _fetching.pop(image.id, None)


async def _fetch(store: Store, stores: Stores, settings: Settings, image: Image) -> Path:
    failed: errors.TrilithError | None = None
    for location in image.locations:
        try:
            facts, path = await _fetch_one(stores, settings, image, location)
        except (errors.Backend, errors.Invalid) as err:
            failed = err
            continue
        node = node_name(settings)
        await store.write(
            partial(image_copies.keep, image_id=image.id, node=node, sha256=facts.sha256, size=facts.size)
        )
        return path
    raise failed or errors.Missing(f"Image {image.id} has no location.")


async def _fetch_one(stores: Stores, settings: Settings, image: Image, location: Location) -> tuple[BlobFacts, Path]:
    async with blobs.sink(stores.cache, limit=settings.max_image) as sink:
        await download(location.url, sink.write, allow=settings.image_import_allow)
        facts = await asyncio.to_thread(sink.finish)
        if image.sha256 and facts.sha256 != image.sha256:
            raise errors.Backend(f"The data at {location.url} is not what it was when the image was made.")
        target = stores.cache / facts.sha256
        await asyncio.to_thread(sink.keep, target)
    return facts, target


async def size_at(url: str, settings: Settings) -> int:
    """Bytes, -1 where the server does not say. Raises Invalid, Backend."""
    return await probe(url, allow=settings.image_import_allow)


async def copy_near(source: Path, target: Path) -> None:
    """A hard link where both lie on one file system, else a copy; there already is success.

    Raises Backend, TooLarge.
    """
    await asyncio.to_thread(_copy, source, target)


def _copy(source: Path, target: Path) -> None:
    if source == target:
        return
    temporary = target.parent / "tmp" / uuid.uuid4().hex
    with blobs.full_disk():
        temporary.parent.mkdir(parents=True, exist_ok=True)
        try:
            try:
                os.link(source, temporary)
            except OSError:  # another file system, or one without links
                shutil.copyfile(source, temporary)
                temporary.chmod(0o600)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


async def forget(stores: Stores, hashes: list[str]) -> None:
    """Remove these copies."""

    def remove() -> None:
        for sha256 in hashes:
            with suppress(FileNotFoundError):
                (stores.cache / sha256).unlink()

    await asyncio.to_thread(remove)
