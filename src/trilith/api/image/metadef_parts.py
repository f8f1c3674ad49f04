"""What a namespace holds: objects, properties and tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.image import metadef_wire as wire
from trilith.api.image.metadefs import prefix_of, seen
from trilith.api.image.query import limit_of
from trilith.commands import image_metadefs
from trilith.commands.image_metadefs import Named

N = TypeVar("N", bound=Named)


def _page(call: Call, parts: Sequence[N], path: str, *, sort: tuple[str, ...]) -> tuple[list[N], str, str]:
    """A page of what the one record holds, and the links first and next. Raises Invalid."""
    key, direction = call.one("sort_key", "created_at"), call.one("sort_dir", "desc")
    if key not in sort:
        raise errors.Invalid(f"Invalid sort key: {key}", field="sort_key")
    if direction not in ("asc", "desc"):
        raise errors.Invalid(f"Invalid sort direction: {direction}", field="sort_dir")
    ordered = sorted(parts, key=lambda p: (getattr(p, key), p.name), reverse=direction == "desc")
    limit, marker = limit_of(call), call.one("marker")
    if marker:
        at = next((n for n, p in enumerate(ordered) if p.name == marker), None)
        if at is None:
            raise errors.Missing(f"The marker {marker} was not found.", field="marker")
        ordered = ordered[at + 1 :]
    kept = [(k, v) for k, v in call.query if k != "marker"]
    first = path + (f"?{urlencode(kept)}" if kept else "")
    found = ordered[:limit]
    more = bool(found) and len(ordered) > limit
    return found, first, f"{path}?{urlencode([*kept, ('marker', found[-1].name)])}" if more else ""


async def list_objects(call: Call) -> wire.Objects:
    """200. 400 for a sort key that does not exist, 404."""
    found = await seen(call, "get_metadef_objects")
    path = f"/v2/metadefs/namespaces/{found.namespace}/objects"
    parts, first, following = _page(call, found.objects, path, sort=("created_at", "updated_at", "name"))
    views = [wire.object_view(found.namespace, o) for o in parts]
    return wire.Objects(views, "/v2/schemas/metadefs/objects", first, following)


async def create_object(call: Call) -> Answer:
    """201. 400, 404, 409 for a name that is taken."""
    found, made = await seen(call, "add_metadef_object"), wire.object_of(call.body)
    done = await call.write(lambda tx: image_metadefs.add_object(tx, found.namespace, made), "metadef_object.create")
    view = wire.object_view(found.namespace, done)
    return Answer(view, headers={"Location": call.url(view.self)})


async def show_object(call: Call) -> wire.ObjectView:
    """200; names with the prefix of the resource type that the query names. 404."""
    found, name = await seen(call, "get_metadef_object"), call.params["name"]
    one = image_metadefs.part(found.objects, "object", name, found.namespace)
    return wire.object_view(found.namespace, one, prefix_of(call, found))


async def update_object(call: Call) -> wire.ObjectView:
    """200. 400, 404, 409 for a new name that is taken."""
    found, name = await seen(call, "modify_metadef_object"), call.params["name"]
    made = wire.object_of(call.body)
    done = await call.write(
        lambda tx: image_metadefs.set_object(tx, found.namespace, name, made), "metadef_object.update"
    )
    return wire.object_view(found.namespace, done)


async def delete_object(call: Call) -> None:
    """204. 403 in a protected namespace, 404."""
    found, name = await seen(call, "delete_metadef_object"), call.params["name"]
    await call.write(lambda tx: image_metadefs.remove_object(tx, found.namespace, name), "metadef_object.delete")


async def clear_objects(call: Call) -> None:
    """204. 403 in a protected namespace, 404."""
    found = await seen(call, "delete_metadef_object")
    await call.write(lambda tx: image_metadefs.clear(tx, found.namespace, "objects"), "metadef_object.delete")


async def list_properties(call: Call) -> wire.Properties:
    """200, by name. 404."""
    found = await seen(call, "get_metadef_properties")
    prefix = prefix_of(call, found)
    return wire.Properties({f"{prefix}{p.name}": _view(p.name, p.schema, prefix) for p in found.properties})


def _view(name: str, schema: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    return {"name": f"{prefix}{name}", **schema}


async def create_property(call: Call) -> Answer:
    """201. 400, 404, 409 for a name that is taken."""
    body: wire.NewProperty = call.body
    found, made = await seen(call, "add_metadef_property"), wire.property_of(body.name, body)
    done = await call.write(
        lambda tx: image_metadefs.add_property(tx, found.namespace, made), "metadef_property.create"
    )
    where = call.url(f"/v2/metadefs/namespaces/{found.namespace}/properties/{done.name}")
    return Answer(_view(done.name, done.schema), headers={"Location": where})


async def show_property(call: Call) -> dict[str, Any]:
    """200; by its name with the prefix where the query names a resource type. 404."""
    found, name = await seen(call, "get_metadef_property"), call.params["name"]
    prefix = prefix_of(call, found)
    if not name.startswith(prefix):
        raise errors.Missing(
            f"Property {name} does not start with the prefix {prefix} that resource type {call.one('resource_type')}"
            f" has in namespace={found.namespace}."
        )
    one = image_metadefs.part(found.properties, "property", name.removeprefix(prefix), found.namespace)
    return _view(one.name, one.schema, prefix)


async def update_property(call: Call) -> dict[str, Any]:
    """200. 400, 404, 409 for a new name that is taken."""
    body: wire.NewProperty = call.body
    found, name = await seen(call, "modify_metadef_property"), call.params["name"]
    made = wire.property_of(body.name, body)
    done = await call.write(
        lambda tx: image_metadefs.set_property(tx, found.namespace, name, made), "metadef_property.update"
    )
    return _view(done.name, done.schema)


async def delete_property(call: Call) -> None:
    """204. 403 in a protected namespace, 404."""
    found, name = await seen(call, "remove_metadef_property"), call.params["name"]
    await call.write(lambda tx: image_metadefs.remove_property(tx, found.namespace, name), "metadef_property.delete")


async def clear_properties(call: Call) -> None:
    """204. 403 in a protected namespace, 404."""
    found = await seen(call, "remove_metadef_property")
    await call.write(lambda tx: image_metadefs.clear(tx, found.namespace, "properties"), "metadef_property.delete")


async def list_tags(call: Call) -> wire.Tags:
    """200. 400 for a sort key that does not exist, 404."""
    found = await seen(call, "get_metadef_tags")
    path = f"/v2/metadefs/namespaces/{found.namespace}/tags"
    parts, first, following = _page(call, found.tags, path, sort=("created_at", "updated_at", "name"))
    return wire.Tags([wire.tag_view(t) for t in parts], "/v2/schemas/metadefs/tags", first, following)


async def set_tags(call: Call) -> Answer:
    """201: these tags in place of those that were there, or beside them with the header X-Openstack-Append: true.
    400, 404, 409 for a name twice."""
    body: wire.NewTags = call.body
    found = await seen(call, "add_metadef_tags")
    for tag in body.tags:
        wire.check(tag)
    names = [t.name for t in body.tags]
    append = call.headers.get("x-openstack-append", "").lower() == "true"
    if not append:
        image_metadefs.check_open(found)
    done = await call.write(
        lambda tx: image_metadefs.set_tags(tx, found.namespace, names, append=append), "metadef_tag.create"
    )
    return Answer(wire.Tags([wire.tag_view(t) for t in done]))


async def create_tag(call: Call) -> Answer:
    """201. 400 for a name over 80 characters, 404, 409 for one that is taken."""
    found, name = await seen(call, "add_metadef_tag"), call.params["name"]
    if len(name) > 80:
        raise errors.Invalid("A tag's name has 80 characters at most.", field="name")
    done = await call.write(lambda tx: image_metadefs.add_tag(tx, found.namespace, name), "metadef_tag.create")
    where = call.url(f"/v2/metadefs/namespaces/{found.namespace}/tags/{name}")
    return Answer(wire.tag_view(done), headers={"Location": where})


async def show_tag(call: Call) -> wire.TagView:
    """200. 404."""
    found, name = await seen(call, "get_metadef_tag"), call.params["name"]
    return wire.tag_view(image_metadefs.part(found.tags, "tag", name, found.namespace))


async def update_tag(call: Call) -> wire.TagView:
    """200. 400, 404, 409 for a new name that is taken."""
    body: wire.NewTag = call.body
    found, name = await seen(call, "modify_metadef_tag"), call.params["name"]
    wire.check(body)
    return wire.tag_view(
        await call.write(lambda tx: image_metadefs.set_tag(tx, found.namespace, name, body.name), "metadef_tag.update")
    )


async def delete_tag(call: Call) -> None:
    """204. 403 in a protected namespace, 404."""
    found, name = await seen(call, "delete_metadef_tag"), call.params["name"]
    await call.write(lambda tx: image_metadefs.remove_tag(tx, found.namespace, name), "metadef_tag.delete")


async def clear_tags(call: Call) -> None:
    """204. 403 in a protected namespace, 404."""
    found = await seen(call, "delete_metadef_tags")
    await call.write(lambda tx: image_metadefs.clear(tx, found.namespace, "tags"), "metadef_tag.delete")
