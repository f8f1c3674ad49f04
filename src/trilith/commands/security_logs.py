"""Logs of security groups: what their rules let through, and what their ports are refused (Neutron's logging)."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET, UnsetType

from trilith.commands.network_faults import (
    InvalidLogResourceType,
    InvalidResourceConstraint,
    ResourceNotFound,
    TargetResourceNotFound,
)
from trilith.commands.network_generation import bump
from trilith.model.network import Port, SecurityGroup
from trilith.model.network_access import SecurityLog
from trilith.store.tx import Reader, Tx, new_id

#: what can be logged
TYPES = ("security_group",)
EVENTS = ("ALL", "ACCEPT", "DROP")


def create(
    tx: Tx,
    *,
    project_id: str,
    resource_type: str,
    resource_id: str = "",
    target_id: str = "",
    event: str = "ALL",
    enabled: bool = True,
    name: str = "",
    description: str = "",
) -> SecurityLog:
    """Raises InvalidLogResourceType, ResourceNotFound (group), TargetResourceNotFound (port),
    InvalidResourceConstraint (the port is not in the group)."""
    if resource_type not in TYPES:
        raise InvalidLogResourceType(
            f"Invalid log resource_type: {resource_type}.", hint="Loggable is: security_group.", field="resource_type"
        )
    if resource_id and tx.find(SecurityGroup, resource_id) is None:
        raise ResourceNotFound(f"Resource {resource_id} could not be found.", field="resource_id")
    port = tx.find(Port, target_id) if target_id else None
    if target_id and port is None:
        raise TargetResourceNotFound(f"Target resource {target_id} could not be found.", field="target_id")
    if port is not None and resource_id and resource_id not in port.security_groups:
        raise InvalidResourceConstraint(
            f"Invalid resource constraint between resource (security_group, {resource_id}) and target resource "
            f"(port, {target_id}).",
            field="target_id",
        )
    log = tx.add(
        SecurityLog(
            id=new_id(),
            name=name,
            project_id=project_id,
            description=description,
            resource_type=resource_type,
            resource_id=resource_id,
            target_id=target_id,
            event=event,
            enabled=enabled,
        )
    )
    bump(tx, SecurityGroup, groups_of(tx, log))
    return log


def update(
    tx: Tx,
    log: SecurityLog,
    *,
    name: str | UnsetType = UNSET,
    description: str | UnsetType = UNSET,
    enabled: bool | UnsetType = UNSET,
) -> SecurityLog:
    given = {"name": name, "description": description, "enabled": enabled}
    changes = {f: v for f, v in given.items() if v is not UNSET and v != getattr(log, f)}
    if not changes:
        return log
    log = tx.change(log, **changes)
    if "enabled" in changes:
        bump(tx, SecurityGroup, groups_of(tx, log))
    return log


def delete(tx: Tx, log: SecurityLog) -> None:
    bump(tx, SecurityGroup, groups_of(tx, log))
    tx.remove(log)


def groups_of(reader: Reader, log: SecurityLog) -> list[str]:
    """The groups whose rules are logged."""
    if log.resource_id:
        return [log.resource_id]
    if log.target_id:
        port = reader.find(Port, log.target_id)
        return list(port.security_groups) if port else []
    return [g.id for g in reader.select(SecurityGroup, project_id=log.project_id)]


def of_groups(reader: Reader, ids: Sequence[str]) -> list[tuple[str, SecurityLog]]:
    """Each of the groups with each log that is on and means it, oldest first."""
    logs = reader.select(SecurityLog, enabled=True)
    wanted = set(ids)
    return [(group, log) for log in logs for group in groups_of(reader, log) if group in wanted]
