"""The routes of Keystone's extensions (identity v3-ext)."""

from __future__ import annotations

from trilith.api.http.route import Route
from trilith.api.identity import endpoint_filters
from trilith.api.identity.table import route

_GROUP = "/v3/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}"
_PROJECT = "/v3/OS-EP-FILTER/projects/{project_id}"

_ENDPOINT_FILTERS = (
    route("GET", "/v3/OS-EP-FILTER/endpoint_groups", endpoint_filters.list_groups, "list_endpoint_groups"),
    route(
        "POST",
        "/v3/OS-EP-FILTER/endpoint_groups",
        endpoint_filters.create,
        "create_endpoint_group",
        endpoint_filters.GroupCreateBody,
    ),
    route("GET", _GROUP, endpoint_filters.show, "get_endpoint_group"),
    route("PATCH", _GROUP, endpoint_filters.update, "update_endpoint_group", endpoint_filters.GroupUpdateBody),
    route("DELETE", _GROUP, endpoint_filters.delete, "delete_endpoint_group"),
    route(
        "GET",
        f"{_GROUP}/endpoints",
        endpoint_filters.group_endpoints,
        "list_endpoints_associated_with_endpoint_group",
    ),
    route(
        "GET", f"{_GROUP}/projects", endpoint_filters.group_projects, "list_projects_associated_with_endpoint_group"
    ),
    route(
        "PUT", f"{_GROUP}/projects/{{project_id}}", endpoint_filters.give_group, "add_endpoint_group_to_project"
    ),
    route(
        "GET", f"{_GROUP}/projects/{{project_id}}", endpoint_filters.show_group, "get_endpoint_group_in_project"
    ),
    route(
        "DELETE",
        f"{_GROUP}/projects/{{project_id}}",
        endpoint_filters.take_group,
        "remove_endpoint_group_from_project",
    ),
    route(
        "GET",
        "/v3/OS-EP-FILTER/endpoints/{endpoint_id}/projects",
        endpoint_filters.endpoint_projects,
        "list_projects_for_endpoint",
    ),
    route(
        "GET", f"{_PROJECT}/endpoint_groups", endpoint_filters.project_groups, "list_endpoint_groups_for_project"
    ),
    route("GET", f"{_PROJECT}/endpoints", endpoint_filters.project_endpoints, "list_endpoints_for_project"),
    route(
        "PUT", f"{_PROJECT}/endpoints/{{endpoint_id}}", endpoint_filters.give_endpoint, "add_endpoint_to_project"
    ),
    route(
        "GET", f"{_PROJECT}/endpoints/{{endpoint_id}}", endpoint_filters.check_endpoint, "check_endpoint_in_project",
        ok=204,
    ),
    route(
        "HEAD", f"{_PROJECT}/endpoints/{{endpoint_id}}", endpoint_filters.check_endpoint, "check_endpoint_in_project",
        ok=204,
    ),
    route(
        "DELETE",
        f"{_PROJECT}/endpoints/{{endpoint_id}}",
        endpoint_filters.take_endpoint,
        "remove_endpoint_from_project",
    ),
)  # fmt: skip

EXTENSION_ROUTES: tuple[Route, ...] = (*_ENDPOINT_FILTERS,)
