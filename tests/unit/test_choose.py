"""Where a server goes: each hard rule refuses in words, and the weights pick among what fits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trilith import errors
from trilith.model.guest import Pillar
from trilith.placement.choose import choose, forms_allow, judge, passed_over, wanted_pillar
from trilith.placement.demand import Candidate, Demand, Units

NODE = Candidate(
    name="n1",
    pillars=(Pillar.LXC, Pillar.KVM),
    traits=frozenset({"HW_CPU_X86_AVX"}),
    free={"VCPU": 8, "MEMORY_MB": 4096, "DISK_GB": 100},
    total={"VCPU": 16, "MEMORY_MB": 8192, "DISK_GB": 200},
)
DEMAND = Demand(vcpus=1, memory_mib=512, disk_gib=1, pillars=(Pillar.LXC, Pillar.KVM))


def refusal(demand: Demand, node: Candidate) -> str:
    with pytest.raises(errors.NoValidHost) as caught:
        choose(demand, [node])
    return caught.value.reasons[node.name]


@pytest.mark.parametrize(
    ("demand", "node", "words"),
    [
        (DEMAND, {"enabled": False}, "disabled"),
        (DEMAND, {"alive": False}, "not connected"),
        ({"zone": "z2"}, {}, "needed z2, is in nova"),
        ({"node": "n9"}, {}, "names the node n9"),
        ({"traits": frozenset({"T"})}, {}, "needed T"),
        ({"forbidden": frozenset({"HW_CPU_X86_AVX"})}, {}, "forbidden HW_CPU_X86_AVX"),
        ({"memory_mib": 5000}, {}, "MEMORY_MB: needed 5000, had 4096"),
        ({"vcpus": 9}, {}, "VCPU: needed 9, had 8"),
        ({"disk_gib": 101}, {}, "DISK_GB: needed 101, had 100"),
        ({"chosen": Pillar.XEN}, {}, "no form for xen"),
        ({"pillars": (Pillar.XEN,)}, {}, "needed xen, has lxc, kvm"),
        ({"affinity": "anti-affinity"}, {"servers_of_group": 1}, "anti-affinity"),
        ({"affinity": "affinity", "group_nodes": frozenset({"n7"})}, {}, "affinity"),
        ({"not_nodes": frozenset({"n1"})}, {}, "different_host"),
        ({"only_nodes": frozenset({"n7"})}, {}, "same_host"),
        ({"vcpus": 5}, {"units": {"VCPU": Units(most=4)}}, "needed 5, one server may have 1 to 4"),
        ({"vcpus": 3}, {"units": {"VCPU": Units(step=2)}}, "in steps of 2"),
        ({}, {"pillars": (Pillar.KVM,), "able": {"kvm": ()}}, "cannot be enforced"),
        ({"chosen": Pillar.KVM, "machine_memory_mib": 600}, {}, "needs 600 MiB as a machine, had 512"),
        ({"extra_disks": True}, {"able": {"lxc": ("disk_limit",), "kvm": ("disk_limit",)}}, "no ephemeral disk"),
    ],
)
def test_each_rule_says_needed_and_had(demand: dict[str, object], node: dict[str, object], words: str) -> None:
    asked = demand if isinstance(demand, Demand) else replace(DEMAND, **demand)  # type: ignore[arg-type]
    assert words in refusal(asked, replace(NODE, **node))  # type: ignore[arg-type]


def test_the_emptier_node_is_taken_and_the_other_told_why() -> None:
    idle = replace(NODE, free=dict(NODE.total))
    busy = replace(idle, name="n2", free={k: v * 0.7 for k, v in NODE.total.items()})
    decision = choose(DEMAND, [busy, idle])
    assert (decision.node, decision.pillar) == ("n1", Pillar.LXC)
    assert "most room" in decision.reason
    assert "fits, but weighs" in decision.passed_over["n2"]


def test_past_half_of_the_room_the_fuller_node_is_taken() -> None:
    fuller = replace(NODE, name="n2", free={k: v * 0.2 for k, v in NODE.total.items()})
    decision = choose(DEMAND, [NODE, fuller])
    assert decision.node == "n2"
    assert "packed" in decision.reason


def test_no_node_is_left_with_processors_that_no_memory_serves() -> None:
    lean = replace(NODE, name="n2", free={"VCPU": 12, "MEMORY_MB": 1024, "DISK_GB": 100})
    even = [replace(NODE, name=f"n{i}") for i in (1, 3, 4)]
    assert choose(DEMAND, [lean, *even]).node == "n1"


def test_a_better_pillar_comes_before_more_room() -> None:
    machines = replace(NODE, name="n2", pillars=(Pillar.KVM,), free=dict(NODE.total))
    decision = choose(DEMAND, [machines, NODE])
    assert (decision.node, decision.pillar) == ("n1", Pillar.LXC)
    assert "room as lxc" in decision.passed_over["n2"]


def test_nodes_of_more_pillars_are_kept_for_those_who_need_them() -> None:
    containers = replace(NODE, name="n2", pillars=(Pillar.LXC,))
    assert choose(DEMAND, [NODE, containers]).node == "n2"


@pytest.mark.parametrize(("policy", "expected"), [("soft-affinity", "n2"), ("soft-anti-affinity", "n1")])
def test_soft_groups_outweigh_room(policy: str, expected: str) -> None:
    member = replace(NODE, name="n2", free={k: v * 0.3 for k, v in NODE.total.items()}, servers_of_group=1)
    assert choose(replace(DEMAND, affinity=policy), [NODE, member]).node == expected


def test_every_node_is_judged_best_first_and_each_but_the_best_has_a_reason() -> None:
    nodes = [
        replace(NODE, name="full", free={}),
        replace(NODE, name="machines", pillars=(Pillar.KVM,)),
        replace(NODE, name="twin"),
        NODE,
    ]
    judged = judge(DEMAND, nodes)
    assert [j.node for j in judged] == ["n1", "twin", "machines", "full"]
    reasons = passed_over(judged)
    assert {n: r.rule for n, r in reasons.items()} == {"twin": "weight", "machines": "lesser pillar", "full": "VCPU"}
    assert "first by name" in reasons["twin"].text
    assert {n: str(r) for n, r in reasons.items()} == choose(DEMAND, nodes).passed_over


def test_a_disk_limit_keeps_a_server_from_one_pillar_only() -> None:
    node = replace(NODE, able={"lxc": (), "kvm": ("disk_limit",)})
    assert choose(DEMAND, [node]).pillar is Pillar.KVM
    assert choose(replace(DEMAND, disk_gib=0), [node]).pillar is Pillar.LXC


def test_a_machine_that_is_too_small_becomes_a_container() -> None:
    assert choose(replace(DEMAND, machine_memory_mib=600), [NODE]).pillar is Pillar.LXC


def test_no_node_at_all_is_said_so() -> None:
    with pytest.raises(errors.NoValidHost, match="has no nodes"):
        choose(DEMAND, [])


def test_what_an_image_can_run_on() -> None:
    assert forms_allow("root-tar", {})[0] is Pillar.LXC
    assert Pillar.LXC not in forms_allow("qcow2", {})
    assert forms_allow("raw", {"trilith_boot": "bare"}) == (Pillar.KVM,)
    assert forms_allow("aki", {}) == ()


def test_the_flavor_outweighs_the_image() -> None:
    assert wanted_pillar({"img_hv_type": "lxc"}, {"trilith:pillar": "kvm"}) is Pillar.KVM
    assert wanted_pillar({}, {}) is None
    with pytest.raises(errors.Invalid, match="vmware"):
        wanted_pillar({"img_hv_type": "vmware"}, {})
