"""What is reckoned of a workload before anything is put in words. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trilith.model.guest import Pillar
from trilith.placement.advisor.demands import Value
from trilith.placement.advisor.feasibility import Standing
from trilith.placement.advisor.score import Scored


@dataclass(frozen=True, slots=True)
class Verdict:
    """demanded: name → value. order: pillars that fit, best first. tier: those of them that the choice is made among
    (available with hardware, else under emulation); choice: the first of them."""

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
