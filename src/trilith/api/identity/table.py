"""How a route of identity is written down."""

from __future__ import annotations

from typing import Any

from trilith.api.http.route import ANY, PUBLIC, Handler, Route
from trilith.api.identity.answers import SHOWN, Shown


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
) -> Route:
    """The usual success of a method, unless ok says else. policy: without its prefix "identity:".

    What it answers is said in answers.py, unless `response` says else.
    """
    usual = {"POST": 201, "PUT": 204, "DELETE": 204}.get(method, 200)
    rule = policy if policy in (ANY, PUBLIC) else f"identity:{policy}"
    shown = SHOWN.get(handler, Shown(None))
    further = {*statuses, *(() if method in ("GET", "HEAD") else (409, 413))}
    if policy == PUBLIC and method == "POST":
        further |= {401, 403, 429}  # log-ins and what is signed
    return Route(
        method,
        path,
        handler,
        rule,
        body=body,
        ok=ok or usual,
        response=response or shown.response,
        statuses=tuple(sorted(further)),
        query=shown.query,
    )
