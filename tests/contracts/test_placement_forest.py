"""What the search for allocation candidates reads and keeps is what is there, on both databases."""

from __future__ import annotations

from trilith.api.placement import forest
from trilith.commands import allocations, resource_providers
from trilith.commands.resource_providers import Stock
from trilith.store.contract import Store
from trilith.store.tx import Tx, new_id


async def test_the_layout_is_kept_while_it_holds_and_use_is_always_new(store: Store) -> None:
    one, two, consumer = new_id(), new_id(), new_id()

    async def read() -> forest.Forest:
        return await store.read(lambda r: forest.read(r, store))

    assert (await read()).layout.providers == ()

    def make(tx: Tx) -> None:
        resource_providers.create(tx, one, "one")
        resource_providers.create(tx, two, "two", one)
        stocks = {"VCPU": Stock(total=4, allocation_ratio=1.5), "DISK_GB": Stock(total=10, reserved=3)}
        resource_providers.set_inventories(tx, one, stocks, 0)
        resource_providers.set_inventories(tx, two, {"VGPU": Stock(total=2)}, 0)
        resource_providers.set_traits(tx, one, ["HW_CPU_X86_VMX"], None)
        resource_providers.set_aggregates(tx, two, [consumer], None, grow=False)

    await store.write(make)
    first = await read()
    parent, child = first.layout.providers
    assert (parent.id, child.parent, child.root) == (one, one, one)
    assert (parent.traits, child.aggregates) == ({"HW_CPU_X86_VMX"}, {consumer})
    assert (parent.inventories["VCPU"].capacity, parent.inventories["DISK_GB"].capacity) == (6, 7)
    assert first.used == [0, 0, 0]
    await store.write(
        lambda tx: allocations.claim(
            tx, consumer_id=consumer, provider_id=one, resources={"VCPU": 3}, project_id="p", user_id="u"
        )
    )
    claimed = await read()
    assert claimed.layout is first.layout
    assert claimed.used[parent.inventories["VCPU"].slot] == 3
    assert sum(claimed.used) == 3

    def swap(tx: Tx) -> None:
        resource_providers.set_inventories(tx, two, {"FPGA": Stock(total=2)}, None)

    await store.write(swap)
    swapped = await read()
    assert swapped.layout is not first.layout
    assert set(swapped.layout.by_id[two].inventories) == {"FPGA"}
    assert swapped.used[swapped.layout.by_id[one].inventories["VCPU"].slot] == 3
