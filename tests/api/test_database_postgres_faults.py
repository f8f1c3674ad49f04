"""PostgreSQL goes away under a cloud that works: every service says 503 in its own words, and all goes on after it."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.conftest import PASSWORD, ApiCloud
from tests.postgres_server import PostgresServer
from trilith import errors
from trilith.api.http.route import PUBLIC, Route, Service
from trilith.app import api_services
from trilith.app import cloud as start_cloud
from trilith.config import Settings
from trilith.model.job import ACTIVE, Job
from trilith.model.record import Actor
from trilith.store.postgres import PostgresStore

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(180)]

#: what each route's path is filled with
_ID = "6f70656e-7374-4b61-8b69-6e6974746573"
#: seconds: a request that takes longer hangs
_PATIENCE = 20.0


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    running = PostgresServer()
    running.start()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
async def cloud(tmp_path: Path, server: PostgresServer) -> AsyncIterator[ApiCloud]:
    settings = Settings(
        state=tmp_path / "state", simulated=2, public_url="http://testserver", database=server.database()
    )
    async with start_cloud(settings, admin_password=PASSWORD) as running:
        transport = httpx.ASGITransport(app=running.api)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver", timeout=60) as client:
            yield ApiCloud(running, client)


async def call(cloud: ApiCloud, method: str, path: str, headers: dict[str, str], **more: Any) -> httpx.Response:
    """Never later than the patience of a user."""
    async with asyncio.timeout(_PATIENCE):
        return await cloud.call(method, path, headers, **more)


async def back(cloud: ApiCloud, headers: dict[str, str]) -> float:
    """Seconds until a log-in's worth of reads is answered again."""
    began = time.monotonic()
    async with asyncio.timeout(30):
        while (await call(cloud, "GET", "/compute/v2.1/servers/detail", headers)).status_code != 200:
            await asyncio.sleep(0.1)
    return time.monotonic() - began


async def settled(cloud: ApiCloud) -> None:
    """Until no job is open."""
    async with asyncio.timeout(90):
        while True:
            cursor = await cloud.store.head()
            if not await cloud.store.read(lambda r: r.select(Job, state=ACTIVE)):
                return
            await cloud.store.wait(cursor, timeout=2)


def own_words(service: Service, answer: httpx.Response) -> list[str]:
    """What is wrong with a 503 of that service."""
    wrong = []
    if answer.headers.get("retry-after") is None:
        wrong.append("no Retry-After")
    if answer.headers.get("x-trilith-error") != "database":
        wrong.append(f"it says {answer.headers.get('x-trilith-error')}")
    if answer.request.method == "HEAD":
        return wrong
    if "repeated" not in answer.text:
        wrong.append("no hint")
    if re.search(r"SELECT|INSERT|\[SQL", answer.text):
        wrong.append("a statement of ours in it")
    err = errors.DatabaseAway("m", hint="h")
    made = service.error_answer(503, err, answer.headers) if service.error_answer else service.error_body(503, err)
    if service.error_media_type.startswith("application/json"):
        form = httpx.Response(200, content=encoded(made)).json()
        shown = answer.json()
        if shapes(form) != shapes(shown):
            wrong.append(f"the form {shown} instead of {form}")
    return wrong


def encoded(made: Any) -> bytes:
    import msgspec

    return made if isinstance(made, bytes) else msgspec.json.encode(made)


def shapes(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: shapes(v) for k, v in value.items()}
    return [shapes(v) for v in value] if isinstance(value, list) else type(value).__name__


def places() -> list[tuple[Service, Route, str]]:
    return [
        (service, route, (service.prefix + re.sub(r"{[^}]+}", _ID, route.path)) or "/")
        for service in api_services()
        for route in service.routes
    ]


def version(service: Service, route: Route) -> dict[str, str]:
    """Headers that ask for a microversion in which the route exists."""
    asked = route.since or route.until
    return {"OpenStack-API-Version": f"{service.name} {asked}"} if asked and "." in asked else {}


