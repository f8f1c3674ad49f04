"""Several stores, locations at URLs, imports by copy and from other regions, conversion, tasks and the cache."""

from __future__ import annotations

import asyncio
import hashlib
import http.server
import json
import os
import shutil
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api import compute_calls
from tests.api.conftest import PASSWORD, ApiCloud, settings_of
from trilith import errors
from trilith.app import cloud as start_cloud
from trilith.commands.image_inspection import Inspection
from trilith.commands.image_stores import Stores
from trilith.model.identity import Endpoint, Region, Service
from trilith.model.image import CachedImage
from trilith.model.job import Job
from trilith.store.tx import Tx, new_id

DATA = os.urandom(200_000)
OCTETS = {"Content-Type": "application/octet-stream"}
REMOTE_ID = "11111111-2222-3333-4444-555555555555"


class Web:
    """A server of a few files. asked: (path, headers) of what came."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"/image": DATA}
        self.asked: list[tuple[str, dict[str, str]]] = []
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                web.asked.append((path, dict(self.headers.items())))
                data = web.files.get(path)
                self.send_response(404 if data is None else 200)
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(data or b"")

            do_HEAD = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        self.place = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.place}"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web()
    yield made
    made.close()


@pytest.fixture
async def stored(tmp_path: Path, first_start: Path, web: Web) -> AsyncIterator[ApiCloud]:
    """A cloud with two more stores of files and one of URLs."""
    state = tmp_path / "state"
    shutil.copytree(first_start, state, ignore=shutil.ignore_patterns("*.sock"))
    settings = replace(
        settings_of(state),
        image_stores=(f"cold:-5={tmp_path / 'cold'}", f"fast:10={tmp_path / 'fast'}", "web=http"),
        image_import_allow=(web.place,),
        image_locations=True,
    )
    async with start_cloud(settings, admin_password=PASSWORD) as running:
        transport = httpx.ASGITransport(app=running.api)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            yield ApiCloud(running, client)


async def make(cloud: ApiCloud, headers: dict[str, str], **fields: Any) -> str:
    body = {"name": "i", "disk_format": "raw", "container_format": "bare"} | fields
    answer = await cloud.call("POST", "/image/v2/images", headers, json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def shown(cloud: ApiCloud, headers: dict[str, str], id: str) -> dict[str, Any]:
    return (await cloud.call("GET", f"/image/v2/images/{id}", headers)).json()  # type: ignore[no-any-return]


async def ended(cloud: ApiCloud, id: str) -> Job:
    """The image's last job, when it has ended."""
    cursor = await cloud.store.head()
    async with asyncio.timeout(20):
        while True:
            job: Job = (await cloud.store.read(lambda r: r.select(Job, resource_id=id)))[-1]
            if job.finished_at:
                return job
            await cloud.store.wait(cursor, timeout=5)
            rows = await cloud.store.feed(cursor)
            cursor = rows[-1].cursor if rows else cursor


async def start(cloud: ApiCloud, headers: dict[str, str], id: str, method: dict[str, Any], **more: Any) -> Any:
    return await cloud.call("POST", f"/image/v2/images/{id}/import", headers, json={"method": method, **more})


async def stage(cloud: ApiCloud, headers: dict[str, str], id: str, data: bytes = DATA) -> None:
    answer = await cloud.call("PUT", f"/image/v2/images/{id}/stage", headers | OCTETS, content=data)
    assert answer.status_code == 204, answer.text


def places(tmp_path: Path, data: bytes = DATA) -> set[str]:
    name = hashlib.sha256(data).hexdigest()
    found = {"local": tmp_path / "state" / "images", "fast": tmp_path / "fast", "cold": tmp_path / "cold"}
    return {store for store, directory in found.items() if (directory / name).is_file()}


