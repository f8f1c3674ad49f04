"""Which pillars the cloud has, from what its nodes report."""

from __future__ import annotations

from trilith.model.guest import HostFacts, Pillar
from trilith.placement.advisor.here import pillars_here


def node(name: str, *pillars: Pillar, **capabilities: tuple[str, ...]) -> HostFacts:
    return HostFacts(
        hostname=name, pillars=pillars, inventories={}, traits=("T",), hypervisor_type="QEMU", hypervisor_version=1,
        capabilities=capabilities,
    )  # fmt: skip


def test_alike_nodes_are_one_entry_and_emulation_is_told_apart() -> None:
    here = pillars_here(
        [
            node("a", Pillar.KVM, Pillar.LXC, kvm=("pause",)),
            node("b", Pillar.KVM, kvm=("pause",)),
            node("c", Pillar.KVM, kvm=("pause", "emulated")),
        ]
    )
    kvm = here.of(Pillar.KVM)
    assert sorted((n.count, n.emulated) for n in kvm) == [(1, True), (2, False)]
    assert len(here.of(Pillar.LXC)) == 1
    assert not here.of(Pillar.XEN)


def test_an_operators_traits_stand_in_place_of_the_reported_ones() -> None:
    here = pillars_here([node("a", Pillar.LXC)], {"a": ("T", "CUSTOM_GPU")})
    assert here.of(Pillar.LXC)[0].traits == {"T", "CUSTOM_GPU"}
