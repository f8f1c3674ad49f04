"""What one controller revokes counts on the other within a moment: two clouds on one PostgreSQL."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.conftest import PASSWORD, ApiCloud
from tests.postgres_server import PostgresServer
from trilith import errors
from trilith.app import cloud as start_cloud
from trilith.cluster import cache_watch
from trilith.config import Settings
from trilith.model.identity import Project, User
from trilith.model.record import Change, FeedRow
from trilith.store.postgres import PostgresStore
from trilith.store.tx import Tx

V3 = "/identity/v3"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    running = PostgresServer()
    running.start()
    try:
        yield running
    finally:
        running.stop()


@asynccontextmanager
async def controller(state: Path, dsn: str) -> AsyncIterator[ApiCloud]:
    settings = Settings(state=state, simulated=1, public_url="http://testserver", database=dsn)
    async with start_cloud(settings, admin_password=PASSWORD) as running:
        transport = httpx.ASGITransport(app=running.api)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            yield ApiCloud(running, client)


async def refused_soon(cloud: ApiCloud, headers: dict[str, str], within: float = 10.0) -> float:
    """Seconds until the cloud refuses the token."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with asyncio.timeout(within):
        while (await cloud.call("GET", f"{V3}/auth/catalog", headers)).status_code != 401:
            await asyncio.sleep(0.01)
    return loop.time() - start


@pytest.mark.postgres
async def test_a_revocation_counts_on_every_controller(tmp_path: Path, server: PostgresServer) -> None:
    dsn = server.database()
    async with controller(tmp_path / "a", dsn) as one:
        (tmp_path / "b").mkdir()
        shutil.copy2(tmp_path / "a" / "master.key", tmp_path / "b" / "master.key")
        async with controller(tmp_path / "b", dsn) as two:
            await one.user("alice", "alpha")
            await one.user("bob", "alpha")
            admin = await one.token()
            held = {name: await two.token(name, "alpha") for name in ("alice", "bob")}
            for headers in held.values():  # now the second one has looked and keeps what it saw
                assert (await two.call("GET", f"{V3}/auth/catalog", headers)).status_code == 200
            gone = await one.call(
                "DELETE", f"{V3}/auth/tokens", admin | {"X-Subject-Token": held["alice"]["X-Auth-Token"]}
            )
            assert gone.status_code == 204
            await refused_soon(two, held["alice"])
            assert (await two.call("GET", f"{V3}/auth/catalog", held["bob"])).status_code == 200

            def disable(tx: Tx) -> None:
                bob = tx.first(User, name="bob")
                assert bob is not None
                tx.change(bob, enabled=False)

            await one.store.write(disable)
            await refused_soon(two, held["bob"])

            # without its wake-up connection the second one still follows
            carol = await one.member("carol", "alpha")
            async with asyncio.timeout(10):
                while (await two.call("GET", f"{V3}/auth/catalog", carol)).status_code != 200:
                    await asyncio.sleep(0.01)
            store = two.store
            assert isinstance(store, PostgresStore)
            await store.drop_listener()
            await one.call("DELETE", f"{V3}/auth/tokens", admin | {"X-Subject-Token": carol["X-Auth-Token"]})
            await refused_soon(two, carol)


class Feed:
    """A feed that is told what to say: rows, or the error that it raises."""

    def __init__(self, *says: list[str] | Exception) -> None:
        self.says = list(says)
        self.heads = 0
        self.ended = asyncio.Event()

    async def head(self) -> str:
        self.heads += 1
        return "0-0"

    async def wait(self, cursor: str, *, timeout: float) -> None:
        if not self.says:
            self.ended.set()
            await asyncio.Event().wait()

    async def feed(self, cursor: str) -> list[FeedRow]:
        said = self.says.pop(0)
        if isinstance(said, Exception):
            raise said
        return [
            FeedRow(cursor="0-1", at=0, noun=n, change=Change.UPDATED, id="x", project_id="", revision=1) for n in said
        ]


@pytest.mark.parametrize(
    ("says", "forgets", "heads"),
    [
        ([["server", "port"], ["job"]], 1, 1),  # once at the start, nothing of it is identity's
        ([["server", "role_assignment"], []], 2, 1),
        ([["user"], ["revocation"], ["region"]], 4, 1),
        ([errors.Missing("purged"), ["server"]], 2, 2),  # rows were lost: begin again at the head
        ([errors.Backend("away"), ["server"]], 2, 1),
    ],
)
async def test_what_makes_a_controller_forget(
    says: list[Any], forgets: int, heads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_watch, "_RETRY", 0.0)
    feed: Any = Feed(*says)
    count = 0

    def forget() -> None:
        nonlocal count
        count += 1

    task = asyncio.create_task(cache_watch.run(feed, dict.fromkeys(cache_watch.IDENTITY, forget)))
    try:
        await asyncio.wait_for(feed.ended.wait(), 10)
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert (count, feed.heads) == (forgets, heads)


def test_every_noun_of_identity_is_watched() -> None:
    """A noun that a token's meaning hangs on and that is not followed would stay valid elsewhere."""
    from trilith.model import identity
    from trilith.store import tables  # noqa: F401  declares them
    from trilith.store.mapping import REGISTRY

    ours = {m.noun for cls, m in REGISTRY.items() if cls.__module__ == identity.__name__ and m.noun}
    # what no token check reads
    assert ours - cache_watch.IDENTITY == {"credential", "policy", "registered_limit", "limit"}
    assert REGISTRY[Project].noun in cache_watch.IDENTITY
