"""What a pillar costs on a node is kept whole, replaced whole, and read as the advisor takes it; on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from trilith import errors
from trilith.commands import compute_services, figures
from trilith.model.figures import FigureName, Figures, MeasuredHost, best_of
from trilith.model.guest import HostFacts, Pillar
from trilith.model.node import Node
from trilith.model.pillar_figures import GuestKind, Measured, PillarFigures, Spread
from trilith.store.contract import Store
from trilith.store.tx import Tx, new_id

HOST = MeasuredHost(name="n1", cpu="a cpu", threads=2, memory_mib=1024, kernel="6.1", virtualization="kvm", load=0.5)
START = FigureName.START_TO_FIRST_ANSWER


async def node(store: Store, name: str = "n1") -> None:
    facts = HostFacts(
        hostname=name, pillars=(Pillar.LXC, Pillar.KVM), inventories={}, traits=(), hypervisor_type="QEMU",
        hypervisor_version=1,
    )  # fmt: skip
    await store.write(lambda tx: tx.add(Node(id=new_id(), name=name, facts=facts)))


async def keep(store: Store, value: float, pillar: Pillar = Pillar.LXC, **more: Any) -> PillarFigures:
    given: dict[str, Any] = {
        "node": "n1", "guest": GuestKind.LINUX, "emulated": False, "about": "tiny", "host": HOST, "left_out": {},
        "measured": (
            Measured(name=START, guest=Spread(value=value, low=value - 1, high=value + 9, samples=5),
                     bare_process=Spread(value=2.0, low=1.0, high=3.0, samples=9)),
        ),
    }  # fmt: skip
    return await store.write(lambda tx: figures.keep(tx, pillar=pillar, **(given | more)))


async def of(store: Store, name: str = "n1") -> Figures | None:
    return await store.read(lambda r: figures.of_node(r, name))


async def test_a_new_run_takes_the_place_of_the_last_of_its_kind_only(store: Store) -> None:
    await node(store)
    assert await of(store) is None
    first = await keep(store, 300.0)
    await keep(store, 4000.0, Pillar.KVM, emulated=True)
    await keep(store, 150.0, Pillar.KVM, guest=GuestKind.BARE, left_out={"system_call": "no system"})
    again = await keep(store, 250.0)
    assert (again.id, again.revision) == (first.id, 2)
    rows = await store.read(lambda r: figures.kept(r, "n1"))
    assert [(r.pillar, r.guest, r.emulated, r.measured[0].guest.value) for r in rows] == [
        ("kvm", "bare", False, 150.0), ("kvm", "linux", True, 4000.0), ("lxc", "linux", False, 250.0),
    ]  # fmt: skip
    assert (rows[0].left_out, rows[2].host, rows[2].measured[0].ratio) == ({"system_call": "no system"}, HOST, 125.0)


async def test_the_advisor_reckons_with_neither_emulation_nor_bare_guests(store: Store) -> None:
    await node(store)
    await keep(store, 250.0)
    await keep(store, 4000.0, Pillar.KVM, emulated=True)
    await keep(store, 150.0, Pillar.KVM, guest=GuestKind.BARE)
    found = await of(store)
    assert found is not None
    assert found.host == HOST
    lxc = found.of(START, Pillar.LXC)
    assert lxc is not None
    assert (lxc.value, lxc.low, lxc.high, lxc.samples, lxc.unit) == (250.0, 249.0, 259.0, 5, "ms")
    assert lxc.source.startswith("measured on n1, 20")
    assert "busy" not in lxc.source
    await keep(store, 250.0, host=replace(HOST, load=1.5))
    found = await of(store)
    assert found is not None
    lxc = found.of(START, Pillar.LXC)
    assert lxc is not None
    assert lxc.source.endswith("busy meanwhile, load 1.5 on 2 threads")
    assert found.of(START, Pillar.KVM) is None
    used = {u.pillar: u for u in best_of(found, Figures()).used}
    assert (used[Pillar.KVM].figure, used[Pillar.LXC].figure) == (None, lxc)
    assert "floor" in used[Pillar.KVM].why


@pytest.mark.parametrize(
    "changes",
    [
        {"pillar": Pillar.XEN},
        {"measured": (Measured(name=START, guest=Spread(value=5.0, low=6.0, high=7.0, samples=1)),)},
        {"measured": (Measured(name=START, guest=Spread(value=5.0, low=5.0, high=5.0, samples=1)),) * 2},
        {"measured": (Measured(name=START, guest=Spread(value=5.0, low=5.0, high=5.0, samples=1),
                               bare_process=Spread(value=float("inf"), low=1.0, high=2.0, samples=1)),)},
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused_and_leaves_what_was(store: Store, changes: dict[str, Any]) -> None:
    await node(store)
    await keep(store, 250.0)
    with pytest.raises(errors.Invalid):
        await keep(store, 1.0, **changes)
    rows = await store.read(lambda r: figures.kept(r))
    assert [r.measured[0].guest.value for r in rows] == [250.0]


async def test_two_at_once_leave_one_row(store: Store) -> None:
    await node(store)
    done = await asyncio.gather(*(keep(store, 100.0 + n) for n in range(4)), return_exceptions=True)
    lost = [d for d in done if isinstance(d, BaseException)]
    assert all(isinstance(d, (errors.Conflict, errors.Outrun)) for d in lost), lost
    assert len(await store.read(lambda r: figures.kept(r))) == 1


async def test_a_node_takes_its_figures_with_it(store: Store) -> None:
    await node(store)
    await node(store, "n2")
    await keep(store, 250.0)
    await keep(store, 350.0, node="n2")
    both = await store.read(lambda r: figures.of_nodes(r))
    assert sorted(both) == ["n1", "n2"]
    assert sorted(await store.read(lambda r: figures.of_nodes(r, ["n2"]))) == ["n2"]

    def body(tx: Tx) -> None:
        compute_services.delete(tx, compute_services.by_host(tx, "n1"))

    await store.write(body)
    assert [r.node for r in await store.read(lambda r: figures.kept(r))] == ["n2"]
    with pytest.raises(errors.Missing):
        await keep(store, 1.0)
