"""Endpoint groups, and which endpoints a project's catalogue shows."""

from __future__ import annotations

from typing import Any

from trilith import errors
from trilith.commands.identity_rules import hex_id
from trilith.model.identity import Endpoint, Project
from trilith.model.identity_extensions import EndpointGroup, ProjectEndpoint, ProjectEndpointGroup
from trilith.store.tx import Reader, Tx

FILTERS = ("service_id", "region_id", "interface")
#: project id → ids of the endpoints that its catalogue shows; a project that is not named has them all
Shown = dict[str, frozenset[str]]


def matching(group: EndpointGroup, endpoints: list[Endpoint]) -> list[Endpoint]:
    """Endpoints that have every value that the group's filters name; no filters match them all."""
    return [e for e in endpoints if all(getattr(e, name) == value for name, value in group.filters.items())]


def shown_endpoints(reader: Reader, endpoints: list[Endpoint]) -> Shown:
    """What each project that has a selection of its own is shown (Keystone's return_all_endpoints_if_no_filter)."""
    shown: dict[str, set[str]] = {}
    for one in reader.select(ProjectEndpoint):
        shown.setdefault(one.project_id, set()).add(one.endpoint_id)
    by_group = reader.select(ProjectEndpointGroup)
    groups = {g.id: g for g in reader.select(EndpointGroup)} if by_group else {}
    for held in by_group:
        found = matching(groups[held.endpoint_group_id], endpoints)
        shown.setdefault(held.project_id, set()).update(e.id for e in found)
    return {project: frozenset(ids) for project, ids in shown.items()}


def create_endpoint_group(tx: Tx, group: EndpointGroup) -> EndpointGroup:
    return tx.add(group)


def update_endpoint_group(tx: Tx, id: str, changes: dict[str, Any]) -> EndpointGroup:
    """Raises Missing."""
    group = tx.get(EndpointGroup, id)
    return tx.change(group, **changes) if changes else group


def delete_endpoint_group(tx: Tx, id: str) -> None:
    """Projects that it was given to lose it. Raises Missing."""
    group = tx.get(EndpointGroup, id)
    tx.remove_where(ProjectEndpointGroup, endpoint_group_id=id)
    tx.remove(group)


def add_endpoint(tx: Tx, project_id: str, endpoint_id: str) -> None:
    """Raises Missing, Conflict when the project has it."""
    tx.get(Project, project_id)
    tx.get(Endpoint, endpoint_id)
    tx.add(ProjectEndpoint(id=hex_id(), project_id=project_id, endpoint_id=endpoint_id))


def remove_endpoint(tx: Tx, project_id: str, endpoint_id: str) -> None:
    """Raises Missing."""
    if not tx.remove_where(ProjectEndpoint, project_id=project_id, endpoint_id=endpoint_id):
        raise errors.Missing(f"Endpoint {endpoint_id} not found in project {project_id}.")


def add_group(tx: Tx, project_id: str, group_id: str) -> None:
    """Raises Missing, Conflict when the project has it."""
    tx.get(Project, project_id)
    tx.get(EndpointGroup, group_id)
    tx.add(ProjectEndpointGroup(id=hex_id(), project_id=project_id, endpoint_group_id=group_id))


def remove_group(tx: Tx, project_id: str, group_id: str) -> None:
    """Raises Missing."""
    if not tx.remove_where(ProjectEndpointGroup, project_id=project_id, endpoint_group_id=group_id):
        raise errors.Missing(f"Endpoint group {group_id} not found in project {project_id}.")
