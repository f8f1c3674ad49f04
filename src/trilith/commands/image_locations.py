"""Locations: URLs under which others serve an image's data. What is there is hashed before anything boots from it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from trilith import errors
from trilith.commands import blobs
from trilith.commands.image_sources import source
from trilith.commands.image_stores import Stores
from trilith.commands.images import check_ready, known, move
from trilith.jobs.submit import submit
from trilith.model.image import BlobFacts, Image, ImageState, Location
from trilith.model.job import Job
from trilith.store.tx import Tx

#: job kind of hashing what a location serves; jobs/image_location.py has its step
LOCATION_KIND = "image.location"
DEADLINE = 6 * 3600.0
_ALGORITHMS = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")


class LocationArgs(msgspec.Struct, frozen=True):
    """hash_value: what the data must have, "" for any. quiet: the user said what the hashes are, or wants none; only
    what the cloud itself needs is kept."""

    image_id: str
    url: str
    store: str
    hash_algo: str = "sha512"
    hash_value: str = ""
    quiet: bool = False
    limit: int = 64 * 1024**3
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What the user says of the data. "" for what they do not say."""

    checksum: str = ""
    hash_algo: str = ""
    hash_value: str = ""

    def check(self) -> None:
        """Raises Invalid for a hash that no data can have."""
        if bool(self.hash_algo) != bool(self.hash_value):
            raise errors.Invalid("os_hash_algo and os_hash_value must be given together.", field="validation_data")
        if self.hash_algo:
            if self.hash_algo not in _ALGORITHMS:
                raise errors.Invalid(f"os_hash_algo must be one of {', '.join(_ALGORITHMS)}.", field="os_hash_algo")
            digits = hashlib.new(self.hash_algo, usedforsecurity=False).digest_size * 2
            if len(self.hash_value) != digits or not _is_hex(self.hash_value):
                raise errors.Invalid(
                    f"os_hash_value must be {digits} hexadecimal digits for {self.hash_algo}.", field="os_hash_value"
                )
        if self.checksum and (len(self.checksum) != 32 or not _is_hex(self.checksum)):
            raise errors.Invalid("checksum must be 32 hexadecimal digits.", field="checksum")

    def given(self) -> dict[str, str]:
        pairs = {"checksum": self.checksum, "hash_algo": self.hash_algo, "hash_value": self.hash_value}
        return {name: value for name, value in pairs.items() if value}


def _is_hex(text: str) -> bool:
    return all(c in "0123456789abcdef" for c in text)


def add(tx: Tx, image_id: str, location: Location, validation: Validation, *, limit: int) -> Job:
    """The job that hashes what is there. With a hash to verify the image is importing until it is found right; without
    one it is active at once. Raises Conflict for an image that is not queued, Invalid."""
    image = tx.get(Image, image_id)
    if image.state is not ImageState.QUEUED:
        raise errors.Conflict(f"It's not allowed to add locations if image status is {image.state}.")
    check_ready(image)
    args = LocationArgs(
        image_id, location.url, location.store, validation.hash_algo or "sha512", validation.hash_value, limit=limit
    )
    job = _submit(tx, image, args)
    event = "import" if validation.hash_value else "locate"
    shown = {} if validation.hash_value else {"hash_algo": args.hash_algo}
    tx.change(image, **move(image, event), locations=(location,), job_id=job.id, message="", **shown)
    return job


def _submit(tx: Tx, image: Image, args: LocationArgs) -> Job:
    return submit(
        tx,
        LOCATION_KIND,
        resource="image",
        resource_id=image.id,
        args=args,
        project_id=image.owner,
        deadline=DEADLINE,
        version=args.version,
    )


def hashed(tx: Tx, args: LocationArgs, facts: BlobFacts, digest: str) -> None:
    """What was found at the URL. digest: by args.hash_algo. Raises Missing when the image was deleted meanwhile."""
    image = tx.get(Image, args.image_id)
    blobs.hold(tx, facts.sha256, "image", args.image_id, args.store)
    if args.quiet:
        tx.change(image, sha256=facts.sha256, size=facts.size, virtual_size=facts.virtual_size)
    else:
        tx.change(image, **known(facts) | {"hash_algo": args.hash_algo, "hash_value": digest})


def finish(tx: Tx, args: LocationArgs) -> None:
    image = tx.find(Image, args.image_id)
    if image is None:
        return
    if image.state is ImageState.IMPORTING:
        tx.change(image, **move(image, "activate"), job_id="")
    elif image.job_id:
        tx.change(image, job_id="")


