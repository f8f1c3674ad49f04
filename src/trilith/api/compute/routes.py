"""The compute API v2.1: the one table of its routes."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from trilith.api.compute import (
    aggregates,
    compute_services,
    consoles,
    extensions,
    external_events,
    flavors,
    hypervisors,
    image_proxies,
    instance_actions,
    keypairs,
    migrations,
    proxies,
    quotas,
    removed,
    security_groups,
    server_actions,
    server_create,
    server_groups,
    server_interfaces,
    server_misc,
    server_notes,
    server_query,
    servers,
    usage,
    versions,
    zones,
)
from trilith.api.compute.faults import STATUSES, error_body
from trilith.api.compute.microversions import MICROVERSIONS, before, since
from trilith.api.compute.policy import POLICIES
from trilith.api.compute.wire import VERSION, check_query
from trilith.api.http.call import Call
from trilith.api.http.openapi import document_route
from trilith.api.http.route import ANY, PUBLIC, Handler, Route, Service

_STRICT, _STRICTER = "consistent", "strict_queries"


def _checked(handler: Handler, known: frozenset[str], flag: str) -> Handler:
    @functools.wraps(handler)
    async def checked(call: Call) -> Any:
        check_query(call, known, flag)
        return await handler(call)

    return checked


def _statuses(handler: Handler) -> tuple[int, ...]:
    """What the handler's docstring says that it answers: the document repeats it."""
    return tuple(sorted({int(found) for found in re.findall(r"\b(20[0-9]|4[01]\d|501)\b", handler.__doc__ or "")}))


def _route(
    method: str,
    path: str,
    handler: Handler,
    rule: str = "",
    *,
    body: Any = None,
    ok: int = 200,
    new: str = "",
    old: str = "",
    query: Iterable[str] = (),
    strict: str = _STRICTER,
    response: Any = None,
) -> Route:
    """rule: after os_compute_api:, or whole where it begins with compute:; without one the handler checks for itself.
    new, old: flags that brought it or ended it. query: the parameters that it knows, held to from the microversion of
    `strict` on.
    """
    known = tuple(query)
    if method == "GET" or known:
        handler = _checked(handler, frozenset(known), strict)
    return Route(
        method,
        VERSION + path,
        handler,
        policy=(rule if rule.startswith("compute:") else f"os_compute_api:{rule}") if rule else ANY,
        body=body,
        ok=ok,
        since=since(new) if new else "",
        until=before(old) if old else "",
        query=known,
        response=response,
        statuses=_statuses(handler),
    )


_VERSIONS = (
    Route("GET", "", versions.index, policy=PUBLIC),
    Route("GET", VERSION, versions.show, policy=PUBLIC),
    Route("GET", versions.LEGACY, versions.show_legacy, policy=PUBLIC),
)

_FLAVORS = (
    _route("GET", "/flavors", flavors.index, query=flavors.LIST_QUERY, strict=_STRICT, response=flavors.FlavorList),
    _route("POST", "/flavors", flavors.create, "os-flavor-manage:create", body=flavors.Create),
    _route(
        "GET", "/flavors/detail", flavors.detail, query=flavors.LIST_QUERY, strict=_STRICT, response=flavors.FlavorList
    ),
    _route("GET", "/flavors/{id}", flavors.show, response=flavors.FlavorOne),
    _route(
        "PUT", "/flavors/{id}", flavors.update, "os-flavor-manage:update", body=flavors.Update, new="flavor_description"
    ),
    _route("DELETE", "/flavors/{id}", flavors.delete, "os-flavor-manage:delete", ok=202),
    _route("POST", "/flavors/{id}/action", flavors.action, body=flavors.AccessAction),
    _route("GET", "/flavors/{id}/os-flavor-access", flavors.list_access, "os-flavor-access"),
    _route("GET", "/flavors/{id}/os-extra_specs", flavors.list_specs, "os-flavor-extra-specs:index"),
    _route(
        "POST",
        "/flavors/{id}/os-extra_specs",
        flavors.create_specs,
        "os-flavor-extra-specs:create",
        body=flavors.SpecsBody,
    ),
    _route("GET", "/flavors/{id}/os-extra_specs/{key}", flavors.show_spec, "os-flavor-extra-specs:show"),
    _route(
        "PUT",
        "/flavors/{id}/os-extra_specs/{key}",
        flavors.update_spec,
        "os-flavor-extra-specs:update",
        body=flavors.Specs,
    ),
    _route("DELETE", "/flavors/{id}/os-extra_specs/{key}", flavors.delete_spec, "os-flavor-extra-specs:delete"),
)

