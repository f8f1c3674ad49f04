"""Rules as they are reckoned with: hard constraints, preferences with weights, and what gets it. Plain data, made of
YAML by `rules_file`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trilith.model.figures import FigureName, Figures
from trilith.model.guest import Pillar
from trilith.placement.advisor.demands import Value

#: a weight's bounds; a value's are 0 and 1
HEAVIEST = 10.0


@dataclass(frozen=True, slots=True)
class Words:
    """zh: "" where there is no Chinese form."""

    en: str
    zh: str = ""


NO_WORDS = Words("")


@dataclass(frozen=True, slots=True)
class Matcher:
    """What a rule's `when` asks of one demand. op: any, in, =, <, <=, >, >=. A demand that is not made never matches,
    so that giving one up never adds a refusal."""

    demand: str
    op: str
    value: Any = None

    def matches(self, demanded: Mapping[str, Value]) -> bool:
        given: Any = demanded.get(self.demand)
        if given is None:
            return False
        match self.op:
            case "any":
                return True
            case "in":
                return given in self.value
            case "=":
                return bool(given == self.value)
            case "<":
                return bool(given < self.value)
            case "<=":
                return bool(given <= self.value)
            case ">":
                return bool(given > self.value)
            case _:
                return bool(given >= self.value)


When = tuple[Matcher, ...]


def holds(when: When, demanded: Mapping[str, Value]) -> bool:
    return all(m.matches(demanded) for m in when)


def names_of(when: When) -> tuple[str, ...]:
    return tuple(m.demand for m in when)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a node must have for a pillar to be available: of traits, capabilities and resource classes one each, where
    any are named, and with hardware, no emulation."""

    traits: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    hardware: bool = False
    words: Words = NO_WORDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The figure may not be over the demand, in the same unit."""

    demand: str
    figure: FigureName


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """Where `when` holds: pillars that it refuses for good, and what a node needs for the others."""

    name: str
    when: When
    refuses: Mapping[Pillar, Words] = field(default_factory=dict)
    needs: Mapping[Pillar, Need] = field(default_factory=dict)
    limit: Limit | None = None
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraitEvidence:
    """A pillar's value where a node of this cloud that runs it, without emulation, has one of the traits."""

    pillar: Pillar
    traits: tuple[str, ...]
    value: float
    words: Words


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """Where `when` holds (empty: always), weight x value is added to a pillar's score.

    row: the row of the decision table that it is, NO_WORDS for none. figure: the value comes of it, one half where the
    figure is `half_at` or, where that is None, what `half_at_demand` demands. A row's figure counts only where it was
    measured on two pillars at least: there is nothing to compare else.
    """

    name: str
    weight: float
    words: Words
    when: When = ()
    row: Words = NO_WORDS
    values: Mapping[Pillar, float] = field(default_factory=dict)
    figure: FigureName | None = None
    half_at: float | None = None
    half_at_demand: str = ""
    evidence: tuple[TraitEvidence, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What asks for it, beside what names the pillar. pillars: empty for any."""

    name: str
    when: When
    pillars: tuple[Pillar, ...] = ()
    extra_specs: Mapping[str, str] = field(default_factory=dict)
    image_properties: Mapping[str, str] = field(default_factory=dict)
    traits: tuple[str, ...] = ()
    note: Words = NO_WORDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """least_first: which pillar is taken where scores are equal. defaults: the shipped figures, claims all of them.

    operator_rules: names of those that an operator added or changed.
    """

    edition: str
    least_first: tuple[Pillar, ...]
    constraints: tuple[Constraint, ...]
    preferences: tuple[Preference, ...]
    recipes: tuple[Recipe, ...]
    defaults: Figures
    operator_rules: tuple[str, ...] = ()
