"""Grants: a role for a user or group on a project, a domain or the system."""

from __future__ import annotations

from dataclasses import dataclass

from trilith import errors
from trilith.commands.identity_rules import hex_id
from trilith.commands.roles import SYSTEM
from trilith.model.identity import ApplicationCredential, Domain, Group, Project, Role, RoleAssignment, User
from trilith.store.tx import Reader, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """actor_kind: user or group. target_kind: project, domain or system (target_id "system")."""

    actor_kind: str
    actor_id: str
    target_kind: str
    target_id: str
    inherited: bool = False


@dataclass(frozen=True, slots=True)
class Parties:
    actor: User | Group
    target: Project | Domain | None


def parties(reader: Reader, grant: Grant) -> Parties:
    """Raises Missing for an unknown user, group, project or domain."""
    target: Project | Domain | None = None
    if grant.target_kind == "project":
        target = reader.get(Project, grant.target_id)
    elif grant.target_kind == "domain":
        target = reader.get(Domain, grant.target_id)
    if grant.actor_kind == "user":
        return Parties(reader.get(User, grant.actor_id), target)
    return Parties(reader.get(Group, grant.actor_id), target)


def granted(reader: Reader, grant: Grant) -> list[RoleAssignment]:
    return reader.select(
        RoleAssignment,
        actor_kind=grant.actor_kind,
        actor_id=grant.actor_id,
        target_kind=grant.target_kind,
        target_id=grant.target_id,
        inherited=grant.inherited,
    )


def give(tx: Tx, grant: Grant, role_id: str) -> None:
    """Nothing happens when it is given already. Raises Missing, Forbidden for a domain's role outside of it."""
    role = tx.get(Role, role_id)
    target = parties(tx, grant).target
    if role.domain_id:
        home = target.domain_id if isinstance(target, Project) else grant.target_id
        if grant.target_kind == SYSTEM or home != role.domain_id:
            raise errors.Forbidden(f"Role {role_id} belongs to domain {role.domain_id} and can be given only there.")
    if any(a.role_id == role_id for a in granted(tx, grant)):
        return
    tx.add(
        RoleAssignment(
            id=hex_id(),
            actor_kind=grant.actor_kind,
            actor_id=grant.actor_id,
            target_kind=grant.target_kind,
            target_id=grant.target_id,
            role_id=role_id,
            inherited=grant.inherited,
        )
    )


def take(tx: Tx, grant: Grant, role_id: str) -> None:
    """A user's application credentials for the project go too, as in Keystone. Raises Missing."""
    tx.get(Role, role_id)
    gone = [a for a in granted(tx, grant) if a.role_id == role_id]
    if not gone:
        raise errors.Missing(f"Could not find role assignment with role: {role_id}.")
    for assignment in gone:
        tx.remove(assignment)
    if grant.actor_kind == "user" and grant.target_kind == "project":
        tx.remove_where(ApplicationCredential, user_id=grant.actor_id, project_id=grant.target_id)
