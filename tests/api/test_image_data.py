"""Image data: upload, download, staging, import, and what a failure leaves (nothing)."""

from __future__ import annotations

import asyncio
import hashlib
import http.server
import io
import os
import struct
import tarfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.api.conftest import ApiCloud
from tests.api.test_image_images import make, patch
from trilith import errors
from trilith.commands import blobs, images
from trilith.commands.image_inspection import Inspection
from trilith.jobs.engine import Engine
from trilith.jobs.image_import import IMPORT
from trilith.jobs.kind import Context
from trilith.model.image import BlobReference, Image, ImageState
from trilith.model.job import Job, JobError

OCTETS = {"Content-Type": "application/octet-stream"}
DATA = os.urandom(3 * 1024 * 1024 + 17)


def _all(cloud: ApiCloud) -> list[str]:
    root = cloud.cloud.services.blobs
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


_seeded: set[str] = set()


@pytest.fixture(autouse=True)
async def _what_was_there(cloud: ApiCloud) -> None:
    _seeded.clear()
    _seeded.update(_all(cloud))


def files(cloud: ApiCloud) -> list[str]:
    """Below the directory of blobs, without those of the images that a cloud has from the start, and without what has
    left its name already: a thread removes it, which may take a moment longer than the answer."""
    return [f for f in _all(cloud) if f not in _seeded and not f.startswith("gone/")]


def qcow2(backing: str = "", size: int = 1 << 30) -> bytes:
    """A version 3 header (docs/interop/qcow2.txt of QEMU), nothing in it."""
    name = backing.encode()
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        *(b"QFI\xfb", 3, 104 if name else 0, len(name), 16, size, 0, 1, 0x30000, 0x10000, 1, 0, 0),
        *(0, 0, 0, 4, 104),
    )
    return (header + name).ljust(4 * 65536, b"\0")


async def upload(cloud: ApiCloud, headers: dict[str, str], id: str, data: bytes) -> Any:
    return await cloud.call("PUT", f"/image/v2/images/{id}/file", headers | OCTETS, content=data)


async def shown(cloud: ApiCloud, headers: dict[str, str], id: str) -> dict[str, Any]:
    return (await cloud.call("GET", f"/image/v2/images/{id}", headers)).json()  # type: ignore[no-any-return]


