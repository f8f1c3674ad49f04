"""Groups and their members."""

from __future__ import annotations

from typing import Any

from trilith import errors
from trilith.commands.identity_rules import erase_group, hex_id, merged
from trilith.model.identity import Domain, Group, GroupMember, User
from trilith.store.tx import Tx


def create_group(tx: Tx, group: Group) -> Group:
    """Raises Missing for an unknown domain, Conflict for a name taken in it."""
    tx.get(Domain, group.domain_id)
    return tx.add(group)


def update_group(tx: Tx, group_id: str, changes: dict[str, Any]) -> Group:
    """Raises Missing, Conflict, Invalid for a change of domain."""
    group = tx.get(Group, group_id)
    changes = merged(group, changes)
    if changes.pop("domain_id", group.domain_id) != group.domain_id:
        raise errors.Invalid("The domain of a group cannot be changed.", field="domain_id")
    return tx.change(group, **changes) if changes else group


def delete_group(tx: Tx, group_id: str) -> None:
    """Raises Missing."""
    group = tx.get(Group, group_id)
    erase_group(tx, group_id)
    tx.remove(group)


def add_member(tx: Tx, group_id: str, user_id: str) -> None:
    """Nothing happens when the user is in already. Raises Missing."""
    tx.get(Group, group_id)
    tx.get(User, user_id)
    if tx.first(GroupMember, group_id=group_id, user_id=user_id) is None:
        tx.add(GroupMember(id=hex_id(), group_id=group_id, user_id=user_id))


def remove_member(tx: Tx, group_id: str, user_id: str) -> None:
    """Raises Missing when the user is not in it."""
    tx.get(Group, group_id)
    tx.get(User, user_id)
    if not tx.remove_where(GroupMember, group_id=group_id, user_id=user_id):
        raise errors.Missing(f"User {user_id} is not in group {group_id}.")
