"""Single rules of the reckoning, each where only it decides."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.golden.advisor.cases import EVERYWHERE, SNP, measured, nodes, rules
from trilith.model.figures import UNITS, Figure, FigureName, Figures
from trilith.model.guest import HostFacts, Pillar
from trilith.placement.advisor.advice import Availability, Evidence
from trilith.placement.advisor.engine import Engine, advise
from trilith.placement.advisor.here import PillarsHere, pillars_here
from trilith.placement.advisor.workload import Network, Workload

KVM, XEN, LXC = Pillar.KVM, Pillar.XEN, Pillar.LXC
START = FigureName.START_TO_FIRST_ANSWER


def refused(workload: Workload, *figures: Figure) -> set[Pillar]:
    return {r.pillar for r in advise(workload, EVERYWHERE, Figures(figures=figures), rules()).refused}


def test_a_measured_figure_refuses_by_its_median_and_warns_of_its_tail() -> None:
    figure = measured(LXC, 60, low=30, high=200)
    assert LXC in refused(Workload(start_within_ms=50), figure)
    assert LXC not in refused(Workload(start_within_ms=70), figure)
    ranking = advise(Workload(start_within_ms=70), EVERYWHERE, Figures(figures=(figure,)), rules()).ranking
    assert "90th percentile at 200 ms" in next(r for r in ranking if r.pillar is LXC).warnings[0]


def test_a_claim_refuses_by_the_lowest_that_was_published() -> None:
    assert KVM not in refused(Workload(start_within_ms=130))
    assert KVM in refused(Workload(start_within_ms=120))


def test_a_bare_guests_figure_is_a_floor_until_a_real_guest_was_measured() -> None:
    floor = measured(KVM, 900, bare=True)
    advice = advise(Workload(start_within_ms=500), EVERYWHERE, Figures(figures=(floor,)), rules())
    kvm = next(r for r in advice.refused if r.pillar is KVM)
    assert "900 ms in a guest without an operating system, a floor" in kvm.refusals[0].text
    assert next(c for c in advice.costs if c.pillar is KVM and c.name is START).bare == floor
    assert KVM not in refused(Workload(start_within_ms=500), floor, measured(KVM, 400))
    assert KVM not in refused(Workload(start_within_ms=1000), floor)


@pytest.mark.parametrize(
    ("name", "value", "half", "expected"),
    [
        (FigureName.NETWORK_ROUND_TRIP, 300, 100, 0.25),
        (FigureName.NETWORK_ROUND_TRIP, 0, 100, 1.0),
        (FigureName.NETWORK_THROUGHPUT, 300, 100, 0.75),
        (FigureName.NETWORK_THROUGHPUT, 0, 100, 0.0),
    ],
)
def test_a_figures_worth(name: FigureName, value: float, half: float, expected: float) -> None:
    rule = f"""
preferences:
  - {{name: ours, when: {{nodes: any}}, weight: 1, figure: {name}, half_at: {half}, because: x}}
