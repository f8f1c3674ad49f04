"""The decision table's rows, the four scenarios, and cases with a stated expectation, contradictions among them."""

from __future__ import annotations

import msgspec
import pytest

from tests.golden.advisor.cases import CASES, EVERYWHERE, ROWS, SCENARIOS, SNP, Case, rules
from trilith.model.figures import Figures
from trilith.model.guest import Pillar
from trilith.placement.advisor.advice import Advice, Availability, Evidence, Level
from trilith.placement.advisor.engine import advise
from trilith.placement.advisor.workload import Compliance, OperatingSystem, Site, Team, Workload


def ask(case: Case) -> Advice:
    return advise(case.workload, case.here, case.figures, rules())


@pytest.mark.parametrize("row", ROWS)
def test_each_row_of_the_table_alone_gives_its_pillar(row: str) -> None:
    workload, pillar = ROWS[row]
    advice = advise(workload, EVERYWHERE, Figures(), rules())
    assert advice.best is advice.choice is pillar
    assert max(advice.ranking[0].contributions, key=lambda c: c.share).rule.startswith("table-")


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_scenario_gives_its_pillar_and_how_to_get_it(name: str) -> None:
    workload, pillar, note = SCENARIOS[name]
    advice = advise(workload, EVERYWHERE, Figures(), rules())
    assert advice.best is advice.choice is pillar
    assert advice.gets is not None
    assert advice.gets.extra_specs["trilith:pillar"] == advice.gets.image_properties["img_hv_type"] == str(pillar)
    assert note in " ".join(advice.gets.notes)


def test_the_security_scenario_is_xen_pv() -> None:
    advice = advise(SCENARIOS["security-sensitive"][0], EVERYWHERE, Figures(), rules())
    assert advice.gets is not None
    assert advice.gets.image_properties["hw_vm_mode"] == "xen"


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.why)
def test_a_case_is_as_expected(case: Case) -> None:
    advice = ask(case)
    choice = case.best if case.choice == "best" else case.choice
    assert (advice.best, advice.choice) == (case.best, choice), advice.summary
    assert {r.pillar for r in advice.refused} == set(case.refused)
    assert (advice.conflict.demands if advice.conflict else ()) == case.conflicts
    lifts = {g.demands: g.pillar for g in advice.conflict.giving_up} if advice.conflict else {}
    assert lifts == dict(case.lifts)


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 24
    assert sum(1 for c in CASES if c.best is None) >= 3
    assert len({c.why for c in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.why)
def test_an_advice_is_whole_in_json_and_in_both_languages(case: Case) -> None:
    advice = ask(case)
    assert msgspec.convert(msgspec.to_builtins(advice), Advice) == advice
    assert advice.summary
    assert advice.summary_zh
    for one in (*advice.sensitivity, *advice.figure_flips, *advice.without, *advice.overrides):
        assert one.text
        assert one.text_zh
    refusals = [r for p in advice.refused for r in p.refusals] + [r for p in advice.ranking for r in p.missing]
    for told in (*refusals, *(c for p in advice.ranking for c in p.contributions)):
        assert told.text
        assert told.text_zh


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.why)
def test_the_points_of_the_rules_add_up_to_the_score(case: Case) -> None:
    for one in ask(case).ranking:
        assert sum(c.share for c in one.contributions) == pytest.approx(one.score)


def test_what_fits_and_what_is_here_are_told_apart() -> None:
    case = next(c for c in CASES if c.best is Pillar.XEN and c.choice is Pillar.KVM)
    advice = ask(case)
    xen, kvm = advice.ranking
    assert (xen.pillar, xen.available_here) == (Pillar.XEN, Availability.NO)
    assert "no node in service that runs Xen" in xen.missing[0].text
    assert kvm.available_here is Availability.YES
    assert "Xen would fit better" in advice.summary


def test_the_advice_says_where_evidence_overrode_the_table() -> None:
    workload = Workload(compliance=Compliance.GOVERNMENT, hardware_isolation=True)
    overrides = advise(workload, SNP, Figures(), rules()).overrides
    assert {(o.rule, o.pillar, o.evidence) for o in overrides} == {
        ("table-security-hardware", Pillar.KVM, Evidence.TRAIT),
        ("table-security-regulated", Pillar.KVM, Evidence.TRAIT),
    }
    assert {(o.prior, o.became) for o in overrides} == {(0.5, 1.0)}
    assert "SEV-SNP" in overrides[0].text


