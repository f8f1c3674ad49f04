"""The trunk of a port, as the port itself shows it (Neutron's trunk-details)."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from trilith.model.network import Port
from trilith.model.network_trunks import SubPort, Trunk
from trilith.store.tx import Reader


class SubPortDetails(Struct):
    port_id: str
    segmentation_type: str
    segmentation_id: int
    mac_address: str


class TrunkDetails(Struct):
    trunk_id: str
    sub_ports: list[SubPortDetails]


def of(reader: Reader, ports: Sequence[Port]) -> dict[str, TrunkDetails]:
    """Parent port → its trunk. Two small queries where no port is one."""
    trunks = {t.id: t for t in reader.select(Trunk, port_id=[p.id for p in ports])} if ports else {}
    if not trunks:
        return {}
    inside = reader.select(SubPort, trunk_id=list(trunks))
    macs = {p.id: p.mac_address for p in reader.select(Port, id=[s.port_id for s in inside])}
    made = {t.port_id: TrunkDetails(t.id, []) for t in trunks.values()}
    for sub in inside:
        details = SubPortDetails(sub.port_id, sub.segmentation_type, sub.segmentation_id, macs.get(sub.port_id, ""))
        made[trunks[sub.trunk_id].port_id].sub_ports.append(details)
    return made
