"""The keys that tokens are sealed with: one that seals, and those before it for as long as their tokens may last."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken

from trilith.commands.identity_token_keys import BASE, TokenKey
from trilith.store.seal import Sealer


def base_keys(sealer: Sealer) -> tuple[bytes, ...]:
    """Derived from the master keys, the newest first: what seals in a cloud whose keys were never rotated."""
    return sealer.derive_each("tokens")


class Ring:
    """base: keys that stand for the first one. stored: those of the database, the newest first."""

    def __init__(self, base: Sequence[bytes], stored: Sequence[TokenKey]) -> None:
        self._stored = tuple(stored)
        self._keys: list[tuple[Fernet, float]] = [
            (_fernet(raw), key.until)
            for key in stored
            for raw in (base if key.id == BASE else (base64.b64decode(key.secret),))
        ]
        if not stored:
            self._keys = [(_fernet(raw), 0.0) for raw in base]

    @property
    def made_at(self) -> float:
        """When the key that seals was made, 0 for the one that was there from the start."""
        return self._stored[0].created_at if self._stored else 0.0

    def seal(self, plain: bytes) -> str:
        return self._keys[0][0].encrypt(plain).decode().rstrip("=")

    def open(self, text: str, now: float) -> bytes | None:
        """None for what none of the keys sealed that still count."""
        try:
            padded = (text + "=" * (-len(text) % 4)).encode("ascii")
        except UnicodeEncodeError:
            return None
        for fernet, until in self._keys:
            if 0 < until <= now:
                continue
            try:
                return fernet.decrypt(padded)
            except InvalidToken:
                continue  # sealed by another
        return None


def _fernet(raw: bytes) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(raw))
