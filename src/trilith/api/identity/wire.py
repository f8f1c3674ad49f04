"""Forms that all of identity shares: its error body, times, names, and records with attributes of the caller's own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from trilith import errors

S = TypeVar("S", bound=Struct)

#: Keystone's bounds (keystone.common.validation.parameter_types)
Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S")]
ShortName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"\S")]
Id = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9-]+$")]
RegionId = Annotated[str, Meta(min_length=1, max_length=255)]
Text = Annotated[str, Meta(max_length=65_000)]
Url = Annotated[str, Meta(min_length=1, max_length=2048, pattern=r"^[a-zA-Z0-9+.-]+:.+")]
Tag = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^,/]*$")]

#: attributes that a caller may add, and their JSON's bytes
_MOST_EXTRAS = 64
_EXTRA_BYTES = 65_536

#: seconds since the epoch: what isotime can still show
_LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()

_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Request Entity Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}


class Fault(Struct):
    code: int
    message: str
    title: str


class ErrorBody(Struct):
    error: Fault


def error_body(status: int, err: errors.TrilithError) -> ErrorBody:
    return ErrorBody(Fault(code=status, message=str(err), title=_TITLES.get(status, "Error")))


class Links(Struct):
    self: str


class ListLinks(Struct):
    self: str
    previous: str | None = None
    next: str | None = None


def isotime(at: float) -> str:
    """Keystone's form, UTC with microseconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def naive_isotime(at: float) -> str:
    """Without a zone, as Keystone shows times of passwords and application credentials."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


def parse_time(text: str, field: str) -> float:
    """Seconds since the epoch of an ISO 8601 time, UTC unless it says else. Raises Invalid."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as err:
        raise errors.Invalid(f"{field}: {text!r} is no ISO 8601 time.", field=field) from err
    seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    if not 0 <= seconds < _LATEST:
        raise errors.Invalid(f"{field}: {text!r} is no time from 1970 to 9999.", field=field)
    return seconds


def parse(given: dict[str, Any], into: type[S]) -> S:
    """Raises Invalid naming the field."""
    try:
        return msgspec.convert(given, into)
    except msgspec.ValidationError as err:
        message, _, where = str(err).partition(" - at `$")
        field = where.rstrip("`").lstrip(".")
        raise errors.Invalid(f"Invalid input for field '{field or 'body'}': {message}.", field=field) from err


def parse_open(given: dict[str, Any], into: type[S]) -> tuple[S, dict[str, Any]]:
    """The known attributes and, beside them, those that Keystone keeps without knowing. Raises Invalid."""
    known = parse(given, into)
    # what we make ourselves is never kept as the caller's
    names = set(into.__struct_fields__) | {"id", "links"}
    extra = {k: v for k, v in given.items() if k not in names}
    if len(extra) > _MOST_EXTRAS or len(msgspec.json.encode(extra)) > _EXTRA_BYTES:
        raise errors.Invalid("Too many further attributes.")
    return known, extra


def set_fields(known: Struct, *skip: str) -> dict[str, Any]:
    """What the caller did set; null becomes the empty string, which is how the store says none."""
    found = ((n, getattr(known, n)) for n in known.__struct_fields__ if n not in skip)
    return {n: "" if v is None else v for n, v in found if v is not UNSET}


def flat(known: Struct, extra: dict[str, Any]) -> dict[str, Any]:
    """One JSON object of a record and its further attributes; its own come first and win."""
    own: dict[str, Any] = msgspec.to_builtins(known)
    return extra | own if extra else own


def or_none(text: str) -> str | None:
    return text or None


def text_or(value: str | UnsetType | None, default: str = "") -> str:
    return default if value is UNSET or not isinstance(value, str) else value


__all__ = [
    "ErrorBody",
    "Id",
    "Links",
    "ListLinks",
    "Name",
    "RegionId",
    "ShortName",
    "Tag",
    "Text",
    "Url",
    "error_body",
    "flat",
    "isotime",
    "naive_isotime",
    "or_none",
    "parse",
    "parse_open",
    "parse_time",
    "set_fields",
    "text_or",
]
