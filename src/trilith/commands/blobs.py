"""Blobs: files named by their SHA-256, and who needs them.

The file is there before its first reference is committed, and goes after its last one did. In between a process may
die: `sweep` at its next start removes what nobody refers to. While this process has put a file in place whose
reference is still to be committed, the file is pinned.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
import threading
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import sqlalchemy as sa
import structlog

from trilith import errors
from trilith.commands.image_inspection import Inspection
from trilith.commands.image_stores import ImageStore, Stores
from trilith.model.image import IMAGE_TABLE, LOCAL, BlobFacts, BlobReference, CachedImage, Image, ImageState
from trilith.store.contract import Store
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx, new_id

log = structlog.get_logger("blobs")

#: bytes that go to the thread at once
CHUNK = 1024 * 1024
_NOUN = "blob"
#: seconds until a removal that failed is tried again
_AGAIN = 1.0

#: blobs of this process between file and reference; and the guard between a removal's look and its unlink
_pins: Counter[str] = Counter()
_guards: dict[str, asyncio.Lock] = {}


def hold(tx: Tx, sha256: str, kind: str, holder_id: str, store: str = "") -> None:
    """Let `holder_id` need the blob; again is success.

    kind: image, migration, server or kernel. Only an image or a migration may be a blob's first holder: for the others
    raises Missing when no one holds the blob, since its file may be gone.
    store: where an image needs it; "" for the others, whom any store's file serves.
    """
    store = store or (LOCAL if kind == "image" else "")
    if tx.first(BlobReference, sha256=sha256, holder_kind=kind, holder_id=holder_id, store=store) is not None:
        return
    if kind not in ("image", "migration") and tx.first(BlobReference, sha256=sha256) is None:
        raise errors.Missing(f"The image data {sha256[:12]} no longer exists.")
    tx.add(BlobReference(id=new_id(), sha256=sha256, holder_kind=kind, holder_id=holder_id, store=store))


def release(tx: Tx, holder_id: str, *, sha256: str = "", store: str = "") -> list[str]:
    """Give up what the holder needs: one blob, or all; in one store, or in all. The hashes; their files go when nobody
    needs them."""
    which = ({"sha256": sha256} if sha256 else {}) | ({"store": store} if store else {})
    gone = tx.remove_where(BlobReference, holder_id=holder_id, **which)
    for reference in gone:
        tx.touch(_NOUN, reference.sha256)
    return [reference.sha256 for reference in gone]


@contextmanager
def pinned(sha256: str) -> Iterator[None]:
    """The blob's file stays while its reference is on the way to the store."""
    _pins[sha256] += 1
    try:
        yield
    finally:
        _pins[sha256] -= 1
        if not _pins[sha256]:
            del _pins[sha256]


def path_of(directory: Path, sha256: str) -> Path:
    return directory / sha256


def staged_path(directory: Path, image_id: str) -> Path:
    """Where `PUT …/stage` keeps an image's data until its import."""
    return directory / "staging" / image_id


def converted_path(directory: Path, image_id: str) -> Path:
    """Where an import keeps what it made of the staged data; its folder is of this import alone."""
    return directory / "converted" / image_id / "disk"


