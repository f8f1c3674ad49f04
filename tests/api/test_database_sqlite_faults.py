"""The embedded database's disk is full, locked, only read or broken: 503, and service again by itself."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.api.conftest import PASSWORD, ApiCloud, settings_of
from tests.api.test_database_postgres_faults import back, call, settled
from trilith.app import cloud as start_cloud
from trilith.store.sqlite import SqliteStore

pytestmark = pytest.mark.timeout(120)
_PATHS = ("/compute/v2.1/servers", "/network/v2.0/ports", "/identity/v3/users", "/image/v2/images")


@contextmanager
def small_disk(point: Path, mib: int) -> Iterator[Path]:
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "trilith-test", str(point)], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", str(point)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the room, also what others gave back while it grew."""
    hog = folder / "hog"
    with hog.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return hog


@pytest.fixture
async def small(tmp_path: Path, first_start: Path) -> AsyncIterator[ApiCloud]:
    """A cloud whose state is on a file system of 24 MiB."""
    with small_disk(tmp_path / "disk", 24) as disk:
        state = disk / "s"
        shutil.copytree(first_start, state, ignore=shutil.ignore_patterns("*.sock"))
        async with start_cloud(settings_of(state), admin_password=PASSWORD) as running:
            transport = httpx.ASGITransport(app=running.api)
            async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
                yield ApiCloud(running, client)


def writes(n: int) -> list[tuple[str, str, dict[str, object]]]:
    """One POST of each service, with more content than a page of the database."""
    text = "x" * 200
    return [
        ("POST", "/compute/v2.1/os-keypairs", {"keypair": {"name": f"k{n}"}}),
        ("POST", "/network/v2.0/networks", {"network": {"name": f"n{n}", "description": text}}),
        ("POST", "/identity/v3/projects", {"project": {"name": f"p{n}", "description": text}}),
        ("POST", "/image/v2/images", {"name": f"i{n}", "note": text, "disk_format": "raw", "container_format": "bare"}),
        ("POST", "/placement/resource_providers", {"name": f"r{n}"}),
    ]


