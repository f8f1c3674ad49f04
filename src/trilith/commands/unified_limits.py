"""Nova's quotas by Keystone's limits: in force in place of os-quota-sets where the setting quota_driver is `unified`.

Source: Nova's admin guide "Manage Unified Limits Quotas" for the resources' names. Which driver holds is kept in the
database, so that every controller counts by the same one.
"""

from __future__ import annotations

from trilith import errors
from trilith.model.identity import Limit, RegisteredLimit, Service
from trilith.store.tx import Reader, Tx, new_id

_SETTING = "quota_driver"
DATABASE, UNIFIED = "database", "unified"
#: Nova's name of a quota → its name as a limit of Keystone
NAMES = {
    "instances": "servers",
    "cores": "class:VCPU",
    "ram": "class:MEMORY_MB",
    "disk_gb": "class:DISK_GB",
    "metadata_items": "server_metadata_items",
    "injected_files": "server_injected_files",
    "injected_file_content_bytes": "server_injected_file_content_bytes",
    "injected_file_path_bytes": "server_injected_file_path_bytes",
    "key_pairs": "server_key_pairs",
    "server_groups": "server_groups",
    "server_group_members": "server_group_members",
}
#: without a registered limit nothing of it can be had; of the others there is as much as one likes (Nova's
#: unified_limits_resource_strategy `require` with its default list)
_REQUIRED = frozenset({"instances"})


def enabled(reader: Reader) -> bool:
    return reader.setting(_SETTING) == UNIFIED


def limits(reader: Reader, project_id: str, resources: tuple[str, ...]) -> dict[str, int]:
    """The limits of those of `resources` that Nova has: the project's own, else the registered one."""
    wanted = {NAMES[r]: r for r in resources if r in NAMES}
    if not wanted:
        return {}
    services = [s.id for s in reader.select(Service, type="compute")]
    registered: dict[str, RegisteredLimit] = {}
    for row in reader.select(RegisteredLimit, service_id=services, resource_name=list(wanted)) if services else ():
        before = registered.get(row.resource_name)
        if before is None or not before.region_id:  # one of the region goes before one of all regions
            registered[row.resource_name] = row
    ids = [r.id for r in registered.values()]
    own = (
        {limit.registered_limit_id: limit.resource_limit
         for limit in reader.select(Limit, project_id=project_id, registered_limit_id=ids)}
        if ids else {}
    )  # fmt: skip
    found = {resource: 0 if resource in _REQUIRED else -1 for resource in wanted.values()}
    for name, row in registered.items():
        found[wanted[name]] = own.get(row.id, row.default_limit)
    return found


def refuse_quota_sets(reader: Reader) -> None:
    """Raises Invalid: a quota set would hold for nobody."""
    if enabled(reader):
        raise errors.Invalid(
            "This cloud counts by Keystone's limits; quota sets of compute cannot be changed.",
            hint="openstack limit create, or openstack registered limit set.",
        )


def choose(tx: Tx, driver: str, defaults: dict[str, int], region: str) -> None:
    """At every start: which driver holds. At the first start with `unified` the defaults become registered limits,
    as `nova-manage limits migrate_to_unified_limits` makes them. Raises Invalid for another driver."""
    if driver not in (DATABASE, UNIFIED):
        raise errors.Invalid(f"quota_driver: {driver!r} is neither {DATABASE} nor {UNIFIED}.", field="quota_driver")
    if tx.setting(_SETTING) == driver:
        return
    tx.set_setting(_SETTING, driver)
    service = tx.first(Service, type="compute")
    if driver == DATABASE or service is None:
        return
    known = {r.resource_name for r in tx.select(RegisteredLimit, service_id=service.id)}
    for resource, name in NAMES.items():
        if name not in known and resource in defaults:
            tx.add(
                RegisteredLimit(
                    id=new_id().replace("-", ""),
                    service_id=service.id,
                    resource_name=name,
                    default_limit=defaults[resource],
                    region_id=region,
                )
            )
