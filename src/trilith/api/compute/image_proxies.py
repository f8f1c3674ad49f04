"""/images until 2.35 and /images/{id}/metadata until 2.38: what Nova passed on to the image service."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import sqlalchemy as sa

from trilith import errors
from trilith.api.compute import paging
from trilith.api.compute.wire import Link, Metadata, iso, links, parse_time
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.commands import blobs, images, server_details
from trilith.commands.network_search import contains
from trilith.model.image import Image, ImageMember, ImageState
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

_STATUS = {
    ImageState.ACTIVE: ("ACTIVE", 100),
    ImageState.QUEUED: ("SAVING", 25),
    ImageState.SAVING: ("SAVING", 50),
    ImageState.UPLOADING: ("SAVING", 50),
    ImageState.IMPORTING: ("SAVING", 50),
    ImageState.DEACTIVATED: ("UNKNOWN", 0),
    ImageState.DELETED: ("DELETED", 0),
}
_QUERY = ("limit", "marker", "name", "status", "server", "type", "changes-since", "minRam", "minDisk")
#: filters by a property of any name
_PROPERTY = "property-"


class MetadataBody(msgspec.Struct, forbid_unknown_fields=True):
    metadata: Metadata


class MetaBody(msgspec.Struct, forbid_unknown_fields=True):
    meta: Annotated[Metadata, msgspec.Meta(min_length=1, max_length=1)]


def _brief(call: Call, image: Image) -> dict[str, Any]:
    shown = links(call, "images", image.id)
    direct = f"{call.host.settings.url}/image/v2/images/{image.id}"
    return {
        "id": image.id,
        "name": image.name,
        "links": [*shown, Link("alternate", direct, "application/vnd.openstack.image")],
    }


def _view(call: Call, image: Image) -> dict[str, Any]:
    status, progress = _STATUS[image.state]
    made = _brief(call, image)
    made |= {
        "created": iso(image.created_at),
        "updated": iso(image.updated_at),
        "status": status,
        "progress": progress,
        "minDisk": image.min_disk,
        "minRam": image.min_ram,
        "metadata": image.properties,
        "OS-EXT-IMG-SIZE:size": max(image.size, 0),
    }
    if source := image.properties.get("instance_uuid"):
        made["server"] = {"id": source, "links": links(call, "servers", source)}
    return made


def _seen(call: Call, *, one: bool) -> list[sa.ColumnElement[bool]]:
    """Own, public and shared images; by its id also a community one, and one whose sharing is not yet accepted."""
    if call.actor.is_admin:
        return []
    t, m = REGISTRY[Image].table.c, REGISTRY[ImageMember].table.c
    statuses = ("accepted", "pending", "rejected") if one else ("accepted",)
    mine = sa.select(m.image_id).where(m.member_id == call.actor.project_id, m.status.in_(statuses))
    shared = sa.and_(t.visibility == "shared", t.id.in_(mine))
    return [
        sa.or_(
            t.owner == call.actor.project_id, t.visibility.in_(["public", "community"] if one else ["public"]), shared
        )
    ]


def _number(value: str, name: str) -> int:
    if not value.isdecimal() or len(value) > 9:
        raise errors.Invalid(f"Invalid input for query parameters {name}. Value: {value}.", field=name)
    return int(value)


def _filters(call: Call, reader: Reader) -> list[Any]:
    t = REGISTRY[Image].table.c
    found: list[Any] = [t.hidden.is_(False)]
    for name, value in call.query:
        wanted = ""
        if name == "name":
            found.append(t.name == value)
        elif name == "status":
            found.append(t.state.in_([s for s, (shown, _) in _STATUS.items() if shown == value.upper()]))
        elif name == "changes-since":
            found.append(t.updated_at >= parse_time(value, name))
        elif name == "minRam":
            found.append(t.min_ram >= _number(value, name))
        elif name == "minDisk":
            found.append(t.min_disk >= _number(value, name))
        elif name == "type":
            wanted = "image_type"
        elif name == "server":
            # an id, or any of the server's links
            wanted, value = "instance_uuid", value.rstrip("/").rsplit("/", 1)[-1]
        elif name.startswith(_PROPERTY):
            wanted = name.removeprefix(_PROPERTY)
        if wanted:
            pair = f"{msgspec.json.encode(wanted).decode()}:{msgspec.json.encode(value).decode()}"
            found.append(contains(reader, t.properties, pair))
    return found


def _page(reader: Reader, call: Call, limit: int) -> list[Image]:
    """The latest first. Raises Invalid for a marker that is not there."""
    t = REGISTRY[Image].table.c
    clauses = [*_seen(call, one=False), *_filters(call, reader)]
    sort = [("created_at", True)]
    if marker := paging.marker_of(call):
        last = reader.select(Image, *_seen(call, one=True), t.id == marker)
        if not last:
            raise paging.no_marker(marker)
        clauses.append(paging.after(last[0], sort))
    return reader.select(Image, *clauses, order=paging.order_by(Image, sort), limit=limit)


def _one(reader: Reader, call: Call) -> Image:
    """Raises Missing."""
    t = REGISTRY[Image].table.c
    found = reader.select(Image, *_seen(call, one=True), t.id == call.params["id"])
    if not found:
        raise errors.Missing("Image not found.")
    return found[0]


def _own(reader: Reader, call: Call) -> Image:
    """An image that the caller may change. Raises Missing; Forbidden for one that is only shown to them."""
    image = _one(reader, call)
    if image.owner != call.actor.project_id and not call.actor.is_admin:
        raise errors.Forbidden("You are not allowed to change this image.")
    return image


async def _list(call: Call, path: str, shape: Any) -> dict[str, Any]:
    limit = paging.limit_of(call)
    found = await call.read(lambda r: _page(r, call, limit)) if limit else []
    made: dict[str, Any] = {"images": [shape(call, i) for i in found]}
    if found and len(found) == limit:
        made["images_links"] = paging.next_link(call, path, found[-1].id)
    return made


async def index(call: Call) -> dict[str, Any]:
    """200; 400 for a filter or a marker."""
    return await _list(call, "/images", _brief)


async def detail(call: Call) -> dict[str, Any]:
    """200; 400 as index."""
    return await _list(call, "/images/detail", _view)


async def show(call: Call) -> dict[str, Any]:
    """200; 404."""
    return {"image": _view(call, await call.read(lambda r: _one(r, call)))}


async def delete(call: Call) -> Answer:
    """204; 403 for another's, or a protected one; 404. Its data goes when nobody else needs it."""
    image = await call.read(lambda r: _own(r, call))
    gone = await call.write(lambda tx: images.delete(tx, image.id), "image.delete")
    directory = call.host.services.blobs
    await blobs.unstage(directory, image.id)
    await blobs.collect(call.host.store, call.host.services.stores, gone)
    return Answer(status=204)


