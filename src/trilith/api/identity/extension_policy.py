"""The policies of Keystone's extensions, by its names."""

from __future__ import annotations

ADMIN = "rule:admin_required"
_READ = f"{ADMIN} or (role:reader and system_scope:all)"
_OWN_USER = "user_id:%(target.user.id)s"

EXTENSION_RULES: dict[str, str] = {
    # endpoint filters
    "identity:list_endpoint_groups": _READ,
    "identity:get_endpoint_group": _READ,
    "identity:create_endpoint_group": ADMIN,
    "identity:update_endpoint_group": ADMIN,
    "identity:delete_endpoint_group": ADMIN,
    "identity:list_projects_associated_with_endpoint_group": _READ,
    "identity:list_endpoints_associated_with_endpoint_group": _READ,
    "identity:get_endpoint_group_in_project": _READ,
    "identity:list_endpoint_groups_for_project": _READ,
    "identity:add_endpoint_group_to_project": ADMIN,
    "identity:remove_endpoint_group_from_project": ADMIN,
    "identity:list_projects_for_endpoint": _READ,
    "identity:add_endpoint_to_project": ADMIN,
    "identity:check_endpoint_in_project": _READ,
    "identity:list_endpoints_for_project": _READ,
    "identity:remove_endpoint_from_project": ADMIN,
    # OAuth 1.0a
    "identity:get_consumer": _READ,
    "identity:list_consumers": _READ,
    "identity:create_consumer": ADMIN,
    "identity:update_consumer": ADMIN,
    "identity:delete_consumer": ADMIN,
    "identity:authorize_request_token": "",
    "identity:list_access_tokens": f"{_READ} or {_OWN_USER}",
    "identity:get_access_token": f"{_READ} or {_OWN_USER}",
    "identity:list_access_token_roles": f"{_READ} or {_OWN_USER}",
    "identity:get_access_token_role": f"{_READ} or {_OWN_USER}",
    "identity:delete_access_token": f"{ADMIN} or {_OWN_USER}",
    # a domain's configuration
    "identity:get_domain_config": _READ,
    "identity:get_security_compliance_domain_config": "",
    "identity:get_domain_config_default": _READ,
    "identity:create_domain_config": ADMIN,
    "identity:update_domain_config": ADMIN,
    "identity:delete_domain_config": ADMIN,
    # federation
    "identity:create_identity_provider": ADMIN,
    "identity:list_identity_providers": _READ,
    "identity:get_identity_provider": _READ,
    "identity:update_identity_provider": ADMIN,
    "identity:delete_identity_provider": ADMIN,
    "identity:create_protocol": ADMIN,
    "identity:update_protocol": ADMIN,
    "identity:get_protocol": _READ,
    "identity:list_protocols": _READ,
    "identity:delete_protocol": ADMIN,
    "identity:create_mapping": ADMIN,
    "identity:get_mapping": _READ,
    "identity:list_mappings": _READ,
    "identity:update_mapping": ADMIN,
    "identity:delete_mapping": ADMIN,
}
