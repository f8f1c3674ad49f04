"""One request, as a handler sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from trilith import errors
from trilith.api.http.versions import Version
from trilith.model.record import Actor
from trilith.store.tx import Reader, Tx

if TYPE_CHECKING:
    from litestar import Request

    from trilith.api.http.host import Host
    from trilith.api.http.route import Route, Service

T = TypeVar("T")
#: what a path may hold as it is (RFC 3986, 3.3); a header with anything else breaks the answer
_IN_PATHS = "/:@!$&'()*+,;=~"


@dataclass(slots=True)
class Call:
    """query: pairs in order, as they came, decoded. params: the path's parts. body: the route's struct, or None."""

    host: Host
    service: Service
    route: Route
    actor: Actor
    version: Version
    params: dict[str, str]
    query: list[tuple[str, str]]
    body: Any
    headers: dict[str, str]
    request_id: str
    request: Request[Any, Any, Any]

    async def read(self, fn: Callable[[Reader], T]) -> T:
        return await self.host.store.read(fn)

    async def write(self, fn: Callable[[Tx], T], action: str) -> T:
        """One transaction in the caller's name; action ("server.create") goes into the audit."""
        return await self.host.write(fn, actor=self.actor, action=f"{self.service.name}.{action}")

    def allow(self, rule: str, **target: Any) -> None:
        """Raises Forbidden unless the policy lets the caller. target: project_id, user_id … of what is touched."""
        self.host.policies.enforce(self.service.name, rule, self.actor, target)

    def can(self, rule: str, **target: Any) -> bool:
        return self.host.policies.check(self.service.name, rule, self.actor, target)

    def one(self, name: str, default: str = "") -> str:
        """The last value of a query parameter."""
        found = default
        for key, value in self.query:
            if key == name:
                found = value
        return found

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.query if key == name]

    def flag(self, name: str, default: bool = False) -> bool:
        """Raises Invalid for what is no boolean."""
        text = self.one(name).lower()
        if not text:
            return default
        if text in ("1", "true", "t", "yes", "y", "on"):
            return True
        if text in ("0", "false", "f", "no", "n", "off"):
            return False
        raise errors.Invalid(f"{name}: {text!r} is no boolean.", field=name)

    def number(self, name: str, default: int, *, least: int = 0, most: int = 2**31 - 1) -> int:
        text = self.one(name)
        if not text:
            return default
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 20 or not least <= int(text) <= most:
            raise errors.Invalid(f"{name}: must be a number from {least} to {most}.", field=name)
        return int(text)

    def stream(self) -> AsyncIterator[bytes]:
        return self.request.stream()

    def url(self, path: str) -> str:
        """Absolute, built from public_url and this service's prefix, never from the Host header.

        path: without a query, and as a person reads it: names in it may hold anything, the URL holds RFC 3986's.
        """
        return f"{self.host.settings.url}{self.service.prefix}{quote(path, safe=_IN_PATHS)}"
