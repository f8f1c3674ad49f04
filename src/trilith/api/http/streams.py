"""Websockets: bytes between a client and a channel of the cloud, binary frames both ways.

What is refused is refused before the upgrade, with the service's own status and error body. A text frame is control:
{"rows": 50, "cols": 120} (or "columns") is a new size of the client's terminal.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec
import structlog
from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect
from litestar.handlers import WebsocketRouteHandler

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.host import Host, authenticated, query_of, refuse, request_id_of
from trilith.api.http.route import ANY, PUBLIC, ByteStream, Route, Service, SocketRoute
from trilith.api.http.tokens import permit
from trilith.api.http.versions import Version
from trilith.model.record import Actor

if TYPE_CHECKING:
    from litestar import Request
    from litestar.types import Message

log = structlog.get_logger("api")
_NO_VERSION = Version(0, 0)
#: RFC 6455, 7.4.1
_DONE, _AWAY, _WRONG, _FAILED = 1000, 1001, 1003, 1011
#: RFC 6455, 5.5: a close frame carries 125 bytes, two of them the code
_REASON = 123
_Size = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class Control(msgspec.Struct):
    """cols and columns are the same: both are in use among clients."""

    rows: _Size
    cols: _Size = 0
    columns: _Size = 0


def socket_handlers(host: Host, services: list[Service]) -> list[WebsocketRouteHandler]:
    return [_handler(host, service, route) for service in services for route in service.sockets]


def _handler(host: Host, service: Service, route: SocketRoute) -> WebsocketRouteHandler:
    async def serve(socket: WebSocket[Any, Any, Any]) -> None:
        await _serve(host, service, route, socket)

    path = "/".join(
        f"{part[:-1]}:str}}" if part.startswith("{") else part for part in (service.prefix + route.path).split("/")
    )
    serve.__name__ = f"{service.name}_socket_{route.path}".replace("/", "_").replace("{", "").replace("}", "")
    return WebsocketRouteHandler(path)(serve)


async def _serve(host: Host, service: Service, route: SocketRoute, socket: WebSocket[Any, Any, Any]) -> None:
    """In order: request id; token or ticket; policy of the route; handler; the upgrade; bytes until one end is gone."""
    headers = {k.lower(): v for k, v in socket.headers.items()}
    request_id = request_id_of(headers.get("x-openstack-request-id", ""))
    out = dict.fromkeys(service.request_id_headers, request_id)
    try:
        subprotocol = _subprotocol(route, headers)
        stream = await _opened(host, service, route, socket, headers, request_id)
    except errors.TrilithError as err:
        await _refused(host, service, err, out, socket)
        return
    except Exception as err:
        log.exception("bug in a request", path=socket.url.path, request_id=request_id)
        bug = errors.Bug(f"Unexpected error ({type(err).__name__}); see {request_id} in the log.")
        await _refused(host, service, bug, out, socket)
        return
    try:
        if (await socket.receive())["type"] != "websocket.connect":
            return
        await socket.send(
            {
                "type": "websocket.accept",
                "subprotocol": subprotocol,
                "headers": [(k.encode(), v.encode()) for k, v in out.items()],
            }
        )
        code, reason = await _joined(stream, socket, host.stopping, text_is_data=route.text_is_data)
        await _closed(socket, code, reason)
    except (OSError, WebSocketDisconnect) as err:  # the ASGI specification's word for a client that is gone
        log.debug("a stream's client went away", path=socket.url.path, error=str(err))
    finally:
        stream.close()


def _subprotocol(route: SocketRoute, headers: dict[str, str]) -> str | None:
    """The first of those that the client offers and this route speaks (RFC 6455, 4.2.2). Raises Invalid."""
    offered = [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",") if name.strip()]
    if not offered or not route.subprotocols:
        return None
    chosen = next((name for name in offered if name in route.subprotocols), None)
    if chosen is None:
        raise errors.Invalid(f"Of the subprotocols, only {', '.join(route.subprotocols)} is spoken here.")
    return chosen


async def _opened(
    host: Host,
    service: Service,
    route: SocketRoute,
    socket: WebSocket[Any, Any, Any],
    headers: dict[str, str],
    request_id: str,
) -> ByteStream:
    path = socket.url.path
    query = query_of(cast("Request[Any, Any, Any]", socket))
    address = socket.client.host if socket.client else ""
    if route.policy == PUBLIC:
        actor = Actor(user_id="", request_id=request_id, address=address)
    else:
        token = headers.get("x-auth-token", "")
        ticket = next((value for name, value in query if name == "token"), "")
        if ticket and not token:
            token = host.tickets.redeem(ticket, path)
        actor = await authenticated(host, token, address, request_id)
        permit(actor, service.name, "GET", path)
    if route.policy not in (PUBLIC, ANY):
        host.policies.enforce(service.name, route.policy, actor, {})
    call = Call(
        host=host,
        service=service,
        route=Route("GET", route.path, route.handler, route.policy),
        actor=actor,
        version=_NO_VERSION,
        params=dict(socket.path_params),
        query=query,
        body=None,
        headers=headers,
        request_id=request_id,
        request=cast("Request[Any, Any, Any]", socket),  # a connection alike, but without a body
    )
    return await route.handler(call)


async def _joined(
    stream: ByteStream, socket: WebSocket[Any, Any, Any], stopping: asyncio.Event, *, text_is_data: bool
) -> tuple[int, str]:
    """Bytes both ways until one end is gone; the code and reason of the close frame."""

    async def down() -> tuple[int, str]:
        async for data in stream:
            await socket.send({"type": "websocket.send", "bytes": data, "text": None})
        return _DONE, stream.reason

    async def up() -> tuple[int, str]:
        while (message := await socket.receive())["type"] == "websocket.receive":
            received = cast("dict[str, Any]", message)
            if received.get("bytes"):
                await stream.send(received["bytes"])
            elif (text := received.get("text")) and text_is_data:
                await stream.send(text.encode())
            elif text:
                try:
                    size = msgspec.json.decode(text, type=Control)
                except msgspec.MsgspecError as err:
                    return _WRONG, f"invalid: a text frame is a size: {err}"
                if size.cols or size.columns:
                    stream.resize(size.rows, size.cols or size.columns)
        return _DONE, ""

    async def stop() -> tuple[int, str]:
        await stopping.wait()
        return _AWAY, "The cloud is stopping; the server goes on."

    tasks = [asyncio.create_task(each(), name=f"stream-{each.__name__}") for each in (down, up, stop)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done() and tasks[1].done() and tasks[1].exception() is not None:
            # the guest's end is gone: its last words are still to come, and say more
            await asyncio.wait(tasks[:1], timeout=2)
        first = next(task for task in tasks if task.done())
        return first.result()
    except errors.TrilithError as err:
        return _FAILED, f"{err.code}: {err}"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _closed(socket: WebSocket[Any, Any, Any], code: int, reason: str) -> None:
    if socket.connection_state == "disconnect":
        return
    fitting = reason.encode()[:_REASON].decode(errors="ignore")
    await socket.close(code, fitting)


async def _refused(
    host: Host, service: Service, err: errors.TrilithError, out: dict[str, str], socket: WebSocket[Any, Any, Any]
) -> None:
    answer = refuse(service, err, out, host)
    if "websocket.http.response" not in (socket.scope.get("extensions") or {}):
        await socket.close(_FAILED, f"{err.code}: {err}".encode()[:_REASON].decode(errors="ignore"))
        return
    raw = answer.content if isinstance(answer.content, bytes) else b""
    headers = {**answer.headers, "content-type": service.error_media_type, "content-length": str(len(raw))}
    start = {
        "type": "websocket.http.response.start",
        "status": answer.status_code or 500,
        "headers": [(k.lower().encode(), str(v).encode()) for k, v in headers.items()],
    }
    await socket.send(cast("Message", start))
    await socket.send(cast("Message", {"type": "websocket.http.response.body", "body": raw, "more_body": False}))
