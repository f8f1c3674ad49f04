"""/v3/registered_limits and /v3/limits, of the models flat and strict_two_level."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa
from msgspec import UNSET, Meta, Struct, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.identity import listing
from trilith.api.identity.listing import Filters
from trilith.api.identity.views import link
from trilith.api.identity.wire import Links, Name, Text, or_none, set_fields
from trilith.commands.identity_limits import (
    create_limits,
    create_registered,
    delete_limit,
    delete_registered,
    find_registered,
    update_limit,
    update_registered,
)
from trilith.commands.identity_rules import hex_id
from trilith.model.identity import Limit, Project, RegisteredLimit
from trilith.model.record import Actor
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx

Amount = Annotated[int, Meta(ge=-1, le=2**31 - 1)]


class RegisteredCreate(Struct, forbid_unknown_fields=True):
    service_id: Text
    resource_name: Name
    default_limit: Amount
    region_id: Text | None = None
    description: Text | None = None


class RegisteredCreateBody(Struct):
    registered_limits: Annotated[list[RegisteredCreate], Meta(min_length=1, max_length=256)]


class RegisteredUpdate(Struct, forbid_unknown_fields=True):
    service_id: Text | UnsetType = UNSET
    resource_name: Name | UnsetType = UNSET
    default_limit: Amount | UnsetType = UNSET
    region_id: Text | UnsetType | None = UNSET
    description: Text | UnsetType | None = UNSET


class RegisteredUpdateBody(Struct):
    registered_limit: RegisteredUpdate


class LimitCreate(Struct, forbid_unknown_fields=True):
    service_id: Text
    resource_name: Name
    resource_limit: Amount
    project_id: Text | None = None
    domain_id: Text | None = None
    region_id: Text | None = None
    description: Text | None = None


class LimitCreateBody(Struct):
    limits: Annotated[list[LimitCreate], Meta(min_length=1, max_length=256)]


class LimitUpdate(Struct, forbid_unknown_fields=True):
    resource_limit: Amount | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET


class LimitUpdateBody(Struct):
    limit: LimitUpdate


class RegisteredView(Struct):
    id: str
    service_id: str
    region_id: str | None
    resource_name: str
    default_limit: int
    description: str | None
    links: Links


class LimitView(Struct):
    id: str
    project_id: str | None
    domain_id: str | None
    service_id: str
    region_id: str | None
    resource_name: str
    resource_limit: int
    description: str | None
    links: Links


class Model(Struct):
    name: str
    description: str


class ModelBody(Struct):
    model: Model


_MODELS = {
    "flat": "Limit enforcement and validation does not take project hierarchy into account.",
    "strict_two_level": "Projects stand right below their domain, and no limit of a project is above its domain's.",
}


async def model(call: Call) -> ModelBody:
    """200."""
    name = call.host.settings.limit_model
    return ModelBody(Model(name, _MODELS[name]))


def _strict(call: Call) -> bool:
    return call.host.settings.limit_model == "strict_two_level"


def _registered(call: Call, limit: RegisteredLimit) -> RegisteredView:
    return RegisteredView(
        id=limit.id,
        service_id=limit.service_id,
        region_id=or_none(limit.region_id),
        resource_name=limit.resource_name,
        default_limit=limit.default_limit,
        description=or_none(limit.description),
        links=link(call, f"registered_limits/{limit.id}"),
    )


def _limit(call: Call, limit: Limit, of: RegisteredLimit) -> LimitView:
    return LimitView(
        id=limit.id,
        project_id=or_none(limit.project_id),
        domain_id=or_none(limit.domain_id),
        service_id=of.service_id,
        region_id=or_none(of.region_id),
        resource_name=of.resource_name,
        resource_limit=limit.resource_limit,
        description=or_none(limit.description),
        links=link(call, f"limits/{limit.id}"),
    )


async def create_all_registered(call: Call) -> dict[str, Any]:
    """201, all or none. 400, 403, 409."""
    limits = [
        RegisteredLimit(
            id=hex_id(),
            service_id=given.service_id,
            resource_name=given.resource_name,
            default_limit=given.default_limit,
            region_id=given.region_id or "",
            description=given.description or "",
        )
        for given in call.body.registered_limits
    ]
    made = await call.write(lambda tx: create_registered(tx, limits), "registered_limit.create")
    shown = [_registered(call, limit) for limit in made]
    return listing.plain(call, "registered_limits", "/v3/registered_limits", shown)


async def list_registered(call: Call) -> dict[str, Any]:
    """200, a page."""
    clauses = Filters(texts=("service_id", "region_id", "resource_name")).clauses(call, RegisteredLimit)
    path = "/v3/registered_limits"
    found = await call.read(lambda r: listing.page(call, r, RegisteredLimit, path, *clauses))
    return listing.answer("registered_limits", found, lambda limit: _registered(call, limit))


async def show_registered(call: Call) -> dict[str, Any]:
    """200. 404."""
    id = call.params["limit_id"]
    return {"registered_limit": _registered(call, await call.read(lambda r: r.get(RegisteredLimit, id)))}


async def update_one_registered(call: Call) -> dict[str, Any]:
    """200. 400, 403, 404, 409."""
    id, fields = call.params["limit_id"], set_fields(call.body.registered_limit)
    done = await call.write(lambda tx: update_registered(tx, id, fields), "registered_limit.update")
    return {"registered_limit": _registered(call, done)}


async def delete_one_registered(call: Call) -> None:
    """204. 403 also while limits hang on it, 404."""
    id = call.params["limit_id"]
    await call.write(lambda tx: delete_registered(tx, id), "registered_limit.delete")


async def create_all(call: Call) -> dict[str, Any]:
    """201, all or none. 403 also without a registered limit and where the model forbids it, 404, 409."""
    asked: list[LimitCreate] = call.body.limits
    strict = _strict(call)

    def run(tx: Tx) -> list[tuple[Limit, RegisteredLimit]]:
        of = [find_registered(tx, a.service_id, a.region_id or "", a.resource_name) for a in asked]
        limits = [
            Limit(
                id=hex_id(),
                registered_limit_id=registered.id,
                resource_limit=a.resource_limit,
                project_id=a.project_id or "",
                domain_id=a.domain_id or "",
                description=a.description or "",
            )
            for a, registered in zip(asked, of, strict=True)
        ]
        return list(zip(create_limits(tx, limits, strict=strict), of, strict=True))

    made = await call.write(run, "limit.create")
    return listing.plain(call, "limits", "/v3/limits", [_limit(call, *pair) for pair in made])


def _own(actor: Actor) -> listing.Clause:
    """Limits of the token's project, or of its domain and the projects in it."""
    t, p = REGISTRY[Limit].table.c, REGISTRY[Project].table.c
    if actor.domain_id:
        inside = sa.select(p.id).where(p.domain_id == actor.domain_id)
        return sa.or_(t.domain_id == actor.domain_id, t.project_id.in_(inside))
    return t.project_id == (actor.project_id or "-")  # an empty id is none


