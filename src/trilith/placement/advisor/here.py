"""Which pillars this cloud has nodes for, and what those nodes can do. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trilith.model.guest import HostFacts, Pillar


@dataclass(frozen=True, slots=True, kw_only=True)
class PillarNodes:
    """Nodes that run one pillar alike. traits: what placement knows of them. capabilities: names of the driver's true
    capabilities (docs/capabilities.md). resources: classes that they have any of. emulated: without hardware
    virtualisation. count: how many nodes are so."""

    pillar: Pillar
    traits: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    emulated: bool = False
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PillarsHere:
    """Alike nodes are one entry; two demands are met only where one node meets both."""

    nodes: tuple[PillarNodes, ...] = ()

    def of(self, pillar: Pillar) -> tuple[PillarNodes, ...]:
        return tuple(n for n in self.nodes if n.pillar is pillar)


def pillars_here(
    facts: Iterable[HostFacts],
    traits: Mapping[str, Iterable[str]] | None = None,
    resources: Mapping[str, Iterable[str]] | None = None,
) -> PillarsHere:
    """From what the nodes in service report. traits, resources: those that placement has by a node's host name, an
    operator's included; without them the reported ones."""
    counts: Counter[tuple[Pillar, frozenset[str], frozenset[str], frozenset[str]]] = Counter()
    for fact in facts:
        known = frozenset((traits or {}).get(fact.hostname, fact.traits))
        classes = frozenset((resources or {}).get(fact.hostname, (c for c, n in fact.inventories.items() if n > 0)))
        for pillar in fact.pillars:
            counts[pillar, known, frozenset(fact.capabilities.get(str(pillar), ())), classes] += 1
    ordered = sorted(counts.items(), key=lambda item: (item[0][0], *(sorted(part) for part in item[0][1:])))
    return PillarsHere(
        nodes=tuple(
            PillarNodes(
                pillar=pillar,
                traits=known,
                capabilities=able,
                resources=classes,
                emulated="emulated" in able,
                count=count,
            )
            for (pillar, known, able, classes), count in ordered
        )
    )
