"""Identity v3 (Keystone's API): its one table of routes."""

from __future__ import annotations

from typing import Any

from trilith.api.http.openapi import document_route
from trilith.api.http.route import ANY, PUBLIC, Handler, Route, Service
from trilith.api.identity import (
    app_credentials,
    assignments,
    auth,
    auth_tokens,
    auth_wire,
    credentials,
    discovery,
    domains,
    grants,
    groups,
    legacy_policies,
    limits,
    projects,
    roles,
    services,
    trusts,
    users,
)
from trilith.api.identity.policy import POLICIES
from trilith.api.identity.wire import error_body


def _r(
    method: str,
    path: str,
    handler: Handler,
    policy: str = ANY,
    body: type[Any] | None = None,
    ok: int = 0,
    *,
    response: type[Any] | None = None,
) -> Route:
    """The usual success of a method, unless ok says else. policy: without its prefix "identity:"."""
    usual = {"POST": 201, "PUT": 204, "DELETE": 204}.get(method, 200)
    rule = policy if policy in (ANY, PUBLIC) else f"identity:{policy}"
    return Route(method, path, handler, rule, body=body, ok=ok or usual, response=response)


def _grants(target: str, suffix: str = "") -> tuple[Route, ...]:
    """The six calls of each actor on one target. The handlers check the policy: it needs the domains of both."""
    return tuple(
        route
        for actor in ("users/{user_id}", "groups/{group_id}")
        for route in (
            _r("GET", f"{target}/{actor}/roles{suffix}", grants.list_grants),
            _r("PUT", f"{target}/{actor}/roles/{{role_id}}{suffix}", grants.create),
            _r("GET", f"{target}/{actor}/roles/{{role_id}}{suffix}", grants.check, ok=204),
            _r("HEAD", f"{target}/{actor}/roles/{{role_id}}{suffix}", grants.check, ok=204),
            _r("DELETE", f"{target}/{actor}/roles/{{role_id}}{suffix}", grants.revoke),
        )
    )


_AUTH = (
    _r("GET", "", discovery.versions, PUBLIC, ok=300, response=discovery.Versions),
    _r("GET", "/v3", discovery.show_v3, PUBLIC, response=discovery.OneVersion),
    _r("POST", "/v3/auth/tokens", auth.create_token, PUBLIC, auth_wire.AuthRequest),
    _r("GET", "/v3/auth/tokens", auth_tokens.show_token),
    _r("DELETE", "/v3/auth/tokens", auth_tokens.revoke_token),
    _r("GET", "/v3/auth/catalog", auth_tokens.show_catalog, "get_auth_catalog"),
    _r("GET", "/v3/auth/projects", auth_tokens.auth_projects, "get_auth_projects"),
    _r("GET", "/v3/auth/domains", auth_tokens.auth_domains, "get_auth_domains"),
    _r("GET", "/v3/auth/system", auth_tokens.auth_system, "get_auth_system"),
)

_USERS = (
    _r("GET", "/v3/users", users.list_users),
    _r("POST", "/v3/users", users.create, body=users.UserBody),
    _r("GET", "/v3/users/{user_id}", users.show),
    _r("PATCH", "/v3/users/{user_id}", users.update, body=users.UserBody),
    _r("DELETE", "/v3/users/{user_id}", users.delete),
    _r("POST", "/v3/users/{user_id}/password", users.change_own_password, PUBLIC, users.PasswordBody, 204),
    _r("GET", "/v3/users/{user_id}/groups", users.list_groups),
    _r("GET", "/v3/users/{user_id}/projects", users.list_projects),
    _r("GET", "/v3/users/{user_id}/credentials/OS-EC2", credentials.list_ec2),
    _r("POST", "/v3/users/{user_id}/credentials/OS-EC2", credentials.create_ec2, body=credentials.Ec2Create),
    _r("GET", "/v3/users/{user_id}/credentials/OS-EC2/{access}", credentials.show_ec2),
    _r("DELETE", "/v3/users/{user_id}/credentials/OS-EC2/{access}", credentials.delete_ec2),
    _r("GET", "/v3/users/{user_id}/application_credentials", app_credentials.list_credentials),
    _r(
        "POST",
        "/v3/users/{user_id}/application_credentials",
        app_credentials.create,
        body=app_credentials.CreateBody,
    ),
    _r("GET", "/v3/users/{user_id}/application_credentials/{application_credential_id}", app_credentials.show),
    _r("DELETE", "/v3/users/{user_id}/application_credentials/{application_credential_id}", app_credentials.delete),
    _r("GET", "/v3/users/{user_id}/access_rules", app_credentials.list_rules),
    _r("GET", "/v3/users/{user_id}/access_rules/{access_rule_id}", app_credentials.show_rule),
    _r("DELETE", "/v3/users/{user_id}/access_rules/{access_rule_id}", app_credentials.delete_rule),
)

