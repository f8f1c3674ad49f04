"""Claims never overbook and always come back, on both databases."""

from __future__ import annotations

import asyncio

import pytest

from trilith import errors
from trilith.commands import allocations, resource_providers
from trilith.commands.resource_providers import PlacementConflict, Stock
from trilith.config import Settings
from trilith.model.guest import HostFacts, Pillar
from trilith.model.node import Allocation, Consumer, Inventory, Node, ProviderTraits, ResourceProvider
from trilith.store.contract import Store
from trilith.store.tx import Tx, new_id


async def provider(store: Store, **stocks: Stock) -> str:
    id = new_id()

    def body(tx: Tx) -> None:
        resource_providers.create(tx, id, f"p-{id}")
        resource_providers.set_inventories(tx, id, stocks, 0)

    await store.write(body)
    return id


async def claim(store: Store, consumer: str, on: str, **amounts: int) -> None:
    await store.write(
        lambda tx: allocations.claim(
            tx, consumer_id=consumer, provider_id=on, resources=amounts, project_id="p", user_id="u"
        )
    )


async def used(store: Store, on: str) -> dict[str, int]:
    found = await store.read(lambda r: r.select(Inventory, provider_id=on))
    return {i.resource_class: i.used for i in found}


async def test_concurrent_claims_fill_the_capacity_and_no_more(store: Store) -> None:
    # (10 - 2) * 2.0 = 16 in claims of 3: five fit
    on = await provider(store, VCPU=Stock(total=10, reserved=2, allocation_ratio=2.0))
    consumers = [new_id() for _ in range(12)]
    results = await asyncio.gather(*(claim(store, c, on, VCPU=3) for c in consumers), return_exceptions=True)
    refused = [r for r in results if r is not None]
    assert len(refused) == 7
    assert all(isinstance(r, errors.Conflict) for r in refused), refused
    assert await used(store, on) == {"VCPU": 15}
    assert await store.read(lambda r: r.count(Allocation)) == 5
    assert await store.read(lambda r: r.count(Consumer)) == 5


async def test_a_claim_that_does_not_fit_leaves_nothing(store: Store) -> None:
    on = await provider(store, VCPU=Stock(total=4), MEMORY_MB=Stock(total=100))
    with pytest.raises(errors.Conflict, match="0 of 100 are used"):
        await claim(store, new_id(), on, MEMORY_MB=101, VCPU=2)
    assert await used(store, on) == {"VCPU": 0, "MEMORY_MB": 0}
    assert await store.read(lambda r: r.count(Consumer)) == 0


@pytest.mark.parametrize("amount", [1, 5, 9])
async def test_units_are_kept(store: Store, amount: int) -> None:
    on = await provider(store, VCPU=Stock(total=64, min_unit=2, max_unit=8, step_size=2))
    with pytest.raises(errors.Conflict, match="step_size 2"):
        await claim(store, new_id(), on, VCPU=amount)


async def test_again_is_success_and_release_gives_all_back(store: Store) -> None:
    on, other = await provider(store, VCPU=Stock(total=4)), await provider(store, VCPU=Stock(total=4))
    server = new_id()
    await claim(store, server, on, VCPU=4)
    await claim(store, server, on, VCPU=4)
    await claim(store, server, other, VCPU=2)
    assert (await used(store, on), await used(store, other)) == ({"VCPU": 4}, {"VCPU": 2})
    await claim(store, server, on, VCPU=1)
    assert await used(store, on) == {"VCPU": 1}
    await store.write(lambda tx: allocations.release(tx, server, provider_id=on))
    assert (await used(store, on), await used(store, other)) == ({"VCPU": 0}, {"VCPU": 2})
    for _ in range(2):
        await store.write(lambda tx: allocations.release(tx, server))
    assert await used(store, other) == {"VCPU": 0}
    assert await store.read(lambda r: r.count(Consumer)) == 0


