"""What must hold of any workload, any cloud and any figures."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, combinations
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.golden.advisor.cases import TEXT, nodes, rules
from trilith.model.figures import MORE_IS_BETTER, UNITS, Figure, FigureName, Figures
from trilith.model.guest import Pillar
from trilith.placement.advisor.advice import Advice, Availability, Direction, Level
from trilith.placement.advisor.breakeven import with_measured
from trilith.placement.advisor.conflict import conflicts, corrections, hitting_sets
from trilith.placement.advisor.demands import BY_NAME, DEMANDS, Demand, demanded
from trilith.placement.advisor.engine import Engine, Verdict
from trilith.placement.advisor.here import PillarsHere
from trilith.placement.advisor.rules import HEAVIEST, holds
from trilith.placement.advisor.rules_file import load_rules, with_weight
from trilith.placement.advisor.workload import Workload
from trilith.placement.advisor.workload_file import workload_of_yaml

#: the machine may be busy, and what a test asks for may be rare among what there is
QUIET = (HealthCheck.filter_too_much, HealthCheck.too_slow)
MANY = settings(max_examples=100, deadline=None, suppress_health_check=QUIET)


def values(demand: Demand) -> st.SearchStrategy[Any]:
    if demand.flag:
        return st.booleans()
    if demand.vocabulary:
        return st.sampled_from(list(demand.vocabulary))
    high = {"start_within": 20_000, "latency": 200, "nodes": 200, "memory_per_guest": 4096}.get(demand.name, 500)
    return st.integers(1, high).map(int if demand.whole else float)


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    names = draw(st.lists(st.sampled_from(list(BY_NAME)), max_size=7, unique=True))
    return Workload(**{BY_NAME[n].field: draw(values(BY_NAME[n])) for n in names})


#: demands that weigh and refuse little, so that answers are often near to each other
SOFT = ("application", "site", "nodes", "tenants", "compliance", "shared_kernel_allowed", "network", "packet_rate",
        "guests_per_node", "memory_per_guest", "stateful", "cross_cloud_migration", "team", "operating_effort",
        "start_within", "latency", "own_kernel", "hardware_isolation")  # fmt: skip


@st.composite
def close_workloads(draw: st.DrawFn) -> Workload:
    names = draw(st.lists(st.sampled_from(SOFT), min_size=3, max_size=9, unique=True))
    return Workload(**{BY_NAME[n].field: draw(values(BY_NAME[n])) for n in names})


TRAITS = ("HW_CPU_X86_VMX", "HW_CPU_X86_AMD_SEV_SNP", "COMPUTE_SECURITY_TPM_2_0", "COMPUTE_SECURITY_UEFI_SECURE_BOOT")
some_nodes = st.builds(
    lambda pillar, traits, emulated, resources: nodes(
        pillar, *traits, emulated=emulated and pillar is Pillar.KVM, resources=tuple(resources)
    ),
    st.sampled_from(list(Pillar)),
    st.sets(st.sampled_from(TRAITS)),
    st.booleans(),
    st.sets(st.sampled_from(["MEM_ENCRYPTION_CONTEXT"])),
)
clouds = st.lists(some_nodes, max_size=5, unique=True).map(lambda found: PillarsHere(nodes=tuple(found)))


@st.composite
def figures(draw: st.DrawFn) -> Figures:
    found = []
    for name in draw(st.sets(st.sampled_from(list(FigureName)))):
        for pillar in draw(st.sets(st.sampled_from(list(Pillar)))):
            value = draw(st.integers(1, 5000))
            found.append(
                Figure(
                    name=name, pillar=pillar, value=value, unit=UNITS[name], low=value, high=value, samples=3,
                    source="a test", emulated=pillar is Pillar.KVM and draw(st.booleans()),
                )
            )  # fmt: skip
    return Figures(figures=tuple(found))


def less(workload: Workload, *names: str) -> Workload:
    gone: dict[str, Any] = {BY_NAME[n].field: None for n in names}
    return replace(workload, **gone)


def only(workload: Workload, names: tuple[str, ...]) -> Workload:
    return less(workload, *(n for n in demanded(workload) if n not in names))


def settled(engine: Engine, workload: Workload, here: PillarsHere, level: Level) -> bool:
    v = engine.verdict(workload, here)
    return (v.best if level is Level.WORKLOAD else v.choice) is not None


def broken(workload: Workload, pillar: Pillar, measured: Figures) -> bool:
    """Hard constraints once more, by hand."""
    if pillar is Pillar.LXC and (
        workload.own_kernel
        or workload.shared_kernel_allowed is False
        or workload.hardware_isolation
        or workload.kernel_modules
        or workload.nested_virtualization
        or workload.operating_system not in (None, "linux")
        or workload.firmware in ("uefi", "secure-boot")
        or workload.tpm
        or workload.live_migration
        or workload.confidential_computing
    ):
        return True
    if pillar is Pillar.XEN and (
        workload.nested_virtualization
        or workload.firmware in ("uefi", "secure-boot")
        or workload.tpm
        or workload.confidential_computing
    ):
        return True
    start = measured.of(FigureName.START_TO_FIRST_ANSWER, pillar)
    wake = measured.of(FigureName.SCHEDULING_LATENCY, pillar)
    return bool(
        (start and workload.start_within_ms and start.value > workload.start_within_ms)
        or (wake and workload.latency_us and wake.value > workload.latency_us)
    )


@MANY
@given(workloads(), clouds, figures())
def test_no_hard_constraint_is_ever_violated(workload: Workload, here: PillarsHere, measured: Figures) -> None:
    advice = Engine(rules(), measured).advise(workload, here)
    assert not any(broken(workload, r.pillar, measured) for r in advice.ranking)
    if advice.choice is not None:
        able = [n for n in here.nodes if n.pillar is advice.choice]
        if workload.confidential_computing:
            able = [n for n in able if "MEM_ENCRYPTION_CONTEXT" in n.resources and not n.emulated]
        if workload.nested_virtualization:
            able = [n for n in able if "HW_CPU_X86_VMX" in n.traits and not n.emulated]
        if workload.hardware_isolation:
            able = [n for n in able if not n.emulated]
        assert able
        assert not workload.gpus
        assert not workload.virtual_functions


@MANY
@given(workloads(), clouds, figures())
def test_the_ranking_is_whole_and_in_order(workload: Workload, here: PillarsHere, measured: Figures) -> None:
    advice = Engine(rules(), measured).advise(workload, here)
    assert sorted([r.pillar for r in advice.ranking] + [r.pillar for r in advice.refused]) == sorted(Pillar)
    scores = [r.score for r in advice.ranking]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= s <= 100 for s in scores)
    assert advice.best is (advice.ranking[0].pillar if advice.ranking else None)
    here_now = [r for r in advice.ranking if r.available_here is not Availability.NO]
    assert (advice.choice is None) == (not here_now)
    assert (advice.conflict is None) == (advice.choice is not None)
    assert all(r.missing for r in advice.ranking if r.available_here is Availability.NO)
    assert all(r.refusals for r in advice.refused)


def conflict_of(engine: Engine, workload: Workload, here: PillarsHere) -> Advice:
    advice = engine.advise(workload, here)
    assume(advice.conflict is not None)
    return advice


#: demands that refuse, so that conflicts are common
HARD = ("own_kernel", "hardware_isolation", "start_within", "latency", "live_migration", "gpus", "tpm", "firmware",
        "nested_virtualization", "confidential_computing", "operating_system", "shared_kernel_allowed")  # fmt: skip


@st.composite
def hard_workloads(draw: st.DrawFn) -> Workload:
    names = draw(st.lists(st.sampled_from(HARD), min_size=2, max_size=7, unique=True))
    return Workload(**{BY_NAME[n].field: draw(values(BY_NAME[n])) for n in names})


@MANY
@given(hard_workloads(), clouds, figures())
def test_giving_up_what_is_named_lifts_the_conflict_and_less_does_not(
    workload: Workload, here: PillarsHere, measured: Figures
) -> None:
    engine = Engine(rules(), measured)
    conflict = conflict_of(engine, workload, here).conflict
    assert conflict is not None
    for way in conflict.giving_up:
        v = engine.verdict(less(workload, *way.demands), here)
        pillar = v.choice or v.best
        assert settled(engine, less(workload, *way.demands), here, conflict.level)
        assert (pillar, way.score) == (way.pillar, v.scored.scores[way.pillar])
        for kept in way.demands:  # one less given up is not enough
            assert not settled(engine, less(workload, *(n for n in way.demands if n != kept)), here, conflict.level)


@MANY
@given(hard_workloads(), clouds, figures())
def test_a_named_conflict_is_one_by_itself_and_nothing_in_it_is_too_much(
    workload: Workload, here: PillarsHere, measured: Figures
) -> None:
    engine = Engine(rules(), measured)
    conflict = conflict_of(engine, workload, here).conflict
    assert conflict is not None
    assert conflict.demands
    for names in conflict.demands:
        assert not settled(engine, only(workload, names), here, conflict.level)
        for spare in names:
            assert settled(engine, only(workload, tuple(n for n in names if n != spare)), here, conflict.level)


@MANY
@given(close_workloads(), clouds, figures(), st.data())
def test_a_weight_past_its_flip_point_flips_and_before_it_does_not(
    workload: Workload, here: PillarsHere, measured: Figures, data: st.DataObject
) -> None:
    engine = Engine(rules(), measured)
    advice = engine.advise(workload, here)
    assume(advice.sensitivity)
    now = advice.choice or advice.best
    point = data.draw(st.sampled_from(advice.sensitivity))
    assert point.share == abs(point.change) / (point.weight or 1)
    assert all(0 < p.flips_at < HEAVIEST for p in advice.sensitivity)
    step = 1e-5 if point.direction is Direction.ABOVE else -1e-5

    def verdict(weight: float) -> Verdict:
        return Engine(with_weight(rules(), point.rule, weight), measured).verdict(workload, here)

    assume(0 <= point.flips_at + step <= HEAVIEST)
    past = verdict(point.flips_at + step)
    winner = past.choice or past.best
    assert winner is not None
    assert winner is not now
    # a third pillar may overtake it within the step
    assert past.scored.scores[winner] - past.scored.scores[point.winner] < 1e-3
    before = verdict(point.weight + data.draw(st.floats(0, 0.999)) * point.change)
    assert (before.choice or before.best) is now


@MANY
@given(close_workloads(), clouds, figures(), st.data())
def test_a_weight_without_a_flip_point_flips_nothing(
    workload: Workload, here: PillarsHere, measured: Figures, data: st.DataObject
) -> None:
    engine = Engine(rules(), measured)
    advice = engine.advise(workload, here)
    assume(advice.ranking)
    now = advice.choice or advice.best
    for direction, low, high in ((Direction.BELOW, 0.0, None), (Direction.ABOVE, None, HEAVIEST)):
        flips = {f.rule for f in advice.sensitivity if f.direction is direction}
        still = [r for r in rules().preferences if r.name not in flips and holds(r.when, demanded(workload))]
        rule = data.draw(st.sampled_from(still)) if still else None
        if rule is None:
            continue
        moved = data.draw(st.floats(rule.weight if low is None else 1e-3, high if high is not None else rule.weight))
        v = Engine(with_weight(rules(), rule.name, moved), measured).verdict(workload, here)
        assert (v.choice or v.best) is now


@settings(max_examples=40, deadline=None, suppress_health_check=QUIET)
@given(close_workloads(), clouds, figures(), st.data())
def test_a_figure_past_its_flip_point_flips_and_before_it_does_not(
    workload: Workload, here: PillarsHere, measured: Figures, data: st.DataObject
) -> None:
    engine = Engine(rules(), measured)
    advice = engine.advise(workload, here)
    assume(advice.figure_flips)
    point = data.draw(st.sampled_from(advice.figure_flips))

    def wins(value: float) -> bool:
        supposed = with_measured(engine.known, point.figure, point.pillar, value)
        v = Engine(rules(), supposed).verdict(workload, here)
        return (v.choice or v.best) is point.pillar

    better = 1 / 1.02 if point.figure not in MORE_IS_BETTER else 1.02
    assert wins(point.flips_at * better)
    assert not wins(point.flips_at / better)
    assert wins(point.flips_at * better ** data.draw(st.integers(1, 400)))
    assert not wins(point.flips_at / better ** data.draw(st.integers(1, 400)))
    assert point.wins is (point.pillar is (advice.choice or advice.best))


@MANY
@given(workloads(), clouds, figures(), st.randoms(use_true_random=False))
def test_the_order_of_what_is_given_never_matters(
    workload: Workload, here: PillarsHere, measured: Figures, random: Any
) -> None:
    def shuffled(some: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(random.sample(some, len(some)))

    there = PillarsHere(nodes=shuffled(here.nodes))
    others = Figures(figures=shuffled(measured.figures))
    advice = Engine(rules(), measured).advise(workload, here)
    assert Engine(rules(), others).advise(workload, there) == advice
    mixed = replace(rules(), preferences=shuffled(rules().preferences), constraints=shuffled(rules().constraints))
    v = Engine(mixed, measured).verdict(workload, here)
    assert (v.best, v.choice) == (advice.best, advice.choice)
    assert all(v.scored.scores[r.pillar] == r.score for r in advice.ranking)


@settings(deadline=None)
@given(st.permutations(["own_kernel: true", "nodes: 40", "start_within: 5 s", "team: skilled"]))
def test_the_order_of_a_files_lines_never_matters(lines: list[str]) -> None:
    expected = Workload(own_kernel=True, nodes=40, start_within_ms=5000, team=BY_NAME["team"].vocabulary("skilled"))  # type: ignore[misc]
    assert workload_of_yaml("\n".join(lines)) == expected


@settings(deadline=None)
@given(st.sampled_from(["", "\n", "# nothing yet\n", "{}", "---\n", "preferences: []\nconstraints:\n", "version: 1"]))
def test_an_empty_override_changes_nothing(text: str) -> None:
    assert load_rules(TEXT, text) == rules()


@settings(deadline=None)
@given(st.lists(st.frozensets(st.sampled_from("abcdefg"), min_size=1, max_size=4), max_size=8))
def test_hitting_sets_are_those_of_the_definition(sets: list[frozenset[str]]) -> None:
    every = [frozenset(c) for c in chain.from_iterable(combinations("abcdefg", n) for n in range(8))]
    hitting = [s for s in every if all(s & one for one in sets)]
    smallest = {s for s in hitting if not any(other < s for other in hitting)}
    assert set(hitting_sets(sets)) == smallest


def test_what_no_demand_lifts_is_said_to_be_so() -> None:
    ways = [[frozenset[str](), frozenset({"a"})]]
    assert corrections(ways) == ()
    assert conflicts(()) == (frozenset(),)


def test_very_many_demands_still_have_an_answer() -> None:
    names = [d.name for d in DEMANDS]
    sets = [frozenset(names[i : i + 2]) for i in range(0, len(names) - 1, 2)]
    found = hitting_sets(sets)
    assert found
    assert all(all(one & s for s in sets) for one in found)