"""
    figures = Figures(figures=(measured(LXC, value, name, UNITS[name]),))
    v = Engine(rules(rule), figures).verdict(Workload(nodes=1), EVERYWHERE)
    worths = next(w for r, w in v.scored.rules if r.name == "ours")
    assert worths[LXC].value == pytest.approx(expected)
    assert worths[KVM].value == worths[LXC].value  # what nobody knows is as bad as the worst that is known
    assert worths[KVM].evidence is Evidence.NONE


def worths_of(rule: str, workload: Workload, *figures: Figure, operators: str = "") -> dict[Pillar, float]:
    v = Engine(rules(operators), Figures(figures=figures)).verdict(workload, EVERYWHERE)
    return {p: w.value for r, ws in v.scored.rules if r.name == rule for p, w in ws.items()}


def test_a_row_of_the_table_gives_way_to_two_measured_pillars_not_to_one_nor_to_claims() -> None:
    workload = Workload(network=Network.LOW_LATENCY)
    trip: dict[str, Any] = {"name": FigureName.NETWORK_ROUND_TRIP, "unit": "µs"}
    prior = {KVM: 0.4, XEN: 0.3, LXC: 1}
    assert worths_of("table-network-latency", workload) == prior
    assert worths_of("table-network-latency", workload, measured(LXC, 400, **trip)) == prior
    both = worths_of("table-network-latency", workload, measured(LXC, 400, **trip), measured(KVM, 100, **trip))
    assert both == {KVM: 0.5, XEN: 0.3, LXC: 0.2}
    claims = "figures:\n" + "".join(
        f"  - {{name: network_round_trip, pillar: {p}, value: 100, unit: µs, source: x}}\n" for p in (KVM, LXC)
    )
    assert worths_of("table-network-latency", workload, operators=claims) == prior


def test_what_emulating_nodes_could_do_is_no_evidence() -> None:
    here = PillarsHere(nodes=(nodes(KVM, "HW_CPU_X86_AMD_SEV_SNP", emulated=True), nodes(XEN)))
    advice = advise(Workload(hardware_isolation=True), here, Figures(), rules())
    assert advice.best is XEN
    assert not advice.overrides


def test_what_is_here_with_hardware_comes_before_what_is_emulated() -> None:
    here = PillarsHere(nodes=(nodes(KVM, emulated=True), nodes(LXC)))
    advice = advise(Workload(nodes=40, hardware_isolation=False), here, Figures(), rules())
    assert (advice.best, advice.choice) == (KVM, LXC)
    kvm = advice.ranking[0]
    assert kvm.available_here is Availability.EMULATED
    assert "under emulation only" in kvm.warnings[0]
    both = PillarsHere(nodes=(*here.nodes, nodes(KVM)))
    assert advise(Workload(nodes=40), both, Figures(), rules()).ranking[0].available_here is Availability.YES


def test_equal_scores_go_to_what_costs_a_node_least() -> None:
    workload = Workload(own_kernel=True)
    assert advise(workload, EVERYWHERE, Figures(), rules()).choice is KVM
    assert advise(workload, EVERYWHERE, Figures(), rules("least_first: [xen, kvm, lxc]")).choice is XEN


def test_confidential_computing_is_asked_for_by_nodes_own_trait_and_needs_the_resource() -> None:
    gets = advise(Workload(confidential_computing=True), SNP, Figures(), rules()).gets
    assert gets is not None
    assert gets.traits == ("HW_CPU_X86_AMD_SEV_SNP",)
    assert gets.extra_specs == {
        "trilith:pillar": "kvm",
        "hw:mem_encryption": "true",
        "trait:HW_CPU_X86_AMD_SEV_SNP": "required",
    }
    older = PillarsHere(nodes=(nodes(KVM, "HW_CPU_X86_AMD_SEV", resources=("MEM_ENCRYPTION_CONTEXT",)),))
    gets = advise(Workload(confidential_computing=True), older, Figures(), rules()).gets
    assert gets is not None
    assert gets.traits == ("HW_CPU_X86_AMD_SEV",)
    without = PillarsHere(nodes=(nodes(KVM, "HW_CPU_X86_AMD_SEV_SNP"),))
    assert advise(Workload(confidential_computing=True), without, Figures(), rules()).choice is None


def test_two_demands_need_one_node_that_meets_both() -> None:
    workload = Workload(tpm=True, nested_virtualization=True)
    apart = PillarsHere(nodes=(nodes(KVM, "COMPUTE_SECURITY_TPM_2_0"), nodes(KVM, "HW_CPU_X86_VMX")))
    advice = advise(workload, apart, Figures(), rules())
    assert (advice.best, advice.choice) == (KVM, None)
    assert advice.conflict is not None
    assert advice.conflict.demands == (("nested_virtualization", "tpm"),)
    assert {g.demands for g in advice.conflict.giving_up} == {("nested_virtualization",), ("tpm",)}
    together = PillarsHere(nodes=(nodes(KVM, "COMPUTE_SECURITY_TPM_2_0", "HW_CPU_X86_VMX"),))
    assert advise(workload, together, Figures(), rules()).choice is KVM


def test_a_class_that_a_node_has_none_of_is_no_resource() -> None:
    facts = HostFacts(
        hostname="a", pillars=(KVM,), inventories={"VCPU": 4, "MEM_ENCRYPTION_CONTEXT": 0}, traits=(),
        hypervisor_type="QEMU", hypervisor_version=1,
    )  # fmt: skip
    assert pillars_here([facts]).nodes[0].resources == {"VCPU"}
    assert pillars_here([facts], resources={"a": ("MEM_ENCRYPTION_CONTEXT",)}).nodes[0].resources == {
        "MEM_ENCRYPTION_CONTEXT"
    }


def test_a_weight_of_nothing_counts_for_nothing() -> None:
    ours = rules("preferences:\n  - {name: memory-overhead, weight: 0}")
    advice = advise(Workload(), EVERYWHERE, Figures(), ours)
    assert {r.score for r in advice.ranking} == {50}
    assert all(c.share == 0 for r in advice.ranking for c in r.contributions)


def test_of_two_that_cross_at_one_weight_the_steeper_wins_beyond_it() -> None:
    ours = rules("""
preferences:
  - {name: memory-overhead, enabled: false}
  - {name: ours, when: {tenants: any}, weight: 5, values: {lxc: 1, kvm: 0.4, xen: 0.3}, because: x}
""")  # without tenants-apart (0.3, 0.9, 1) LXC leads KVM by 3 and Xen by 3.5: both are level at a weight of 5
    point = advise(Workload(tenants=2), EVERYWHERE, Figures(), ours).sensitivity
    apart = next(p for p in point if p.rule == "tenants-apart")
    assert apart.flips_at == pytest.approx(5)
    assert apart.winner is XEN


def test_a_flip_point_is_a_weight_that_can_be_set() -> None:
    ours = rules("preferences: [{name: tenants-apart, weight: 9}, {name: lasting-state, weight: 1}]")
    advice = advise(Workload(tenants=2, stateful=True), EVERYWHERE, Figures(), ours)
    assert advice.best is XEN
    # KVM would need 9 of lasting-state, LXC more than there is; memory-overhead would have to be far over 10 for LXC
    assert [(p.rule, p.winner) for p in advice.sensitivity] == [("tenants-apart", KVM), ("lasting-state", KVM)]
    assert all(0 < p.flips_at < 10 for p in advice.sensitivity)


def test_a_verdict_costs_next_to_nothing() -> None:
    """Each server's creation waits for one; 0.2 ms is what it can spare. The best of many, as others share the CPU."""
    engine = Engine(rules(), Figures())
    workload = Workload(memory_per_guest_mib=128, own_kernel=True, start_within_ms=5000, tenants=3)

    def once() -> float:
        began = time.perf_counter()
        engine.verdict(workload, EVERYWHERE)
        return time.perf_counter() - began

    assert min(once() for _ in range(300)) < 0.0004  # twice that, for slower machines