_KEYPAIRS = (
    _route("GET", "/os-keypairs", keypairs.index, query=keypairs.LIST_QUERY, strict=_STRICT),
    _route("POST", "/os-keypairs", keypairs.create, body=keypairs.Create, ok=201),
    _route("GET", "/os-keypairs/{id}", keypairs.show, query=keypairs.SHOW_QUERY, strict=_STRICT),
    _route("DELETE", "/os-keypairs/{id}", keypairs.delete, ok=204, query=keypairs.SHOW_QUERY, strict=_STRICT),
)

_S = "/servers/{id}"
_SERVERS = (
    _route(
        "GET", "/servers", servers.index, "servers:index", query=server_query.LIST_QUERY, strict=_STRICT,
        response=servers.ServerList,
    ),
    _route("POST", "/servers", server_create.create, body=server_create.Create, ok=202),
    _route(
        "GET", "/servers/detail", servers.detail, "servers:detail", query=server_query.LIST_QUERY, strict=_STRICT,
        response=servers.ServerList,
    ),
    _route("GET", _S, servers.show, response=servers.ServerOne),
    _route("PUT", _S, servers.update, body=servers.Update, response=servers.ServerOne),
    _route("DELETE", _S, servers.delete, ok=204),
    _route("POST", f"{_S}/action", server_actions.act, body=dict[str, Any], ok=200),
    _route("GET", f"{_S}/ips", servers.ips),
    _route("GET", f"{_S}/ips/{{network}}", servers.ips_of_network),
    _route("GET", f"{_S}/metadata", server_notes.list_metadata),
    _route("POST", f"{_S}/metadata", server_notes.create_metadata, body=server_notes.MetadataBody),
    _route("PUT", f"{_S}/metadata", server_notes.replace_metadata, body=server_notes.MetadataBody),
    _route("GET", f"{_S}/metadata/{{key}}", server_notes.show_meta),
    _route("PUT", f"{_S}/metadata/{{key}}", server_notes.update_meta, body=server_notes.MetaBody),
    _route("DELETE", f"{_S}/metadata/{{key}}", server_notes.delete_meta, ok=204),
    _route("GET", f"{_S}/tags", server_notes.list_tags, new="tags"),
    _route("PUT", f"{_S}/tags", server_notes.replace_tags, body=server_notes.TagsBody, new="tags"),
    _route("DELETE", f"{_S}/tags", server_notes.delete_tags, ok=204, new="tags"),
    _route("GET", f"{_S}/tags/{{tag}}", server_notes.show_tag, ok=204, new="tags"),
    _route("PUT", f"{_S}/tags/{{tag}}", server_notes.update_tag, ok=201, new="tags"),
    _route("DELETE", f"{_S}/tags/{{tag}}", server_notes.delete_tag, ok=204, new="tags"),
    _route("GET", f"{_S}/os-interface", server_interfaces.list_interfaces),
    _route("POST", f"{_S}/os-interface", server_interfaces.attach, body=server_interfaces.Attach),
    _route("GET", f"{_S}/os-interface/{{port_id}}", server_interfaces.show_interface),
    _route("DELETE", f"{_S}/os-interface/{{port_id}}", server_interfaces.detach, ok=202),
    _route("GET", f"{_S}/os-security-groups", server_interfaces.list_groups),
    _route("GET", f"{_S}/os-volume_attachments", server_interfaces.list_volumes, query=("limit", "offset")),
    _route(
        "POST", f"{_S}/os-volume_attachments", server_interfaces.attach_volume, body=server_interfaces.AttachVolume
    ),
    _route("GET", f"{_S}/os-volume_attachments/{{volume_id}}", server_interfaces.show_volume),
    _route("PUT", f"{_S}/os-volume_attachments/{{volume_id}}", server_interfaces.show_volume),
    _route("DELETE", f"{_S}/os-volume_attachments/{{volume_id}}", server_interfaces.show_volume),
    _route(
        "GET", f"{_S}/os-instance-actions", instance_actions.index, query=instance_actions.LIST_QUERY,
        strict="action_paging",
    ),
    _route("GET", f"{_S}/os-instance-actions/{{request_id}}", instance_actions.show),
    _route("GET", f"{_S}/diagnostics", server_misc.diagnostics),
    _route("GET", f"{_S}/topology", server_misc.topology, new="topology"),
    _route("GET", f"{_S}/os-server-password", server_misc.show_password),
    _route("DELETE", f"{_S}/os-server-password", server_misc.clear_password, ok=204),
    _route(
        "POST", f"{_S}/remote-consoles", consoles.create, body=consoles.CreateConsole, new="remote_consoles",
        response=consoles.RemoteOne,
    ),
    _route(
        "GET", "/os-console-auth-tokens/{token}", consoles.show_token, "os-console-auth-tokens",
        new="console_tokens", response=consoles.ConnectionOne,
    ),
    _route(
        "GET", "/os-console-auth-tokens/{token}", consoles.show_rdp_token, "os-console-auth-tokens",
        old="console_tokens",
    ),
    _route(
        "GET", f"{_S}/migrations", migrations.of_server, new="server_migrations",
        response=migrations.ServerMigrationList,
    ),
    _route(
        "GET", f"{_S}/migrations/{{migration_id}}", migrations.show, new="server_migrations",
        response=migrations.ServerMigrationOne,
    ),
    _route("DELETE", f"{_S}/migrations/{{migration_id}}", migrations.abort, new="abort_migration", ok=202),
    _route(
        "POST", f"{_S}/migrations/{{migration_id}}/action", migrations.force, new="force_complete",
        body=migrations.Force, ok=202,
    ),
    _route("GET", f"{_S}/shares", server_misc.list_shares, new="shares"),
    _route("POST", f"{_S}/shares", server_misc.attach_share, body=server_misc.AttachShare, new="shares"),
)  # fmt: skip

