"""The one table: figures with their spread, beside their goals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """value and goal in `unit`; at_least: the goal is a floor. A row without a goal is neither met nor missed."""

    section: str
    what: str
    value: float
    unit: str
    spread: str = ""
    count: int = 1
    goal: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        met = self.value >= self.goal if self.at_least else self.value <= self.goal
        return "met" if met else "MISSED"


@dataclass
class Table:
    """Rows as they come; each is printed at once, so that an interrupted run still says what it found."""

    rows: list[Row] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        print("   " + line(row), flush=True)

    def times(
        self, section: str, what: str, seconds: Sequence[float], *, goal: float | None = None, note: str = ""
    ) -> float:
        """Median of `seconds` as a row in milliseconds; goal in milliseconds. Returns the median in seconds."""
        middle = statistics.median(seconds)
        self.add(Row(section, what, middle * 1e3, "ms", spread(seconds, 1e3), len(seconds), goal=goal, note=note))
        return middle

    def skip(self, what: str, why: str) -> None:
        self.left_out.append(f"{what}: {why}")
        print(f"   left out: {what}: {why}", flush=True)


def spread(values: Sequence[float], scale: float = 1.0) -> str:
    """Quartiles from eight values on, else the extremes; and the worst."""
    if len(values) < 2:
        return ""
    ordered = sorted(v * scale for v in values)
    if len(ordered) >= 8:
        low, _middle, high = statistics.quantiles(ordered, n=4)
        return f"{figure(low)}..{figure(high)}, worst {figure(ordered[-1])}"
    return f"{figure(ordered[0])}..{figure(ordered[-1])}"


def figure(value: float) -> str:
    """Three digits that matter."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def line(row: Row) -> str:
    parts = [f"{row.what}: {figure(row.value)} {row.unit}"]
    if row.spread:
        parts.append(f"({row.spread}; N={row.count})")
    if row.goal is not None:
        parts.append(f"goal {'≥' if row.at_least else '≤'} {figure(row.goal)}: {row.verdict}")
    if row.note:
        parts.append(f"[{row.note}]")
    return " ".join(parts)


def markdown(table: Table, facts: Sequence[tuple[str, str]]) -> str:
    out = ["| This machine | |", "| --- | --- |"]
    out += [f"| {name} | {value} |" for name, value in facts]
    out += [
        "",
        "| Part | What | Figure | Spread | N | Goal | | Note |",
        "| --- | --- | ---: | --- | ---: | ---: | --- | --- |",
    ]
    for r in table.rows:
        goal = "" if r.goal is None else f"{'≥' if r.at_least else '≤'} {figure(r.goal)} {r.unit}"
        out.append(
            f"| {r.section} | {r.what} | {figure(r.value)} {r.unit} | {r.spread} | {r.count} | {goal} | {r.verdict} "
            f"| {r.note} |"
        )
    if table.left_out:
        out += ["", "Left out:", *(f"- {each}" for each in table.left_out)]
    judged = [r for r in table.rows if r.verdict]
    met = sum(r.verdict == "met" for r in judged)
    out += ["", f"{met} of {len(judged)} goals met."]
    return "\n".join(out)