async def test_what_goes_in_comes_out(cloud: ApiCloud) -> None:
    alice = await cloud.member()
    image = await make(cloud, alice)
    path = f"/image/v2/images/{image['id']}/file"
    assert (await cloud.call("GET", path, alice)).status_code == 204
    answer = await upload(cloud, alice, image["id"], DATA)
    assert (answer.status_code, answer.content) == (204, b"")
    found = await shown(cloud, alice, image["id"])
    assert found["status"] == "active"
    assert found["size"] == found["virtual_size"] == len(DATA)
    assert found["checksum"] == hashlib.md5(DATA).hexdigest()
    assert (found["os_hash_algo"], found["os_hash_value"]) == ("sha512", hashlib.sha512(DATA).hexdigest())
    assert files(cloud) == [hashlib.sha256(DATA).hexdigest()]
    whole = await cloud.call("GET", path, alice)
    assert whole.content == DATA
    assert whole.headers["content-md5"] == found["checksum"]
    assert whole.headers["content-length"] == str(len(DATA))
    assert (await upload(cloud, alice, image["id"], DATA)).status_code == 409
    refused = await patch(cloud, alice, image["id"], {"op": "replace", "path": "/disk_format", "value": "qcow2"})
    assert refused.status_code == 403


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=5-", 5, len(DATA)),
        ("bytes=-7", len(DATA) - 7, len(DATA)),
        ("bytes=10-99999999", 10, len(DATA)),
    ],
)
async def test_ranges(cloud: ApiCloud, header: str, start: int, end: int) -> None:
    alice = await cloud.member()
    image = await make(cloud, alice)
    await upload(cloud, alice, image["id"], DATA)
    answer = await cloud.call("GET", f"/image/v2/images/{image['id']}/file", alice | {"Range": header})
    assert answer.status_code == 206
    assert answer.content == DATA[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"
    for bad in (f"bytes={len(DATA)}-", "bytes=-0", "bytes=9-3", "bytes=0-1,5-6"):
        refused = await cloud.call("GET", f"/image/v2/images/{image['id']}/file", alice | {"Range": bad})
        assert refused.status_code == 416, bad


def _vmdk() -> bytes:
    """A sparse header (VMware's Virtual Disk Format 1.1) whose descriptor names another file."""
    header = struct.pack("<4sIIQQQQIQQQ", b"KDMV", 1, 3, 2048, 128, 1, 20, 512, 21, 22, 128).ljust(512, b"\0")
    descriptor = b'# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 2048 FLAT "/etc/shadow" 0\n'
    return header + descriptor.ljust(64 * 1024, b"\0")


@pytest.mark.parametrize(
    ("declared", "data", "says"),
    [
        ("raw", qcow2(), "qcow2 was found"),
        ("qcow2", DATA[:4096], "did not match"),
        ("qcow2", qcow2("/etc/shadow"), "not safe"),
        ("raw", qcow2("/etc/shadow"), "not safe"),
        ("vmdk", _vmdk(), "not safe"),
        ("root-tar", DATA[:4096], "no root-tar"),
        ("squashfs", DATA[:4096], "no squashfs"),
        ("iso", DATA[:4096], "did not match"),
    ],
)
async def test_a_refused_upload_leaves_the_image_queued_and_no_file(
    cloud: ApiCloud, declared: str, data: bytes, says: str
) -> None:
    alice = await cloud.member()
    image = await make(cloud, alice, disk_format=declared)
    answer = await upload(cloud, alice, image["id"], data)
    assert answer.status_code == 400, answer.text
    assert says in answer.json()["message"]
    found = await shown(cloud, alice, image["id"])
    assert (found["status"], found["size"], found["checksum"]) == ("queued", None, None)
    assert files(cloud) == []
    again = await make(cloud, alice)
    assert (await upload(cloud, alice, again["id"], DATA)).status_code == 204


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("etc"))
    return out.getvalue()


@pytest.mark.parametrize(
    ("declared", "data", "virtual"),
    [
        ("qcow2", qcow2(size=5 << 30), 5 << 30),
        ("root-tar", _tar(), None),
        ("squashfs", b"hsqs" + b"\0" * 1024, None),
        ("raw", b"", 0),
    ],
)
async def test_declared_formats_are_taken(cloud: ApiCloud, declared: str, data: bytes, virtual: int | None) -> None:
    alice = await cloud.member()
    image = await make(cloud, alice, disk_format=declared)
    answer = await upload(cloud, alice, image["id"], data)
    assert answer.status_code == 204, answer.text
    assert (await shown(cloud, alice, image["id"]))["virtual_size"] == virtual
    assert (await cloud.call("GET", f"/image/v2/images/{image['id']}/file", alice)).content == data


async def test_the_wrong_content_type_and_missing_formats(cloud: ApiCloud) -> None:
    alice = await cloud.member()
    image = (await cloud.call("POST", "/image/v2/images", alice, json={"name": "bare"})).json()
    path = f"/image/v2/images/{image['id']}/file"
    assert (await cloud.call("PUT", path, alice | {"Content-Type": "text/plain"}, content=b"x")).status_code == 415
    assert (await upload(cloud, alice, image["id"], b"x")).status_code == 400
    assert (await shown(cloud, alice, image["id"]))["status"] == "queued"


async def test_an_upload_that_breaks_off_leaves_nothing(cloud: ApiCloud) -> None:
    alice = await cloud.member()
    image = await make(cloud, alice)
    sent = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield DATA
        sent.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(
        cloud.call("PUT", f"/image/v2/images/{image['id']}/file", alice | OCTETS, content=body())
    )
    await sent.wait()
    assert (await shown(cloud, alice, image["id"]))["status"] == "saving"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await shown(cloud, alice, image["id"]))["status"] == "queued"
    assert files(cloud) == []