class Sink:
    """A blob that is being written: a temporary file, hashed and inspected as its bytes pass by.

    The methods are blocking; use them through a thread. discard() after keep() does nothing.
    """

    def __init__(self, directory: Path, inspection: Inspection | None, *, limit: int, also: str = "") -> None:
        """also: a further hash by its name in hashlib, by which the bytes pass too."""
        self.also = hashlib.new(also, usedforsecurity=False) if also else None
        self.directory = directory
        self.temporary = directory / "tmp" / uuid.uuid4().hex
        self.size = 0
        self._limit = limit
        self._inspection = inspection
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha512 = hashlib.sha512()
        self._sha256 = hashlib.sha256()
        self._file: BinaryIO | None = None
        self._busy = threading.Lock()  # a cancelled upload discards while its last write may still run
        self._discarded = False

    def write(self, data: bytes) -> None:
        """Raises TooLarge over the limit or when the disk is full, Invalid when the content is refused."""
        with self._busy:
            if not self._discarded:
                self._write(data)

    def _write(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self._limit:
            raise errors.TooLarge(f"The image is larger than {self._limit} bytes.", hint="See the setting max_image.")
        with full_disk():
            if self._file is None:
                self.temporary.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.temporary.open("xb")
            self._file.write(data)
        for digest in (self._md5, self._sha512, self._sha256):
            digest.update(data)
        if self.also is not None:
            self.also.update(data)
        if self._inspection is not None:
            self._inspection.feed(data)

    def finish(self) -> BlobFacts:
        """Everything on the disk and looked at, still under its temporary name. Raises as `write`."""
        self.write(b"")
        virtual = self._inspection.finish() if self._inspection is not None else -1
        assert self._file is not None
        with full_disk():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return BlobFacts(
            sha256=self._sha256.hexdigest(),
            checksum=self._md5.hexdigest(),
            hash_value=self._sha512.hexdigest(),
            size=self.size,
            virtual_size=virtual,
        )

    def keep(self, target: Path) -> None:
        """Under its last name, durably. An equal file there already is replaced by this one: both are whole."""
        with full_disk():
            target.parent.mkdir(parents=True, exist_ok=True)
            self.temporary.chmod(0o600)
            os.replace(self.temporary, target)
            _sync_directory(target.parent)

    def discard(self) -> None:
        with self._busy:
            self._discarded = True
            if self._file is not None:
                self._file.close()
            with suppress(FileNotFoundError, NotADirectoryError):
                self.temporary.unlink()


@asynccontextmanager
async def sink(
    directory: Path, inspection: Inspection | None = None, *, limit: int, also: str = ""
) -> AsyncIterator[Sink]:
    """A Sink that leaves nothing behind unless it was kept."""
    made = Sink(directory, inspection, limit=limit, also=also)
    try:
        yield made
    finally:
        await asyncio.shield(asyncio.to_thread(made.discard))


async def fill(into: Sink, chunks: AsyncIterator[bytes]) -> BlobFacts:
    """All chunks into the sink, in pieces of CHUNK bytes through a thread."""
    waiting: list[bytes] = []
    size = 0
    async for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= CHUNK:
            await asyncio.to_thread(into.write, b"".join(waiting))
            waiting, size = [], 0
    if waiting:
        await asyncio.to_thread(into.write, b"".join(waiting))
    return await asyncio.to_thread(into.finish)


async def ingest(path: Path, into: Path, *, limit: int = 1 << 62) -> BlobFacts:
    """Take a file that was made on this machine (a snapshot, a built image) as a blob; the file is moved away.

    Call it inside `async with ingesting(...)`, or commit the reference soon: without one, the next sweep takes it.
    Raises Missing when the file is not there (a step that repeats after a crash makes it again), TooLarge when it
    cannot be stored.
    """
    facts = await asyncio.to_thread(_read, path, limit)
    await asyncio.to_thread(_move, path, path_of(into, facts.sha256))
    return facts


@asynccontextmanager
async def ingesting(path: Path, into: Path, *, limit: int = 1 << 62) -> AsyncIterator[BlobFacts]:
    """`ingest`, with the blob pinned until the block ends: commit the reference inside."""
    facts = await asyncio.to_thread(_read, path, limit)
    with pinned(facts.sha256):
        await asyncio.to_thread(_move, path, path_of(into, facts.sha256))
        yield facts


def _read(path: Path, limit: int) -> BlobFacts:
    md5, sha512, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha512(), hashlib.sha256()
    size = 0
    inspection = Inspection("", enforce=False)
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                size += len(chunk)
                if size > limit:
                    raise errors.TooLarge(f"{path} is larger than {limit} bytes.")
                for digest in (md5, sha512, sha256):
                    digest.update(chunk)
                inspection.feed(chunk)
            os.fsync(file.fileno())
    except FileNotFoundError as err:
        raise errors.Missing(f"{path} is not there.") from err
    return BlobFacts(
        sha256=sha256.hexdigest(),
        checksum=md5.hexdigest(),
        hash_value=sha512.hexdigest(),
        size=size,
        virtual_size=inspection.finish(),
    )


def _move(source: Path, target: Path) -> None:
    with full_disk():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(source, target)
        except OSError as err:
            if err.errno != errno.EXDEV:
                raise
            temporary = target.parent / "tmp" / uuid.uuid4().hex
            temporary.parent.mkdir(exist_ok=True)
            try:
                with source.open("rb") as read, temporary.open("xb") as write:
                    while chunk := read.read(CHUNK):
                        write.write(chunk)
                    write.flush()
                    os.fsync(write.fileno())
                os.replace(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)
            source.unlink()
        target.chmod(0o600)
        _sync_directory(target.parent)


async def read_file(path: Path, *, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
    """The file's bytes, read in a thread. length: bytes, None to the end."""
    file = await asyncio.to_thread(path.open, "rb")
    try:
        left = length if length is not None else 1 << 62
        await asyncio.to_thread(file.seek, start)
        while left > 0 and (chunk := await asyncio.to_thread(file.read, min(CHUNK, left))):
            left -= len(chunk)
            yield chunk
    finally:
        file.close()


async def collect(store: Store, stores: Stores, hashes: list[str]) -> list[str]:
    """Remove the files of those blobs where nobody needs them any more. What was removed somewhere."""
    removed = []
    for sha256 in dict.fromkeys(hashes):
        async with _guards.setdefault(sha256, asyncio.Lock()):
            found = await store.read(lambda r, key=sha256: r.select(BlobReference, sha256=key))  # type: ignore[misc]
            # nothing may be awaited between the last look at the pins and the file's leaving its name; the removal
            # itself can take long for a large file and goes to a thread
            if not _pins[sha256] and _collect_one(stores, sha256, {reference.store for reference in found}):
                removed.append(sha256)
        _guards.pop(sha256, None)
    if removed:
        for each in stores.writable:
            await asyncio.to_thread(_remove_aside, each.files)
    return removed


def _collect_one(stores: Stores, sha256: str, needed: set[str]) -> bool:
    """needed: names of stores, "" for any: then the last copy stays."""
    idle = [s for s in stores.writable if s.name not in needed and path_of(s.files, sha256).is_file()]
    if "" in needed and not any(path_of(s.files, sha256).is_file() for s in stores.writable if s.name in needed):
        idle = idle[1:]
    gone = [_set_aside(s.files, sha256) for s in idle]
    if not needed:
        (stores.cache / sha256).unlink(missing_ok=True)
    return any(gone)


def _set_aside(directory: Path, sha256: str) -> bool:
    aside = directory / "gone"
    aside.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(path_of(directory, sha256), aside / f"{sha256}.{uuid.uuid4().hex}")
    except FileNotFoundError:
        return False
    return True


def _remove_aside(directory: Path) -> None:
    for path in (directory / "gone").glob("*"):
        path.unlink(missing_ok=True)


async def unstage(directory: Path, image_id: str) -> None:
    """Remove what was staged for the image, and what was made of it; absent is success."""

    def remove() -> None:
        staged_path(directory, image_id).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            shutil.rmtree(converted_path(directory, image_id).parent)

    await asyncio.to_thread(remove)


async def sweep(store: Store, stores: Stores, node: str) -> None:
    """At the start, before uploads are taken: end what a process of this node left half-way, and remove its files.

    Uploads go back to queued; temporary files, staged data without an image that waits for it, and blobs without a
    reference are removed.
    """
    await store.write(lambda tx: _requeue(tx, node), action="image.sweep")
    waiting = await store.read(
        lambda r: {i.id for i in r.select(Image, state=[ImageState.UPLOADING, ImageState.IMPORTING])}
    )
    columns = REGISTRY[BlobReference].table.c
    pairs = sa.select(columns.sha256, columns.store).distinct()
    needed = await store.read(lambda r: {(row[0], row[1]) for row in r.conn.execute(pairs)})
    names: list[str] = []
    for each in stores.writable:
        there = await asyncio.to_thread(_leftovers, each, waiting)
        names += [name for name in there if (name, each.name) not in needed]
    cached = await store.read(lambda r: {c.sha256 for c in r.select(CachedImage)})
    await asyncio.to_thread(_sweep_cache, stores.cache, cached)
    gone = await collect(store, stores, names)
    if gone:
        log.info("removed image data without an image", count=len(gone))


def _requeue(tx: Tx, node: str) -> None:
    for image in tx.select(Image, uploader=node, state=[ImageState.SAVING, ImageState.UPLOADING]):
        state = IMAGE_TABLE.next(image.state, "retry")
        tx.change(image, state=state, uploader="", message="The upload was interrupted.")


def _leftovers(store: ImageStore, waiting: set[str]) -> list[str]:
    directory = store.files
    _remove_aside(directory)
    for path in (directory / "tmp").glob("*"):
        path.unlink(missing_ok=True)
    for path in (directory / "staging").glob("*"):
        if path.name not in waiting:
            path.unlink(missing_ok=True)
    for path in (directory / "converted").glob("*"):
        if path.name not in waiting:
            shutil.rmtree(path)
    if not directory.is_dir():
        return []
    return [p.name for p in directory.iterdir() if len(p.name) == 64 and p.is_file()]


def _sweep_cache(directory: Path, cached: set[str]) -> None:
    for path in (*directory.glob("tmp/*"), *directory.glob("?" * 64)):
        if path.name not in cached:
            path.unlink(missing_ok=True)


async def keep_swept(store: Store, stores: Stores) -> None:
    """Until cancelled: remove blobs as their last reference goes, whoever released it."""
    cursor = ""
    idle: dict[str, None] = {}
    while True:
        try:
            cursor = cursor or await store.head()
            await store.wait(cursor, timeout=_AGAIN if idle else 600)
            rows = await store.feed(cursor)
            idle |= dict.fromkeys(row.id for row in rows if row.noun == _NOUN)
            cursor = rows[-1].cursor if rows else cursor
            await collect(store, stores, list(idle))
            idle.clear()
        except errors.Missing:  # slower than the feed's retention: what was missed goes at the next start
            cursor = ""
        except (errors.DatabaseAway, OSError) as err:  # a disk that is full or only read, too
            log.warning("image data is removed later", count=len(idle), error=str(err))
            await asyncio.sleep(_AGAIN)


def holders(reader: Reader, sha256: str) -> list[BlobReference]:
    return reader.select(BlobReference, sha256=sha256)


@contextmanager
def full_disk() -> Iterator[None]:
    try:
        yield
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise errors.TooLarge(
                f"There is no space left for image data: {err.strerror}.", hint="Free space in the state directory."
            ) from err
        raise errors.Backend(f"Image data cannot be written: {err}.") from err


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
