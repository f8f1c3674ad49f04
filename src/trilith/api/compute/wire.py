"""What the compute resources share on the wire: links, times, request bounds, query checks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from trilith import errors
from trilith.api.compute.faults import unexpected
from trilith.api.compute.microversions import has
from trilith.api.http.call import Call

#: the path of the version under the service's prefix
VERSION = "/v2.1"


class Link(msgspec.Struct):
    rel: str
    href: str
    type: str | msgspec.UnsetType = msgspec.UNSET


def links(call: Call, kind: str, id: str) -> list[Link]:
    """self with the version, bookmark without."""
    return [Link("self", f"{call.url(VERSION)}/{kind}/{id}"), Link("bookmark", f"{call.url('')}/{kind}/{id}")]


def iso(at: float) -> str:
    """2026-01-31T12:00:00Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def micro(at: float) -> str:
    """2026-01-31T12:00:00.000000: Nova's form of times that its database gives without a zone."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


def micro_or_none(at: float) -> str | None:
    return micro(at) if at else None


#: Nova's parameter_types.name: printable, no space at either end
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^(?![\s])[^\x00-\x1f\x7f]*(?<![\s])$")]
# without NUL, which PostgreSQL's text cannot hold
Text255 = Annotated[str, msgspec.Meta(max_length=255, pattern=r"^[^\x00]*$")]
Description = Annotated[str, msgspec.Meta(max_length=65535, pattern=r"^[^\x00]*$")]
Uuid = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}$", max_length=36
    ),
]
MetadataValue = Annotated[str, msgspec.Meta(max_length=255)]
MetadataKey = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9-_:. ]{1,255}$")]
Metadata = dict[MetadataKey, MetadataValue]

#: a boolean as Nova takes it: also the words
Flag = bool | str
#: a number as Nova takes it: also in digits
Number = int | Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]+$", max_length=11)]


def flag(value: Flag, field: str) -> bool:
    """Raises Invalid for a word that is no boolean."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower()
    if word in ("true", "t", "1", "on", "y", "yes"):
        return True
    if word in ("false", "f", "0", "off", "n", "no"):
        return False
    raise errors.Invalid(f"Invalid input for field/attribute {field}. Value: {value}.", field=field)


def number(value: Number, field: str, *, least: int = 0, most: int = 2**31 - 1) -> int:
    """Raises Invalid outside of the bounds."""
    found = int(value)
    if not least <= found <= most:
        raise errors.Invalid(
            f"Invalid input for field/attribute {field}. Value: {value}. It must be from {least} to {most}.",
            field=field,
        )
    return found


def refuse_newer(call: Call, body: msgspec.Struct, flags: Mapping[str, str]) -> None:
    """Fields that came with a later microversion are unknown in this one. flags: field → flag."""
    given = [
        name
        for name, needs in flags.items()
        if getattr(body, name) is not msgspec.UNSET and not has(call.version, needs)
    ]
    if given:
        wire = dict(zip(body.__struct_fields__, body.__struct_encode_fields__, strict=True))
        unexpected(*(wire[name] for name in given))


def check_query(call: Call, known: frozenset[str], flag_name: str) -> None:
    """From the microversion of `flag_name` on unknown query parameters are refused."""
    if not call.query or not has(call.version, flag_name):
        return
    unknown = sorted({name for name, _ in call.query if name not in known})
    if unknown:
        listed = ", ".join(f"'{n}'" for n in unknown)
        raise errors.Invalid(
            f"Invalid input for query parameters {unknown[0]}. Additional properties are not allowed "
            f"({listed} {'was' if len(unknown) == 1 else 'were'} unexpected)",
            field=unknown[0],
        )


def parse_time(text: str, field: str) -> float:
    """ISO 8601 (RFC 3339) to seconds; without a zone it is UTC. Raises Invalid."""
    # a plus sign that came unquoted in a query is a space by now
    clean = text.strip().replace(" ", "+") if text.count(" ") == 1 and "T" in text else text.strip()
    if "/" in clean:
        raise errors.Invalid(f"Invalid input for query parameters {field}. Value: {text}.", field=field)
    try:
        found = datetime.fromisoformat(clean)
    except ValueError as err:
        raise errors.Invalid(f"Invalid input for query parameters {field}. Value: {text}.", field=field) from err
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return found.timestamp()


def one_key(body: Any, what: str) -> tuple[str, Any]:
    """The single member of a request like {"action": {...}}. Raises Invalid."""
    if not isinstance(body, dict) or len(body) != 1:
        raise errors.Invalid(f"The request body must have exactly one member that names the {what}.")
    ((name, value),) = body.items()
    return str(name), value
