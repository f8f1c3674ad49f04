"""Which roles a user really has on a target: direct, by group, inherited down the project tree, implied."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from trilith.model.identity import GroupMember, ImpliedRole, Project, Role, RoleAssignment
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

#: the depth bound of project trees (Keystone's max_project_tree_depth)
MAX_DEPTH = 5
SYSTEM = "system"

#: role id → ids of the roles that it implies directly
Rules = Mapping[str, frozenset[str]]


def ancestors(reader: Reader, project: Project) -> list[str]:
    """Ids of parent projects, nearest first, and at last the domain."""
    return [*(p.id for p in parents(reader, project)), project.domain_id]


def parents(reader: Reader, project: Project) -> list[Project]:
    """Parent projects, nearest first."""
    found: list[Project] = []
    current = project
    for _ in range(MAX_DEPTH + 1):
        if current.parent_id in ("", current.domain_id):
            break
        parent = reader.find(Project, current.parent_id)
        if parent is None:
            break
        found.append(parent)
        current = parent
    return found


def descendants(reader: Reader, project_id: str) -> list[Project]:
    """All projects below, nearest first: one query a level of the tree."""
    found: list[Project] = []
    level = [project_id]
    for _ in range(MAX_DEPTH + 1):
        below = reader.select(Project, parent_id=level) if level else []
        found += below
        level = [p.id for p in below]
    return found


def implied_rules(reader: Reader) -> dict[str, frozenset[str]]:
    rules: dict[str, set[str]] = {}
    for rule in reader.select(ImpliedRole):
        rules.setdefault(rule.prior_id, set()).add(rule.implied_id)
    return {prior: frozenset(implied) for prior, implied in rules.items()}


def closure(rules: Rules, role_ids: Iterable[str]) -> set[str]:
    """The roles and all that they imply, directly or not."""
    closed = set(role_ids)
    todo = list(closed)
    while todo:
        for implied in rules.get(todo.pop(), ()):
            if implied not in closed:
                closed.add(implied)
                todo.append(implied)
    return closed


def implied_closure(reader: Reader, role_ids: set[str]) -> set[str]:
    return closure(implied_rules(reader), role_ids)


@functools.cache
def _given_to() -> sa.Select[Any]:
    """Built once: every token asks, and building it costs more than running it."""
    table, m = REGISTRY[RoleAssignment].table, REGISTRY[GroupMember].table.c
    user: sa.BindParameter[str] = sa.bindparam("user_id")
    groups = sa.select(m.group_id).where(m.user_id == user)
    return sa.select(table).where(sa.or_(table.c.actor_id == user, table.c.actor_id.in_(groups))).order_by(table.c.seq)


def given_to(reader: Reader, user_id: str, groups: Sequence[str] = ()) -> list[RoleAssignment]:
    """Every assignment of the user and of the user's groups, in one query.

    groups: further ones that the user is in for now, by what an identity provider said.
    """
    fields = REGISTRY[RoleAssignment].fields
    rows = reader.conn.execute(_given_to(), {"user_id": user_id})
    found = [RoleAssignment(**dict(zip(fields, row, strict=True))) for row in rows]
    if groups:
        had = {a.id for a in found}
        found += [a for a in reader.select(RoleAssignment, actor_kind="group", actor_id=groups) if a.id not in had]
    return found


def assigned(
    reader: Reader,
    user_id: str,
    *,
    project: Project | None = None,
    domain_id: str = "",
    system: bool = False,
    groups: Sequence[str] = (),
) -> set[str]:
    """Ids of the roles assigned on one target, inherited ones included, implied ones not."""
    given = given_to(reader, user_id, groups)
    if system:
        return {a.role_id for a in given if a.target_kind == SYSTEM and not a.inherited}
    if project is not None:
        above = set(ancestors(reader, project)) if any(a.inherited for a in given) else set()
        return {
            a.role_id
            for a in given
            if (a.inherited and a.target_id in above)
            or (a.target_kind == "project" and a.target_id == project.id and not a.inherited)
        }
    if domain_id:
        return {a.role_id for a in given if a.target_kind == "domain" and a.target_id == domain_id and not a.inherited}
    return set()


def effective_roles(
    reader: Reader, user_id: str, *, project: Project | None = None, domain_id: str = "", system: bool = False
) -> list[Role]:
    """Roles on one target, implied ones included, by name. Empty when there is none."""
    ids = assigned(reader, user_id, project=project, domain_id=domain_id, system=system)
    if not ids:
        return []
    return sorted(
        (r for r in reader.select(Role, id=implied_closure(reader, ids)) if not r.domain_id), key=lambda r: r.name
    )
