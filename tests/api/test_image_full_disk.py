"""The image store's disk is full: in each way that data comes, who asked is told, nothing is left behind, and the next
try works once there is room."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.compute_calls import Caller, admin
from tests.api.conftest import PASSWORD, ApiCloud, settings_of
from tests.api.test_database_sqlite_faults import fill, small_disk
from trilith.app import cloud as start_cloud

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]
_SIZE = 3 << 20


@pytest.fixture
async def cloud(tmp_path: Path, first_start: Path) -> AsyncIterator[ApiCloud]:
    """Images lie on a file system of 16 MiB of their own; the database does not."""
    state = tmp_path / "state"
    shutil.copytree(first_start, state, ignore=shutil.ignore_patterns("*.sock"))
    shutil.move(state / "images", tmp_path / "images")
    with small_disk(state / "images", 16) as images:
        shutil.copytree(tmp_path / "images", images, dirs_exist_ok=True)
        settings = replace(settings_of(state), image_conversion="qcow2")
        async with start_cloud(settings, admin_password=PASSWORD) as running:
            transport = httpx.ASGITransport(app=running.api)
            async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
                yield ApiCloud(running, client)


def files(cloud: ApiCloud) -> set[str]:
    images = cloud.cloud.settings.state / "images"
    return {str(p.relative_to(images)) for p in images.rglob("*") if p.is_file() and p.name != "hog"}


def crowd(cloud: ApiCloud, *, left: int = 0) -> Path:
    """Take the room, but for some bytes."""
    images = cloud.cloud.settings.state / "images"
    hog = fill(images)
    os.truncate(hog, max(0, hog.stat().st_size - left))
    return hog


class Images:
    def __init__(self, cloud: ApiCloud, headers: dict[str, str]) -> None:
        self.cloud = cloud
        self.headers = headers

    async def make(self, disk_format: str = "raw") -> str:
        body = {"name": "i", "disk_format": disk_format, "container_format": "bare"}
        answer = await self.cloud.call("POST", "/image/v2/images", self.headers, json=body)
        return str(answer.json()["id"])

    async def send(self, id: str, how: str, data: bytes) -> httpx.Response:
        headers = self.headers | {"Content-Type": "application/octet-stream"}
        return await self.cloud.call("PUT", f"/image/v2/images/{id}/{how}", headers, content=data)

    async def show(self, id: str) -> dict[str, Any]:
        shown: dict[str, Any] = (await self.cloud.call("GET", f"/image/v2/images/{id}", self.headers)).json()
        return shown

    async def tasks(self, id: str) -> dict[str, dict[str, Any]]:
        answer = await self.cloud.call("GET", f"/image/v2/images/{id}/tasks", self.headers)
        return {t["id"]: t for t in answer.json()["tasks"]}

    async def import_(self, id: str) -> dict[str, Any]:
        """The task at its end."""
        before = await self.tasks(id)
        body = {"method": {"name": "glance-direct"}}
        answer = await self.cloud.call("POST", f"/image/v2/images/{id}/import", self.headers, json=body)
        assert answer.status_code == 202, answer.text
        async with asyncio.timeout(60):
            while True:
                (mine,) = [t for key, t in (await self.tasks(id)).items() if key not in before]
                if mine["status"] in ("success", "failure"):
                    return mine
                await asyncio.sleep(0.05)


@pytest.fixture
async def images(cloud: ApiCloud) -> Images:
    return Images(cloud, await cloud.token())


@pytest.mark.parametrize("how", ["file", "stage"])
async def test_an_upload_without_room_leaves_nothing(cloud: ApiCloud, images: Images, how: str) -> None:
    before = files(cloud)
    id = await images.make()
    hog = crowd(cloud, left=1 << 20)
    answer = await images.send(id, how, os.urandom(_SIZE))
    assert answer.status_code == 413, answer.text
    assert "No space left" in answer.text
    assert (await images.show(id))["status"] == "queued"
    assert files(cloud) == before
    hog.unlink()
    assert (await images.send(id, how, os.urandom(_SIZE))).status_code == 204
    assert (await images.show(id))["status"] == ("active" if how == "file" else "uploading")


@pytest.mark.parametrize(("what", "left"), [("convert", 1 << 20), ("store", int(_SIZE * 1.7))])
async def test_an_import_without_room_says_so_and_leaves_nothing(
    cloud: ApiCloud, images: Images, what: str, left: int
) -> None:
    """In the conversion, or later when the converted disk becomes the image's own."""
    before = files(cloud)
    id = await images.make()
    assert (await images.send(id, "stage", os.urandom(_SIZE))).status_code == 204
    hog = crowd(cloud, left=left)
    task = await images.import_(id)
    assert task["status"] == "failure", task
    print(what, task["message"])
    assert "full" in task["message"] or "No space left" in task["message"]
    shown = await images.show(id)
    assert (shown["status"], shown["os_glance_failed_import"]) == ("queued", "local")
    assert files(cloud) == before
    hog.unlink()
    assert (await images.send(id, "stage", os.urandom(_SIZE))).status_code == 204
    assert (await images.import_(id))["status"] == "success"
    shown = await images.show(id)
    assert (shown["status"], shown["disk_format"]) == ("active", "qcow2")


async def test_a_snapshot_without_room_leaves_the_server_as_it_was(cloud: ApiCloud) -> None:
    root: Caller = await admin(cloud)
    made = await root.boot()
    before = files(cloud)
    hog = crowd(cloud)
    answer = await root.act(made["id"], "createImage", {"name": "full"})
    assert answer.status_code == 202, answer.text
    await root.settle(made["id"])
    shown = (await root.get(f"/servers/{made['id']}"))["server"]
    assert (shown["status"], shown["OS-EXT-STS:task_state"]) == ("ACTIVE", None)
    listed = (await cloud.call("GET", "/image/v2/images?name=full", await cloud.token())).json()["images"]
    assert listed == []
    actions = (await root.get(f"/servers/{made['id']}/os-instance-actions"))["instanceActions"]
    assert next(a for a in actions if a["action"] == "createImage")["message"] == "Error"
    assert files(cloud) == before
    hog.unlink()
    await root.act(made["id"], "createImage", {"name": "room"})
    await root.settle(made["id"])
    listed = (await cloud.call("GET", "/image/v2/images?name=room", await cloud.token())).json()["images"]
    assert [i["status"] for i in listed] == ["active"]
