"""The rules' file and an operator's: what is merged, and errors that name file, line and what is allowed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.golden.advisor.cases import EVERYWHERE, TEXT, rules
from trilith import errors
from trilith.model.figures import FigureName, Figures
from trilith.model.guest import Pillar
from trilith.placement.advisor.engine import advise
from trilith.placement.advisor.rules import HEAVIEST, Matcher
from trilith.placement.advisor.rules_file import load_rules, with_weight
from trilith.placement.advisor.workload import Compliance, Network, Workload


def test_the_same_texts_are_read_once() -> None:
    assert load_rules(TEXT, "") is load_rules(TEXT, "")


def test_the_shipped_rules_are_sound() -> None:
    found = rules()
    names = [r.name for r in (*found.constraints, *found.preferences, *found.recipes)]
    assert len(set(names)) == len(names)
    assert all(0 < p.weight <= HEAVIEST for p in found.preferences)
    assert all(p.words.en and p.words.zh for p in found.preferences)
    assert all(p.row.zh for p in found.preferences if p.row.en)
    assert all(w.zh for c in found.constraints for w in (*c.refuses.values(), *(n.words for n in c.needs.values())))
    assert all(r.note.zh for r in found.recipes if r.note.en)
    assert {p.row.en.partition(":")[0] for p in found.preferences if p.row.en} == {
        *("resources", "security", "network", "operations", "scenario"),
    }


def test_every_shipped_figure_says_that_nobody_measured_it_here() -> None:
    for figure in rules().defaults.figures:
        assert not figure.measured
        assert "unmeasured here" in figure.source


def test_a_weight_is_changed_and_the_rest_of_the_rule_is_kept() -> None:
    changed = rules("preferences: [{name: table-network-sdn, weight: 0.5}]")
    assert changed.operator_rules == ("table-network-sdn",)
    assert changed == replace(with_weight(rules(), "table-network-sdn", 0.5), operator_rules=("table-network-sdn",))
    with pytest.raises(errors.Missing):
        with_weight(rules(), "nothing", 1)


ADDED = """\
edition: ours-1
preferences:
  - name: our-licences
    when: {operating_system: windows, servers: ">= 10"}
    weight: 10
    values: {xen: 1, kvm: 0, lxc: 0}
    because: {en: our licences are bound to Xen hosts, zh: 许可证绑定 Xen}
  - {name: table-network-sdn, enabled: false}
constraints:
  - name: finance-has-no-containers
    when: {compliance: [finance]}
    refuses: {lxc: our auditors refuse containers}
  - name: our-gpus
    when: {gpus: any}
    needs: {kvm: {traits: [CUSTOM_GPU], because: a card}}
gets:
  - name: finance-zone
    when: {compliance: finance}
    traits: [CUSTOM_FINANCE_ROOM]
    extra_specs: {"hw:cpu_policy": dedicated}
figures:
  - {name: system_call, pillar: lxc, value: 90, unit: ns, source: "our own measurement, elsewhere"}
  - {name: start_to_first_answer, pillar: xen, value: 900, low: 700, source: our own}
