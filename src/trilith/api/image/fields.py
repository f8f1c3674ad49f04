"""The fields of an image that a request may set, and the rules of those that it may not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from trilith import errors
from trilith.api.http.call import Call
from trilith.model.image import CONTAINER_FORMATS, DISK_FORMATS, Image

_Text = Annotated[str, msgspec.Meta(max_length=255)]
_Number = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
_Property = Annotated[str, msgspec.Meta(max_length=65535)]
_Key = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class Settable(msgspec.Struct, forbid_unknown_fields=True):
    """The base properties of `POST /v2/images` and of a PATCH."""

    name: _Text | msgspec.UnsetType | None = msgspec.UNSET
    visibility: Literal["public", "private", "shared", "community"] | msgspec.UnsetType = msgspec.UNSET
    protected: bool | msgspec.UnsetType = msgspec.UNSET
    os_hidden: bool | msgspec.UnsetType = msgspec.UNSET
    owner: _Text | msgspec.UnsetType | None = msgspec.UNSET
    disk_format: str | msgspec.UnsetType | None = msgspec.UNSET
    container_format: str | msgspec.UnsetType | None = msgspec.UNSET
    min_disk: _Number | msgspec.UnsetType = msgspec.UNSET
    min_ram: _Number | msgspec.UnsetType = msgspec.UNSET
    tags: Annotated[list[_Text], msgspec.Meta(max_length=128)] | msgspec.UnsetType = msgspec.UNSET


SETTABLE = frozenset(Settable.__struct_fields__)
READ_ONLY = frozenset(
    {
        "status",
        "checksum",
        "os_hash_algo",
        "os_hash_value",
        "size",
        "virtual_size",
        "created_at",
        "updated_at",
        "direct_url",
        "self",
        "file",
        "schema",
        "stores",
    }
)
RESERVED = frozenset({"location", "locations", "deleted", "deleted_at"})
BASE = SETTABLE | READ_ONLY | {"id"}
#: Glance's image_property_quota
MAX_PROPERTIES = 128


def check_name(name: str) -> None:
    """Raises Forbidden for a field that no request may set."""
    if name in READ_ONLY:
        raise errors.Forbidden(f"Attribute '{name}' is read-only.", field=name)
    if name in RESERVED or name.startswith("os_glance_"):
        raise errors.Forbidden(f"Attribute '{name}' is reserved.", field=name)


def base_changes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Wire fields → fields of the model. Raises Invalid naming the field."""
    try:
        given = msgspec.convert(dict(values), Settable)
    except msgspec.ValidationError as err:
        message, _, where = str(err).partition(" - at `$")
        field = where.rstrip("`").lstrip(".")
        raise errors.Invalid(f"Provided object does not match schema 'image': {field}: {message}", field=field) from err
    changes: dict[str, Any] = {}
    for name in Settable.__struct_fields__:
        value = getattr(given, name)
        if value is msgspec.UNSET:
            continue
        if name == "tags":
            value = tuple(dict.fromkeys(value))
        elif value is None:
            value = ""
        changes["hidden" if name == "os_hidden" else name] = value
    for name, known in (("disk_format", DISK_FORMATS), ("container_format", CONTAINER_FORMATS)):
        if changes.get(name) and changes[name] not in known:
            raise errors.Invalid(f"Invalid {name} {changes[name]!r}: must be one of {', '.join(known)}.", field=name)
    return changes


def properties(values: Mapping[str, Any]) -> dict[str, str]:
    """Custom properties. Raises Invalid."""
    if len(values) > MAX_PROPERTIES:
        raise errors.TooLarge(f"The limit of {MAX_PROPERTIES} properties of an image has been exceeded.")
    try:
        return msgspec.convert(dict(values), dict[_Key, _Property])
    except msgspec.ValidationError as err:
        raise errors.Invalid(f"Provided object does not match schema 'image': a custom property: {err}") from err


def allow_changes(call: Call, image: Image, changes: Mapping[str, Any]) -> None:
    """Raises Forbidden where this caller may not give the image such an owner or visibility."""
    owner = changes.get("owner", image.owner)
    if owner != image.owner and not call.actor.is_admin:
        raise errors.Forbidden(f"You are not permitted to set the owner of images to {owner!r}.", field="owner")
    visibility = changes.get("visibility", image.visibility)
    if visibility != image.visibility or not image.seq:
        if visibility == "public":
            call.allow("publicize_image", project_id=image.owner)
        elif visibility == "community":
            call.allow("communitize_image", project_id=image.owner)
