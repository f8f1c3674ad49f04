"""Uploads that failed while the database was away: it is told when it is back, and what they left goes then.

A process that dies before that needs none of this: `blobs.sweep` at its next start does the same.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from trilith import errors
from trilith.commands import blobs, images
from trilith.commands.image_stores import Stores
from trilith.model.record import Actor
from trilith.store.contract import Store

log = structlog.get_logger("image")

#: seconds between attempts: a database that is away does not announce its return
_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Failed:
    """sha256: of the blob that may be in place without its reference, "" for none."""

    image_id: str
    reason: str
    actor: Actor
    sha256: str = ""


class FailedUploads:
    """One a process. `run` until cancelled."""

    def __init__(self) -> None:
        self._left: list[Failed] = []
        self._news = asyncio.Event()

    async def settle(self, store: Store, stores: Stores, failed: Failed) -> None:
        """The image is queued again, now or as soon as the database is back."""
        try:
            await self._settle(store, stores, failed)
        except errors.DatabaseAway as err:
            log.warning("a failed upload is settled later", image=failed.image_id, error=str(err))
            self._left.append(failed)
            self._news.set()

    async def _settle(self, store: Store, stores: Stores, failed: Failed) -> None:
        await store.write(
            lambda tx: images.fail_upload(tx, failed.image_id, failed.reason),
            actor=failed.actor,
            action="image.fail_upload",
        )
        if failed.sha256:
            await blobs.collect(store, stores, [failed.sha256])

    async def run(self, store: Store, stores: Stores) -> None:
        while True:
            await self._news.wait()
            try:
                while self._left:
                    await self._settle(store, stores, self._left[0])
                    del self._left[0]
                self._news.clear()
            except errors.DatabaseAway:
                await asyncio.sleep(_PAUSE)
