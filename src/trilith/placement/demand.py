"""What a server asks of a node, and what a node has: the two sides that the rules compare. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trilith.model.guest import Pillar
from trilith.placement.advisor.rules import Need


@dataclass(frozen=True, slots=True)
class Units:
    """Of one resource class, what a single server may have (Placement: min_unit, max_unit, step_size)."""

    least: int = 1
    most: int = 2147483647
    step: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One node with what is free on it: resource class → amount left. able: pillar → what its driver can; a pillar
    that is not in it was not asked."""

    name: str
    pillars: tuple[Pillar, ...]
    traits: frozenset[str]
    free: dict[str, float]
    total: dict[str, float]
    units: dict[str, Units] = field(default_factory=dict)
    able: dict[str, tuple[str, ...]] = field(default_factory=dict)
    enabled: bool = True
    alive: bool = True
    zone: str = "nova"
    servers_of_group: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """named: amounts by resource class that the flavor names in place of its sizes, or beside them.

    pillars: those that it may be on, best first. why: what speaks for each. needs: what a node must have to be it.
    chosen: where image or flavor names one.
    """

    vcpus: int
    memory_mib: int
    disk_gib: int
    pillars: tuple[Pillar, ...]
    chosen: Pillar | None = None
    traits: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    zone: str = ""
    node: str = ""
    not_nodes: frozenset[str] = frozenset()
    only_nodes: frozenset[str] = frozenset()  # empty: any
    affinity: str = ""  # "", affinity, anti-affinity, soft-affinity, soft-anti-affinity
    group_nodes: frozenset[str] = frozenset()  # where the group's servers are
    group_most: int = 1  # servers of an anti-affinity group that one node may have
    machine_memory_mib: int = 0  # what the image needs as a virtual machine (a container needs less)
    extra_disks: bool = False  # the flavor has an ephemeral disk or swap
    named: dict[str, int] = field(default_factory=dict)
    why: Mapping[Pillar, str] = field(default_factory=dict)
    needs: Mapping[Pillar, tuple[Need, ...]] = field(default_factory=dict)

    @property
    def resources(self) -> dict[str, int]:
        """By resource class; what is not asked for is not in it."""
        sizes = {"VCPU": self.vcpus, "MEMORY_MB": self.memory_mib, "DISK_GB": self.disk_gib}
        return {name: amount for name, amount in (sizes | self.named).items() if amount}
