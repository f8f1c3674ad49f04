"""Nova's quotas of a project, and those of the class `default` that hold where a project has none of its own."""

from __future__ import annotations

from trilith import errors
from trilith.commands import quota, unified_limits
from trilith.model.node import Quota
from trilith.model.server import KeyPair, ServerGroup
from trilith.store.tx import Reader, Tx, new_id

RESOURCES = (
    "instances",
    "cores",
    "ram",
    "metadata_items",
    "injected_files",
    "injected_file_content_bytes",
    "injected_file_path_bytes",
    "key_pairs",
    "server_groups",
    "server_group_members",
)
#: Nova's name of a network resource → the quota that counts it; shown until 2.35. Each port has its fixed addresses,
#: and Neutron limits ports
NETWORK = {
    "fixed_ips": "port",
    "floating_ips": "floatingip",
    "security_groups": "security_group",
    "security_group_rules": "security_group_rule",
}


def limits(reader: Reader, project_id: str) -> dict[str, int]:
    """By Nova's names."""
    found = quota.limits(reader, project_id, (*RESOURCES, *NETWORK.values()))
    shown = {name: found[name] for name in RESOURCES}
    return shown | {name: found[other] for name, other in NETWORK.items()}


def defaults(reader: Reader) -> dict[str, int]:
    return limits(reader, quota.CLASS)


def usage(reader: Reader, project_id: str, user_id: str = "") -> dict[str, int]:
    """user_id: servers of this user only. key_pairs are counted a user, as Nova does; what is never counted is 0."""
    counted = quota.usage(reader, project_id, ("instances", "cores", "ram", *NETWORK.values()))
    found = dict.fromkeys((*RESOURCES, *NETWORK), 0)
    for name in ("instances", "cores", "ram"):
        found[name] = counted[name]
    for name, other in NETWORK.items():
        found[name] = counted[other]
    found["server_groups"] = reader.count(ServerGroup, project_id=project_id)
    if user_id:
        found |= quota.user_usage(reader, project_id, user_id)
        found["key_pairs"] = reader.count(KeyPair, user_id=user_id)
    return found


def set_limits(tx: Tx, project_id: str, wanted: dict[str, int], *, force: bool = False) -> dict[str, int]:
    """Raises Invalid for a limit below what is in use, unless forced, and where Keystone's limits hold."""
    unified_limits.refuse_quota_sets(tx)
    if not force and project_id != quota.CLASS:
        used = usage(tx, project_id)
        for name, limit in wanted.items():
            if 0 <= limit < used[name]:
                raise errors.Invalid(
                    f"Quota limit {limit} for {name} must be greater than or equal to already used and reserved "
                    f"{used[name]}.",
                    field=name,
                )
    for name, limit in wanted.items():
        _keep(tx, project_id, NETWORK.get(name, name), limit)
    return limits(tx, project_id)


def limits_of_user(reader: Reader, project_id: str, user_id: str) -> dict[str, int]:
    """The user's own limits in the project, and the project's for what they have none of."""
    return limits(reader, project_id) | (quota.user_limits(reader, project_id, user_id) if user_id else {})


def set_user_limits(
    tx: Tx, project_id: str, user_id: str, wanted: dict[str, int], *, force: bool = False
) -> dict[str, int]:
    """Raises Invalid for a resource that users are not limited by, a limit over the project's, and unless forced one
    below what the user has."""
    unified_limits.refuse_quota_sets(tx)
    bounds, used = limits(tx, project_id), quota.user_usage(tx, project_id, user_id)
    for name, limit in wanted.items():
        if name not in quota.OF_USERS:
            raise errors.Invalid(
                f"A user cannot be limited by {name}.", hint=f"Only by {', '.join(quota.OF_USERS)}.", field=name
            )
        if force:
            continue
        if bounds[name] >= 0 and not 0 <= limit <= bounds[name]:
            raise errors.Invalid(
                f"Quota limit {limit} for {name} must be less than or equal to {bounds[name]}.", field=name
            )
        if 0 <= limit < used.get(name, 0):
            raise errors.Invalid(
                f"Quota limit {limit} for {name} must be greater than or equal to already used and reserved "
                f"{used[name]}.",
                field=name,
            )
    key = quota.of_user(project_id, user_id)
    for name, limit in wanted.items():
        _keep(tx, key, name, limit)
    return limits_of_user(tx, project_id, user_id)


def reset_user(tx: Tx, project_id: str, user_id: str) -> None:
    """The user has no limits of their own any more."""
    tx.remove_where(Quota, project_id=quota.of_user(project_id, user_id))


def _keep(tx: Tx, owner: str, resource: str, limit: int) -> None:
    known = tx.first(Quota, project_id=owner, resource=resource)
    if known is None:
        tx.add(Quota(id=new_id(), project_id=owner, resource=resource, limit=limit))
    elif known.limit != limit:
        tx.change(known, limit=limit)


def reset(tx: Tx, project_id: str) -> None:
    """Back to the defaults. Raises Invalid where Keystone's limits hold."""
    unified_limits.refuse_quota_sets(tx)
    tx.remove_where(Quota, project_id=project_id, resource=(*RESOURCES, *NETWORK.values()))
