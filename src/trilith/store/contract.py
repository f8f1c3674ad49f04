"""The store: one interface, two databases, one behaviour. tests/contracts/test_store.py runs for both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from trilith.model.record import CLOUD, Actor, FeedRow
from trilith.store.purge import Cutoffs
from trilith.store.tx import Reader, Tx

T = TypeVar("T")

__all__ = ["CLOUD", "DEADLINE", "FEED_RETENTION", "Store"]

#: seconds after which a read or a write that the database did not end raises DatabaseAway; a write may be in then
DEADLINE = 30.0
#: seconds for which feed rows are kept; a cursor older than that gets 410 and lists again
FEED_RETENTION = 24 * 3600.0


class Store(Protocol):
    """All but `open` raise DatabaseAway while the database is away, and serve again by themselves when it is back."""

    async def open(self) -> None:
        """Connect, migrate (SQLite: after a copy), take the lock that says no other process writes here."""
        ...

    async def read(self, fn: Callable[[Reader], T]) -> T:
        """Run fn in one snapshot, off the event loop."""
        ...

    async def write(self, fn: Callable[[Tx], T], *, actor: Actor = CLOUD, action: str = "") -> T:
        """Run fn in one transaction and return when it is durable. fn may run again: after a serialization
        failure, and where another writer changed a row that it had read."""
        ...

    async def feed(self, cursor: str, *, limit: int = 500) -> list[FeedRow]:
        """Rows after the cursor, never beyond a transaction that is not committed. "" is before all rows kept.

        Raises Missing when the cursor is past retention.
        """
        ...

    async def head(self) -> str:
        """The cursor of now: what is committed already lies before it."""
        ...

    async def wait(self, cursor: str, *, timeout: float) -> None:
        """Return when there may be rows after the cursor, at latest after `timeout` seconds."""
        ...

    async def prune(self, before: Cutoffs) -> int:
        """Purge what is older than the cutoffs, in short transactions between which others write. Rows removed."""
        ...

    def leadership(self) -> AbstractAsyncContextManager[asyncio.Event]:
        """Held by the one controller that runs jobs and reconciliation; waits for it where several may run.

        The event is set when it is lost (the database went away): another controller may have it then.
        """
        ...

    @property
    def needs_leadership(self) -> bool:
        """False where only one process can have the store open."""
        ...

    async def close(self) -> None: ...
