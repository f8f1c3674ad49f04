"""Quotas: conditional updates in the transaction of the change itself, so that two requests cannot both fit."""

from __future__ import annotations

import sqlalchemy as sa

from trilith import errors
from trilith.commands import unified_limits
from trilith.commands.addresses import insert_if_free
from trilith.model.node import Quota, QuotaUse
from trilith.model.server import Flavor, FlavorData, Server
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx, new_id

#: Nova's and Neutron's own defaults, by resource
DEFAULTS: dict[str, int] = {
    "instances": 10,
    "cores": 20,
    "ram": 51200,
    "disk_gb": -1,
    "metadata_items": 128,
    "key_pairs": 100,
    "server_groups": 10,
    "server_group_members": 10,
    "injected_files": 5,
    "injected_file_content_bytes": 10 * 1024,
    "injected_file_path_bytes": 255,
    "network": 100,
    "subnet": 100,
    "subnetpool": -1,
    "port": 500,
    "router": 10,
    "floatingip": 50,
    "security_group": 10,
    "security_group_rule": 100,
    "rbac_policy": 10,
    "address_group": -1,
    "volumes": 10,
    "snapshots": 10,
    "gigabytes": 1000,
    "per_volume_gigabytes": -1,
    "backups": 10,
    "backup_gigabytes": 1000,
    "groups": 10,
    "trunk": -1,
}

#: resources of one volume type, as in volumes_fast: unlimited until somebody says otherwise
OF_TYPES = ("volumes_", "gigabytes_", "snapshots_")
#: the project whose rows are the defaults (os-quota-class-sets/default)
CLASS = "class:default"


def limits(reader: Reader, project_id: str, resources: tuple[str, ...]) -> dict[str, int]:
    """The limit of each resource for a project; -1 is unlimited."""
    rows = reader.select(Quota, project_id=(project_id, CLASS), resource=resources)
    found = {r: DEFAULTS.get(r, -1) if r.startswith(OF_TYPES) else DEFAULTS[r] for r in resources}
    for row in sorted(rows, key=lambda q: q.project_id != CLASS):
        found[row.resource] = row.limit
    if unified_limits.enabled(reader):
        found |= unified_limits.limits(reader, project_id, resources)
    return found


def of_server(flavor: FlavorData | Flavor, count: int = 1) -> dict[str, int]:
    """What `count` servers of a flavor use. Disk is counted for Keystone's limits; quota sets have no such limit."""
    return {
        "instances": count,
        "cores": flavor.vcpus * count,
        "ram": flavor.ram * count,
        "disk_gb": (flavor.disk + flavor.ephemeral) * count,
    }


def growth(old: FlavorData, new: FlavorData | Flavor) -> dict[str, int]:
    """What a server uses more with another flavor."""
    before, after = of_server(old), of_server(new)
    return {name: max(0, after[name] - before[name]) for name in ("cores", "ram", "disk_gb")}


def usage(reader: Reader, project_id: str, resources: tuple[str, ...]) -> dict[str, int]:
    rows = reader.select(QuotaUse, project_id=project_id, resource=resources)
    return dict.fromkeys(resources, 0) | {row.resource: row.used for row in rows}


#: what a user of a project can be limited by beside the project itself; key pairs are counted a user anyway
OF_USERS = ("instances", "cores", "ram", "key_pairs")


def of_user(project_id: str, user_id: str) -> str:
    """In whose name a user's own limits in a project are kept."""
    return f"user:{project_id}:{user_id}"


def user_limits(reader: Reader, project_id: str, user_id: str) -> dict[str, int]:
    """Those that the user has of their own in the project; none where Keystone's limits hold, which know no users."""
    if unified_limits.enabled(reader):
        return {}
    rows = reader.select(Quota, project_id=of_user(project_id, user_id), resource=OF_USERS)
    return {row.resource: row.limit for row in rows}


def user_usage(reader: Reader, project_id: str, user_id: str) -> dict[str, int]:
    found = dict.fromkeys(("instances", "cores", "ram"), 0)
    for server in reader.select(Server, project_id=project_id, user_id=user_id):
        for name, amount in of_server(server.flavor).items():
            if name in found:
                found[name] += amount
    return found


def check_user(tx: Tx, project_id: str, user_id: str, wanted: dict[str, int]) -> None:
    """After `use` and before the servers are made: two requests of a project wait for each other at its counters.
    Raises QuotaExceeded."""
    bounds = {n: v for n, v in user_limits(tx, project_id, user_id).items() if v >= 0 and n in wanted}
    if not bounds:
        return
    used = user_usage(tx, project_id, user_id)
    for resource, limit in sorted(bounds.items()):
        if used[resource] + wanted[resource] > limit:
            raise errors.QuotaExceeded(
                f"Quota exceeded for {resource}: Requested {wanted[resource]}, but already used {used[resource]} of "
                f"the user's {limit} {resource}",
                field=resource,
            )


def lacking(reader: Reader, project_id: str, user_id: str, wanted: dict[str, int]) -> dict[str, tuple[int, int]]:
    """What `use` and `check_user` would refuse now: resource → (used, limit)."""
    names = tuple(wanted)
    found: dict[str, tuple[int, int]] = {}
    for bounds, used in (
        (limits(reader, project_id, names), usage(reader, project_id, names)),
        (user_limits(reader, project_id, user_id), user_usage(reader, project_id, user_id)),
    ):
        for name, limit in bounds.items():
            if limit >= 0 and name in used and wanted.get(name, 0) > 0 and used[name] + wanted[name] > limit:
                found.setdefault(name, (used[name], limit))
    return found


def use(tx: Tx, project_id: str, wanted: dict[str, int]) -> None:
    """Count `wanted` for the project. Raises QuotaExceeded naming the first resource that does not fit."""
    bounds = limits(tx, project_id, tuple(wanted))
    # in one order, so that two transactions cannot wait for each other
    done: dict[str, int] = {}
    for resource, amount in sorted(wanted.items()):
        limit = bounds[resource]
        if _count(tx, project_id, resource, amount, limit):
            done[resource] = amount
            continue
        # of two first uses at once only one makes the counter, and neither fails
        insert_if_free(tx, QuotaUse(id=new_id(), project_id=project_id, resource=resource))
        if _count(tx, project_id, resource, amount, limit):
            done[resource] = amount
            continue
        free(tx, project_id, done)  # the caller may ask for less in the same transaction
        used = usage(tx, project_id, (resource,))[resource]
        raise errors.QuotaExceeded(
            f"Quota exceeded for {resource}: Requested {amount}, but already used {used} of {limit} {resource}",
            field=resource,
        )


def _count(tx: Tx, project_id: str, resource: str, amount: int, limit: int) -> bool:
    """False where it does not fit, or nothing is counted yet."""
    table = REGISTRY[QuotaUse].table
    fits = sa.true() if limit < 0 or amount <= 0 else table.c.used + amount <= limit
    change = (
        sa.update(table)
        .where(table.c.project_id == project_id, table.c.resource == resource, fits)
        .values(used=table.c.used + amount)
    )
    return bool(tx.conn.execute(change).rowcount == 1)


def free(tx: Tx, project_id: str, amounts: dict[str, int]) -> None:
    """Give back what `use` counted."""
    table = REGISTRY[QuotaUse].table
    for resource, amount in sorted(amounts.items()):
        tx.conn.execute(
            sa.update(table)
            .where(table.c.project_id == project_id, table.c.resource == resource)
            .values(used=sa.case((table.c.used > amount, table.c.used - amount), else_=0))
        )
