"""Clauses that both databases understand, for lists kept as JSON text, and who sees which network noun."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from trilith.model.network import AddressScope, Network, Port, Rbac, SecurityGroup, SubnetPool
from trilith.model.network_access import AddressGroup, DefaultRule
from trilith.model.network_qos import QosPolicy
from trilith.model.record import Actor, Record
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

#: RBAC actions by Neutron's names
SHARED = "access_as_shared"
EXTERNAL = "access_as_external"


_SHARED: dict[type[Record], str] = {
    SubnetPool: "subnetpool",
    AddressScope: "address_scope",
    QosPolicy: "qos_policy",
}


def has(reader: Reader, column: sa.ColumnElement[Any], value: str) -> sa.ColumnElement[bool]:
    """The JSON list in `column` holds the text `value`. LIKE would not do: SQLite's is blind to case."""
    needle = msgspec.json.encode(value).decode()
    find = sa.func.strpos if reader.conn.dialect.name == "postgresql" else sa.func.instr
    return find(sa.type_coerce(column, sa.Text), needle) > 0


def contains(reader: Reader, column: sa.ColumnElement[Any], part: str) -> sa.ColumnElement[bool]:
    find = sa.func.strpos if reader.conn.dialect.name == "postgresql" else sa.func.instr
    return find(sa.type_coerce(column, sa.Text), part) > 0


def _granted(object_type: str, project_id: str, *actions: str) -> sa.Select[Any]:
    t = REGISTRY[Rbac].table.c
    return sa.select(t.object_id).where(
        t.object_type == object_type, t.target.in_((project_id, "*")), t.action.in_(actions)
    )


def visible_networks(project_id: str) -> sa.ColumnElement[bool]:
    """Own, shared, external, and those given by RBAC."""
    t = REGISTRY[Network].table.c
    return sa.or_(
        t.project_id == project_id,
        t.shared.is_(True),
        t.external.is_(True),
        t.id.in_(_granted("network", project_id, SHARED, EXTERNAL)),
    )


def visible(cls: type[Record], actor: Actor) -> sa.ColumnElement[bool]:
    """What one who is no administrator may see of a noun."""
    project = actor.project_id
    table = REGISTRY[cls].table
    t = table.c
    if cls is Network:
        return visible_networks(project)
    networks = REGISTRY[Network].table.c
    if table.name == "subnets":
        return sa.or_(
            t.project_id == project, t.network_id.in_(sa.select(networks.id).where(visible_networks(project)))
        )
    if cls is Port:
        # the network's owner sees every port on it (Neutron's ADMIN_OR_NET_OWNER_READER)
        return sa.or_(t.project_id == project, t.network_id.in_(sa.select(networks.id).where(
            networks.project_id == project)))  # fmt: skip
    if cls is SecurityGroup:
        return sa.or_(t.project_id == project, t.id.in_(_granted("security_group", project, SHARED)))
    if table.name == "security_group_rules":
        groups = REGISTRY[SecurityGroup].table.c
        own = sa.select(groups.id).where(groups.project_id == project)
        return sa.or_(t.project_id == project, t.security_group_id.in_(own))
    if cls is AddressGroup:
        return sa.or_(t.project_id == project, t.id.in_(_granted("address_group", project, SHARED)))
    if cls is DefaultRule:
        return sa.true()
    if cls in _SHARED:
        kind = _SHARED[cls]
        return sa.or_(t.project_id == project, t.shared.is_(True), t.id.in_(_granted(kind, project, SHARED)))
    if cls is Rbac:
        return sa.or_(t.project_id == project, t.target == project)
    return t.project_id == project
