"""Neutron's quotas: the shared counters, refused in Neutron's own words (409 OverQuota)."""

from __future__ import annotations

import sqlalchemy as sa

from trilith import errors
from trilith.commands import quota
from trilith.commands.addresses import insert_if_free
from trilith.commands.network_faults import OverQuota
from trilith.model.node import Quota, QuotaUse
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx, new_id

#: resources that are counted, by Neutron's names
RESOURCES = (
    "network",
    "subnet",
    "subnetpool",
    "port",
    "router",
    "floatingip",
    "rbac_policy",
    "security_group",
    "security_group_rule",
    "address_group",
    "trunk",
)


def charge(tx: Tx, project_id: str, resource: str, count: int = 1) -> None:
    """Count `count` more. Ports of the cloud itself (no project) are free. Raises OverQuota."""
    if not project_id or not count or _add(tx, project_id, resource, count):
        return
    # of two first uses at once only one makes the counter, and neither fails
    fresh = QuotaUse(id=new_id(), project_id=project_id, resource=resource)
    insert_if_free(tx, fresh)
    if not _add(tx, project_id, resource, count):
        raise OverQuota(f"Quota exceeded for resources: ['{resource}'].", field=resource)


def _add(tx: Tx, project_id: str, resource: str, count: int) -> bool:
    """One statement for limit and use: every creation passes here. False where it does not fit, or nothing is
    counted yet."""
    q, used = REGISTRY[Quota].table.c, REGISTRY[QuotaUse].table

    def set_for(project: str) -> sa.ScalarSelect[int]:
        return sa.select(q.limit).where(q.project_id == project, q.resource == resource).scalar_subquery()

    limit = sa.func.coalesce(set_for(project_id), set_for(quota.CLASS), quota.DEFAULTS[resource])
    fits = sa.or_(limit < 0, used.c.used + count <= limit)
    change = (
        sa.update(used)
        .where(used.c.project_id == project_id, used.c.resource == resource, fits)
        .values(used=used.c.used + count)
    )
    return bool(tx.conn.execute(change).rowcount == 1)


def refund(tx: Tx, project_id: str, resource: str, count: int = 1) -> None:
    if project_id and count:
        quota.free(tx, project_id, {resource: count})


def limits(reader: Reader, project_id: str) -> dict[str, int]:
    return quota.limits(reader, project_id, RESOURCES)


def used(reader: Reader, project_id: str) -> dict[str, int]:
    return quota.usage(reader, project_id, RESOURCES)


def set_limits(tx: Tx, project_id: str, wanted: dict[str, int]) -> None:
    """-1 is unlimited. Raises Invalid for a resource that is not counted."""
    for resource, limit in wanted.items():
        if resource not in RESOURCES:
            raise errors.Invalid(f"Unrecognized attribute(s) '{resource}'", field=resource)
        known = tx.first(Quota, project_id=project_id, resource=resource)
        if known is None:
            tx.add(Quota(id=new_id(), project_id=project_id, resource=resource, limit=limit))
        elif known.limit != limit:
            tx.change(known, limit=limit)


def reset(tx: Tx, project_id: str) -> None:
    """Back to the defaults. Missing when nothing was set."""
    gone = tx.remove_where(Quota, project_id=project_id, resource=RESOURCES)
    if not gone:
        raise errors.Missing(f"Quota for tenant {project_id} could not be found.")


def projects_with_limits(reader: Reader) -> list[str]:
    found = {q.project_id: None for q in reader.select(Quota, resource=RESOURCES) if ":" not in q.project_id}
    return list(found)
