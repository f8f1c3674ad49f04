"""How full the one scheduler makes a cluster: beside a packing known to be perfect, and beside a bound by OR-tools.

What runs is placement's own `choose`, one request after the other, as they come; nothing knows what comes next.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from ortools.linear_solver import pywraplp

from bench.plan import Plan
from bench.table import Row, Table
from trilith.errors import NoValidHost
from trilith.model.guest import Pillar
from trilith.placement.choose import Candidate, Demand, choose

SECTION = "packing"
FILL = 0.9
#: of one node: processors, MiB, GiB
SIZE = {"VCPU": 64, "MEMORY_MB": 256 * 1024, "DISK_GB": 2000}
#: processors and GiB of memory of the usual flavors: 1:2, 1:4 and 1:8
FLAVORS = tuple((cpus, cpus * ratio) for cpus in (1, 2, 4, 8, 16) for ratio in (2, 4, 8) if cpus * ratio <= 64)
KINDS: tuple[tuple[Pillar, ...], ...] = ((Pillar.LXC,), (Pillar.LXC, Pillar.KVM), (Pillar.LXC, Pillar.XEN))


@dataclass(frozen=True)
class Instance:
    nodes: tuple[Candidate, ...]
    requests: tuple[Demand, ...]


def run(table: Table, plan: Plan) -> None:
    rounds = plan.count(30)
    for what, kinds, count in (
        ("containers only, 12 nodes", KINDS[:1], 12),
        ("containers only, 40 nodes", KINDS[:1], 40),
        ("three pillars, 12 nodes", KINDS, 12),
        ("three pillars, 48 nodes", KINDS, 48),
    ):
        _known(table, rounds, what, kinds, count)
    for what, count in (("three pillars, 12 nodes", 12), ("three pillars, 48 nodes", 48)):
        _bounded(table, rounds, what, count)


def _known(table: Table, rounds: int, what: str, kinds: Sequence[tuple[Pillar, ...]], count: int) -> None:
    """The first 90 % of a perfect packing's requests, shuffled."""
    refused = asked = whole = 0
    for seed in range(rounds):
        instance = cut(random.Random(seed), kinds, count)
        prefix = until_full(instance, FILL)
        placed = sum(place(instance.nodes, prefix))
        refused, asked, whole = refused + len(prefix) - placed, asked + len(prefix), whole + (placed == len(prefix))
    note = f"{whole} of {rounds} instances whole, {refused:,} of {asked:,} requests refused"
    name = f"refused at {FILL:.0%} of a perfect packing: {what}"
    table.add(Row(SECTION, name, refused / asked * 100, "%", count=rounds, goal=0.0, note=note))


def _bounded(table: Table, rounds: int, what: str, count: int) -> None:
    """Requests of no known packing: the longest row of them of which a relaxed solution exists, so that nobody could
    place more of it, and how many of it are placed."""
    shares, first = [], []
    for seed in range(rounds):
        chance = random.Random(1000 + seed)
        nodes = tuple(node(f"n{i}", KINDS[i % len(KINDS)]) for i in range(count))
        requests = tuple(wish(chance) for _ in range(count * 30))
        bound = longest(Instance(nodes, requests))
        fitted = place(nodes, requests[:bound])
        shares.append(sum(fitted) / bound)
        first.append((fitted.index(False) if False in fitted else bound) / bound)
    note = f"worst {min(shares):.3f}; the first is refused at {sum(first) / rounds:.3f} of the bound"
    name = f"placed, beside a bound by OR-tools: {what}"
    value = sum(shares) / rounds
    table.add(Row(SECTION, name, value, "×", count=rounds, goal=0.95, at_least=True, note=note))


def node(name: str, pillars: tuple[Pillar, ...]) -> Candidate:
    amounts = {r: float(v) for r, v in SIZE.items()}
    return Candidate(name=name, pillars=pillars, traits=frozenset(), free=dict(amounts), total=amounts)


def demand(pillar: Pillar, cpus: int, memory: int, disk: int) -> Demand:
    return Demand(vcpus=cpus, memory_mib=memory, disk_gib=disk, pillars=tuple(Pillar), chosen=pillar)


def wish(chance: random.Random) -> Demand:
    cpus, memory = chance.choice(FLAVORS)
    pillar = chance.choices((Pillar.LXC, Pillar.KVM, Pillar.XEN), (4, 1, 1))[0]
    return demand(pillar, cpus, memory * 1024, chance.choice((10, 20, 40, 80)))


