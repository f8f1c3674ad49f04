"""Identity v3 (Keystone's API): its one table of routes."""

from __future__ import annotations

from trilith.api.http.openapi import document_route
from trilith.api.http.route import PUBLIC, Route, Service
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
from trilith.api.identity.extension_routes import EXTENSION_ROUTES
from trilith.api.identity.policy import POLICIES
from trilith.api.identity.table import route
from trilith.api.identity.wire import error_body


def _grants(target: str, suffix: str = "") -> tuple[Route, ...]:
    """The six calls of each actor on one target. The handlers check the policy: it needs the domains of both."""
    return tuple(
        one
        for actor in ("users/{user_id}", "groups/{group_id}")
        for one in (
            route("GET", f"{target}/{actor}/roles{suffix}", grants.list_grants),
            route("PUT", f"{target}/{actor}/roles/{{role_id}}{suffix}", grants.create),
            route("GET", f"{target}/{actor}/roles/{{role_id}}{suffix}", grants.check, ok=204),
            route("HEAD", f"{target}/{actor}/roles/{{role_id}}{suffix}", grants.check, ok=204),
            route("DELETE", f"{target}/{actor}/roles/{{role_id}}{suffix}", grants.revoke),
        )
    )


_AUTH = (
    route("GET", "", discovery.versions, PUBLIC, ok=300, response=discovery.Versions),
    route("GET", "/v3", discovery.show_v3, PUBLIC, response=discovery.OneVersion),
    route("POST", "/v3/auth/tokens", auth.create_token, PUBLIC, auth_wire.AuthRequest),
    route("GET", "/v3/auth/tokens", auth_tokens.show_token),
    route("DELETE", "/v3/auth/tokens", auth_tokens.revoke_token),
    route("GET", "/v3/auth/catalog", auth_tokens.show_catalog, "get_auth_catalog"),
    route("GET", "/v3/auth/projects", auth_tokens.auth_projects, "get_auth_projects"),
    route("GET", "/v3/auth/domains", auth_tokens.auth_domains, "get_auth_domains"),
    route("GET", "/v3/auth/system", auth_tokens.auth_system, "get_auth_system"),
)

_USERS = (
    route("GET", "/v3/users", users.list_users),
    route("POST", "/v3/users", users.create, body=users.UserBody),
    route("GET", "/v3/users/{user_id}", users.show),
    route("PATCH", "/v3/users/{user_id}", users.update, body=users.UserBody),
    route("DELETE", "/v3/users/{user_id}", users.delete),
    route("POST", "/v3/users/{user_id}/password", users.change_own_password, PUBLIC, users.PasswordBody, 204),
    route("GET", "/v3/users/{user_id}/groups", users.list_groups),
    route("GET", "/v3/users/{user_id}/projects", users.list_projects),
    route("GET", "/v3/users/{user_id}/credentials/OS-EC2", credentials.list_ec2),
    route("POST", "/v3/users/{user_id}/credentials/OS-EC2", credentials.create_ec2, body=credentials.Ec2Create),
    route("GET", "/v3/users/{user_id}/credentials/OS-EC2/{access}", credentials.show_ec2),
    route("DELETE", "/v3/users/{user_id}/credentials/OS-EC2/{access}", credentials.delete_ec2),
    route("GET", "/v3/users/{user_id}/application_credentials", app_credentials.list_credentials),
    route(
        "POST",
        "/v3/users/{user_id}/application_credentials",
        app_credentials.create,
        body=app_credentials.CreateBody,
    ),
    route("GET", "/v3/users/{user_id}/application_credentials/{application_credential_id}", app_credentials.show),
    route("DELETE", "/v3/users/{user_id}/application_credentials/{application_credential_id}", app_credentials.delete),
    route("GET", "/v3/users/{user_id}/access_rules", app_credentials.list_rules),
    route("GET", "/v3/users/{user_id}/access_rules/{access_rule_id}", app_credentials.show_rule),
    route("DELETE", "/v3/users/{user_id}/access_rules/{access_rule_id}", app_credentials.delete_rule),
)