def test_the_advice_says_where_a_constraint_overrode_the_table() -> None:
    workload = Workload(site=Site.EDGE, operating_system=OperatingSystem.WINDOWS)
    override = advise(workload, EVERYWHERE, Figures(), rules()).overrides[0]
    assert (override.rule, override.pillar, override.by) == ("scenario-edge", Pillar.LXC, "other-operating-system")
    assert override.became is None


def test_a_measured_figure_overrides_the_tables_row() -> None:
    case = next(c for c in CASES if "round trip" in c.why)
    overrides = ask(case).overrides
    assert {(o.pillar, o.evidence, o.by) for o in overrides} == {
        (Pillar.KVM, Evidence.MEASURED, "network_round_trip"),
        (Pillar.LXC, Evidence.MEASURED, "network_round_trip"),
    }


def test_emulation_is_reported_and_not_reckoned_with() -> None:
    case = next(c for c in CASES if "under emulation" in c.why)
    advice = ask(case)
    kvm = advice.ranking[0]
    start = next(c for c in kvm.contributions if c.rule == "start-time")
    assert start.evidence is Evidence.CLAIM
    assert start.figure is not None
    assert start.figure.value == 3500
    assert next(c for c in advice.costs if c.pillar is Pillar.KVM and c.emulated).emulated.value == 40_000  # type: ignore[union-attr]
    assert kvm.missing[0].level is Level.CLOUD
    assert "40 s under emulation" in kvm.missing[0].text


def test_every_cost_has_a_source() -> None:
    for cost in advise(Workload(), EVERYWHERE, Figures(), rules()).costs:
        assert cost.figure is None or "unmeasured here" in cost.figure.source


def test_a_claim_over_the_demand_is_a_warning_and_no_refusal() -> None:
    case = next(c for c in CASES if "refuses nothing" in c.why)
    kvm = ask(case).ranking[0]
    assert "claimed to be 35 µs" in kvm.warnings[0]


def test_the_advice_says_what_a_measurement_would_have_to_show() -> None:
    advice = advise(Workload(own_kernel=True, start_within_ms=50), EVERYWHERE, Figures(), rules())
    told = {f.pillar: f for f in advice.figure_flips}
    assert told[Pillar.KVM].flips_at == pytest.approx(50, rel=0.02)
    assert told[Pillar.KVM].text == (
        "were the start to first answer of KVM measured under about 50 ms (claimed 3.5 s), KVM would win"
    )
    assert Pillar.LXC not in told  # no start, however fast, gives a container a kernel


def test_the_advice_says_which_weight_is_nearest_to_another_answer() -> None:
    advice = advise(Workload(tenants=5, stateful=True, latency_us=50), EVERYWHERE, Figures(), rules())
    assert advice.best is Pillar.XEN
    first, second = advice.sensitivity[:2]
    assert (first.rule, first.direction, first.winner, first.share) == ("tenants-apart", "below", Pillar.KVM, 0.5)
    assert (second.rule, second.direction, second.winner, second.share) == ("lasting-state", "above", Pillar.KVM, 1)
    assert [w.demand for w in advice.without] == ["tenants"]


def test_a_close_answer_says_so_in_its_first_lines() -> None:
    workload = Workload(compliance=Compliance.FINANCE, team=Team.SKILLED, tenants=3, packet_rate_pps=200_000)
    advice = advise(workload, EVERYWHERE, Figures(), rules())
    assert advice.sensitivity[0].share < 0.1
    assert advice.summary == (
        "KVM fits best (score 72). The answer is close: with the weight of table-security-regulated above 3.20 instead "
        "of 3 (+0.20, 7%), Xen would win over KVM."
    )
    assert "结果相近" in advice.summary_zh
    far = advise(Workload(tenants=5, stateful=True, latency_us=50), EVERYWHERE, Figures(), rules())
    assert far.sensitivity[0].share > 0.1
    assert "close" not in far.summary