async def test_a_move_hands_over(store: Store) -> None:
    on = await provider(store, VCPU=Stock(total=2))
    one, two = new_id(), new_id()
    await claim(store, one, on, VCPU=2)
    await store.write(lambda tx: allocations.move(tx, one, two, provider_id=on))
    assert await used(store, on) == {"VCPU": 2}
    assert [a.consumer_id for a in await store.read(lambda r: r.select(Allocation))] == [two]


async def test_generations_are_compared_where_they_are_written(store: Store) -> None:
    on = await provider(store, VCPU=Stock(total=2))

    async def put(total: int) -> None:
        await store.write(
            lambda tx: resource_providers.set_inventories(tx, on, {"VCPU": Stock(total=total)}, 1)  # type: ignore[arg-type,return-value]
        )

    results = await asyncio.gather(*(put(n) for n in range(3, 8)), return_exceptions=True)
    lost = [r for r in results if r is not None]
    assert len(lost) == 4
    assert all(isinstance(r, PlacementConflict) and r.reason == "placement.concurrent_update" for r in lost)
    # a claim raises it, too
    before = (await store.read(lambda r: r.get(ResourceProvider, on))).generation
    await claim(store, new_id(), on, VCPU=1)
    assert (await store.read(lambda r: r.get(ResourceProvider, on))).generation == before + 1
    with pytest.raises(PlacementConflict, match="in use"):
        await store.write(lambda tx: resource_providers.set_inventories(tx, on, {}, None))


async def test_a_nodes_provider_follows_its_facts(store: Store) -> None:
    settings = Settings(reserved_memory_mib=100)

    def node(inventories: dict[str, int], traits: tuple[str, ...], **more: bool) -> Node:
        facts = HostFacts(
            hostname="n1",
            pillars=(Pillar.LXC,),
            inventories=inventories,
            traits=traits,
            hypervisor_type="lxc",
            hypervisor_version=1,
        )
        return Node(id="11111111-1111-1111-1111-111111111111", name="n1", facts=facts, **more)

    async def ensure(of: Node) -> tuple[int, dict[str, Inventory], tuple[str, ...]]:
        await store.write(lambda tx: resource_providers.ensure_node(tx, of, settings))
        row = await store.read(lambda r: r.get(ResourceProvider, of.id))
        held = await store.read(lambda r: r.select(Inventory, provider_id=of.id))
        traits = await store.read(lambda r: r.get(ProviderTraits, of.id))
        return row.generation, {i.resource_class: i for i in held}, traits.traits

    first = node({"VCPU": 2, "MEMORY_MB": 1000, "DISK_GB": 10}, ("HW_CPU_X86_VMX", "CUSTOM_TRILITH_LXC"))
    generation, held, traits = await ensure(first)
    assert (held["VCPU"].allocation_ratio, held["MEMORY_MB"].reserved) == (16.0, 100)
    assert traits == ("COMPUTE_NODE", "CUSTOM_TRILITH_LXC", "HW_CPU_X86_VMX")
    assert (await ensure(first))[0] == generation

    await store.write(
        lambda tx: (
            resource_providers.add_name(tx, resource_providers.Trait, "CUSTOM_GOLD"),
            resource_providers.set_traits(tx, first.id, [*traits, "CUSTOM_GOLD"], None),
        )
    )
    await claim(store, new_id(), first.id, DISK_GB=3)
    generation, held, traits = await ensure(
        node({"VCPU": 4, "MEMORY_MB": 1000}, ("CUSTOM_TRILITH_LXC",), enabled=False)
    )
    assert held["VCPU"].total == 4
    assert (held["DISK_GB"].used, held["DISK_GB"].reserved) == (3, 10)
    assert traits == ("COMPUTE_NODE", "COMPUTE_STATUS_DISABLED", "CUSTOM_GOLD", "CUSTOM_TRILITH_LXC")
    with pytest.raises(errors.Conflict):
        await claim(store, new_id(), first.id, DISK_GB=1)