_GROUPS = (
    route("GET", "/v3/groups", groups.list_groups),
    route("POST", "/v3/groups", groups.create, body=groups.GroupBody),
    route("GET", "/v3/groups/{group_id}", groups.show),
    route("PATCH", "/v3/groups/{group_id}", groups.update, body=groups.GroupBody),
    route("DELETE", "/v3/groups/{group_id}", groups.delete),
    route("GET", "/v3/groups/{group_id}/users", groups.list_members),
    route("GET", "/v3/groups/{group_id}/users/{user_id}", groups.check_member, ok=204),
    route("HEAD", "/v3/groups/{group_id}/users/{user_id}", groups.check_member, ok=204),
    route("PUT", "/v3/groups/{group_id}/users/{user_id}", groups.add),
    route("DELETE", "/v3/groups/{group_id}/users/{user_id}", groups.remove),
)

_PROJECTS = (
    route("GET", "/v3/projects", projects.list_projects),
    route("POST", "/v3/projects", projects.create, body=projects.ProjectBody),
    route("GET", "/v3/projects/{project_id}", projects.show),
    route("PATCH", "/v3/projects/{project_id}", projects.update, body=projects.ProjectBody),
    route("DELETE", "/v3/projects/{project_id}", projects.delete),
    route("GET", "/v3/projects/{project_id}/tags", projects.list_tags),
    route("PUT", "/v3/projects/{project_id}/tags", projects.replace_tags, body=projects.TagsBody, ok=200),
    route("DELETE", "/v3/projects/{project_id}/tags", projects.delete_tags),
    route("GET", "/v3/projects/{project_id}/tags/{value}", projects.check_tag, ok=204),
    route("HEAD", "/v3/projects/{project_id}/tags/{value}", projects.check_tag, ok=204),
    route("PUT", "/v3/projects/{project_id}/tags/{value}", projects.create_tag, ok=201),
    route("DELETE", "/v3/projects/{project_id}/tags/{value}", projects.delete_tag),
    route("GET", "/v3/domains", domains.list_domains),
    route("POST", "/v3/domains", domains.create, "create_domain", domains.DomainBody),
    route("GET", "/v3/domains/{domain_id}", domains.show),
    route("PATCH", "/v3/domains/{domain_id}", domains.update, "update_domain", domains.DomainBody),
    route("DELETE", "/v3/domains/{domain_id}", domains.delete, "delete_domain"),
)

_ROLES = (
    route("GET", "/v3/roles", roles.list_roles),
    route("POST", "/v3/roles", roles.create, body=roles.RoleBody),
    route("GET", "/v3/roles/{role_id}", roles.show),
    route("PATCH", "/v3/roles/{role_id}", roles.update, body=roles.RoleBody),
    route("DELETE", "/v3/roles/{role_id}", roles.delete),
    route("GET", "/v3/roles/{role_id}/implies", roles.list_implied, "list_implied_roles"),
    route("PUT", "/v3/roles/{role_id}/implies/{implied_role_id}", roles.create_implied, "create_implied_role", ok=201),
    route("GET", "/v3/roles/{role_id}/implies/{implied_role_id}", roles.show_implied, "get_implied_role"),
    route("HEAD", "/v3/roles/{role_id}/implies/{implied_role_id}", roles.check_implied, "check_implied_role", ok=204),
    route("DELETE", "/v3/roles/{role_id}/implies/{implied_role_id}", roles.delete_implied, "delete_implied_role"),
    route("GET", "/v3/role_inferences", roles.list_inferences, "list_role_inference_rules"),
    route("GET", "/v3/role_assignments", assignments.list_assignments),
    *_grants("/v3/projects/{project_id}"),
    *_grants("/v3/domains/{domain_id}"),
    *_grants("/v3/system"),
    *_grants("/v3/OS-INHERIT/projects/{project_id}", "/inherited_to_projects"),
    *_grants("/v3/OS-INHERIT/domains/{domain_id}", "/inherited_to_projects"),
)

