"""Projects and the trees that they stand in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trilith import errors
from trilith.commands.identity_rules import check_changeable, check_deletable, erase_target, merged
from trilith.commands.roles import MAX_DEPTH, descendants, parents
from trilith.model.identity import DEFAULT_DOMAIN, Domain, Project
from trilith.store.tx import Tx

#: Keystone's max_tags of a project
MOST_TAGS = 80


def create_project(tx: Tx, project: Project, *, depth: int = MAX_DEPTH) -> Project:
    """parent_id "" is the domain; domain_id "" is the parent's. depth: levels of projects that there may be.

    Raises Missing for an unknown domain or parent, Invalid when they do not agree, Forbidden under a disabled or too
    deep parent, Conflict for a name taken in the domain.
    """
    parent = tx.find(Project, project.parent_id) if project.parent_id else None
    domain_id = project.domain_id or (parent.domain_id if parent else project.parent_id) or DEFAULT_DOMAIN
    domain = tx.get(Domain, domain_id)
    if project.parent_id and parent is None and project.parent_id != domain_id:
        if tx.find(Domain, project.parent_id) is None:
            raise errors.Missing(f"Could not find project: {project.parent_id}.")
        raise errors.Invalid("parent_id is another domain than domain_id.", field="parent_id")
    if parent is not None:
        if parent.domain_id != domain_id:
            raise errors.Invalid("The parent is in another domain.", field="parent_id")
        above = [parent, *parents(tx, parent)]
        if len(above) + 1 > depth:
            raise errors.Forbidden(f"Max hierarchy depth reached: a tree may have {depth} level(s) of projects.")
        if not all(p.enabled for p in above):
            raise errors.Forbidden("A project cannot be made in a branch with a disabled project.")
    if not domain.enabled:
        raise errors.Forbidden(f"Domain {domain.id} is disabled.")
    return tx.add(_placed(project, domain_id))


def _placed(project: Project, domain_id: str) -> Project:
    return replace(project, domain_id=domain_id, parent_id=project.parent_id or domain_id)


def update_project(tx: Tx, project_id: str, changes: dict[str, Any], *, cascade: bool = False) -> Project:
    """cascade: disabling takes the projects below along. Raises Missing, Forbidden, Invalid, Conflict."""
    project = tx.get(Project, project_id)
    changes = merged(project, changes)
    if changes.pop("domain_id", project.domain_id) != project.domain_id:
        raise errors.Invalid("The domain of a project cannot be changed.", field="domain_id")
    if changes.pop("parent_id", project.parent_id) != project.parent_id:
        raise errors.Forbidden("The parent of a project cannot be changed.", field="parent_id")
    check_changeable(project, changes)
    if changes.get("enabled") is False and project.enabled:
        below = [p for p in descendants(tx, project_id) if p.enabled]
        if below and not cascade:
            raise errors.Forbidden(
                f"Project {project_id} has enabled projects below it.", hint="Disable those first, or use ?cascade."
            )
        for child in below:
            tx.change(child, enabled=False)
    if changes.get("enabled") is True and not all(p.enabled for p in parents(tx, project)):
        raise errors.Forbidden(f"Project {project_id} has a disabled project above it.")
    return tx.change(project, **changes) if changes else project


def delete_project(tx: Tx, project_id: str, *, cascade: bool = False) -> None:
    """With its grants, credentials and delegations. Raises Missing, Forbidden when it has projects below."""
    project = tx.get(Project, project_id)
    check_deletable(project)
    below = descendants(tx, project_id)
    if below and not cascade:
        raise errors.Forbidden(f"Project {project_id} has projects below it.", hint="Delete those first.")
    if any(p.enabled for p in below):
        raise errors.Forbidden(f"Project {project_id} has enabled projects below it.", hint="Disable those first.")
    for gone in [*reversed(below), project]:
        check_deletable(gone)
        erase_target(tx, "project", gone.id)
        tx.remove(gone)


def set_tags(tx: Tx, project_id: str, tags: tuple[str, ...]) -> Project:
    """Raises Missing, Invalid for too many."""
    project = tx.get(Project, project_id)
    check_changeable(project, {"tags": tags})
    if len(tags) > MOST_TAGS:
        raise errors.Invalid(f"A project has at most {MOST_TAGS} tags.", field="tags")
    return project if tags == project.tags else tx.change(project, tags=tags)


def add_tag(tx: Tx, project_id: str, tag: str) -> Project:
    have = tx.get(Project, project_id).tags
    return set_tags(tx, project_id, have if tag in have else (*have, tag))


def remove_tag(tx: Tx, project_id: str, tag: str) -> Project:
    """Raises Missing when the project does not have it."""
    have = tx.get(Project, project_id).tags
    if tag not in have:
        raise errors.Missing(f"Could not find project tag: {tag}.")
    return set_tags(tx, project_id, tuple(t for t in have if t != tag))
