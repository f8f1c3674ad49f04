"""Tokens: encrypted, stateless (Fernet), checked against who exists now.

What a token says is sealed in it; whether it still counts (user, project, roles, revocations) is read from the
store and kept until an identity noun changes.
"""

from __future__ import annotations

import functools
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import msgspec

from trilith import errors
from trilith.api.http.token_keys import Ring, base_keys
from trilith.api.http.token_load import Token, Valid, load, new_audit_id
from trilith.commands.identity_directory import Directory, read_directory
from trilith.commands.identity_token_keys import TokenKey, stored_keys
from trilith.model.record import Actor
from trilith.store.contract import Store
from trilith.store.seal import Sealer
from trilith.store.tx import Reader

_CACHE = 4096
#: seconds between looks for keys that this controller does not know
_RING_SECONDS = 1.0
T = TypeVar("T")
_REFUSED = "The request you have made requires authentication."


class Tokens:
    def __init__(self, store: Store, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer
        self._ring = Ring(base_keys(sealer), ())
        self._ring_at = 0.0
        self._cache: OrderedDict[str, Valid] = OrderedDict()
        self._generation = 0
        self._directory: Directory | None = None
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Token).decode

    @property
    def ring(self) -> Ring:
        return self._ring

    def issue(self, token: Token) -> str:
        return self._ring.seal(self._encode(token))

    def read(self, text: str) -> Token:
        """What the token says. Raises Unauthenticated when it is not ours or has expired."""
        try:
            token = self._decode(self.open(text))
        except msgspec.MsgspecError as err:
            raise errors.Unauthenticated(_REFUSED) from err
        if token.expires_at <= time.time():
            raise errors.Unauthenticated(_REFUSED)
        return token

    def open(self, text: str) -> bytes:
        """What was sealed by any key that still counts. Raises Unauthenticated."""
        found = self._ring.open(text, time.time()) if len(text) <= 4096 else None
        if found is None:
            raise errors.Unauthenticated(_REFUSED)
        return found

    async def meet(self, text: str) -> None:
        """Look for the key of a text that none of the known ones opens: another controller may have just made it.

        At most once a second: what is no token at all must not cost a read each.
        """
        if len(text) > 4096 or self._ring.open(text, time.time()) is not None:
            return
        if time.monotonic() >= self._ring_at + _RING_SECONDS:
            self._ring_at = time.monotonic()
            self._ring = Ring(base_keys(self._sealer), await self._store.read(stored_keys))

    async def look(self, fn: Callable[[Reader, Directory], T]) -> tuple[T, int]:
        """Run fn in one snapshot with the directory, which is read along when it is not kept.

        Also the generation that the look began in, for `keep`.
        """
        generation, known = self._generation, self._directory

        def run(reader: Reader) -> tuple[T, Directory, tuple[TokenKey, ...] | None]:
            directory = known or read_directory(reader)
            return fn(reader, directory), directory, None if known else stored_keys(reader)

        made, directory, keys = await self._store.read(run)
        if generation == self._generation:
            self._directory = directory
        if keys is not None:
            self._ring = Ring(base_keys(self._sealer), keys)
        return made, generation

    def keep(self, text: str, valid: Valid, generation: int) -> None:
        """Spare the next check its reads, unless identity has changed since the look began."""
        if generation != self._generation:
            return
        self._cache[text] = valid
        while len(self._cache) > _CACHE:
            self._cache.popitem(last=False)

    async def valid(self, text: str) -> Valid:
        """Raises Unauthenticated when it no longer counts."""
        found = self._cache.get(text)
        if found is not None and found.token.expires_at > time.time():
            self._cache.move_to_end(text)
            return found
        await self.meet(text)
        token = self.read(text)
        valid, generation = await self.look(lambda reader, directory: load(reader, token, directory))
        self.read(text)  # its key may have been ended since the keys were last read, which the look did anew
        self.keep(text, valid, generation)
        return valid

    async def actor(self, token: str) -> Actor:
        return (await self.valid(token)).actor

    def forget(self) -> None:
        self._generation += 1
        self._directory = None
        self._cache.clear()


@functools.lru_cache(maxsize=1024)
def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*|\{[^}/]*\})", path)
    return re.compile("".join(".+" if p == "**" else "[^/]+" if p[:1] in ("*", "{") else re.escape(p) for p in parts))


def permit(actor: Actor, service: str, method: str, path: str) -> None:
    """Hold a request to the access rules of its application credential (keystonemiddleware's meaning of them).

    A rule's path may be written with or without the service's own first part (/compute/v2.1/… or /v2.1/…).
    Raises Unauthenticated, as keystonemiddleware does.
    """
    if not actor.access_rules:
        return
    inner = "/" + path.lstrip("/").partition("/")[2]
    for rule_service, rule_method, rule_path in actor.access_rules:
        if rule_service != service or rule_method != method:
            continue
        pattern = _pattern(rule_path)
        if pattern.fullmatch(path) or pattern.fullmatch(inner):
            return
    raise errors.Unauthenticated(_REFUSED, hint="The application credential's access rules do not cover this request.")


__all__ = ["Token", "Tokens", "Valid", "load", "new_audit_id", "permit"]
