"""/v2/schemas/metadefs/*: the JSON schemas of metadata definitions."""

from __future__ import annotations

from typing import Any

_TIME = {"type": "string", "readOnly": True, "format": "date-time"}
_SHOWN = {"self": {"type": "string", "readOnly": True}, "schema": {"type": "string", "readOnly": True}}
_TIMES = {"created_at": _TIME, "updated_at": _TIME}
_COUNT = {"type": "integer", "minimum": 0}
_STRINGS = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
_TYPE = {"enum": ["array", "boolean", "integer", "number", "object", "string", "null"]}

#: the words that a property's own schema may use
_PROPERTY_WORDS: dict[str, Any] = {
    "title": {"type": "string"},
    "type": {"anyOf": [_TYPE, {"type": "array", "items": _TYPE}]},
    "description": {"type": "string"},
    "operators": {"type": "array", "items": {"type": "string"}},
    "minimum": {"type": "number"},
    "maximum": {"type": "number"},
    "minLength": _COUNT,
    "maxLength": _COUNT,
    "pattern": {"type": "string", "format": "regex"},
    "enum": {"type": "array"},
    "readonly": {"type": "boolean"},
    "default": {},
    "items": {"type": "object", "properties": {"type": _TYPE, "enum": {"type": "array"}}},
    "minItems": _COUNT,
    "maxItems": _COUNT,
    "uniqueItems": {"type": "boolean", "default": False},
    "additionalItems": {"type": "boolean"},
}
_PROPERTIES = {
    "type": "object",
    "additionalProperties": {"type": "object", "required": ["title", "type"], "properties": _PROPERTY_WORDS},
}
_TAG: dict[str, Any] = {"name": {"type": "string", "maxLength": 80}, **_TIMES}
_ASSOCIATION: dict[str, Any] = {
    "name": {"type": "string", "maxLength": 80, "description": "Resource type, as OS::Glance::Image"},
    "prefix": {"type": "string", "maxLength": 80, "description": "What names of properties begin with there"},
    "properties_target": {"type": "string", "maxLength": 80, "description": "Which of its places for properties"},
    **_TIMES,
}
_OBJECT: dict[str, Any] = {
    "name": {"type": "string", "maxLength": 255},
    "description": {"type": "string"},
    "required": _STRINGS,
    "properties": _PROPERTIES,
    **_TIMES,
    **_SHOWN,
}
_NAMESPACE: dict[str, Any] = {
    "namespace": {"type": "string", "maxLength": 80, "description": "The unique name"},
    "display_name": {"type": "string", "maxLength": 80},
    "description": {"type": "string", "maxLength": 500},
    "visibility": {"type": "string", "enum": ["public", "private"]},
    "protected": {"type": "boolean", "description": "If true, it cannot be deleted"},
    "owner": {"type": "string", "maxLength": 255},
    "resource_type_associations": {"type": "array", "items": {"type": "object", "properties": _ASSOCIATION}},
    "properties": _PROPERTIES,
    "objects": {"type": "array", "items": {"type": "object", "properties": _OBJECT}},
    "tags": {"type": "array", "items": {"type": "object", "properties": _TAG}},
    **_TIMES,
    **_SHOWN,
}
_URL = {"type": "string"}


def _item(name: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"name": name, "properties": properties, "required": required, "additionalProperties": False}


def _list(name: str, of: dict[str, Any], *, links: bool = True) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "properties": {name: {"type": "array", "items": of}}}
    if links:
        made["properties"] |= {"first": _URL, "next": _URL, "schema": _URL}
        made["links"] = [{"rel": rel, "href": "{" + key + "}"} for rel, key in
                         (("first", "first"), ("next", "next"), ("describedby", "schema"))]  # fmt: skip
    return made


_ITEMS = {
    "namespace": _item("namespace", _NAMESPACE, ["namespace"]),
    "object": _item("object", _OBJECT, ["name"]),
    "property": _item("property", {"name": {"type": "string", "maxLength": 80}, **_PROPERTY_WORDS},
                      ["name", "title", "type"]),
    "tag": _item("tag", _TAG, ["name"]),
    "resource_type": _item("resource_type_association", _ASSOCIATION, ["name"]),
}  # fmt: skip

#: last part of the path → document
DOCUMENTS: dict[str, dict[str, Any]] = {
    **_ITEMS,
    "namespaces": _list("namespaces", _ITEMS["namespace"]),
    "objects": _list("objects", _ITEMS["object"]),
    "properties": {"name": "properties", "properties": {"properties": _PROPERTIES}},
    "tags": _list("tags", _ITEMS["tag"]),
    "resource_types": _list("resource_type_associations", _ITEMS["resource_type"], links=False),
}
