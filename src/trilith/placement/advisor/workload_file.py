"""A workload from a YAML file or from a form's fields: names, units and bounds are checked, each error says what is
allowed, a file's with the line. Pure: takes text."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any

from trilith import errors
from trilith.placement.advisor import document
from trilith.placement.advisor.demands import BY_FIELD, BY_NAME, DEMANDS, Demand, Value, demanded
from trilith.placement.advisor.document import Entry
from trilith.placement.advisor.quantity import NotAllowed
from trilith.placement.advisor.workload import Workload

#: a demand may be called by its name, with a unit in the value, or by its field, whose name says the unit
_KEYS = tuple(dict.fromkeys(["title", *(d.name for d in DEMANDS), *(d.field for d in DEMANDS)]))
_NAMES = ", ".join(["title", *BY_NAME])
_LONGEST_TITLE = 200


def workload_of_yaml(text: str, source: str = "the workload") -> Workload:
    """A file of demands, each on its line (docs/advisor.md). source: its name in messages. Raises Invalid."""
    found = document.parse(text, source).fields()
    values: dict[str, Any] = {}
    said: dict[str, Entry] = {}
    for key, entry in found.items():
        if key == "title":
            values["title"] = entry.text(longest=_LONGEST_TITLE)
            continue
        demand, bare = _demand(key)
        if demand is None:
            raise entry.wrong(f"there is no demand {key[:60]!r}{_near(key)}", _NAMES)
        if demand.name in said:
            before = said[demand.name]
            raise entry.wrong(
                f"{key} and {before.path} on line {before.place.line} are the same demand in two units"
                if key != before.path
                else f"{key} is already on line {before.place.line}",
                f"{demand.name} once",
            )
        said[demand.name] = entry
        if entry.scalar() is not None:  # an empty value is no demand
            values[demand.field] = entry.read(partial(_value, demand, bare=bare))
    return Workload(**values)


def workload_of_fields(given: Mapping[str, object]) -> Workload:
    """From a form or a JSON object: the same names, numbers in the fields' units, None for no demand. Raises Invalid
    with the field."""
    values: dict[str, Any] = {}
    said: dict[str, str] = {}
    for key, value in given.items():
        if key == "title":
            if not isinstance(value, str) or len(value) > _LONGEST_TITLE:
                raise errors.Invalid(f"title is a text of {_LONGEST_TITLE} characters at most.", field="title")
            values["title"] = value
            continue
        demand, bare = _demand(key)
        if demand is None:
            raise errors.Invalid(f"There is no demand {key[:60]!r}{_near(key)}.", hint=f"Allowed: {_NAMES}.", field=key)
        if demand.name in said:
            raise errors.Invalid(f"{key} and {said[demand.name]} are the same demand.", field=key)
        said[demand.name] = key
        if value is None:
            continue
        try:
            values[demand.field] = _value(demand, value, bare=bare)
        except NotAllowed as error:
            raise errors.Invalid(f"{error.message}.", hint=f"Allowed: {error.allowed}.", field=key) from error
    return Workload(**values)


def fields_of(workload: Workload) -> dict[str, Value]:
    """Field → value of what is demanded: `workload_of_fields` makes the same workload of it, but for its title."""
    return {BY_NAME[name].field: value for name, value in demanded(workload).items()}


def _demand(key: str) -> tuple[Demand | None, bool]:
    """With whether the key is a field whose name says the unit."""
    if key in BY_NAME and key not in BY_FIELD:
        return BY_NAME[key], False
    found = BY_FIELD.get(key)
    return found, found is not None and found.name != key


def _value(demand: Demand, given: object, *, bare: bool) -> Value | None:
    """None for a count of nothing: no GPUs is no demand."""
    counted = demand.vocabulary is None and not demand.flag and demand.kind is None
    if counted and given == 0 and not isinstance(given, bool):
        return None
    return demand.parse(given, bare=bare)


def _near(key: str) -> str:
    close = get_close_matches(key, _KEYS, 1)
    return f" (did you mean {close[0]}?)" if close else ""
