"""One entry of the rules' YAML: its fields, checked, as the rule that it is. Pure; errors name the line."""

from __future__ import annotations

import re

from trilith.model.figures import UNITS, Figure, FigureName
from trilith.model.guest import Pillar
from trilith.placement.advisor.demands import BY_NAME, Demand
from trilith.placement.advisor.document import Entry
from trilith.placement.advisor.quantity import NotAllowed
from trilith.placement.advisor.rules import (
    HEAVIEST,
    NO_WORDS,
    Constraint,
    Limit,
    Matcher,
    Need,
    Preference,
    Recipe,
    TraitEvidence,
    When,
    Words,
)

Fields = dict[str, Entry]
PILLARS = {str(p): p for p in Pillar}
FIGURES = {str(f): f for f in FigureName}

_TRAIT = re.compile(r"[A-Z][A-Z0-9_]{0,254}")
_CAPABILITY = re.compile(r"[a-z][a-z0-9_]{0,63}")
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_:.-]{0,254}")
_COMPARED = re.compile(r"(<=|>=|<|>|=)\s*(.+)")


def constraint(name: str, f: Fields) -> Constraint:
    if not {"refuses", "needs", "limit"} & set(f):
        raise f["name"].wrong(f"the constraint {name} refuses nothing", "refuses, needs or limit")
    when = _when(f["when"])
    if not when:
        raise f["when"].wrong(f"the constraint {name} has no demand that it follows from", ", ".join(BY_NAME))
    limit = _limit(f["limit"]) if "limit" in f else None
    if limit and limit.demand not in {m.demand for m in when}:
        raise _culprit(f, "limit", "when").wrong(
            f"the limit of {name} is not among its demands", ", ".join(m.demand for m in when)
        )
    return Constraint(
        name=name,
        when=when,
        refuses={p: _words(e) for p, e in _by_pillar(f, "refuses").items()},
        needs={p: _need(e) for p, e in _by_pillar(f, "needs").items()},
        limit=limit,
        source=_source(f),
    )


def preference(name: str, f: Fields) -> Preference:
    values = {p: e.number(0, 1) for p, e in _by_pillar(f, "values").items()}
    figure = f["figure"].one_of(FIGURES) if "figure" in f else None
    if figure is None and not values:
        raise f["name"].wrong(f"the preference {name} has no values", "values, or figure with half_at")
    if values and len(values) < len(Pillar):
        missing = ", ".join(p for p in Pillar if p not in values)
        raise f["values"].wrong(f"values of {name} lack {missing}", f"a number from 0 to 1 for {', '.join(Pillar)}")
    if (figure is None) != ("half_at" not in f):
        raise f["name"].wrong(f"the preference {name} has one of figure and half_at", "both or none")
    when = _when(f["when"]) if "when" in f else ()
    half_at, demand = _half_at(f, when, figure) if figure else (None, "")
    return Preference(
        name=name,
        weight=f["weight"].number(0, HEAVIEST),
        words=_words(f["because"]),
        when=when,
        row=_words(f["row"]) if "row" in f else NO_WORDS,
        values=values,
        figure=figure,
        half_at=half_at,
        half_at_demand=demand,
        evidence=tuple(_evidence(e) for e in f["evidence"].items()) if "evidence" in f else (),
        source=_source(f),
    )


def recipe(name: str, f: Fields) -> Recipe:
    return Recipe(
        name=name,
        when=_when(f["when"]),
        pillars=tuple(e.one_of(PILLARS) for e in f["pillars"].items()) if "pillars" in f else (),
        extra_specs=_texts(f, "extra_specs"),
        image_properties=_texts(f, "image_properties"),
        traits=_listed(f, "traits", _TRAIT, "names of traits"),
        note=_words(f["note"]) if "note" in f else NO_WORDS,
    )


def figure(name: str, f: Fields) -> Figure:
    figure = f["name"].one_of(FIGURES)
    value = f["value"].number(0, 1e12)
    if f["unit"].scalar() != UNITS[figure]:
        raise f["unit"].wrong(f"{name} is in {f['unit'].scalar()!r}", UNITS[figure])
    low = f["low"].number(0, 1e12) if "low" in f else value
    high = f["high"].number(0, 1e12) if "high" in f else value
    if not low <= value <= high:
        raise _culprit(f, "value", "low", "high").wrong(
            f"{name}: low {low:g}, value {value:g} and high {high:g} are not in order", "low <= value <= high"
        )
    return Figure(
        name=figure, pillar=f["pillar"].one_of(PILLARS), value=value, unit=UNITS[figure], low=low, high=high,
        samples=0, source=f["source"].text(),
    )  # fmt: skip


def _when(entry: Entry) -> When:
    found = []
    for name, e in entry.fields().items():
        demand = BY_NAME.get(name)
        if demand is None:
            raise e.wrong(f"there is no demand {name[:60]!r}", ", ".join(BY_NAME))
        found.append(_matcher(demand, e))
    return tuple(sorted(found, key=lambda m: list(BY_NAME).index(m.demand)))


