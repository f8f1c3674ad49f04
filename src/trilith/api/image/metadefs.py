"""/v2/metadefs/namespaces and /v2/metadefs/resource_types."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec
import sqlalchemy as sa

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.image import metadef_wire as wire
from trilith.api.image.query import inside, limit_of
from trilith.commands import image_metadefs
from trilith.model.image_metadef import MetadefNamespace, MetadefResourceType, MetadefTag
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, new_id

_SORT = {
    "created_at": "created_at",
    "updated_at": "updated_at",
    "namespace": "namespace",
    "owner": "owner",
    "visibility": "visibility",
    "display_name": "display_name",
    "protected": "protected",
}
_KNOWN = {"limit", "marker", "sort_key", "sort_dir", "resource_types", "visibility"}


async def ready(call: Call) -> None:
    """The standard catalogue is written when somebody first asks for it: a cloud's start does not pay for it."""
    if not await call.read(image_metadefs.is_seeded):
        await call.host.store.write(image_metadefs.seed, action="image.metadef_seed")


def _target(namespace: MetadefNamespace) -> dict[str, str]:
    return {"project_id": namespace.owner, "visibility": namespace.visibility}


async def seen(call: Call, rule: str) -> MetadefNamespace:
    """The namespace of the path, if the caller may see it and do `rule` with it. Raises Missing, Forbidden."""
    await ready(call)
    name = call.params["namespace"]
    found = await call.read(lambda r: image_metadefs.get(r, name))
    own = found.owner == call.actor.project_id
    if found.visibility != "public" and not own and not call.actor.is_admin:
        raise image_metadefs.missing(name)
    call.allow(rule, **_target(found))
    return found


def prefix_of(call: Call, namespace: MetadefNamespace) -> str:
    """What names of properties begin with for the resource type that the query names. Raises Missing."""
    wanted = call.one("resource_type")
    if not wanted:
        return ""
    where = namespace.namespace
    return image_metadefs.part(namespace.associations, "resource type association", wanted, where).prefix


async def list_namespaces(call: Call) -> wire.Namespaces:
    """200: one's own and the public ones. 400 for a filter, sort key or marker that does not exist."""
    await ready(call)
    for name, _ in call.query:
        if name not in _KNOWN:
            raise errors.Invalid(f"Invalid filter {name}.", field=name)
    found = await call.read(lambda r: _page(call, r))
    kept = [(k, v) for k, v in call.query if k != "marker"]
    first = "/v2/metadefs/namespaces" + (f"?{urlencode(kept)}" if kept else "")
    following = ""
    if found and len(found) == limit_of(call):
        following = f"/v2/metadefs/namespaces?{urlencode([*kept, ('marker', found[-1].namespace)])}"
    views = [wire.namespace_view(n, whole=False) for n in found]
    return wire.Namespaces(views, "/v2/schemas/metadefs/namespaces", first, following)


def _page(call: Call, reader: Reader) -> list[MetadefNamespace]:
    c = REGISTRY[MetadefNamespace].table.c
    key, direction = call.one("sort_key", "created_at"), call.one("sort_dir", "desc")
    if key not in _SORT:
        raise errors.Invalid(f"Invalid sort key: {key}", field="sort_key")
    if direction not in ("asc", "desc"):
        raise errors.Invalid(f"Invalid sort direction: {direction}", field="sort_dir")
    where: list[Any] = []
    if not call.actor.is_admin:
        where.append(sa.or_(c.visibility == "public", c.owner == call.actor.project_id))
    if visibility := call.one("visibility"):
        if visibility not in ("public", "private"):
            raise errors.Invalid(f"Invalid visibility value: {visibility}", field="visibility")
        where.append(c.visibility == visibility)
    if types := [t for t in call.one("resource_types").split(",") if t]:
        pairs = [f'"name":{msgspec.json.encode(t).decode()}' for t in types]
        where.append(sa.or_(*(inside(reader, c.associations, ("{",), pair) for pair in pairs)))
    column, marker = c[_SORT[key]], call.one("marker")
    if marker:
        last = reader.first(MetadefNamespace, namespace=marker)
        if last is None:
            raise errors.Invalid(f"Invalid marker: namespace {marker} could not be found.", field="marker")
        value = getattr(last, _SORT[key])
        behind = (column < value, c.seq < last.seq) if direction == "desc" else (column > value, c.seq > last.seq)
        where.append(sa.or_(behind[0], sa.and_(column == value, behind[1])))
    order = [column.desc(), c.seq.desc()] if direction == "desc" else [column.asc(), c.seq.asc()]
    limit = limit_of(call)
    return reader.select(MetadefNamespace, *where, order=order, limit=limit) if limit else []


