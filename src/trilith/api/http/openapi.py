"""OpenAPI 3.1 from a service's route table: what the table says is what the document says.

Append `document_route(name, prefix, routes, error_body, title)` to a service's routes; it serves
`<prefix>/openapi.json` and needs no token.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import PUBLIC, Answer, ErrorBody, Route

_PARAMETER = re.compile(r"{([^}:]+)(?::[^}]*)?}")
#: what any call may answer
_ALWAYS = (400, 401, 403, 404, 405)
_REF = "#/components/schemas/{name}"

Document = dict[str, Any]


def document_route(name: str, prefix: str, routes: Sequence[Route], error_body: ErrorBody, title: str) -> Route:
    """The route of the document of these routes. It is built at the first request and kept."""

    @cache
    def made() -> bytes:
        return msgspec.json.encode(document(name, prefix, routes, error_body, title))

    async def show(call: Call) -> Answer:
        """200: this document."""
        return Answer(made())

    return Route("GET", "/openapi.json", show, PUBLIC, response=dict[str, Any])


def document(name: str, prefix: str, routes: Sequence[Route], error_body: ErrorBody, title: str) -> Document:
    """The OpenAPI 3.1 document of a service. Routes that share method and path (microversions) become one operation
    with the alternatives of each."""
    types: list[Any] = [t for r in routes for t in (r.body, r.response) if t is not None]
    error_type = type(error_body(400, errors.Invalid("")))
    structured = error_type is not bytes
    if structured:
        types.append(error_type)
    unique = list(dict.fromkeys(types))
    schemas, components = msgspec.json.schema_components(unique, ref_template=_REF)
    by_type = dict(zip(unique, schemas, strict=True))
    fault = by_type[error_type] if structured else {"type": "string"}

    paths: dict[str, Document] = {}
    for route in routes:
        path = _PARAMETER.sub(r"{\1}", prefix + route.path) or "/"
        operations = paths.setdefault(path, {})
        method = route.method.lower()
        made = _operation(name, route, by_type, fault)
        operations[method] = _merge(operations[method], made) if method in operations else made
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Trilith: {title}", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
        },
    }


def _operation(service: str, route: Route, types: dict[Any, Any], fault: Any) -> Document:
    handler = route.handler
    text = inspect.getdoc(handler) or ""
    identity = f"{service}_{route.method.lower()}_{route.path}"
    parameters: list[Document] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(route.path)
    ]
    parameters += [{"name": name, "in": "query", "schema": {"type": "string"}} for name in route.query]
    made: Document = {
        "operationId": re.sub(r"[^A-Za-z0-9]+", "_", identity).strip("_"),
        "summary": f"{getattr(handler, '__module__', '').rpartition('.')[2]}: {_name(handler)}",
        "description": text + _versions(route),
        "parameters": parameters,
        "responses": _responses(route, types, fault),
    }
    if route.policy != PUBLIC:
        made["security"] = [{"token": []}]
    if route.body is not None:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": types[route.body]}}}
    elif route.stream:
        made["requestBody"] = {"content": {"application/octet-stream": {}}}
    return made


def _name(handler: Any) -> str:
    return str(getattr(handler, "__name__", "handler")).replace("_", " ").strip()


def _versions(route: Route) -> str:
    if not (route.since or route.until):
        return ""
    return f"\n\nMicroversions: {route.since or 'the first'} to {route.until or 'the last'}."


def _responses(route: Route, types: dict[Any, Any], fault: Any) -> Document:
    success: Document = {"description": "Success."}
    if route.response is not None and route.ok != 204:
        success["content"] = {"application/json": {"schema": types[route.response]}}
    found: Document = {str(route.ok): success}
    refused = {"description": "Refused.", "content": {"application/json": {"schema": fault}}}
    for status in (*route.statuses, *(_ALWAYS if route.policy != PUBLIC else (400, 404, 405))):
        if status < 400:
            found.setdefault(str(status), {"description": "Success."})
        else:
            found.setdefault(str(status), refused)
    return found


def _merge(one: Document, other: Document) -> Document:
    """Two operations of one method and path: each schema becomes a choice."""
    merged = dict(one)
    merged["responses"] = {**other["responses"], **one["responses"]}
    known = {p["name"] for p in one["parameters"]}
    merged["parameters"] = [*one["parameters"], *(p for p in other["parameters"] if p["name"] not in known)]
    first, second = one.get("requestBody"), other.get("requestBody")
    if first and second and first != second:
        merged["requestBody"] = {"content": _either(first["content"], second["content"])}
    elif second:
        merged["requestBody"] = second
    return merged


def _either(one: Document, other: Document) -> Document:
    content = {**other, **one}
    for kind in one.keys() & other.keys():
        choices = [*_choices(one[kind].get("schema", {})), *_choices(other[kind].get("schema", {}))]
        content[kind] = {"schema": {"anyOf": [c for n, c in enumerate(choices) if c not in choices[:n]]}}
    return content


def _choices(schema: Document) -> list[Document]:
    return list(schema["anyOf"]) if set(schema) == {"anyOf"} else [schema]
