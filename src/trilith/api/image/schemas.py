"""/v2/schemas/*: the JSON schemas that clients read (python-glanceclient builds its options from them)."""

from __future__ import annotations

from typing import Any

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.image import metadef_schemas
from trilith.model.image import CONTAINER_FORMATS, DISK_FORMATS, ImageState

_TEXT = {"type": ["null", "string"], "maxLength": 255}
_UUID = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"


def _read_only(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return schema | {"readOnly": True, "description": description}


_IMAGE: dict[str, Any] = {
    "id": {"type": "string", "pattern": _UUID, "description": "An identifier for the image"},
    "name": _TEXT | {"description": "Descriptive name for the image"},
    "status": _read_only({"type": "string", "enum": [str(s) for s in ImageState]}, "Status of the image"),
    "visibility": {"type": "string", "enum": ["community", "public", "private", "shared"]},
    "protected": {"type": "boolean", "description": "If true, image will not be deletable."},
    "os_hidden": {"type": "boolean", "description": "If true, image will not appear in default image list response."},
    "checksum": _read_only({"type": ["null", "string"], "maxLength": 32}, "md5 hash of image contents."),
    "os_hash_algo": _read_only({"type": ["null", "string"], "maxLength": 64}, "Algorithm of os_hash_value."),
    "os_hash_value": _read_only({"type": ["null", "string"], "maxLength": 128}, "Digest of the image contents."),
    "owner": _TEXT | {"description": "Owner of the image"},
    "size": _read_only({"type": ["null", "integer"]}, "Size of image file in bytes"),
    "virtual_size": _read_only({"type": ["null", "integer"]}, "Virtual size of image in bytes"),
    "container_format": {"type": ["null", "string"], "enum": [None, *CONTAINER_FORMATS]},
    "disk_format": {"type": ["null", "string"], "enum": [None, *DISK_FORMATS]},
    "created_at": _read_only({"type": "string"}, "Date and time of image registration"),
    "updated_at": _read_only({"type": "string"}, "Date and time of the last image modification"),
    "tags": {"type": "array", "items": {"type": "string", "maxLength": 255}},
    "min_ram": {"type": "integer", "description": "Amount of ram (in MB) required to boot image."},
    "min_disk": {"type": "integer", "description": "Amount of disk space (in GB) required to boot image."},
    "self": _read_only({"type": "string"}, "An image self url"),
    "file": _read_only({"type": "string"}, "An image file url"),
    "schema": _read_only({"type": "string"}, "An image schema url"),
    "stores": _read_only({"type": "string"}, "Store in which image data resides."),
    # names that other clients give a meaning (Nova's image properties)
    "architecture": {"type": "string", "is_base": False, "description": "Operating system architecture"},
    "kernel_id": {"type": ["null", "string"], "pattern": _UUID, "is_base": False},
    "ramdisk_id": {"type": ["null", "string"], "pattern": _UUID, "is_base": False},
    "instance_uuid": {"type": "string", "is_base": False},
    "os_distro": {"type": "string", "is_base": False},
    "os_version": {"type": "string", "is_base": False},
}
_MEMBER: dict[str, Any] = {
    "created_at": {"type": "string", "description": "Date and time of image member creation"},
    "updated_at": {"type": "string", "description": "Date and time of last modification of image member"},
    "image_id": {"type": "string", "pattern": _UUID, "description": "An identifier for the image"},
    "member_id": {"type": "string", "description": "An identifier for the image member (tenantId)"},
    "status": {"type": "string", "enum": ["pending", "accepted", "rejected"]},
    "schema": {"type": "string", "readOnly": True},
}
_ITEM_LINKS = [
    {"rel": "self", "href": "{self}"},
    {"rel": "enclosure", "href": "{file}"},
    {"rel": "describedby", "href": "{schema}"},
]
_LIST_LINKS = [
    {"rel": "first", "href": "{first}"},
    {"rel": "next", "href": "{next}"},
    {"rel": "describedby", "href": "{schema}"},
]
_URL = {"type": "string"}


def _item(name: str, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "properties": properties, **more}


_IMAGE_DOCUMENT = _item("image", _IMAGE, additionalProperties={"type": "string"}, links=_ITEM_LINKS)
_MEMBER_DOCUMENT = _item("member", _MEMBER)
_TASK_LISTED: dict[str, Any] = {
    "id": {"type": "string", "pattern": _UUID, "description": "An identifier for the task"},
    "type": {"type": "string", "enum": ["import", "api_image_import", "location_import"]},
    "status": {"type": "string", "enum": ["pending", "processing", "success", "failure"]},
    "owner": {"type": "string", "description": "Project that the task is of"},
    "created_at": {"type": "string", "description": "Date and time of task creation"},
    "updated_at": {"type": "string", "description": "Date and time of the last change"},
    "expires_at": {"type": ["null", "string"], "description": "Date and time after which it may be forgotten"},
    "self": {"type": "string", "readOnly": True},
    "schema": {"type": "string", "readOnly": True},
}
_TASK = _TASK_LISTED | {
    "input": {"type": ["null", "object"], "description": "What was asked for"},
    "result": {"type": ["null", "object"], "description": "What came of it"},
    "message": {"type": "string", "description": "Why it failed"},
    "user_id": {"type": "string"},
    "request_id": {"type": "string"},
    "image_id": {"type": "string"},
}
DOCUMENTS: dict[str, dict[str, Any]] = {
    "task": _item("task", _TASK),
    "tasks": _item(
        "tasks",
        {"tasks": {"type": "array", "items": _item("task", _TASK_LISTED)}, "first": _URL, "next": _URL, "schema": _URL},
        links=_LIST_LINKS,
    ),
    "image": _IMAGE_DOCUMENT,
    "images": _item(
        "images",
        {"images": {"type": "array", "items": _IMAGE_DOCUMENT}, "first": _URL, "next": _URL, "schema": _URL},
        links=_LIST_LINKS,
    ),
    "member": _MEMBER_DOCUMENT,
    "members": _item(
        "members",
        {"members": {"type": "array", "items": _MEMBER_DOCUMENT}, "schema": _URL},
        links=[{"rel": "describedby", "href": "{schema}"}],
    ),
}


async def show(call: Call) -> dict[str, Any]:
    """200. 404 for a noun that has no schema here."""
    found = DOCUMENTS.get(call.params["name"])
    if found is None:
        raise errors.Missing(f"There is no schema named {call.params['name']}.")
    return found


async def show_metadef(call: Call) -> dict[str, Any]:
    """200. 404 for a noun that has no schema here."""
    found = metadef_schemas.DOCUMENTS.get(call.params["name"])
    if found is None:
        raise errors.Missing(f"There is no schema named metadefs/{call.params['name']}.")
    return found
