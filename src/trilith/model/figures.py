"""What a pillar costs, in figures: measured on a host, or published by somebody and shipped as a default. Pure data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from trilith import errors
from trilith.model.guest import Pillar


class FigureName(StrEnum):
    START_TO_FIRST_ANSWER = "start_to_first_answer"  # from the order to start until the guest answers once
    MEMORY = "memory"  # of the host's memory, all that a guest holds which has just started
    MEMORY_OVERHEAD = "memory_overhead"  # of the host's memory, beside what the guest's own processes use
    MEMORY_OVERHEAD_SHARE = "memory_overhead_share"  # the same as a share of the guest's size
    SCHEDULING_LATENCY = "scheduling_latency"  # from a timer's end until the thread runs, as cyclictest
    SYSTEM_CALL = "system_call"
    DISK_WRITE_LATENCY = "disk_write_latency"  # one small write that is on the disk when it returns
    DISK_THROUGHPUT = "disk_throughput"
    NETWORK_ROUND_TRIP = "network_round_trip"
    NETWORK_THROUGHPUT = "network_throughput"


#: the one unit of each figure
UNITS: dict[FigureName, str] = {
    FigureName.START_TO_FIRST_ANSWER: "ms",
    FigureName.MEMORY: "MiB",
    FigureName.MEMORY_OVERHEAD: "MiB",
    FigureName.MEMORY_OVERHEAD_SHARE: "%",
    FigureName.SCHEDULING_LATENCY: "µs",
    FigureName.SYSTEM_CALL: "ns",
    FigureName.DISK_WRITE_LATENCY: "µs",
    FigureName.DISK_THROUGHPUT: "MiB/s",
    FigureName.NETWORK_ROUND_TRIP: "µs",
    FigureName.NETWORK_THROUGHPUT: "Mbit/s",
}

#: figures of which more is better; of all others less is
MORE_IS_BETTER = frozenset({FigureName.DISK_THROUGHPUT, FigureName.NETWORK_THROUGHPUT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """value: the median of what was measured, in `unit` (UNITS has the one allowed). low, high: its spread, the 10th
    and 90th percentile; of a published claim the lowest and highest published.

    samples: how many measurements; 0 is a claim that nobody measured here. source: where it is from, in words.
    emulated: measured in a guest under emulation; it says nothing about its pillar. bare: in a guest without an
    operating system: a floor, under what any real guest needs. Raises Invalid.
    """

    name: FigureName
    pillar: Pillar
    value: float
    unit: str
    low: float
    high: float
    samples: int
    source: str
    emulated: bool = False
    bare: bool = False

    def __post_init__(self) -> None:
        if self.unit != UNITS[self.name]:
            raise errors.Invalid(f"{self.name} is in {UNITS[self.name]}, not in {self.unit!r}.", field="unit")
        if not all(math.isfinite(v) for v in (self.low, self.value, self.high)):
            raise errors.Invalid(f"{self.name} of {self.pillar} is not a number.", field="value")
        if not 0 <= self.low <= self.value <= self.high:
            raise errors.Invalid(
                f"{self.name} of {self.pillar}: low {self.low:g}, value {self.value:g} and high {self.high:g} are not "
                "in order from 0.",
                field="value",
            )
        if self.samples < 0:
            raise errors.Invalid(f"{self.name} of {self.pillar} has {self.samples} samples.", field="samples")

    @property
    def measured(self) -> bool:
        return self.samples > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredHost:
    """The machine that figures were measured on. virtualization: what it runs in itself, "" where nothing says so.
    version: of the Trilith that measured. load: threads that ran or wanted to before it began, mean of a minute."""

    name: str
    cpu: str = ""
    threads: int = 0
    memory_mib: int = 0
    kernel: str = ""
    virtualization: str = ""
    version: str = ""
    load: float = 0.0

    @property
    def busy(self) -> bool:
        """Whether others took so much of it that the figures are theirs, too."""
        return self.load > max(self.threads, 1) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """Which figure stands for a pillar, and what it stands in place of. unused: one that may not, with why."""

    name: FigureName
    pillar: Pillar
    figure: Figure | None
    instead_of: Figure | None = None
    unused: Figure | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A collection: one host's, or the shipped defaults (host None). measured_at: seconds since the epoch, 0: never.

    used: what `best_of` decided; empty in a collection as it was measured.
    """

    figures: tuple[Figure, ...] = ()
    host: MeasuredHost | None = None
    measured_at: float = 0.0
    used: tuple[Used, ...] = ()

    def of(self, name: FigureName, pillar: Pillar) -> Figure | None:
        """What stands for the pillar: never a figure under emulation, nor a bare guest's."""
        return next((f for f in self._all(name, pillar) if not (f.emulated or f.bare)), None)

    def emulated(self, name: FigureName, pillar: Pillar) -> Figure | None:
        """What was measured under emulation: to be reported, not to be reckoned with."""
        return next((f for f in self._all(name, pillar) if f.emulated), None)

    def bare(self, name: FigureName, pillar: Pillar) -> Figure | None:
        """What was measured in a guest without an operating system: reported beside the rest, as a floor."""
        return next((f for f in self._all(name, pillar) if f.bare and not f.emulated), None)

    def _all(self, name: FigureName, pillar: Pillar) -> Iterator[Figure]:
        return (f for f in self.figures if f.name is name and f.pillar is pillar)


def best_of(measured: Figures | None, defaults: Figures) -> Figures:
    """Each figure measured where it was, else the default, and which it was (`used`). Where a guest ran under
    emulation, or had no operating system, the default stays, and what was measured is kept beside it."""
    mine = measured or Figures()
    chosen: list[Figure] = []
    used: list[Used] = []
    for name in FigureName:
        for pillar in Pillar:
            here, default = mine.of(name, pillar), defaults.of(name, pillar)
            floor, slow = mine.bare(name, pillar), mine.emulated(name, pillar)
            best = here or default
            if best is None and floor is None and slow is None:
                continue
            chosen += [f for f in (best, floor, slow) if f is not None]
            used.append(
                Used(
                    name=name,
                    pillar=pillar,
                    figure=best,
                    instead_of=default if here is not None else None,
                    unused=floor or slow,
                    why=_why_unused(floor or slow),
                )
            )
    return Figures(figures=tuple(chosen), host=mine.host, measured_at=mine.measured_at, used=tuple(used))


def _why_unused(figure: Figure | None) -> str:
    if figure is None:
        return ""
    if figure.bare:
        return f"measured in a guest without an operating system: a floor for {figure.pillar}, no more"
    return f"measured under emulation, which says nothing about {figure.pillar}"
