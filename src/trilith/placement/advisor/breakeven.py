"""What a measurement would have to show for another answer: from which value of a figure on a pillar wins, or no longer
does. Pure. A pillar only loses by a worse figure, so one value parts the two, and halving finds it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from trilith.model.figures import MORE_IS_BETTER, UNITS, Figure, FigureName, Figures
from trilith.model.guest import Pillar

#: values that are looked at, in any figure's unit, as powers of ten; and how near the answer comes (1%)
_FROM, _TO, _NEAR = -3.0, 9.0, math.log10(1.01)


@dataclass(frozen=True, slots=True)
class Threshold:
    """The pillar wins with a better figure than `at`, and not with a worse one. now: what stands for it."""

    name: FigureName
    pillar: Pillar
    at: float
    now: Figure | None


def thresholds(
    known: Figures, names: Iterable[FigureName], pillars: Iterable[Pillar], wins: Callable[[Figures, Pillar], bool]
) -> list[Threshold]:
    """wins: whether a pillar would, had these figures been measured. Figures that change nothing are not in it."""
    found = []
    for name in names:
        for pillar in pillars:

            def won(power: float, name: FigureName = name, pillar: Pillar = pillar) -> bool:
                return wins(with_measured(known, name, pillar, 10**power), pillar)

            better, worse = (_TO, _FROM) if name in MORE_IS_BETTER else (_FROM, _TO)
            if not won(better) or won(worse):
                continue
            while abs(worse - better) > _NEAR:
                middle = (better + worse) / 2
                better, worse = (middle, worse) if won(middle) else (better, middle)
            found.append(Threshold(name, pillar, 10 ** ((better + worse) / 2), known.of(name, pillar)))
    return found


def with_measured(known: Figures, name: FigureName, pillar: Pillar, value: float) -> Figures:
    """The same, had this one been measured so."""
    figure = Figure(
        name=name, pillar=pillar, value=value, unit=UNITS[name], low=value, high=value, samples=1, source="supposed"
    )
    stood = known.of(name, pillar)
    return replace(known, figures=(*(f for f in known.figures if f is not stood), figure))