_G = "os-server-groups"
_GROUPS = (
    _route("GET", f"/{_G}", server_groups.index, f"{_G}:index", query=server_groups.LIST_QUERY, strict=_STRICT),
    _route("POST", f"/{_G}", server_groups.create, f"{_G}:create", body=server_groups.Create),
    _route("GET", f"/{_G}/{{id}}", server_groups.show),
    _route("DELETE", f"/{_G}/{{id}}", server_groups.delete, ok=204),
)

_A, _H, _SV = "os-aggregates", "os-hypervisors", "os-services"
_OPERATOR = (
    _route("GET", f"/{_A}", aggregates.index, f"{_A}:index"),
    _route("POST", f"/{_A}", aggregates.create, f"{_A}:create", body=aggregates.Create),
    _route("GET", f"/{_A}/{{id}}", aggregates.show, f"{_A}:show"),
    _route("PUT", f"/{_A}/{{id}}", aggregates.update, f"{_A}:update", body=aggregates.Update),
    _route("DELETE", f"/{_A}/{{id}}", aggregates.delete, f"{_A}:delete"),
    _route("POST", f"/{_A}/{{id}}/action", aggregates.action, body=dict[str, Any]),
    _route(
        "POST", f"/{_A}/{{id}}/images", aggregates.images, "compute:aggregates:images", body=aggregates.CacheImages,
        ok=202, new="aggregate_images",
    ),
    _route("GET", f"/{_H}", hypervisors.index, f"{_H}:list", query=hypervisors.LIST_QUERY, strict="uuids"),
    _route(
        "GET", f"/{_H}/detail", hypervisors.detail, f"{_H}:list-detail", query=hypervisors.LIST_QUERY, strict="uuids"
    ),
    _route("GET", f"/{_H}/statistics", hypervisors.statistics, f"{_H}:statistics", old="hypervisor_brief"),
    _route("GET", f"/{_H}/{{id}}", hypervisors.show, f"{_H}:show", query=hypervisors.SHOW_QUERY, strict="uuids"),
    _route("GET", f"/{_H}/{{id}}/uptime", hypervisors.uptime, f"{_H}:uptime", old="hypervisor_brief"),
    _route("GET", f"/{_H}/{{id}}/search", hypervisors.search, f"{_H}:search", old="uuids"),
    _route("GET", f"/{_H}/{{id}}/servers", hypervisors.servers_of, f"{_H}:servers", old="uuids"),
    _route(
        "GET", f"/{_SV}", compute_services.index, f"{_SV}:list", query=compute_services.LIST_QUERY, strict=_STRICT
    ),
    _route("PUT", f"/{_SV}/{{id}}", compute_services.update, f"{_SV}:update", body=dict[str, Any]),
    _route("DELETE", f"/{_SV}/{{id}}", compute_services.delete, f"{_SV}:delete", ok=204),
    _route("GET", "/os-availability-zone", zones.index, "os-availability-zone:list"),
    _route("GET", "/os-availability-zone/detail", zones.detail, "os-availability-zone:detail"),
    _route("GET", "/os-hosts", zones.list_hosts, "os-hosts:list", query=zones.HOSTS_QUERY, old="no_hosts"),
    _route("GET", "/os-hosts/{host}", zones.show_host, "os-hosts:show", old="no_hosts"),
    _route("PUT", "/os-hosts/{host}", zones.change_host, "os-hosts:update", body=zones.ChangeHost, old="no_hosts"),
    *(
        _route("GET", f"/os-hosts/{{host}}/{verb}", zones.host_power, f"os-hosts:{rule}", old="no_hosts")
        for verb, rule in (("startup", "start"), ("shutdown", "shutdown"), ("reboot", "reboot"))
    ),
    _route(
        "GET", "/os-migrations", migrations.index, "os-migrations:index", query=migrations.LIST_QUERY,
        strict="migration_paging", response=migrations.MigrationList,
    ),
    _route(
        "POST", "/os-server-external-events", external_events.create, "os-server-external-events:create",
        body=external_events.Events,
    ),
    _route("GET", "/os-instance_usage_audit_log", usage.audit_log, "os-instance-usage-audit-log:list"),
    _route("GET", "/os-instance_usage_audit_log/{before}", usage.audit_log_before, "os-instance-usage-audit-log:show"),
)  # fmt: skip

