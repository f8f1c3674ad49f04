"""An advice: the ranking, what decided, what would change it, what it costs, and how to get it. Plain data, which
`msgspec.to_builtins` turns into JSON at the edge.

Words that come from the rules carry a Chinese form beside the English one (`_zh`, "" where the rules have none).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from trilith.model.figures import Figure, FigureName, Used
from trilith.model.guest import Pillar
from trilith.placement.advisor.workload import Workload


class Evidence(StrEnum):
    """What a rule's value for a pillar rests on."""

    PRIOR = "prior"  # the rule's own number: an opinion
    CLAIM = "claim"  # a published figure that nobody measured here
    MEASURED = "measured"  # a figure of this cloud's hosts
    TRAIT = "trait"  # what a node of this cloud can do
    NONE = "none"  # no figure is known; the value is neutral


class Availability(StrEnum):
    YES = "yes"
    EMULATED = "emulated"  # only without hardware virtualisation
    NO = "no"


class Level(StrEnum):
    """Where a pillar is refused: by what it is, or by what this cloud has."""

    WORKLOAD = "workload"
    CLOUD = "cloud"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """One rule's part of a pillar's score: weight x value, value from 0 to 1. share: points of the pillar's score (0 to
    100) that it brought."""

    rule: str
    weight: float
    value: float
    share: float
    evidence: Evidence
    text: str
    text_zh: str = ""
    figure: Figure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A hard constraint that refuses a pillar. demands: the names of those it follows from; giving up one of them lifts
    it. None: nothing in the workload can lift it (the cloud has no such node)."""

    pillar: Pillar
    constraint: str
    level: Level
    demands: tuple[str, ...]
    text: str
    text_zh: str = ""
    figure: Figure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A pillar that fits the workload. score: 0 to 100, the weighted mean of its rules' values. missing: why it is not
    available here."""

    pillar: Pillar
    score: float
    available_here: Availability
    contributions: tuple[Contribution, ...]
    missing: tuple[Refusal, ...] = ()
    warnings: tuple[str, ...] = ()
    warnings_zh: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A pillar that does not fit the workload. score: what its preferences alone would give it."""

    pillar: Pillar
    score: float
    available_here: Availability
    refusals: tuple[Refusal, ...]


class Direction(StrEnum):
    BELOW = "below"
    ABOVE = "above"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipPoint:
    """Below or above `flips_at` the rule's weight makes `winner` win instead. change: flips_at - weight. share: the
    size of the change in parts of the weight (of 1, where that is 0), by which they are ordered, nearest first."""

    rule: str
    weight: float
    flips_at: float
    change: float
    share: float
    winner: Pillar
    direction: Direction
    text: str
    text_zh: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureFlip:
    """`pillar` wins with a figure better than `flips_at` (to 1%, in `unit`), had it been measured so, and not with a
    worse one. now: what stands for it, None where nobody knows. wins: whether it does now."""

    figure: FigureName
    pillar: Pillar
    flips_at: float
    unit: str
    now: Figure | None
    wins: bool
    text: str
    text_zh: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WithoutDemand:
    """What would be chosen were one demand not made. None: still nothing."""

    demand: str
    choice: Pillar | None
    text: str
    text_zh: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A row of the decision table that evidence or a hard constraint overrode for a pillar. prior, became: its value
    before and after; None where a constraint refused the pillar."""

    rule: str
    pillar: Pillar
    by: str
    evidence: Evidence | None
    prior: float
    became: float | None
    text: str
    text_zh: str = ""


class CostKind(StrEnum):
    MEMORY = "memory"
    START = "start"
    CPU = "cpu"
    DISK = "disk"
    NETWORK = "network"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a pillar costs, with its source in the figure. emulated, bare: measured under emulation, and in a guest
    without an operating system; shown beside it."""

    pillar: Pillar
    kind: CostKind
    name: FigureName
    figure: Figure | None
    emulated: Figure | None = None
    bare: Figure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gets:
    """What asks this cloud for it. traits: to require of placement. notes: what has to be done beside it."""

    pillar: Pillar
    extra_specs: dict[str, str] = field(default_factory=dict)
    image_properties: dict[str, str] = field(default_factory=dict)
    traits: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    notes_zh: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GivingUp:
    """A smallest set of demands whose giving up makes a pillar possible, and what that brings."""

    demands: tuple[str, ...]
    pillar: Pillar
    score: float
    available_here: Availability
    text: str
    text_zh: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Demands that no pillar meets together. level WORKLOAD: none anywhere; CLOUD: none of this cloud.

    demands: the smallest sets in conflict, smallest first. giving_up: empty where no demand's giving up would help.
    """

    level: Level
    demands: tuple[tuple[str, ...], ...]
    giving_up: tuple[GivingUp, ...]
    text: str
    text_zh: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """best: the pillar that fits the workload best. choice: the best of those that this cloud has. None: there is none.

    summary: one sentence. used: which figures were reckoned with. rules: version of the rules, with the names of those
    that an operator added or changed.
    """

    workload: Workload
    best: Pillar | None
    choice: Pillar | None
    summary: str
    ranking: tuple[Ranked, ...]
    refused: tuple[Refused, ...]
    sensitivity: tuple[FlipPoint, ...]
    without: tuple[WithoutDemand, ...]
    overrides: tuple[Override, ...]
    costs: tuple[Cost, ...]
    gets: Gets | None
    conflict: Conflict | None
    used: tuple[Used, ...]
    rules_version: str
    operator_rules: tuple[str, ...] = ()
    summary_zh: str = ""
    figure_flips: tuple[FigureFlip, ...] = ()
