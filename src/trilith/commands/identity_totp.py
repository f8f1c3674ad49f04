"""Time-based one-time passwords (RFC 6238), from credentials of type totp: SHA-1, six digits, 30 seconds."""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from trilith.commands.identity_credentials import blob_of, totp_secret
from trilith.model.identity import Credential
from trilith.store.tx import Tx

STEP = 30
#: steps before the present one whose passcode is taken (Keystone's included_previous_windows)
_EARLIER = 1


def passcode_at(secret: bytes, step: int) -> str:
    generator = TOTP(secret, 6, SHA1(), STEP, enforce_key_length=False)
    return generator.generate(step * STEP).decode()


def use(tx: Tx, user_id: str, passcode: str) -> bool:
    """Whether a credential of the user gives this passcode, now or a moment ago, and it was not used before."""
    present = int(tx.now // STEP)
    for credential in tx.select(Credential, user_id=user_id, type="totp"):
        secret = totp_secret(blob_of(tx, credential))
        for step in range(present, present - _EARLIER - 1, -1):
            if step <= credential.used_step:
                continue
            if hmac.compare_digest(passcode_at(secret, step).encode(), passcode.encode()):
                tx.change(credential, used_step=step)
                return True
    return False
