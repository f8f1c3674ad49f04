"""What this controller keeps in memory (identity, figures) lasts until that changes, on whichever controller it was.

The API forgets at once what it changed of identity itself; this follows the change feed for the changes of the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from trilith import errors
from trilith.store.contract import Store

log = structlog.get_logger("cache-watch")

#: nouns whose change may change what a token stands for, or the catalogue
IDENTITY = frozenset(
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


async def run(store: Store, watched: Mapping[str, Callable[[], None]]) -> None:
    """Until cancelled: call what forgets a noun after each change of it, and all whenever some may have been missed.

    watched: noun of the feed → what forgets it.
    """
    everything = tuple(dict.fromkeys(watched.values()))
    cursor: str | None = None
    while True:
        try:
            if cursor is None:
                cursor = await store.head()
                for forget in everything:
                    forget()  # after the head was taken: what is read from now on is no older than the cursor
            await store.wait(cursor, timeout=30)
            rows = await store.feed(cursor)
        except errors.Missing:
            cursor = None  # the feed was purged past us
            continue
        except errors.Backend as err:
            log.warning("the change feed is away", error=str(err))
            for forget in everything:
                forget()
            await asyncio.sleep(_RETRY)
            continue
        for forget in dict.fromkeys(watched[row.noun] for row in rows if row.noun in watched):
            forget()
        if rows:
            cursor = rows[-1].cursor
