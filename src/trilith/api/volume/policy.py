"""Cinder's policy names with the default rules of its own policies."""

from __future__ import annotations

from trilith.api.http.route import Policy

_ADMIN = "role:admin"
_MEMBER = "role:admin or (role:member and project_id:%(project_id)s)"
_READER = "role:admin or (role:reader and project_id:%(project_id)s)"
_ANYONE = "@"

_RULES: dict[str, tuple[str, ...]] = {
    _MEMBER: (
        "volume:create", "volume:update", "volume:delete",
        "volume:update_volume_metadata", "volume:delete_volume_metadata", "volume:create_snapshot",
        "volume:update_snapshot", "volume:delete_snapshot", "volume:update_snapshot_metadata",
        "volume:delete_snapshot_metadata", "volume:extend", "volume:revert_to_snapshot",
        "volume_extension:volume_actions:set_bootable",
    ),
    _READER: (
        "volume:get", "volume:get_all", "volume:get_volume_metadata", "volume:get_snapshot", "volume:get_all_snapshots",
        "volume:get_snapshot_metadata", "volume_extension:quotas:show", "volume_extension:types_extra_specs:index",
        "volume_extension:types_extra_specs:show", "volume_extension:type_get", "volume_extension:type_get_all",
    ),
    _ADMIN: (
        "volume:force_delete", "volume_extension:volume_admin_actions:reset_status",
        "volume_extension:volume_admin_actions:force_delete", "volume_extension:snapshot_admin_actions:reset_status",
        "volume_extension:snapshot_admin_actions:force_delete", "volume_extension:volume_host_attribute",
        "volume_extension:type_create", "volume_extension:type_update", "volume_extension:type_delete",
        "volume_extension:types_extra_specs:create", "volume_extension:types_extra_specs:update",
        "volume_extension:types_extra_specs:delete", "volume_extension:volume_type_access:get_all_for_type",
        "volume_extension:add_project_access", "volume_extension:remove_project_access",
        "volume_extension:access_types_extra_specs", "volume_extension:quotas:update", "volume_extension:quotas:delete",
        "volume_extension:quota_classes", "scheduler_extension:scheduler_stats:get_pools",
        "volume_extension:services:index",
    ),
    _ANYONE: ("volume:availability_zone_list",),
}  # fmt: skip

POLICIES = tuple(Policy(name, rule) for rule, names in _RULES.items() for name in names)