_GROUPS = (
    _r("GET", "/v3/groups", groups.list_groups),
    _r("POST", "/v3/groups", groups.create, body=groups.GroupBody),
    _r("GET", "/v3/groups/{group_id}", groups.show),
    _r("PATCH", "/v3/groups/{group_id}", groups.update, body=groups.GroupBody),
    _r("DELETE", "/v3/groups/{group_id}", groups.delete),
    _r("GET", "/v3/groups/{group_id}/users", groups.list_members),
    _r("GET", "/v3/groups/{group_id}/users/{user_id}", groups.check_member, ok=204),
    _r("HEAD", "/v3/groups/{group_id}/users/{user_id}", groups.check_member, ok=204),
    _r("PUT", "/v3/groups/{group_id}/users/{user_id}", groups.add),
    _r("DELETE", "/v3/groups/{group_id}/users/{user_id}", groups.remove),
)

_PROJECTS = (
    _r("GET", "/v3/projects", projects.list_projects),
    _r("POST", "/v3/projects", projects.create, body=projects.ProjectBody),
    _r("GET", "/v3/projects/{project_id}", projects.show),
    _r("PATCH", "/v3/projects/{project_id}", projects.update, body=projects.ProjectBody),
    _r("DELETE", "/v3/projects/{project_id}", projects.delete),
    _r("GET", "/v3/projects/{project_id}/tags", projects.list_tags),
    _r("PUT", "/v3/projects/{project_id}/tags", projects.replace_tags, body=projects.TagsBody, ok=200),
    _r("DELETE", "/v3/projects/{project_id}/tags", projects.delete_tags),
    _r("GET", "/v3/projects/{project_id}/tags/{value}", projects.check_tag, ok=204),
    _r("HEAD", "/v3/projects/{project_id}/tags/{value}", projects.check_tag, ok=204),
    _r("PUT", "/v3/projects/{project_id}/tags/{value}", projects.create_tag, ok=201),
    _r("DELETE", "/v3/projects/{project_id}/tags/{value}", projects.delete_tag),
    _r("GET", "/v3/domains", domains.list_domains),
    _r("POST", "/v3/domains", domains.create, "create_domain", domains.DomainBody),
    _r("GET", "/v3/domains/{domain_id}", domains.show),
    _r("PATCH", "/v3/domains/{domain_id}", domains.update, "update_domain", domains.DomainBody),
    _r("DELETE", "/v3/domains/{domain_id}", domains.delete, "delete_domain"),
)

_ROLES = (
    _r("GET", "/v3/roles", roles.list_roles),
    _r("POST", "/v3/roles", roles.create, body=roles.RoleBody),
    _r("GET", "/v3/roles/{role_id}", roles.show),
    _r("PATCH", "/v3/roles/{role_id}", roles.update, body=roles.RoleBody),
    _r("DELETE", "/v3/roles/{role_id}", roles.delete),
    _r("GET", "/v3/roles/{role_id}/implies", roles.list_implied, "list_implied_roles"),
    _r("PUT", "/v3/roles/{role_id}/implies/{implied_role_id}", roles.create_implied, "create_implied_role", ok=201),
    _r("GET", "/v3/roles/{role_id}/implies/{implied_role_id}", roles.show_implied, "get_implied_role"),
    _r("HEAD", "/v3/roles/{role_id}/implies/{implied_role_id}", roles.check_implied, "check_implied_role", ok=204),
    _r("DELETE", "/v3/roles/{role_id}/implies/{implied_role_id}", roles.delete_implied, "delete_implied_role"),
    _r("GET", "/v3/role_inferences", roles.list_inferences, "list_role_inference_rules"),
    _r("GET", "/v3/role_assignments", assignments.list_assignments),
    *_grants("/v3/projects/{project_id}"),
    *_grants("/v3/domains/{domain_id}"),
    *_grants("/v3/system"),
    *_grants("/v3/OS-INHERIT/projects/{project_id}", "/inherited_to_projects"),
    *_grants("/v3/OS-INHERIT/domains/{domain_id}", "/inherited_to_projects"),
)

