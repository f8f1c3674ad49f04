"""What the metadata definitions say on the wire."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from trilith import errors
from trilith.api.http.times import seconds_z
from trilith.model.image_metadef import (
    MetadefAssociation,
    MetadefNamespace,
    MetadefObject,
    MetadefProperty,
    MetadefResourceType,
    MetadefTag,
)

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=80, pattern=r"^[^/\x00]*$")]
_ObjectName = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[^/\x00]*$")]
_Text = Annotated[str, msgspec.Meta(max_length=500)]
_Long = Annotated[str, msgspec.Meta(max_length=10_000)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
_Type = Literal["array", "boolean", "integer", "number", "object", "string", "null"]
_Names = Annotated[list[_ObjectName], msgspec.Meta(max_length=1024)]
_Values = Annotated[list[Any], msgspec.Meta(max_length=10_000)]
U = msgspec.UnsetType
UNSET = msgspec.UNSET


class Items(msgspec.Struct, forbid_unknown_fields=True):
    """Of an array's members."""

    type: _Type | U = UNSET
    enum: _Values | U = UNSET


class PropertySchema(
    msgspec.Struct,
    forbid_unknown_fields=True,
    rename={
        "min_length": "minLength",
        "max_length": "maxLength",
        "min_items": "minItems",
        "max_items": "maxItems",
        "unique_items": "uniqueItems",
        "additional_items": "additionalItems",
    },
):
    """The words of JSON schema that a property may use."""

    title: _Text
    type: _Type | list[_Type]
    description: _Long | U = UNSET
    operators: Annotated[list[_Text], msgspec.Meta(max_length=64)] | U = UNSET
    minimum: float | int | U = UNSET
    maximum: float | int | U = UNSET
    min_length: _Count | U = UNSET
    max_length: _Count | U = UNSET
    pattern: _Text | U = UNSET
    enum: _Values | U = UNSET
    readonly: bool | U = UNSET
    default: Any | U = UNSET
    items: Items | U = UNSET
    min_items: _Count | U = UNSET
    max_items: _Count | U = UNSET
    unique_items: bool | U = UNSET
    additional_items: bool | U = UNSET


class NewProperty(PropertySchema, kw_only=True):
    name: Name


