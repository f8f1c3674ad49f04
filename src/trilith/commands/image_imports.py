"""An image's way through an import: from staged data, a URL, another image service, or its own copy to its stores."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from trilith import errors
from trilith.commands import blobs, image_limits
from trilith.commands.images import check_ready, known, move
from trilith.jobs.submit import submit
from trilith.model.image import LOCAL, BlobFacts, Image, ImageState
from trilith.model.job import Job
from trilith.store.tx import Reader, Tx

#: job kind of imports; jobs/image_import.py has its steps
IMPORT_KIND = "image.import"
METHODS = ("glance-direct", "web-download", "copy-image", "glance-download")
#: seconds that an import may take
IMPORT_DEADLINE = 6 * 3600.0


class Remote(msgspec.Struct, frozen=True):
    """An image of another region's image service. The catalogue's endpoint is found when the job runs."""

    image_id: str
    region: str
    interface: str = "public"


class ImportArgs(msgspec.Struct, frozen=True):
    """enforce: refuse content that is not of the declared format. uri: as it may be shown; what it holds of secrets is
    in `secret`, sealed. must_succeed: one store's failure fails the import. convert: disk format, "" for as it is.
    made_here: the image was made for this import (a task) and goes with its failure.
    """

    image_id: str
    method: str
    uri: str = ""
    limit: int = 64 * 1024**3
    enforce: bool = True
    stores: tuple[str, ...] = (LOCAL,)
    must_succeed: bool = True
    secret: str = ""
    remote: Remote | None = None
    convert: str = ""
    made_here: bool = False
    version: int = 1


class Secret(msgspec.Struct, frozen=True):
    """What only the job may read: the whole URL, or the caller's token for the other image service."""

    uri: str = ""
    token: str = ""


def _context(image_id: str) -> str:
    return f"image.import:{image_id}"


def seal(reader: Reader, image_id: str, secret: Secret) -> str:
    return reader.sealer.seal(msgspec.json.encode(secret), context=_context(image_id))


def unseal(reader: Reader, args: ImportArgs) -> Secret:
    """Raises Backend when the master key is not the one that sealed it."""
    if not args.secret:
        return Secret(uri=args.uri)
    plain = reader.sealer.open(args.secret, context=_context(args.image_id))
    return msgspec.json.decode(plain, type=Secret)


def begin(tx: Tx, image_id: str, args: ImportArgs, secret: Secret | None = None) -> Job:
    """The job that imports. Raises Conflict for an image in another state, or one whose staging goes on; TooLarge over
    the project's limit."""
    image = tx.get(Image, image_id)
    image_limits.check(tx, image.owner, image_size_total=0)
    if args.method == "copy-image":
        return _begin_copy(tx, image, args)
    if args.method != "glance-download":  # which takes the formats along
        check_ready(image)
    wanted = ImageState.UPLOADING if args.method == "glance-direct" else ImageState.QUEUED
    if image.state is not wanted or image.uploader:
        raise errors.Conflict(
            f"Only images with status '{wanted}' can be imported by {args.method}; this one is {image.state}."
        )
    if secret is not None:
        args = msgspec.structs.replace(args, secret=seal(tx, image_id, secret))
    job = _submit(tx, image, args)
    tx.change(
        image,
        **move(image, "import"),
        job_id=job.id,
        message="",
        imported=True,
        importing_to=args.stores,
        failed_import=(),
        locations=(),
    )
    return job


def _begin_copy(tx: Tx, image: Image, args: ImportArgs) -> Job:
    if image.state is not ImageState.ACTIVE:
        raise errors.Conflict(f"Only images with status 'active' can be copied; this one is {image.state}.")
    if image.job_id:
        raise errors.Conflict(f"Image {image.id} is being copied or hashed by job {image.job_id}.")
    missing = tuple(s for s in args.stores if s not in image.stores)
    job = _submit(tx, image, msgspec.structs.replace(args, stores=missing))
    tx.change(image, job_id=job.id, imported=True, importing_to=missing, failed_import=())
    return job


def _submit(tx: Tx, image: Image, args: ImportArgs) -> Job:
    return submit(
        tx,
        IMPORT_KIND,
        resource="image",
        resource_id=image.id,
        args=args,
        project_id=image.owner,
        deadline=IMPORT_DEADLINE,
        version=args.version,
    )


def keep(
    tx: Tx,
    image_id: str,
    facts: BlobFacts,
    store: str,
    *,
    disk_format: str = "",
    container_format: str = "",
    properties: dict[str, str] | None = None,
) -> None:
    """The blob is in place in this store and held there; the image becomes active with the job's end. Raises Missing.

    disk_format, container_format, properties: what came with the data, "" and None for as they are.
    """
    image = tx.get(Image, image_id)
    blobs.hold(tx, facts.sha256, "image", image_id, store)
    tx.change(
        image,
        **(known(facts) if image.sha256 != facts.sha256 else {}),
        stores=(*(s for s in image.stores if s != store), store),
        importing_to=tuple(s for s in image.importing_to if s != store),
        disk_format=disk_format or image.disk_format,
        container_format=container_format or image.container_format,
        properties=image.properties | (properties or {}),
    )


def miss(tx: Tx, image_id: str, store: str) -> None:
    """This store could not take the data, and the import goes on without it. Raises Missing."""
    image = tx.get(Image, image_id)
    tx.change(
        image,
        importing_to=tuple(s for s in image.importing_to if s != store),
        failed_import=(*(s for s in image.failed_import if s != store), store),
    )


def finish(tx: Tx, image_id: str) -> None:
    image = tx.find(Image, image_id)
    if image is None:
        return
    if image.state is ImageState.IMPORTING:
        tx.change(image, **move(image, "activate"), job_id="", importing_to=())
    elif image.job_id:
        tx.change(image, job_id="", importing_to=())


def drop(tx: Tx, args: ImportArgs) -> list[str]:
    """Give up what the import brought into its stores. Hashes whose files may go."""
    gone: list[str] = []
    for store in args.stores:
        gone += blobs.release(tx, args.image_id, store=store)
    image = tx.find(Image, args.image_id)
    if image is not None and set(image.stores) & set(args.stores):
        tx.change(image, stores=tuple(s for s in image.stores if s not in args.stores))
    return gone


def fail(tx: Tx, args: ImportArgs, message: str) -> None:
    """Back to queued, without a blob; a copy leaves the image active where its data was before."""
    drop(tx, args)
    image = tx.find(Image, args.image_id)
    if image is None:
        return
    if args.method == "copy-image":
        if image.job_id:
            tx.change(image, job_id="", importing_to=(), failed_import=args.stores, message=message[:1000])
        return
    if image.state is not ImageState.IMPORTING:
        return
    bare = BlobFacts(sha256="", checksum="", hash_value="", size=-1)
    queued = tx.change(
        image,
        **move(image, "retry"),
        **known(replace(bare, virtual_size=-1)),
        job_id="",
        message=message[:1000],
        stores=(),
        importing_to=(),
        failed_import=args.stores,
    )
    if args.made_here:
        tx.change(queued, **move(queued, "delete"), deleted_at=tx.now)
