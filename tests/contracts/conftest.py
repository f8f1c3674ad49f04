"""The store under test: every contract test runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.postgres_server import PostgresServer
from trilith.store.contract import Store
from trilith.store.postgres import PostgresStore
from trilith.store.seal import Sealer
from trilith.store.sqlite import SqliteStore

SEALER = Sealer([b"k" * 32])


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


Opener = Callable[[], Awaitable[Store]]


async def _opener(make: Callable[[], Store]) -> AsyncIterator[Opener]:
    opened: list[Store] = []

    async def opener() -> Store:
        store = make()
        await store.open()
        opened.append(store)
        return store

    yield opener
    for store in opened:
        await store.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens the same database again at each call; closes all at the end."""
    dsn = request.getfixturevalue("postgres_server").database() if request.param == "postgres" else ""
    async for opener in _opener(lambda: PostgresStore(dsn, SEALER) if dsn else SqliteStore(tmp_path / "t.db", SEALER)):
        yield opener


@pytest.fixture
async def open_postgres(postgres_server: PostgresServer) -> AsyncIterator[Opener]:
    """As open_store, for what only several controllers can do."""
    dsn = postgres_server.database()
    async for opener in _opener(lambda: PostgresStore(dsn, SEALER)):
        yield opener


@pytest.fixture
async def store(open_store: Opener) -> Store:
    return await open_store()
