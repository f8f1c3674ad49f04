"""/v3/OS-EP-FILTER: endpoint groups, and the endpoints of a project's own catalogue."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.identity import listing
from trilith.api.identity.listing import Filters
from trilith.api.identity.services import endpoint_shown
from trilith.api.identity.views import link, project_view
from trilith.api.identity.wire import Links, Name, Text, set_fields
from trilith.commands.identity_endpoint_filters import (
    FILTERS,
    add_endpoint,
    add_group,
    create_endpoint_group,
    delete_endpoint_group,
    matching,
    remove_endpoint,
    remove_group,
    update_endpoint_group,
)
from trilith.commands.identity_rules import hex_id
from trilith.model.identity import Endpoint, Project, Service
from trilith.model.identity_extensions import EndpointGroup, ProjectEndpoint, ProjectEndpointGroup
from trilith.store.tx import Reader

_PATH = "/v3/OS-EP-FILTER"
_INTERFACES = ("public", "internal", "admin")


class GroupUpdate(Struct):
    name: Name | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    filters: dict[str, Text] | UnsetType = UNSET


class GroupCreate(Struct):
    name: Name
    filters: dict[str, Text]
    description: Text | UnsetType | None = UNSET


class GroupCreateBody(Struct):
    endpoint_group: GroupCreate


class GroupUpdateBody(Struct):
    endpoint_group: GroupUpdate


class GroupView(Struct):
    id: str
    name: str
    description: str
    filters: dict[str, str]
    links: Links


class ProjectGroupView(Struct):
    project_id: str
    endpoint_group_id: str
    links: Links


def _view(call: Call, group: EndpointGroup) -> GroupView:
    return GroupView(
        id=group.id,
        name=group.name,
        description=group.description,
        filters=group.filters,
        links=link(call, f"OS-EP-FILTER/endpoint_groups/{group.id}"),
    )


def _check(filters: dict[str, str] | UnsetType) -> None:
    """Raises Invalid for a filter that Keystone has not."""
    if filters is UNSET:
        return
    for name in filters:
        if name not in FILTERS:
            raise errors.Invalid(
                f"There is no filter {name}.", hint=f"There are {', '.join(FILTERS)}.", field="filters"
            )
    if filters.get("interface", "public") not in _INTERFACES:
        raise errors.Invalid("interface must be public, internal or admin.", field="filters")


async def create(call: Call) -> dict[str, Any]:
    """201. 400 for an unknown filter, 403."""
    given: GroupCreate = call.body.endpoint_group
    _check(given.filters)
    group = EndpointGroup(id=hex_id(), **set_fields(given))
    made = await call.write(lambda tx: create_endpoint_group(tx, group), "endpoint_group.create")
    return {"endpoint_group": _view(call, made)}


async def list_groups(call: Call) -> dict[str, Any]:
    """200, a page. 403."""
    clauses = Filters(texts=("name",)).clauses(call, EndpointGroup)
    path = f"{_PATH}/endpoint_groups"
    found = await call.read(lambda r: listing.page(call, r, EndpointGroup, path, *clauses))
    return listing.answer("endpoint_groups", found, lambda g: _view(call, g))


async def show(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    id = call.params["endpoint_group_id"]
    return {"endpoint_group": _view(call, await call.read(lambda r: r.get(EndpointGroup, id)))}


async def update(call: Call) -> dict[str, Any]:
    """200. 400, 403, 404."""
    id, given = call.params["endpoint_group_id"], call.body.endpoint_group
    _check(given.filters)
    fields = set_fields(given)
    done = await call.write(lambda tx: update_endpoint_group(tx, id, fields), "endpoint_group.update")
    return {"endpoint_group": _view(call, done)}


async def delete(call: Call) -> None:
    """204. 403, 404."""
    id = call.params["endpoint_group_id"]
    await call.write(lambda tx: delete_endpoint_group(tx, id), "endpoint_group.delete")


def _endpoints(reader: Reader, ids: set[str]) -> tuple[list[Endpoint], dict[str, Service]]:
    found = reader.select(Endpoint, id=ids) if ids else []
    return found, {s.id: s for s in reader.select(Service, id={e.service_id for e in found})} if found else {}


async def group_endpoints(call: Call) -> dict[str, Any]:
    """200: the endpoints that the group's filters match. 403, 404."""
    id = call.params["endpoint_group_id"]

    def look(reader: Reader) -> tuple[list[Endpoint], dict[str, Service]]:
        group = reader.get(EndpointGroup, id)
        return _endpoints(reader, {e.id for e in matching(group, reader.select(Endpoint))})

    found, services = await call.read(look)
    shown = [endpoint_shown(call, e, services.get(e.service_id)) for e in found]
    return listing.plain(call, "endpoints", f"{_PATH}/endpoint_groups/{id}/endpoints", shown)


