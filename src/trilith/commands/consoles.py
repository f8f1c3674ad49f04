"""Console tokens: one opens one console of one server once, for a few minutes.

A token ends with its use, its time, its server, and with a rebuild, resize, shelving or move of the server: what its
owner was shown then is not what it would open now.
"""

from __future__ import annotations

import hashlib
import secrets

from trilith import errors
from trilith.model.console import ConsoleKind, ConsoleToken
from trilith.model.record import Actor
from trilith.model.server import Server
from trilith.store.tx import Reader, Tx, new_id

#: that wait to be used, of one server; the oldest makes room
MOST_OF_SERVER = 32


def new_token() -> str:
    """256 random bits, as letters that a URL may hold."""
    return secrets.token_urlsafe(32)


def issue(tx: Tx, actor: Actor, server: Server, kind: ConsoleKind, token: str, *, seconds: float) -> ConsoleToken:
    """seconds: how long it can be used."""
    waiting = [t for t in tx.select(ConsoleToken, server_id=server.id) if t.expires_at > tx.now]
    for oldest in waiting[: max(0, len(waiting) - MOST_OF_SERVER + 1)]:
        tx.remove(oldest)
    return tx.add(
        ConsoleToken(
            id=new_id(),
            server_id=server.id,
            project_id=server.project_id,
            user_id=actor.user_id,
            kind=kind,
            node=server.node,
            token_hash=hash_of(token),
            expires_at=tx.now + seconds,
        )
    )


def look(reader: Reader, token: str, now: float, kind: ConsoleKind | None = None) -> tuple[ConsoleToken, Server]:
    """A token that can be used, and its server. now: seconds since the epoch. kind: what it must open, None for any.

    Raises Missing.
    """
    found = reader.first(ConsoleToken, token_hash=hash_of(token))
    if found is not None and found.expires_at > now and kind in (None, found.kind):
        server = reader.find(Server, found.server_id)
        if server is not None and server.node == found.node and server.task != "deleting":
            return found, server
    raise errors.Missing("The token is invalid or has expired.", hint="Ask for a new console URL.")


def redeem(tx: Tx, token: str, kind: ConsoleKind) -> Server:
    """Use it up; the server that it opens. Raises Missing, also for a token of another kind, which stays usable."""
    found, server = look(tx, token, tx.now, kind)
    # by compare-and-swap on the revision: of two that come at once, one gets in
    tx.change(found, expires_at=0.0)
    return server


def forget(tx: Tx, server_id: str) -> None:
    """End those of a server."""
    tx.remove_where(ConsoleToken, server_id=server_id)


def hash_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
