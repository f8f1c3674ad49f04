"""Sealed columns: AES-256-GCM under a master key that lives outside of the database.

The text form is `v1:<key id>:<base64>`; the key id lets a rotated key still open what an older one sealed.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from trilith import errors


class Sealer:
    """keys: 32 bytes each, the newest first. Seals with the first, opens with any."""

    def __init__(self, keys: list[bytes]) -> None:
        self._keys = {self._key_id(k): AESGCM(k) for k in keys}
        self._newest = self._key_id(keys[0])
        self._raw = tuple(keys)

    @staticmethod
    def _key_id(key: bytes) -> str:
        return hashlib.sha256(b"trilith key id" + key).hexdigest()[:8]

    def seal(self, plain: bytes, *, context: str) -> str:
        """context binds the text to its column and row, so that it cannot be moved to another."""
        nonce = secrets.token_bytes(12)
        sealed = nonce + self._keys[self._newest].encrypt(nonce, plain, context.encode())
        return f"v1:{self._newest}:{base64.b64encode(sealed).decode()}"

    def open(self, sealed: str, *, context: str) -> bytes:
        """Raises Backend when the master key is not the one that sealed it, or the text was tampered with."""
        try:
            version, key_id, text = sealed.split(":", 2)
            raw = base64.b64decode(text, validate=True)
            key = self._keys[key_id]
            if version != "v1":
                raise ValueError(version)
            return key.decrypt(raw[:12], raw[12:], context.encode())
        except (ValueError, KeyError, InvalidTag) as err:
            raise errors.Backend(
                "A sealed value cannot be opened with this master key.",
                hint="Restore the master.key file that belongs to this database.",
            ) from err

    def derive(self, purpose: str) -> bytes:
        """A 32-byte key for one purpose (token signing, metadata signature), never stored."""
        return self.derive_each(purpose)[0]

    def derive_each(self, purpose: str) -> tuple[bytes, ...]:
        """As `derive`, of every master key, the newest first: what an older one made can be checked still."""
        return tuple(hashlib.blake2b(purpose.encode(), key=raw, digest_size=32).digest() for raw in self._raw)


def load_master_key(path: Path) -> Sealer:
    """Read the key file (0600, one base64 key a line, newest first), or make it at first start."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as f:
            f.write(base64.b64encode(secrets.token_bytes(32)) + b"\n")
            f.flush()
            os.fsync(f.fileno())
        fresh.replace(path)
    if path.stat().st_mode & 0o077:
        raise errors.Backend(f"{path} can be read by others.", hint=f"chmod 600 {path}")
    keys = [base64.b64decode(line) for line in path.read_bytes().split()]
    if not keys or any(len(k) != 32 for k in keys):
        raise errors.Backend(f"{path} holds no 32-byte key.", hint="Restore it from your backup.")
    return Sealer(keys)
