"""Nova's error form, and the errors that only the compute API has."""

from __future__ import annotations

from typing import NoReturn

from trilith import errors
from trilith.api.http.route import Gone

_NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}


class NotImplementedHere(errors.TrilithError):
    """What Nova's drivers may lack (HTTP 501)."""

    code = "not_implemented"


#: error code → status, where it differs from the host's table
STATUSES = {"not_implemented": 501, "unsupported": 501, "too_large": 413, "no_valid_host": 400}


def error_body(status: int, err: errors.TrilithError) -> dict[str, dict[str, int | str]]:
    return {_NAMES.get(status, "computeFault"): {"code": status, "message": str(err)}}


def not_implemented(what: str, hint: str = "") -> NoReturn:
    raise NotImplementedHere(f"{what} is not supported.", hint=hint)


def gone(what: str) -> NoReturn:
    """What Nova removed from all versions of its API."""
    raise Gone(f"{what} is no longer part of the compute API.")


def unexpected(*names: str) -> NoReturn:
    """A field that this microversion does not know."""
    listed = ", ".join(f"'{n}'" for n in names)
    verb = "was" if len(names) == 1 else "were"
    raise errors.Invalid(
        f"Invalid input received: Additional properties are not allowed ({listed} {verb} unexpected)", field=names[0]
    )
