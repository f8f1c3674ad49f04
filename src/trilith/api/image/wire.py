"""What Glance's image API v2 says on the wire: images, members, errors, times."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.times import seconds_z
from trilith.commands.image_locations import store_url
from trilith.model.image import Image, ImageMember


class Fault(msgspec.Struct):
    """webob's JSON form of an HTTP error, which Glance answers with."""

    code: str
    title: str
    message: str


def fault(status: int, err: errors.TrilithError) -> Fault:
    title = HTTPStatus(status).phrase
    return Fault(code=f"{status} {title}", title=title, message=str(err))


class RangeNotSatisfiable(errors.TrilithError):
    """A Range that the image's data does not have (HTTP 416)."""

    code = "range"


#: an image is flat on the wire: the fixed fields and each custom property beside them
Wire = dict[str, Any]


def image_view(image: Image, call: Call) -> Wire:
    stores = call.host.services.stores
    view: Wire = dict(image.properties)
    view |= {
        "id": image.id,
        "name": image.name or None,
        "status": str(image.state),
        "visibility": image.visibility,
        "protected": image.protected,
        "os_hidden": image.hidden,
        "owner": image.owner or None,
        "disk_format": image.disk_format or None,
        "container_format": image.container_format or None,
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "size": image.size if image.size >= 0 else None,
        "virtual_size": image.virtual_size if image.virtual_size >= 0 else None,
        "checksum": image.checksum or None,
        "os_hash_algo": image.hash_algo or None,
        "os_hash_value": image.hash_value or None,
        "tags": list(image.tags),
        "created_at": seconds_z(image.created_at),
        "updated_at": seconds_z(image.updated_at),
        "self": f"/v2/images/{image.id}",
        "file": f"/v2/images/{image.id}/file",
        "schema": "/v2/schemas/image",
    }
    if image.stores or image.locations:
        view["stores"] = ",".join(stores.ordered([*image.stores, *(loc.store for loc in image.locations)]))
    if image.imported:
        view["os_glance_importing_to_stores"] = ",".join(image.importing_to)
        view["os_glance_failed_import"] = ",".join(image.failed_import)
    if call.host.settings.image_locations and call.can("get_image_location", project_id=image.owner):
        files = [{"url": store_url(image, s), "metadata": {"store": s}} for s in stores.ordered(image.stores)]
        view["locations"] = [*files, *location_views(image)]
    return view


def location_views(image: Image) -> list[dict[str, Any]]:
    return [{"url": loc.url, "metadata": loc.metadata | {"store": loc.store}} for loc in image.locations]


class ImageList(msgspec.Struct, omit_defaults=True):
    images: list[Wire]
    schema: str
    first: str
    next: str = ""


class MemberView(msgspec.Struct):
    member_id: str
    image_id: str
    status: str
    created_at: str
    updated_at: str
    schema: str


class MemberList(msgspec.Struct):
    members: list[MemberView]
    schema: str


def member_view(member: ImageMember) -> MemberView:
    return MemberView(
        member_id=member.member_id,
        image_id=member.image_id,
        status=member.status,
        created_at=seconds_z(member.created_at),
        updated_at=seconds_z(member.updated_at),
        schema="/v2/schemas/member",
    )