def fail(tx: Tx, args: LocationArgs, message: str) -> None:
    """An image that waited for its hash is queued again and keeps its location, as a URL's data is not ours to remove;
    one that is active stays so, without a hash and unfit to boot."""
    blobs.release(tx, args.image_id, store=args.store)
    image = tx.find(Image, args.image_id)
    if image is None:
        return
    bare: dict[str, Any] = {} if args.quiet else {"hash_algo": "", "hash_value": "", "checksum": ""}
    state = move(image, "retry") if image.state is ImageState.IMPORTING else {}
    tx.change(image, **state, **bare, sha256="", job_id="", message=message[:1000])


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """One operation of a PATCH on /locations. at: the index, None for the end or the whole list. size: bytes that the
    server of a new URL gives, -1 where it gives none."""

    op: str  # add | replace | remove
    at: int | None = None
    location: Location | None = None
    validation: Validation = Validation()
    wanted: tuple[Location, ...] = ()
    size: int = -1


def patch(tx: Tx, image: Image, changes: list[Patch], stores: Stores, *, limit: int) -> tuple[Image, list[str]]:
    """The image afterwards, and hashes whose files may go. Raises Invalid, Forbidden, Conflict."""
    gone: list[str] = []
    for change in changes:
        if image.state not in (ImageState.QUEUED, ImageState.ACTIVE):
            raise errors.Conflict(f"It's not allowed to change locations if image status is {image.state}.")
        if change.op == "add":
            image = _add(tx, image, change)
        elif change.op == "remove":
            image, released = _remove(tx, image, change.at, stores)
            gone += released
        else:
            image = _replace(tx, image, change)
    fresh = image.locations and not image.sha256 and not image.job_id
    if fresh and image.state is ImageState.ACTIVE:
        first = image.locations[0]
        job = _submit(tx, image, LocationArgs(image.id, first.url, first.store, quiet=True, limit=limit))
        image = tx.change(image, job_id=job.id)
    return image, gone


def _add(tx: Tx, image: Image, change: Patch) -> Image:
    assert change.location is not None
    made, said = change.location, change.validation.given()
    if made.url in [loc.url for loc in image.locations]:
        raise errors.Invalid("The location is there already.", field="locations")
    files = len(image.stores)
    at = len(image.locations) if change.at is None else max(0, change.at - files)
    if at > len(image.locations):
        raise errors.Invalid("Invalid position for adding a location.", field="locations")
    locations = (*image.locations[:at], made, *image.locations[at:])
    if image.state is ImageState.QUEUED:
        check_ready(image)
        change.validation.check()
        return tx.change(image, **move(image, "locate"), **said, locations=locations, size=change.size)
    for name, value in said.items():
        if getattr(image, name) != value:
            raise errors.Conflict(f"{name} does not match what the image has already.", field="validation_data")
    return tx.change(image, locations=locations)


def _remove(tx: Tx, image: Image, at: int | None, stores: Stores) -> tuple[Image, list[str]]:
    names = stores.ordered(image.stores)
    if at is None or not 0 <= at < len(names) + len(image.locations):
        raise errors.Invalid("Invalid position for removing a location.", field="locations")
    if len(names) + len(image.locations) == 1:
        raise errors.Forbidden("Cannot remove last location in the image.")
    if at < len(names):
        store = names[at]
        gone = blobs.release(tx, image.id, store=store)
        return tx.change(image, stores=tuple(s for s in image.stores if s != store)), gone
    index = at - len(names)
    return tx.change(image, locations=(*image.locations[:index], *image.locations[index + 1 :])), []


def _replace(tx: Tx, image: Image, change: Patch) -> Image:
    """The same places with other words about them; an image without data may get its first ones."""
    if image.state is ImageState.QUEUED and not image.locations:
        for location in change.wanted:
            image = _add(tx, image, replace(change, at=None, location=location))
        return image
    if not change.wanted:
        raise errors.Forbidden("Cannot set locations to empty list.")
    ours = {store_url(image, name) for name in image.stores}
    wanted = {loc.url: loc for loc in change.wanted if loc.url not in ours}
    if {loc.url for loc in change.wanted} - ours != {loc.url for loc in image.locations} or ours - {
        loc.url for loc in change.wanted
    }:
        raise errors.Invalid("Locations cannot be replaced by others, only their metadata.", field="locations")
    kept = tuple(replace(loc, metadata=wanted[loc.url].metadata) for loc in image.locations)
    return tx.change(image, locations=kept)


def store_url(image: Image, store: str) -> str:
    """How a place of data among files is named: by its store, not by a path of the machine."""
    return f"trilith://{store}/{image.id}"


def check_location(url: str, stores: Stores) -> str:
    """The store of URLs. Raises Invalid where there is none, or for another scheme or one with a password in it."""
    web = stores.web
    if web is None:
        raise errors.Invalid(
            "This cloud has no store of URLs.", hint="The operator may set one up in image_stores.", field="url"
        )
    found = source(url)
    if found.user or found.password:
        raise errors.Invalid("A location is shown to others: it may hold no password.", field="url")
    return web.name
