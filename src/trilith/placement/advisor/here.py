"""Which pillars this cloud has nodes for, and what those nodes can do. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trilith.model.guest import HostFacts, Pillar


@dataclass(frozen=True, slots=True, kw_only=True)
class PillarNodes:
    """Nodes that run one pillar alike. traits: what placement knows of them. capabilities: names of the driver's true
    capabilities (docs/capabilities.md). emulated: without hardware virtualisation. count: how many nodes are so."""

    pillar: Pillar
    traits: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
    emulated: bool = False
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PillarsHere:
    """Alike nodes are one entry; two demands are met only where one node meets both."""

    nodes: tuple[PillarNodes, ...] = ()

    def of(self, pillar: Pillar) -> tuple[PillarNodes, ...]:
        return tuple(n for n in self.nodes if n.pillar is pillar)


def pillars_here(facts: Iterable[HostFacts], traits: Mapping[str, Iterable[str]] | None = None) -> PillarsHere:
    """From what the nodes in service report. traits: those that placement has for a node's host name, an operator's
    included; without them the reported ones."""
    counts: dict[tuple[Pillar, frozenset[str], frozenset[str]], int] = {}
    for fact in facts:
        known = frozenset((traits or {}).get(fact.hostname, fact.traits))
        for pillar in fact.pillars:
            key = (pillar, known, frozenset(fact.capabilities.get(str(pillar), ())))
            counts[key] = counts.get(key, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (item[0][0], sorted(item[0][1]), sorted(item[0][2])))
    return PillarsHere(
        nodes=tuple(
            PillarNodes(pillar=pillar, traits=known, capabilities=able, emulated="emulated" in able, count=count)
            for (pillar, known, able), count in ordered
        )
    )
