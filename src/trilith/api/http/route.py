"""One table tells a service's whole surface: its routes, errors, versions and policies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from trilith import errors
from trilith.api.http.versions import Microversions, NotAcceptable

if TYPE_CHECKING:
    from trilith.api.http.call import Call


@dataclass(frozen=True)
class Answer:
    """What a handler answers. body: a struct (JSON), bytes (as they are), or None for an empty body.

    stream: an async iterator of bytes in place of a body.
    """

    body: Any = None
    status: int | None = None  # None: the route's own
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json"
    stream: Any = None


Handler = Callable[["Call"], Awaitable[Any]]

#: a route that needs no token
PUBLIC = "public"
#: a route that any valid token may use; the handler checks the rest
ANY = "any"


@dataclass(frozen=True)
class Route:
    """policy: a rule of the service's table, checked before the handler against the caller's own project
    (the handler checks again with `call.allow` where the target's owner matters); PUBLIC or ANY.

    body: the struct that the request's JSON must be; None where there is none or the handler reads a stream.
    since, until: microversions in which the route exists (404 outside, as Nova does).
    response: the struct of a success, for the OpenAPI document. statuses: further documented ones.
    """

    method: str
    path: str
    handler: Handler
    policy: str = ANY
    body: type[Any] | None = None
    ok: int = 200
    since: str = ""
    until: str = ""
    response: type[Any] | None = None
    statuses: tuple[int, ...] = ()
    query: tuple[str, ...] = ()
    stream: bool = False  # the handler reads the request body itself, unbounded by max_body
    most_body: int = 0  # bytes, where a request of this route may be larger than max_body


class ByteStream(Protocol):
    """What a websocket is joined to: iterate it for what comes, `send` what goes."""

    @property
    def reason(self) -> str:
        """Why it ended, in words; "" where there is nothing to say."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Raises the error that ended it, after the last bytes."""
        ...

    async def send(self, data: bytes) -> None: ...

    def resize(self, rows: int, cols: int) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class SocketRoute:
    """A websocket. The handler authorizes and opens what the client is joined to; what it raises is the answer.

    policy: as of a Route. It has no microversions. subprotocols: of those that a client offers one must be among
    these; none: they are not looked at. text_is_data: a text frame carries bytes, too, and no new size of a terminal.
    """

    path: str
    handler: Callable[[Call], Awaitable[ByteStream]]
    policy: str = ANY
    subprotocols: tuple[str, ...] = ()
    text_is_data: bool = False


ErrorBody = Callable[[int, errors.TrilithError], Any]
#: the same with the answer's headers, for a form that follows the microversion or names the request
ErrorAnswer = Callable[[int, errors.TrilithError, Mapping[str, str]], Any]

#: error code → HTTP status; a service may override
STATUS: dict[str, int] = {
    "invalid": 400,
    "too_large": 413,
    "unauthenticated": 401,
    "forbidden": 403,
    "quota": 403,
    "missing": 404,
    "conflict": 409,
    "busy": 409,
    "outrun": 409,
    "unsupported": 400,
    "not_acceptable": 406,
    "method_not_allowed": 405,
    "precondition": 412,
    "media_type": 415,
    "gone": 410,
    "too_many": 429,
    "no_valid_host": 400,
    "backend": 503,
    "database": 503,
    "deadline": 504,
    "bug": 500,
}


class MethodNotAllowed(errors.TrilithError):
    """allow: the methods that the resource has, for the header that HTTP wants with a 405 (RFC 9110, 15.5.6)."""

    code = "method_not_allowed"

    def __init__(self, message: str, *, allow: tuple[str, ...] = (), hint: str = "", field: str = "") -> None:
        super().__init__(message, hint=hint, field=field)
        self.allow = allow


class Precondition(errors.TrilithError):
    """If-Match does not hold (HTTP 412)."""

    code = "precondition"


class MediaType(errors.TrilithError):
    """The request's Content-Type is not what the route takes (HTTP 415)."""

    code = "media_type"


class Gone(errors.TrilithError):
    """What was there is no longer offered (HTTP 410)."""

    code = "gone"


@dataclass(frozen=True)
class Policy:
    """name is the OpenStack service's own; check in oslo.policy's language.

    scope_types: the scopes (project, system, domain) of tokens that it is for, held to where the setting enforce_scope
    names the service.
    """

    name: str
    check: str
    description: str = ""
    scope_types: tuple[str, ...] = ()


@dataclass(frozen=True)
class Service:
    """prefix is where it is mounted; error_body makes the service's own error form.

    blank_ids: a path that ends in a slash names a resource with an empty id, which is not there (404), as Nova reads
    it; the other services take no notice of the slash. error_answer: in error_body's place where the form depends on
    the request. precheck: looks at the headers (Accept, Content-Type) before policy and body; raises what it refuses.
    """

    name: str
    prefix: str
    routes: tuple[Route, ...]
    error_body: ErrorBody
    policies: tuple[Policy, ...] = ()
    microversions: Microversions | None = None
    statuses: Mapping[str, int] = field(default_factory=dict)
    error_media_type: str = "application/json"
    request_id_headers: tuple[str, ...] = ("x-openstack-request-id",)
    sockets: tuple[SocketRoute, ...] = ()
    blank_ids: bool = False
    error_answer: ErrorAnswer | None = None
    precheck: Callable[[Route, Mapping[str, str]], None] | None = None

    def status(self, err: errors.TrilithError) -> int:
        return self.statuses.get(err.code) or STATUS.get(err.code, 500)


class PlainError(msgspec.Struct):
    """field: of the request, or of the document in it, that is at fault; "" where none is."""

    code: int
    message: str
    error: str
    hint: str = ""
    field: str = ""


def plain_error(status: int, err: errors.TrilithError) -> PlainError:
    """The error form of /trilith/v1."""
    return PlainError(code=status, message=err.message, error=err.code, hint=err.hint, field=err.field)


__all__ = [
    "ANY",
    "PUBLIC",
    "Answer",
    "ByteStream",
    "Gone",
    "MediaType",
    "MethodNotAllowed",
    "NotAcceptable",
    "Policy",
    "Precondition",
    "Route",
    "Service",
    "SocketRoute",
    "plain_error",
]
