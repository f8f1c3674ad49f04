"""Which demands are in conflict, by the hard constraints alone: the smallest sets that refuse every way together, and
the smallest that lift it when they are given up. Pure.

A way is a pillar, or a pillar on one kind of node; each of its refusals follows from a set of demands and is lifted
when one of them is given up. Giving demands up never adds a refusal, so the smallest corrections of each way, all ways
together, are the smallest corrections; and the smallest conflicts are the smallest sets that meet every one of them
(R. Reiter, A theory of diagnosis from first principles, 1987).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

#: sets that are tried, by rising size, before the search is content with one that cannot be made smaller
_TRIES = 20_000
#: sets that are named
_NAMED = 8

Names = frozenset[str]


def corrections(ways: Iterable[Sequence[Names]]) -> tuple[Names, ...]:
    """Smallest first. A way with a refusal that follows from no demand cannot be corrected."""
    found: set[Names] = set()
    for refusals in {frozenset(way) for way in ways}:
        if frozenset() not in refusals:
            found |= set(hitting_sets(refusals))
    return _smallest(found)


def conflicts(corrected: Sequence[Names]) -> tuple[Names, ...]:
    """The smallest sets of demands that no way meets. corrected: of `corrections`. Without one, the empty set: what is
    refused is refused whatever is demanded."""
    return _smallest(hitting_sets(corrected))


def hitting_sets(sets: Iterable[Names]) -> tuple[Names, ...]:
    """Sets that have a member in common with each of `sets`, none with a subset that has, smallest first. No sets: the
    empty one. Beyond _TRIES only one more is looked for, by leaving out what can be left out."""
    families = _smallest(set(sets))
    if not families:
        return (frozenset(),)
    names = sorted(frozenset().union(*families))
    bits = {name: 1 << i for i, name in enumerate(names)}
    masks = [sum(bits[n] for n in family) for family in families]
    found: list[int] = []
    tries = 0
    for size in range(1, len(names) + 1):
        for combination in combinations(names, size):
            tries += 1
            if tries > _TRIES:
                return _named(names, bits, found or [_reduced(bits, masks)])
            mask = sum(bits[n] for n in combination)
            if any(mask & known == known for known in found):
                continue
            if all(mask & m for m in masks):
                found.append(mask)
    return _named(names, bits, found)


def _reduced(bits: dict[str, int], masks: Sequence[int]) -> int:
    left = sum(bits.values())
    for bit in bits.values():
        if all((left & ~bit) & m for m in masks):
            left &= ~bit
    return left


def _named(names: Sequence[str], bits: dict[str, int], found: Iterable[int]) -> tuple[Names, ...]:
    return tuple(frozenset(n for n in names if mask & bits[n]) for mask in found)


def _smallest(sets: Iterable[Names]) -> tuple[Names, ...]:
    """Without those that contain another, smallest first, then by name; the first few."""
    kept: list[Names] = []
    for candidate in sorted(sets, key=lambda s: (len(s), sorted(s))):
        if not any(known <= candidate for known in kept):
            kept.append(candidate)
    return tuple(kept)


def first_few(sets: Sequence[Names]) -> tuple[Names, ...]:
    return tuple(sets[:_NAMED])
