"""POSTs of /trilith/v1 with an Idempotency-Key: done once, answered the same again.

The key's record commits in the transaction of the effect: whatever dies in between, both are there or neither
(draft-ietf-httpapi-idempotency-key-header).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from trilith import errors
from trilith.model.job import IdempotencyKey
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Tx, new_id

#: seconds for which a key is remembered
RETENTION = 24 * 3600.0
#: characters of a key
MOST = 255


class KeyReused(errors.Invalid):
    """The key came before with another request (HTTP 422)."""

    code = "key_reused"


def fingerprint(*parts: str | bytes) -> str:
    """Of a request: method, path, body."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part if isinstance(part, bytes) else part.encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()


def once(tx: Tx, *, key: str, fingerprint: str, do: Callable[[Tx], tuple[int, str]]) -> tuple[int, str]:
    """Status and answer of `do`, or of the first time that this caller sent the key; "" is no key.

    Raises Invalid for a key that is too long, KeyReused for one that came with another request, and what `do` raises
    (then nothing is remembered).
    """
    if not key:
        return do(tx)
    if len(key) > MOST:
        raise errors.Invalid(f"Idempotency-Key has {MOST} characters at most.", field="Idempotency-Key")
    t = REGISTRY[IdempotencyKey].table
    tx.conn.execute(t.delete().where(t.c.created_at < tx.now - RETENTION))
    known = tx.first(IdempotencyKey, user_id=tx.actor.user_id, key=key)
    if known is not None:
        if known.fingerprint != fingerprint:
            raise KeyReused(
                "This Idempotency-Key was used for another request.", hint="Use a new key.", field="Idempotency-Key"
            )
        return known.status, known.answer
    status, answer = do(tx)
    tx.add(
        IdempotencyKey(
            id=new_id(), user_id=tx.actor.user_id, key=key, fingerprint=fingerprint, status=status, answer=answer
        )
    )
    return status, answer
