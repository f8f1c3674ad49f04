"""Neutron's error body: the exception's own name, its words, and no more."""

from __future__ import annotations

import msgspec

from trilith import errors
from trilith.commands import network_faults


class Fault(msgspec.Struct):
    type: str
    message: str
    detail: str = ""


class NeutronError(msgspec.Struct):
    NeutronError: Fault


#: what has no class of its own, by status (webob's names, as Neutron shows them)
_BY_STATUS = {
    400: "HTTPBadRequest",
    401: "HTTPUnauthorized",
    403: "PolicyNotAuthorized",
    404: "HTTPNotFound",
    405: "HTTPMethodNotAllowed",
    409: "HTTPConflict",
    412: "RevisionNumberConstraintFailed",
    413: "HTTPRequestEntityTooLarge",
    500: "HTTPInternalServerError",
    503: "HTTPServiceUnavailable",
    504: "HTTPGatewayTimeout",
}


def error_body(status: int, err: errors.TrilithError) -> NeutronError:
    name = type(err).__name__
    if type(err).__module__ != network_faults.__name__:
        name = _BY_STATUS.get(status, "NeutronException")
    return NeutronError(Fault(name, str(err)))
