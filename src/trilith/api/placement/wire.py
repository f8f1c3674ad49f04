"""What Placement's API says on the wire: errors, and what all of its nouns share."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from typing import Annotated, Any

import msgspec

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import PUBLIC, Answer, MediaType, NotAcceptable, Route
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

# Placement's own error codes of requests (microversion 1.23); those of conflicts are in the commands
BAD_VALUE = "placement.query.bad_value"
MISSING_VALUE = "placement.query.missing_value"
DUPLICATE_KEY = "placement.query.duplicate_key"
NO_PROVIDER = "placement.resource_provider.not_found"


class Refused(errors.Invalid):
    """What can never succeed as written; `reason` is Placement's own code."""

    def __init__(self, message: str, *, reason: str = UNDEFINED, field: str = "") -> None:
        super().__init__(message, field=field)
        self.reason = reason


class BadQuery(Refused):
    """A query parameter that is wrong."""


class Problem(msgspec.Struct, omit_defaults=True):
    """code: from microversion 1.23 on. min_version and max_version: where the version was not acceptable."""

    status: int
    title: str
    detail: str
    code: str | msgspec.UnsetType = msgspec.UNSET
    request_id: str | msgspec.UnsetType = msgspec.UNSET
    max_version: str | msgspec.UnsetType = msgspec.UNSET
    min_version: str | msgspec.UnsetType = msgspec.UNSET


class Fault(msgspec.Struct):
    errors: list[Problem]


_BODY = "Invalid input for field/attribute"
_MALFORMED = "Malformed request body"
#: how Placement says it; people search for these words
_WORDS = (
    (re.compile("Object missing required field `([^`]*)`"), r"'\1' is a required property"),
    (
        re.compile("Object contains unknown field `([^`]*)`"),
        r"Additional properties are not allowed ('\1' was unexpected)",
    ),
)


def fault(status: int, err: errors.TrilithError) -> Fault:
    code = err.reason if isinstance(err, PlacementConflict | Refused) else UNDEFINED
    detail = str(err)
    if detail.startswith(_BODY):
        for pattern, words in _WORDS:
            detail = pattern.sub(words, detail)
        detail = f"JSON does not validate: {detail}"
    elif detail.startswith(_MALFORMED):
        detail = f"Malformed JSON{detail.removeprefix(_MALFORMED)}"
    return Fault([Problem(status=status, title=HTTPStatus(status).phrase, detail=detail, code=code)])


def error_answer(status: int, err: errors.TrilithError, headers: Mapping[str, str]) -> Fault:
    """The form of this request: with its id, and without a code before 1.23."""
    made = fault(status, err)
    (problem,) = made.errors
    problem.request_id = headers.get("x-openstack-request-id", msgspec.UNSET)
    version = headers.get("OpenStack-API-Version", "").rpartition(" ")[2]
    if version and _parsed(version) < _parsed("1.23"):
        problem.code = msgspec.UNSET
    if isinstance(err, UnknownVersion):
        problem.min_version, problem.max_version = str(err.least), str(err.most)
    return made


class UnknownVersion(NotAcceptable):
    """A microversion that is not served. least, most: those that are."""

    def __init__(self, asked: str, least: Version, most: Version) -> None:
        super().__init__(f"Unacceptable version header: {asked}", hint=f"{least} to {most} are served.")
        self.least, self.most = least, most


def precheck(route: Route, headers: Mapping[str, str]) -> None:
    """Raises Invalid or MediaType for a body that says not to be JSON, NotAcceptable where none is wanted back."""
    if route.body is not None:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if not kind and headers.get("content-length", "0") != "0":
            raise errors.Invalid("content-type header required when content-length > 0")
        if kind != "application/json":
            raise MediaType(f"The media type {kind or 'None'} is not supported, use application/json")
    if route.method == "GET" and route.response is not None and route.policy != PUBLIC:
        accept = headers.get("accept", "")
        if accept and not _accepts_json(accept):
            raise NotAcceptable("Only application/json is provided")


def _accepts_json(accept: str) -> bool:
    for item in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in item.split(";"))
        if kind in ("application/json", "application/*", "*/*"):
            quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
            return quality.strip("0.") != ""
    return False


class Link(msgspec.Struct, gc=False):
    rel: str
    href: str


_parsed = cache(parse)


def at_least(call: Call, version: str) -> bool:
    return call.version >= _parsed(version)


def path(rest: str) -> str:
    return f"{PREFIX}{rest}"


def check_uuid(text: str, field: str = "uuid") -> str:
    """Dashed and in lower case. Raises Invalid."""
    try:
        return str(uuid.UUID(text))
    except ValueError as err:
        raise errors.Invalid(f"Malformed {field}: {text!r} is not a 'uuid'.", field=field) from err


def unexpected(name: str) -> errors.Invalid:
    """A field of the body that this microversion does not know."""
    return errors.Invalid(
        f"JSON does not validate: Additional properties are not allowed ('{name}' was unexpected)", field=name
    )


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
