"""How a state may change: one table a noun, and one function that applies it.

A table maps (state, event) to the next state. The diagrams in docs/states.md are made from these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from trilith.errors import Conflict


@dataclass(frozen=True)
class Table:
    noun: str
    moves: Mapping[tuple[str, str], StrEnum]

    def next(self, state: StrEnum, event: str) -> StrEnum:
        """The state after `event`. Raises Conflict when the table has no such move."""
        to = self.moves.get((state, event))
        if to is None:
            raise Conflict(f"Cannot '{event}' a {self.noun} while it is in state {state}.")
        return to

    def allows(self, state: StrEnum, event: str) -> bool:
        return (state, event) in self.moves

    def sources(self, event: str) -> tuple[str, ...]:
        return tuple(s for (s, e) in self.moves if e == event)


#: every table by noun, for docs and the architecture test
TABLES: dict[str, Table] = {}


def table(noun: str, moves: Mapping[tuple[str, str], StrEnum]) -> Table:
    made = Table(noun, moves)
    TABLES[noun] = made
    return made
