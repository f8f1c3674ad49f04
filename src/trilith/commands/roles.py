"""Which roles a user really has on a target: direct, by group, inherited down the project tree, implied."""

from __future__ import annotations

from trilith.model.identity import GroupMember, ImpliedRole, Project, Role, RoleAssignment
from trilith.store.tx import Reader

#: the depth bound of project trees (Keystone's max_project_tree_depth)
MAX_DEPTH = 5


def ancestors(reader: Reader, project: Project) -> list[str]:
    """Ids of parent projects, nearest first, and at last the domain."""
    found: list[str] = []
    current = project
    for _ in range(MAX_DEPTH + 1):
        if current.parent_id in ("", current.domain_id):
            break
        found.append(current.parent_id)
        parent = reader.find(Project, current.parent_id)
        if parent is None:
            break
        current = parent
    return [*found, project.domain_id]


def implied_closure(reader: Reader, role_ids: set[str]) -> set[str]:
    rules: dict[str, set[str]] = {}
    for rule in reader.select(ImpliedRole):
        rules.setdefault(rule.prior_id, set()).add(rule.implied_id)
    closed, todo = set(role_ids), list(role_ids)
    while todo:
        for implied in rules.get(todo.pop(), ()):
            if implied not in closed:
                closed.add(implied)
                todo.append(implied)
    return closed


def effective_roles(
    reader: Reader, user_id: str, *, project: Project | None = None, domain_id: str = "", system: bool = False
) -> list[Role]:
    """Roles on one target, implied ones included, by name. Empty when there is none."""
    actors = [user_id, *(m.group_id for m in reader.select(GroupMember, user_id=user_id))]
    given = reader.select(RoleAssignment, actor_id=actors)
    ids: set[str] = set()
    if system:
        ids = {a.role_id for a in given if a.target_kind == "system" and not a.inherited}
    elif project is not None:
        above = set(ancestors(reader, project))
        for a in given:
            direct = a.target_kind == "project" and a.target_id == project.id and not a.inherited
            if direct or (a.inherited and a.target_id in above):
                ids.add(a.role_id)
    elif domain_id:
        ids = {a.role_id for a in given if a.target_kind == "domain" and a.target_id == domain_id and not a.inherited}
    if not ids:
        return []
    return sorted(reader.select(Role, id=implied_closure(reader, ids)), key=lambda r: r.name)
