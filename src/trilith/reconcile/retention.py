"""What has been kept long enough goes: feed, tombstones, ended jobs, expired revocations, audit.

A timed loop: age is announced by nobody.
"""

from __future__ import annotations

import asyncio
import random
import time

import structlog

from trilith import errors
from trilith.config import Settings
from trilith.jobs.services import Services
from trilith.store.contract import FEED_RETENTION
from trilith.store.purge import Cutoffs

log = structlog.get_logger("retention")

#: seconds between rounds; the first comes after up to FIRST, at random, so that controllers do not come together
EVERY = 600.0
FIRST = 60.0


def cutoffs(settings: Settings, now: float) -> Cutoffs:
    """now: seconds since the epoch."""
    return Cutoffs(
        feed=now - FEED_RETENTION,
        tombstones=now - settings.tombstone_seconds,
        jobs=now - settings.tombstone_seconds,
        revocations=now,
        audit=now - settings.audit_seconds,
        consoles=now,
    )


async def run(services: Services, *, first: float = FIRST, every: float = EVERY) -> None:
    """Until cancelled. first, every: seconds."""
    await asyncio.sleep(random.uniform(0.0, first))
    while True:
        try:
            removed = await services.store.prune(cutoffs(services.settings, time.time()))
            if removed:
                log.info("purged", rows=removed)
        except errors.Backend as err:
            log.warning("retention waits for its next round", error=str(err))
        await asyncio.sleep(every)