def _matcher(demand: Demand, e: Entry) -> Matcher:
    if demand.flag:
        return Matcher(demand.name, "=", e.flag())
    if demand.vocabulary:
        words = {str(w): w for w in demand.vocabulary}
        if e.is_list:
            return Matcher(demand.name, "in", frozenset(i.one_of(words) for i in e.items()))
        value = e.scalar()
        if value == "any":
            return Matcher(demand.name, "any")
        if value not in words:
            raise e.wrong(f"{e.path} is {value!r}", f"any, {demand.allowed}, or a list of them")
        return Matcher(demand.name, "=", e.one_of(words))
    return e.read(lambda value: _comparison(demand, value))


def _comparison(demand: Demand, value: object) -> Matcher:
    allowed = f"any, or a comparison such as '> 10' with {demand.allowed}"
    if value == "any":
        return Matcher(demand.name, "any")
    found = _COMPARED.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise NotAllowed(f"{demand.name} is {value!r}", allowed)
    number: object = found[2].strip()
    if demand.kind is None:
        try:
            number = float(found[2])
        except ValueError:
            raise NotAllowed(f"{found[2]!r} is no number", allowed) from None
    return Matcher(demand.name, found[1], demand.parse(number))


def _limit(entry: Entry) -> Limit:
    f = entry.fields(("demand", "figure"), required=("demand", "figure"))
    figure = f["figure"].one_of(FIGURES)
    able = {d.name: d.name for d in BY_NAME.values() if d.kind and d.unit == UNITS[figure]}
    return Limit(demand=f["demand"].one_of(able), figure=figure)


def _half_at(f: Fields, when: When, figure: FigureName) -> tuple[float | None, str]:
    """A number in the figure's unit, or the name of one of the rule's demands in that unit."""
    value = f["half_at"].scalar()
    able = [m.demand for m in when if BY_NAME[m.demand].unit == UNITS[figure]]
    allowed = ", ".join([f"a number above 0 in {UNITS[figure]}", *able])
    if isinstance(value, str) and value in able:
        return None, value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12:
        raise _culprit(f, "half_at", "figure", "when").wrong(f"half_at is {value!r}", allowed)
    return float(value), ""


def _culprit(f: Fields, *names: str) -> Entry:
    """Of fields that do not go together the first that stands in the file that changed the entry last."""
    present = [f[n] for n in names if n in f]
    return next((e for e in present if e.place.source == f["name"].place.source), present[0])


def _need(entry: Entry) -> Need:
    f = entry.fields(("traits", "capabilities", "resources", "hardware", "because"), required=("because",))
    need = Need(
        traits=_listed(f, "traits", _TRAIT, "names of traits"),
        capabilities=_listed(f, "capabilities", _CAPABILITY, "names of capabilities (docs/capabilities.md)"),
        resources=_listed(f, "resources", _TRAIT, "names of resource classes"),
        hardware=f["hardware"].flag() if "hardware" in f else False,
        words=_words(f["because"]),
    )
    if not (need.traits or need.capabilities or need.resources or need.hardware):
        raise entry.wrong(f"{entry.path} needs nothing", "traits, capabilities, resources or hardware")
    return need


def _evidence(entry: Entry) -> TraitEvidence:
    names = ("pillar", "traits", "value", "because")
    f = entry.fields(names, required=names)
    return TraitEvidence(
        pillar=f["pillar"].one_of(PILLARS),
        traits=_listed(f, "traits", _TRAIT, "names of traits"),
        value=f["value"].number(0, 1),
        words=_words(f["because"]),
    )


def _words(entry: Entry) -> Words:
    """A text, or one for each language."""
    if not entry.is_mapping:
        return Words(entry.text())
    f = entry.fields(("en", "zh"), required=("en",))
    return Words(f["en"].text(), f["zh"].text() if "zh" in f else "")


def _by_pillar(f: Fields, name: str) -> dict[Pillar, Entry]:
    if name not in f:
        return {}
    return {PILLARS[p]: e for p, e in f[name].fields(tuple(PILLARS)).items()}


def _listed(f: Fields, name: str, form: re.Pattern[str], what: str) -> tuple[str, ...]:
    return tuple(word(e, form, what) for e in f[name].items()) if name in f else ()


def _texts(f: Fields, name: str) -> dict[str, str]:
    if name not in f:
        return {}
    found = {}
    for key, e in f[name].fields().items():
        if not _KEY.fullmatch(key):
            raise e.wrong(f"{key[:60]!r} is no key", "letters, digits, '_', ':', '.' and '-'")
        found[key] = e.text(longest=255)
    return found


def _source(f: Fields) -> str:
    return f["source"].text() if "source" in f else ""


def word(entry: Entry, form: re.Pattern[str], what: str) -> str:
    value = entry.scalar()
    if not isinstance(value, str) or not form.fullmatch(value):
        raise entry.wrong(f"{entry.path} is {value!r}"[:200], what)
    return value
