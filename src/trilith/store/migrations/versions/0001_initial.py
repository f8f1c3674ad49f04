"""The tables of release 0.1.

Revision ID: 0001
"""

from __future__ import annotations

from trilith.store.migrations.columns import RECORD, index, table

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    table("access_rules", RECORD, "user_id:text service:text method:text path:text")
    index("access_rules_id", "access_rules", "id", unique=True)
    index("access_rules_user_id_service_method_path", "access_rules", "user_id service method path", unique=True)
    table(
        "access_tokens", RECORD, "consumer_id:text project_id:text user_id:text secret:text roles:text expires_at:real"
    )
    index("access_tokens_consumer_id", "access_tokens", "consumer_id")
    index("access_tokens_id", "access_tokens", "id", unique=True)
    index("access_tokens_project_id", "access_tokens", "project_id")
    index("access_tokens_user_id", "access_tokens", "user_id")
    table(
        "address_groups",
        RECORD,
        "name:text project_id:text description:text addresses:text generation:big applied_revision:big error:text",
    )
    index("address_groups_id", "address_groups", "id", unique=True)
    index("address_groups_pending", "address_groups", "seq", where="generation != applied_revision")
    index("address_groups_project_id", "address_groups", "project_id")
    table("address_scopes", RECORD, "name:text project_id:text ip_version:big shared:bool")
    index("address_scopes_id", "address_scopes", "id", unique=True)
    index("address_scopes_project_id", "address_scopes", "project_id")
    table("aggregates", RECORD, "name:text zone:text hosts:text metadata:text number:big")
    index("aggregates_dead", "aggregates", "deleted_at", where="deleted_at > 0")
    index("aggregates_id", "aggregates", "id", unique=True)
    index("aggregates_name_alive", "aggregates", "name", unique=True, where="deleted_at = 0")
    table("allocations", RECORD, "provider_id:text consumer_id:text resource_class:text used:big")
    index(
        "allocations_consumer_id_provider_id_resource_class",
        "allocations",
        "consumer_id provider_id resource_class",
        unique=True,
    )
    index("allocations_id", "allocations", "id", unique=True)
    index("allocations_provider_id", "allocations", "provider_id")
    table(
        "application_credentials",
        RECORD,
        "name:text user_id:text project_id:text secret:text description:text roles:text expires_at:real",
        "unrestricted:bool access_rules:text",
    )
    index("application_credentials_id", "application_credentials", "id", unique=True)
    index("application_credentials_user_id_name", "application_credentials", "user_id name", unique=True)
    table(
        "audit",
        "id:key at:real action:text user_id:text project_id:text credential_id:text trust_id:text request_id:text",
        "address:text targets:text",
    )
    index("audit_at", "audit", "at")
    table("auto_topologies", RECORD, "project_id:text network_id:text router_id:text")
    index("auto_topologies_id", "auto_topologies", "id", unique=True)
    index("auto_topologies_network_id", "auto_topologies", "network_id")
    index("auto_topologies_project_id", "auto_topologies", "project_id", unique=True)
    index("auto_topologies_router_id", "auto_topologies", "router_id")
    table("blob_references", RECORD, "sha256:text holder_kind:text holder_id:text store:text")
    index("blob_references_holder_id", "blob_references", "holder_id")
    index("blob_references_id", "blob_references", "id", unique=True)
    index(
        "blob_references_sha256_holder_kind_holder_id_store",
        "blob_references",
        "sha256 holder_kind holder_id store",
        unique=True,
    )
    table("boot_data", RECORD, "files:text vendor:text")
    index("boot_data_id", "boot_data", "id", unique=True)
    table(
        "cached_images", RECORD, "image_id:text node:text state:text sha256:text size:big hits:big last_accessed:real"
    )
    index("cached_images_id", "cached_images", "id", unique=True)
    index("cached_images_image_id_node", "cached_images", "image_id node", unique=True)
    index("cached_images_sha256", "cached_images", "sha256")
    table(
        "console_tokens",
        RECORD,
        "server_id:text project_id:text user_id:text kind:text node:text token_hash:text expires_at:real",
    )
    index("console_tokens_expires_at", "console_tokens", "expires_at")
    index("console_tokens_id", "console_tokens", "id", unique=True)
    index("console_tokens_server_id", "console_tokens", "server_id")
    index("console_tokens_token_hash", "console_tokens", "token_hash", unique=True)
    table("consumers", RECORD, "project_id:text user_id:text generation:big type:text")
    index("consumers_id", "consumers", "id", unique=True)
    index("consumers_project_id", "consumers", "project_id")
    table("consumers_oauth1", RECORD, "secret:text description:text extra:text")
    index("consumers_oauth1_id", "consumers_oauth1", "id", unique=True)
    table(
        "credentials", RECORD, "user_id:text type:text blob:text project_id:text app_credential_id:text used_step:big"
    )
    index("credentials_id", "credentials", "id", unique=True)
    index("credentials_project_id", "credentials", "project_id")
    index("credentials_user_id", "credentials", "user_id")
    table(
        "default_group_rules",
        RECORD,
        "direction:text ethertype:text protocol:text port_range_min:big port_range_max:big remote_ip_prefix:text",
        "remote_group_id:text remote_address_group_id:text description:text used_in_default:bool",
        "used_in_others:bool",
    )
    index("default_group_rules_id", "default_group_rules", "id", unique=True)
    table("dhcp_exclusions", RECORD, "network_id:text node:text")
    index("dhcp_exclusions_id", "dhcp_exclusions", "id", unique=True)
    index("dhcp_exclusions_network_id_node", "dhcp_exclusions", "network_id node", unique=True)
    table("domain_configs", RECORD, "options:text")
    index("domain_configs_id", "domain_configs", "id", unique=True)
    table("domains", RECORD, "name:text description:text enabled:bool tags:text options:text extra:text")
    index("domains_id", "domains", "id", unique=True)
    index("domains_name", "domains", "name", unique=True)
    table("endpoint_groups", RECORD, "name:text description:text filters:text")
    index("endpoint_groups_id", "endpoint_groups", "id", unique=True)
    table("endpoints", RECORD, "service_id:text interface:text region_id:text url:text enabled:bool extra:text")
    index("endpoints_id", "endpoints", "id", unique=True)
    index("endpoints_service_id", "endpoints", "service_id")
    table("federated_users", RECORD, "user_id:text idp_id:text protocol_id:text unique_id:text display_name:text")
    index("federated_users_id", "federated_users", "id", unique=True)
    index(
        "federated_users_idp_id_protocol_id_unique_id", "federated_users", "idp_id protocol_id unique_id", unique=True
    )
    index("federated_users_user_id", "federated_users", "user_id")
    table("federation_mappings", RECORD, "rules:text schema_version:text")
    index("federation_mappings_id", "federation_mappings", "id", unique=True)
    table("federation_protocols", RECORD, "idp_id:text name:text mapping_id:text remote_id_attribute:text")
    index("federation_protocols_id", "federation_protocols", "id", unique=True)
    index("federation_protocols_idp_id_name", "federation_protocols", "idp_id name", unique=True)
    index("federation_protocols_mapping_id", "federation_protocols", "mapping_id")
    table(
        "feed", "id:key txid:bigint at:real noun:text change:text uuid:text project_id:text revision:bigint version:int"
    )
    index("feed_order", "feed", "txid id")
    table(
        "flavors",
        RECORD,
        "name:text vcpus:big ram:big disk:big ephemeral:big swap:big public:bool disabled:bool rxtx_factor:real",
        "description:text extra_specs:text projects:text",
    )
    index("flavors_id", "flavors", "id", unique=True)
    index("flavors_name", "flavors", "name", unique=True)
    table(
        "floating_ips",
        RECORD,
        "project_id:text floating_network_id:text floating_ip_address:text floating_port_id:text",
        "floating_subnet_id:text description:text router_id:text port_id:text fixed_ip_address:text status:text",
        "dns_name:text dns_domain:text qos_policy_id:text tags:text",
    )
    index(
        "floating_ips_floating_network_id_floating_ip_address",
        "floating_ips",
        "floating_network_id floating_ip_address",
        unique=True,
    )
    index("floating_ips_id", "floating_ips", "id", unique=True)
    index("floating_ips_port_id", "floating_ips", "port_id")
    index("floating_ips_project_id", "floating_ips", "project_id")
    index("floating_ips_router_id", "floating_ips", "router_id")
    table("group_members", RECORD, "group_id:text user_id:text")
    index("group_members_group_id_user_id", "group_members", "group_id user_id", unique=True)
    index("group_members_id", "group_members", "id", unique=True)
    index("group_members_user_id", "group_members", "user_id")
    table("groups", RECORD, "name:text domain_id:text description:text extra:text")
    index("groups_domain_id_name", "groups", "domain_id name", unique=True)
    index("groups_id", "groups", "id", unique=True)
    table("id_ranges", RECORD, "base:big")
    index("id_ranges_base", "id_ranges", "base", unique=True)
    index("id_ranges_id", "id_ranges", "id", unique=True)
    table("idempotency_keys", RECORD, "user_id:text key:text fingerprint:text status:big answer:text")
    index("idempotency_keys_created_at", "idempotency_keys", "created_at")
    index("idempotency_keys_id", "idempotency_keys", "id", unique=True)
    index("idempotency_keys_user_id_key", "idempotency_keys", "user_id key", unique=True)
    table("identity_providers", RECORD, "domain_id:text description:text enabled:bool remote_ids:text")
    index("identity_providers_domain_id", "identity_providers", "domain_id")
    index("identity_providers_id", "identity_providers", "id", unique=True)
    table("image_members", RECORD, "image_id:text member_id:text status:text")
    index("image_members_id", "image_members", "id", unique=True)
    index("image_members_image_id_member_id", "image_members", "image_id member_id", unique=True)
    index("image_members_member_id", "image_members", "member_id")
    table(
        "images",
        RECORD,
        "name:text owner:text state:text visibility:text hidden:bool protected:bool disk_format:text",
        "container_format:text min_disk:big min_ram:big size:big virtual_size:big checksum:text hash_algo:text",
        "hash_value:text sha256:text stores:text locations:text imported:bool importing_to:text failed_import:text",
        "tags:text properties:text job_id:text uploader:text message:text",
    )
    index("images_dead", "images", "deleted_at", where="deleted_at > 0")
    index("images_id", "images", "id", unique=True)
    index("images_name", "images", "name")
    index("images_owner", "images", "owner")
    index("images_sha256", "images", "sha256")
    table("implied_roles", RECORD, "prior_id:text implied_id:text")
    index("implied_roles_id", "implied_roles", "id", unique=True)
    index("implied_roles_prior_id_implied_id", "implied_roles", "prior_id implied_id", unique=True)
    table(
        "instance_actions",
        RECORD,
        "server_id:text project_id:text user_id:text request_id:text action:text message:text job_id:text",
        "finished_at:real",
    )
    index("instance_actions_id", "instance_actions", "id", unique=True)
    index("instance_actions_job_id", "instance_actions", "job_id")
    index("instance_actions_server_id", "instance_actions", "server_id")
    table(
        "inventories",
        RECORD,
        "provider_id:text resource_class:text total:big reserved:big min_unit:big max_unit:big step_size:big",
        "allocation_ratio:real used:big",
    )
    index("inventories_id", "inventories", "id", unique=True)
    index("inventories_provider_id_resource_class", "inventories", "provider_id resource_class", unique=True)
    table("ip_addresses", RECORD, "subnet_id:text address:text port_id:text position:big")
    index("ip_addresses_address", "ip_addresses", "address")
    index("ip_addresses_id", "ip_addresses", "id", unique=True)
    index("ip_addresses_port_id", "ip_addresses", "port_id")
    index("ip_addresses_subnet_id_address", "ip_addresses", "subnet_id address", unique=True)
    index("ip_addresses_subnet_id_position", "ip_addresses", "subnet_id position")
    table(
        "job_steps",
        RECORD,
        "job_id:text idx:big name:text node:text result:text started_at:real finished_at:real note:text undo:bool",
    )
    index("job_steps_id", "job_steps", "id", unique=True)
    index("job_steps_job_id_idx", "job_steps", "job_id idx")
    table(
        "jobs",
        RECORD,
        "kind:text resource:text resource_id:text project_id:text user_id:text request_id:text state:text args:text",
        "args_version:big reached:text step:big steps_total:big progress:big epoch:big deadline:real cancel:bool",
        "after:text batch:text error:text finished_at:real",
    )
    index("jobs_finished_at", "jobs", "finished_at")
    index("jobs_id", "jobs", "id", unique=True)
    index("jobs_project_id", "jobs", "project_id")
    index("jobs_resource_id", "jobs", "resource_id")
    index("jobs_state", "jobs", "state")
    table("keypairs", RECORD, "name:text user_id:text public_key:text fingerprint:text type:text")
    index("keypairs_dead", "keypairs", "deleted_at", where="deleted_at > 0")
    index("keypairs_id", "keypairs", "id", unique=True)
    index("keypairs_user_id_name_alive", "keypairs", "user_id name", unique=True, where="deleted_at = 0")
    table(
        "limits", RECORD, "registered_limit_id:text resource_limit:big project_id:text domain_id:text description:text"
    )
    index("limits_domain_id", "limits", "domain_id")
    index("limits_id", "limits", "id", unique=True)
    index("limits_project_id", "limits", "project_id")
    index(
        "limits_registered_limit_id_project_id_domain_id",
        "limits",
        "registered_limit_id project_id domain_id",
        unique=True,
    )
    table("mac_addresses", RECORD, "network_id:text mac:text port_id:text")
    index("mac_addresses_id", "mac_addresses", "id", unique=True)
    index("mac_addresses_network_id_mac", "mac_addresses", "network_id mac", unique=True)
    index("mac_addresses_port_id", "mac_addresses", "port_id")
    table(
        "metadef_namespaces",
        RECORD,
        "namespace:text display_name:text description:text visibility:text protected:bool owner:text",
        "properties:text objects:text tags:text associations:text",
    )
    index("metadef_namespaces_id", "metadef_namespaces", "id", unique=True)
    index("metadef_namespaces_namespace", "metadef_namespaces", "namespace", unique=True)
    table("metadef_resource_types", RECORD, "name:text protected:bool")
    index("metadef_resource_types_id", "metadef_resource_types", "id", unique=True)
    index("metadef_resource_types_name", "metadef_resource_types", "name", unique=True)
    table(
        "migrations",
        RECORD,
        "server_id:text project_id:text user_id:text type:text status:text source_node:text dest_node:text",
        "job_id:text old_flavor:text new_flavor:text root:text old_root:text",
    )
    index("migrations_id", "migrations", "id", unique=True)
    index("migrations_job_id", "migrations", "job_id")
    index("migrations_server_id", "migrations", "server_id")
    table(
        "networks",
        RECORD,
        "name:text project_id:text description:text admin_up:bool shared:bool external:bool default:bool mtu:big",
        "network_type:text physical_network:text segmentation_id:big port_security:bool dns_domain:text",
        "zone_hints:text tags:text metadata_port_id:text metadata_mac:text qos_policy_id:text generation:big",
        "applied_revision:big error:text",
    )
    index("networks_id", "networks", "id", unique=True)
    index("networks_pending", "networks", "seq", where="generation != applied_revision")
    index("networks_project_id", "networks", "project_id")
    table(
        "nodes",
        RECORD,
        "name:text enabled:bool disabled_reason:text forced_down:bool alive:bool alive_at:real zone:text",
        "simulated:bool facts:text chassis:text epoch:big",
    )
    index("nodes_id", "nodes", "id", unique=True)
    index("nodes_name", "nodes", "name", unique=True)
    table(
        "pillar_figures",
        RECORD,
        "node:text pillar:text guest:text emulated:bool about:text host:text measured:text left_out:text",
        "measured_at:real",
    )
    index("pillar_figures_id", "pillar_figures", "id", unique=True)
    index("pillar_figures_node_pillar_guest_emulated", "pillar_figures", "node pillar guest emulated", unique=True)
    table("policy_blobs", RECORD, "blob:text type:text extra:text")
    index("policy_blobs_id", "policy_blobs", "id", unique=True)
    table(
        "port_forwardings",
        RECORD,
        "project_id:text floating_ip_id:text router_id:text protocol:text external_port:big internal_port:big",
        "internal_port_id:text internal_ip_address:text description:text",
    )
    index(
        "port_forwardings_floating_ip_id_protocol_external_port",
        "port_forwardings",
        "floating_ip_id protocol external_port",
        unique=True,
    )
    index("port_forwardings_id", "port_forwardings", "id", unique=True)
    index("port_forwardings_internal_port_id", "port_forwardings", "internal_port_id")
    index("port_forwardings_router_id", "port_forwardings", "router_id")
    table(
        "ports",
        RECORD,
        "name:text project_id:text network_id:text mac_address:text description:text admin_up:bool status:text",
        "fixed_ips:text device_id:text device_owner:text security_groups:text port_security:bool",
        "allowed_address_pairs:text dhcp_options:text dns_name:text dns_domain:text host:text vnic_type:text",
        "binding_profile:text tags:text created_by_server:bool propagate_uplink_status:bool qos_policy_id:text",
        "generation:big applied_revision:big error:text",
    )
    index("ports_device_id", "ports", "device_id")
    index("ports_id", "ports", "id", unique=True)
    index("ports_network_id", "ports", "network_id")
    index("ports_pending", "ports", "seq", where="generation != applied_revision")
    index("ports_project_id", "ports", "project_id")
    table("project_endpoint_groups", RECORD, "project_id:text endpoint_group_id:text")
    index("project_endpoint_groups_endpoint_group_id", "project_endpoint_groups", "endpoint_group_id")
    index("project_endpoint_groups_id", "project_endpoint_groups", "id", unique=True)
    index(
        "project_endpoint_groups_project_id_endpoint_group_id",
        "project_endpoint_groups",
        "project_id endpoint_group_id",
        unique=True,
    )
    table("project_endpoints", RECORD, "project_id:text endpoint_id:text")
    index("project_endpoints_endpoint_id", "project_endpoints", "endpoint_id")
    index("project_endpoints_id", "project_endpoints", "id", unique=True)
    index("project_endpoints_project_id_endpoint_id", "project_endpoints", "project_id endpoint_id", unique=True)
    table(
        "projects",
        RECORD,
        "name:text domain_id:text parent_id:text description:text enabled:bool tags:text options:text extra:text",
    )
    index("projects_domain_id_name", "projects", "domain_id name", unique=True)
    index("projects_id", "projects", "id", unique=True)
    index("projects_parent_id", "projects", "parent_id")
    table("provider_aggregates", RECORD, "aggregates:text")
    index("provider_aggregates_id", "provider_aggregates", "id", unique=True)
    table("provider_traits", RECORD, "traits:text")
    index("provider_traits_id", "provider_traits", "id", unique=True)
    table("qos_policies", RECORD, "name:text project_id:text description:text shared:bool default:bool tags:text")
    index("qos_policies_id", "qos_policies", "id", unique=True)
    index("qos_policies_project_id", "qos_policies", "project_id")
    table(
        "qos_rules",
        RECORD,
        "policy_id:text kind:text direction:text max_kbps:big min_kbps:big max_burst_kbps:big dscp_mark:big",
    )
    index("qos_rules_id", "qos_rules", "id", unique=True)
    index("qos_rules_policy_id", "qos_rules", "policy_id")
    table("quota_uses", RECORD, "project_id:text resource:text used:big parent_id:text")
    index("quota_uses_id", "quota_uses", "id", unique=True)
    index("quota_uses_project_id_resource", "quota_uses", "project_id resource", unique=True)
    table("quotas", RECORD, "project_id:text resource:text limit:big")
    index("quotas_id", "quotas", "id", unique=True)
    index("quotas_project_id_resource", "quotas", "project_id resource", unique=True)
    table("rbac_policies", RECORD, "project_id:text object_type:text object_id:text action:text target:text")
    index("rbac_policies_id", "rbac_policies", "id", unique=True)
    index("rbac_policies_object_id", "rbac_policies", "object_id")
    index("rbac_policies_target", "rbac_policies", "target")
    table("regions", RECORD, "description:text parent_region_id:text extra:text")
    index("regions_id", "regions", "id", unique=True)
    table(
        "registered_limits",
        RECORD,
        "service_id:text resource_name:text default_limit:big region_id:text description:text",
    )
    index("registered_limits_id", "registered_limits", "id", unique=True)
    index(
        "registered_limits_service_id_region_id_resource_name",
        "registered_limits",
        "service_id region_id resource_name",
        unique=True,
    )
    table(
        "request_tokens",
        RECORD,
        "consumer_id:text project_id:text secret:text expires_at:real user_id:text roles:text verifier:text",
    )
    index("request_tokens_consumer_id", "request_tokens", "consumer_id")
    index("request_tokens_expires_at", "request_tokens", "expires_at")
    index("request_tokens_id", "request_tokens", "id", unique=True)
    table("resource_classes", RECORD)
    index("resource_classes_id", "resource_classes", "id", unique=True)
    table("resource_providers", RECORD, "name:text generation:big parent_id:text root_id:text node_id:text")
    index("resource_providers_id", "resource_providers", "id", unique=True)
    index("resource_providers_name", "resource_providers", "name", unique=True)
    index("resource_providers_root_id", "resource_providers", "root_id")
    table("revocations", RECORD, "audit_id:text expires_at:real chain:bool")
    index("revocations_audit_id", "revocations", "audit_id")
    index("revocations_expires_at", "revocations", "expires_at")
    index("revocations_id", "revocations", "id", unique=True)
    table(
        "role_assignments",
        RECORD,
        "actor_kind:text actor_id:text target_kind:text target_id:text role_id:text inherited:bool",
    )
    index(
        "role_assignments_actor_id_target_id_role_id_inherited_actor_",
        "role_assignments",
        "actor_id target_id role_id inherited actor_kind target_kind",
        unique=True,
    )
    index("role_assignments_id", "role_assignments", "id", unique=True)
    index("role_assignments_role_id", "role_assignments", "role_id")
    index("role_assignments_target_id", "role_assignments", "target_id")
    table("roles", RECORD, "name:text domain_id:text description:text options:text extra:text")
    index("roles_domain_id_name", "roles", "domain_id name", unique=True)
    index("roles_id", "roles", "id", unique=True)
    table(
        "routers",
        RECORD,
        "name:text project_id:text description:text admin_up:bool external_network_id:text gateway_port_id:text",
        "enable_snat:bool routes:text zone_hints:text distributed:bool ha:bool tags:text generation:big",
        "applied_revision:big error:text",
    )
    index("routers_external_network_id", "routers", "external_network_id")
    index("routers_id", "routers", "id", unique=True)
    index("routers_pending", "routers", "seq", where="generation != applied_revision")
    index("routers_project_id", "routers", "project_id")
    table(
        "security_group_rules",
        RECORD,
        "project_id:text security_group_id:text direction:text ethertype:text protocol:text port_range_min:big",
        "port_range_max:big remote_ip_prefix:text remote_group_id:text remote_address_group_id:text",
        "description:text",
    )
    index("security_group_rules_id", "security_group_rules", "id", unique=True)
    index("security_group_rules_project_id", "security_group_rules", "project_id")
    index("security_group_rules_remote_group_id", "security_group_rules", "remote_group_id")
    index("security_group_rules_security_group_id", "security_group_rules", "security_group_id")
    table(
        "security_groups",
        RECORD,
        "name:text project_id:text description:text stateful:bool default:bool tags:text generation:big",
        "applied_revision:big error:text",
    )
    index("security_groups_id", "security_groups", "id", unique=True)
    index("security_groups_pending", "security_groups", "seq", where="generation != applied_revision")
    index("security_groups_project_id", "security_groups", "project_id")
    table(
        "security_logs",
        RECORD,
        "name:text project_id:text description:text resource_type:text resource_id:text target_id:text event:text",
        "enabled:bool",
    )
    index("security_logs_id", "security_logs", "id", unique=True)
    index("security_logs_project_id", "security_logs", "project_id")
    index("security_logs_resource_id", "security_logs", "resource_id")
    table("server_groups", RECORD, "name:text project_id:text user_id:text policy:text rules:text")
    index("server_groups_id", "server_groups", "id", unique=True)
    index("server_groups_project_id", "server_groups", "project_id")
    table(
        "servers",
        RECORD,
        "name:text project_id:text user_id:text hostname:text description:text state:text task:text power:text",
        "desired:text job_id:text pillar:text node:text zone:text zone_requested:text flavor:text old_flavor:text",
        "image_id:text image_sha256:text image_properties:text image_format:text identity:text metadata:text",
        "system_metadata:text tags:text key_name:text key_public:text user_data:text config_drive:bool",
        "disk_config:text security_groups:text fault:text locked:bool locked_by:text locked_reason:text reason:text",
        "progress:big launched_at:real terminated_at:real access_ipv4:text access_ipv6:text group_id:text",
        "reservation_id:text launch_index:big root_password_hash:text old_node:text rescue:text",
        "shelved_image_id:text shelved_at:real",
    )
    index("servers_dead", "servers", "deleted_at", where="deleted_at > 0")
    index("servers_id", "servers", "id", unique=True)
    index("servers_image_sha256", "servers", "image_sha256")
    index("servers_node", "servers", "node")
    index("servers_project_id_deleted_at_created_at", "servers", "project_id deleted_at created_at")
    index("servers_updated_at", "servers", "updated_at")
    table("services", RECORD, "name:text type:text description:text enabled:bool extra:text")
    index("services_id", "services", "id", unique=True)
    table("settings", "name:name value:text")
    table("sub_ports", RECORD, "trunk_id:text port_id:text segmentation_id:big segmentation_type:text")
    index("sub_ports_id", "sub_ports", "id", unique=True)
    index("sub_ports_port_id", "sub_ports", "port_id", unique=True)
    index("sub_ports_trunk_id_segmentation_id", "sub_ports", "trunk_id segmentation_id", unique=True)
    table(
        "subnet_pools",
        RECORD,
        "name:text project_id:text prefixes:text ip_version:big min_prefixlen:big max_prefixlen:big",
        "default_prefixlen:big default_quota:big address_scope_id:text description:text shared:bool default:bool",
        "tags:text",
    )
    index("subnet_pools_id", "subnet_pools", "id", unique=True)
    index("subnet_pools_project_id", "subnet_pools", "project_id")
    table(
        "subnets",
        RECORD,
        "name:text project_id:text network_id:text cidr:text ip_version:big gateway:text dhcp:bool dns:text",
        "pools:text routes:text description:text ipv6_address_mode:text ipv6_ra_mode:text subnetpool_id:text",
        "service_types:text tags:text dns_publish_fixed_ip:bool",
    )
    index("subnets_id", "subnets", "id", unique=True)
    index("subnets_network_id", "subnets", "network_id")
    index("subnets_project_id", "subnets", "project_id")
    table("traits", RECORD)
    index("traits_id", "traits", "id", unique=True)
    table("trunks", RECORD, "name:text project_id:text port_id:text description:text admin_up:bool tags:text")
    index("trunks_id", "trunks", "id", unique=True)
    index("trunks_port_id", "trunks", "port_id", unique=True)
    index("trunks_project_id", "trunks", "project_id")
    table(
        "trusts",
        RECORD,
        "trustor_user_id:text trustee_user_id:text impersonation:bool project_id:text roles:text expires_at:real",
        "remaining_uses:big redelegated_trust_id:text redelegation_count:big",
    )
    index("trusts_id", "trusts", "id", unique=True)
    index("trusts_project_id", "trusts", "project_id")
    index("trusts_trustee_user_id", "trusts", "trustee_user_id")
    index("trusts_trustor_user_id", "trusts", "trustor_user_id")
    table("used_nonces", RECORD, "expires_at:real")
    index("used_nonces_expires_at", "used_nonces", "expires_at")
    index("used_nonces_id", "used_nonces", "id", unique=True)
    table(
        "users",
        RECORD,
        "name:text domain_id:text enabled:bool email:text description:text default_project_id:text password:text",
        "password_at:real password_expires_at:real password_history:text failed_count:big failed_at:real",
        "options:text extra:text tokens_valid_from:real last_active_at:real",
    )
    index("users_domain_id_name", "users", "domain_id name", unique=True)
    index("users_id", "users", "id", unique=True)
    table(
        "volume_pools",
        RECORD,
        "node:text driver:text zone:text total:big free:big promised:big shared:bool enabled:bool absent:bool",
        "capabilities:text",
    )
    index("volume_pools_id", "volume_pools", "id", unique=True)
    index("volume_pools_node", "volume_pools", "node")
    table(
        "volume_snapshots",
        RECORD,
        "project_id:text user_id:text volume_id:text size:big name:text description:text state:text progress:big",
        "metadata:text job_id:text message:text",
    )
    index("volume_snapshots_dead", "volume_snapshots", "deleted_at", where="deleted_at > 0")
    index("volume_snapshots_id", "volume_snapshots", "id", unique=True)
    index("volume_snapshots_project_id", "volume_snapshots", "project_id")
    index("volume_snapshots_volume_id", "volume_snapshots", "volume_id")
    table("volume_types", RECORD, "name:text description:text public:bool extra_specs:text projects:text default:bool")
    index("volume_types_id", "volume_types", "id", unique=True)
    index("volume_types_name", "volume_types", "name", unique=True)
    table(
        "volumes",
        RECORD,
        "project_id:text user_id:text size:big name:text description:text state:text type_id:text zone:text",
        "pool:text bootable:bool multiattach:bool read_only:bool source_volume_id:text snapshot_id:text",
        "image_id:text metadata:text image_metadata:text job_id:text message:text reason:text",
    )
    index("volumes_dead", "volumes", "deleted_at", where="deleted_at > 0")
    index("volumes_id", "volumes", "id", unique=True)
    index("volumes_pool", "volumes", "pool")
    index("volumes_project_id", "volumes", "project_id")
    index("volumes_type_id", "volumes", "type_id")
