"""What a flavor demands is held to: by placement where nodes differ, by a refusal where nobody could ever meet it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.compute_calls import Caller, admin
from tests.api.conftest import ApiCloud
from trilith.model.node import Allocation, Inventory, ResourceProvider
from trilith.model.server import Flavor, Server
from trilith.store.tx import Tx, new_id


async def flavor(cloud: ApiCloud, **specs: str) -> str:
    """Its id. Specs by their names with __ for the colon."""
    named = {k.replace("__", ":"): v for k, v in specs.items()}
    made: Flavor = await cloud.store.write(
        lambda tx: tx.add(Flavor(id=new_id(), name=new_id(), vcpus=1, ram=64, disk=1, extra_specs=named))
    )
    return made.id


async def refused(caller: Caller, flavor_id: str) -> str:
    """The message of a 400 on creation."""
    body = {"name": "no", "flavorRef": flavor_id, "imageRef": await caller.image()}
    answer = await caller.ask("POST", "/servers", json={"server": body})
    assert answer.status_code == 400, answer.text
    return str(answer.json()["badRequest"]["message"])


async def test_a_named_resource_is_needed_and_taken(cloud: ApiCloud) -> None:
    boss = await admin(cloud)
    wanted = await flavor(cloud, resources__CUSTOM_LICENCE="1")

    async def boot() -> Server:
        made = await boss.boot(flavorRef=wanted)
        found: Server = await cloud.store.read(lambda r: r.get(Server, made["id"]))
        return found

    without = await boot()
    assert without.fault is not None
    assert "CUSTOM_LICENCE: needed 1, had 0" in without.fault.message

    def stock(tx: Tx) -> None:
        provider = tx.first(ResourceProvider, name="sim-2")
        assert provider is not None
        tx.add(Inventory(id=new_id(), provider_id=provider.id, resource_class="CUSTOM_LICENCE", total=1))

    await cloud.store.write(stock)
    placed = await boot()
    assert (placed.node, placed.fault) == ("sim-2", None)
    held: list[Allocation] = await cloud.store.read(lambda r: r.select(Allocation, consumer_id=placed.id))
    assert {a.resource_class: a.used for a in held} == {"VCPU": 1, "MEMORY_MB": 64, "DISK_GB": 1, "CUSTOM_LICENCE": 1}
    assert (await boot()).fault is not None, "the one licence is taken"


async def test_encrypted_memory_is_refused_where_no_node_has_it(cloud: ApiCloud) -> None:
    boss = await admin(cloud)
    made = await boss.boot(flavorRef=await flavor(cloud, hw__mem_encryption="true"))
    server: Server = await cloud.store.read(lambda r: r.get(Server, made["id"]))
    assert server.fault is not None
    assert "MEM_ENCRYPTION_CONTEXT: needed 1, had 0" in server.fault.message


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ({"resources__VCPU": "many"}, "resources:VCPU=many"),
        ({"trait__HW_CPU_X86_AVX": "maybe"}, "required or forbidden"),
        ({"pci_passthrough__alias": "gpu:1"}, "PCI alias gpu is not defined"),
    ],
)
async def test_malformed_specs_are_the_requests_400(cloud: ApiCloud, specs: dict[str, Any], words: str) -> None:
    assert words in await refused(await admin(cloud), await flavor(cloud, **specs))


async def test_a_server_is_not_resized_to_another_pillar(cloud: ApiCloud) -> None:
    boss = await admin(cloud)
    made = await boss.boot(flavorRef=await flavor(cloud, trilith__pillar="lxc"))
    other = await flavor(cloud, trilith__pillar="kvm")
    answer = await boss.act(made["id"], "resize", {"flavorRef": other})
    assert answer.status_code == 400
    assert "this server was made on lxc" in answer.text
