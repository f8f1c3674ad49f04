"""How a route of identity is written down."""

from __future__ import annotations

from typing import Any

from trilith.api.http.route import ANY, PUBLIC, Handler, Route


def route(
    method: str,
    path: str,
    handler: Handler,
    policy: str = ANY,
    body: type[Any] | None = None,
    ok: int = 0,
    *,
    response: type[Any] | None = None,
    statuses: tuple[int, ...] = (),
    query: tuple[str, ...] = (),
) -> Route:
    """The usual success of a method, unless ok says else. policy: without its prefix "identity:"."""
    usual = {"POST": 201, "PUT": 204, "DELETE": 204}.get(method, 200)
    rule = policy if policy in (ANY, PUBLIC) else f"identity:{policy}"
    return Route(
        method, path, handler, rule, body=body, ok=ok or usual, response=response, statuses=statuses, query=query
    )
