"""Where the marks of the page's charts are: plain geometry, in the units of each chart's viewBox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trilith.model.figures import Figure, FigureName
from trilith.model.guest import Pillar
from trilith.placement.advisor.advice import Advice, Cost, FlipPoint

#: told apart by people who see few colours, and in print (Okabe and Ito, 2008; then their darker kin)
COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c7a00", "#5b4b8a", "#7a3b2e", "#4d4d4d",
)  # fmt: skip
WIDTH = 760.0
_LABEL = 64.0
_VALUE = 56.0
_SPAN = WIDTH - _LABEL - _VALUE
_ROW = 34.0
#: the rules' own bound on weights
HEAVIEST = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One rule's part of a bar."""

    rule: str
    points: float
    colour: str
    x: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """refused: its length is what preferences alone would give."""

    pillar: Pillar
    score: float
    y: float
    x: float
    width: float
    refused: bool
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    width: float
    height: float
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]


def colours(advice: Advice) -> dict[str, str]:
    """Rule → its colour, the heaviest contributions first."""
    most: dict[str, float] = {}
    for ranked in advice.ranking:
        for part in ranked.contributions:
            most[part.rule] = max(most.get(part.rule, 0.0), part.share)
    ordered = sorted(most, key=lambda rule: (-most[rule], rule))
    return {rule: COLOURS[n % len(COLOURS)] for n, rule in enumerate(ordered)}


def ranking(advice: Advice) -> Ranking:
    """Scores as bars of their rules' parts, 0 to 100."""
    by_rule = colours(advice)
    bars: list[Bar] = []
    scale = _SPAN / 100.0
    for ranked in advice.ranking:
        at = _LABEL
        segments = []
        for part in sorted(ranked.contributions, key=lambda c: list(by_rule).index(c.rule)):
            width = part.share * scale
            segments.append(Segment(rule=part.rule, points=part.share, colour=by_rule[part.rule], x=at, width=width))
            at += width
        bars.append(
            Bar(
                pillar=ranked.pillar,
                score=ranked.score,
                y=len(bars) * _ROW,
                x=_LABEL,
                width=ranked.score * scale,
                refused=False,
                segments=tuple(segments),
            )
        )
    bars += [
        Bar(
            pillar=one.pillar,
            score=one.score,
            y=(len(advice.ranking) + n) * _ROW,
            x=_LABEL,
            width=one.score * scale,
            refused=True,
        )
        for n, one in enumerate(advice.refused)
    ]
    ticks = tuple((_LABEL + _SPAN * n / 4, f"{n * 25}") for n in range(5))
    return Ranking(width=WIDTH, height=len(bars) * _ROW + 22, bars=tuple(bars), ticks=ticks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A weight's way from where it is to where another pillar wins."""

    point: FlipPoint
    y: float
    at: float
    to: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Flips:
    width: float
    height: float
    label: float
    flips: tuple[Flip, ...]
    ticks: tuple[tuple[float, str], ...]


def flips(points: Sequence[FlipPoint], most: int = 8) -> Flips:
    """The nearest `most`, on an axis of weights."""
    label = 220.0
    span = WIDTH - label - _VALUE
    rows = 26.0
    found = tuple(
        Flip(
            point=p,
            y=n * rows + 14,
            at=label + span * min(p.weight, HEAVIEST) / HEAVIEST,
            to=label + span * min(p.flips_at, HEAVIEST) / HEAVIEST,
        )
        for n, p in enumerate(points[:most])
    )
    ticks = tuple((label + span * n / 5, f"{n * 2}") for n in range(6))
    return Flips(width=WIDTH, height=len(found) * rows + 24, label=label, flips=found, ticks=ticks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """A figure as a bar with its spread. counted: it is reckoned with; False: measured under emulation or without an
    operating system, shown only."""

    figure: Figure
    counted: bool
    y: float
    width: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    name: FigureName
    unit: str
    width: float
    height: float
    label: float
    amounts: tuple[Amount, ...]


def amounts(costs: Sequence[Cost]) -> list[Amounts]:
    """A chart for each figure that is known of any pillar. Its axis begins at 0 and ends at the highest spread."""
    found = []
    for name in dict.fromkeys(c.name for c in costs):
        figures = [
            (figure, counted)
            for cost in costs
            if cost.name is name
            for figure, counted in ((cost.figure, True), (cost.bare, False), (cost.emulated, False))
            if figure is not None
        ]
        if not figures:
            continue
        label, rows = 120.0, 24.0
        span = WIDTH - label - 150.0
        top = max(f.high for f, _ in figures) or 1.0
        marks = tuple(
            Amount(
                figure=figure,
                counted=counted,
                y=n * rows,
                width=span * figure.value / top,
                low=label + span * figure.low / top,
                high=label + span * figure.high / top,
            )
            for n, (figure, counted) in enumerate(figures)
        )
        found.append(
            Amounts(
                name=name,
                unit=figures[0][0].unit,
                width=WIDTH,
                height=len(marks) * rows + 4,
                label=label,
                amounts=marks,
            )
        )
    return found
