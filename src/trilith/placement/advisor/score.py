"""Preferences: what each rule is worth to each pillar, and the ranking of that. Pure.

A value from a figure is x / (x + h) or h / (x + h), where h is what the rule calls half: a pillar's value never depends
on which others there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import fsum

from trilith.model.figures import MORE_IS_BETTER, Figure, Figures
from trilith.model.guest import Pillar
from trilith.placement.advisor.advice import Evidence
from trilith.placement.advisor.demands import Value
from trilith.placement.advisor.here import PillarsHere
from trilith.placement.advisor.rules import Preference, Rules, TraitEvidence, holds

NEUTRAL = 0.5


@dataclass(frozen=True, slots=True)
class Worth:
    """A rule's value for a pillar, and what it rests on."""

    value: float
    evidence: Evidence
    figure: Figure | None = None
    trait: TraitEvidence | None = None


Worths = Mapping[Pillar, Worth]


@dataclass(frozen=True, slots=True)
class Scored:
    """The active preferences with what each is worth, and each pillar's score (0 to 100)."""

    rules: tuple[tuple[Preference, Worths], ...]
    scores: Mapping[Pillar, float]


class Preferences:
    """The rules' preferences over one set of figures. What does not depend on the workload is reckoned once."""

    def __init__(self, rules: Rules, known: Figures) -> None:
        self._known = known
        self._all = rules.preferences
        self._fixed: dict[str, Worths] = {p.name: self._worths(p, p.half_at) for p in self._all if not p.half_at_demand}

    def score(self, demanded: Mapping[str, Value], here: PillarsHere) -> Scored:
        found = [(rule, self._of(rule, demanded, here)) for rule in self._all if holds(rule.when, demanded)]
        weights = fsum(rule.weight for rule, _ in found)
        scores = {
            # rounded, so that what is equal by its rules is equal whatever the order of the sums
            pillar: round(100 * fsum(rule.weight * worths[pillar].value for rule, worths in found) / weights, 9)
            if weights
            else 100 * NEUTRAL
            for pillar in Pillar
        }
        return Scored(tuple(found), scores)

    def _of(self, rule: Preference, demanded: Mapping[str, Value], here: PillarsHere) -> Worths:
        if rule.half_at_demand:
            worths = self._worths(rule, float(demanded[rule.half_at_demand]))
        else:
            worths = self._fixed[rule.name]
        if not rule.evidence:
            return worths
        changed = dict(worths)
        for evidence in rule.evidence:
            if _shown(evidence, here):
                changed[evidence.pillar] = Worth(evidence.value, Evidence.TRAIT, trait=evidence)
        return changed

    def _worths(self, rule: Preference, half: float | None) -> Worths:
        worths = {p: Worth(v, Evidence.PRIOR) for p, v in rule.values.items()}
        if rule.figure is None or half is None:
            return worths
        figures = {p: f for p in Pillar if (f := self._known.of(rule.figure, p)) is not None}
        if (
            rule.row.en
        ):  # an opinion of the table gives way to what was measured, on two pillars at least, not to claims
            figures = {p: f for p, f in figures.items() if f.measured}
            figures = figures if len(figures) > 1 else {}
        for pillar, figure in figures.items():
            evidence = Evidence.MEASURED if figure.measured else Evidence.CLAIM
            worths[pillar] = Worth(worth_of(figure, half), evidence, figure)
        known = [w.value for w in worths.values()]
        for pillar in Pillar:  # what nobody knows must not win by it
            worths.setdefault(pillar, Worth(min(known, default=NEUTRAL), Evidence.NONE))
        return worths


def worth_of(figure: Figure, half: float) -> float:
    if figure.name in MORE_IS_BETTER:
        return figure.value / (figure.value + half)
    return half / (figure.value + half)


def _shown(evidence: TraitEvidence, here: PillarsHere) -> bool:
    return any(
        n.pillar is evidence.pillar and not n.emulated and any(t in n.traits for t in evidence.traits)
        for n in here.nodes
    )


def ranked(scores: Mapping[Pillar, float], pillars: Iterable[Pillar], rules: Rules) -> tuple[Pillar, ...]:
    """Best first; the one that costs a node least where they are equal."""
    return tuple(sorted(pillars, key=lambda p: (-scores[p], rules.least_first.index(p))))
