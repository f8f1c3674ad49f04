"""What all services share at run time, and the making of the one ASGI application from their tables."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import parse_qsl

import msgspec
import structlog
from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler
from litestar.response import Stream

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.oidc import IssuerKeys
from trilith.api.http.policies import Policies
from trilith.api.http.route import ANY, PUBLIC, Answer, MethodNotAllowed, Route, Service
from trilith.api.http.tickets import Tickets
from trilith.api.http.tokens import permit
from trilith.api.http.versions import Version, parse
from trilith.model.record import Actor
from trilith.store.contract import Store
from trilith.store.tx import Tx

if TYPE_CHECKING:
    from trilith.config import Settings
    from trilith.jobs.services import Services

T = TypeVar("T")
log = structlog.get_logger("api")
_NOBODY = Actor(user_id="")
_NO_VERSION = Version(0, 0)


class Authenticator(Protocol):
    async def actor(self, token: str) -> Actor:
        """Who holds the token. Raises Unauthenticated."""
        ...

    def forget(self) -> None:
        """Drop what was cached: an identity noun changed."""
        ...


@dataclass
class Host:
    """services: what jobs use, for the few handlers that ask a node directly (console log, exec).

    stopping: set when the process is asked to end, so that answers without an end (event streams) close.
    """

    settings: Settings
    store: Store
    policies: Policies
    tokens: Authenticator
    services: Services
    started: float = 0.0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    tickets: Tickets = field(default_factory=Tickets)
    issuers: IssuerKeys = field(default_factory=IssuerKeys)

    async def write(self, fn: Callable[[Tx], T], *, actor: Actor, action: str) -> T:
        try:
            return await self.store.write(fn, actor=actor, action=action)
        finally:
            if action.startswith("identity."):
                self.tokens.forget()


def build(host: Host, services: list[Service]) -> Litestar:
    """One application on one port. Middleware there is none: what each request passes is written in `_serve`."""
    from trilith.api.http.streams import socket_handlers  # which builds on this module

    handlers: list[HTTPRouteHandler | WebsocketRouteHandler] = [*socket_handlers(host, services)]
    for service in services:
        by_path: dict[str, dict[str, list[Route]]] = defaultdict(lambda: defaultdict(list))
        for route in service.routes:
            by_path[route.path][route.method].append(route)
        handlers += [_handler(host, service, path, methods) for path, methods in by_path.items()]
    host.started = time.time()
    return Litestar(
        handlers,
        openapi_config=None,
        logging_config=None,
        exception_handlers={HTTPException: _not_routed(services)},
        request_max_body_size=None,  # bounded per route in _body
    )


_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def _handler(host: Host, service: Service, path: str, methods: dict[str, list[Route]]) -> HTTPRouteHandler:
    if "GET" in methods and "HEAD" not in methods:
        methods["HEAD"] = methods["GET"]

    async def serve(request: Request[Any, Any, Any]) -> Response[Any] | Stream:
        return await _serve(host, service, methods, request)

    full = (service.prefix + path) or "/"
    typed = "/".join(
        f"{part[:-1]}:str}}" if part.startswith("{") and ":" not in part else part for part in full.split("/")
    )
    name = (
        f"{service.name}_{path}".replace("/", "_").replace("{", "").replace("}", "").replace(".", "_").replace(":", "_")
    )
    serve.__name__ = name or service.name
    return HTTPRouteHandler(typed, http_method=list(_METHODS), status_code=200)(serve)  # type: ignore[arg-type]


async def _serve(
    host: Host, service: Service, methods: dict[str, list[Route]], request: Request[Any, Any, Any]
) -> Response[Any] | Stream:
    """In order: request id; version (before authentication, as clients discover with it); route; token; policy of
    the route; body; handler. Whatever fails becomes the service's own error body."""
    headers = {k.lower(): v for k, v in request.headers.items()}
    request_id = request_id_of(headers.get("x-openstack-request-id", ""))
    out = dict.fromkeys(service.request_id_headers, request_id)
    version = _NO_VERSION
    try:
        if service.microversions is not None:
            version = service.microversions.minimum
            version = service.microversions.negotiate(headers)
            out |= service.microversions.answer_headers(version)
        if service.blank_ids and _blank(service, request):
            raise errors.Missing("The resource could not be found.", hint="The path ends with an empty id.")
        route = _pick(methods, version, request)
        actor = await _authenticate(host, route, headers, request, request_id)
        permit(actor, service.name, request.method, request.url.path)
        if service.precheck is not None:
            service.precheck(route, headers)
        if route.policy not in (PUBLIC, ANY):
            host.policies.enforce(service.name, route.policy, actor, {})
        call = Call(
            host=host,
            service=service,
            route=route,
            actor=actor,
            version=version,
            params=dict(request.path_params),
            query=query_of(request),
            body=await _body(host, route, request, headers),
            headers=headers,
            request_id=request_id,
            request=request,
        )
        made = await route.handler(call)
        answer = made if isinstance(made, Answer) else Answer(made)
        return _respond(answer, route, out, head=request.method == "HEAD")
    except errors.TrilithError as err:
        return refuse(service, err, out, host)
    except Exception as err:
        if isinstance(err, OSError) and (known := errors.of_disk(err)) is not None:
            return refuse(service, known, out, host)
        log.exception("bug in a request", path=request.url.path, method=request.method, request_id=request_id)
        return refuse(
            service, errors.Bug(f"Unexpected error ({type(err).__name__}); see {request_id} in the log."), out, host
        )