async def test_too_large_and_a_full_disk_are_413(cloud: ApiCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = await cloud.member()
    image = await make(cloud, alice)

    def full(self: blobs.Sink, data: bytes) -> None:
        with blobs.full_disk():
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(blobs.Sink, "_write", full)
        answer = await upload(cloud, alice, image["id"], DATA)
    assert answer.status_code == 413
    assert "No space left" in answer.json()["message"]
    sink = blobs.Sink(cloud.cloud.services.blobs, None, limit=10)
    with pytest.raises(errors.TooLarge):
        sink.write(b"x" * 11)
    sink.discard()
    assert (await shown(cloud, alice, image["id"]))["status"] == "queued"
    assert files(cloud) == []


async def test_deactivated_data_is_forbidden_but_to_an_admin(cloud: ApiCloud) -> None:
    alice, admin = await cloud.member(), await cloud.token()
    image = await make(cloud, alice)
    base = f"/image/v2/images/{image['id']}"
    assert (await cloud.call("POST", f"{base}/actions/deactivate", alice)).status_code == 403
    await upload(cloud, alice, image["id"], DATA)
    for _ in range(2):
        assert (await cloud.call("POST", f"{base}/actions/deactivate", alice)).status_code == 204
    assert (await shown(cloud, alice, image["id"]))["status"] == "deactivated"
    assert (await cloud.call("GET", f"{base}/file", alice)).status_code == 403
    assert (await cloud.call("GET", f"{base}/file", admin)).status_code == 200
    assert (await cloud.call("POST", f"{base}/actions/reactivate", alice)).status_code == 204
    assert (await cloud.call("GET", f"{base}/file", alice)).content == DATA


async def test_a_blob_stays_while_anybody_needs_it(cloud: ApiCloud) -> None:
    alice = await cloud.member()
    one, two = await make(cloud, alice), await make(cloud, alice)
    await upload(cloud, alice, one["id"], DATA)
    await upload(cloud, alice, two["id"], DATA)
    sha = hashlib.sha256(DATA).hexdigest()
    await cloud.store.write(lambda tx: blobs.hold(tx, sha, "server", "server-1"))
    for image in (one, two):
        assert files(cloud) == [sha]
        assert (await cloud.call("DELETE", f"/image/v2/images/{image['id']}", alice)).status_code == 204
    assert files(cloud) == [sha]
    sweeper = asyncio.create_task(blobs.keep_swept(cloud.store, cloud.cloud.services.stores))
    await asyncio.sleep(0.05)
    gone = await cloud.store.write(lambda tx: blobs.release(tx, "server-1"))
    assert gone == [sha]
    async with asyncio.timeout(5):
        while files(cloud):
            await asyncio.sleep(0.01)
    sweeper.cancel()
    with pytest.raises(errors.Missing):
        await cloud.store.write(lambda tx: blobs.hold(tx, sha, "server", "server-2"))


async def test_a_start_sweeps_what_a_death_left(cloud: ApiCloud) -> None:
    alice, directory = await cloud.member(), cloud.cloud.services.blobs
    kept = await make(cloud, alice)
    await upload(cloud, alice, kept["id"], DATA)
    staged, dead = await make(cloud, alice), await make(cloud, alice)
    await cloud.call("PUT", f"/image/v2/images/{staged['id']}/stage", alice | OCTETS, content=b"staged")
    await cloud.store.write(lambda tx: images.begin_upload(tx, dead["id"], "here"))
    (directory / "tmp").mkdir(exist_ok=True)
    (directory / "tmp" / "half").write_bytes(b"x")
    (directory / ("0" * 64)).write_bytes(b"orphan")
    (directory / "staging" / "nobody").write_bytes(b"x")
    await blobs.sweep(cloud.store, cloud.cloud.services.stores, "here")
    assert files(cloud) == sorted([hashlib.sha256(DATA).hexdigest(), f"staging/{staged['id']}"])
    assert (await shown(cloud, alice, dead["id"]))["status"] == "queued"
    assert (await shown(cloud, alice, staged["id"]))["status"] == "uploading"


@pytest.fixture
async def engine(cloud: ApiCloud) -> AsyncIterator[Engine]:
    """Runs imports where the cloud's own engine does not know them."""
    if IMPORT.name in cloud.cloud.engine.kinds:
        yield cloud.cloud.engine
        return
    made = Engine(cloud.cloud.services, {IMPORT.name: IMPORT})
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.wait([task])


async def _until(cloud: ApiCloud, headers: dict[str, str], id: str, *states: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            found = await shown(cloud, headers, id)
            if found["status"] in states:
                return found
            cursor = await cloud.store.head()
            await cloud.store.wait(cursor, timeout=0.2)


async def test_glance_direct(cloud: ApiCloud, engine: Engine) -> None:
    alice = await cloud.member()
    image = await make(cloud, alice)
    base = f"/image/v2/images/{image['id']}"
    body = {"method": {"name": "glance-direct"}}
    assert (await cloud.call("POST", f"{base}/import", alice, json=body)).status_code == 409
    assert (await cloud.call("PUT", f"{base}/stage", alice | OCTETS, content=DATA)).status_code == 204
    assert (await shown(cloud, alice, image["id"]))["status"] == "uploading"
    answer = await cloud.call("POST", f"{base}/import", alice, json=body)
    assert (answer.status_code, answer.content) == (202, b"")
    found = await _until(cloud, alice, image["id"], "active")
    assert found["checksum"] == hashlib.md5(DATA).hexdigest()
    assert files(cloud) == [hashlib.sha256(DATA).hexdigest()]
    (task,) = (await cloud.call("GET", f"{base}/tasks", alice)).json()["tasks"]
    assert (task["status"], task["request_id"]) == ("success", answer.headers["x-openstack-request-id"])
    assert task["input"]["import_req"]["method"]["name"] == "glance-direct"


async def test_a_refused_import_is_queued_again_and_leaves_nothing(cloud: ApiCloud, engine: Engine) -> None:
    alice = await cloud.member()
    image = await make(cloud, alice, disk_format="qcow2")
    base = f"/image/v2/images/{image['id']}"
    await cloud.call("PUT", f"{base}/stage", alice | OCTETS, content=qcow2("/etc/shadow"))
    await cloud.call("POST", f"{base}/import", alice, json={"method": {"name": "glance-direct"}})
    found = await _until(cloud, alice, image["id"], "queued")
    assert found["os_glance_failed_import"] == "local"
    assert found["checksum"] is None
    assert files(cloud) == []
    (task,) = (await cloud.call("GET", f"{base}/tasks", alice)).json()["tasks"]
    assert task["status"] == "failure"
    assert "not safe" in task["message"]


@pytest.mark.parametrize("died_at", range(3))
async def test_an_import_that_died_goes_on_or_is_undone(
    cloud: ApiCloud, monkeypatch: pytest.MonkeyPatch, died_at: int
) -> None:
    """Each step runs again after its effect without its record, as after a kill -9; and its undo takes all back."""
    monkeypatch.setattr(cloud.cloud.engine, "_consider", lambda job: None)
    alice, services = await cloud.member(), cloud.cloud.services
    for whole in (True, False):
        image = await make(cloud, alice)
        base = f"/image/v2/images/{image['id']}"
        await cloud.call("PUT", f"{base}/stage", alice | OCTETS, content=DATA)
        await cloud.call("POST", f"{base}/import", alice, json={"method": {"name": "glance-direct"}})
        job = await cloud.store.read(lambda r, id=image["id"]: r.first(Job, resource_id=id))
        args = msgspec.json.decode(job.args, type=IMPORT.args)
        context: Context[Any] = Context(job=job, args=args, services=services)
        for number, step in enumerate(IMPORT.steps[: None if whole else died_at + 1]):
            for _ in range(2 if number == died_at else 1):
                if step.check is None or not await step.check(context):
                    await step.do(context)
            await blobs.sweep(cloud.store, services.stores, "elsewhere")  # what a start does in between
        if whole:
            await cloud.store.write(lambda tx, job=job, args=args: IMPORT.finish(tx, job, args))
            assert (await shown(cloud, alice, image["id"]))["status"] == "active"
            assert files(cloud) == [hashlib.sha256(DATA).hexdigest()]
            await cloud.call("DELETE", base, alice)
        else:
            for step in reversed(IMPORT.steps[: died_at + 1]):
                if step.undo is not None:
                    await step.undo(context)
            error = JobError(code="conflict", message="Cancelled.")
            await cloud.store.write(lambda tx, job=job, args=args, error=error: IMPORT.fail(tx, job, args, error))
            assert (await shown(cloud, alice, image["id"]))["status"] == "queued"
        assert files(cloud) == []


@pytest.fixture
def web() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/away":
                self.send_response(302)
                self.send_header("Location", "http://127.0.0.2:1/x")
                self.end_headers()
                return
            self.send_response(200 if self.path == "/image" else 404)
            self.send_header("Content-Length", str(len(DATA)))
            self.end_headers()
            self.wfile.write(DATA)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_web_download(cloud: ApiCloud, engine: Engine, web: str) -> None:
    alice = await cloud.member()

    async def start(uri: str) -> tuple[Any, str]:
        image = await make(cloud, alice)
        body = {"method": {"name": "web-download", "uri": uri}}
        return await cloud.call("POST", f"/image/v2/images/{image['id']}/import", alice, json=body), image["id"]

    for uri in (
        f"{web}/image",
        "http://localhost/x",
        "http://[::1]/x",
        "http://169.254.169.254/x",
        "file:///etc/passwd",
    ):
        answer, id = await start(uri)
        assert answer.status_code == 400, uri
        assert "does not pass filtering" in answer.text
        assert (await shown(cloud, alice, id))["status"] == "queued"
    object.__setattr__(cloud.cloud.settings, "image_import_allow", ("127.0.0.1/32",))
    answer, id = await start(f"{web}/image")
    assert answer.status_code == 202
    assert (await _until(cloud, alice, id, "active", "queued"))["checksum"] == hashlib.md5(DATA).hexdigest()
    for broken in ("/none", "/away"):
        answer, id = await start(web + broken)
        assert answer.status_code == 202
        assert (await _until(cloud, alice, id, "active", "queued"))["os_glance_failed_import"] == "local"
    assert files(cloud) == [hashlib.sha256(DATA).hexdigest()]


async def test_a_snapshots_file_becomes_a_blob(cloud: ApiCloud, tmp_path: Path) -> None:
    directory, made = cloud.cloud.services.blobs, tmp_path / "snapshot.qcow2"
    made.write_bytes(qcow2(size=7 << 30))
    image = await cloud.store.write(
        lambda tx: images.begin_snapshot(tx, name="s", owner="p", disk_format="qcow2", job_id="j")
    )
    assert image.state is ImageState.SAVING
    async with blobs.ingesting(made, directory) as facts:
        assert facts.virtual_size == 7 << 30
        assert await blobs.collect(cloud.store, cloud.cloud.services.stores, [facts.sha256]) == []
        for _ in range(2):
            await cloud.store.write(lambda tx: images.finish_snapshot(tx, image.id, facts))
    assert not made.exists()
    assert files(cloud) == [facts.sha256]
    done = await cloud.store.read(lambda r: r.get(Image, image.id))
    assert (done.state, done.job_id) == (ImageState.ACTIVE, "")
    other = await cloud.store.write(
        lambda tx: images.begin_snapshot(tx, name="t", owner="p", disk_format="qcow2", job_id="j")
    )
    for _ in range(2):
        await cloud.store.write(lambda tx: images.fail_snapshot(tx, other.id))
        assert await cloud.store.read(lambda r: r.find(Image, other.id)) is None
    assert await cloud.store.read(lambda r: r.count(BlobReference, sha256=facts.sha256)) == 1


def test_inspection_sees_through_small_pieces() -> None:
    data, seen = qcow2("/x"), Inspection("qcow2")
    for at in range(0, len(data), 1000):
        seen.feed(data[at : at + 1000])
    with pytest.raises(errors.Invalid, match="not safe"):
        seen.finish()