async def test_every_route_of_every_service_says_so_and_serves_again(cloud: ApiCloud, server: PostgresServer) -> None:
    admin = await cloud.token()
    connections = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'trilith' AND datname LIKE 't%'"
    server.halt()
    wrong: list[str] = []
    seen: Counter[int] = Counter()
    for service, route, path in places():
        answer = await call(cloud, route.method, path, admin | version(service, route))
        seen[answer.status_code] += 1
        where = f"{route.method} {path}"
        if route.policy == PUBLIC:
            # discovery, and log-ins without a body: what needs no database is answered
            wrong += [f"{where}: {answer.status_code}"] if answer.status_code in (500, 504) else []
            continue
        if answer.status_code != 503:
            wrong.append(f"{where}: {answer.status_code} {answer.text[:200]}")
        else:
            wrong += [f"{where}: {what}" for what in own_words(service, answer)]
    assert wrong == []
    assert seen[503] > 600, seen
    server.again()
    print(f"{seen}, back after {await back(cloud, admin):.2f} s")
    assert not cloud.cloud.problem.is_set(), cloud.cloud.failures
    assert int(server.ask(connections)) <= 18  # the pool's 16, the listener and the leader


async def test_a_handler_that_meets_it_says_so(
    cloud: ApiCloud, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token was good a moment ago: it is the handler that finds the database away."""
    admin = await cloud.token()
    known: Actor = await cloud.cloud.host.tokens.actor(admin["X-Auth-Token"])

    async def actor(token: str) -> Actor:
        return known

    monkeypatch.setattr(cloud.cloud.host.tokens, "actor", actor)
    server.halt()
    wrong: list[str] = []
    seen: Counter[int] = Counter()
    for service, route, path in places():
        if route.method not in ("GET", "DELETE", "HEAD"):
            continue
        answer = await call(cloud, route.method, path, admin | version(service, route))
        seen[answer.status_code] += 1
        where = f"{route.method} {path}"
        if answer.status_code in (500, 504):
            wrong.append(f"{where}: {answer.status_code} {answer.text[:200]}")
        elif answer.status_code == 503:
            wrong += [f"{where}: {what}" for what in own_words(service, answer)]
    assert wrong == []
    assert seen[503] > 0.7 * seen.total(), seen


@pytest.mark.parametrize("mode", ["immediate", "fast"])
async def test_what_is_under_way_goes_on_after_a_restart(cloud: ApiCloud, server: PostgresServer, mode: str) -> None:
    """Servers are made and deleted from several clients meanwhile; what was accepted comes to its end."""
    admin = await cloud.token()
    images = (await cloud.call("GET", "/image/v2/images", admin)).json()["images"]
    flavors = (await cloud.call("GET", "/compute/v2.1/flavors", admin)).json()["flavors"]
    network = (await cloud.call("GET", "/network/v2.0/networks", admin)).json()["networks"][0]["id"]
    wanted = {"imageRef": images[0]["id"], "flavorRef": flavors[0]["id"], "networks": [{"uuid": network}]}
    statuses: Counter[int] = Counter()
    made: list[str] = []
    doomed: list[str] = []
    stopping = asyncio.Event()

    async def client(number: int) -> None:
        turn = 0
        while not stopping.is_set():
            turn += 1
            body = {"server": {"name": f"s{number}-{turn}", **wanted}}
            answer = await call(cloud, "POST", "/compute/v2.1/servers", admin, json=body)
            statuses[answer.status_code] += 1
            if answer.status_code == 202:
                made.append(answer.json()["server"]["id"])
                if turn % 3 == 0:
                    gone = await call(cloud, "DELETE", f"/compute/v2.1/servers/{made[-1]}", admin)
                    statuses[gone.status_code] += 1
                    if gone.status_code == 204:
                        doomed.append(made[-1])
            await asyncio.sleep(0.05)

    head = await cloud.store.head()
    clients = [asyncio.create_task(client(n)) for n in range(4)]
    await asyncio.sleep(1.0)
    await asyncio.to_thread(server.halt, mode)
    await asyncio.sleep(1.5)
    await asyncio.to_thread(server.again)
    await back(cloud, admin)
    await asyncio.sleep(1.0)
    stopping.set()
    await asyncio.gather(*clients)
    await settled(cloud)
    print(mode, dict(statuses), len(made))
    # a server may be in though its client was told 503; the quota's end is 403, and a name twice is nobody's fault
    assert set(statuses) <= {202, 204, 403, 409, 503}, statuses
    assert statuses[503] > 0
    assert len(made) > 3
    listed = (await cloud.call("GET", "/compute/v2.1/servers/detail", admin)).json()["servers"]
    shown = {s["id"]: s["status"] for s in listed}
    assert {shown.get(id) for id in made if id not in doomed} <= {"ACTIVE"}
    assert {id for id in doomed if id in shown} == set()
    assert not cloud.cloud.problem.is_set(), cloud.cloud.failures
    # who follows the feed has missed nothing, and hears of the next change at once
    rows = await cloud.store.feed(head, limit=5000)
    assert set(made) <= {row.id for row in rows if row.noun == "server"}
    async with asyncio.timeout(10):
        while server.ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'trilith-listen'") != "1":
            await asyncio.sleep(0.1)
    waiting = asyncio.create_task(cloud.store.wait(await cloud.store.head(), timeout=30))
    await cloud.call("POST", "/compute/v2.1/os-keypairs", admin, json={"keypair": {"name": "news"}})
    async with asyncio.timeout(3):
        await waiting
    leaders = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'trilith-leader'"
    assert server.ask(leaders) == "1"
    assert len(cloud.cloud.engine._running) == 0


async def test_a_server_that_hangs_is_not_waited_for(cloud: ApiCloud, server: PostgresServer) -> None:
    store = cloud.store
    assert isinstance(store, PostgresStore)
    admin = await cloud.token()
    store.deadline = 1.0
    server.freeze()
    try:
        began = time.monotonic()
        paths = ("/compute/v2.1/servers", "/network/v2.0/ports", "/identity/v3/users", "/image/v2/images")
        answers = await asyncio.gather(*(call(cloud, "GET", path, admin) for path in paths * 10))
        took = time.monotonic() - began
        assert {a.status_code for a in answers} == {503}, Counter(a.status_code for a in answers)
        assert all("Retry-After" in a.headers for a in answers)
    finally:
        server.thaw()
    store.deadline = 30.0
    print(f"40 requests refused in {took:.1f} s, back after {await back(cloud, admin):.2f} s")
    assert took < 10
    assert not cloud.cloud.problem.is_set(), cloud.cloud.failures


async def test_the_event_stream_outlives_it(cloud: ApiCloud, server: PostgresServer) -> None:
    admin = await cloud.token()
    lines: asyncio.Queue[str] = asyncio.Queue()

    async def follow() -> None:
        # ASGITransport answers only when the body has ended: the application is spoken to itself
        scope: dict[str, Any] = {
            "type": "http", "http_version": "1.1", "method": "GET", "path": "/trilith/v1/events", "root_path": "",
            "raw_path": b"/trilith/v1/events", "query_string": b"noun=keypair", "scheme": "http",
            "headers": [(b"x-auth-token", admin["X-Auth-Token"].encode()), (b"host", b"testserver")],
            "client": ("127.0.0.1", 1), "server": ("testserver", 80),
        }  # fmt: skip
        forever = asyncio.Event()

        async def receive() -> Any:
            if not forever.is_set():
                forever.set()
                return {"type": "http.request", "body": b"", "more_body": False}
            await asyncio.Event().wait()
            return {}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                lines.put_nowait(str(message["status"]))
            else:
                lines.put_nowait(message.get("body", b"").decode())

        await cloud.cloud.api(scope, receive, send)  # type: ignore[arg-type]

    async def until(word: str) -> None:
        async with asyncio.timeout(20):
            while word not in await lines.get():
                pass

    following = asyncio.create_task(follow())
    try:
        await until("200")
        await until("following")
        server.halt()
        await until("away")
        server.again()
        await back(cloud, admin)
        await cloud.call("POST", "/compute/v2.1/os-keypairs", admin, json={"keypair": {"name": "after"}})
        await until("keypair.created")
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_an_upload_that_it_breaks_is_queued_again(cloud: ApiCloud, server: PostgresServer) -> None:
    admin = await cloud.token()
    body = {"name": "broken", "disk_format": "raw", "container_format": "bare"}
    image = (await cloud.call("POST", "/image/v2/images", admin, json=body)).json()["id"]
    path = f"/image/v2/images/{image}/file"
    headers = admin | {"Content-Type": "application/octet-stream"}

    async def data() -> AsyncIterator[bytes]:
        yield bytes(1 << 20)
        await asyncio.to_thread(server.halt)
        yield b"the end"

    answer = await call(cloud, "PUT", path, headers, content=data())
    assert answer.status_code == 503, answer.text
    server.again()
    await back(cloud, admin)
    async with asyncio.timeout(20):
        while (await cloud.call("GET", f"/image/v2/images/{image}", admin)).json()["status"] != "queued":
            await asyncio.sleep(0.1)
    blobs = cloud.cloud.settings.state / "images"
    async with asyncio.timeout(20):  # the two that every simulated cloud has stay
        while len({p.name for p in blobs.rglob("*") if p.is_file()}) > 2:
            await asyncio.sleep(0.1)
    again = await cloud.call("PUT", path, headers, content=b"whole")
    assert again.status_code == 204, again.text
    assert json.loads((await cloud.call("GET", f"/image/v2/images/{image}", admin)).text)["status"] == "active"