def request_id_of(given: str) -> str:
    if given.startswith("req-") and len(given) == 40 and given[4:].replace("-", "").isalnum():
        return given
    return f"req-{uuid.uuid4()}"


def query_of(request: Request[Any, Any, Any]) -> list[tuple[str, str]]:
    if "\x00" in request.scope["path"]:
        raise errors.Missing("The resource could not be found.")
    raw = request.scope.get("query_string", b"")
    if not raw:
        return []
    if b"%00" in raw:
        raise errors.Invalid("The query string holds the character NUL.")
    try:
        return parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=200, errors="strict")
    except (UnicodeDecodeError, ValueError) as err:
        raise errors.Invalid(f"The query string cannot be read: {err}.") from err


def _blank(service: Service, request: Request[Any, Any, Any]) -> bool:
    """Whether the path, as it came, ends in a slash after more than the service's root and version."""
    raw = request.scope.get("raw_path", b"").partition(b"?")[0]
    return raw.endswith(b"/") and raw.rstrip(b"/").count(b"/") > service.prefix.count("/") + 1


def _pick(methods: dict[str, list[Route]], version: Version, request: Request[Any, Any, Any]) -> Route:
    routes = methods.get(request.method)
    if not routes:
        allow = tuple(name for name in _METHODS if name in methods and name != "HEAD")
        raise MethodNotAllowed(f"The method {request.method} is not allowed for this resource.", allow=allow)
    for route in routes:
        if route.since and version < parse(route.since):
            continue
        if route.until and version > parse(route.until):
            continue
        return route
    raise errors.Missing("The resource could not be found.", hint="It does not exist in this microversion.")


async def _authenticate(
    host: Host, route: Route, headers: dict[str, str], request: Request[Any, Any, Any], request_id: str
) -> Actor:
    token = headers.get("x-auth-token", "")
    address = request.client.host if request.client else ""
    if route.policy == PUBLIC and not token:
        return _with(_NOBODY, request_id, address)
    if token and route.policy == PUBLIC:
        return _with(_NOBODY, request_id, address)
    return await authenticated(host, token, address, request_id)


async def authenticated(host: Host, token: str, address: str, request_id: str) -> Actor:
    """Raises Unauthenticated."""
    if not token:
        raise errors.Unauthenticated("The request you have made requires authentication.")
    return _with(await host.tokens.actor(token), request_id, address)


