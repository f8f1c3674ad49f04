"""What Nova removed from all versions of its API: each still answers 410, so that an old client learns that it is not a
mistake in its path. Volume proxies and snapshots assisted by compute need attached volumes."""

from __future__ import annotations

from typing import Any

import msgspec

from trilith import errors
from trilith.api.compute.faults import gone
from trilith.api.compute.wire import Uuid
from trilith.api.http.call import Call
from trilith.api.http.route import Answer

_ALL = ("GET", "POST")
#: path → methods
_PATHS: dict[str, tuple[str, ...]] = {
    "/os-agents": _ALL,
    "/os-agents/{id}": ("PUT", "DELETE"),
    "/os-cells": _ALL,
    "/os-cells/{id}": ("GET", "PUT", "DELETE"),
    "/os-certificates": ("POST",),
    "/os-certificates/root": ("GET",),
    "/os-cloudpipe": _ALL,
    "/os-fixed-ips/{id}": ("GET",),
    "/os-floating-ip-dns": ("GET",),
    "/os-floating-ips-bulk": _ALL,
    "/os-fping": ("GET",),
    "/os-fping/{id}": ("GET",),
    "/os-networks": ("POST",),
    "/os-networks/add": ("POST",),
    "/os-networks/{id}": ("DELETE",),
    "/os-networks/{id}/action": ("POST",),
    "/os-tenant-networks": ("POST",),
    "/os-tenant-networks/{id}": ("DELETE",),
    "/os-security-group-default-rules": _ALL,
    "/os-security-group-default-rules/{id}": ("GET", "DELETE"),
    "/servers/{id}/consoles": _ALL,
    "/servers/{id}/consoles/{console_id}": ("GET", "DELETE"),
    "/servers/{id}/os-virtual-interfaces": ("GET",),
}


async def removed(call: Call) -> Answer:
    """410."""
    gone(call.route.path.removeprefix("/v2.1"))


class NewSnapshot(msgspec.Struct):
    volume_id: Uuid
    create_info: dict[str, Any]


class CreateSnapshot(msgspec.Struct, forbid_unknown_fields=True):
    snapshot: NewSnapshot


async def create_snapshot(call: Call) -> Answer:
    """400: no server has the volume, as volumes cannot be attached yet."""
    volume = call.body.snapshot.volume_id
    raise errors.Invalid(f"The volume {volume} is attached to no server.", field="volume_id")


async def delete_snapshot(call: Call) -> Answer:
    """400: for a delete_info that cannot be read, and as above."""
    text = call.one("delete_info")
    try:
        info = msgspec.json.decode(text.encode(), type=dict[str, Any]) if text else {}
    except msgspec.DecodeError as err:
        raise errors.Invalid(f"delete_info is no JSON object: {err}", field="delete_info") from err
    volume = info.get("volume_id")
    if not isinstance(volume, str):
        raise errors.Invalid("delete_info names no volume_id.", field="delete_info")
    raise errors.Invalid(f"The volume {volume} is attached to no server.", field="delete_info")


#: method, path
TABLE: tuple[tuple[str, str], ...] = tuple((method, path) for path, methods in _PATHS.items() for method in methods)
