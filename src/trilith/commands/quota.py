"""Quotas: conditional updates in the transaction of the change itself, so that two requests cannot both fit."""

from __future__ import annotations

import sqlalchemy as sa

from trilith import errors
from trilith.model.node import Quota, QuotaUse
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx, new_id

#: Nova's and Neutron's own defaults, by resource
DEFAULTS: dict[str, int] = {
    "instances": 10,
    "cores": 20,
    "ram": 51200,
    "metadata_items": 128,
    "key_pairs": 100,
    "server_groups": 10,
    "server_group_members": 10,
    "injected_files": -1,
    "injected_file_content_bytes": -1,
    "injected_file_path_bytes": -1,
    "network": 100,
    "subnet": 100,
    "subnetpool": -1,
    "port": 500,
    "router": 10,
    "floatingip": 50,
    "security_group": 10,
    "security_group_rule": 100,
    "rbac_policy": 10,
}

#: the project whose rows are the defaults (os-quota-class-sets/default)
CLASS = "class:default"


def limits(reader: Reader, project_id: str, resources: tuple[str, ...]) -> dict[str, int]:
    """The limit of each resource for a project; -1 is unlimited."""
    rows = reader.select(Quota, project_id=(project_id, CLASS), resource=resources)
    found = {r: DEFAULTS[r] for r in resources}
    for row in sorted(rows, key=lambda q: q.project_id != CLASS):
        found[row.resource] = row.limit
    return found


def usage(reader: Reader, project_id: str, resources: tuple[str, ...]) -> dict[str, int]:
    rows = reader.select(QuotaUse, project_id=project_id, resource=resources)
    return dict.fromkeys(resources, 0) | {row.resource: row.used for row in rows}


def use(tx: Tx, project_id: str, wanted: dict[str, int]) -> None:
    """Count `wanted` for the project. Raises QuotaExceeded naming the first resource that does not fit."""
    bounds = limits(tx, project_id, tuple(wanted))
    table = REGISTRY[QuotaUse].table
    for resource, amount in wanted.items():
        limit = bounds[resource]
        fits = sa.true() if limit < 0 or amount <= 0 else table.c.used + amount <= limit
        where = (table.c.project_id == project_id, table.c.resource == resource)
        change = sa.update(table).where(*where, fits).values(used=table.c.used + amount)
        if tx.conn.execute(change).rowcount == 1:
            continue
        used = usage(tx, project_id, (resource,))[resource]
        known = tx.first(QuotaUse, project_id=project_id, resource=resource)
        if known is None and (limit < 0 or amount <= limit):
            tx.add(QuotaUse(id=new_id(), project_id=project_id, resource=resource, used=amount))
            continue
        raise errors.QuotaExceeded(
            f"Quota exceeded for {resource}: Requested {amount}, but already used {used} of {limit} {resource}",
            field=resource,
        )


def free(tx: Tx, project_id: str, amounts: dict[str, int]) -> None:
    """Give back what `use` counted."""
    table = REGISTRY[QuotaUse].table
    for resource, amount in amounts.items():
        tx.conn.execute(
            sa.update(table)
            .where(table.c.project_id == project_id, table.c.resource == resource)
            .values(used=sa.case((table.c.used > amount, table.c.used - amount), else_=0))
        )
