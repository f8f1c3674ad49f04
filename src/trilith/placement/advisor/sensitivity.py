"""Which weight flips the result, and how far it is from that. Exact: scores are linear in each weight, and the sum of
the weights that all of them are divided by changes no order. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum

from trilith.model.guest import Pillar
from trilith.placement.advisor.advice import Direction
from trilith.placement.advisor.rules import HEAVIEST, Preference, Rules
from trilith.placement.advisor.score import Scored

#: differences under it are none: the rounding of sums of products
_NOTHING = 1e-12


@dataclass(frozen=True, slots=True)
class Flip:
    rule: Preference
    flips_at: float
    winner: Pillar
    direction: Direction

    @property
    def change(self) -> float:
        return self.flips_at - self.rule.weight

    @property
    def share(self) -> float:
        return abs(self.change) / (self.rule.weight or 1.0)


def flips(scored: Scored, winner: Pillar, others: Iterable[Pillar], rules: Rules) -> tuple[Flip, ...]:
    """Nearest first. others: those that could win in its place. A weight stays from 0 to HEAVIEST."""
    rivals = [p for p in others if p is not winner]
    leads = {p: fsum(r.weight * (w[winner].value - w[p].value) for r, w in scored.rules) for p in rivals}
    found: list[Flip] = []
    for rule, worths in scored.rules:
        crossings: dict[Direction, list[tuple[float, float, int, Pillar]]] = {d: [] for d in Direction}
        for rival in rivals:
            slope = worths[winner].value - worths[rival].value  # of the lead, in this weight
            if abs(slope) < _NOTHING:
                continue
            at = rule.weight - leads[rival] / slope
            direction = Direction.BELOW if slope > 0 else Direction.ABOVE
            if (at <= _NOTHING) if slope > 0 else (at >= HEAVIEST - _NOTHING):
                continue
            # of those that cross at one point the steepest is ahead beyond it
            distance = round(abs(at - rule.weight), 9)
            crossings[direction].append((distance, -abs(slope), rules.least_first.index(rival), rival))
        for direction, points in crossings.items():
            if points:
                distance, _, _, rival = min(points)
                sign = -1 if direction is Direction.BELOW else 1
                found.append(Flip(rule, rule.weight + sign * distance, rival, direction))
    return tuple(sorted(found, key=lambda f: (f.share, f.rule.name, f.direction)))
