"""The block storage API v3: the one table of its routes."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.openapi import document_route
from trilith.api.http.route import ANY, PUBLIC, Handler, Route, Service
from trilith.api.volume import info, metadata, snapshots, types, volumes
from trilith.api.volume.microversions import MICROVERSIONS, since
from trilith.api.volume.policy import POLICIES
from trilith.api.volume.wire import STATUSES, error_body

_T, _V, _S = "/types/{id}", "/volumes/{id}", "/snapshots/{id}"
_EXT = "volume_extension"
_SPECS = f"{_EXT}:types_extra_specs"


def _of_project(handler: Handler) -> Handler:
    """A path names the project of the token, or none at all (Cinder since 3.67)."""

    @functools.wraps(handler)
    async def checked(call: Call) -> Any:
        named = call.params.get("project", "")
        if named and named != call.actor.project_id and not call.actor.is_admin:
            raise errors.Invalid("Malformed request url", field="project_id")
        return await handler(call)

    return checked


def _route(method: str, path: str, handler: Handler, policy: str = ANY, **more: Any) -> Route:
    told = tuple(int(s) for s in re.findall(r"\b[45]\d\d\b", handler.__doc__ or ""))
    more["statuses"] = (*more.get("statuses", ()), *told)
    return Route(method, path, _of_project(handler), policy, **more)


def _both(routes: Iterable[Route]) -> tuple[Route, ...]:
    """Each with a project in its path, and without."""
    return tuple(replace(route, path=f"/v3{project}{route.path}") for route in routes for project in ("/{project}", ""))


_TABLE = (
    _route("GET", "/types", types.index, f"{_EXT}:type_get_all", response=types.TypeList,
           query=("is_public", "limit", "offset", "marker", "sort", "sort_key", "sort_dir")),
    _route("POST", "/types", types.create, f"{_EXT}:type_create", body=types.Create, response=types.TypeOne),
    _route("GET", _T, types.show, f"{_EXT}:type_get", response=types.TypeOne),
    _route("PUT", _T, types.update, f"{_EXT}:type_update", body=types.Update, response=types.TypeOne),
    _route("DELETE", _T, types.delete, f"{_EXT}:type_delete", ok=202),
    _route("POST", f"{_T}/action", types.action, ANY, body=types.Action, ok=202),
    _route("GET", f"{_T}/os-volume-type-access", types.list_access,
           f"{_EXT}:volume_type_access:get_all_for_type"),
    _route("GET", f"{_T}/extra_specs", types.list_specs, f"{_SPECS}:index"),
    _route("POST", f"{_T}/extra_specs", types.set_specs, f"{_SPECS}:create", body=types.SetSpecs),
    _route("GET", f"{_T}/extra_specs/{{key}}", types.show_spec, f"{_SPECS}:show"),
    _route("PUT", f"{_T}/extra_specs/{{key}}", types.set_spec, f"{_SPECS}:update", body=types.Specs),
    _route("DELETE", f"{_T}/extra_specs/{{key}}", types.drop_spec, f"{_SPECS}:delete", ok=202),
    _route("GET", "/volumes", volumes.index, query=volumes.LIST_QUERY),
    _route("POST", "/volumes", volumes.create, body=volumes.Create, ok=202, response=volumes.VolumeOne),
    _route("GET", "/volumes/detail", volumes.detail, query=volumes.LIST_QUERY, response=volumes.VolumeList),
    _route("GET", "/volumes/summary", volumes.summary, since=since("summary"), query=("all_tenants",)),
    _route("GET", _V, volumes.show, response=volumes.VolumeOne),
    _route("PUT", _V, volumes.update, body=volumes.Update, response=volumes.VolumeOne),
    _route("DELETE", _V, volumes.delete, ok=202, query=("cascade", "force")),
    _route("POST", f"{_V}/action", volumes.action, body=volumes.Action, ok=202, statuses=(200,)),
    _route("GET", f"{_V}/metadata", volumes.METADATA.index),
    _route("POST", f"{_V}/metadata", volumes.METADATA.add, body=metadata.MetadataBody),
    _route("PUT", f"{_V}/metadata", volumes.METADATA.replace, body=metadata.MetadataBody),
    _route("GET", f"{_V}/metadata/{{key}}", volumes.METADATA.show),
    _route("PUT", f"{_V}/metadata/{{key}}", volumes.METADATA.set, body=metadata.MetaBody),
    _route("DELETE", f"{_V}/metadata/{{key}}", volumes.METADATA.drop),
    _route("GET", "/snapshots", snapshots.index, query=snapshots.LIST_QUERY, response=snapshots.SnapshotList),
    _route("POST", "/snapshots", snapshots.create, body=snapshots.Create, ok=202, response=snapshots.SnapshotOne),
    _route("GET", "/snapshots/detail", snapshots.detail, query=snapshots.LIST_QUERY, response=snapshots.SnapshotList),
    _route("GET", _S, snapshots.show, response=snapshots.SnapshotOne),
    _route("PUT", _S, snapshots.update, body=snapshots.Update, response=snapshots.SnapshotOne),
    _route("DELETE", _S, snapshots.delete, ok=202),
    _route("POST", f"{_S}/action", snapshots.action, body=snapshots.Action, ok=202),
    _route("GET", f"{_S}/metadata", snapshots.METADATA.index),
    _route("POST", f"{_S}/metadata", snapshots.METADATA.add, body=metadata.MetadataBody),
    _route("PUT", f"{_S}/metadata", snapshots.METADATA.replace, body=metadata.MetadataBody),
    _route("GET", f"{_S}/metadata/{{key}}", snapshots.METADATA.show),
    _route("PUT", f"{_S}/metadata/{{key}}", snapshots.METADATA.set, body=metadata.MetaBody),
    _route("DELETE", f"{_S}/metadata/{{key}}", snapshots.METADATA.drop),
    _route("GET", "/os-availability-zone", info.zones),
    _route("GET", "/extensions", info.extensions),
    _route("GET", "/limits", info.limits),
    _route("GET", "/scheduler-stats/get_pools", info.pools, "scheduler_extension:scheduler_stats:get_pools",
           query=("detail",)),
    _route("GET", "/os-services", info.services, f"{_EXT}:services:index", query=("binary", "host")),
    _route("GET", "/os-quota-sets/{id}", info.show_quota, query=("usage",)),
    _route("GET", "/os-quota-sets/{id}/defaults", info.default_quota),
    _route("PUT", "/os-quota-sets/{id}", info.update_quota, f"{_EXT}:quotas:update", body=info.QuotaBody),
    _route("DELETE", "/os-quota-sets/{id}", info.delete_quota, f"{_EXT}:quotas:delete"),
    _route("GET", "/os-quota-class-sets/{id}", info.show_class, f"{_EXT}:quota_classes"),
    _route("PUT", "/os-quota-class-sets/{id}", info.update_class, f"{_EXT}:quota_classes", body=info.ClassBody),
)  # fmt: skip

_PREFIX = "/volume"
_ROUTES = (
    Route("GET", "", info.choices, PUBLIC, ok=300),
    Route("GET", "/v3", info.version, PUBLIC),
    *_both(_TABLE),
)

SERVICE = Service(
    name="volume",
    prefix=_PREFIX,
    routes=(*_ROUTES, document_route("volume", _PREFIX, _ROUTES, error_body, "Block storage API")),
    error_body=error_body,
    policies=POLICIES,
    microversions=MICROVERSIONS,
    statuses=STATUSES,
)
