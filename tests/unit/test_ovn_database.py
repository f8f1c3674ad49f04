"""The thread that owns an OVSDB replica: a bug in what it is handed is the asker's, and not the end of the thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from trilith.drivers.ovn.database import Database, Replica
from trilith.drivers.ovn.rows import Op
from trilith.errors import Bug


class _Quiet:
    """An IDL that is connected and has no rows."""

    IDL_S_MONITORING = state = "monitoring"
    change_seqno = 1
    tables: dict[str, Any] = {}

    def __init__(self) -> None:
        self._session = SimpleNamespace(is_connected=lambda: True)
        self.watchers: list[Any] = []

    def run(self) -> None:
        return

    def wait(self, _poller: object) -> None:
        return

    def close(self) -> None:
        return


def _compose(_replica: Replica) -> Sequence[Op]:
    raise KeyError("external_ids")


def _look(_replica: Replica) -> None:
    raise ValueError("not an address")


async def test_a_bug_in_what_it_runs_leaves_the_thread_alive() -> None:
    """Regression: one noun that could not be composed ended the connection to the northbound database for good."""
    database = Database("unix:/none", cast(Any, _Quiet()), "OVN_Northbound")
    database._thread.start()
    try:
        async with asyncio.timeout(10):
            with pytest.raises(Bug, match="external_ids"):
                await database.transact(_compose)
            with pytest.raises(Bug, match="not an address"):
                await database.read(_look)
            with pytest.raises(Bug, match="not an address"):
                await database.wait_until(_look, timeout=5)
            assert await database.read(lambda _replica: "alive") == "alive"
    finally:
        await database.close()
