"""Allocation candidates: every way to satisfy a set of request groups with the providers that there are. Pure.

Rules from the Placement API reference: resources of the unsuffixed group may come from several providers of one tree
(and from providers that share with it by an aggregate); a suffixed group is satisfied by one provider.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from trilith.api.placement.layout import NONE, Layout, Provider, Wants

#: steps of the search in one tree, and in all: what is behind that many is not found, and nothing hangs
MOST_IN_TREE = 20_000
MOST_STEPS = 300_000


@dataclass(frozen=True, slots=True)
class Question:
    """groups: by suffix, "" for the unsuffixed one. nested: whether a candidate may use several providers of one tree
    (microversion 1.29)."""

    groups: Mapping[str, Wants]
    isolate: bool = False
    root_required: Wants = field(default_factory=Wants)
    same_subtree: tuple[frozenset[str], ...] = ()
    nested: bool = True


@dataclass(frozen=True, slots=True)
class Candidate:
    """allocations: provider → class → amount. mappings: suffix → providers that satisfy it."""

    allocations: Mapping[str, Mapping[str, int]]
    mappings: Mapping[str, tuple[str, ...]]


#: one way to satisfy one group: class → provider; a group without resources has its provider under ""
_Way = dict[str, str]


def find(question: Question, layout: Layout, used: Sequence[int], *, limit: int = 0) -> list[Candidate]:
    """Candidates in the providers' order, each once. limit 0: all."""
    found: list[Candidate] = []
    seen: set[tuple[object, ...]] = set()
    for candidate in _Search(question, layout, used).all():
        if layout.sharing:  # two trees can come to the same candidate only by what is shared
            key = _key(candidate)
            if key in seen:
                continue
            seen.add(key)
        found.append(candidate)
        if limit and len(found) >= limit:
            break
    return found


def _key(candidate: Candidate) -> tuple[object, ...]:
    allocations = tuple(sorted((p, tuple(sorted(a.items()))) for p, a in candidate.allocations.items()))
    return (allocations, tuple(sorted(candidate.mappings.items())))


class _Search:
    """One question over one layout."""

    def __init__(self, question: Question, layout: Layout, used: Sequence[int]) -> None:
        self.question, self.layout, self.used = question, layout, used
        self.groups = list(question.groups.items())
        self.steps = MOST_STEPS
        self.together: Counter[str] = Counter()
        for wants in question.groups.values():
            self.together.update(wants.resources)
        self.all_together = dict(self.together)
        self.apart = question.isolate and sum(1 for suffix, _ in self.groups if suffix) > 1
        self.traits_fit: dict[frozenset[str], bool] = {}
        self.members_fit: dict[frozenset[str], bool] = {}

    def all(self) -> Iterator[Candidate]:
        roots = self._roots()
        by_id, root_required = self.layout.by_id, self.question.root_required
        for root_id, tree in self.layout.trees.items():
            if roots is not None and root_id not in roots:
                continue
            root = by_id.get(root_id)
            if root is None or not root_required.has_traits(root.traits):
                continue
            if len(tree) == 1 and not self.layout.sharing:
                candidate = self._alone(tree[0])
                if candidate is not None:
                    yield candidate
                continue
            yield from self._of_tree(tree, self._pool(root_id, tree))
            if self.steps <= 0:
                return

    def _roots(self) -> frozenset[str] | None:
        """Trees that have some of each class that nobody shares, and are those of in_tree; None for all."""
        sets: list[frozenset[str]] = []
        roots_of_sharing = {p.root for p in self.layout.sharing}
        for wants in self.question.groups.values():
            sets += [self.layout.roots_with.get(n, NONE) for n in wants.resources if n not in self.layout.shared]
            if wants.in_tree:
                root = self._root_of(wants)
                if root not in roots_of_sharing:
                    sets.append(frozenset({root}))
        return frozenset.intersection(*sets) if sets else None

    def _root_of(self, wants: Wants) -> str:
        known = self.layout.by_id.get(wants.in_tree)
        return known.root if known else ""

    def _alone(self, provider: Provider) -> Candidate | None:
        """The only provider of a tree has all or nothing. Most providers of most clouds are such."""
        if self.apart:
            return None
        inventories, used = provider.inventories, self.used
        for name, amount in self.all_together.items():
            held = inventories.get(name)
            if held is None or used[held.slot] + amount > held.capacity or amount > held.max_unit:
                return None
        for _, wants in self.groups:
            for name, amount in wants.resources.items():
                held = inventories[name]
                if amount < held.min_unit or amount % held.step_size:
                    return None
        traits = self.traits_fit.get(provider.traits)
        if traits is None:
            traits = self.traits_fit[provider.traits] = all(w.has_traits(provider.traits) for _, w in self.groups)
        members = self.members_fit.get(provider.aggregates)
        if members is None:
            members = all(w.is_member(provider.aggregates) for _, w in self.groups)
            self.members_fit[provider.aggregates] = members
        if not traits or not members:
            return None
        mine = (provider.id,)
        return Candidate({provider.id: self.all_together}, {suffix: mine for suffix, _ in self.groups})

    def _pool(self, root_id: str, tree: list[Provider]) -> list[Provider]:
        """The tree's providers, and those that share with one of them."""
        if not self.layout.sharing:
            return tree
        aggregates = frozenset().union(*(p.aggregates for p in tree))
        return tree + [p for p in self.layout.sharing if p.root != root_id and p.aggregates & aggregates]

    def _of_tree(self, tree: list[Provider], pool: list[Provider]) -> Iterator[Candidate]:
        choices: list[list[_Way]] = []
        for suffix, wants in self.groups:
            found = self._one(wants, pool) if suffix else self._spread(wants, pool)
            if not found:
                return
            choices.append(found)
        own = {p.id for p in tree}
        left = min(MOST_IN_TREE, self.steps)
        walk = _Walk(self, choices, own, left)
        yield from walk.below(0)
        self.steps -= left - walk.left

    def _one(self, wants: Wants, pool: list[Provider]) -> list[_Way]:
        """Providers that satisfy a suffixed group alone."""
        root = self._root_of(wants) if wants.in_tree else None
        return [
            dict.fromkeys(wants.resources or ("",), p.id)
            for p in pool
            if (root is None or p.root == root)
            and wants.has_room(p, self.used)
            and wants.has_traits(p.traits)
            and wants.is_member(p.aggregates)
        ]

    def _spread(self, wants: Wants, pool: list[Provider]) -> list[_Way]:
        """Ways to take the unsuffixed group's classes from several providers. A tree is in its root's aggregates."""
        by_id = self.layout.by_id
        root = self._root_of(wants) if wants.in_tree else None
        allowed = [
            p
            for p in pool
            if (root is None or p.root == root)
            and not p.traits & wants.forbidden
            and wants.is_member(p.aggregates | by_id[p.root].aggregates if p.root in by_id else p.aggregates)
        ]
        options: list[list[Provider]] = []
        for name, amount in wants.resources.items():
            fitting = [p for p in allowed if name in p.inventories and p.inventories[name].fits(self.used, amount)]
            if not fitting:
                return []
            options.append(fitting)
        names = tuple(wants.resources)
        return [
            {name: p.id for name, p in zip(names, combination, strict=True)}
            for combination in itertools.islice(itertools.product(*options), min(MOST_IN_TREE, max(self.steps, 1)))
            if not wants.required or wants.has_traits(frozenset().union(*(p.traits for p in combination)))
        ]


