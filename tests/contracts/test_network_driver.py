"""What every network driver, with its node's switch, promises: one suite, run for the simulated one and for OVN."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.ovn_harness import running_node
from trilith.drivers.contract import LocalSwitch, NetworkDriver
from trilith.drivers.simulated.fabric import SimulatedNetwork, SimulatedSwitch
from trilith.errors import Deadline
from trilith.model.topology import (
    AddressGroupSpec,
    Ensure,
    NetworkSpec,
    Owned,
    PortSpec,
    Remove,
    RuleSpec,
    SecurityGroupSpec,
    SubnetSpec,
)


@dataclass
class Site:
    driver: NetworkDriver
    switch: LocalSwitch
    plug: Callable[[str, PortSpec], Awaitable[None]]  # also makes the device, where one is needed


@pytest.fixture(params=["simulated", pytest.param("ovn", marks=[pytest.mark.root, pytest.mark.ovn])])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    if request.param == "simulated":
        fabric = SimulatedNetwork()
        switch = SimulatedSwitch(fabric, "n1", tmp_path)

        async def plug(ifname: str, port: PortSpec) -> None:
            await switch.plug(ifname=ifname, port_id=port.id, mac=port.mac)

        yield Site(fabric, switch, plug)
        return
    async with running_node() as node:

        async def plug_internal(ifname: str, port: PortSpec) -> None:
            await node.switch.plug_internal(ifname=ifname, port_id=port.id, mac=port.mac)

        yield Site(node.driver, node.switch, plug_internal)


def new() -> str:
    return str(uuid.uuid4())


SUBNET = SubnetSpec(id=new(), cidr="10.20.0.0/24", gateway="10.20.0.1")
NETWORK = NetworkSpec(id=new(), revision=3, name="n", mtu=1400, subnets=(SUBNET,))
ADDRESSES = AddressGroupSpec(id=new(), revision=2, addresses=("192.0.2.0/24", "2001:db8::/64"))
GROUP = SecurityGroupSpec(
    id=new(),
    revision=1,
    rules=(RuleSpec(id=new(), ingress=True, ethertype="IPv6", remote_addresses=ADDRESSES.id),),
)
PORT = PortSpec(
    id=new(),
    revision=5,
    network_id=NETWORK.id,
    mac="fa:16:3e:00:00:01",
    addresses=((SUBNET.id, "10.20.0.5"),),
    security_groups=(GROUP.id,),
)
OTHER = replace(PORT, id=new(), mac="fa:16:3e:00:00:02", addresses=((SUBNET.id, "10.20.0.6"),))
NOUNS = [Ensure(noun=PORT), Ensure(noun=OTHER), Ensure(noun=GROUP), Ensure(noun=NETWORK), Ensure(noun=ADDRESSES)]


async def revisions(site: Site) -> dict[str, int]:
    return {found.id: found.revision for found in await site.driver.owned()}


async def test_a_batch_in_any_order(site: Site) -> None:
    await site.driver.apply(NOUNS)
    assert set(await site.driver.owned()) == {
        Owned(kind="network", id=NETWORK.id, revision=3),
        Owned(kind="port", id=PORT.id, revision=5),
        Owned(kind="port", id=OTHER.id, revision=5),
        Owned(kind="security_group", id=GROUP.id, revision=1),
        Owned(kind="address_group", id=ADDRESSES.id, revision=2),
    }
    await site.driver.apply([])
    await site.driver.apply(NOUNS)
    assert len(await site.driver.owned()) == 5


async def test_older_is_skipped_and_the_rest_of_the_batch_is_not(site: Site) -> None:
    await site.driver.apply(NOUNS)
    await site.driver.apply([Ensure(noun=replace(PORT, revision=4)), Ensure(noun=replace(OTHER, revision=6))])
    found = await revisions(site)
    assert (found[PORT.id], found[OTHER.id]) == (5, 6)


async def test_removed_is_gone_and_may_come_back(site: Site) -> None:
    await site.driver.apply(NOUNS)
    gone = [Remove(kind="network", id=NETWORK.id), Remove(kind="security_group", id=GROUP.id)]
    gone += [Remove(kind="address_group", id=ADDRESSES.id)]
    gone += [Remove(kind="port", id=port.id) for port in (PORT, OTHER)]
    await site.driver.apply(gone)
    await site.driver.apply(gone)
    assert await site.driver.owned() == []
    # what was removed has no revision any more
    await site.driver.apply([Ensure(noun=replace(NETWORK, revision=1))])
    assert await revisions(site) == {NETWORK.id: 1}


async def test_a_port_is_up_once_it_is_plugged(site: Site) -> None:
    await site.driver.apply(NOUNS)
    with pytest.raises(Deadline, match=PORT.id):
        await site.driver.wait_up([PORT.id], timeout=0.1)
    waiting = asyncio.create_task(site.driver.wait_up([PORT.id, OTHER.id], timeout=10))
    await site.plug("tp-one", PORT)
    await site.plug("tp-two", OTHER)
    await waiting
    assert await site.switch.plugged() == {"tp-one": PORT.id, "tp-two": OTHER.id}
    await site.driver.wait_applied(timeout=10)
    # plugged before the port exists: it comes up all the same
    third = replace(PORT, id=new(), mac="fa:16:3e:00:00:03", addresses=())
    await site.plug("tp-three", third)
    await site.driver.apply([Ensure(noun=third)])
    await site.driver.wait_up([third.id], timeout=10)


async def test_bindings_tell_the_present_and_every_change(site: Site) -> None:
    await site.driver.apply(NOUNS)
    await site.plug("tp-one", PORT)
    await site.driver.wait_up([PORT.id], timeout=10)
    seen = site.driver.bindings()
    try:
        async with asyncio.timeout(10):
            async for binding in seen:
                if binding.port_id == PORT.id and binding.up:
                    break
            assert binding.chassis in [c.name for c in await site.driver.chassis()]
            await site.switch.unplug("tp-one")
            async for binding in seen:
                if binding.port_id == PORT.id:
                    break
            assert not binding.up
    finally:
        await seen.aclose()  # type: ignore[attr-defined]


async def test_unplugging_is_idempotent(site: Site) -> None:
    await site.plug("tp-one", PORT)
    await site.plug("tp-one", PORT)
    assert await site.switch.plugged() == {"tp-one": PORT.id}
    for _ in range(2):
        await site.switch.unplug("tp-one")
    assert await site.switch.plugged() == {}
    # the name is free for another port
    await site.plug("tp-one", OTHER)
    assert await site.switch.plugged() == {"tp-one": OTHER.id}


async def test_asked_for_on_another_node_it_stays_down(site: Site) -> None:
    await site.driver.apply([*NOUNS, Ensure(noun=replace(PORT, revision=9, host="elsewhere"))])
    await site.plug("tp-one", PORT)
    with pytest.raises(Deadline):
        await site.driver.wait_up([PORT.id], timeout=0.5)
    await site.driver.apply([Ensure(noun=replace(PORT, revision=10, host="n1"))])
    await site.driver.wait_up([PORT.id], timeout=10)