_CATALOG = (
    route("GET", "/v3/services", services.list_services, "list_services"),
    route("POST", "/v3/services", services.create, "create_service", services.ServiceBody),
    route("GET", "/v3/services/{service_id}", services.show, "get_service"),
    route("PATCH", "/v3/services/{service_id}", services.update, "update_service", services.ServiceBody),
    route("DELETE", "/v3/services/{service_id}", services.delete, "delete_service"),
    route("GET", "/v3/regions", services.list_regions, "list_regions"),
    route("POST", "/v3/regions", services.create_one_region, "create_region", services.RegionBody),
    route("GET", "/v3/regions/{region_id}", services.show_region, "get_region"),
    route("PUT", "/v3/regions/{region_id}", services.create_one_region, "create_region", services.RegionBody, 201),
    route("PATCH", "/v3/regions/{region_id}", services.update_one_region, "update_region", services.RegionBody),
    route("DELETE", "/v3/regions/{region_id}", services.delete_one_region, "delete_region"),
    route("GET", "/v3/endpoints", services.list_endpoints, "list_endpoints"),
    route("POST", "/v3/endpoints", services.create_one_endpoint, "create_endpoint", services.EndpointBody),
    route("GET", "/v3/endpoints/{endpoint_id}", services.show_endpoint, "get_endpoint"),
    route(
        "PATCH", "/v3/endpoints/{endpoint_id}", services.update_one_endpoint, "update_endpoint", services.EndpointBody
    ),
    route("DELETE", "/v3/endpoints/{endpoint_id}", services.delete_one_endpoint, "delete_endpoint"),
)

_FURTHER = (
    route("GET", "/v3/credentials", credentials.list_credentials),
    route("POST", "/v3/credentials", credentials.create, body=credentials.CredentialBody),
    route("GET", "/v3/credentials/{credential_id}", credentials.show),
    route("PATCH", "/v3/credentials/{credential_id}", credentials.update, body=credentials.CredentialBody),
    route("DELETE", "/v3/credentials/{credential_id}", credentials.delete),
    route("GET", "/v3/OS-TRUST/trusts", trusts.list_trusts),
    route("POST", "/v3/OS-TRUST/trusts", trusts.create, body=trusts.CreateBody),
    route("GET", "/v3/OS-TRUST/trusts/{trust_id}", trusts.show),
    route("DELETE", "/v3/OS-TRUST/trusts/{trust_id}", trusts.delete),
    route("GET", "/v3/OS-TRUST/trusts/{trust_id}/roles", trusts.list_roles),
    route("GET", "/v3/OS-TRUST/trusts/{trust_id}/roles/{role_id}", trusts.show_role),
    route("GET", "/v3/policies", legacy_policies.list_policies, "list_policies"),
    route("POST", "/v3/policies", legacy_policies.create, "create_policy", legacy_policies.PolicyBody),
    route("GET", "/v3/policies/{policy_id}", legacy_policies.show, "get_policy"),
    route("PATCH", "/v3/policies/{policy_id}", legacy_policies.update, "update_policy", legacy_policies.PolicyBody),
    route("DELETE", "/v3/policies/{policy_id}", legacy_policies.delete, "delete_policy"),
    route("GET", "/v3/registered_limits", limits.list_registered),
    route(
        "POST",
        "/v3/registered_limits",
        limits.create_all_registered,
        "create_registered_limits",
        limits.RegisteredCreateBody,
    ),
    route("GET", "/v3/registered_limits/{limit_id}", limits.show_registered),
    route(
        "PATCH",
        "/v3/registered_limits/{limit_id}",
        limits.update_one_registered,
        "update_registered_limit",
        limits.RegisteredUpdateBody,
    ),
    route("DELETE", "/v3/registered_limits/{limit_id}", limits.delete_one_registered, "delete_registered_limit"),
    route("GET", "/v3/limits", limits.list_limits),
    route("POST", "/v3/limits", limits.create_all, "create_limits", limits.LimitCreateBody),
    route("GET", "/v3/limits/model", limits.model),
    route("GET", "/v3/limits/{limit_id}", limits.show),
    route("PATCH", "/v3/limits/{limit_id}", limits.update, "update_limit", limits.LimitUpdateBody),
    route("DELETE", "/v3/limits/{limit_id}", limits.delete, "delete_limit"),
)

_ROUTES = (*_AUTH, *_USERS, *_GROUPS, *_PROJECTS, *_ROLES, *_CATALOG, *_FURTHER, *EXTENSION_ROUTES)

SERVICE = Service(
    name="identity",
    prefix="/identity",
    routes=(*_ROUTES, document_route("identity", "/identity", _ROUTES, error_body, "Identity API v3")),
    error_body=error_body,
    policies=POLICIES,
)
