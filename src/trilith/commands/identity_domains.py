"""Domains."""

from __future__ import annotations

from typing import Any

from trilith import errors
from trilith.commands.identity_federation import delete_provider
from trilith.commands.identity_roles import erase_role
from trilith.commands.identity_rules import (
    check_changeable,
    check_deletable,
    erase_group,
    erase_target,
    erase_user,
    merged,
)
from trilith.model.identity import Domain, Group, Project, Role, User
from trilith.model.identity_extensions import DomainConfig, IdentityProvider
from trilith.store.tx import Tx


def create_domain(tx: Tx, domain: Domain) -> Domain:
    """Raises Conflict for a name taken."""
    return tx.add(domain)


def update_domain(tx: Tx, domain_id: str, changes: dict[str, Any]) -> Domain:
    """Raises Missing, Conflict, Forbidden when it is immutable."""
    domain = tx.get(Domain, domain_id)
    changes = merged(domain, changes)
    check_changeable(domain, changes)
    return tx.change(domain, **changes) if changes else domain


def delete_domain(tx: Tx, domain_id: str) -> None:
    """With all its users, groups, projects and roles. Raises Missing, Forbidden while it is enabled."""
    domain = tx.get(Domain, domain_id)
    check_deletable(domain)
    if domain.enabled:
        raise errors.Forbidden("Cannot delete a domain that is enabled, please disable it first.")
    for user in tx.select(User, domain_id=domain_id):
        erase_user(tx, user.id)
        tx.remove(user)
    for group in tx.select(Group, domain_id=domain_id):
        erase_group(tx, group.id)
        tx.remove(group)
    for project in tx.select(Project, domain_id=domain_id):
        erase_target(tx, "project", project.id)
        tx.remove(project)
    for role in tx.select(Role, domain_id=domain_id):
        erase_role(tx, role.id)
        tx.remove(role)
    for provider in tx.select(IdentityProvider, domain_id=domain_id):
        delete_provider(tx, provider.id)
    tx.remove_where(DomainConfig, id=domain_id)
    erase_target(tx, "domain", domain_id)
    tx.remove(domain)
