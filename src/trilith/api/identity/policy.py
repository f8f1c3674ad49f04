"""Keystone's policies, by its names and with its default roles.

A target's facts are named as Keystone names them: target.user.domain_id, target.project.id and so on.
"""

from __future__ import annotations

from trilith.api.http.route import Policy
from trilith.api.identity.extension_policy import EXTENSION_RULES

ADMIN = "rule:admin_required"
_SYSTEM_READER = "(role:reader and system_scope:all)"
_READ = f"{ADMIN} or {_SYSTEM_READER}"


def _domain_reader(noun: str) -> str:
    return f"(role:reader and domain_id:%(target.{noun}.domain_id)s)"


def _domain_manager(noun: str) -> str:
    return f"(role:manager and domain_id:%(target.{noun}.domain_id)s)"


def _reads(noun: str) -> str:
    return f"{_READ} or {_domain_reader(noun)}"


def _writes(noun: str) -> str:
    return f"{ADMIN} or {_domain_manager(noun)}"


_IN_DOMAIN = "(role:reader and domain_id:%(target.domain_id)s)"
_OWN_USER = "user_id:%(target.user.id)s"
_OWNER = "user_id:%(target.credential.user_id)s"
_GRANT_READ = (
    f"{_READ} or (role:reader and domain_id:%(target.actor.domain_id)s and domain_id:%(target.target.domain_id)s)"
)
#: a domain's manager hands on what a manager may: never admin
_GRANT_WRITE = (
    f"{ADMIN} or (role:manager and domain_id:%(target.actor.domain_id)s and domain_id:%(target.target.domain_id)s "
    "and ('manager':%(target.role.name)s or 'member':%(target.role.name)s or 'reader':%(target.role.name)s))"
)
_ROLE_READ = f"{_READ} or (role:manager and not domain_id:None)"

