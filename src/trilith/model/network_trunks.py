"""Trunks: one interface of a guest that carries several networks, each in a VLAN of its own."""

from __future__ import annotations

from dataclasses import dataclass

from trilith.model.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Trunk(Record):
    """port_id: the parent, whose traffic is untagged."""

    name: str
    project_id: str
    port_id: str
    description: str = ""
    admin_up: bool = True
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SubPort(Record):
    """A port inside a trunk: its traffic has the VLAN `segmentation_id` on the parent. (port_id) is unique."""

    trunk_id: str
    port_id: str
    segmentation_id: int
    segmentation_type: str = "vlan"
