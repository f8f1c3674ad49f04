"""The advisor: hard constraints first, then preferences; what decided, how near another answer is, and what lifts a
conflict. Pure. An Engine holds what rules and figures have in common for all workloads; `advise` is for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from trilith.model.figures import UNITS, FigureName, Figures, best_of
from trilith.model.guest import Pillar
from trilith.placement.advisor import wording
from trilith.placement.advisor.advice import (
    Advice,
    Availability,
    Conflict,
    Contribution,
    Cost,
    CostKind,
    Evidence,
    FigureFlip,
    FlipPoint,
    GivingUp,
    Level,
    Override,
    Ranked,
    Refusal,
    Refused,
    WithoutDemand,
)
from trilith.placement.advisor.breakeven import thresholds
from trilith.placement.advisor.conflict import conflicts, corrections, first_few
from trilith.placement.advisor.demands import BY_NAME, Value, demanded
from trilith.placement.advisor.feasibility import Block, Standing, active, standing
from trilith.placement.advisor.here import PillarsHere
from trilith.placement.advisor.recipes import gets
from trilith.placement.advisor.rules import Rules
from trilith.placement.advisor.score import Preferences, Scored, ranked
from trilith.placement.advisor.sensitivity import flips
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


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is reckoned before anything is put in words. order: pillars that fit, best first. tier: those of them that
    the choice is made among (available with hardware, else under emulation); choice: the first of them."""

    demanded: Mapping[str, Value]
    standings: Mapping[Pillar, Standing]
    scored: Scored
    order: tuple[Pillar, ...]
    tier: tuple[Pillar, ...]

    @property
    def best(self) -> Pillar | None:
        return self.order[0] if self.order else None

    @property
    def choice(self) -> Pillar | None:
        return self.tier[0] if self.tier else None


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
        refused = [p for p in ranked(v.scored.scores, Pillar, self.rules) if not v.standings[p].fits]
        return Advice(
            workload=workload,
            best=v.best,
            choice=v.choice,
            summary=f"{told.en} {_sentence(conflict.text)}" if conflict else told.en,
            summary_zh=f"{told.zh}{conflict.text_zh}。" if conflict else told.zh,
            ranking=tuple(self._ranked(p, v, workload) for p in v.order),
            refused=tuple(
                Refused(
                    pillar=p,
                    score=v.scored.scores[p],
                    available_here=v.standings[p].available,
                    refusals=tuple(_refusal(b, Level.WORKLOAD, workload) for b in v.standings[p].blocks),
                )
                for p in refused
            ),
            sensitivity=self._sensitivity(v),
            figure_flips=self._figure_flips(workload, here, v),
            without=self._without(workload, here, v),
            overrides=tuple(self._overrides(v, workload)),
            costs=tuple(self._costs()),
            gets=gets(winner, v, self.rules) if winner else None,
            conflict=conflict,
            used=self.known.used,
            rules_version=self.rules.edition,
            operator_rules=self.rules.operator_rules,
        )

    def _ranked(self, pillar: Pillar, v: Verdict, workload: Workload) -> Ranked:
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
        warned = wording.warnings(pillar, state, self.known, v.demanded, active(self.rules, v.demanded))
        return Ranked(
            pillar=pillar,
            score=v.scored.scores[pillar],
            available_here=state.available,
            contributions=tuple(sorted(contributions, key=lambda c: (-c.share, c.rule))),
            missing=tuple(_refusal(b, Level.CLOUD, workload) for b in state.missing()),
            warnings=tuple(w.en for w in warned),
            warnings_zh=tuple(w.zh for w in warned),
        )

    def _sensitivity(self, v: Verdict) -> tuple[FlipPoint, ...]:
        others = v.tier or v.order
        if not others:
            return ()
        found = []
        for flip in flips(v.scored, others[0], others, self.rules):
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

    def _overrides(self, v: Verdict, workload: Workload) -> list[Override]:
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

    def _costs(self) -> list[Cost]:
        found = []
        for pillar in Pillar:
            for kind, names in _COSTS:
                name = next((n for n in names if self.known.of(n, pillar)), names[0])
                found.append(
                    Cost(
                        pillar=pillar,
                        kind=kind,
                        name=name,
                        figure=self.known.of(name, pillar),
                        emulated=self.known.emulated(name, pillar),
                        bare=self.known.bare(name, pillar),
                    )
                )
        return found

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


def _refusal(block: Block, level: Level, workload: Workload) -> Refusal:
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


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