# metadata: the image's properties


async def list_metadata(call: Call) -> MetadataBody:
    """200; 404."""
    return MetadataBody((await call.read(lambda r: _one(r, call))).properties)


async def _change(call: Call, change: Any) -> dict[str, str]:
    image = await call.read(lambda r: _own(r, call))

    def made(current: Image) -> dict[str, Any]:
        changed: dict[str, str] = change(current.properties)
        if reserved := [k for k in changed if k.startswith("os_glance_") and k not in current.properties]:
            raise errors.Forbidden(f"Attribute '{reserved[0]}' is reserved.", field="metadata")
        return {"properties": changed}

    def body(tx: Any) -> Image:
        changed = images.update(tx, image.id, made)
        server_details.check_metadata(tx, call.actor.project_id, changed.properties)
        return changed

    return (await call.write(body, "image.update")).properties


async def create_metadata(call: Call) -> MetadataBody:
    """200, all items after; 403 for another's image or over the quota; 404."""
    given: dict[str, str] = call.body.metadata
    return MetadataBody(await _change(call, lambda now: {**now, **given}))


async def replace_metadata(call: Call) -> MetadataBody:
    """200, all items after; 403; 404."""
    given: dict[str, str] = call.body.metadata
    return MetadataBody(await _change(call, lambda _now: given))


async def show_meta(call: Call) -> MetaBody:
    """200; 404 also for a key that is not there."""
    image, key = await call.read(lambda r: _one(r, call)), call.params["key"]
    if key not in image.properties:
        raise errors.Missing("Metadata item was not found")
    return MetaBody({key: image.properties[key]})


async def update_meta(call: Call) -> MetaBody:
    """200; 400 where path and body name different keys; 403; 404."""
    given: dict[str, str] = call.body.meta
    await call.read(lambda r: _one(r, call))
    if call.params["key"] not in given:
        raise errors.Invalid("Request body and URI mismatch")
    await _change(call, lambda now: {**now, **given})
    return MetaBody(given)


async def delete_meta(call: Call) -> Answer:
    """204; 403; 404 also for a key that is not there."""
    key = call.params["key"]

    def without(now: dict[str, str]) -> dict[str, str]:
        if key not in now:
            raise errors.Missing("Invalid metadata key")
        return {k: v for k, v in now.items() if k != key}

    await _change(call, without)
    return Answer(status=204)


_OLD, _META = "no_proxies", "no_image_metadata"
_PATH = "/images/{id}/metadata"
#: method, path, handler, rule, body, status, flag of the microversion that ended it
TABLE: tuple[tuple[str, str, Any, str, Any, int, str], ...] = (
    ("GET", "/images", index, "", None, 200, _OLD),
    ("GET", "/images/detail", detail, "", None, 200, _OLD),
    ("GET", "/images/{id}", show, "", None, 200, _OLD),
    ("DELETE", "/images/{id}", delete, "", None, 204, _OLD),
    ("GET", _PATH, list_metadata, "", None, 200, _META),
    ("POST", _PATH, create_metadata, "", MetadataBody, 200, _META),
    ("PUT", _PATH, replace_metadata, "", MetadataBody, 200, _META),
    ("GET", _PATH + "/{key}", show_meta, "", None, 200, _META),
    ("PUT", _PATH + "/{key}", update_meta, "", MetaBody, 200, _META),
    ("DELETE", _PATH + "/{key}", delete_meta, "", None, 204, _META),
)
