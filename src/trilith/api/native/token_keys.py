"""/trilith/v1/token-keys: the keys that tokens are sealed with, and a new one on request."""

from __future__ import annotations

import msgspec

from trilith.api.http.call import Call
from trilith.api.http.times import seconds_z
from trilith.commands.identity_token_keys import TokenKey, rotate, stored_keys


class TokenKeyView(msgspec.Struct):
    """created_at: null for the key that was there from the start. valid_until: when what it sealed counts no more, null
    for the one that seals. Keys themselves are never shown."""

    id: str
    created_at: str | None
    valid_until: str | None


class TokenKeyList(msgspec.Struct):
    token_keys: list[TokenKeyView]


class Rotate(msgspec.Struct, forbid_unknown_fields=True):
    """end_tokens: whether all tokens that are out end now, as after a theft."""

    end_tokens: bool = False


def _list(keys: tuple[TokenKey, ...]) -> TokenKeyList:
    return TokenKeyList(
        [
            TokenKeyView(
                id=k.id,
                created_at=seconds_z(k.created_at) if k.created_at else None,
                valid_until=seconds_z(k.until) if k.until else None,
            )
            for k in keys or (TokenKey("base", 0.0, ""),)
        ]
    )


async def show(call: Call) -> TokenKeyList:
    """200: the newest first. 403."""
    return _list(await call.read(stored_keys))


async def create(call: Call) -> TokenKeyList:
    """201: tokens are sealed with a new key from now on; those that are out stay good, unless they are to end. 403."""
    keep = 0.0 if call.body.end_tokens else call.host.settings.token_lifetime
    keys = await call.host.write(
        lambda tx: rotate(tx, keep=keep), actor=call.actor, action="identity.token_keys.rotate"
    )
    return _list(keys)
