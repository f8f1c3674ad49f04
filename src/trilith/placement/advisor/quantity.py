"""Amounts with units, as people write them: "50 ms", "512 MiB", "1.5 Mpps". Pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum

_FORM = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-zµμ/]{0,12})\s*")


class Kind(StrEnum):
    DURATION = "duration"
    SIZE = "size"
    RATE = "packet rate"


#: unit → its kind and how many base units it is. Bases: microseconds, MiB, packets a second.
UNITS: dict[str, tuple[Kind, float]] = {
    "ns": (Kind.DURATION, 1e-3),
    "us": (Kind.DURATION, 1.0),
    "µs": (Kind.DURATION, 1.0),
    "ms": (Kind.DURATION, 1e3),
    "s": (Kind.DURATION, 1e6),
    "min": (Kind.DURATION, 60e6),
    "h": (Kind.DURATION, 3600e6),
    "KiB": (Kind.SIZE, 1 / 1024),
    "MiB": (Kind.SIZE, 1.0),
    "GiB": (Kind.SIZE, 1024.0),
    "TiB": (Kind.SIZE, 1024.0**2),
    "kB": (Kind.SIZE, 1e3 / 2**20),
    "MB": (Kind.SIZE, 1e6 / 2**20),
    "GB": (Kind.SIZE, 1e9 / 2**20),
    "TB": (Kind.SIZE, 1e12 / 2**20),
    "pps": (Kind.RATE, 1.0),
    "kpps": (Kind.RATE, 1e3),
    "Mpps": (Kind.RATE, 1e6),
}

_SAME = {"μs": "µs"}  # the Greek letter for the micro sign


class NotAllowed(ValueError):
    """message: what is wrong with a value; allowed: what it may be. Whoever knows the line makes an error of it."""

    def __init__(self, message: str, allowed: str) -> None:
        super().__init__(message)
        self.message = message
        self.allowed = allowed


@dataclass(frozen=True, slots=True)
class Quantity:
    number: float
    unit: str  # "" where none was written


def read(text: str, kind: Kind | None = None) -> Quantity:
    """kind: whose units to name where one is unknown. Raises NotAllowed for what is no number with an optional unit."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise NotAllowed(f"{text[:40]!r} is no amount", "a number and a unit, such as '50 ms' or '512 MiB'")
    unit = _SAME.get(found[2], found[2])
    if unit and unit not in UNITS:
        raise NotAllowed(f"there is no unit {found[2]!r}", units_of(kind) if kind else ", ".join(UNITS))
    return Quantity(float(found[1]), unit)


def units_of(kind: Kind) -> str:
    return ", ".join(unit for unit, (of, _) in UNITS.items() if of is kind)


def in_unit(text: str, kind: Kind, unit: str) -> float:
    """The amount in `unit`. Raises NotAllowed without a unit, and for one of another kind."""
    found = read(text, kind)
    if not found.unit:
        raise NotAllowed(f"{text.strip()!r} has no unit", f"a {kind} with one of {units_of(kind)}")
    of, factor = UNITS[found.unit]
    if of is not kind:
        raise NotAllowed(f"{text.strip()!r} is a {of}, not a {kind}", f"a {kind} with one of {units_of(kind)}")
    return found.number * factor / UNITS[unit][1]


def show(number: float, unit: str) -> str:
    """As people write it: 1500 ms is 1.5 s, 2048 MiB is 2 GiB."""
    for small, large, factor in (("ns", "µs", 1000), ("µs", "ms", 1000), ("ms", "s", 1000), ("s", "min", 60)):
        if unit == small and number >= factor:
            return show(number / factor, large)
    for small, large, factor in (("MiB", "GiB", 1024), ("pps", "kpps", 1000), ("kpps", "Mpps", 1000)):
        if unit == small and number >= factor:
            return show(number / factor, large)
    if number and abs(number) < 1e4:
        digits = max(0, 3 - 1 - math.floor(math.log10(abs(number)))) if abs(number) < 100 else 1
        return f"{round(number, digits):g} {unit}".strip()
    return f"{number:.0f} {unit}".strip()
