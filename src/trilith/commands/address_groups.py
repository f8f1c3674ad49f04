"""Address groups: prefixes that rules name as one, changed in one place for all of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from msgspec import UNSET, UnsetType

from trilith.commands import network_quota
from trilith.commands.network_faults import (
    AddressesAlreadyExist,
    AddressesNotFound,
    AddressGroupInUse,
    InvalidInput,
)
from trilith.commands.network_generation import bump
from trilith.model.network import Rbac, SecurityGroupRule
from trilith.model.network_access import AddressGroup
from trilith.store.tx import Tx, new_id

#: of a group: it is one row here, and one address set of OVN, sent whole
MOST_ADDRESSES = 10_000


def create(
    tx: Tx, *, project_id: str, name: str = "", description: str = "", addresses: Sequence[str] = ()
) -> AddressGroup:
    """Raises InvalidInput, OverQuota."""
    network_quota.charge(tx, project_id, "address_group")
    own = tuple(dict.fromkeys(canonical(addresses)))
    return tx.add(AddressGroup(id=new_id(), name=name, project_id=project_id, description=description, addresses=own))


def canonical(addresses: Iterable[str]) -> list[str]:
    """Prefixes; an address alone is one of its own. Raises InvalidInput."""
    found = []
    for text in addresses:
        try:
            found.append(str(ipaddress.ip_network(text, strict=False)))
        except ValueError as err:
            raise InvalidInput(
                f"Invalid input for addresses. Reason: '{text}' is not a valid IP subnet.", field="addresses"
            ) from err
    return found


def update(
    tx: Tx, group: AddressGroup, *, name: str | UnsetType = UNSET, description: str | UnsetType = UNSET
) -> AddressGroup:
    given = {"name": name, "description": description}
    changes = {f: v for f, v in given.items() if v is not UNSET and v != getattr(group, f)}
    return tx.change(group, **changes) if changes else group


def add_addresses(tx: Tx, group: AddressGroup, addresses: Sequence[str]) -> AddressGroup:
    """Raises AddressesAlreadyExist, InvalidInput (also for too many)."""
    new = list(dict.fromkeys(canonical(addresses)))
    had = set(group.addresses)
    known = [a for a in new if a in had]
    if known:
        raise AddressesAlreadyExist(f"Addresses {', '.join(known)} already exist in address group {group.id}.")
    return _set(tx, group, (*group.addresses, *new))


def remove_addresses(tx: Tx, group: AddressGroup, addresses: Sequence[str]) -> AddressGroup:
    """Raises AddressesNotFound, InvalidInput."""
    gone = set(canonical(addresses))
    missing = sorted(gone - set(group.addresses))
    if missing:
        raise AddressesNotFound(f"Addresses {', '.join(missing)} not found in the address group {group.id}.")
    return _set(tx, group, tuple(a for a in group.addresses if a not in gone))


def _set(tx: Tx, group: AddressGroup, addresses: tuple[str, ...]) -> AddressGroup:
    if addresses == group.addresses:
        return group
    if len(addresses) > MOST_ADDRESSES:
        raise InvalidInput(f"Invalid input for addresses. Reason: a group has {MOST_ADDRESSES} at most.",
                           field="addresses")  # fmt: skip
    group = tx.change(group, addresses=addresses)
    bump(tx, AddressGroup, [group.id])
    return group


def delete(tx: Tx, group: AddressGroup) -> None:
    """Raises AddressGroupInUse while a rule names it."""
    if tx.first(SecurityGroupRule, remote_address_group_id=group.id):
        raise AddressGroupInUse(f"Address group {group.id} is in use on one or more security group rules.")
    tx.remove_where(Rbac, object_id=group.id)
    tx.remove(group)
    network_quota.refund(tx, group.project_id, "address_group")
