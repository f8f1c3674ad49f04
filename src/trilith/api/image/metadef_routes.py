"""Routes and policies of the metadata definitions."""

from __future__ import annotations

from typing import Any

from trilith.api.http.route import Policy, Route
from trilith.api.image import metadef_parts as parts
from trilith.api.image import metadef_wire as wire
from trilith.api.image import metadefs, schemas

_ADMIN = "role:admin"
_READER = "role:admin or (role:reader and (project_id:%(project_id)s or 'public':%(visibility)s))"
_ANY_READER = "role:admin or role:reader"

_READ = {
    "get_metadef_namespace": "Show a metadata namespace.",
    "get_metadef_object": "Show an object of a metadata namespace.",
    "get_metadef_objects": "List the objects of a metadata namespace.",
    "get_metadef_resource_type": "List the resource types of a metadata namespace.",
    "get_metadef_property": "Show a property of a metadata namespace.",
    "get_metadef_properties": "List the properties of a metadata namespace.",
    "get_metadef_tag": "Show a tag of a metadata namespace.",
    "get_metadef_tags": "List the tags of a metadata namespace.",
}
_WRITE = {
    "add_metadef_namespace": "Create a metadata namespace.",
    "modify_metadef_namespace": "Update a metadata namespace.",
    "delete_metadef_namespace": "Delete a metadata namespace.",
    "add_metadef_object": "Create an object in a metadata namespace.",
    "modify_metadef_object": "Update an object of a metadata namespace.",
    "delete_metadef_object": "Delete an object of a metadata namespace.",
    "add_metadef_resource_type_association": "Associate a resource type with a metadata namespace.",
    "remove_metadef_resource_type_association": "Take a resource type from a metadata namespace.",
    "add_metadef_property": "Create a property in a metadata namespace.",
    "modify_metadef_property": "Update a property of a metadata namespace.",
    "remove_metadef_property": "Delete a property of a metadata namespace.",
    "add_metadef_tag": "Create a tag in a metadata namespace.",
    "add_metadef_tags": "Create tags in a metadata namespace.",
    "modify_metadef_tag": "Update a tag of a metadata namespace.",
    "delete_metadef_tag": "Delete a tag of a metadata namespace.",
    "delete_metadef_tags": "Delete the tags of a metadata namespace.",
}
POLICIES = (
    Policy("get_metadef_namespaces", _ANY_READER, "List metadata namespaces."),
    Policy("list_metadef_resource_types", _ANY_READER, "List resource types."),
    *(Policy(name, _READER, says) for name, says in _READ.items()),
    *(Policy(name, _ADMIN, says) for name, says in _WRITE.items()),
)

_BASE = "/v2/metadefs/namespaces"
_ONE = f"{_BASE}/{{namespace}}"
_PAGED = ("limit", "marker", "sort_key", "sort_dir")
_TYPED = ("resource_type",)
_ADDED = (400, 403, 404, 409, 413)
_SET = (400, 403, 404, 409)
_GONE = (403, 404)

ROUTES = (
    Route("GET", _BASE, metadefs.list_namespaces, "get_metadef_namespaces", response=wire.Namespaces, statuses=(400,),
          query=(*_PAGED, "resource_types", "visibility")),
    Route("POST", _BASE, metadefs.create, body=wire.NewNamespace, ok=201, response=wire.NamespaceView,
          statuses=_ADDED),
    Route("GET", _ONE, metadefs.show, response=wire.NamespaceView, statuses=(404,), query=_TYPED),
    Route("PUT", _ONE, metadefs.update, body=wire.NamespaceFields, response=wire.NamespaceView, statuses=_SET),
    Route("DELETE", _ONE, metadefs.delete, ok=204, statuses=_GONE),
    Route("GET", f"{_ONE}/resource_types", metadefs.list_associations, response=wire.Associations, statuses=(404,)),
    Route("POST", f"{_ONE}/resource_types", metadefs.associate, body=wire.NewAssociation, ok=201,
          response=wire.AssociationView, statuses=_ADDED),
    Route("DELETE", f"{_ONE}/resource_types/{{name}}", metadefs.dissociate, ok=204, statuses=_GONE),
    Route("GET", f"{_ONE}/objects", parts.list_objects, response=wire.Objects, statuses=(400, 404), query=_PAGED),
    Route("POST", f"{_ONE}/objects", parts.create_object, body=wire.NewObject, ok=201, response=wire.ObjectView,
          statuses=_ADDED),
    Route("DELETE", f"{_ONE}/objects", parts.clear_objects, ok=204, statuses=_GONE),
    Route("GET", f"{_ONE}/objects/{{name}}", parts.show_object, response=wire.ObjectView, statuses=(404,),
          query=_TYPED),
    Route("PUT", f"{_ONE}/objects/{{name}}", parts.update_object, body=wire.NewObject, response=wire.ObjectView,
          statuses=_SET),
    Route("DELETE", f"{_ONE}/objects/{{name}}", parts.delete_object, ok=204, statuses=_GONE),
    Route("GET", f"{_ONE}/properties", parts.list_properties, response=wire.Properties, statuses=(404,), query=_TYPED),
    Route("POST", f"{_ONE}/properties", parts.create_property, body=wire.NewProperty, ok=201,
          response=dict[str, Any], statuses=_ADDED),
    Route("DELETE", f"{_ONE}/properties", parts.clear_properties, ok=204, statuses=_GONE),
    Route("GET", f"{_ONE}/properties/{{name}}", parts.show_property, response=dict[str, Any], statuses=(404,),
          query=_TYPED),
    Route("PUT", f"{_ONE}/properties/{{name}}", parts.update_property, body=wire.NewProperty,
          response=dict[str, Any], statuses=_SET),
    Route("DELETE", f"{_ONE}/properties/{{name}}", parts.delete_property, ok=204, statuses=_GONE),
    Route("GET", f"{_ONE}/tags", parts.list_tags, response=wire.Tags, statuses=(400, 404), query=_PAGED),
    Route("POST", f"{_ONE}/tags", parts.set_tags, body=wire.NewTags, ok=201, response=wire.Tags, statuses=_ADDED),
    Route("DELETE", f"{_ONE}/tags", parts.clear_tags, ok=204, statuses=_GONE),
    Route("POST", f"{_ONE}/tags/{{name}}", parts.create_tag, ok=201, response=wire.TagView, statuses=_ADDED),
    Route("GET", f"{_ONE}/tags/{{name}}", parts.show_tag, response=wire.TagView, statuses=(404,)),
    Route("PUT", f"{_ONE}/tags/{{name}}", parts.update_tag, body=wire.NewTag, response=wire.TagView, statuses=_SET),
    Route("DELETE", f"{_ONE}/tags/{{name}}", parts.delete_tag, ok=204, statuses=_GONE),
    Route("GET", "/v2/metadefs/resource_types", metadefs.list_types, response=wire.ResourceTypes, statuses=(403,)),
    Route("GET", "/v2/schemas/metadefs/{name}", schemas.show_metadef, response=dict[str, Any], statuses=(404,)),
)  # fmt: skip
