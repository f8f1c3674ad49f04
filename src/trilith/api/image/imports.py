"""Importing: `POST /v2/images/{id}/import` starts a job that brings an image's data into its stores."""

from __future__ import annotations

import uuid
from typing import Annotated

import msgspec

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.image.visibility import visible
from trilith.commands import image_imports, image_sources
from trilith.commands.image_imports import ImportArgs, Remote, Secret
from trilith.model.image import LOCAL, Image

_Text = Annotated[str, msgspec.Meta(max_length=2048)]
_Name = Annotated[str, msgspec.Meta(max_length=255)]


class Method(msgspec.Struct):
    name: _Name
    uri: _Text = ""
    glance_image_id: _Name = ""
    glance_region: _Name = ""
    glance_service_interface: _Name = "public"


class ImportRequest(msgspec.Struct):
    method: Method
    stores: Annotated[list[_Name], msgspec.Meta(max_length=64)] | None = None
    all_stores: bool = False
    all_stores_must_succeed: bool = True


async def start(call: Call) -> None:
    """202. 400 for an unknown method, or a URL or remote image that may not be fetched, 403 where policy forbids the
    method, 409 for an unknown store or an image in another state."""
    body: ImportRequest = call.body
    method = body.method
    copies = method.name == "copy-image"
    image = await visible(call, "copy_image" if copies else "modify_image")
    if method.name not in image_imports.METHODS:
        raise errors.Invalid(f"Unknown import method name '{method.name}'.", field="method")
    settings = call.host.settings
    secret: Secret | None = None
    remote: Remote | None = None
    if method.name == "web-download":
        image_sources.check_uri(method.uri, settings.image_import_allow)
        secret = Secret(uri=method.uri)
    elif method.name == "glance-download":
        remote = _remote(method)
        secret = Secret(token=call.headers.get("x-auth-token", ""))
    args = ImportArgs(
        image_id=image.id,
        method=method.name,
        uri=image_sources.shown(method.uri) if method.name == "web-download" else "",
        limit=settings.max_image,
        enforce=settings.image_format_check,
        stores=_wanted(call, body, image),
        must_succeed=body.all_stores_must_succeed,
        remote=remote,
        convert=settings.image_conversion,
    )
    await call.write(lambda tx: image_imports.begin(tx, image.id, args, secret), "image.import")


def _remote(method: Method) -> Remote:
    if not method.glance_region or not method.glance_image_id:
        raise errors.Invalid("glance-download needs glance_region and glance_image_id.", field="method")
    try:
        image_id = str(uuid.UUID(method.glance_image_id))
    except ValueError as err:
        raise errors.Invalid("Remote image id does not look like a UUID.", field="glance_image_id") from err
    return Remote(image_id, method.glance_region, method.glance_service_interface)


def _wanted(call: Call, body: ImportRequest, image: Image) -> tuple[str, ...]:
    """Names of the stores. Raises Invalid, Conflict."""
    stores, header = call.host.services.stores, call.headers.get("x-image-meta-store", "")
    if body.stores is not None and (body.all_stores or header):
        other = "all_stores" if body.all_stores else "the header x-image-meta-store"
        raise errors.Invalid(f"'stores' and {other} cannot both be given.", field="stores")
    if body.all_stores:
        wanted = [s.name for s in stores.writable]
    else:
        wanted = list(dict.fromkeys(body.stores or ([header] if header else [LOCAL])))
    for name in wanted:
        found = stores.get(name)
        if found is None or found.read_only:
            raise errors.Conflict(f"Store {name!r} does not exist, or takes no data.", field="stores")
    if body.method.name == "copy-image":
        if not body.all_stores and (there := [n for n in wanted if n in image.stores]):
            raise errors.Conflict(f"Image is already available at store '{there[0]}'.", field="stores")
        wanted = [n for n in wanted if n not in image.stores]
        if not wanted:
            raise errors.Conflict("Image is already available in all stores.", field="stores")
    return tuple(wanted)