@pytest.mark.parametrize("entry", ["x", "x=relative", "local=/x", "a b=/x", "x:y=/z"])
def test_a_store_that_cannot_be_read_is_refused(entry: str, tmp_path: Path) -> None:
    with pytest.raises(errors.Invalid, match="image_stores"):
        Stores((entry,), tmp_path)
    with pytest.raises(errors.Invalid, match="twice"):
        Stores(("x=/a", "x=/b"), tmp_path)


async def test_stores_are_listed_and_only_operators_see_where_they_are(stored: ApiCloud) -> None:
    alice, admin = await stored.member(), await stored.token()
    listed = (await stored.call("GET", "/image/v2/info/stores", alice)).json()["stores"]
    assert [s["id"] for s in listed] == ["local", "cold", "fast", "web"]
    assert [s.get("read-only") for s in listed] == [None, None, None, "true"]
    path = "/image/v2/info/stores/detail"
    assert (await stored.call("GET", path, alice)).status_code == 403
    assert (await stored.call("GET", path, admin)).json()["stores"][2]["properties"]["data_dir"].endswith("/fast")


async def test_an_upload_goes_to_the_store_of_its_header(stored: ApiCloud, tmp_path: Path) -> None:
    alice = await stored.member()
    id = await make(stored, alice)
    path = f"/image/v2/images/{id}/file"
    for wrong in ("none", "web"):
        headers = alice | OCTETS | {"X-Image-Meta-Store": wrong}
        assert (await stored.call("PUT", path, headers, content=DATA)).status_code == 400
    answer = await stored.call("PUT", path, alice | OCTETS | {"X-Image-Meta-Store": "fast"}, content=DATA)
    assert answer.status_code == 204
    assert (await shown(stored, alice, id))["stores"] == "fast"
    assert places(tmp_path) == {"fast"}
    assert (await stored.call("GET", path, alice)).content == DATA
    await stored.call("DELETE", f"/image/v2/images/{id}", alice)
    assert places(tmp_path) == set()


async def test_an_import_into_all_stores_and_out_of_them_again(stored: ApiCloud, tmp_path: Path) -> None:
    alice, admin = await stored.member(), await stored.token()
    id = await make(stored, alice)
    await stage(stored, alice, id)
    both = await start(stored, alice, id, {"name": "glance-direct"}, all_stores=True, stores=["fast"])
    assert both.status_code == 400
    for name in ("none", "web"):
        assert (await start(stored, alice, id, {"name": "glance-direct"}, stores=[name])).status_code == 409
    assert (await start(stored, alice, id, {"name": "glance-direct"}, all_stores=True)).status_code == 202
    await ended(stored, id)
    found = await shown(stored, alice, id)
    assert (found["status"], found["stores"]) == ("active", "fast,local,cold")
    assert (found["os_glance_importing_to_stores"], found["os_glance_failed_import"]) == ("", "")
    assert [loc["metadata"]["store"] for loc in found["locations"]] == ["fast", "local", "cold"]
    assert places(tmp_path) == {"local", "fast", "cold"}
    for store, status in (("fast", 204), ("fast", 404), ("nowhere", 404), ("local", 204), ("cold", 403)):
        answer = await stored.call("DELETE", f"/image/v2/stores/{store}/{id}", admin)
        assert answer.status_code == status, store
    assert places(tmp_path) == {"cold"}
    assert (await stored.call("GET", f"/image/v2/images/{id}/file", alice)).content == DATA


@pytest.mark.parametrize("must", [True, False])
async def test_a_store_that_fails(stored: ApiCloud, tmp_path: Path, must: bool) -> None:
    """A file is where its directory should be: nothing can be written there, by root neither."""
    alice = await stored.member()
    (tmp_path / "fast").write_text("no directory")
    id = await make(stored, alice)
    await stage(stored, alice, id)
    more = {"stores": ["local", "fast"], "all_stores_must_succeed": must}
    assert (await start(stored, alice, id, {"name": "glance-direct"}, **more)).status_code == 202
    await ended(stored, id)
    found = await shown(stored, alice, id)
    if must:
        assert (found["status"], found["os_glance_failed_import"]) == ("queued", "local,fast")
        assert places(tmp_path) == set()
    else:
        assert (found["status"], found["stores"], found["os_glance_failed_import"]) == ("active", "local", "fast")


