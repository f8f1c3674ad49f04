"""What all nouns of identity obey: ids, options, and what goes with a user, project or domain that is deleted."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from trilith import errors
from trilith.model.identity import (
    AccessRule,
    ApplicationCredential,
    Credential,
    Domain,
    GroupMember,
    Limit,
    Project,
    Role,
    RoleAssignment,
    Trust,
    User,
)
from trilith.model.identity_extensions import (
    AccessToken,
    FederatedUser,
    ProjectEndpoint,
    ProjectEndpointGroup,
    RequestToken,
)
from trilith.model.node import Quota, QuotaUse
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Tx

#: Keystone's resource option of projects, domains and roles
IMMUTABLE = "immutable"


def hex_id() -> str:
    """32 hex digits, Keystone's form."""
    return uuid.uuid4().hex


def merged_options(have: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """An option given as null is taken away."""
    return {k: v for k, v in (have | given).items() if v is not None}


def merged(record: Any, changes: dict[str, Any]) -> dict[str, Any]:
    """The changes, with what is given of `extra` and `options` merged into what the record has.

    In the transaction that writes it: of two requests that each add an attribute both are kept.
    """
    found = dict(changes)
    if "extra" in found:
        found["extra"] = record.extra | found["extra"]
    if "options" in found:
        found["options"] = merged_options(record.options, found["options"])
    return found


def check_changeable(record: Domain | Project | Role, changes: dict[str, Any]) -> None:
    """Raises Forbidden for an immutable record, unless the change is what makes it mutable again."""
    if not record.options.get(IMMUTABLE):
        return
    lifted = "options" in changes and not changes["options"].get(IMMUTABLE)
    if not lifted or set(changes) != {"options"}:
        raise errors.Forbidden(
            f"{record.name} ({record.id}) is immutable.", hint="Set its option immutable to false first."
        )


def check_deletable(record: Domain | Project | Role) -> None:
    """Raises Forbidden for an immutable record."""
    if record.options.get(IMMUTABLE):
        raise errors.Forbidden(
            f"{record.name} ({record.id}) is immutable and cannot be deleted.",
            hint="Set its option immutable to false first.",
        )


def erase_target(tx: Tx, kind: str, id: str) -> None:
    """What hangs on a project or domain that goes: grants, and on a project delegations and credentials too."""
    tx.remove_where(RoleAssignment, target_kind=kind, target_id=id)
    if kind == "domain":
        tx.remove_where(Limit, domain_id=id)
        return
    tx.remove_where(Credential, project_id=id)
    tx.remove_where(ApplicationCredential, project_id=id)
    remove_trusts(tx, tx.select(Trust, project_id=id))
    tx.remove_where(Limit, project_id=id)
    tx.remove_where(RequestToken, project_id=id)
    tx.remove_where(AccessToken, project_id=id)
    tx.remove_where(ProjectEndpoint, project_id=id)
    tx.remove_where(ProjectEndpointGroup, project_id=id)
    tx.remove_where(Quota, project_id=id)
    tx.remove_where(QuotaUse, project_id=id, used=0)  # what is left of its servers and networks stays counted
    for user in tx.select(User, default_project_id=id):
        tx.change(user, default_project_id="")


def erase_user(tx: Tx, user_id: str) -> None:
    """What hangs on a user that goes. Tokens count no more once the user is gone."""
    t = REGISTRY[Trust].table.c
    tx.remove_where(RoleAssignment, actor_kind="user", actor_id=user_id)
    tx.remove_where(GroupMember, user_id=user_id)
    tx.remove_where(Credential, user_id=user_id)
    tx.remove_where(ApplicationCredential, user_id=user_id)
    tx.remove_where(AccessRule, user_id=user_id)
    tx.remove_where(AccessToken, user_id=user_id)
    tx.remove_where(FederatedUser, user_id=user_id)
    tx.remove_where(RequestToken, user_id=user_id)
    remove_trusts(tx, tx.select(Trust, sa.or_(t.trustor_user_id == user_id, t.trustee_user_id == user_id)))


def remove_trusts(tx: Tx, trusts: list[Trust]) -> None:
    """With those that they were handed on in, which rest on them."""
    gone: set[str] = set()
    level = trusts
    while level:
        for trust in level:
            if trust.id not in gone:
                tx.remove(trust)
                gone.add(trust.id)
        level = [t for t in tx.select(Trust, redelegated_trust_id=[t.id for t in level]) if t.id not in gone]


def erase_group(tx: Tx, group_id: str) -> None:
    tx.remove_where(RoleAssignment, actor_kind="group", actor_id=group_id)
    tx.remove_where(GroupMember, group_id=group_id)
