"""JSON patch of images: application/openstack-images-v2.1-json-patch, and the older v2.0 form that Tempest speaks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from trilith import errors
from trilith.api.http.route import MediaType
from trilith.api.image.fields import BASE, SETTABLE, base_changes, check_name, properties
from trilith.model.image import Image, ImageState

V21 = "application/openstack-images-v2.1-json-patch"
V20 = "application/openstack-images-v2.0-json-patch"
LOCATIONS = "locations"
_OPS = ("add", "replace", "remove")
_BAD_ESCAPE = re.compile(r"~(?![01])")


@dataclass(frozen=True, slots=True)
class Change:
    op: str
    name: str
    value: Any
    old: bool  # written in the v2.0 form, whose `add` may not replace
    at: str = ""  # of a location: its index, or "-" for the end


def parse(content_type: str, raw: bytes, *, locations: bool = False) -> list[Change]:
    """locations: they may be changed here. Raises MediaType, Invalid, or Forbidden for what may not be touched."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in (V21, V20, "application/json-patch+json"):
        raise MediaType(f"Unsupported Content-Type {kind or '(none)'}.", hint=f"Supported are {V21} and {V20}.")
    try:
        items = msgspec.json.decode(raw, type=list[dict[str, Any]])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as err:
        raise errors.Invalid(f"Request body must be a JSON array of operation objects: {err}.") from err
    if len(items) > 1000:
        raise errors.Invalid("Too many operations in one patch.")
    changes = [_old(item) if kind == V20 else _new(item) for item in items]
    for change in changes:
        if change.name == LOCATIONS and not locations:
            raise errors.Forbidden("It's not allowed to change locations if locations are invisible.", field=LOCATIONS)
    return changes


def _new(item: dict[str, Any]) -> Change:
    op, path = item.get("op"), item.get("path")
    if op not in _OPS:
        raise errors.Invalid(f"Unable to find '{op}' in JSON Schema change: operations are {', '.join(_OPS)}.")
    if path is None:
        raise errors.Invalid("Unable to find 'path' in JSON Schema change.", field="path")
    return _change(op, path, item, old=False)


def _old(item: dict[str, Any]) -> Change:
    found = [op for op in _OPS if op in item]
    if len(found) != 1:
        raise errors.Invalid(f"Operation objects must contain exactly one member of {', '.join(_OPS)}.")
    return _change(found[0], item[found[0]], item, old=True)


def _change(op: str, path: Any, item: dict[str, Any], *, old: bool) -> Change:
    if op != "remove" and "value" not in item:
        raise errors.Invalid(f'Operation "{op}" requires a member named "value".', field="value")
    parts = _pointer(path)
    name = parts[0]
    if name == LOCATIONS and len(parts) <= 2:
        return Change(op, name, item.get("value"), old, "/".join(parts[1:]))
    check_name(name)
    if len(parts) != 1:
        raise errors.Invalid(f"Invalid JSON pointer for this resource: '{path}'", field="path")
    return Change(op, name, item.get("value"), old)


def _pointer(path: Any) -> list[str]:
    """RFC 6901, as strict as Glance reads it."""
    if not isinstance(path, str) or not path.startswith("/"):
        raise errors.Invalid(f'Pointer `{path}` does not start with "/".', field="path")
    if path.endswith("/") and path.count("/") > 1:
        raise errors.Invalid(f'Pointer `{path}` end with "/".', field="path")
    if "//" in path[1:] or path == "/" or "//" in path:
        raise errors.Invalid(f'Pointer `{path}` contains adjacent "/".', field="path")
    if _BAD_ESCAPE.search(path):
        raise errors.Invalid(f'Pointer `{path}` contains "~" not part of a recognized escape sequence.', field="path")
    return [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]


def apply(image: Image, changes: list[Change]) -> dict[str, Any]:
    """Fields of the model that differ afterwards. Raises Invalid, Forbidden, Conflict; nothing is changed then."""
    base: dict[str, Any] = {}
    custom: dict[str, str] = dict(image.properties)
    for change in changes:
        if change.name == LOCATIONS:
            continue
        name, known = change.name, change.name in BASE
        if name == "id":
            raise errors.Forbidden("Attribute 'id' is read-only.", field="id")
        if known:
            _base(image, change, base)
        else:
            _custom(change, custom)
    found = base_changes(base)
    if custom != image.properties:
        found["properties"] = properties(custom)
    return {k: v for k, v in found.items() if getattr(image, k) != v}


def _base(image: Image, change: Change, base: dict[str, Any]) -> None:
    name = change.name
    if change.op == "remove":
        if name == "tags":
            base["tags"] = []
            return
        raise errors.Forbidden(f"Property '{name}' may not be removed.", field=name)
    if change.op == "add" and change.old:
        raise errors.Conflict(f"Property {name} already present.", field=name)
    if name in ("disk_format", "container_format") and image.state is not ImageState.QUEUED:
        raise errors.Forbidden(f"Attribute {name} can be only replaced for a queued image.", field=name)
    assert name in SETTABLE
    base[name] = change.value


def _custom(change: Change, custom: dict[str, Any]) -> None:
    name = change.name
    if change.op == "add":
        if change.old and name in custom:
            raise errors.Conflict(f"Property {name} already present.", field=name)
        custom[name] = change.value
        return
    if name not in custom:
        raise errors.Conflict(f"Property {name} does not exist.", field=name)
    if change.op == "remove":
        del custom[name]
    else:
        custom[name] = change.value
