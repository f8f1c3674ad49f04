"""/v2/images/{id}/locations, and the operations of a PATCH on /locations."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.image.patch import LOCATIONS, Change
from trilith.api.image.visibility import visible
from trilith.api.image.wire import location_views
from trilith.commands import image_data, image_locations, image_sources
from trilith.commands.image_locations import Patch, Validation
from trilith.model.image import Image, Location

_Url = Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
_Hash = Annotated[str, msgspec.Meta(max_length=128)]
_MOST = 64


class ValidationData(msgspec.Struct, forbid_unknown_fields=True):
    os_hash_algo: _Hash = ""
    os_hash_value: _Hash = ""
    checksum: _Hash = ""

    def model(self) -> Validation:
        return Validation(checksum=self.checksum, hash_algo=self.os_hash_algo, hash_value=self.os_hash_value)


class NewLocation(msgspec.Struct, forbid_unknown_fields=True):
    url: _Url
    validation_data: ValidationData = msgspec.field(default_factory=ValidationData)


class PatchedLocation(msgspec.Struct, forbid_unknown_fields=True):
    url: _Url
    metadata: dict[str, Any]
    validation_data: ValidationData = msgspec.field(default_factory=ValidationData)


class LocationView(msgspec.Struct):
    url: str
    metadata: dict[str, Any]


async def add(call: Call) -> None:
    """202: the cloud hashes what the URL serves; with a hash to verify, the image is active after that. 400 for a URL
    that may not be fetched or a hash that no data has, 409 for an image that is not queued."""
    body: NewLocation = call.body
    image = await visible(call, "add_image_location")
    settings = call.host.settings
    store = image_locations.check_location(body.url, call.host.services.stores)
    image_sources.check_uri(body.url, settings.image_import_allow)
    validation = body.validation_data.model()
    validation.check()
    made = Location(url=body.url, store=store)
    limit = settings.max_image
    await call.write(lambda tx: image_locations.add(tx, image.id, made, validation, limit=limit), "image.add_location")


async def show(call: Call) -> list[LocationView]:
    """200, for services: where the data lies. 404."""
    image = await visible(call, "fetch_image_location")
    stores = call.host.services.stores
    found = [LocationView(image_locations.store_url(image, s), {"store": s}) for s in stores.ordered(image.stores)]
    return [*found, *(LocationView(**view) for view in location_views(image))]


async def prepare(call: Call, image: Image, changes: list[Change]) -> list[Patch]:
    """What a PATCH asks of /locations, each new URL looked at. Raises Invalid, Forbidden."""
    mine = [c for c in changes if c.name == LOCATIONS]
    if len(mine) > _MOST:
        raise errors.TooLarge(f"An image has at most {_MOST} locations.")
    for change in mine:
        rule = "delete_image_location" if change.op == "remove" else "set_image_location"
        call.allow(rule, project_id=image.owner, owner=image.owner)
    return [await _prepared(call, c) for c in mine]


async def _prepared(call: Call, change: Change) -> Patch:
    if change.op == "replace" or (change.op == "add" and not change.at):
        if change.at:
            raise errors.Invalid("One location cannot be replaced: remove it and add another.", field="path")
        wanted = [await _location(call, item, new=False) for item in _list(change.value)]
        size = wanted[0][2] if wanted else -1
        validation = wanted[0][1] if wanted else Validation()
        return Patch(op="replace", wanted=tuple(w[0] for w in wanted), validation=validation, size=size)
    at = _index(change.at)
    if change.op == "remove":
        if not change.at:
            raise errors.Forbidden("Property 'locations' may not be removed.", field=LOCATIONS)
        return Patch(op="remove", at=at)
    location, validation, size = await _location(call, change.value, new=True)
    return Patch(op="add", at=at, location=location, validation=validation, size=size)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > _MOST:
        raise errors.Invalid(f"Locations are a list of at most {_MOST}.", field=LOCATIONS)
    return value


def _index(text: str) -> int | None:
    if text == "-":
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 4:
        raise errors.Invalid(f"Invalid position {text!r} of a location.", field="path")
    return int(text)


async def _location(call: Call, value: Any, *, new: bool) -> tuple[Location, Validation, int]:
    try:
        given = msgspec.convert(value, PatchedLocation)
    except msgspec.ValidationError as err:
        raise errors.Invalid(f"Invalid location: {err}.", field=LOCATIONS) from err
    metadata = {k: v for k, v in given.metadata.items() if k != "store"}
    if not new and given.url.startswith("trilith://"):
        return Location(url=given.url, store=""), Validation(), -1
    stores, settings = call.host.services.stores, call.host.settings
    store = image_locations.check_location(given.url, stores)
    image_sources.check_uri(given.url, settings.image_import_allow)
    try:
        size = await image_data.size_at(given.url, settings)
    except errors.Backend as err:
        raise errors.Invalid(f"Invalid location: {err.message}", field=LOCATIONS) from err
    return Location(url=given.url, store=store, metadata=metadata), given.validation_data.model(), size