def cut(chance: random.Random, kinds: Sequence[tuple[Pillar, ...]], count: int) -> Instance:
    """Nodes cut into servers without a rest, and the servers shuffled."""
    nodes = tuple(node(f"n{i}", kinds[i % len(kinds)]) for i in range(count))
    requests = [demand(chance.choice(one.pillars), *piece) for one in nodes for piece in _pieces(chance)]
    chance.shuffle(requests)
    return Instance(nodes, tuple(requests))


def _pieces(chance: random.Random) -> Iterator[tuple[int, int, int]]:
    cpus, memory = SIZE["VCPU"], SIZE["MEMORY_MB"] // 1024
    pieces: list[tuple[int, int]] = []
    while fit := [f for f in FLAVORS if f[0] <= cpus and f[1] <= memory]:
        pieces.append(chance.choice(fit))
        cpus, memory = cpus - pieces[-1][0], memory - pieces[-1][1]
    last = pieces.pop()
    pieces.append((last[0] + cpus, last[1] + memory))
    steps = SIZE["DISK_GB"] // 10
    ends = [*sorted(chance.sample(range(1, steps), len(pieces) - 1)), steps]
    for (c, m), begin, end in zip(pieces, [0, *ends], ends, strict=False):
        yield c, m * 1024, (end - begin) * 10


def amounts(one: Demand) -> dict[str, int]:
    return {"VCPU": one.vcpus, "MEMORY_MB": one.memory_mib, "DISK_GB": one.disk_gib}


def until_full(instance: Instance, fill: float) -> tuple[Demand, ...]:
    """The requests up to this share of each resource."""
    room = {r: fill * sum(n.total[r] for n in instance.nodes) for r in SIZE}
    asked = ([amounts(d)[r] for r in SIZE] for d in instance.requests)
    sums = accumulate(asked, lambda a, b: [x + y for x, y in zip(a, b, strict=True)])
    fits = (all(so_far[i] <= room[r] for i, r in enumerate(SIZE)) for so_far in sums)
    count = next((i for i, fit in enumerate(fits) if not fit), len(instance.requests))
    return instance.requests[:count]


def place(nodes: Sequence[Candidate], requests: Sequence[Demand]) -> list[bool]:
    """Of each request whether a node had room for it."""
    held = {n.name: replace(n, free=dict(n.free)) for n in nodes}
    fitted = []
    for one in requests:
        try:
            chosen = choose(one, list(held.values())).node
        except NoValidHost:
            fitted.append(False)
            continue
        for resource, amount in amounts(one).items():
            held[chosen].free[resource] -= amount
        fitted.append(True)
    return fitted


def longest(instance: Instance) -> int:
    """The most requests, from the first on, that any scheduler could have placed: servers may be cut to pieces here,
    and each resource lie elsewhere, so the truth is at most this. Nodes of one kind count as one of their sum, which
    changes no such solution."""
    low, high = 0, len(instance.requests)
    while low < high:
        middle = (low + high + 1) // 2
        if _relaxed(instance.nodes, instance.requests[:middle]):
            low = middle
        else:
            high = middle - 1
    return low


def _relaxed(nodes: Sequence[Candidate], requests: Sequence[Demand]) -> bool:
    solver = pywraplp.Solver.CreateSolver("GLOP")
    kinds: dict[tuple[Pillar, ...], dict[str, float]] = {}
    for one in nodes:
        held = kinds.setdefault(one.pillars, dict.fromkeys(SIZE, 0.0))
        for resource in SIZE:
            held[resource] += one.total[resource]
    #: what each pillar's requests take together: only pillars tell them apart in a relaxed solution
    sums: dict[Pillar, dict[str, float]] = {}
    for request in requests:
        assert request.chosen is not None
        wanted = sums.setdefault(request.chosen, dict.fromkeys(SIZE, 0.0))
        for resource, amount in amounts(request).items():
            wanted[resource] += amount
    used: dict[tuple[Pillar, ...], dict[str, list[object]]] = {kind: {r: [] for r in SIZE} for kind in kinds}
    for pillar, wanted in sums.items():
        for resource, amount in wanted.items():
            parts = []
            for kind in kinds:
                if pillar in kind:
                    parts.append(solver.NumVar(0, amount, ""))
                    used[kind][resource].append(parts[-1])
            solver.Add(sum(parts) == amount)
    for kind, held in kinds.items():
        for resource, total in held.items():
            solver.Add(sum(used[kind][resource]) <= total)
    return bool(solver.Solve() == pywraplp.Solver.OPTIMAL)