"""


def test_an_operators_rules_are_added_changed_and_switched_off() -> None:
    ours = rules(ADDED)
    assert ours.edition == "ours-1"
    assert len(ours.preferences) == len(rules().preferences)  # one more, one less
    assert ours.defaults.of(FigureName.SYSTEM_CALL, Pillar.LXC) is not None
    xen = ours.defaults.of(FigureName.START_TO_FIRST_ANSWER, Pillar.XEN)
    assert xen is not None
    assert (xen.value, xen.low, xen.unit) == (900, 700, "ms")
    advice = advise(Workload(compliance=Compliance.FINANCE, network=Network.SDN), EVERYWHERE, Figures(), ours)
    assert [r.refusals[0].constraint for r in advice.refused] == ["finance-has-no-containers"]
    assert advice.refused[0].refusals[0].text == "compliance: finance: our auditors refuse containers"
    assert advice.gets is not None
    assert advice.gets.extra_specs["hw:cpu_policy"] == "dedicated"
    assert advice.gets.extra_specs["trait:CUSTOM_FINANCE_ROOM"] == "required"
    assert "our-licences" in advice.operator_rules
    assert not any(c.rule == "table-network-sdn" for r in advice.ranking for c in r.contributions)


@pytest.mark.parametrize(
    ("text", "line", "words", "allowed"),
    [
        ("prefs: []", 1, "no 'prefs' here", "figures, constraints, preferences, gets"),
        ("\nversion: 2", 2, "version is 2", "1"),
        ("least_first: [lxc, kvm]", 1, "does not name each pillar once", "kvm, xen, lxc"),
        ("preferences:\n- name: table-network-sdn\n  weight: 11", 3, "weight is 11", "from 0 to 10"),
        ("preferences:\n- name: table-network-sdn\n  weight: heavy", 3, "weight is 'heavy'", "a number"),
        ("preferences:\n- name: table-network-sdn\n  wieght: 1", 3, "no 'preferences[0].wieght' here", "weight"),
        ("preferences:\n- {name: ours, weight: 1}", 2, "lacks 'because'", "because"),
        ("preferences:\n- {name: ours, weight: 1, because: x}", 2, "has no values", "values, or figure"),
        ("preferences:\n- name: density\n  values: {kvm: 1}", 3, "lack xen, lxc", "from 0 to 1"),
        ("preferences:\n- name: density\n  values: {vmware: 1}", 3, "vmware", "kvm, xen, lxc"),
        ("preferences:\n- name: density\n  values: {kvm: 2, xen: 0, lxc: 0}", 3, "kvm is 2", "from 0 to 1"),
        ("preferences:\n- name: density\n  half_at: 10 MiB", 3, "'10 MiB'", "a number above 0 in MiB"),
        ("preferences:\n- name: density\n  half_at: start_within", 3, "'start_within'", "above 0"),
        ("preferences:\n- name: density\n  figure: speed", 3, "'speed'", "start_to_first_answer"),
        ("preferences:\n- name: tenants-apart\n  figure: memory", 2, "one of figure and half_at", "both or none"),
        ("preferences:\n- name: ours\n- name: ours", 2, "lacks 'weight'", "weight"),
        ("preferences:\n- {name: density}\n- {name: density}", 3, "density is already on line 2", "once"),
        ("preferences:\n- {name: density, when: {beauty: true}}", 2, "no demand 'beauty'", "own_kernel"),
        ("preferences:\n- {name: density, when: {nodes: 10}}", 2, "nodes is 10", "any, or a comparison"),
        ("preferences:\n- {name: density, when: {nodes: '> ten'}}", 2, "'ten' is no number", "'> 10'"),
        ("preferences:\n- {name: density, when: {latency: '> 1 GiB'}}", 2, "is a size", "duration"),
        ("preferences:\n- {name: density, when: {own_kernel: any}}", 2, "own_kernel is 'any'", "true or false"),
        ("preferences:\n- {name: density, when: {team: [skilled, lazy]}}", 2, "'lazy'", "general, skilled"),
        ("preferences:\n- {name: density, when: {team: lazy}}", 2, "'lazy'", "any, general"),
        ("preferences:\n- {name: density, enabled: perhaps}", 2, "'perhaps'", "true or false"),
        ("preferences:\n- {name: density, because: ''}", 2, "because is ''", "a text of 1 to"),
        ("preferences:\n- {name: density, because: {de: x}}", 2, "de", "en, zh"),
        ("preferences:\n- {name: own-kernel}", 2, "one of the constraints", "it under constraints"),
        ("preferences:\n- {name: Ours!, weight: 1, because: x}", 2, "'Ours!'", "small letters"),
        ("preferences: 7", 1, "single value, not a list", ""),
        ("constraints:\n- {name: ours, when: {nodes: any}}", 2, "refuses nothing", "refuses, needs or limit"),
        ("constraints:\n- {name: ours, when: {}, refuses: {lxc: x}}", 2, "no demand that it follows from", "tenants"),
        ("constraints:\n- {name: ours, when: {nodes: any}, needs: {kvm: {because: x}}}", 2, "needs nothing", "traits"),
        ("constraints:\n- {name: ours, when: {nodes: any}, needs: {kvm: {traits: [gpu], because: x}}}", 2, "'gpu'",
         "names of traits"),
        ("constraints:\n- name: start-within\n  limit: {demand: latency, figure: start_to_first_answer}", 3,
         "limit.demand is 'latency'", "start_within"),
        ("constraints:\n- name: start-within\n  when: {nodes: any}", 3, "not among its demands", "nodes"),
        ("preferences:\n- name: start-time\n  figure: memory", 3, "half_at is 'start_within'", "above 0 in MiB"),
        ("figures:\n- {name: scheduling_latency, pillar: kvm,\n   low: 50}", 3, "not in order", "low <= value"),
        ("figures:\n- {name: system_call, pillar: lxc, value: 1, unit: ms, source: x}", 2, "is in 'ms'", "ns"),
        ("figures:\n- {name: system_call, value: 1}", 2, "lacks 'pillar'", "kvm"),
        ("figures:\n- {name: start_to_first_answer, pillar: lxc, value: 1}", 2, "not in order", "low <= value"),
        ("gets:\n- {name: ours, when: {nodes: any}, extra_specs: {'a b': c}}", 2, "'a b' is no key", "letters"),
        ("gets:\n- {name: ours, when: {nodes: any}, pillars: [docker]}", 2, "'docker'", "kvm, xen, lxc"),
        ("gets: [{name: ours", 1, "not YAML", "YAML 1.1"),
        ("[1]", 1, "is a list, not a mapping", ""),
    ],
)  # fmt: skip
def test_a_broken_file_is_told_by_its_line(text: str, line: int, words: str, allowed: str) -> None:
    with pytest.raises(errors.Invalid) as caught:
        load_rules(TEXT, text, "ours.yaml")
    assert f", line {line}: " in caught.value.message, caught.value
    assert words in caught.value.message
    assert allowed in caught.value.hint


def test_a_mistake_in_the_shipped_file_is_told_by_its_own_name() -> None:
    with pytest.raises(errors.Invalid, match=r"rules\.yaml, line 6: edition is 7"):
        load_rules(TEXT.replace('edition: "2026-11"', "edition: 7"))


@pytest.mark.parametrize(
    ("op", "value", "given", "expected"),
    [
        ("any", None, 1, True),
        ("in", frozenset({"a"}), "a", True),
        ("in", frozenset({"a"}), "b", False),
        ("=", False, False, True),
        ("<", 5, 5, False),
        ("<=", 5, 5, True),
        (">", 5, 6, True),
        (">=", 5, 4, False),
    ],
)
def test_a_matcher(op: str, value: object, given: object, expected: bool) -> None:
    assert Matcher("nodes", op, value).matches({"nodes": given}) is expected  # type: ignore[dict-item]
    assert not Matcher("nodes", op, value).matches({})  # no demand never matches
