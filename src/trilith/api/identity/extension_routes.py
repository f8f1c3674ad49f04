"""The routes of Keystone's extensions (identity v3-ext)."""

from __future__ import annotations

from trilith.api.http.route import PUBLIC, Route
from trilith.api.identity import auth_tokens, domain_config, endpoint_filters, federation, federation_auth, oauth1
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

_CONSUMER = "/v3/OS-OAUTH1/consumers/{consumer_id}"
_ACCESS = "/v3/users/{user_id}/OS-OAUTH1/access_tokens"

_OAUTH1 = (
    route("GET", "/v3/OS-OAUTH1/consumers", oauth1.list_consumers, "list_consumers"),
    route("POST", "/v3/OS-OAUTH1/consumers", oauth1.create_consumer, "create_consumer", oauth1.ConsumerBody),
    route("GET", _CONSUMER, oauth1.show_consumer, "get_consumer"),
    route("PATCH", _CONSUMER, oauth1.update_consumer, "update_consumer", oauth1.ConsumerBody),
    route("DELETE", _CONSUMER, oauth1.delete_consumer, "delete_consumer"),
    route("POST", "/v3/OS-OAUTH1/request_token", oauth1.create_request_token, PUBLIC),
    route(
        "PUT",
        "/v3/OS-OAUTH1/authorize/{request_token_id}",
        oauth1.authorize,
        "authorize_request_token",
        oauth1.AuthorizeBody,
        200,
    ),
    route("POST", "/v3/OS-OAUTH1/access_token", oauth1.create_access_token, PUBLIC),
    route("GET", _ACCESS, oauth1.list_access_tokens),
    route("GET", f"{_ACCESS}/{{access_token_id}}", oauth1.show_access_token),
    route("DELETE", f"{_ACCESS}/{{access_token_id}}", oauth1.delete_access_token),
    route("GET", f"{_ACCESS}/{{access_token_id}}/roles", oauth1.list_roles),
    route("GET", f"{_ACCESS}/{{access_token_id}}/roles/{{role_id}}", oauth1.show_role),
)

_DEFAULT = "/v3/domains/config"
_CONFIG = "/v3/domains/{domain_id}/config"

_DOMAIN_CONFIG = (
    *(
        route("GET", f"{_DEFAULT}{part}/default", domain_config.show_default, "get_domain_config_default")
        for part in ("", "/{group}", "/{group}/{option}")
    ),
    route("PUT", _CONFIG, domain_config.put, "create_domain_config", domain_config.ConfigBody, 200, statuses=(201,)),
    *(
        one
        for path in (_CONFIG, f"{_CONFIG}/{{group}}", f"{_CONFIG}/{{group}}/{{option}}")
        for one in (
            route("GET", path, domain_config.show),
            route("PATCH", path, domain_config.update, "update_domain_config", domain_config.ConfigBody),
            route("DELETE", path, domain_config.delete, "delete_domain_config"),
        )
    ),
)

_IDP = "/v3/OS-FEDERATION/identity_providers/{idp_id}"
_PROTOCOL = f"{_IDP}/protocols/{{protocol_id}}"
_MAPPING = "/v3/OS-FEDERATION/mappings/{mapping_id}"

_FEDERATION = (
    route("GET", "/v3/OS-FEDERATION/identity_providers", federation.list_providers, "list_identity_providers"),
    route("PUT", _IDP, federation.create_provider, "create_identity_provider", federation.ProviderBody, 201),
    route("GET", _IDP, federation.show_provider, "get_identity_provider"),
    route("PATCH", _IDP, federation.update_provider, "update_identity_provider", federation.ProviderBody),
    route("DELETE", _IDP, federation.delete_provider, "delete_identity_provider"),
    route("GET", f"{_IDP}/protocols", federation.list_protocols, "list_protocols"),
    route("PUT", _PROTOCOL, federation.create_protocol, "create_protocol", federation.ProtocolBody, 201),
    route("GET", _PROTOCOL, federation.show_protocol, "get_protocol"),
    route("PATCH", _PROTOCOL, federation.update_protocol, "update_protocol", federation.ProtocolChangeBody),
    route("DELETE", _PROTOCOL, federation.delete_protocol, "delete_protocol"),
    route("GET", f"{_PROTOCOL}/auth", federation_auth.authenticate, PUBLIC, ok=201, statuses=(401, 403, 503)),
    route("POST", f"{_PROTOCOL}/auth", federation_auth.authenticate, PUBLIC, statuses=(401, 403, 503)),
    route("GET", "/v3/OS-FEDERATION/mappings", federation.list_mappings, "list_mappings"),
    route("PUT", _MAPPING, federation.create_mapping, "create_mapping", federation.MappingBody, 201),
    route("GET", _MAPPING, federation.show_mapping, "get_mapping"),
    route("PATCH", _MAPPING, federation.update_mapping, "update_mapping", federation.MappingBody),
    route("DELETE", _MAPPING, federation.delete_mapping, "delete_mapping"),
    # the old names of /v3/auth/projects and /v3/auth/domains
    route("GET", "/v3/OS-FEDERATION/projects", auth_tokens.auth_projects, "get_auth_projects"),
    route("GET", "/v3/OS-FEDERATION/domains", auth_tokens.auth_domains, "get_auth_domains"),
)

EXTENSION_ROUTES: tuple[Route, ...] = (*_ENDPOINT_FILTERS, *_OAUTH1, *_DOMAIN_CONFIG, *_FEDERATION)
