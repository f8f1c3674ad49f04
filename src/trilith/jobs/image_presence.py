"""What a guest boots from, brought to this machine where it is only at a URL."""

from __future__ import annotations

import asyncio

from trilith.commands import image_data
from trilith.jobs.services import Services
from trilith.model.image import Image, ImageState
from trilith.model.server import Server
from trilith.store.tx import Reader

_USABLE = [ImageState.ACTIVE, ImageState.DEACTIVATED]


async def bring(services: Services, server_id: str) -> None:
    """Nothing to do for data that lies in a store or the cache. Raises Backend for a URL that serves other data now."""

    def wanted(reader: Reader) -> str:
        return reader.get(Server, server_id).image_sha256

    sha256 = await services.store.read(wanted)
    if not sha256 or await asyncio.to_thread(services.stores.find, sha256) is not None:
        return
    for image in await services.store.read(lambda r: r.select(Image, sha256=sha256, state=_USABLE)):
        if image.locations:
            await image_data.present(services.store, services.stores, services.settings, image)
            return