async def list_limits(call: Call) -> dict[str, Any]:
    """200, a page: of the token's project or domain, or with the rights for it all."""
    t, r = REGISTRY[Limit].table.c, REGISTRY[RegisteredLimit].table.c
    clauses = Filters(texts=("project_id", "domain_id")).clauses(call, Limit)
    of = Filters(texts=("service_id", "region_id", "resource_name")).clauses(call, RegisteredLimit)
    if of:
        clauses.append(t.registered_limit_id.in_(sa.select(r.id).where(*of)))
    if not (call.actor.is_admin or call.actor.system):
        clauses.append(_own(call.actor))

    def look(reader: Reader) -> tuple[listing.Page, dict[str, RegisteredLimit]]:
        page = listing.page(call, reader, Limit, "/v3/limits", *clauses)
        ids = {limit.registered_limit_id for limit in page.records}
        return page, {x.id: x for x in reader.select(RegisteredLimit, id=ids)} if ids else {}

    found, registered = await call.read(look)
    return listing.answer("limits", found, lambda limit: _limit(call, limit, registered[limit.registered_limit_id]))


async def _load(call: Call, id: str) -> tuple[Limit, RegisteredLimit]:
    def look(reader: Reader) -> tuple[Limit, RegisteredLimit]:
        limit = reader.get(Limit, id)
        return limit, reader.get(RegisteredLimit, limit.registered_limit_id)

    return await call.read(look)


async def show(call: Call) -> dict[str, Any]:
    """200. 403 for another's, 404."""
    limit, of = await _load(call, call.params["limit_id"])
    project = await call.read(lambda r: r.find(Project, limit.project_id)) if limit.project_id else None
    # an empty id is none, and may not equal the caller's empty one
    facts = {
        "target.limit.project_id": limit.project_id or "-",
        "target.limit.domain_id": limit.domain_id or "-",
        "target.limit.project.domain_id": project.domain_id if project else "-",
    }
    call.allow("identity:get_limit", **facts)
    return {"limit": _limit(call, limit, of)}


async def update(call: Call) -> dict[str, Any]:
    """200. 400, 403 also where the model forbids it, 404."""
    id, fields = call.params["limit_id"], set_fields(call.body.limit)
    if not fields:
        raise errors.Invalid("Nothing to change.", field="limit")
    strict = _strict(call)
    await call.write(lambda tx: update_limit(tx, id, fields, strict=strict), "limit.update")
    return {"limit": _limit(call, *await _load(call, id))}


async def delete(call: Call) -> None:
    """204. 403, 404."""
    id = call.params["limit_id"]
    await call.write(lambda tx: delete_limit(tx, id), "limit.delete")
