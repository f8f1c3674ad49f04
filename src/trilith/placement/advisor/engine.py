"""The advisor: hard constraints first, then preferences; what decided, how near another answer is, and what lifts a
conflict. Pure. An Engine holds what rules and figures have in common for all workloads; `advise` is for one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trilith.model.figures import UNITS, Figures, best_of
from trilith.model.guest import Pillar
from trilith.placement.advisor import wording
from trilith.placement.advisor.accounts import costs, flip_points, overrides, ranked_pillar, refused_pillar
from trilith.placement.advisor.advice import (
    Advice,
    Availability,
    Conflict,
    FigureFlip,
    GivingUp,
    Level,
    WithoutDemand,
)
from trilith.placement.advisor.breakeven import thresholds
from trilith.placement.advisor.conflict import conflicts, corrections, first_few
from trilith.placement.advisor.demands import BY_NAME, demanded
from trilith.placement.advisor.feasibility import active, standing
from trilith.placement.advisor.here import PillarsHere
from trilith.placement.advisor.recipes import gets
from trilith.placement.advisor.rules import Rules, Words
from trilith.placement.advisor.score import Preferences, ranked
from trilith.placement.advisor.verdict import Verdict
from trilith.placement.advisor.workload import Workload

__all__ = ["Engine", "Verdict", "advise"]

#: a weight's share by which it may be wrong before the summary says that the answer is close
_CLOSE = 0.1


class Engine:
    """rules with figures: the measured ones, or what `best_of` made of them and the rules' defaults. Made anew where
    either changes."""

    def __init__(self, rules: Rules, figures: Figures) -> None:
        self.rules = rules
        self.known = figures if figures.used else best_of(figures, rules.defaults)
        self._preferences = Preferences(rules, self.known)

    def verdict(self, workload: Workload, here: PillarsHere) -> Verdict:
        wanted = demanded(workload)
        constraints = active(self.rules, wanted)
        standings = {p: standing(constraints, self.known, wanted, here, p) for p in Pillar}
        scored = self._preferences.score(wanted, here)
        order = ranked(scored.scores, [p for p in Pillar if standings[p].fits], self.rules)
        tier = tuple(p for p in order if standings[p].available is Availability.YES) or tuple(
            p for p in order if standings[p].available is Availability.EMULATED
        )
        return Verdict(wanted, standings, scored, order, tier)

    def advise(self, workload: Workload, here: PillarsHere) -> Advice:
        v = self.verdict(workload, here)
        winner = v.choice or v.best
        conflict = None if v.choice else self._conflict(workload, here, v)
        state = v.standings[winner].available if winner else Availability.NO
        told = wording.summary(v.best, v.choice, v.scored.scores[winner] if winner else 0.0, state)
        points = flip_points(v, self.rules)
        if conflict is not None:
            told = wording.joined(told, Words(conflict.text, conflict.text_zh))
        elif points and points[0].share <= _CLOSE:
            told = wording.joined(told, wording.close(points[0]))
        refused = [p for p in ranked(v.scored.scores, Pillar, self.rules) if not v.standings[p].fits]
        return Advice(
            workload=workload,
            best=v.best,
            choice=v.choice,
            summary=told.en,
            summary_zh=told.zh,
            ranking=tuple(ranked_pillar(p, v, workload, self.known, self.rules) for p in v.order),
            refused=tuple(refused_pillar(p, v, workload) for p in refused),
            sensitivity=points,
            figure_flips=self._figure_flips(workload, here, v),
            without=self._without(workload, here, v),
            overrides=tuple(overrides(v, workload)),
            costs=tuple(costs(self.known)),
            gets=gets(winner, v, self.rules) if winner else None,
            conflict=conflict,
            used=self.known.used,
            rules_version=self.rules.edition,
            operator_rules=self.rules.operator_rules,
        )

    def _figure_flips(self, workload: Workload, here: PillarsHere, v: Verdict) -> tuple[FigureFlip, ...]:
        """Of the figures that this answer rests on."""
        names = [rule.figure for rule, _ in v.scored.rules if rule.figure]
        names += [c.limit.figure for c in active(self.rules, v.demanded) if c.limit]
        winner = v.choice or v.best

        def wins(supposed: Figures, pillar: Pillar) -> bool:
            found = Engine(self.rules, supposed).verdict(workload, here)
            return (found.choice or found.best) is pillar

        told = []
        for t in thresholds(self.known, dict.fromkeys(names), Pillar, wins):
            words = wording.threshold(t, winner)
            told.append(
                FigureFlip(
                    figure=t.name, pillar=t.pillar, flips_at=t.at, unit=UNITS[t.name], now=t.now,
                    wins=t.pillar is winner, text=words.en, text_zh=words.zh,
                )
            )  # fmt: skip
        return tuple(told)

    def _without(self, workload: Workload, here: PillarsHere, v: Verdict) -> tuple[WithoutDemand, ...]:
        """The demands that the answer hangs on."""
        found = []
        for name in v.demanded:
            choice = self.verdict(_less(workload, (name,)), here).choice
            if choice is not v.choice:
                told = wording.without(workload, name, choice)
                found.append(WithoutDemand(demand=name, choice=choice, text=told.en, text_zh=told.zh))
        return tuple(found)

    def _conflict(self, workload: Workload, here: PillarsHere, v: Verdict) -> Conflict:
        """Where nothing fits, by what the pillars are; where nothing that fits is here, by what the nodes are, too."""
        level = Level.CLOUD if v.order else Level.WORKLOAD
        ways = [
            [frozenset(b.demands) for b in (*state.blocks, *missing)]
            for state in v.standings.values()
            for missing in ([()] if level is Level.WORKLOAD else [blocks for _, blocks in state.ways])
        ]
        corrected = corrections(ways)
        sets = tuple(_in_order(s) for s in first_few(conflicts(corrected)))
        told = wording.conflict(workload, sets, anywhere=level is Level.WORKLOAD)
        giving_up = []
        for given_up in first_few(corrected):
            names = _in_order(given_up)
            after = self.verdict(_less(workload, names), here)
            pillar = after.choice or after.best
            assert pillar is not None, names
            score, state = after.scored.scores[pillar], after.standings[pillar].available
            words = wording.giving_up(workload, names, pillar, score, state)
            giving_up.append(
                GivingUp(
                    demands=names, pillar=pillar, score=score, available_here=state, text=words.en, text_zh=words.zh
                )
            )
        giving_up.sort(key=lambda g: (len(g.demands), g.available_here is Availability.NO, -g.score, g.demands))
        return Conflict(level=level, demands=sets, giving_up=tuple(giving_up), text=told.en, text_zh=told.zh)


def advise(workload: Workload, pillars: PillarsHere, figures: Figures, rules: Rules) -> Advice:
    """For one workload. figures: what was measured (an empty collection where nothing was)."""
    return Engine(rules, figures).advise(workload, pillars)


def _less(workload: Workload, names: tuple[str, ...]) -> Workload:
    without: dict[str, Any] = {BY_NAME[n].field: None for n in names}
    return replace(workload, **without)


def _in_order(names: frozenset[str]) -> tuple[str, ...]:
    return tuple(n for n in BY_NAME if n in names)
