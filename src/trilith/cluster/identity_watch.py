"""What this controller keeps of identity lasts until identity changes, on whichever controller that was.

The API forgets at once what it changed itself; this follows the change feed for the changes of the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from trilith import errors
from trilith.store.contract import Store

log = structlog.get_logger("identity-watch")

#: nouns whose change may change what a token stands for, or the catalogue
NOUNS = frozenset(
    {
        "domain",
        "project",
        "user",
        "group",
        "role",
        "role_assignment",
        "service",
        "region",
        "endpoint",
        "application_credential",
        "trust",
        "revocation",
        "endpoint_group",
        "access_token",
        "identity_provider",
        "token_key",
    }
)
#: seconds between looks at a database that does not answer: it announces nothing
_RETRY = 0.5


async def run(store: Store, forget: Callable[[], None]) -> None:
    """Until cancelled: call `forget` after each change of an identity noun, and whenever some may have been missed."""
    cursor: str | None = None
    while True:
        try:
            if cursor is None:
                cursor = await store.head()
                forget()  # after the head was taken: what is read from now on is no older than the cursor
            await store.wait(cursor, timeout=30)
            rows = await store.feed(cursor)
        except errors.Missing:
            cursor = None  # the feed was purged past us
            continue
        except errors.Backend as err:
            log.warning("the change feed is away", error=str(err))
            forget()
            await asyncio.sleep(_RETRY)
            continue
        if any(row.noun in NOUNS for row in rows):
            forget()
        if rows:
            cursor = rows[-1].cursor