async def test_copy_image(stored: ApiCloud, tmp_path: Path) -> None:
    alice, admin = await stored.member(), await stored.token()
    id = await make(stored, alice)
    copy = {"name": "copy-image"}
    assert (await start(stored, admin, id, copy, all_stores=True)).status_code == 409
    await stored.call("PUT", f"/image/v2/images/{id}/file", alice | OCTETS, content=DATA)
    assert (await start(stored, alice, id, copy, all_stores=True)).status_code == 403
    assert (await start(stored, admin, id, copy, stores=["local"])).status_code == 409
    assert (await start(stored, admin, id, copy, all_stores=True)).status_code == 202
    await ended(stored, id)
    assert (await shown(stored, alice, id))["stores"] == "fast,local,cold"
    assert places(tmp_path) == {"local", "fast", "cold"}


async def test_a_urls_secrets_are_sealed_in_the_job(stored: ApiCloud, web: Web) -> None:
    alice = await stored.member()
    id = await make(stored, alice)
    uri = f"http://ann:hushhush@{web.place}/image?signature=keepthis"
    assert (await start(stored, alice, id, {"name": "web-download", "uri": uri})).status_code == 202
    job = await ended(stored, id)
    assert job.error is None
    assert "hushhush" not in job.args
    assert "keepthis" not in job.args
    tasks = await stored.call("GET", f"/image/v2/images/{id}/tasks", alice)
    assert "hushhush" not in tasks.text
    assert web.asked[-1][1]["Authorization"] == "Basic YW5uOmh1c2hodXNo"
    assert (await shown(stored, alice, id))["checksum"] == hashlib.md5(DATA).hexdigest()


async def test_glance_download_takes_data_formats_and_some_properties(stored: ApiCloud, web: Web) -> None:
    alice = await stored.member()
    about = {"status": "active", "disk_format": "raw", "container_format": "bare", "hw_cpu_cores": "5", "speed": "88"}
    web.files[f"/v2/images/{REMOTE_ID}"] = json.dumps(about).encode()
    web.files[f"/v2/images/{REMOTE_ID}/file"] = DATA

    def endpoint(tx: Tx) -> None:
        tx.add(Region(id="Elsewhere"))
        service = tx.first(Service, type="image")
        assert service is not None
        tx.add(Endpoint(id=new_id(), service_id=service.id, interface="public", region_id="Elsewhere", url=web.url))

    await stored.store.write(endpoint)
    id = await make(stored, alice, disk_format="iso", container_format="ovf", hw_cpu_cores="1")
    method = {"name": "glance-download", "glance_region": "Elsewhere"}
    refused = await start(stored, alice, id, method | {"glance_image_id": "foo"})
    assert refused.status_code == 400
    assert "does not look like a UUID" in refused.text
    nowhere = method | {"glance_image_id": REMOTE_ID, "glance_region": "Nowhere"}
    assert (await start(stored, alice, id, nowhere)).status_code == 202
    assert "no public endpoint" in str((await ended(stored, id)).error)
    assert (await shown(stored, alice, id))["hw_cpu_cores"] == "1"
    assert (await start(stored, alice, id, method | {"glance_image_id": REMOTE_ID})).status_code == 202
    job = await ended(stored, id)
    assert job.error is None
    assert alice["X-Auth-Token"] not in job.args
    assert web.asked[-1][1]["X-Auth-Token"] == alice["X-Auth-Token"]
    found = await shown(stored, alice, id)
    assert (found["status"], found["disk_format"], found["container_format"]) == ("active", "raw", "bare")
    assert found["hw_cpu_cores"] == "5"
    assert "speed" not in found


