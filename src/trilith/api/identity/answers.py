"""What each handler answers, and which queries it takes: for the OpenAPI document."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import GenericAlias
from typing import Any

from msgspec import Struct, defstruct

from trilith.api.http.route import Handler
from trilith.api.identity import (
    app_credentials,
    assignments,
    auth,
    auth_tokens,
    catalog,
    credentials,
    domain_config,
    domains,
    endpoint_filters,
    federation,
    federation_auth,
    grants,
    groups,
    legacy_policies,
    limits,
    oauth1,
    projects,
    roles,
    services,
    trusts,
    users,
    views,
)
from trilith.api.identity.wire import Links, ListLinks


@dataclass(frozen=True, slots=True)
class Shown:
    response: Any
    query: tuple[str, ...] = ()


_PAGE = ("limit", "marker")


@functools.cache
def _type(name: str, *fields: tuple[str, Any]) -> type[Struct]:
    return defstruct(name, list(fields), module=__name__)


def _one(noun: str, view: Any, *query: str) -> Shown:
    name = "".join(word.title() for word in noun.split("_")) + "Answer"
    return Shown(_type(name, (noun, view)), query)


def _list(nouns: str, view: Any, *query: str) -> Shown:
    name = "".join(word.title() for word in nouns.split("_")) + "Answer"
    return Shown(_type(name, (nouns, GenericAlias(list, (view,))), ("links", ListLinks)), query)


def _page(nouns: str, view: Any, *filters: str) -> Shown:
    return _list(nouns, view, *_PAGE, *filters)


_USER, _USERS = _one("user", views.UserView), _list("users", views.UserView)
_GROUP, _GROUPS = _one("group", views.GroupView), _list("groups", views.GroupView)
_PROJECT = _one("project", views.ProjectView)
_PROJECTS = _list("projects", views.ProjectView)
_DOMAIN, _DOMAINS = _one("domain", views.DomainView), _list("domains", views.DomainView)
_ROLE, _ROLES = _one("role", views.RoleView), _list("roles", views.RoleView)
_SERVICE, _REGION = _one("service", views.ServiceView), _one("region", views.RegionView)
_ENDPOINT, _ENDPOINTS = _one("endpoint", views.EndpointView), _list("endpoints", views.EndpointView)
_CREDENTIAL = _one("credential", credentials.CredentialView)
_EC2 = Shown(_type("Ec2CredentialAnswer", ("credential", credentials.Ec2View)))
_APP = _one("application_credential", app_credentials.View)
_TRUST = _one("trust", trusts.View)
_POLICY = _one("policy", legacy_policies.View)
_REGISTERED = _one("registered_limit", limits.RegisteredView)
_LIMIT = _one("limit", limits.LimitView)
_CONSUMER = _one("consumer", oauth1.ConsumerView)
_ENDPOINT_GROUP = _one("endpoint_group", endpoint_filters.GroupView)
_PROVIDER = _one("identity_provider", federation.ProviderView)
_PROTOCOL = _one("protocol", federation.ProtocolView)
_MAPPING = _one("mapping", federation.MappingView)
_CONFIG = Shown(domain_config.ConfigBody)
_TOKEN = Shown(catalog.TokenAnswer, ("nocatalog",))
_TAGS = _list("tags", str)
_ENABLED = ("name", "enabled", "domain_id")


def _queried(shown: Shown, *query: str) -> Shown:
    return Shown(shown.response, query)


SHOWN: dict[Handler, Shown] = {
    auth.create_token: _TOKEN,
    federation_auth.authenticate: _TOKEN,
    auth_tokens.show_token: _TOKEN,
    auth_tokens.show_catalog: _list("catalog", catalog.CatalogEntry),
    auth_tokens.auth_projects: _PROJECTS,
    auth_tokens.auth_domains: _DOMAINS,
    auth_tokens.auth_system: _list("system", dict[str, bool]),
    users.create: _USER,
    users.show: _USER,
    users.update: _USER,
    users.list_users: _queried(_USERS, *_PAGE, *_ENABLED, "password_expires_at", "idp_id", "protocol_id", "unique_id"),
    users.list_groups: _queried(_GROUPS, "name", "domain_id"),
    users.list_projects: _queried(_PROJECTS, *_ENABLED, "parent_id"),
    groups.create: _GROUP,
    groups.show: _GROUP,
    groups.update: _GROUP,
    groups.list_groups: _queried(_GROUPS, *_PAGE, "name", "domain_id"),
    groups.list_members: _queried(_USERS, *_PAGE, "name", "enabled", "password_expires_at"),
    projects.create: _PROJECT,
    projects.show: _queried(_PROJECT, "parents_as_list", "subtree_as_list", "parents_as_ids", "subtree_as_ids"),
    projects.update: _PROJECT,
    projects.list_projects: _queried(
        _PROJECTS, *_PAGE, *_ENABLED, "parent_id", "is_domain", "tags", "tags-any", "not-tags", "not-tags-any"
    ),
    projects.list_tags: _TAGS,
    projects.replace_tags: _TAGS,
    domains.create: _DOMAIN,
    domains.show: _DOMAIN,
    domains.update: _DOMAIN,
    domains.list_domains: _queried(_DOMAINS, *_PAGE, "name", "enabled"),
    roles.create: _ROLE,
    roles.show: _ROLE,
    roles.update: _ROLE,
    roles.list_roles: _queried(_ROLES, *_PAGE, "name", "domain_id"),
    roles.create_implied: Shown(roles.OneInference),
    roles.show_implied: Shown(roles.OneInference),
    roles.list_implied: Shown(roles.PriorInferences),
    roles.list_inferences: Shown(
        _type("RoleInferencesAnswer", ("role_inferences", list[roles.Inferences]), ("links", Links))
    ),
    assignments.list_assignments: _list(
        "role_assignments",
        assignments.AssignmentView,
        "user.id",
        "group.id",
        "role.id",
        "scope.project.id",
        "scope.domain.id",
        "scope.system",
        "scope.OS-INHERIT:inherited_to",
        "effective",
        "include_names",
        "include_subtree",
    ),
    grants.list_grants: _ROLES,
    services.create: _SERVICE,
    services.show: _SERVICE,
    services.update: _SERVICE,
    services.list_services: _page("services", views.ServiceView, "name", "type"),
    services.create_one_region: _REGION,
    services.show_region: _REGION,
    services.update_one_region: _REGION,
    services.list_regions: _page("regions", views.RegionView, "parent_region_id"),
    services.create_one_endpoint: _ENDPOINT,
    services.show_endpoint: _ENDPOINT,
    services.update_one_endpoint: _ENDPOINT,
    services.list_endpoints: _queried(_ENDPOINTS, *_PAGE, "interface", "service_id", "region_id"),
    credentials.create: _CREDENTIAL,
    credentials.show: _CREDENTIAL,
    credentials.update: _CREDENTIAL,
    credentials.list_credentials: _page("credentials", credentials.CredentialView, "user_id", "type"),
    credentials.create_ec2: _EC2,
    credentials.show_ec2: _EC2,
    credentials.list_ec2: Shown(
        _type("Ec2CredentialsAnswer", ("credentials", list[credentials.Ec2View]), ("links", ListLinks))
    ),
    app_credentials.create: _APP,
    app_credentials.show: _APP,
    app_credentials.list_credentials: _page("application_credentials", app_credentials.View, "name"),
    app_credentials.show_rule: _one("access_rule", app_credentials.RuleView),
    app_credentials.list_rules: _page("access_rules", app_credentials.RuleView, "service", "path", "method"),
    trusts.create: _TRUST,
    trusts.show: _TRUST,
    trusts.list_trusts: _page("trusts", trusts.Summary, "trustor_user_id", "trustee_user_id"),
    trusts.list_roles: _ROLES,
    trusts.show_role: _ROLE,
    legacy_policies.create: _POLICY,
    legacy_policies.show: _POLICY,
    legacy_policies.update: _POLICY,
    legacy_policies.list_policies: _page("policies", legacy_policies.View, "type"),
    limits.create_all_registered: _list("registered_limits", limits.RegisteredView),
    limits.list_registered: _page(
        "registered_limits", limits.RegisteredView, "service_id", "region_id", "resource_name"
    ),
    limits.show_registered: _REGISTERED,
    limits.update_one_registered: _REGISTERED,
    limits.create_all: _list("limits", limits.LimitView),
    limits.list_limits: _page(
        "limits", limits.LimitView, "service_id", "region_id", "resource_name", "project_id", "domain_id"
    ),
    limits.show: _LIMIT,
    limits.update: _LIMIT,
    limits.model: Shown(limits.ModelBody),
    endpoint_filters.create: _ENDPOINT_GROUP,
    endpoint_filters.show: _ENDPOINT_GROUP,
    endpoint_filters.update: _ENDPOINT_GROUP,
    endpoint_filters.list_groups: _page("endpoint_groups", endpoint_filters.GroupView, "name"),
    endpoint_filters.project_groups: _list("endpoint_groups", endpoint_filters.GroupView),
    endpoint_filters.group_endpoints: _ENDPOINTS,
    endpoint_filters.project_endpoints: _ENDPOINTS,
    endpoint_filters.group_projects: _PROJECTS,
    endpoint_filters.endpoint_projects: _PROJECTS,
    endpoint_filters.show_group: _one("project_endpoint_group", endpoint_filters.ProjectGroupView),
    oauth1.create_consumer: _CONSUMER,
    oauth1.show_consumer: _CONSUMER,
    oauth1.update_consumer: _CONSUMER,
    oauth1.list_consumers: _page("consumers", oauth1.ConsumerView),
    oauth1.authorize: Shown(_type("VerifierAnswer", ("token", dict[str, str]))),
    oauth1.list_access_tokens: _page("access_tokens", oauth1.AccessTokenView),
    oauth1.show_access_token: _one("access_token", oauth1.AccessTokenView),
    oauth1.list_roles: _ROLES,
    oauth1.show_role: _ROLE,
    domain_config.show_default: _CONFIG,
    domain_config.show: _CONFIG,
    domain_config.put: _CONFIG,
    domain_config.update: _CONFIG,
    federation.create_provider: _PROVIDER,
    federation.show_provider: _PROVIDER,
    federation.update_provider: _PROVIDER,
    federation.list_providers: _page("identity_providers", federation.ProviderView, "id", "enabled"),
    federation.create_protocol: _PROTOCOL,
    federation.show_protocol: _PROTOCOL,
    federation.update_protocol: _PROTOCOL,
    federation.list_protocols: _page("protocols", federation.ProtocolView),
    federation.create_mapping: _MAPPING,
    federation.show_mapping: _MAPPING,
    federation.update_mapping: _MAPPING,
    federation.list_mappings: _page("mappings", federation.MappingView),
}