def _with(actor: Actor, request_id: str, address: str) -> Actor:
    return replace(actor, request_id=request_id, address=address)


async def _body(host: Host, route: Route, request: Request[Any, Any, Any], headers: dict[str, str]) -> Any:
    if route.stream:
        return None
    limit = max(host.settings.max_body, route.most_body)
    if int(headers.get("content-length") or 0) > limit:
        raise errors.TooLarge(f"The body is over {limit} bytes.")
    if route.body is None:
        return None
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise errors.TooLarge(f"The body is over {limit} bytes.")
        chunks.append(chunk)
    return decode(b"".join(chunks), route.body)


def decode(raw: bytes, into: type[T]) -> T:
    """JSON into a struct. Raises Invalid naming the field."""
    if b"\\u0000" in raw:
        raise errors.Invalid("A text may not hold the character NUL.")  # PostgreSQL keeps none
    try:
        return msgspec.json.decode(raw, type=into)
    except msgspec.ValidationError as err:
        text = str(err)
        message, _, where = text.partition(" - at `$")
        field = where.rstrip("`").lstrip(".")
        raise errors.Invalid(f"Invalid input for field/attribute {field or 'body'}. {message}.", field=field) from err
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise errors.Invalid(f"Malformed request body: {err}") from err


_encoder = msgspec.json.Encoder()


def _respond(answer: Answer, route: Route, headers: dict[str, str], *, head: bool) -> Response[Any] | Stream:
    status = answer.status or route.ok
    headers = {**headers, **answer.headers}
    if answer.stream is not None and not head:
        return Stream(answer.stream, status_code=status, headers=headers, media_type=answer.media_type)
    if answer.body is None or head or status == 204:
        return Response(
            b"", status_code=status, headers=headers, media_type=None if status == 204 else answer.media_type
        )
    body = answer.body if isinstance(answer.body, bytes) else _encoder.encode(answer.body)
    return Response(body, status_code=status, headers=headers, media_type=answer.media_type)


def refuse(service: Service, err: errors.TrilithError, headers: dict[str, str], host: Host) -> Response[Any]:
    status = service.status(err)
    if service.error_answer is not None:
        body = service.error_answer(status, err, headers)
    else:
        body = service.error_body(status, err)
    extra = {"x-trilith-error": err.code}
    if isinstance(err, MethodNotAllowed) and err.allow:
        extra["Allow"] = ", ".join(err.allow)
    if status == 401:
        extra["WWW-Authenticate"] = f'Keystone uri="{host.settings.url}/identity"'
    if status in (429, 503):
        extra["Retry-After"] = "5"
    raw = body if isinstance(body, bytes) else _encoder.encode(body)
    return Response(raw, status_code=status, headers={**headers, **extra}, media_type=service.error_media_type)


def _not_routed(services: list[Service]) -> Callable[[Request[Any, Any, Any], HTTPException], Response[Any]]:
    """Paths that no table has: the 404 (or 405) of the service under whose prefix they are."""
    longest = sorted(services, key=lambda s: -len(s.prefix))

    def answer(request: Request[Any, Any, Any], exc: HTTPException) -> Response[Any]:
        path = request.url.path
        service = next((s for s in longest if path == s.prefix or path.startswith(s.prefix + "/")), longest[-1])
        err: errors.TrilithError = errors.Missing("The resource could not be found.")
        if exc.status_code == 405:
            err = MethodNotAllowed(f"The method {request.method} is not allowed for this resource.")
        elif exc.status_code == 400:
            err = errors.Invalid(str(exc.detail))
        status = service.status(err)
        headers = dict.fromkeys(service.request_id_headers, request_id_of(""))
        body = service.error_answer(status, err, headers) if service.error_answer else service.error_body(status, err)
        raw = body if isinstance(body, bytes) else _encoder.encode(body)
        return Response(raw, status_code=status, headers=headers, media_type=service.error_media_type)

    return answer