class _Shown(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What only answers have: a request that sets it is refused with 403."""

    self: Any | U = UNSET
    schema: Any | U = UNSET
    created_at: Any | U = UNSET
    updated_at: Any | U = UNSET


class NewObject(_Shown, kw_only=True):
    name: _ObjectName
    description: _Long | None = None
    required: _Names = []
    properties: dict[Name, PropertySchema] = {}


class NewTag(_Shown, kw_only=True):
    name: Name


class NewTags(msgspec.Struct, forbid_unknown_fields=True):
    tags: Annotated[list[NewTag], msgspec.Meta(max_length=1024)]


class NewAssociation(_Shown, kw_only=True):
    name: Name
    prefix: Annotated[str, msgspec.Meta(max_length=80)] | None = None
    properties_target: Annotated[str, msgspec.Meta(max_length=80)] | None = None


class NamespaceFields(_Shown, kw_only=True):
    """The body of an update; what is not named of visibility, protected and owner stays."""

    namespace: Name
    display_name: Annotated[str, msgspec.Meta(max_length=80)] | None = None
    description: _Text | None = None
    visibility: Literal["public", "private"] | None = None
    protected: bool | None = None
    owner: Annotated[str, msgspec.Meta(max_length=255)] | None = None


class NewNamespace(NamespaceFields, kw_only=True):
    resource_type_associations: Annotated[list[NewAssociation], msgspec.Meta(max_length=1024)] = []
    properties: dict[Name, PropertySchema] = {}
    objects: Annotated[list[NewObject], msgspec.Meta(max_length=1024)] = []
    tags: Annotated[list[NewTag], msgspec.Meta(max_length=1024)] = []


def check(body: _Shown) -> None:
    """Raises Forbidden for what no request may set."""
    for name in ("self", "schema", "created_at", "updated_at"):
        if getattr(body, name) is not UNSET:
            raise errors.Forbidden(f"Attribute '{name}' is read-only.", field=name)


def object_of(body: NewObject) -> MetadefObject:
    check(body)
    return MetadefObject(
        name=body.name,
        description=body.description or "",
        required=tuple(body.required),
        properties={name: _plain(schema) for name, schema in body.properties.items()},
    )


def property_of(name: str, body: PropertySchema) -> MetadefProperty:
    schema = _plain(body)
    schema.pop("name", None)
    return MetadefProperty(name=name, schema=schema)


def association_of(body: NewAssociation) -> MetadefAssociation:
    check(body)
    return MetadefAssociation(name=body.name, prefix=body.prefix or "", properties_target=body.properties_target or "")


def _plain(schema: PropertySchema) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.to_builtins(schema)
    return made


class AssociationView(msgspec.Struct, omit_defaults=True):
    name: str
    created_at: str
    updated_at: str
    prefix: str = ""
    properties_target: str = ""


class Associations(msgspec.Struct):
    resource_type_associations: list[AssociationView]


class ObjectView(msgspec.Struct):
    name: str
    description: str
    required: list[str]
    properties: dict[str, Any]
    created_at: str
    updated_at: str
    self: str
    schema: str


class Objects(msgspec.Struct, omit_defaults=True):
    objects: list[ObjectView]
    schema: str
    first: str
    next: str = ""


class TagView(msgspec.Struct):
    name: str
    created_at: str
    updated_at: str


class Tags(msgspec.Struct, omit_defaults=True):
    tags: list[TagView]
    schema: str = ""
    first: str = ""
    next: str = ""


class Properties(msgspec.Struct):
    properties: dict[str, Any]


class ResourceType(msgspec.Struct):
    name: str
    created_at: str
    updated_at: str


class ResourceTypes(msgspec.Struct):
    resource_types: list[ResourceType]


class NamespaceView(msgspec.Struct):
    namespace: str
    display_name: str | None
    description: str | None
    visibility: str
    protected: bool
    owner: str
    created_at: str
    updated_at: str
    self: str
    schema: str
    resource_type_associations: list[AssociationView] | U = UNSET
    properties: dict[str, Any] | U = UNSET
    objects: list[ObjectView] | U = UNSET
    tags: list[TagView] | U = UNSET


class Namespaces(msgspec.Struct, omit_defaults=True):
    namespaces: list[NamespaceView]
    schema: str
    first: str
    next: str = ""


def association_view(one: MetadefAssociation) -> AssociationView:
    return AssociationView(
        one.name, seconds_z(one.created_at), seconds_z(one.updated_at), one.prefix, one.properties_target
    )


def object_view(namespace: str, one: MetadefObject, prefix: str = "") -> ObjectView:
    return ObjectView(
        name=one.name,
        description=one.description,
        required=[f"{prefix}{name}" for name in one.required],
        properties={f"{prefix}{name}": schema for name, schema in one.properties.items()},
        created_at=seconds_z(one.created_at),
        updated_at=seconds_z(one.updated_at),
        self=f"/v2/metadefs/namespaces/{namespace}/objects/{one.name}",
        schema="/v2/schemas/metadefs/object",
    )


def tag_view(one: MetadefTag) -> TagView:
    return TagView(one.name, seconds_z(one.created_at), seconds_z(one.updated_at))


def type_view(one: MetadefResourceType) -> ResourceType:
    return ResourceType(one.name, seconds_z(one.created_at), seconds_z(one.updated_at))


def namespace_view(one: MetadefNamespace, *, whole: bool, prefix: str = "") -> NamespaceView:
    """whole: with its properties, objects and tags. prefix: before the names of properties."""
    view = NamespaceView(
        namespace=one.namespace,
        display_name=one.display_name or None,
        description=one.description or None,
        visibility=one.visibility,
        protected=one.protected,
        owner=one.owner,
        created_at=seconds_z(one.created_at),
        updated_at=seconds_z(one.updated_at),
        self=f"/v2/metadefs/namespaces/{one.namespace}",
        schema="/v2/schemas/metadefs/namespace",
    )
    if one.associations or whole:
        view.resource_type_associations = [association_view(a) for a in one.associations]
    if whole:
        view.properties = {f"{prefix}{p.name}": p.schema for p in one.properties}
        view.objects = [object_view(one.namespace, o, prefix) for o in one.objects]
        view.tags = [tag_view(t) for t in one.tags]
    return view
