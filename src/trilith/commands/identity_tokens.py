"""Revocation of tokens."""

from __future__ import annotations

import sqlalchemy as sa

from trilith.commands.identity_rules import hex_id
from trilith.model.identity import Revocation
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Tx


def revoke(tx: Tx, audit_id: str, expires_at: float) -> None:
    """Nothing happens when it is revoked already. Those whose tokens have run out are swept along."""
    t = REGISTRY[Revocation].table
    tx.conn.execute(sa.delete(t).where(t.c.expires_at < tx.now))
    if tx.first(Revocation, audit_id=audit_id, chain=False) is None:
        tx.add(Revocation(id=hex_id(), audit_id=audit_id, expires_at=expires_at))
