"""YAML that knows its lines, so that every error names one and says what is allowed. Pure: takes text.

Aliases, tags and repeated keys are refused, as are texts that are long or deep: a file from anybody may be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml

from trilith import errors
from trilith.placement.advisor.quantity import NotAllowed

_LONGEST = 512 * 1024  # characters
_DEEPEST = 12
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONSTRUCTED = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "null"))
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is written: the document's name and its line, from 1."""

    source: str
    line: int

    def wrong(self, message: str, allowed: str = "", field: str = "") -> errors.Invalid:
        hint = f"Allowed: {allowed}." if allowed else ""
        return errors.Invalid(f"{self.source}, line {self.line}: {message}.", hint=hint, field=field)


@dataclass(frozen=True, slots=True)
class Entry:
    """A value with its place and its path in the document ("preferences[2].weight"). Readers raise Invalid."""

    place: Place
    path: str
    node: yaml.Node

    def wrong(self, message: str, allowed: str = "") -> errors.Invalid:
        return self.place.wrong(message, allowed, self.path)

    @property
    def is_list(self) -> bool:
        return isinstance(self.node, yaml.SequenceNode)

    @property
    def is_nothing(self) -> bool:
        return isinstance(self.node, yaml.ScalarNode) and self.node.tag == "tag:yaml.org,2002:null"

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.node, yaml.MappingNode)

    def scalar(self) -> object:
        """A bool, number, None or text."""
        node = self.node
        if not isinstance(node, yaml.ScalarNode):
            raise self.wrong(f"{self.path} is a {_kind(node)}, not one value")
        if node.tag in _CONSTRUCTED:
            try:
                return _CONSTRUCT.construct_object(node)
            except (ValueError, OverflowError) as error:
                raise self.wrong(f"{self.path}: {error}") from error
        return str(node.value)

    def text(self, *, longest: int = 2000) -> str:
        value = self.scalar()
        if not isinstance(value, str) or not value.strip() or len(value) > longest:
            raise self.wrong(f"{self.path} is {value!r}"[:200], f"a text of 1 to {longest} characters")
        return value

    def number(self, low: float, high: float) -> float:
        value = self.scalar()
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.wrong(f"{self.path} is {value!r}"[:200], f"a number from {low:g} to {high:g}")
        return float(value)

    def flag(self) -> bool:
        value = self.scalar()
        if not isinstance(value, bool):
            raise self.wrong(f"{self.path} is {value!r}"[:200], "true or false")
        return value

    def one_of(self, allowed: Mapping[str, _T]) -> _T:
        value = self.scalar()
        if not isinstance(value, str) or value not in allowed:
            raise self.wrong(f"{self.path} is {value!r}"[:200], ", ".join(allowed))
        return allowed[value]

    def read(self, reader: Callable[[object], _T]) -> _T:
        """By a reader that does not know the line."""
        value = self.scalar()
        try:
            return reader(value)
        except NotAllowed as error:
            raise self.wrong(error.message, error.allowed) from error

    def items(self, *, most: int = 500) -> list[Entry]:
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.wrong(f"{self.path} is a {_kind(self.node)}, not a list")
        if len(self.node.value) > most:
            raise self.wrong(f"{self.path} has {len(self.node.value)} items", f"{most} at most")
        return [
            Entry(Place(self.place.source, n.start_mark.line + 1), f"{self.path}[{i}]", n)
            for i, n in enumerate(self.node.value)
        ]

    def fields(self, allowed: tuple[str, ...] = (), *, required: tuple[str, ...] = ()) -> dict[str, Entry]:
        """Of a mapping. allowed: empty for any key. A field's place is its key's."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.wrong(
                f"{self.path or 'the document'} is a {_kind(self.node)}, not a mapping", ", ".join(allowed)
            )
        found: dict[str, Entry] = {}
        for key_node, value_node in self.node.value:
            place = Place(self.place.source, key_node.start_mark.line + 1)
            if not isinstance(key_node, yaml.ScalarNode):
                raise place.wrong(f"a key is a {_kind(key_node)}", ", ".join(allowed), self.path)
            key = str(key_node.value)
            path = f"{self.path}.{key}" if self.path else key
            if key in found:
                raise place.wrong(f"{path} is already on line {found[key].place.line}", "it once", path)
            if allowed and key not in allowed:
                raise place.wrong(f"there is no {path[:80]!r} here", ", ".join(allowed), path)
            found[key] = Entry(place, path, value_node)
        for name in required:
            if name not in found:
                raise self.wrong(f"{self.path or 'the document'} lacks {name!r}", ", ".join(allowed))
        return found


_CONSTRUCT = yaml.constructor.SafeConstructor()


def parse(text: str, source: str) -> Entry:
    """The document's one value. source: its name in messages. Raises Invalid with the line; also when it is empty."""
    found = parse_any(text, source)
    if found is None:
        raise Place(source, 1).wrong("the document is empty")
    return found


def parse_any(text: str, source: str) -> Entry | None:
    """None for a document of comments, or of nothing."""
    if len(text) > _LONGEST:
        raise errors.Invalid(f"{source} has {len(text)} characters.", hint=f"Allowed: {_LONGEST} at most.")
    try:
        _screen(text, source)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        last = text.rstrip().count("\n") + 1  # what is missing at the end is missing on the last line
        place = Place(source, min(mark.line + 1, last) if mark else 1)
        words = " ".join(w for w in (error.context, error.problem) if w)
        raise place.wrong(f"this is not YAML: {words}", "YAML 1.1, one document") from error
    except yaml.YAMLError as error:  # a character that no YAML text may have
        raise Place(source, _line_of_odd_character(text)).wrong("this is not YAML: an unprintable character") from error
    if node is None:
        return None
    return Entry(Place(source, node.start_mark.line + 1), "", node)


def _screen(text: str, source: str) -> None:
    """Before anything is built of it: depth, aliases, tags."""
    depth = 0
    for event in _events(text):
        place = Place(source, event.start_mark.line + 1)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise place.wrong("anchors and aliases are not read", "the value itself")
        if getattr(event, "tag", None):
            raise place.wrong(f"the tag {event.tag!r} is not read", "values without tags")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise place.wrong("it is nested too deep", f"{_DEEPEST} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _events(text: str) -> Iterator[Any]:
    return iter(yaml.parse(text, Loader=_Loader))


def _line_of_odd_character(text: str) -> int:
    found = yaml.reader.Reader.NON_PRINTABLE.search(text)
    return text.count("\n", 0, found.start()) + 1 if found else 1


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "mapping"
    return "list" if isinstance(node, yaml.SequenceNode) else "single value"
