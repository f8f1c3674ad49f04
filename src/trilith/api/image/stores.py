"""/v2/info/* and /v2/stores/*: where image data may lie, by which methods it comes, and out of one store again."""

from __future__ import annotations

from typing import Any

import msgspec

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.image.visibility import visible
from trilith.commands import blobs, image_imports, image_limits, images
from trilith.commands.image_stores import ImageStore
from trilith.model.image import LOCAL


class StoreView(msgspec.Struct, omit_defaults=True, rename={"read_only": "read-only"}):
    id: str
    description: str = ""
    default: str = ""
    read_only: str = ""
    weight: int | msgspec.UnsetType = msgspec.UNSET


class Stores(msgspec.Struct):
    stores: list[StoreView]


class StoreDetail(StoreView, omit_defaults=True, kw_only=True, rename={"read_only": "read-only"}):
    type: str
    properties: dict[str, Any]


class StoreDetails(msgspec.Struct):
    stores: list[StoreDetail]


def _facts(store: ImageStore) -> dict[str, Any]:
    what = "URLs of data that others serve" if store.read_only else "Files on the node that received them"
    return {
        "id": store.name,
        "description": what,
        "default": "true" if store.name == LOCAL else "",
        "read_only": "true" if store.read_only else "",
        "weight": store.weight,
    }


async def list_stores(call: Call) -> Stores:
    """200."""
    return Stores([StoreView(**_facts(s)) for s in call.host.services.stores.all])


async def details(call: Call) -> StoreDetails:
    """200, for operators: what kind of store each is, and where."""
    call.allow("stores_info_detail")
    views = []
    for store in call.host.services.stores.all:
        about: dict[str, Any] = {}
        if store.directory is not None:
            about = {"data_dir": str(store.directory), "chunk_size": blobs.CHUNK, "thin_provisioning": False}
        views.append(StoreDetail(**_facts(store), type="http" if store.read_only else "file", properties=about))
    return StoreDetails(views)


async def remove(call: Call) -> None:
    """204: the image's data in this store is gone. 403 for its only copy, 404 for an unknown store or image or one that
    is not there, 409 for an image without data."""
    name = call.params["store"]
    if call.host.services.stores.get(name) is None:
        raise errors.Missing(f"The selected store {name} is not available on this node.")
    image = await visible(call, "delete_image_location")
    gone = await call.write(lambda tx: images.remove_from_store(tx, image.id, name), "image.remove_from_store")
    await blobs.collect(call.host.store, call.host.services.stores, gone)


class ImportMethods(msgspec.Struct):
    description: str
    type: str
    value: list[str]


class ImportInfo(msgspec.Struct, rename={"import_methods": "import-methods"}):
    import_methods: ImportMethods


async def import_info(call: Call) -> ImportInfo:
    """200: by which methods an image can be imported."""
    return ImportInfo(ImportMethods("Import methods available.", "array", list(image_imports.METHODS)))


class UsageView(msgspec.Struct):
    """Sizes in MiB."""

    limit: int
    usage: int


class UsageList(msgspec.Struct):
    usage: dict[str, UsageView]


async def usage(call: Call) -> UsageList:
    """200: what the project uses of what is limited; nothing where no limit is registered."""
    found = await call.read(lambda r: image_limits.usage(r, call.actor.project_id))
    return UsageList({name: UsageView(one.limit, one.usage) for name, one in found.items()})
