"""Roles and which imply which."""

from __future__ import annotations

from typing import Any

from trilith import errors
from trilith.commands.identity_rules import check_changeable, check_deletable, hex_id, merged, remove_trusts
from trilith.commands.roles import closure, implied_rules
from trilith.model.identity import ApplicationCredential, Domain, ImpliedRole, Role, RoleAssignment, Trust
from trilith.model.identity_extensions import AccessToken
from trilith.store.tx import Tx

#: Keystone's prohibited_implied_role: admin must be given on purpose
NEVER_IMPLIED = "admin"


def create_role(tx: Tx, role: Role) -> Role:
    """Raises Missing for an unknown domain, Conflict for a name taken."""
    if role.domain_id:
        tx.get(Domain, role.domain_id)
    return tx.add(role)


def update_role(tx: Tx, role_id: str, changes: dict[str, Any]) -> Role:
    """Raises Missing, Conflict, Invalid for a change of domain, Forbidden when it is immutable."""
    role = tx.get(Role, role_id)
    changes = merged(role, changes)
    if changes.pop("domain_id", role.domain_id) != role.domain_id:
        raise errors.Invalid("The domain of a role cannot be changed.", field="domain_id")
    check_changeable(role, changes)
    return tx.change(role, **changes) if changes else role


def delete_role(tx: Tx, role_id: str) -> None:
    """With its grants, and the delegations that hold it. Raises Missing, Forbidden when it is immutable."""
    role = tx.get(Role, role_id)
    check_deletable(role)
    erase_role(tx, role_id)
    tx.remove(role)


def erase_role(tx: Tx, role_id: str) -> None:
    tx.remove_where(RoleAssignment, role_id=role_id)
    tx.remove_where(ImpliedRole, prior_id=role_id)
    tx.remove_where(ImpliedRole, implied_id=role_id)
    for credential in tx.select(ApplicationCredential):
        if role_id in credential.roles:
            tx.remove(credential)
    remove_trusts(tx, [t for t in tx.select(Trust) if role_id in t.roles])
    for token in tx.select(AccessToken):
        if role_id in token.roles:
            tx.remove(token)


def imply(tx: Tx, prior_id: str, implied_id: str) -> tuple[Role, Role]:
    """A domain's role may imply global ones and those of any domain, as in Keystone.

    Raises Missing; Forbidden for admin as the implied one and for a domain's role under a global one; Invalid for a
    circle.
    """
    prior, implied = tx.get(Role, prior_id), tx.get(Role, implied_id)
    if implied.name == NEVER_IMPLIED and not implied.domain_id:
        raise errors.Forbidden(f"{implied.id} cannot be an implied role.")
    if implied.domain_id and not prior.domain_id:
        raise errors.Forbidden("A global role cannot imply a domain's role.")
    if prior_id in closure(implied_rules(tx), {implied_id}):
        raise errors.Invalid(f"{prior.name} is implied by {implied.name} already: that would be a circle.")
    if tx.first(ImpliedRole, prior_id=prior_id, implied_id=implied_id) is None:
        tx.add(ImpliedRole(id=hex_id(), prior_id=prior_id, implied_id=implied_id))
    return prior, implied


def unimply(tx: Tx, prior_id: str, implied_id: str) -> None:
    """Raises Missing."""
    tx.get(Role, prior_id)
    tx.get(Role, implied_id)
    if not tx.remove_where(ImpliedRole, prior_id=prior_id, implied_id=implied_id):
        raise errors.Missing(f"Role {prior_id} does not imply {implied_id}.")
