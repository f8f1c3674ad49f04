"""What a token that someone handed on must not be used for."""

from __future__ import annotations

from trilith import errors
from trilith.api.http.call import Call


def refuse_delegated(call: Call, what: str) -> None:
    """Raises Forbidden: what was delegated for one project must not become a lasting key, or be delegated anew."""
    if call.actor.credential_id or call.actor.trust_id or call.actor.access_token_id:
        raise errors.Forbidden(f"A delegated token (trust, OAuth, application credential) cannot {what}.")
