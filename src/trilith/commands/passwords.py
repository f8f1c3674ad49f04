"""Password hashes: argon2id at OWASP's floor (19 MiB, t=2, p=1), few at once, in threads; no verified one is kept."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from trilith import errors

_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
#: verifications at once: each takes 19 MiB and a core
_AT_ONCE = 2
#: requests that may wait for one of them (about five seconds' worth); more are told to come again later
_WAITING = 200
#: characters; longer ones are refused before any hash is made of them
LONGEST = 4096
#: verified against when the user does not exist, so that time tells nothing
_DUMMY = _hasher.hash("no such user")


@dataclass
class _Gate:
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    waiting: int = 0


_gates: dict[asyncio.AbstractEventLoop, _Gate] = {}


@asynccontextmanager
async def _slot() -> AsyncIterator[None]:
    """Raises TooMany when too many wait already."""
    loop = asyncio.get_running_loop()
    for old in [known for known in _gates if known.is_closed()]:
        del _gates[old]
    gate = _gates.setdefault(loop, _Gate())
    if gate.waiting >= _WAITING:
        raise errors.TooMany("Too many log-ins at once.", hint="Try again in a few seconds.")
    gate.waiting += 1
    try:
        await gate.slots.acquire()
    finally:
        gate.waiting -= 1
    try:
        yield
    finally:
        gate.slots.release()


async def hash_password(password: str) -> str:
    async with _slot():
        return await asyncio.to_thread(_hasher.hash, password)


async def verify(stored: str, password: str) -> bool:
    """stored "" (no such user, or no password) costs the same time and is False."""
    async with _slot():
        return await asyncio.to_thread(matches, stored, password)


async def among(stored: tuple[str, ...], password: str) -> bool:
    """Whether the password is one of these, each of which costs a verification."""
    for one in stored:
        if await verify(one, password):
            return True
    return False


def matches(stored: str, password: str) -> bool:
    """Blocking: call from a thread."""
    try:
        _hasher.verify(stored or _DUMMY, password)
    except (VerificationError, InvalidHashError):
        return False
    return bool(stored)


def check_strength(password: str, regex: str) -> None:
    """regex "" lets any through. Raises Invalid."""
    if len(password) > LONGEST:
        raise errors.Invalid(f"The password is over {LONGEST} characters.", field="password")
    if regex and re.match(regex, password) is None:
        raise errors.Invalid(
            "The password does not match the requirements.",
            hint="The cloud's setting password_regex says what it must look like.",
            field="password",
        )