_QUOTAS = (
    _route("GET", "/os-quota-sets/{id}", quotas.show, query=quotas.LIST_QUERY, strict=_STRICT),
    _route("PUT", "/os-quota-sets/{id}", quotas.update, body=quotas.Update, query=quotas.LIST_QUERY, strict=_STRICT),
    _route("DELETE", "/os-quota-sets/{id}", quotas.delete, ok=202, query=quotas.LIST_QUERY, strict=_STRICT),
    _route("GET", "/os-quota-sets/{id}/detail", quotas.detail, query=quotas.LIST_QUERY, strict=_STRICT),
    _route("GET", "/os-quota-sets/{id}/defaults", quotas.defaults),
    _route("GET", "/os-quota-class-sets/{id}", quotas.show_class, "os-quota-class-sets:show"),
    _route(
        "PUT", "/os-quota-class-sets/{id}", quotas.update_class, "os-quota-class-sets:update", body=quotas.UpdateClass
    ),
    _route("GET", "/limits", quotas.absolute, "limits", query=quotas.LIMITS_QUERY, strict=_STRICT),
    _route(
        "GET", "/os-simple-tenant-usage", usage.index, "os-simple-tenant-usage:list", query=usage.LIST_QUERY,
        strict=_STRICT,
    ),
    _route(
        "GET", "/os-simple-tenant-usage/{id}", usage.show, query=usage.SHOW_QUERY, strict=_STRICT
    ),
    _route("GET", "/extensions", extensions.index, "extensions"),
    _route("GET", "/extensions/{alias}", extensions.show, "extensions"),
)  # fmt: skip

