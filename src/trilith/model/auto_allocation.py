"""The network that was made for a project that asked for any (Neutron's auto-allocated topology)."""

from __future__ import annotations

from dataclasses import dataclass

from trilith.model.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoAllocation(Record):
    """id is the project's: there is one a project."""

    network_id: str
    router_id: str