_RULES: dict[str, str] = {
    "admin_required": "role:admin",
    # tokens and scopes
    "identity:validate_token": f"{_READ} or role:service or user_id:%(target.token.user_id)s",
    "identity:check_token": f"{_READ} or role:service or user_id:%(target.token.user_id)s",
    "identity:revoke_token": f"{ADMIN} or user_id:%(target.token.user_id)s",
    "identity:get_auth_catalog": "",
    "identity:get_auth_projects": "",
    "identity:get_auth_domains": "",
    "identity:get_auth_system": "",
    # users
    "identity:get_user": f"{_reads('user')} or {_OWN_USER}",
    "identity:list_users": f"{_READ} or {_IN_DOMAIN}",
    "identity:create_user": _writes("user"),
    "identity:update_user": _writes("user"),
    "identity:delete_user": _writes("user"),
    "identity:list_projects_for_user": f"{_reads('user')} or {_OWN_USER}",
    "identity:list_groups_for_user": f"{_reads('user')} or {_OWN_USER}",
    # groups
    "identity:get_group": _reads("group"),
    "identity:list_groups": f"{_READ} or {_IN_DOMAIN}",
    "identity:create_group": _writes("group"),
    "identity:update_group": _writes("group"),
    "identity:delete_group": _writes("group"),
    "identity:list_users_in_group": _reads("group"),
    "identity:check_user_in_group": f"{_READ} or ({_domain_reader('group')} and {_domain_reader('user')})",
    "identity:add_user_to_group": f"{ADMIN} or ({_domain_manager('group')} and {_domain_manager('user')})",
    "identity:remove_user_from_group": f"{ADMIN} or ({_domain_manager('group')} and {_domain_manager('user')})",
    # projects
    "identity:get_project": f"{_reads('project')} or project_id:%(target.project.id)s",
    "identity:list_projects": f"{_READ} or {_IN_DOMAIN}",
    "identity:create_project": _writes("project"),
    "identity:update_project": _writes("project"),
    "identity:delete_project": _writes("project"),
    "identity:list_project_tags": f"{_reads('project')} or project_id:%(target.project.id)s",
    "identity:get_project_tag": f"{_reads('project')} or project_id:%(target.project.id)s",
    "identity:update_project_tags": f"{_writes('project')} or (role:admin and project_id:%(target.project.id)s)",
    "identity:create_project_tag": f"{_writes('project')} or (role:admin and project_id:%(target.project.id)s)",
    "identity:delete_project_tags": f"{_writes('project')} or (role:admin and project_id:%(target.project.id)s)",
    "identity:delete_project_tag": f"{_writes('project')} or (role:admin and project_id:%(target.project.id)s)",
    # domains
    "identity:get_domain": f"{_READ} or (role:reader and domain_id:%(target.domain.id)s) "
    "or project_domain_id:%(target.domain.id)s",
    "identity:list_domains": f"{_READ} or (role:reader and domain_id:%(target.domain_id)s)",
    "identity:create_domain": ADMIN,
    "identity:update_domain": ADMIN,
    "identity:delete_domain": ADMIN,
    # roles
    "identity:get_role": _ROLE_READ,
    "identity:list_roles": _ROLE_READ,
    "identity:create_role": ADMIN,
    "identity:update_role": ADMIN,
    "identity:delete_role": ADMIN,
    "identity:get_domain_role": _READ,
    "identity:list_domain_roles": _READ,
    "identity:create_domain_role": ADMIN,
    "identity:update_domain_role": ADMIN,
    "identity:delete_domain_role": ADMIN,
    "identity:get_implied_role": _READ,
    "identity:list_implied_roles": _READ,
    "identity:create_implied_role": ADMIN,
    "identity:delete_implied_role": ADMIN,
    "identity:list_role_inference_rules": _READ,
    "identity:check_implied_role": _READ,
    # grants
    "identity:check_grant": _GRANT_READ,
    "identity:list_grants": _GRANT_READ,
    "identity:create_grant": _GRANT_WRITE,
    "identity:revoke_grant": _GRANT_WRITE,
    "identity:list_role_assignments": f"{_READ} or {_IN_DOMAIN}",
    "identity:list_role_assignments_for_tree": f"{_READ} or (role:admin and project_id:%(target.project.id)s)",
    # services, regions, endpoints
    "identity:get_service": _READ,
    "identity:list_services": _READ,
    "identity:create_service": ADMIN,
    "identity:update_service": ADMIN,
    "identity:delete_service": ADMIN,
    "identity:get_region": "",
    "identity:list_regions": "",
    "identity:create_region": ADMIN,
    "identity:update_region": ADMIN,
    "identity:delete_region": ADMIN,
    "identity:get_endpoint": _READ,
    "identity:list_endpoints": _READ,
    "identity:create_endpoint": ADMIN,
    "identity:update_endpoint": ADMIN,
    "identity:delete_endpoint": ADMIN,
    # credentials
    "identity:get_credential": f"{_READ} or {_OWNER}",
    "identity:list_credentials": f"{_READ} or {_OWNER}",
    "identity:create_credential": f"{ADMIN} or {_OWNER}",
    "identity:update_credential": f"{ADMIN} or {_OWNER}",
    "identity:delete_credential": f"{ADMIN} or {_OWNER}",
    "identity:ec2_get_credential": f"{_READ} or {_OWNER}",
    "identity:ec2_list_credentials": f"{_READ} or {_OWN_USER}",
    "identity:ec2_create_credential": f"{ADMIN} or {_OWN_USER}",
    "identity:ec2_delete_credential": f"{ADMIN} or {_OWNER}",
    # application credentials: only their owner makes them
    "identity:get_application_credential": f"{_READ} or {_OWN_USER}",
    "identity:list_application_credentials": f"{_READ} or {_OWN_USER}",
    "identity:create_application_credential": _OWN_USER,
    "identity:delete_application_credential": f"{ADMIN} or {_OWN_USER}",
    "identity:get_access_rule": f"{_READ} or {_OWN_USER}",
    "identity:list_access_rules": f"{_READ} or {_OWN_USER}",
    "identity:delete_access_rule": f"{ADMIN} or {_OWN_USER}",
    # trusts
    "identity:create_trust": "user_id:%(target.trust.trustor_user_id)s",
    "identity:list_trusts": _READ,
    "identity:list_trusts_for_trustor": f"{_READ} or user_id:%(target.trust.trustor_user_id)s",
    "identity:list_trusts_for_trustee": f"{_READ} or user_id:%(target.trust.trustee_user_id)s",
    "identity:get_trust": f"{_READ} or user_id:%(target.trust.trustor_user_id)s "
    "or user_id:%(target.trust.trustee_user_id)s",
    "identity:delete_trust": f"{ADMIN} or user_id:%(target.trust.trustor_user_id)s",
    "identity:list_roles_for_trust": f"{_READ} or user_id:%(target.trust.trustor_user_id)s "
    "or user_id:%(target.trust.trustee_user_id)s",
    "identity:get_role_for_trust": f"{_READ} or user_id:%(target.trust.trustor_user_id)s "
    "or user_id:%(target.trust.trustee_user_id)s",
    # policies
    "identity:get_policy": _READ,
    "identity:list_policies": _READ,
    "identity:create_policy": ADMIN,
    "identity:update_policy": ADMIN,
    "identity:delete_policy": ADMIN,
    # limits
    "identity:get_limit_model": "",
    "identity:get_registered_limit": "",
    "identity:list_registered_limits": "",
    "identity:create_registered_limits": ADMIN,
    "identity:update_registered_limit": ADMIN,
    "identity:delete_registered_limit": ADMIN,
    "identity:get_limit": f"{_READ} or domain_id:%(target.limit.domain_id)s or project_id:%(target.limit.project_id)s "
    "or domain_id:%(target.limit.project.domain_id)s",
    "identity:list_limits": "",
    "identity:create_limits": ADMIN,
    "identity:update_limit": ADMIN,
    "identity:delete_limit": ADMIN,
}
for _what in ("user", "group"):
    _RULES |= {
        f"identity:list_system_grants_for_{_what}": _READ,
        f"identity:check_system_grant_for_{_what}": _READ,
        f"identity:create_system_grant_for_{_what}": ADMIN,
        f"identity:revoke_system_grant_for_{_what}": ADMIN,
    }

POLICIES: tuple[Policy, ...] = tuple(Policy(name, check) for name, check in (_RULES | EXTENSION_RULES).items())
