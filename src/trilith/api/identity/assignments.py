"""/v3/role_assignments: who has what where, as given or as it works out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from msgspec import UNSET, Struct, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.identity import listing
from trilith.commands.roles import SYSTEM, ancestors, closure, descendants, implied_rules
from trilith.model.identity import Domain, Group, GroupMember, Project, Role, RoleAssignment, User
from trilith.model.record import Record
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader


class Ref(Struct, omit_defaults=True):
    id: str
    name: str | UnsetType = UNSET
    domain: Ref | UnsetType | None = UNSET


class Scope(Struct, rename={"inherited": "OS-INHERIT:inherited_to"}):
    project: Ref | UnsetType = UNSET
    domain: Ref | UnsetType = UNSET
    system: dict[str, bool] | UnsetType = UNSET
    inherited: str | UnsetType = UNSET


class AssignmentLinks(Struct):
    assignment: str
    membership: str | UnsetType = UNSET
    prior_role: str | UnsetType = UNSET


class AssignmentView(Struct):
    role: Ref
    scope: Scope
    links: AssignmentLinks
    user: Ref | UnsetType = UNSET
    group: Ref | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Asked:
    user_id: str
    group_id: str
    role_id: str
    target_kind: str
    target_id: str
    inherited: bool
    effective: bool
    subtree: bool
    names: bool


@dataclass(frozen=True, slots=True)
class Effect:
    """What comes of a given assignment. given: as it stands in the store; group_id, prior_id: by which it came."""

    given: RoleAssignment
    actor_kind: str
    actor_id: str
    target_kind: str
    target_id: str
    role_id: str
    group_id: str = ""
    prior_id: str = ""


def _asked(call: Call) -> Asked:
    """Raises Invalid for filters that exclude one another."""
    project, domain = call.one("scope.project.id"), call.one("scope.domain.id")
    system, inherited = call.one("scope.system"), call.one("scope.OS-INHERIT:inherited_to")
    effective, subtree = listing.present(call, "effective"), listing.present(call, "include_subtree")
    user, group = call.one("user.id"), call.one("group.id")
    if sum(map(bool, (project, domain, system))) > 1:
        raise errors.Invalid("Specify one of scope.project.id, scope.domain.id and scope.system.")
    if user and group:
        raise errors.Invalid("Specify a user or group, not both.")
    if effective and group:
        raise errors.Invalid("Combining effective and group filter will always result in an empty list.")
    if effective and inherited:
        raise errors.Invalid("Combining effective and inherited filters will always result in an empty list.")
    if inherited not in ("", "projects"):
        raise errors.Invalid("scope.OS-INHERIT:inherited_to can be projects only.")
    if subtree and not project:
        raise errors.Invalid("scope.project.id must be specified if include_subtree is also specified.")
    kind = "project" if project else "domain" if domain else SYSTEM if system else ""
    return Asked(
        user_id=user,
        group_id=group,
        role_id=call.one("role.id"),
        target_kind=kind,
        target_id=project or domain or (SYSTEM if system else ""),
        inherited=bool(inherited),
        effective=effective,
        subtree=subtree,
        names=listing.present(call, "include_names"),
    )


async def list_assignments(call: Call) -> dict[str, Any]:
    """200. 400 for filters that exclude one another, 403."""
    asked = _asked(call)
    domain_id = call.actor.domain_id
    if asked.subtree:
        call.allow("identity:list_role_assignments_for_tree", **{"target.project.id": asked.target_id})
    else:
        call.allow("identity:list_role_assignments", **{"target.domain_id": domain_id})
    only = "" if call.actor.is_admin or call.actor.system else domain_id
    shown = await call.read(lambda r: _look(call, r, asked, only))
    return listing.plain(call, "role_assignments", "/v3/role_assignments", shown)


def _look(call: Call, reader: Reader, asked: Asked, only_domain: str) -> list[AssignmentView]:
    targets = [asked.target_id]
    if asked.subtree:
        targets += [p.id for p in descendants(reader, asked.target_id)]
    given = _given(reader, asked, targets)
    effects: Iterable[Effect] = (_as_given(a) for a in given)
    if asked.effective:
        effects = _effective(reader, asked, given, targets)
    found = list(dict.fromkeys(effects))
    if only_domain:
        homes = {p.id: p.domain_id for p in reader.select(Project, id=[e.target_id for e in found])}
        found = [e for e in found if homes.get(e.target_id, e.target_id) == only_domain]
    names = _names(reader, found) if asked.names else None
    return [_view(call, e, names) for e in found]


def _given(reader: Reader, asked: Asked, targets: list[str]) -> list[RoleAssignment]:
    """Assignments that may matter, in one query."""
    t, m = REGISTRY[RoleAssignment].table.c, REGISTRY[GroupMember].table.c
    clauses: list[listing.Clause] = []
    if asked.user_id:
        own = t.actor_id == asked.user_id
        by_group = t.actor_id.in_(sa.select(m.group_id).where(m.user_id == asked.user_id))
        clauses.append(sa.or_(own, by_group) if asked.effective else own)
    if asked.group_id:
        clauses.append(t.actor_id == asked.group_id)
    if asked.role_id and not asked.effective:
        clauses.append(t.role_id == asked.role_id)
    if asked.inherited:
        clauses.append(t.inherited.is_(True))
    if asked.target_kind:
        exact = sa.and_(t.target_kind == asked.target_kind, t.target_id.in_(targets))
        if asked.effective and asked.target_kind == "project":
            above: set[str] = set()
            for project in reader.select(Project, id=targets):
                above |= set(ancestors(reader, project))
            exact = sa.or_(exact, sa.and_(t.inherited.is_(True), t.target_id.in_(above)))
        clauses.append(exact)
    return reader.select(RoleAssignment, *clauses)


def _as_given(a: RoleAssignment) -> Effect:
    return Effect(a, a.actor_kind, a.actor_id, a.target_kind, a.target_id, a.role_id)


def _effective(reader: Reader, asked: Asked, given: list[RoleAssignment], targets: list[str]) -> list[Effect]:
    """Groups become their members, inherited ones the projects below, roles also what they imply.

    A domain's own role is in no token: only what it implies is.
    """
    of_domains = {r.id for r in reader.select(Role, REGISTRY[Role].table.c.domain_id != "")}
    members: dict[str, list[str]] = {}
    for member in reader.select(GroupMember, group_id=[a.actor_id for a in given if a.actor_kind == "group"]):
        members.setdefault(member.group_id, []).append(member.user_id)
    rules = implied_rules(reader)
    below: dict[str, list[str]] = {}
    found: list[Effect] = []
    for a in given:
        places = [(a.target_kind, a.target_id)]
        if a.inherited:
            if a.target_id not in below:
                below[a.target_id] = [p.id for p in _below(reader, a)]
            places = [("project", id) for id in below[a.target_id]]
        users = members.get(a.actor_id, []) if a.actor_kind == "group" else [a.actor_id]
        for kind, id in places:
            if asked.target_kind and (kind != asked.target_kind or id not in targets):
                continue
            for user in users:
                if asked.user_id and user != asked.user_id:
                    continue
                by = a.actor_id if a.actor_kind == "group" else ""
                base = Effect(a, "user", user, kind, id, a.role_id, group_id=by)
                found.append(base)
                implied = closure(rules, {a.role_id}) - {a.role_id}
                found += [replace(base, role_id=r, prior_id=a.role_id) for r in sorted(implied)]
    found = [e for e in found if e.role_id not in of_domains]
    return [e for e in found if not asked.role_id or e.role_id == asked.role_id]


def _below(reader: Reader, a: RoleAssignment) -> list[Project]:
    if a.target_kind == "domain":
        return reader.select(Project, domain_id=a.target_id)
    return descendants(reader, a.target_id)


Named = User | Group | Project | Domain | Role


def _names(reader: Reader, found: list[Effect]) -> dict[str, Named]:
    """Every record that a list names, a query a noun."""
    wanted: list[tuple[type[Record], set[str]]] = [
        (User, {e.actor_id for e in found if e.actor_kind == "user"}),
        (Group, {e.actor_id for e in found if e.actor_kind == "group"}),
        (Project, {e.target_id for e in found if e.target_kind == "project"}),
        (Role, {e.role_id for e in found}),
    ]
    names: dict[str, Named] = {}
    for cls, ids in wanted:
        for record in reader.select(cls, id=ids) if ids else []:
            assert isinstance(record, User | Group | Project | Role)
            names[record.id] = record
    domains = {n.domain_id for n in names.values() if not isinstance(n, Domain) and n.domain_id}
    domains |= {e.target_id for e in found if e.target_kind == "domain"}
    names |= {d.id: d for d in reader.select(Domain, id=domains)}
    return names


def _ref(id: str, names: dict[str, Named] | None) -> Ref:
    record = names.get(id) if names else None
    if record is None or names is None:
        return Ref(id=id)
    if isinstance(record, Domain):
        return Ref(id=id, name=record.name)
    home = names.get(record.domain_id) if record.domain_id else None
    if isinstance(record, Role) and home is None:
        return Ref(id=id, name=record.name)
    return Ref(id=id, name=record.name, domain=Ref(id=home.id, name=home.name) if home else None)


def _view(call: Call, e: Effect, names: dict[str, Named] | None) -> AssignmentView:
    a = e.given
    scope = Scope()
    if e.target_kind == "project":
        scope.project = _ref(e.target_id, names)
    elif e.target_kind == "domain":
        scope.domain = _ref(e.target_id, names)
    else:
        scope.system = {"all": True}
    if a.inherited:
        scope.inherited = "projects"
    links = AssignmentLinks(assignment=call.url(f"/v3{_path(a)}"))
    if e.group_id:
        links.membership = call.url(f"/v3/groups/{e.group_id}/users/{e.actor_id}")
    if e.prior_id:
        links.prior_role = call.url(f"/v3/prior_role/{e.prior_id}/implies/{e.role_id}")
    view = AssignmentView(role=_ref(e.role_id, names), scope=scope, links=links)
    if e.actor_kind == "user":
        view.user = _ref(e.actor_id, names)
    else:
        view.group = _ref(e.actor_id, names)
    return view


def _path(a: RoleAssignment) -> str:
    target = "/system" if a.target_kind == SYSTEM else f"/{a.target_kind}s/{a.target_id}"
    path = f"{target}/{a.actor_kind}s/{a.actor_id}/roles/{a.role_id}"
    return f"/OS-INHERIT{path}/inherited_to_projects" if a.inherited else path
