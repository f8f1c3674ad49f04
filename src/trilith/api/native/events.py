"""/trilith/v1/events: the change feed as server-sent events. The id of an event is its cursor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import msgspec

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer, Gone
from trilith.model.record import FeedRow

#: seconds of silence after which a comment is sent, so that proxies and clients see that the stream lives
KEEP_ALIVE = 15.0
#: seconds between looks at a database that is away
_DATABASE_PAUSE = 1.0


class Event(msgspec.Struct):
    """noun: what changed; change: created, updated or deleted; at: seconds since the epoch."""

    noun: str
    change: str
    id: str
    project_id: str
    revision: int
    at: float
    version: int


def render(row: FeedRow) -> bytes:
    event = Event(row.noun, str(row.change), row.id, row.project_id, row.revision, row.at, row.version)
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (
        row.cursor.encode(),
        f"{row.noun}.{row.change}".encode(),
        msgspec.json.encode(event),
    )


async def follow(call: Call) -> Answer:
    """200: events after Last-Event-ID or ?cursor= (none: from now on), until the client goes or the cloud stops.

    410 when what came after the cursor is no longer kept: list again, and follow from now on.
    """
    cursor = call.headers.get("last-event-id") or call.one("cursor")
    if cursor:
        try:
            await call.host.store.feed(cursor, limit=1)
        except errors.Missing as err:
            raise Gone(err.message, hint=err.hint) from err
    else:
        cursor = await call.host.store.head()
    project = "" if call.actor.is_admin else call.actor.project_id
    nouns = frozenset(n for text in call.all("noun") for n in text.split(",") if n)
    return Answer(
        stream=_stream(call, cursor, project, nouns),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def _stream(call: Call, cursor: str, project: str, nouns: frozenset[str]) -> AsyncIterator[bytes]:
    """project "": every project's."""
    store, stopping = call.host.store, call.host.stopping
    stop = asyncio.create_task(stopping.wait(), name="events-stop")
    try:
        yield b": following\nretry: 2000\n\n"
        while not stopping.is_set():
            try:
                rows = await store.feed(cursor)
                if not rows:
                    await _until(store.wait(cursor, timeout=KEEP_ALIVE), stop)
                    rows = await store.feed(cursor)
            except errors.DatabaseAway:
                # a client that is sent away might not come back (HTML, 9.2.3: a 503 ends an EventSource for good)
                yield b": the database is away\n\n"
                await _until(asyncio.sleep(_DATABASE_PAUSE), stop)
                continue
            shown = [r for r in rows if (not project or r.project_id == project) and (not nouns or r.noun in nouns)]
            if shown:
                yield b"".join(render(r) for r in shown)
            if rows:
                cursor = rows[-1].cursor
            if rows and not shown:  # what others changed moves it, too: the next Last-Event-ID is not past retention
                yield b"id: %s\n\n" % cursor.encode()
            if not rows:
                yield b": alive\n\n"
    except errors.Missing:
        # the reader was too slow for the retention: it comes back with its cursor and is told 410
        return
    finally:
        await _end(stop)


async def _until(work: Coroutine[Any, Any, None], stop: asyncio.Task[bool]) -> None:
    """Until the work ends, whose failure is raised, or the cloud is to stop."""
    task = asyncio.create_task(work, name="events-wait")
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(task)


async def _end(task: asyncio.Task[None] | asyncio.Task[bool]) -> None:
    """Cancelled and awaited; a failure of a task that had ended by itself is raised."""
    if task.done():
        task.result()
        return
    task.cancel()
    await asyncio.wait({task})
