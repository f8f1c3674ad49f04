"""Trunks: ports of several networks on one interface of a guest, told apart by VLAN tags."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET, UnsetType

from trilith.commands import network_quota, ports
from trilith.commands.network_faults import (
    DuplicateSubPort,
    InvalidInput,
    ParentPortInUse,
    PortInUseAsTrunkParent,
    SubPortNotFound,
    TrunkDisabled,
    TrunkInUse,
)
from trilith.commands.network_generation import bump
from trilith.model.network import Port
from trilith.model.network_trunks import SubPort, Trunk
from trilith.store.tx import Reader, Tx, new_id

OWNER = "trunk:subport"
_TAGS = range(1, 4095)


def create(
    tx: Tx,
    *,
    project_id: str,
    port: Port,
    name: str = "",
    description: str = "",
    admin_up: bool = True,
    tags: tuple[str, ...] = (),
) -> Trunk:
    """Raises ParentPortInUse, OverQuota."""
    if tx.first(Trunk, port_id=port.id) or tx.first(SubPort, port_id=port.id):
        raise ParentPortInUse(f"Port {port.id} is in use by another trunk.", field="port_id")
    if ports.is_service(port.device_owner):
        raise ParentPortInUse(f"Port {port.id} belongs to {port.device_owner}.", field="port_id")
    network_quota.charge(tx, project_id, "trunk")
    return tx.add(
        Trunk(
            id=new_id(),
            name=name,
            project_id=project_id,
            port_id=port.id,
            description=description,
            admin_up=admin_up,
            tags=tags,
        )
    )


def update(
    tx: Tx,
    trunk: Trunk,
    *,
    name: str | UnsetType = UNSET,
    description: str | UnsetType = UNSET,
    admin_up: bool | UnsetType = UNSET,
) -> Trunk:
    """admin_up guards the trunk's definition, as in Neutron: its traffic goes on."""
    given = {"name": name, "description": description, "admin_up": admin_up}
    changes = {f: v for f, v in given.items() if v is not UNSET and v != getattr(trunk, f)}
    return tx.change(trunk, **changes) if changes else trunk


def delete(tx: Tx, trunk: Trunk) -> None:
    """Raises TrunkInUse while a guest has the parent, TrunkDisabled."""
    _check_enabled(trunk)
    parent = tx.find(Port, trunk.port_id)
    if parent is not None and parent.device_id:
        raise TrunkInUse(f"Trunk {trunk.id} is currently in use.", hint="Detach its port from the server first.")
    for inside in tx.select(SubPort, trunk_id=trunk.id):
        _free(tx, inside)
    tx.remove(trunk)
    network_quota.refund(tx, trunk.project_id, "trunk")


def _check_enabled(trunk: Trunk) -> None:
    if not trunk.admin_up:
        raise TrunkDisabled(f"Trunk {trunk.id} is currently disabled.", hint="Set admin_state_up first.")


def add_sub_ports(tx: Tx, trunk: Trunk, wanted: Sequence[tuple[Port, int]]) -> Trunk:
    """wanted: (port, VLAN tag).

    Raises DuplicateSubPort, ParentPortInUse, PortInUseAsTrunkParent, InvalidInput, TrunkDisabled."""
    _check_enabled(trunk)
    parent = ports.get_port(tx, trunk.port_id)
    used = {s.segmentation_id for s in tx.select(SubPort, trunk_id=trunk.id)}
    for port, tag in wanted:
        if tag not in _TAGS:
            raise InvalidInput(f"Invalid segmentation_id {tag}: it is none from 1 to 4094.", field="segmentation_id")
        if tag in used:
            raise DuplicateSubPort(
                f"segmentation_type vlan and segmentation_id {tag} already in use on trunk {trunk.id}.",
                field="segmentation_id",
            )
        if port.id == trunk.port_id or tx.first(Trunk, port_id=port.id):
            raise PortInUseAsTrunkParent(f"Port {port.id} is currently a parent port for a trunk.", field="port_id")
        if port.device_id or tx.first(SubPort, port_id=port.id):
            raise ParentPortInUse(f"Port {port.id} is in use by another trunk or device.", field="port_id")
        used.add(tag)
        tx.add(SubPort(id=new_id(), trunk_id=trunk.id, port_id=port.id, segmentation_id=tag))
        bound = ports.update_port(tx, port, device_id=trunk.id, device_owner=OWNER, host=parent.host)
        bump(tx, Port, [bound.id])
    return tx.change(trunk)


def remove_sub_ports(tx: Tx, trunk: Trunk, port_ids: Sequence[str]) -> Trunk:
    """Raises SubPortNotFound, TrunkDisabled."""
    _check_enabled(trunk)
    known = {s.port_id: s for s in tx.select(SubPort, trunk_id=trunk.id)}
    for id in port_ids:
        if id not in known:
            raise SubPortNotFound(f"SubPort on trunk {trunk.id} with parent port {id} could not be found.")
        _free(tx, known[id])
    return tx.change(trunk)


def _free(tx: Tx, inside: SubPort) -> None:
    tx.remove(inside)
    port = tx.find(Port, inside.port_id)
    if port is not None:
        port = ports.update_port(tx, port, device_id="", device_owner="", host="")
        bump(tx, Port, [port.id])


def sub_ports(reader: Reader, trunk_ids: Sequence[str]) -> dict[str, list[SubPort]]:
    found: dict[str, list[SubPort]] = {id: [] for id in trunk_ids}
    for inside in reader.select(SubPort, trunk_id=tuple(trunk_ids)):
        found[inside.trunk_id].append(inside)
    return found