_SG = "os-security-groups"
_PROXIES = (
    _route("GET", f"/{_SG}", security_groups.index, f"{_SG}:get", old="no_proxies"),
    _route(
        "POST", f"/{_SG}", security_groups.create, f"{_SG}:create", body=security_groups.CreateGroup, old="no_proxies"
    ),
    _route("GET", f"/{_SG}/{{id}}", security_groups.show, f"{_SG}:show", old="no_proxies"),
    _route(
        "PUT", f"/{_SG}/{{id}}", security_groups.update, f"{_SG}:update", body=security_groups.CreateGroup,
        old="no_proxies",
    ),
    _route("DELETE", f"/{_SG}/{{id}}", security_groups.delete, f"{_SG}:delete", ok=202, old="no_proxies"),
    _route(
        "POST", "/os-security-group-rules", security_groups.create_rule, f"{_SG}:rule:create",
        body=security_groups.CreateRule, old="no_proxies",
    ),
    _route(
        "DELETE", "/os-security-group-rules/{id}", security_groups.delete_rule, f"{_SG}:rule:delete", ok=202,
        old="no_proxies",
    ),
    *(
        _route(method, path, handler, rule, body=body, ok=ok, old=old)
        for method, path, handler, rule, body, ok, old in (*proxies.TABLE, *image_proxies.TABLE)
    ),
)  # fmt: skip

#: Nova's other path of its servers, from the time when they needed a word of their own to boot from volumes
_VOLUMES_BOOT = tuple(
    replace(route, path=route.path.replace("/servers", "/os-volumes_boot"), until=before("no_volumes_boot"))
    for route in _SERVERS
    if route.path in [f"{VERSION}{p}" for p in ("/servers", "/servers/detail", _S, f"{_S}/action")]
)

_AV = "os-assisted-volume-snapshots"
_REMOVED = (
    *(_route(method, path, removed.removed) for method, path in removed.TABLE),
    _route("POST", f"/{_AV}", removed.create_snapshot, f"{_AV}:create", body=removed.CreateSnapshot),
    _route(
        "DELETE", f"/{_AV}/{{id}}", removed.delete_snapshot, f"{_AV}:delete", ok=204, query=("delete_info",),
        strict=_STRICT,
    ),
)  # fmt: skip

_PREFIX = "/compute"
_ROUTES = (
    *_VERSIONS, *_FLAVORS, *_KEYPAIRS, *_SERVERS, *_GROUPS, *_OPERATOR, *_QUOTAS, *_PROXIES, *_VOLUMES_BOOT, *_REMOVED
)  # fmt: skip

SERVICE = Service(
    name="compute",
    prefix=_PREFIX,
    routes=(*_ROUTES, document_route("compute", _PREFIX, _ROUTES, error_body, "Compute API")),
    error_body=error_body,
    policies=POLICIES,
    microversions=MICROVERSIONS,
    statuses=STATUSES,
    error_media_type="application/json; charset=UTF-8",
    request_id_headers=("x-openstack-request-id", "x-compute-request-id"),
    blank_ids=True,
)