@pytest.mark.root
async def test_a_full_disk_refuses_writes_and_not_reads(small: ApiCloud) -> None:
    admin = await small.token()
    images = (await small.call("GET", "/image/v2/images", admin)).json()["images"]
    flavors = (await small.call("GET", "/compute/v2.1/flavors", admin)).json()["flavors"]
    server = {"server": {"name": "s", "imageRef": images[0]["id"], "flavorRef": flavors[0]["id"], "networks": "none"}}
    headers = admin | {"OpenStack-API-Version": "compute 2.37"}
    disk = small.cloud.settings.state
    answer = await small.call("POST", "/compute/v2.1/servers", headers, json=server)
    assert answer.status_code == 202, answer.text
    hog = fill(disk)
    # what the log has room for already goes in: it is full after a few
    refused: dict[str, httpx.Response] = {}
    for n in range(400):
        for method, path, body in writes(n):
            answer = await call(small, method, path, admin, json=body)
            assert answer.status_code in (200, 201, 503), answer.text
            if answer.status_code == 503:
                refused[path] = answer
        if len(refused) == 5:
            break
    assert len(refused) == 5, sorted(refused)
    for path, answer in refused.items():
        assert "full" in answer.text, path
        assert "space" in answer.text, path
        assert answer.headers["Retry-After"] == "5"
    for path in _PATHS:
        assert (await call(small, "GET", path, admin)).status_code == 200
    answer = await call(small, "POST", "/compute/v2.1/servers", headers, json=server)
    assert answer.status_code == 503, answer.text
    began = time.monotonic()
    hog.unlink()
    for method, path, body in writes(1000):
        answer = await call(small, method, path, admin, json=body)
        assert answer.status_code in (200, 201), answer.text
    print(f"served again {time.monotonic() - began:.2f} s after there was room")
    await settled(small)
    listed = (await small.call("GET", "/compute/v2.1/servers/detail", admin)).json()["servers"]
    assert [s["status"] for s in listed] == ["ACTIVE"]
    assert not small.cloud.problem.is_set(), small.cloud.failures
    with closing(sqlite3.connect(disk / "trilith.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.root
async def test_a_job_whose_record_has_no_room_goes_on_when_there_is(small: ApiCloud) -> None:
    """The disk is full between the request and the first step's record."""
    admin = await small.token()
    store = small.store
    assert isinstance(store, SqliteStore)
    images = (await small.call("GET", "/image/v2/images", admin)).json()["images"]
    flavors = (await small.call("GET", "/compute/v2.1/flavors", admin)).json()["flavors"]
    server = {"server": {"name": "s", "imageRef": images[0]["id"], "flavorRef": flavors[0]["id"], "networks": "none"}}
    headers = admin | {"OpenStack-API-Version": "compute 2.37"}
    hogs: list[Path] = []
    real = store._commit

    def full_afterwards(conn: object, group: list[object]) -> object:
        made = real(conn, group)  # type: ignore[arg-type]
        if not hogs and any(str(getattr(job, "action", "")).endswith("server.create") for job in group):
            with closing(sqlite3.connect(store.path)) as shell:
                shell.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            hogs.append(fill(small.cloud.settings.state))
        return made

    store._commit = full_afterwards  # type: ignore[method-assign,assignment]
    answer = await small.call("POST", "/compute/v2.1/servers", headers, json=server)
    assert answer.status_code == 202, answer.text
    await asyncio.sleep(2.5)
    assert hogs
    found = (await small.call("GET", "/compute/v2.1/servers/detail", admin)).json()["servers"]
    assert [s["status"] for s in found] == ["BUILD"]
    hogs[0].unlink()
    await settled(small)
    found = (await small.call("GET", "/compute/v2.1/servers/detail", admin)).json()["servers"]
    assert [s["status"] for s in found] == ["ACTIVE"]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody's shell holds the write lock."""
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        yield
        shell.execute("ROLLBACK")


async def test_a_lock_of_somebody_else_is_waited_for_and_then_said(cloud: ApiCloud) -> None:
    admin = await cloud.token()
    state = cloud.cloud.settings.state
    with locked(state / "trilith.db"):
        began = time.monotonic()
        answers = await asyncio.gather(*(call(cloud, m, p, admin, json=b) for m, p, b in writes(1)))
        took = time.monotonic() - began
        assert [a.status_code for a in answers] == [503] * 5
        assert all("locked" in a.text for a in answers)
        assert [(await call(cloud, "GET", path, admin)).status_code for path in _PATHS] == [200] * 4
    answers = [await call(cloud, m, p, admin, json=b) for m, p, b in writes(1)]
    assert {a.status_code for a in answers} <= {200, 201}
    assert took < 12, "the waits come one after the other"
    assert not cloud.cloud.problem.is_set(), cloud.cloud.failures


def _garbage(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"nonsense" * 512)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("broken", [_garbage, _directory])
async def test_a_file_that_cannot_be_read_is_said_and_read_again_when_it_is_back(
    cloud: ApiCloud, broken: Callable[[Path], None]
) -> None:
    """New connections meet it: those that were open may still serve what they have."""
    admin = await cloud.token()
    store = cloud.store
    assert isinstance(store, SqliteStore)
    path = store.path
    aside = {p: p.with_name(f"aside-{p.name}") for p in path.parent.glob("trilith.db*")}
    await settled(cloud)
    await store.write(lambda tx: None)
    store._local = threading.local()  # every connection is closed, as after a failure
    for one, other in aside.items():
        shutil.copy2(one, other)
    for one in aside:
        if one != path:
            one.unlink()
    broken(path)
    cloud.cloud.host.tokens.forget()
    answers = [await call(cloud, "GET", p, admin) for p in _PATHS]
    assert [a.status_code for a in answers] == [503] * len(_PATHS), [a.text for a in answers]
    assert all("Retry-After" in a.headers for a in answers)
    if path.is_dir():
        path.rmdir()
    for one, other in aside.items():
        other.replace(one)
    await back(cloud, admin)
    assert not cloud.cloud.problem.is_set(), cloud.cloud.failures