async def group_projects(call: Call) -> dict[str, Any]:
    """200: the projects that the group was given to. 403, 404."""
    id = call.params["endpoint_group_id"]

    def look(reader: Reader) -> list[Project]:
        reader.get(EndpointGroup, id)
        return reader.select(
            Project, id=[h.project_id for h in reader.select(ProjectEndpointGroup, endpoint_group_id=id)]
        )

    found = await call.read(look)
    path = f"{_PATH}/endpoint_groups/{id}/projects"
    return listing.plain(call, "projects", path, [project_view(call, p) for p in found])


async def project_groups(call: Call) -> dict[str, Any]:
    """200: the groups that were given to the project. 403, 404."""
    id = call.params["project_id"]

    def look(reader: Reader) -> list[EndpointGroup]:
        reader.get(Project, id)
        ids = [h.endpoint_group_id for h in reader.select(ProjectEndpointGroup, project_id=id)]
        return reader.select(EndpointGroup, id=ids)

    found = await call.read(look)
    path = f"{_PATH}/projects/{id}/endpoint_groups"
    return listing.plain(call, "endpoint_groups", path, [_view(call, g) for g in found])


async def project_endpoints(call: Call) -> dict[str, Any]:
    """200: the project's endpoints, given one by one or by group. 403, 404."""
    id = call.params["project_id"]

    def look(reader: Reader) -> tuple[list[Endpoint], dict[str, Service]]:
        reader.get(Project, id)
        ids = {h.endpoint_id for h in reader.select(ProjectEndpoint, project_id=id)}
        groups = [h.endpoint_group_id for h in reader.select(ProjectEndpointGroup, project_id=id)]
        if groups:
            endpoints = reader.select(Endpoint)
            for group in reader.select(EndpointGroup, id=groups):
                ids |= {e.id for e in matching(group, endpoints)}
        return _endpoints(reader, ids)

    found, services = await call.read(look)
    shown = [endpoint_shown(call, e, services.get(e.service_id)) for e in found]
    return listing.plain(call, "endpoints", f"{_PATH}/projects/{id}/endpoints", shown)


async def endpoint_projects(call: Call) -> dict[str, Any]:
    """200: the projects that the endpoint was given to. 403, 404."""
    id = call.params["endpoint_id"]

    def look(reader: Reader) -> list[Project]:
        reader.get(Endpoint, id)
        return reader.select(Project, id=[h.project_id for h in reader.select(ProjectEndpoint, endpoint_id=id)])

    found = await call.read(look)
    path = f"{_PATH}/endpoints/{id}/projects"
    return listing.plain(call, "projects", path, [project_view(call, p) for p in found])


async def give_endpoint(call: Call) -> None:
    """204. 403, 404, 409 when the project has it."""
    project_id, id = call.params["project_id"], call.params["endpoint_id"]
    await call.write(lambda tx: add_endpoint(tx, project_id, id), "endpoint_filter.create")


async def check_endpoint(call: Call) -> None:
    """204. 403, 404 also when the project does not have it."""
    project_id, id = call.params["project_id"], call.params["endpoint_id"]
    if await call.read(lambda r: r.first(ProjectEndpoint, project_id=project_id, endpoint_id=id)) is None:
        raise errors.Missing(f"Endpoint {id} not found in project {project_id}.")


async def take_endpoint(call: Call) -> None:
    """204. 403, 404."""
    project_id, id = call.params["project_id"], call.params["endpoint_id"]
    await call.write(lambda tx: remove_endpoint(tx, project_id, id), "endpoint_filter.delete")


async def give_group(call: Call) -> None:
    """204. 403, 404, 409 when the project has it."""
    project_id, id = call.params["project_id"], call.params["endpoint_group_id"]
    await call.write(lambda tx: add_group(tx, project_id, id), "endpoint_filter.create")


async def show_group(call: Call) -> dict[str, Any]:
    """200. 403, 404 also when the project does not have it."""
    project_id, id = call.params["project_id"], call.params["endpoint_group_id"]
    if await call.read(lambda r: r.first(ProjectEndpointGroup, project_id=project_id, endpoint_group_id=id)) is None:
        raise errors.Missing(f"Endpoint group {id} not found in project {project_id}.")
    links = link(call, f"OS-EP-FILTER/endpoint_groups/{id}/projects/{project_id}")
    return {"project_endpoint_group": ProjectGroupView(project_id=project_id, endpoint_group_id=id, links=links)}


async def take_group(call: Call) -> None:
    """204. 403, 404."""
    project_id, id = call.params["project_id"], call.params["endpoint_group_id"]
    await call.write(lambda tx: remove_group(tx, project_id, id), "endpoint_filter.delete")
