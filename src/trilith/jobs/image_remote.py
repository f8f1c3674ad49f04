"""Another region's image service, whose users are ours: its endpoint, and what it says of an image."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec

from trilith import errors
from trilith.commands.image_imports import Remote
from trilith.jobs.download import download
from trilith.model.identity import Endpoint, Service
from trilith.store.tx import Reader

#: properties that come along, by the beginning of their names (Glance's default of extra_properties)
COPIED = ("hw_", "trait:", "os_distro", "os_secure_boot", "os_type")
_MOST = 1024 * 1024


class Described(msgspec.Struct, frozen=True):
    disk_format: str
    container_format: str
    properties: dict[str, str]


def endpoint(reader: Reader, remote: Remote, own: str) -> str:
    """Its URL, without a slash at the end. own: the URL of this cloud's image service.

    Raises Missing where the catalogue has none.
    """
    for service in reader.select(Service, type="image"):
        if not service.enabled:
            continue
        found = reader.first(
            Endpoint, service_id=service.id, region_id=remote.region, interface=remote.interface, enabled=True
        )
        if found is not None:
            url = (found.url or own).rstrip("/").removesuffix("/v2")
            if urlsplit(url).scheme in ("http", "https"):
                return url
    raise errors.Missing(
        f"The catalogue has no {remote.interface} endpoint of an image service in region {remote.region!r}."
    )


async def describe(url: str, remote: Remote, token: str) -> Described:
    """Raises Backend for what cannot be reached or read, Conflict for an image without data."""
    raw = bytearray()

    def write(data: bytes) -> None:
        if len(raw) + len(data) > _MOST:
            raise errors.Backend(f"{url}: the answer is over {_MOST} bytes.")
        raw.extend(data)

    await download(f"{url}/v2/images/{remote.image_id}", write, allow=None, headers={"X-Auth-Token": token})
    try:
        said = msgspec.json.decode(bytes(raw), type=dict[str, Any])
    except msgspec.MsgspecError as err:
        raise errors.Backend(f"{url} does not answer as an image service: {err}.") from err
    if said.get("status") != "active":
        raise errors.Conflict(f"Image {remote.image_id} of region {remote.region} is not active.")
    kept = {k: v for k, v in said.items() if k.startswith(COPIED) and isinstance(v, str)}
    return Described(str(said.get("disk_format") or ""), str(said.get("container_format") or ""), kept)


def data_url(url: str, remote: Remote) -> str:
    return f"{url}/v2/images/{remote.image_id}/file"