async def test_add_location_is_hashed_and_can_be_booted_and_read(stored: ApiCloud, web: Web) -> None:
    alice, admin = await stored.member(), await stored.token()
    url, sha256 = f"{web.url}/image", hashlib.sha256(DATA).hexdigest()

    async def add(id: str, **validation: str) -> Any:
        body = {"url": url, "validation_data": validation}
        return await stored.call("POST", f"/image/v2/images/{id}/locations", alice, json=body)

    id = await make(stored, alice)
    for bad in ({"os_hash_value": "a" * 64}, {"os_hash_algo": "sha123", "os_hash_value": "a" * 64},
                {"os_hash_algo": "sha512", "os_hash_value": "a" * 64}):  # fmt: skip
        assert (await add(id, **bad)).status_code == 400
    assert (await add(id, os_hash_algo="sha256", os_hash_value="0" * 64)).status_code == 202
    assert "another sha256 hash" in str((await ended(stored, id)).error)
    found = await shown(stored, alice, id)
    assert (found["status"], found["os_hash_algo"], found["stores"]) == ("queued", None, "web")
    assert (await add(id, os_hash_algo="sha256", os_hash_value=sha256)).status_code == 202
    await ended(stored, id)
    found = await shown(stored, alice, id)
    assert (found["status"], found["os_hash_algo"], found["os_hash_value"]) == ("active", "sha256", sha256)
    assert (await add(id)).status_code == 409
    assert (await stored.call("GET", f"/image/v2/images/{id}/locations", alice)).status_code == 403
    where = (await stored.call("GET", f"/image/v2/images/{id}/locations", admin)).json()
    assert [loc["url"] for loc in where] == [url]
    assert (await stored.call("GET", f"/image/v2/images/{id}/file", alice)).content == DATA
    cached = (await stored.call("GET", "/image/v2/cache", admin)).json()["cached_images"]
    assert [(c["image_id"], c["hits"]) for c in cached] == [(id, 1)]
    await stored.call("DELETE", "/image/v2/cache", admin)
    web.files["/image"] = b"other data"
    answer = await stored.call("GET", f"/image/v2/images/{id}/file", alice)
    assert answer.status_code == 503
    assert "not what it was" in answer.text


async def test_a_server_boots_from_data_at_a_url(stored: ApiCloud, web: Web) -> None:
    """What it boots from is fetched, and is what was hashed; an image that was not hashed boots nothing."""
    caller = await compute_calls.admin(stored)
    admin, url = await stored.token(), f"{web.url}/image"
    id = await make(stored, admin)
    fresh = {"name": "s", "imageRef": id, "flavorRef": await caller.flavor()}
    body = {"server": fresh | {"networks": "none"}}
    assert (await caller.ask("POST", "/servers", "2.37", json=body)).status_code == 400
    await stored.call("POST", f"/image/v2/images/{id}/locations", admin, json={"url": url})
    await ended(stored, id)
    assert len(web.asked) == 1
    made = await caller.ask("POST", "/servers", "2.37", json=body)
    assert made.status_code == 202, made.text
    server = await caller.settle(made.json()["server"]["id"])
    assert server is not None
    assert str(server.state) == "active"
    assert len(web.asked) == 2
    cached = (await stored.call("GET", "/image/v2/cache", admin)).json()["cached_images"]
    assert [c["image_id"] for c in cached] == [id]


