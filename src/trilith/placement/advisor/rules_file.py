"""Rules from YAML: the shipped file, and an operator's, whose entries change those of the same name field by field, or
are added. Every error names file and line, and what is allowed. Pure: takes text; the same texts are read once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

from trilith import errors
from trilith.model.figures import Figures
from trilith.model.guest import Pillar
from trilith.placement.advisor import document
from trilith.placement.advisor.document import Entry
from trilith.placement.advisor.rules import Rules
from trilith.placement.advisor.rules_entries import (
    FIGURES,
    PILLARS,
    Fields,
    constraint,
    figure,
    preference,
    recipe,
    word,
)

#: the format that this release reads
VERSION = 1
#: the shipped file, package data beside this module
SHIPPED = "rules.yaml"

_T = TypeVar("_T")

_TOP = ("version", "edition", "least_first", "figures", "constraints", "preferences", "gets")
_ALLOWED: dict[str, tuple[str, ...]] = {
    "figures": ("name", "pillar", "value", "unit", "low", "high", "source", "enabled"),
    "constraints": ("name", "when", "refuses", "needs", "limit", "source", "enabled"),
    "preferences": (
        *("name", "row", "when", "weight", "values", "figure", "half_at", "evidence", "because", "source", "enabled"),
    ),
    "gets": ("name", "when", "pillars", "extra_specs", "image_properties", "traits", "note", "enabled"),
}
_REQUIRED: dict[str, tuple[str, ...]] = {
    "figures": ("name", "pillar", "value", "unit", "source"),
    "constraints": ("name", "when"),
    "preferences": ("name", "weight", "because"),
    "gets": ("name", "when"),
}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")


@lru_cache(maxsize=8)
def load_rules(shipped: str, operators: str = "", source: str = "the operator's rules") -> Rules:
    """shipped: the text of SHIPPED. operators: of an operator's file, "" for none; source: its name in messages.
    Raises Invalid with the line."""
    base = document.parse(shipped, SHIPPED)
    top = base.fields(_TOP, required=_TOP)
    _version(top)
    sections: dict[str, dict[str, Fields]] = {}
    for section in _ALLOWED:
        sections[section] = _entries(section, top[section], sections)
    theirs = document.parse_any(operators, source)
    touched: list[str] = []
    if theirs is not None and theirs.node.value:
        changed = theirs.fields(_TOP)
        _version(changed)
        for section in _ALLOWED:
            if section in changed:
                mine = _entries(section, changed[section], sections)
                sections[section], names = _merged(section, sections[section], mine)
                touched += names
        top |= {k: v for k, v in changed.items() if k not in _ALLOWED}
    return Rules(
        edition=top["edition"].text(longest=40),
        least_first=_least_first(top["least_first"]),
        constraints=tuple(_built(sections["constraints"], constraint)),
        preferences=tuple(_built(sections["preferences"], preference)),
        recipes=tuple(_built(sections["gets"], recipe)),
        defaults=Figures(figures=tuple(_built(sections["figures"], figure))),
        operator_rules=tuple(touched),
    )


def with_weight(rules: Rules, name: str, weight: float) -> Rules:
    """The same rules with one preference's weight moved: what a flip point speaks of. Raises Missing."""
    if not any(p.name == name for p in rules.preferences):
        raise errors.Missing(f"There is no preference {name!r}.")
    return replace(
        rules, preferences=tuple(replace(p, weight=weight) if p.name == name else p for p in rules.preferences)
    )


def _version(top: Fields) -> None:
    if "version" in top and top["version"].scalar() != VERSION:
        raise top["version"].wrong(f"version is {top['version'].scalar()!r}", str(VERSION))


def _least_first(entry: Entry) -> tuple[Pillar, ...]:
    found = tuple(e.one_of(PILLARS) for e in entry.items())
    if sorted(found) != sorted(Pillar):
        raise entry.wrong("least_first does not name each pillar once", ", ".join(Pillar))
    return found


def _entries(section: str, entry: Entry, known: Mapping[str, Mapping[str, Fields]]) -> dict[str, Fields]:
    """Key → fields. known: what there is by section; an entry of a known name may leave fields out."""
    found: dict[str, Fields] = {}
    for item in entry.items() if not entry.is_nothing else []:
        fields = item.fields(_ALLOWED[section], required=("name",))
        key = _key(section, item, fields)
        if key in found:
            raise fields["name"].wrong(f"{key} is already on line {found[key]['name'].place.line}", "each name once")
        for other, entries in known.items():
            if other != section and key in entries:
                raise fields["name"].wrong(f"{key} is one of the {other}, not of the {section}", f"it under {other}")
        if key not in known.get(section, {}):
            item.fields(_ALLOWED[section], required=_REQUIRED[section])
        found[key] = fields
    return found


def _key(section: str, item: Entry, fields: Fields) -> str:
    if section != "figures":
        return word(fields["name"], _NAME, "small letters, digits and dashes")
    if "pillar" not in fields:
        raise item.wrong(f"{item.path} lacks 'pillar'", ", ".join(Pillar))
    return f"{fields['name'].one_of(FIGURES)} of {fields['pillar'].one_of(PILLARS)}"


def _merged(
    section: str, base: Mapping[str, Fields], mine: Mapping[str, Fields]
) -> tuple[dict[str, Fields], list[str]]:
    merged = dict(base)
    for key, fields in mine.items():
        merged[key] = {**base.get(key, {}), **fields}
    return merged, list(mine)


def _built(entries: Mapping[str, Fields], build: Callable[[str, Fields], _T]) -> Iterable[_T]:
    for name, fields in entries.items():
        made = build(name, fields)  # also of one that is switched off: an error in it is an error
        if "enabled" not in fields or fields["enabled"].flag():
            yield made
