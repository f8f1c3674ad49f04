"""Rotation of the keys that tokens are sealed with, in the database: every controller has them, backups keep them."""

from __future__ import annotations

import base64
import secrets

import msgspec

from trilith.commands.identity_rules import hex_id
from trilith.store.tx import Reader, Tx

_SETTING = "identity.token_keys"
#: id of the key that follows from the master key, which is stored nowhere
BASE = "base"


class TokenKey(msgspec.Struct, frozen=True):
    """secret: base64 of 32 bytes, "" for the base. until: when what it sealed counts no more, 0 for the newest."""

    id: str
    created_at: float
    secret: str
    until: float = 0.0


def stored_keys(reader: Reader) -> tuple[TokenKey, ...]:
    """The newest first; none in a cloud that never rotated."""
    sealed = reader.setting(_SETTING)
    if sealed is None:
        return ()
    return msgspec.json.decode(reader.sealer.open(sealed, context=_SETTING), type=tuple[TokenKey, ...])


def rotate(tx: Tx, *, keep: float, unless_after: float = 0.0) -> tuple[TokenKey, ...]:
    """Make a new key, which seals from now on; the others still open what they sealed for `keep` seconds.

    unless_after: nothing happens when the newest was made later (another controller was first).
    """
    have = stored_keys(tx) or (TokenKey(BASE, 0.0, ""),)
    if unless_after and have[0].created_at > unless_after:
        return have
    old = [msgspec.structs.replace(k, until=min(k.until or tx.now + keep, tx.now + keep)) for k in have]
    fresh = TokenKey(hex_id(), tx.now, base64.b64encode(secrets.token_bytes(32)).decode())
    keys = (fresh, *(k for k in old if k.until > tx.now))
    tx.set_setting(_SETTING, tx.sealer.seal(msgspec.json.encode(keys), context=_SETTING))
    tx.touch("token_key", fresh.id)
    return keys
