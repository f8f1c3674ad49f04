"""What the hard constraints leave: which pillars a workload cannot have at all, and which this cloud has no node for.
Pure, and cheap: words are made of a block only when somebody asks for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trilith.model.figures import Figure, FigureName, Figures
from trilith.model.guest import Pillar
from trilith.placement.advisor.advice import Availability
from trilith.placement.advisor.demands import Value
from trilith.placement.advisor.here import PillarNodes, PillarsHere
from trilith.placement.advisor.rules import Constraint, Need, Rules, Words, holds, names_of

#: the constraint's name where a cloud has no node of a pillar
NO_NODE = "no-node"


@dataclass(frozen=True, slots=True)
class Block:
    """A constraint that refuses a pillar. constraint None: the cloud has no node of it. need, figure: what it is
    about.

    demands: what it follows from; giving up any one of them lifts it.
    """

    pillar: Pillar
    constraint: Constraint | None
    need: Need | None = None
    figure: Figure | None = None

    @property
    def name(self) -> str:
        return self.constraint.name if self.constraint else NO_NODE

    @property
    def demands(self) -> tuple[str, ...]:
        return names_of(self.constraint.when) if self.constraint else ()


@dataclass(frozen=True, slots=True)
class Standing:
    """Of one pillar. blocks: why it does not fit the workload. ways: alike nodes, each with what is missing there."""

    pillar: Pillar
    blocks: tuple[Block, ...]
    ways: tuple[tuple[PillarNodes, tuple[Block, ...]], ...]
    available: Availability

    @property
    def fits(self) -> bool:
        return not self.blocks

    def missing(self) -> tuple[Block, ...]:
        """Of the nodes that lack least."""
        if self.available is not Availability.NO:
            return ()
        if not self.ways:
            return (Block(self.pillar, None),)
        return min((blocks for _, blocks in self.ways), key=lambda found: (len(found), [b.name for b in found]))


def active(rules: Rules, demanded: Mapping[str, Value]) -> list[Constraint]:
    return [c for c in rules.constraints if holds(c.when, demanded)]


def standing(
    constraints: list[Constraint], known: Figures, demanded: Mapping[str, Value], here: PillarsHere, pillar: Pillar
) -> Standing:
    """constraints: the active ones. known: figures as `best_of` left them."""
    blocks = tuple(_blocks(constraints, known, demanded, pillar))
    ways = tuple(
        (nodes, tuple(_missing(constraints, known, demanded, nodes))) for nodes in here.nodes if nodes.pillar is pillar
    )
    able = [nodes for nodes, missing in ways if not missing]
    if not able:
        available = Availability.NO
    elif all(nodes.emulated for nodes in able):
        available = Availability.EMULATED
    else:
        available = Availability.YES
    return Standing(pillar, blocks, ways, available)


def _blocks(
    constraints: list[Constraint], known: Figures, demanded: Mapping[str, Value], pillar: Pillar
) -> list[Block]:
    found = []
    for constraint in constraints:
        if pillar in constraint.refuses:
            found.append(Block(pillar, constraint))
        elif constraint.limit:
            limit = float(demanded[constraint.limit.demand])
            over = next((f for f in floors(known, constraint.limit.figure, pillar) if bar(f) > limit), None)
            if over is not None:
                found.append(Block(pillar, constraint, figure=over))
    return found


def floors(known: Figures, name: FigureName, pillar: Pillar) -> list[Figure]:
    """The figures that tell what the pillar cannot be under: its own and, as long as that is a claim, what was measured
    in a guest without an operating system."""
    figure = known.of(name, pillar)
    if figure is not None and figure.measured:
        return [figure]
    return [f for f in (known.bare(name, pillar), figure) if f is not None]


def bar(figure: Figure) -> float:
    """What a demand must not be under: the median of what was measured, of a claim the lowest that was published, since
    a claim that nobody checked must not refuse what another did."""
    return figure.value if figure.measured else figure.low


def _missing(
    constraints: list[Constraint], known: Figures, demanded: Mapping[str, Value], nodes: PillarNodes
) -> list[Block]:
    found = []
    for constraint in constraints:
        need = constraint.needs.get(nodes.pillar)
        if need is not None and not met(need, nodes):
            found.append(Block(nodes.pillar, constraint, need=need))
        if constraint.limit and nodes.emulated:
            slow = known.emulated(constraint.limit.figure, nodes.pillar)
            if slow is not None and slow.value > float(demanded[constraint.limit.demand]):
                found.append(Block(nodes.pillar, constraint, figure=slow))
    return found


def needs_of(constraints: Iterable[Constraint], state: Standing) -> tuple[Need, ...]:
    """Of a node that is to run the pillar: what active constraints need, and no emulation where what was measured under
    it is over a limit."""
    found = [c.needs[state.pillar] for c in constraints if state.pillar in c.needs]
    slow = {block.name for _, missing in state.ways for block in missing if block.figure is not None}
    found += [Need(hardware=True, words=Words(f"under emulation {name} is not met")) for name in sorted(slow)]
    return tuple(found)


def met(need: Need, nodes: PillarNodes) -> bool:
    if need.hardware and nodes.emulated:
        return False
    if need.traits and not any(t in nodes.traits for t in need.traits):
        return False
    if need.resources and not any(r in nodes.resources for r in need.resources):
        return False
    return not need.capabilities or any(c in nodes.capabilities for c in need.capabilities)
