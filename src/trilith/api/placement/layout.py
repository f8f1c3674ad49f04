"""The providers of a cloud as the search sees them, with the indexes that it walks by. Pure.

What changes with every allocation, the amounts in use, lies apart in a list: the rest is built once and kept while no
inventory, trait, aggregate or parent changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

SHARING = "MISC_SHARES_VIA_AGGREGATE"
NONE: frozenset[str] = frozenset()


class Amounts(NamedTuple):
    """One inventory. slot: where its use stands in the list. capacity: (total - reserved) * ratio, whole."""

    slot: int
    capacity: int
    min_unit: int
    max_unit: int
    step_size: int

    def fits(self, used: Sequence[int], amount: int) -> bool:
        return (
            used[self.slot] + amount <= self.capacity
            and self.min_unit <= amount <= self.max_unit
            and amount % self.step_size == 0
        )


class Provider(NamedTuple):
    id: str
    parent: str
    root: str
    inventories: Mapping[str, Amounts]
    traits: frozenset[str] = NONE
    aggregates: frozenset[str] = NONE


@dataclass(frozen=True, slots=True)
class Layout:
    """trees: root's id → its providers in the order they were made. roots_with: class → trees that have any of it."""

    providers: tuple[Provider, ...]
    by_id: Mapping[str, Provider]
    trees: Mapping[str, list[Provider]]
    sharing: tuple[Provider, ...]
    roots_with: Mapping[str, frozenset[str]]
    shared: frozenset[str]  # classes that some sharing provider has


def lay_out(providers: Iterable[Provider]) -> Layout:
    everyone = tuple(providers)
    trees: dict[str, list[Provider]] = defaultdict(list)
    roots: dict[str, set[str]] = defaultdict(set)
    for provider in everyone:
        trees[provider.root].append(provider)
        for name in provider.inventories:
            roots[name].add(provider.root)
    sharing = tuple(p for p in everyone if SHARING in p.traits)
    return Layout(
        everyone,
        {p.id: p for p in everyone},
        dict(trees),
        sharing,
        {name: frozenset(found) for name, found in roots.items()},
        frozenset(name for p in sharing for name in p.inventories),
    )


@dataclass(frozen=True, slots=True)
class Wants:
    """One request group. required: of each set one trait; member_of: of each set one aggregate."""

    resources: Mapping[str, int] = field(default_factory=dict)
    required: tuple[frozenset[str], ...] = ()
    forbidden: frozenset[str] = NONE
    member_of: tuple[frozenset[str], ...] = ()
    not_member_of: frozenset[str] = NONE
    in_tree: str = ""

    def has_traits(self, traits: frozenset[str]) -> bool:
        return all(traits & any_of for any_of in self.required) and not traits & self.forbidden

    def is_member(self, aggregates: frozenset[str]) -> bool:
        return all(aggregates & any_of for any_of in self.member_of) and not aggregates & self.not_member_of

    def has_room(self, provider: Provider, used: Sequence[int]) -> bool:
        for name, amount in self.resources.items():
            held = provider.inventories.get(name)
            if held is None or not held.fits(used, amount):
                return False
        return True


def matching(layout: Layout, used: Sequence[int], wants: Wants) -> set[str]:
    """Ids of the providers that have all of it by themselves (in_tree apart)."""
    return {
        p.id
        for p in layout.providers
        if wants.has_room(p, used) and wants.has_traits(p.traits) and wants.is_member(p.aggregates)
    }
