"""What `trilith benchmark pillars` found out on one node about one pillar, as it is kept."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from trilith.model.figures import UNITS, Figure, FigureName, Figures, MeasuredHost
from trilith.model.guest import Pillar
from trilith.model.record import Record


class GuestKind(StrEnum):
    LINUX = "linux"
    BARE = "bare"  # no operating system: what the hypervisor itself costs


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """median, 10th and 90th percentile of `samples` measurements, in the figure's unit."""

    value: float
    low: float
    high: float
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One figure in a guest. bare_process: the same on the host, by the same program in the same run, where that can
    be. how: with what, in words."""

    name: FigureName
    guest: Spread
    bare_process: Spread | None = None
    how: str = ""

    @property
    def ratio(self) -> float | None:
        """Times the bare process."""
        base = self.bare_process
        return self.guest.value / base.value if base is not None and base.value > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PillarFigures(Record):
    """Of the guests of one kind on one node; a new run takes the place of the last. node: its name.

    emulated: without hardware virtualisation. about: the guests, in words. left_out: figure → why it was not measured.
    """

    node: str
    pillar: Pillar
    guest: GuestKind
    emulated: bool
    about: str
    host: MeasuredHost
    measured: tuple[Measured, ...]
    left_out: dict[str, str]
    measured_at: float

    def figure(self, of: Measured) -> Figure:
        """As the advisor takes it. Raises Invalid for numbers that are none."""
        busy = f"; busy meanwhile, load {self.host.load:.1f} on {self.host.threads} threads" if self.host.busy else ""
        day = time.strftime("%Y-%m-%d", time.gmtime(self.measured_at))
        return Figure(
            name=of.name,
            pillar=self.pillar,
            value=of.guest.value,
            unit=UNITS[of.name],
            low=of.guest.low,
            high=of.guest.high,
            samples=of.guest.samples,
            source=f"measured on {self.node}, {day}: {self.about}{busy}",
            emulated=self.emulated,
            bare=self.guest is GuestKind.BARE,
        )


def figures_of(kept: Iterable[PillarFigures]) -> Figures | None:
    """One node's, as the advisor takes them; None where nothing was measured."""
    rows = sorted(kept, key=lambda row: row.measured_at)
    if not rows:
        return None
    return Figures(
        figures=tuple(row.figure(one) for row in rows for one in row.measured),
        host=rows[-1].host,
        measured_at=rows[-1].measured_at,
    )
