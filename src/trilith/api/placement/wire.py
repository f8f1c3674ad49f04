"""What Placement's API says on the wire: errors, and what all of its nouns share."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

import msgspec

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.http.versions import Version, parse
from trilith.commands.resource_providers import UNDEFINED, PlacementConflict

PREFIX = "/placement"
#: names of traits and resource classes
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern="^[A-Z0-9_]+$")]
CustomName = Annotated[str, msgspec.Meta(min_length=8, max_length=255, pattern="^CUSTOM_[A-Z0-9_]+$")]
Uuid = Annotated[
    str,
    msgspec.Meta(pattern="^[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}$"),
]
Amount = Annotated[int, msgspec.Meta(ge=1, le=2147483647)]
Generation = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class BadQuery(errors.Invalid):
    """A query parameter that is wrong; `reason` is Placement's own code."""

    def __init__(self, message: str, *, reason: str = "placement.query.bad_value", field: str = "") -> None:
        super().__init__(message, field=field)
        self.reason = reason


class Problem(msgspec.Struct):
    status: int
    title: str
    detail: str
    code: str


class Fault(msgspec.Struct):
    errors: list[Problem]


def fault(status: int, err: errors.TrilithError) -> Fault:
    code = err.reason if isinstance(err, PlacementConflict | BadQuery) else UNDEFINED
    return Fault([Problem(status=status, title=HTTPStatus(status).phrase, detail=str(err), code=code)])


class Link(msgspec.Struct):
    rel: str
    href: str


def at_least(call: Call, version: str) -> bool:
    return call.version >= parse(version)


def path(rest: str) -> str:
    return f"{PREFIX}{rest}"


def check_uuid(text: str, field: str = "uuid") -> str:
    """Dashed and in lower case. Raises Invalid."""
    try:
        return str(uuid.UUID(text))
    except ValueError as err:
        raise errors.Invalid(f"Invalid uuid: {text!r} is no UUID.", field=field) from err


def fresh(call: Call, body: Any, *, at: float = 0.0, status: int | None = None, headers: Any = None) -> Answer:
    """An answer with the headers that clients revalidate by, from microversion 1.15 on. at: seconds since the epoch,
    0 for now."""
    out = dict(headers or {})
    if at_least(call, "1.15"):
        when = datetime.fromtimestamp(at, UTC) if at else datetime.now(UTC)
        out["Last-Modified"] = when.strftime("%a, %d %b %Y %H:%M:%S GMT")
        out["Cache-Control"] = "no-cache"
    return Answer(body, status=status, headers=out)


def known_query(call: Call, allowed: frozenset[str]) -> None:
    """Raises BadQuery for a parameter that this route does not have."""
    for name, _ in call.query:
        if name not in allowed:
            raise BadQuery(
                f"Invalid query string parameters: Additional properties are not allowed ('{name}' was unexpected)",
                field=name,
            )


__all__ = ["Version"]
