"""The right to open one server's console once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trilith.model.record import Record


class ConsoleKind(StrEnum):
    """As Nova's console types are called."""

    NOVNC = "novnc"
    SERIAL = "serial"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleToken(Record):
    """token_hash: SHA-256 of the token, which itself is kept nowhere. node: where the server was; elsewhere the token
    is worth nothing. user_id: who asked for it. expires_at: seconds since the epoch, 0 for one that was used."""

    server_id: str
    project_id: str
    user_id: str
    kind: ConsoleKind
    node: str
    token_hash: str
    expires_at: float
