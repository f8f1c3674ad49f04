"""Password hashes: argon2id at OWASP's floor (19 MiB, t=2, p=1), few at once, in threads; no verified one is kept."""

from __future__ import annotations

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
#: verifications at once: each takes 19 MiB and a core
_AT_ONCE = 2
_slots: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}
#: verified against when the user does not exist, so that time tells nothing
_DUMMY = _hasher.hash("no such user")


def _slot() -> asyncio.Semaphore:
    loop = asyncio.get_running_loop()
    for old in [known for known in _slots if known.is_closed()]:
        del _slots[old]
    return _slots.setdefault(loop, asyncio.Semaphore(_AT_ONCE))


async def hash_password(password: str) -> str:
    async with _slot():
        return await asyncio.to_thread(_hasher.hash, password)


async def verify(stored: str, password: str) -> bool:
    """stored "" (no such user, or no password) costs the same time and is False."""
    async with _slot():
        return await asyncio.to_thread(matches, stored, password)


def matches(stored: str, password: str) -> bool:
    """Blocking: call from a thread."""
    try:
        _hasher.verify(stored or _DUMMY, password)
    except (VerificationError, InvalidHashError):
        return False
    return bool(stored)