async def create(call: Call) -> Answer:
    """201. 400 for a field out of its bounds, 404 for an unknown resource type, 409 for a name that is taken."""
    await ready(call)
    body: wire.NewNamespace = call.body
    wire.check(body)
    for tag in body.tags:
        wire.check(tag)
    owner = body.owner or call.actor.project_id
    if owner != call.actor.project_id and not call.actor.is_admin:
        raise errors.Forbidden(f"You are not permitted to create namespaces owned by '{owner}'.", field="owner")
    made = MetadefNamespace(
        id=new_id(),
        namespace=body.namespace,
        display_name=body.display_name or "",
        description=body.description or "",
        visibility=body.visibility or "private",
        protected=bool(body.protected),
        owner=owner,
        properties=tuple(wire.property_of(name, schema) for name, schema in body.properties.items()),
        objects=tuple(wire.object_of(o) for o in body.objects),
        tags=tuple(MetadefTag(name=t.name) for t in body.tags),
        associations=tuple(wire.association_of(a) for a in body.resource_type_associations),
    )
    call.allow("add_metadef_namespace", **_target(made))
    done = await call.write(lambda tx: image_metadefs.create(tx, made), "metadef_namespace.create")
    where = call.url(f"/v2/metadefs/namespaces/{done.namespace}")
    return Answer(wire.namespace_view(done, whole=True), headers={"Location": where})


async def show(call: Call) -> wire.NamespaceView:
    """200, whole; names with the prefix of the resource type that the query names. 404."""
    found = await seen(call, "get_metadef_namespace")
    return wire.namespace_view(found, whole=True, prefix=prefix_of(call, found))


async def update(call: Call) -> wire.NamespaceView:
    """200. 400, 403 for a field that may not be set, 404, 409 for a new name that is taken."""
    body: wire.NamespaceFields = call.body
    found = await seen(call, "modify_metadef_namespace")
    wire.check(body)
    if body.owner is not None and body.owner != found.owner and not call.actor.is_admin:
        raise errors.Forbidden("You are not permitted to change the owner of a namespace.", field="owner")
    done = await call.write(
        lambda tx: image_metadefs.update(
            tx,
            found.namespace,
            namespace=body.namespace,
            display_name=body.display_name or "",
            description=body.description or "",
            visibility=body.visibility,
            protected=body.protected,
            owner=body.owner,
        ),
        "metadef_namespace.update",
    )
    return wire.namespace_view(done, whole=False)


async def delete(call: Call) -> None:
    """204, with all that is in it. 403 for a protected one, 404."""
    found = await seen(call, "delete_metadef_namespace")
    await call.write(lambda tx: image_metadefs.delete(tx, found.namespace), "metadef_namespace.delete")


async def list_types(call: Call) -> wire.ResourceTypes:
    """200: the kinds of things that a namespace may be for."""
    await ready(call)
    call.allow("list_metadef_resource_types")
    found = await call.read(lambda r: r.select(MetadefResourceType, limit=1000))
    return wire.ResourceTypes([wire.type_view(t) for t in found])


async def list_associations(call: Call) -> wire.Associations:
    """200. 404."""
    found = await seen(call, "get_metadef_resource_type")
    return wire.Associations([wire.association_view(a) for a in found.associations])


async def associate(call: Call) -> Answer:
    """201. 404 for an unknown namespace or resource type, 409 where they are associated."""
    found = await seen(call, "add_metadef_resource_type_association")
    made = wire.association_of(call.body)
    done = await call.write(
        lambda tx: image_metadefs.associate(tx, found.namespace, made), "metadef_namespace.associate"
    )
    return Answer(wire.association_view(done))


async def dissociate(call: Call) -> None:
    """204. 403 in a protected namespace, 404."""
    found, name = await seen(call, "remove_metadef_resource_type_association"), call.params["name"]
    await call.write(lambda tx: image_metadefs.dissociate(tx, found.namespace, name), "metadef_namespace.dissociate")
