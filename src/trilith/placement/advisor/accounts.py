"""The parts of an advice that follow from a verdict alone: what each rule brought, what was refused and why, what
would flip it, what overrode the table, what it costs. Pure."""

from __future__ import annotations

from trilith.model.figures import FigureName, Figures
from trilith.model.guest import Pillar
from trilith.placement.advisor import wording
from trilith.placement.advisor.advice import (
    Contribution,
    Cost,
    CostKind,
    Evidence,
    FlipPoint,
    Level,
    Override,
    Ranked,
    Refusal,
    Refused,
)
from trilith.placement.advisor.feasibility import Block, active
from trilith.placement.advisor.rules import Rules
from trilith.placement.advisor.sensitivity import flips
from trilith.placement.advisor.verdict import Verdict
from trilith.placement.advisor.workload import Workload

#: which figures a cost is told by, the first that is known
_COSTS: tuple[tuple[CostKind, tuple[FigureName, ...]], ...] = (
    (CostKind.MEMORY, (FigureName.MEMORY, FigureName.MEMORY_OVERHEAD_SHARE)),
    (CostKind.MEMORY, (FigureName.MEMORY_OVERHEAD,)),
    (CostKind.START, (FigureName.START_TO_FIRST_ANSWER,)),
    (CostKind.CPU, (FigureName.SCHEDULING_LATENCY,)),
    (CostKind.CPU, (FigureName.SYSTEM_CALL,)),
    (CostKind.DISK, (FigureName.DISK_WRITE_LATENCY, FigureName.DISK_THROUGHPUT)),
    (CostKind.NETWORK, (FigureName.NETWORK_ROUND_TRIP,)),
    (CostKind.NETWORK, (FigureName.NETWORK_THROUGHPUT,)),
)


def ranked_pillar(pillar: Pillar, v: Verdict, workload: Workload, known: Figures, rules: Rules) -> Ranked:
    """One that fits."""
    weights = sum(rule.weight for rule, _ in v.scored.rules)
    contributions = []
    for rule, worths in v.scored.rules:
        worth = worths[pillar]
        told = wording.contribution(rule, worth)
        contributions.append(
            Contribution(
                rule=rule.name,
                weight=rule.weight,
                value=worth.value,
                share=100 * rule.weight * worth.value / weights if weights else 0.0,
                evidence=worth.evidence,
                text=told.en,
                text_zh=told.zh,
                figure=worth.figure,
            )
        )
    state = v.standings[pillar]
    warned = wording.warnings(pillar, state, known, v.demanded, active(rules, v.demanded))
    return Ranked(
        pillar=pillar,
        score=v.scored.scores[pillar],
        available_here=state.available,
        contributions=tuple(sorted(contributions, key=lambda c: (-c.share, c.rule))),
        missing=tuple(refusal(b, Level.CLOUD, workload) for b in state.missing()),
        warnings=tuple(w.en for w in warned),
        warnings_zh=tuple(w.zh for w in warned),
    )


def refused_pillar(pillar: Pillar, v: Verdict, workload: Workload) -> Refused:
    return Refused(
        pillar=pillar,
        score=v.scored.scores[pillar],
        available_here=v.standings[pillar].available,
        refusals=tuple(refusal(b, Level.WORKLOAD, workload) for b in v.standings[pillar].blocks),
    )


def refusal(block: Block, level: Level, workload: Workload) -> Refusal:
    told = wording.refusal(block, workload)
    return Refusal(
        pillar=block.pillar,
        constraint=block.name,
        level=level,
        demands=block.demands,
        text=told.en,
        text_zh=told.zh,
        figure=block.figure,
    )


def flip_points(v: Verdict, rules: Rules) -> tuple[FlipPoint, ...]:
    others = v.tier or v.order
    if not others:
        return ()
    found = []
    for flip in flips(v.scored, others[0], others, rules):
        told = wording.flip(flip, others[0])
        found.append(
            FlipPoint(
                rule=flip.rule.name,
                weight=flip.rule.weight,
                flips_at=flip.flips_at,
                change=flip.change,
                share=flip.share,
                winner=flip.winner,
                direction=flip.direction,
                text=told.en,
                text_zh=told.zh,
            )
        )
    return tuple(found)


def overrides(v: Verdict, workload: Workload) -> list[Override]:
    """Of the decision table's rows."""
    found = []
    for rule, worths in v.scored.rules:
        if not rule.row.en:
            continue
        favourite = max(rule.values, key=lambda p: rule.values[p])
        for pillar, prior in rule.values.items():
            worth = worths[pillar]
            if worth.evidence is not Evidence.PRIOR and abs(worth.value - prior) > 1e-9:
                by = worth.figure.name if worth.figure else ", ".join(worth.trait.traits if worth.trait else ())
                told = wording.override(rule, pillar, prior, worth)
                found.append(
                    Override(
                        rule=rule.name, pillar=pillar, by=by, evidence=worth.evidence, prior=prior,
                        became=worth.value, text=told.en, text_zh=told.zh,
                    )
                )  # fmt: skip
        for block in v.standings[favourite].blocks:
            told = wording.overruled(rule, block, workload)
            found.append(
                Override(
                    rule=rule.name, pillar=favourite, by=block.name, evidence=None,
                    prior=rule.values[favourite], became=None, text=told.en, text_zh=told.zh,
                )
            )  # fmt: skip
    return found


def costs(known: Figures) -> list[Cost]:
    """Of every pillar, refused or not."""
    found = []
    for pillar in Pillar:
        for kind, names in _COSTS:
            name = next((n for n in names if known.of(n, pillar)), names[0])
            found.append(
                Cost(
                    pillar=pillar,
                    kind=kind,
                    name=name,
                    figure=known.of(name, pillar),
                    emulated=known.emulated(name, pillar),
                    bare=known.bare(name, pillar),
                )
            )
    return found
