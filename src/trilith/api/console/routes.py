"""/console: where the URLs lead that the compute API's remote consoles give."""

from __future__ import annotations

from trilith import errors
from trilith.api.console import pages, sockets
from trilith.api.console.addresses import PREFIX, SOCKETS
from trilith.api.http.openapi import document_route
from trilith.api.http.route import PUBLIC, Route, Service, SocketRoute
from trilith.model.console import ConsoleKind


def error_body(status: int, err: errors.TrilithError) -> bytes:
    """Plain words for a person. A refused token gets none: clients of Nova's proxy take any byte for the console's."""
    return b"" if status == 403 else f"{err}\n".encode()


_ROUTES = (Route("GET", "/{file:path}", pages.show, PUBLIC),)
_SCREEN = SocketRoute(SOCKETS[ConsoleKind.NOVNC], sockets.screen, PUBLIC, subprotocols=("binary",), text_is_data=True)
_SERIAL = SocketRoute(SOCKETS[ConsoleKind.SERIAL], sockets.serial, PUBLIC, subprotocols=("binary",), text_is_data=True)

SERVICE = Service(
    name="console",
    prefix=PREFIX,
    routes=(*_ROUTES, document_route("console", PREFIX, _ROUTES, error_body, "consoles in a browser")),
    error_body=error_body,
    error_media_type="text/plain",
    sockets=(_SCREEN, _SERIAL),
)
