"""The set-up of API tests that run on PostgreSQL: one server of a module's own, a database of it for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres_server import PostgresServer


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    running = PostgresServer()
    running.start()
    try:
        yield running
    finally:
        running.stop()
