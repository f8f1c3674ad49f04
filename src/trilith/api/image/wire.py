"""What Glance's image API v2 says on the wire: images, members, errors, times."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from trilith import errors
from trilith.api.http.times import seconds_z
from trilith.model.image import Image, ImageMember, ImageState

#: the one store; images are files of the node that received them
STORE = "local"


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


def image_view(image: Image) -> Wire:
    failed = bool(image.message) and image.state in (ImageState.QUEUED, ImageState.KILLED)
    stored = bool(image.sha256) and image.state in (ImageState.ACTIVE, ImageState.DEACTIVATED)
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
        "os_hash_algo": "sha512" if image.hash_value else None,
        "os_hash_value": image.hash_value or None,
        "tags": list(image.tags),
        "created_at": seconds_z(image.created_at),
        "updated_at": seconds_z(image.updated_at),
        "self": f"/v2/images/{image.id}",
        "file": f"/v2/images/{image.id}/file",
        "schema": "/v2/schemas/image",
    }
    if stored:
        view["stores"] = STORE
    if image.state is ImageState.IMPORTING:
        view["os_glance_importing_to_stores"] = STORE
        view["os_glance_failed_import"] = ""
    if failed:
        view["os_glance_importing_to_stores"] = ""
        view["os_glance_failed_import"] = STORE
    return view


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
