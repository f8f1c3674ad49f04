"""A cloud of a simulated node in a process of its own, which imports an image, for a test that kills it.

argv: STATE CRASH_AT. The first run stages data and asks for its import, with a conversion; later ones wait for what
is under way. What is true then is printed as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.journeys.crash_child import settled
from trilith.app import Cloud, cloud
from trilith.config import Settings
from trilith.model.image import BlobReference, Image
from trilith.model.job import Job
from trilith.store.tx import Reader

PASSWORD = "a password of the test"
NAME = "victim"
SIZE = 2 << 20


async def ask(running: Cloud) -> None:
    """Through the API, as a user would."""
    transport = httpx.ASGITransport(app=running.api)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        user: dict[str, Any] = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
        auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
        auth["scope"] = {"project": {"name": "admin", "domain": {"id": "default"}}}
        answer = await client.post("/identity/v3/auth/tokens", json={"auth": auth})
        client.headers["X-Auth-Token"] = answer.headers["X-Subject-Token"]
        body = {"name": NAME, "disk_format": "raw", "container_format": "bare"}
        id = (await client.post("/image/v2/images", json=body)).json()["id"]
        kind = {"Content-Type": "application/octet-stream"}
        staged = await client.put(f"/image/v2/images/{id}/stage", content=os.urandom(SIZE), headers=kind)
        assert staged.status_code == 204, staged.text
        begun = await client.post(f"/image/v2/images/{id}/import", json={"method": {"name": "glance-direct"}})
        assert begun.status_code == 202, begun.text


def truth(reader: Reader) -> dict[str, Any]:
    image = reader.first(Image, name=NAME)
    return {
        "image": None if image is None else [str(image.state), image.disk_format, image.virtual_size, image.job_id],
        "jobs": [str(j.state) for j in reader.select(Job, kind="image.import")],
        "blobs": sorted({b.sha256 for b in reader.select(BlobReference)}),
    }


async def main(state: str, crash_at: str) -> None:
    settings = Settings(state=Path(state), simulated=1, crash_at=crash_at, image_conversion="qcow2")
    async with cloud(settings, admin_password=PASSWORD) as running:
        if await running.store.read(lambda r: r.first(Image, name=NAME)) is None:
            await ask(running)
        await settled(running)
        found = await running.store.read(truth)
        images = Path(state) / "images"
        found["files"] = await asyncio.to_thread(lambda: sorted(p.name for p in images.rglob("*") if p.is_file()))
        print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
