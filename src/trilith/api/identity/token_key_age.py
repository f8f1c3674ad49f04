"""Tokens are sealed with a new key every so often, by whoever seals the first one that is due."""

from __future__ import annotations

import structlog

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.tokens import Tokens
from trilith.commands.identity_directory import Directory
from trilith.commands.identity_token_keys import rotate
from trilith.model.identity import DEFAULT_DOMAIN
from trilith.model.record import CLOUD

log = structlog.get_logger("tokens")


async def keep_keys_young(call: Call, tokens: Tokens, directory: Directory, now: float) -> None:
    """Rotate the keys when the newest is older than the setting token_key_seconds (0: never by itself)."""
    settings = call.host.settings
    first = directory.domains.get(DEFAULT_DOMAIN)
    made_at = tokens.ring.made_at or (first.created_at if first else now)  # the first key is as old as the cloud
    if settings.token_key_seconds <= 0 or now - made_at < settings.token_key_seconds:
        return
    try:
        await call.host.write(
            lambda tx: rotate(tx, keep=settings.token_lifetime, unless_after=made_at),
            actor=CLOUD,
            action="identity.token_keys.rotate",
        )
    except errors.Backend as err:
        # a log-in need not fail for it: the next one tries again
        log.warning("the keys of tokens could not be rotated", error=str(err))