async def test_locations_by_patch(stored: ApiCloud, web: Web) -> None:
    alice = await stored.member()
    headers = alice | {"Content-Type": "application/openstack-images-v2.1-json-patch"}
    url = f"{web.url}/image"

    async def patch(id: str, op: str, path: str, value: Any = None) -> Any:
        body = json.dumps([{"op": op, "path": path, "value": value}])
        return await stored.call("PATCH", f"/image/v2/images/{id}", headers, content=body)

    id = await make(stored, alice)
    assert (await shown(stored, alice, id))["locations"] == []
    for bad in ("gopher://x/y", f"{web.url}/none", "http://127.0.0.9/x", f"http://a:b@{web.place}/image"):
        assert (await patch(id, "add", "/locations/-", {"url": bad, "metadata": {}})).status_code == 400, bad
    assert (await patch(id, "add", "/locations/-", {"url": url, "metadata": {"a": "b"}})).status_code == 200
    await ended(stored, id)
    found = await shown(stored, alice, id)
    assert (found["status"], found["os_hash_value"], found["size"]) == ("active", None, len(DATA))
    assert found["locations"] == [{"url": url, "metadata": {"a": "b", "store": "web"}}]
    assert (await patch(id, "add", "/locations/-", {"url": url, "metadata": {}})).status_code == 400
    assert (await patch(id, "remove", "/locations/0")).status_code == 403
    assert (await patch(id, "add", "/locations/-", {"url": f"{url}#2", "metadata": {}})).status_code == 200
    both = (await shown(stored, alice, id))["locations"]
    assert (await patch(id, "replace", "/locations", both[:1])).status_code == 400
    both[0]["metadata"]["a"] = "c"
    assert (await patch(id, "replace", "/locations", both)).status_code == 200
    assert (await shown(stored, alice, id))["locations"] == both
    assert (await patch(id, "remove", "/locations/7")).status_code == 400
    assert (await patch(id, "remove", "/locations/0")).status_code == 200
    assert [loc["url"] for loc in (await shown(stored, alice, id))["locations"]] == [f"{url}#2"]


async def test_locations_are_unseen_and_fixed_by_default(cloud: ApiCloud) -> None:
    alice = await cloud.member()
    id = await make(cloud, alice)
    assert "locations" not in await shown(cloud, alice, id)
    headers = alice | {"Content-Type": "application/openstack-images-v2.1-json-patch"}
    body = json.dumps([{"op": "add", "path": "/locations/-", "value": {"url": "http://x.example/", "metadata": {}}}])
    assert (await cloud.call("PATCH", f"/image/v2/images/{id}", headers, content=body)).status_code == 403
    location = {"url": "http://x.example/y"}
    assert (await cloud.call("POST", f"/image/v2/images/{id}/locations", alice, json=location)).status_code == 400


async def test_tasks(stored: ApiCloud, web: Web) -> None:
    admin, alice = await stored.token(), await stored.member()
    properties = {"name": "t", "disk_format": "raw", "container_format": "bare", "visibility": "public"}

    async def create(url: str, **more: Any) -> Any:
        body = {"type": "import", "input": {"import_from": url, "image_properties": properties | more}}
        return await stored.call("POST", "/image/v2/tasks", admin, json=body)

    assert (await stored.call("GET", "/image/v2/tasks", alice)).status_code == 403
    for name in ("task", "tasks"):
        assert (await stored.call("GET", f"/image/v2/schemas/{name}", alice)).json()["name"] == name
    assert (await create("file:///etc/passwd")).status_code == 400
    assert (await create(f"{web.url}/image", status="active")).status_code == 403
    good, bad = (await create(f"{web.url}/image")).json(), (await create(f"{web.url}/none")).json()
    assert (good["type"], good["status"]) == ("import", "pending")
    for task in (good, bad):
        await ended(stored, task["image_id"])
    done = (await stored.call("GET", f"/image/v2/tasks/{good['id']}", admin)).json()
    assert (done["status"], done["result"]) == ("success", {"image_id": good["image_id"]})
    assert (await shown(stored, alice, good["image_id"]))["status"] == "active"
    assert (await stored.call("GET", f"/image/v2/images/{bad['image_id']}", admin)).status_code == 404
    failed = (await stored.call("GET", "/image/v2/tasks?status=failure&type=import", admin)).json()
    assert [t["id"] for t in failed["tasks"]] == [bad["id"]]
    page = (await stored.call("GET", "/image/v2/tasks?limit=1&sort_key=created_at&sort_dir=asc", admin)).json()
    assert [t["id"] for t in page["tasks"]] == [good["id"]]
    following = (await stored.call("GET", f"/image{page['next']}", admin)).json()
    assert [t["id"] for t in following["tasks"]] == [bad["id"]]
    for query in ("sort_key=x", "sort_dir=x", "status=x", "type=x", "marker=x"):
        assert (await stored.call("GET", f"/image/v2/tasks?{query}", admin)).status_code == 400, query


