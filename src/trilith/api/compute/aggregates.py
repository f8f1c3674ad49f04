"""/os-aggregates."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.compute.microversions import has
from trilith.api.compute.wire import MetadataKey, MetadataValue, Name, Uuid, micro, micro_or_none, one_key
from trilith.api.http.call import Call
from trilith.api.http.host import decode
from trilith.api.http.route import Answer
from trilith.commands import aggregates as commands
from trilith.commands import image_prepare
from trilith.model.node import Aggregate


class NewAggregate(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    availability_zone: Name | None = None


class Create(msgspec.Struct, forbid_unknown_fields=True):
    aggregate: NewAggregate


class Changed(msgspec.Struct, forbid_unknown_fields=True):
    name: Name | UnsetType = UNSET
    availability_zone: Name | UnsetType | None = UNSET


class Update(msgspec.Struct, forbid_unknown_fields=True):
    aggregate: Changed


class HostBody(msgspec.Struct, forbid_unknown_fields=True):
    host: Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9-._]*$")]


class MetadataBody(msgspec.Struct, forbid_unknown_fields=True):
    metadata: dict[MetadataKey, MetadataValue | None]


class CacheItem(msgspec.Struct, forbid_unknown_fields=True):
    id: Uuid


class CacheImages(msgspec.Struct, forbid_unknown_fields=True):
    cache: Annotated[list[CacheItem], msgspec.Meta(min_length=1)]


class AggregateView(msgspec.Struct, kw_only=True):
    id: int
    name: str
    availability_zone: str | None
    created_at: str
    updated_at: str | None
    deleted: bool = False
    deleted_at: str | None = None
    uuid: str | UnsetType = UNSET
    hosts: list[str] | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET


class AggregateOne(msgspec.Struct):
    aggregate: AggregateView


class AggregateList(msgspec.Struct):
    aggregates: list[AggregateView]


def _view(call: Call, found: Aggregate, *, new: bool = False) -> AggregateView:
    made = AggregateView(
        id=found.seq,
        name=found.name,
        availability_zone=found.zone or None,
        created_at=micro(found.created_at),
        updated_at=None if new else micro_or_none(found.updated_at),
    )
    if has(call.version, "aggregate_uuid"):
        made.uuid = found.id
    if not new:
        made.hosts, made.metadata = list(found.hosts), found.metadata
    return made


def _number(call: Call) -> int:
    """Raises Invalid for what is no integer, Missing for one that no row can have."""
    text = call.params["id"]
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdecimal():
        raise errors.Invalid(f"id must be an integer: {text}", field="id")
    if text != digits or len(digits) > 10:
        raise errors.Missing(f"Aggregate {text} could not be found.")
    return int(text)


async def index(call: Call) -> AggregateList:
    """200."""
    found = await call.read(lambda r: r.select(Aggregate))
    return AggregateList([_view(call, a) for a in found])


async def show(call: Call) -> AggregateOne:
    """200; 400; 404."""
    number = _number(call)
    return AggregateOne(_view(call, await call.read(lambda r: commands.get(r, number))))


async def create(call: Call) -> AggregateOne:
    """200; 400; 409."""
    asked: NewAggregate = call.body.aggregate
    _check_zone(asked.availability_zone or "")
    made = await call.write(
        lambda tx: commands.create(tx, name=asked.name.strip(), zone=(asked.availability_zone or "").strip()),
        "aggregate.create",
    )
    return AggregateOne(_view(call, made, new=True))


async def update(call: Call) -> AggregateOne:
    """200; 400; 404; 409."""
    asked: Changed = call.body.aggregate
    number = _number(call)
    if asked.name is UNSET and asked.availability_zone is UNSET:
        raise errors.Invalid("Invalid input for field/attribute aggregate. Give a name or an availability zone.")
    name = asked.name.strip() if asked.name is not UNSET else None
    zone = (asked.availability_zone or "") if asked.availability_zone is not UNSET else None
    _check_zone(zone or "")
    found = await call.write(lambda tx: commands.update(tx, number, name=name, zone=zone), "aggregate.update")
    return AggregateOne(_view(call, found))


async def delete(call: Call) -> Answer:
    """200 without a body; 400; 404."""
    number = _number(call)
    await call.write(lambda tx: commands.delete(tx, number), "aggregate.delete")
    return Answer()


async def action(call: Call) -> AggregateOne:
    """200; 400; 404; 409."""
    name, value = one_key(call.body, "action")
    number = _number(call)
    raw = msgspec.json.encode(value)
    if name in ("add_host", "remove_host"):
        call.allow(f"os_compute_api:os-aggregates:{name}")
        host = decode(raw, HostBody).host
        change: Any = commands.add_host if name == "add_host" else commands.remove_host
        return AggregateOne(_view(call, await call.write(lambda tx: change(tx, number, host), f"aggregate.{name}")))
    if name == "set_metadata":
        call.allow("os_compute_api:os-aggregates:set_metadata")
        metadata = decode(raw, MetadataBody).metadata
        _check_zone(metadata.get("availability_zone") or "")
        found = await call.write(lambda tx: commands.set_metadata(tx, number, metadata), "aggregate.set_metadata")
        return AggregateOne(_view(call, found))
    raise errors.Invalid(f"There is no such action: {name}")


async def images(call: Call) -> Answer:
    """202: the aggregate's nodes fetch the images, a job each; 400 for an image that is not active or an aggregate
    without hosts; 404."""
    ids = [item.id for item in call.body.cache]
    if len(ids) != len(set(ids)):
        raise errors.Invalid("Duplicate images in request")
    number = _number(call)
    await call.write(lambda tx: image_prepare.prepare(tx, number, ids), "aggregate.cache_images")
    return Answer(status=202)


def _check_zone(zone: str) -> None:
    if ":" in zone:
        raise errors.Invalid(
            f"Invalid input for field/attribute availability_zone. Value: {zone}.", field="availability_zone"
        )
