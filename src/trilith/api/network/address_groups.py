"""Address groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.network import listing
from trilith.api.network.listing import Noun, Standard, Viewer
from trilith.api.network.networks import Given, Name
from trilith.commands import address_groups as commands
from trilith.commands.network_faults import AddressGroupNotFound
from trilith.model.network import Rbac
from trilith.model.network_access import AddressGroup
from trilith.store.tx import Reader, Tx

Addresses = Annotated[list[str], Meta(max_length=commands.MOST_ADDRESSES)]


class AddressGroupView(Standard, kw_only=True):
    name: str
    addresses: tuple[str, ...]
    shared: bool


class AddressGroupCreate(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name = ""
    description: Name = ""
    addresses: Addresses = []
    project_id: Given = UNSET
    tenant_id: Given = UNSET


class AddressGroupUpdate(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name | UnsetType = UNSET
    description: Name | UnsetType = UNSET


class CreateAddressGroupBody(Struct):
    address_group: AddressGroupCreate | UnsetType = UNSET
    address_groups: list[AddressGroupCreate] | UnsetType = UNSET


class UpdateAddressGroupBody(Struct):
    address_group: AddressGroupUpdate


class AddressesWire(Struct, forbid_unknown_fields=True):
    addresses: Addresses


class AddressesBody(Struct):
    """Clients write the addresses in the group or, openstacksdk, alone."""

    address_group: AddressesWire | UnsetType = UNSET
    addresses: Addresses | UnsetType = UNSET


def view(reader: Reader, rows: Sequence[AddressGroup], _who: Viewer) -> list[AddressGroupView]:
    shared = {r.object_id for r in reader.select(Rbac, object_id=[g.id for g in rows], object_type="address_group")}
    return [
        AddressGroupView(**listing.standard(g), name=g.name, addresses=g.addresses, shared=g.id in shared) for g in rows
    ]


NOUN: Noun[AddressGroup] = Noun(
    AddressGroup,
    "address_group",
    "address_groups",
    "Address group",
    AddressGroupNotFound,
    view,
    {**listing.standard_filters(AddressGroup), "addresses": listing.member(AddressGroup, "addresses")},
    listing.standard_sort(AddressGroup),
    path="address-groups",
)


async def create(call: Call) -> Answer:
    """201: the group. 400: addresses that are none. 409: quota."""
    body: CreateAddressGroupBody = call.body

    def make(tx: Tx, wanted: AddressGroupCreate) -> AddressGroup:
        return commands.create(
            tx,
            project_id=listing.owner(call, NOUN, wanted.project_id, wanted.tenant_id),
            name=wanted.name,
            description=wanted.description,
            addresses=wanted.addresses,
        )

    return await listing.create_all(call, NOUN, body.address_group, body.address_groups, make)


async def update(call: Call) -> Answer:
    """200: as it is now."""
    wanted: AddressGroupUpdate = call.body.address_group
    return await listing.change(
        call, NOUN, lambda tx, g: commands.update(tx, g, name=wanted.name, description=wanted.description)
    )


async def delete(call: Call) -> Answer:
    """204. 409: a rule names it."""
    return await listing.remove(call, NOUN, commands.delete)


async def add(call: Call) -> Answer:
    """200: with these, too. 409: one is there already."""
    return await _addresses(call, commands.add_addresses)


async def remove(call: Call) -> Answer:
    """200: without these. 404: one is not there."""
    return await _addresses(call, commands.remove_addresses)


async def _addresses(call: Call, act: Callable[[Tx, AddressGroup, list[str]], AddressGroup]) -> Answer:
    body: AddressesBody = call.body
    wanted = body.addresses if body.address_group is UNSET else body.address_group.addresses
    if wanted is UNSET:
        raise errors.Invalid("Unable to find 'addresses' in request body", field="addresses")
    asked = wanted
    return await listing.change(call, NOUN, lambda tx, g: act(tx, g, asked))