async def test_the_cache(stored: ApiCloud, tmp_path: Path) -> None:
    admin, alice = await stored.token(), await stored.member()
    assert (await stored.call("GET", "/image/v2/cache", alice)).status_code == 403
    assert (await stored.call("PUT", "/image/v2/cache/none", admin)).status_code == 404
    id = await make(stored, alice)
    assert (await stored.call("PUT", f"/image/v2/cache/{id}", admin)).status_code == 400
    await stored.call("PUT", f"/image/v2/images/{id}/file", alice | OCTETS, content=DATA)
    assert (await stored.call("PUT", f"/image/v2/cache/{id}", admin)).status_code == 202
    await ended(stored, f"cache-{id}")
    copy = tmp_path / "state" / "images" / "cache" / hashlib.sha256(DATA).hexdigest()
    assert copy.is_file()
    await stored.call("GET", f"/image/v2/images/{id}/file", alice)
    (entry,) = (await stored.call("GET", "/image/v2/cache", admin)).json()["cached_images"]
    assert (entry["image_id"], entry["hits"], entry["size"]) == (id, 1, len(DATA))
    headers = admin | {"x-image-cache-clear-target": "invalid"}
    assert (await stored.call("DELETE", "/image/v2/cache", headers)).status_code == 400
    assert (await stored.call("DELETE", f"/image/v2/cache/{id}", admin)).status_code == 204
    assert not copy.exists()
    assert (await stored.call("DELETE", f"/image/v2/cache/{id}", admin)).status_code == 404
    await stored.call("PUT", f"/image/v2/cache/{id}", admin)
    await ended(stored, f"cache-{id}")
    await stored.call("DELETE", f"/image/v2/images/{id}", alice)
    assert not copy.exists()
    assert await stored.store.read(lambda r: r.count(CachedImage)) == 0


@pytest.mark.skipif(shutil.which("qemu-img") is None or os.geteuid() != 0, reason="needs qemu-img and root")
async def test_an_import_is_converted(stored: ApiCloud) -> None:
    object.__setattr__(stored.cloud.settings, "image_conversion", "raw")
    alice = await stored.member()
    id = await make(stored, alice, disk_format="qcow2")
    fields = (b"QFI\xfb", 3, 0, 0, 16, 1 << 20, 0, 1, 3 * 65536, 65536, 1, 0, 0, 0, 0, 0, 4, 104)
    parts = (struct.pack(">4sIQIIQIIQQIIQQQQII", *fields), struct.pack(">Q", 131072), struct.pack(">4H", 1, 1, 1, 1))
    await stage(stored, alice, id, b"".join(p.ljust(65536, b"\0") for p in (*parts, b"")))
    assert (await start(stored, alice, id, {"name": "glance-direct"})).status_code == 202
    job = await ended(stored, id)
    assert job.error is None
    found = await shown(stored, alice, id)
    assert (found["disk_format"], found["size"], found["status"]) == ("raw", 1 << 20, "active")
    assert found["os_hash_value"] == hashlib.sha512(bytes(1 << 20)).hexdigest()


@pytest.mark.parametrize("declared", ["vhd", "vhdx", "vdi", "iso", "ploop", "luks", "gpt", "vmdk", "qcow2"])
def test_random_bytes_are_of_no_format(declared: str) -> None:
    seen = Inspection(declared)
    seen.feed(DATA)
    with pytest.raises(errors.Invalid, match="did not match"):
        seen.finish()


def test_a_ploop_is_known_by_its_header() -> None:
    seen = Inspection("ploop")
    seen.feed(b"WithouFreSpacExt".ljust(4096, b"\0"))
    assert seen.finish() >= 0
