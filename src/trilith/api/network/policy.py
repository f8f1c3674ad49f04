"""Neutron's policy rules by their own names, with the default roles (neutron/conf/policies)."""

from __future__ import annotations

from trilith.api.http.route import Policy

_ADMIN = "role:admin"
_MEMBER = "role:admin or (role:member and project_id:%(project_id)s)"
_READER = "role:admin or (role:reader and project_id:%(project_id)s)"

_NOUNS = (
    "network",
    "subnet",
    "port",
    "router",
    "floatingip",
    "security_group",
    "security_group_rule",
    "subnetpool",
    "address_scope",
    "rbac_policy",
    "address_group",
    "trunk",
    "floatingip_port_forwarding",
)
#: attributes that only administrators may set or see
_ADMIN_ONLY = (
    "create_network:shared",
    "create_network:router:external",
    "create_network:is_default",
    "create_network:provider:network_type",
    "create_network:provider:physical_network",
    "create_network:provider:segmentation_id",
    "update_network:shared",
    "update_network:router:external",
    "update_network:is_default",
    "update_network:provider:network_type",
    "get_network:provider:network_type",
    "create_subnet:service_types",
    "update_subnet:service_types",
    "create_port:binding:host_id",
    "create_port:binding:profile",
    "update_port:binding:host_id",
    "update_port:binding:profile",
    "get_port:binding:host_id",
    "create_router:external_gateway_info:external_fixed_ips",
    "update_router:external_gateway_info:external_fixed_ips",
    "create_router:external_gateway_info:enable_snat",
    "update_router:external_gateway_info:enable_snat",
    "create_router:distributed",
    "create_router:ha",
    "update_router:distributed",
    "update_router:ha",
    "create_dhcp-network",
    "delete_dhcp-network",
    "create_floatingip:floating_ip_address",
    "create_subnetpool:shared",
    "create_subnetpool:is_default",
    "update_subnetpool:is_default",
    "create_address_scope:shared",
    "update_address_scope:shared",
    "create_rbac_policy:target_project",
    "update_rbac_policy:target_project",
    "get_agent",
    "get_network_ip_availability",
    "get_dhcp-agents",
    "get_dhcp-networks",
    "get_l3-agents",
    "get_l3-routers",
    "update_quota",
    "delete_quota",
)

POLICIES: tuple[Policy, ...] = (
    Policy("context_is_admin", _ADMIN, "Sees every project's resources"),
    *(Policy(f"get_{noun}", _READER, f"Show {noun} resources") for noun in _NOUNS),
    *(Policy(f"{verb}_{noun}", _MEMBER, f"{verb.capitalize()} a {noun}")
      for noun in _NOUNS for verb in ("create", "update", "delete")),
    *(Policy(name, _ADMIN) for name in _ADMIN_ONLY),
    Policy("create_port:mac_address", _MEMBER),
    Policy("add_router_interface", _MEMBER),
    Policy("remove_router_interface", _MEMBER),
    Policy("add_extraroutes", _MEMBER),
    Policy("remove_extraroutes", _MEMBER),
    Policy("add_subports", _MEMBER),
    Policy("remove_subports", _MEMBER),
    Policy("get_quota", _READER),
    Policy("get_policy", _READER, "Show QoS policies and their rules"),
    *(Policy(f"{verb}_policy", _ADMIN, f"{verb.capitalize()} a QoS policy") for verb in ("create", "update", "delete")),
    Policy("get_rule_type", "role:admin or role:reader"),
    Policy("get_rule_type_details", _ADMIN),
    Policy("get_default_security_group_rule", "role:admin or role:reader"),
    Policy("create_default_security_group_rule", _ADMIN),
    Policy("delete_default_security_group_rule", _ADMIN),
    *(Policy(f"{verb}_log", _ADMIN, f"{verb.capitalize()} a log") for verb in ("get", "create", "update", "delete")),
    Policy("get_loggable_resource", _ADMIN),
    Policy("get_availability_zone", "role:admin or role:reader"),
)  # fmt: skip
