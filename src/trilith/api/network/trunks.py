"""Trunks and the ports inside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.network import listing
from trilith.api.network import ports as port_api
from trilith.api.network.listing import Noun, Standard, Viewer
from trilith.api.network.networks import Given, Name
from trilith.commands import trunks as commands
from trilith.commands.network_faults import TrunkNotFound
from trilith.model.network import Port
from trilith.model.network_trunks import Trunk
from trilith.store.tx import Reader, Tx


class SubPortWire(Struct, forbid_unknown_fields=True):
    port_id: str
    segmentation_id: int | str
    segmentation_type: Literal["vlan"] = "vlan"


class SubPortGone(Struct, forbid_unknown_fields=True):
    port_id: str


class TrunkView(Standard, kw_only=True):
    name: str
    port_id: str
    admin_state_up: bool
    status: str
    sub_ports: list[SubPortWire]
    tags: tuple[str, ...]


class TrunkCreate(Struct, kw_only=True, forbid_unknown_fields=True):
    port_id: str
    name: Name = ""
    description: Name = ""
    admin_state_up: bool = True
    sub_ports: list[SubPortWire] = []
    project_id: Given = UNSET
    tenant_id: Given = UNSET


class TrunkUpdate(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name | UnsetType = UNSET
    description: Name | UnsetType = UNSET
    admin_state_up: bool | UnsetType = UNSET


class CreateTrunkBody(Struct):
    trunk: TrunkCreate | UnsetType = UNSET
    trunks: list[TrunkCreate] | UnsetType = UNSET


class UpdateTrunkBody(Struct):
    trunk: TrunkUpdate


class AddSubPortsBody(Struct, forbid_unknown_fields=True):
    sub_ports: list[SubPortWire]


class RemoveSubPortsBody(Struct, forbid_unknown_fields=True):
    sub_ports: list[SubPortGone]


def view(reader: Reader, rows: Sequence[Trunk], _who: Viewer) -> list[TrunkView]:
    """A trunk is ACTIVE when its parent is up on a node."""
    inside = commands.sub_ports(reader, [t.id for t in rows])
    up = {p.id for p in reader.select(Port, id=[t.port_id for t in rows], status="ACTIVE")}
    return [
        TrunkView(
            **listing.standard(t),
            name=t.name,
            port_id=t.port_id,
            admin_state_up=t.admin_up,
            status="ACTIVE" if t.port_id in up else "DOWN",
            sub_ports=[SubPortWire(s.port_id, s.segmentation_id) for s in inside[t.id]],
            tags=t.tags,
        )
        for t in rows
    ]


NOUN: Noun[Trunk] = Noun(
    Trunk,
    "trunk",
    "trunks",
    "Trunk",
    TrunkNotFound,
    view,
    {
        **listing.standard_filters(Trunk),
        "port_id": listing.text(Trunk, "port_id"),
        "admin_state_up": listing.flag(Trunk, "admin_up"),
    },
    listing.standard_sort(Trunk),
)


def _wanted(call: Call, tx: Tx, given: Sequence[SubPortWire]) -> list[tuple[Port, int]]:
    return [
        (
            port_api.mine(call, tx, s.port_id),
            listing.integer(s.segmentation_id, "segmentation_id", 1, 4094),
        )
        for s in given
    ]


async def create(call: Call) -> Answer:
    """201: the trunk. 400: a tag that is none. 404: a port. 409: a port or tag is in use; quota."""
    body: CreateTrunkBody = call.body

    def make(tx: Tx, wanted: TrunkCreate) -> Trunk:
        trunk = commands.create(
            tx,
            project_id=listing.owner(call, NOUN, wanted.project_id, wanted.tenant_id),
            port=port_api.mine(call, tx, wanted.port_id),
            name=wanted.name,
            description=wanted.description,
        )
        if wanted.sub_ports:
            trunk = commands.add_sub_ports(tx, trunk, _wanted(call, tx, wanted.sub_ports))
        return commands.update(tx, trunk, admin_up=wanted.admin_state_up)

    return await listing.create_all(call, NOUN, body.trunk, body.trunks, make)


async def update(call: Call) -> Answer:
    """200: as it is now."""
    wanted: TrunkUpdate = call.body.trunk
    return await listing.change(
        call,
        NOUN,
        lambda tx, t: commands.update(
            tx, t, name=wanted.name, description=wanted.description, admin_up=wanted.admin_state_up
        ),
    )


async def delete(call: Call) -> Answer:
    """204. 409: a server has it, or it is disabled."""
    return await listing.remove(call, NOUN, commands.delete)


async def sub_ports(call: Call) -> Answer:
    """200: the ports inside."""
    call.allow("get_trunk")
    who = listing.viewer(call)

    def read(reader: Reader) -> list[SubPortWire]:
        trunk = listing.fetch(reader, NOUN, who, call.params["id"])
        return [SubPortWire(s.port_id, s.segmentation_id) for s in commands.sub_ports(reader, [trunk.id])[trunk.id]]

    return Answer({"sub_ports": await call.read(read)})


async def add(call: Call) -> Answer:
    """200: the trunk with these ports, too. 409: a port or tag is in use."""
    body: AddSubPortsBody = call.body
    return await _changed(
        call, "add_subports", lambda tx, t: commands.add_sub_ports(tx, t, _wanted(call, tx, body.sub_ports))
    )


async def remove(call: Call) -> Answer:
    """200: the trunk without these. 404: one is not inside."""
    body: RemoveSubPortsBody = call.body
    gone = [s.port_id for s in body.sub_ports]
    return await _changed(call, "remove_subports", lambda tx, t: commands.remove_sub_ports(tx, t, gone))


async def _changed(call: Call, rule: str, act: Callable[[Tx, Trunk], Trunk]) -> Answer:
    """Its answer has no key of its own around it, as Neutron's."""
    answer = await listing.change(call, NOUN, act, rule)
    return Answer(answer.body["trunk"])