class _Walk:
    """The groups of one tree, one after the other: a choice that cannot go with those before it ends its branch.

    own: the providers of the tree. left: steps that may be taken.
    """

    def __init__(self, search: _Search, choices: list[list[_Way]], own: set[str], left: int) -> None:
        self.search, self.choices, self.own, self.left = search, choices, own, left
        self.question, self.groups, self.by_id = search.question, search.groups, search.layout.by_id
        self.picked: list[_Way] = []
        self.held: dict[str, dict[str, int]] = {}
        self.alone: set[str] = set()

    def below(self, depth: int) -> Iterator[Candidate]:
        if depth == len(self.groups):
            candidate = self._candidate()
            if candidate is not None:
                yield candidate
            return
        suffix, wants = self.groups[depth]
        apart = bool(suffix) and self.question.isolate
        for way in self.choices[depth]:
            if self.left <= 0:
                return
            self.left -= 1
            single = next(iter(way.values())) if apart else ""
            if apart and single in self.alone:
                continue
            if self._take(way, wants):
                self.picked.append(way)
                if apart:
                    self.alone.add(single)
                yield from self.below(depth + 1)
                self.alone.discard(single)
                self.picked.pop()
            self._give_back(way, wants)

    def _take(self, way: _Way, wants: Wants) -> bool:
        """False when it does not fit beside what the groups before it take."""
        fine = True
        for name, provider in way.items():
            if not name:
                continue
            held = self.held.setdefault(provider, {})
            already = held.get(name, 0)
            held[name] = already + wants.resources[name]
            if already and not self.by_id[provider].inventories[name].fits(self.search.used, held[name]):
                fine = False
        return fine

    def _give_back(self, way: _Way, wants: Wants) -> None:
        for name, provider in way.items():
            if not name:
                continue
            held = self.held[provider]
            held[name] -= wants.resources[name]
            if not held[name]:
                del held[name]
                if not held:
                    del self.held[provider]

    def _candidate(self) -> Candidate | None:
        """None where the choices of the groups do not go together."""
        if not self.own & self.held.keys():
            return None
        if not self.question.nested:
            roots = [self.by_id[p].root for p in self.held]
            if len(set(roots)) != len(roots):
                return None
        mappings = {
            suffix: tuple(dict.fromkeys(way.values()))
            for (suffix, _), way in zip(self.groups, self.picked, strict=True)
        }
        for suffixes in self.question.same_subtree:
            if not _one_subtree({p for s in suffixes for p in mappings.get(s, ())}, self.by_id):
                return None
        return Candidate({p: dict(amounts) for p, amounts in self.held.items()}, mappings)


def _one_subtree(providers: set[str], by_id: Mapping[str, Provider]) -> bool:
    """One of them is the ancestor of all (itself included)."""
    lines = [_line(p, by_id) for p in providers]
    return any(all(top in line for line in lines) for top in providers)


def _line(provider: str, by_id: Mapping[str, Provider]) -> set[str]:
    line: set[str] = set()
    while provider and provider not in line and provider in by_id:
        line.add(provider)
        provider = by_id[provider].parent
    return line
