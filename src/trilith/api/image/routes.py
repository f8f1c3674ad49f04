"""The image service (Glance's Image API v2): its whole surface."""

from __future__ import annotations

from typing import Any

from trilith.api.http.openapi import document_route
from trilith.api.http.route import PUBLIC, Route, Service
from trilith.api.image import (
    cache,
    data,
    images,
    imports,
    locations,
    members,
    metadef_routes,
    schemas,
    stores,
    tasks,
    versions,
)
from trilith.api.image.policy import POLICIES
from trilith.api.image.wire import ImageList, MemberList, MemberView, Wire, fault

_ONE = "/v2/images/{image_id}"
_FILTERS = (
    "limit",
    "marker",
    "sort",
    "sort_key",
    "sort_dir",
    "name",
    "status",
    "visibility",
    "owner",
    "tag",
    "size_min",
    "size_max",
    "container_format",
    "disk_format",
    "protected",
    "os_hidden",
    "member_status",
    "created_at",
    "updated_at",
)

_ROUTES = (
    Route("GET", "", versions.choices, PUBLIC, ok=300, response=versions.Versions),
    Route("GET", "/versions", versions.listed, PUBLIC, response=versions.Versions),
    Route("GET", "/v2/images", images.list_images, "get_images", response=ImageList, statuses=(400,), query=_FILTERS),
    Route(
        "POST", "/v2/images", images.create, body=dict[str, Any], ok=201, response=Wire, statuses=(400, 403, 409, 413)
    ),
    Route("DELETE", "/v2/images", images.not_one, ok=204, statuses=(404, 405)),
    Route("GET", _ONE, images.show, response=Wire, statuses=(404,)),
    Route("PATCH", _ONE, images.update, stream=True, response=Wire, statuses=(400, 403, 404, 409, 413, 415)),
    Route("DELETE", _ONE, images.delete, ok=204, statuses=(403, 404)),
    Route("PUT", f"{_ONE}/file", data.upload, ok=204, stream=True, statuses=(400, 403, 404, 409, 410, 413, 415)),
    Route("GET", f"{_ONE}/file", data.download, statuses=(204, 206, 403, 404, 416)),
    Route("PUT", f"{_ONE}/stage", data.stage, ok=204, stream=True, statuses=(400, 403, 404, 409, 410, 413, 415)),
    Route(
        "POST", f"{_ONE}/import", imports.start, body=imports.ImportRequest, ok=202,
        statuses=(400, 403, 404, 409, 413),
    ),
    Route("GET", f"{_ONE}/tasks", tasks.of_image, response=tasks.Tasks, statuses=(404,)),
    Route("GET", f"{_ONE}/locations", locations.show, response=list[locations.LocationView], statuses=(403, 404)),
    Route("POST", f"{_ONE}/locations", locations.add, body=locations.NewLocation, ok=202, statuses=(400, 404, 409)),
    Route("POST", f"{_ONE}/actions/deactivate", images.deactivate, ok=204, statuses=(403, 404)),
    Route("POST", f"{_ONE}/actions/reactivate", images.reactivate, ok=204, statuses=(403, 404)),
    Route("PUT", f"{_ONE}/tags/{{tag}}", images.add_tag, ok=204, statuses=(400, 403, 404, 413)),
    Route("DELETE", f"{_ONE}/tags/{{tag}}", images.remove_tag, ok=204, statuses=(403, 404)),
    Route("GET", f"{_ONE}/members", members.list_members, response=MemberList, statuses=(403, 404)),
    Route(
        "POST",
        f"{_ONE}/members",
        members.create,
        body=members.NewMember,
        response=MemberView,
        statuses=(400, 403, 404, 409, 413),
    ),
    Route("GET", f"{_ONE}/members/{{member_id}}", members.show, response=MemberView, statuses=(404,)),
    Route(
        "PUT",
        f"{_ONE}/members/{{member_id}}",
        members.update,
        body=members.MemberStatus,
        response=MemberView,
        statuses=(400, 403, 404),
    ),
    Route("DELETE", f"{_ONE}/members/{{member_id}}", members.delete, ok=204, statuses=(403, 404)),
    Route("GET", "/v2/schemas/{name}", schemas.show, response=dict[str, Any], statuses=(404,)),
    Route("GET", "/v2/info/import", stores.import_info, response=stores.ImportInfo),
    Route("GET", "/v2/info/usage", stores.usage, response=stores.UsageList),
    Route("GET", "/v2/info/stores", stores.list_stores, response=stores.Stores),
    Route("GET", "/v2/info/stores/detail", stores.details, response=stores.StoreDetails, statuses=(403,)),
    Route("DELETE", "/v2/stores/{store}/{image_id}", stores.remove, ok=204, statuses=(403, 404, 409)),
    Route(
        "GET", "/v2/tasks", tasks.list_tasks, "tasks_api_access", response=tasks.TaskPage, statuses=(400,),
        query=("limit", "marker", "sort_key", "sort_dir", "status", "type", "owner"),
    ),
    Route(
        "POST", "/v2/tasks", tasks.create, "tasks_api_access", body=tasks.NewTask, ok=201, response=tasks.Task,
        statuses=(400, 403, 413),
    ),
    Route("GET", "/v2/tasks/{task_id}", tasks.show, "tasks_api_access", response=tasks.Task, statuses=(404,)),
    Route("GET", "/v2/cache", cache.show, "cache_list", response=cache.CacheView, statuses=(403,)),
    Route("DELETE", "/v2/cache", cache.clear, "cache_delete", ok=204, statuses=(400, 403)),
    Route("PUT", "/v2/cache/{image_id}", cache.queue, "cache_image", ok=202, statuses=(400, 403, 404)),
    Route("DELETE", "/v2/cache/{image_id}", cache.remove, "cache_delete", ok=204, statuses=(403, 404)),
    *metadef_routes.ROUTES,
)  # fmt: skip

SERVICE = Service(
    name="image",
    prefix="/image",
    routes=(*_ROUTES, document_route("image", "/image", _ROUTES, fault, "Image API v2")),
    error_body=fault,
    policies=(*POLICIES, *metadef_routes.POLICIES),
    statuses={"range": 416, "too_large": 413},
)
