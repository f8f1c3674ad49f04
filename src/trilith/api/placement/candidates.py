"""Allocation candidates: every way to satisfy a set of request groups with the providers that there are. Pure.

Rules from the Placement API reference: resources of the unsuffixed group may come from several providers of one tree
(and from providers that share with it by an aggregate); a suffixed group is satisfied by one provider.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

SHARING = "MISC_SHARES_VIA_AGGREGATE"
#: combinations looked at in one tree: what is behind that many is not found, and nothing hangs
MOST_TRIED = 20_000


@dataclass(frozen=True, slots=True)
class Amounts:
    """One inventory. capacity: (total - reserved) * ratio, whole."""

    capacity: int
    used: int
    min_unit: int
    max_unit: int
    step_size: int

    def fits(self, amount: int) -> bool:
        return (
            self.used + amount <= self.capacity
            and self.min_unit <= amount <= self.max_unit
            and amount % self.step_size == 0
        )


@dataclass(frozen=True, slots=True)
class Provider:
    id: str
    parent: str
    root: str
    inventories: Mapping[str, Amounts]
    traits: frozenset[str] = frozenset()
    aggregates: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Wants:
    """required: of each set one trait; member_of: of each set one aggregate."""

    resources: Mapping[str, int] = field(default_factory=dict)
    required: tuple[frozenset[str], ...] = ()
    forbidden: frozenset[str] = frozenset()
    member_of: tuple[frozenset[str], ...] = ()
    not_member_of: frozenset[str] = frozenset()
    in_tree: str = ""

    def has_traits(self, traits: frozenset[str]) -> bool:
        return all(traits & any_of for any_of in self.required) and not traits & self.forbidden

    def is_member(self, aggregates: frozenset[str]) -> bool:
        return all(aggregates & any_of for any_of in self.member_of) and not aggregates & self.not_member_of


@dataclass(frozen=True, slots=True)
class Question:
    """groups: by suffix, "" for the unsuffixed one."""

    groups: Mapping[str, Wants]
    isolate: bool = False
    root_required: Wants = field(default_factory=Wants)
    same_subtree: tuple[frozenset[str], ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """allocations: provider → class → amount. mappings: suffix → providers that satisfy it."""

    allocations: Mapping[str, Mapping[str, int]]
    mappings: Mapping[str, tuple[str, ...]]
    root: str


def find(question: Question, providers: Iterable[Provider], *, limit: int = 0) -> list[Candidate]:
    """Candidates in the providers' order, each once. limit 0: all."""
    everyone = list(providers)
    by_id = {p.id: p for p in everyone}
    trees: dict[str, list[Provider]] = defaultdict(list)
    for provider in everyone:
        trees[provider.root].append(provider)
    sharing = [p for p in everyone if SHARING in p.traits]
    wanted_roots = {w.in_tree: by_id[w.in_tree].root if w.in_tree in by_id else "" for w in question.groups.values()}
    found: dict[tuple[object, ...], Candidate] = {}
    for root_id, tree in trees.items():
        root = by_id.get(root_id)
        if root is None or not question.root_required.has_traits(root.traits):
            continue
        pool = _pool(tree, sharing, root_id)
        for candidate in _of_tree(question, tree, pool, by_id, wanted_roots):
            key = _key(candidate)
            if key not in found:
                found[key] = candidate
                if limit and len(found) >= limit:
                    return list(found.values())
    return list(found.values())


def _key(candidate: Candidate) -> tuple[object, ...]:
    allocations = tuple(sorted((p, tuple(sorted(a.items()))) for p, a in candidate.allocations.items()))
    return (allocations, tuple(sorted(candidate.mappings.items())))


def _pool(tree: list[Provider], sharing: list[Provider], root_id: str) -> list[Provider]:
    """The tree's providers, and those that share with one of them."""
    aggregates = frozenset().union(*(p.aggregates for p in tree))
    return tree + [p for p in sharing if p.root != root_id and p.aggregates & aggregates]


def _of_tree(
    question: Question,
    tree: list[Provider],
    pool: list[Provider],
    by_id: Mapping[str, Provider],
    wanted_roots: Mapping[str, str],
) -> Iterator[Candidate]:
    choices: list[list[tuple[str, dict[str, str]]]] = []
    own = {p.id for p in tree}
    for suffix, wants in question.groups.items():
        allowed = [
            p
            for p in pool
            if (not wants.in_tree or p.root == wanted_roots[wants.in_tree])
            and wants.is_member(p.aggregates | by_id[p.root].aggregates if not suffix else p.aggregates)
        ]
        found = list(_ways(suffix, wants, allowed))
        if not found:
            return
        choices.append([(suffix, way) for way in found])
    for picked in itertools.islice(itertools.product(*choices), MOST_TRIED):
        candidate = _merge(question, picked, by_id, own)
        if candidate is not None:
            yield candidate


def _ways(suffix: str, wants: Wants, allowed: list[Provider]) -> Iterator[dict[str, str]]:
    """Each way gives for each class the provider; a group without resources has the provider under ""."""
    if suffix:
        for provider in allowed:
            fits = all(
                rc in provider.inventories and provider.inventories[rc].fits(n) for rc, n in wants.resources.items()
            )
            if fits and wants.has_traits(provider.traits):
                yield dict.fromkeys(wants.resources or ("",), provider.id)
        return
    options = [
        [p for p in allowed if rc in p.inventories and p.inventories[rc].fits(n) and not p.traits & wants.forbidden]
        for rc, n in wants.resources.items()
    ]
    for combination in itertools.islice(itertools.product(*options), MOST_TRIED):
        traits = frozenset().union(*(p.traits for p in combination))
        if wants.has_traits(traits):
            yield {rc: p.id for rc, p in zip(wants.resources, combination, strict=True)}


def _merge(
    question: Question,
    picked: tuple[tuple[str, dict[str, str]], ...],
    by_id: Mapping[str, Provider],
    own: set[str],
) -> Candidate | None:
    """None where the choices of the groups do not go together."""
    allocations: dict[str, dict[str, int]] = {}
    mappings: dict[str, tuple[str, ...]] = {}
    for suffix, way in picked:
        mappings[suffix] = tuple(dict.fromkeys(way.values()))
        for resource_class, provider in way.items():
            if resource_class:
                held = allocations.setdefault(provider, {})
                amount = question.groups[suffix].resources[resource_class]
                held[resource_class] = held.get(resource_class, 0) + amount
    if not own & allocations.keys():
        return None
    suffixed = [way[0] for suffix, way in mappings.items() if suffix and question.groups[suffix].resources]
    if question.isolate and len(set(suffixed)) != len(suffixed):
        return None
    for provider, amounts in allocations.items():
        held_by = by_id[provider].inventories
        if not all(held_by[rc].fits(n) for rc, n in amounts.items()):
            return None
    for suffixes in question.same_subtree:
        if not _one_subtree({p for s in suffixes for p in mappings.get(s, ())}, by_id):
            return None
    return Candidate(allocations, mappings, next(by_id[p].root for p in allocations if p in own))


def _one_subtree(providers: set[str], by_id: Mapping[str, Provider]) -> bool:
    """One of them is the ancestor of all (itself included)."""
    return any(all(top in _line(p, by_id) for p in providers) for top in providers)


def _line(provider: str, by_id: Mapping[str, Provider]) -> set[str]:
    line: set[str] = set()
    while provider and provider not in line and provider in by_id:
        line.add(provider)
        provider = by_id[provider].parent
    return line