_CATALOG = (
    _r("GET", "/v3/services", services.list_services, "list_services"),
    _r("POST", "/v3/services", services.create, "create_service", services.ServiceBody),
    _r("GET", "/v3/services/{service_id}", services.show, "get_service"),
    _r("PATCH", "/v3/services/{service_id}", services.update, "update_service", services.ServiceBody),
    _r("DELETE", "/v3/services/{service_id}", services.delete, "delete_service"),
    _r("GET", "/v3/regions", services.list_regions, "list_regions"),
    _r("POST", "/v3/regions", services.create_one_region, "create_region", services.RegionBody),
    _r("GET", "/v3/regions/{region_id}", services.show_region, "get_region"),
    _r("PUT", "/v3/regions/{region_id}", services.create_one_region, "create_region", services.RegionBody, 201),
    _r("PATCH", "/v3/regions/{region_id}", services.update_one_region, "update_region", services.RegionBody),
    _r("DELETE", "/v3/regions/{region_id}", services.delete_one_region, "delete_region"),
    _r("GET", "/v3/endpoints", services.list_endpoints, "list_endpoints"),
    _r("POST", "/v3/endpoints", services.create_one_endpoint, "create_endpoint", services.EndpointBody),
    _r("GET", "/v3/endpoints/{endpoint_id}", services.show_endpoint, "get_endpoint"),
    _r("PATCH", "/v3/endpoints/{endpoint_id}", services.update_one_endpoint, "update_endpoint", services.EndpointBody),
    _r("DELETE", "/v3/endpoints/{endpoint_id}", services.delete_one_endpoint, "delete_endpoint"),
)

_FURTHER = (
    _r("GET", "/v3/credentials", credentials.list_credentials),
    _r("POST", "/v3/credentials", credentials.create, body=credentials.CredentialBody),
    _r("GET", "/v3/credentials/{credential_id}", credentials.show),
    _r("PATCH", "/v3/credentials/{credential_id}", credentials.update, body=credentials.CredentialBody),
    _r("DELETE", "/v3/credentials/{credential_id}", credentials.delete),
    _r("GET", "/v3/OS-TRUST/trusts", trusts.list_trusts),
    _r("POST", "/v3/OS-TRUST/trusts", trusts.create, body=trusts.CreateBody),
    _r("GET", "/v3/OS-TRUST/trusts/{trust_id}", trusts.show),
    _r("DELETE", "/v3/OS-TRUST/trusts/{trust_id}", trusts.delete),
    _r("GET", "/v3/OS-TRUST/trusts/{trust_id}/roles", trusts.list_roles),
    _r("GET", "/v3/OS-TRUST/trusts/{trust_id}/roles/{role_id}", trusts.show_role),
    _r("GET", "/v3/policies", legacy_policies.list_policies, "list_policies"),
    _r("POST", "/v3/policies", legacy_policies.create, "create_policy", legacy_policies.PolicyBody),
    _r("GET", "/v3/policies/{policy_id}", legacy_policies.show, "get_policy"),
    _r("PATCH", "/v3/policies/{policy_id}", legacy_policies.update, "update_policy", legacy_policies.PolicyBody),
    _r("DELETE", "/v3/policies/{policy_id}", legacy_policies.delete, "delete_policy"),
    _r("GET", "/v3/registered_limits", limits.list_registered),
    _r(
        "POST",
        "/v3/registered_limits",
        limits.create_all_registered,
        "create_registered_limits",
        limits.RegisteredCreateBody,
    ),
    _r("GET", "/v3/registered_limits/{limit_id}", limits.show_registered),
    _r(
        "PATCH",
        "/v3/registered_limits/{limit_id}",
        limits.update_one_registered,
        "update_registered_limit",
        limits.RegisteredUpdateBody,
    ),
    _r("DELETE", "/v3/registered_limits/{limit_id}", limits.delete_one_registered, "delete_registered_limit"),
    _r("GET", "/v3/limits", limits.list_limits),
    _r("POST", "/v3/limits", limits.create_all, "create_limits", limits.LimitCreateBody),
    _r("GET", "/v3/limits/model", limits.model),
    _r("GET", "/v3/limits/{limit_id}", limits.show),
    _r("PATCH", "/v3/limits/{limit_id}", limits.update, "update_limit", limits.LimitUpdateBody),
    _r("DELETE", "/v3/limits/{limit_id}", limits.delete, "delete_limit"),
)

_ROUTES = (*_AUTH, *_USERS, *_GROUPS, *_PROJECTS, *_ROLES, *_CATALOG, *_FURTHER)

SERVICE = Service(
    name="identity",
    prefix="/identity",
    routes=(*_ROUTES, document_route("identity", "/identity", _ROUTES, error_body, "Identity API v3")),
    error_body=error_body,
    policies=POLICIES,
)
