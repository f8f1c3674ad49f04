"""What a flavor demands is held to: by placement where nodes differ, by a refusal where nobody could ever meet it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.api.compute_calls import Caller, admin
from tests.api.conftest import ApiCloud
from trilith.model.guest import Pillar
from trilith.model.image import Image
from trilith.model.node import Allocation, Inventory, Node, ResourceProvider
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


# the advisor's word


@pytest.fixture
async def unnamed(cloud: ApiCloud) -> ApiCloud:
    """The simulated images name a pillar; these do not."""

    def body(tx: Tx) -> None:
        for image in tx.select(Image):
            tx.change(image, properties={k: v for k, v in image.properties.items() if k != "img_hv_type"})

    await cloud.store.write(body)
    return cloud


async def placed(cloud: ApiCloud, caller: Caller, **fields: Any) -> Server:
    made = await caller.boot(**fields)
    found: Server = await cloud.store.read(lambda r: r.get(Server, made["id"]))
    return found


async def test_where_nothing_names_a_pillar_the_advisor_says_which_and_why(unnamed: ApiCloud) -> None:
    cloud = unnamed
    boss = await admin(cloud)
    plain = await placed(cloud, boss, flavorRef=await flavor(cloud))
    assert plain.pillar is Pillar.LXC
    assert plain.reason.startswith("lxc (advised: ")
    assert "small-guests" in plain.reason, "64 MiB"
    native = await cloud.call("GET", f"/trilith/v1/servers/{plain.id}", boss.headers)
    assert native.json()["reason"] == plain.reason
    own = await placed(cloud, boss, flavorRef=await flavor(cloud, trilith__own_kernel="true"))
    assert own.pillar is Pillar.KVM
    assert own.fault is None


async def test_figures_of_the_clouds_nodes_change_the_choice(unnamed: ApiCloud) -> None:
    """A container that takes half a second to answer, and a machine that takes a fifth of that."""
    cloud = unnamed
    boss = await admin(cloud)
    wanted = await flavor(cloud, trilith__start_within="300 ms")
    body = {"host": {"name": "sim-1"}, "guest": "linux", "emulated": False, "about": "a guest of this test"}
    for pillar, median in (("lxc", 500.0), ("kvm", 100.0)):
        spread = {"median": median, "p10": median, "p90": median, "samples": 5}
        figure = {"name": "start_to_first_answer", "guest": spread, "how": "a stop watch"}
        answer = await cloud.call(
            "PUT", f"/trilith/v1/figures/sim-1/{pillar}", boss.headers, json={**body, "measured": [figure]}
        )
        assert answer.status_code == 200, answer.text
    cloud.cloud.services.adviser.forget()  # what the watch of the feed does a moment later
    chosen = await placed(cloud, boss, flavorRef=wanted)
    assert chosen.pillar is Pillar.KVM
    assert "lxc refused by start-within" in chosen.reason


async def test_the_watch_of_the_feed_forgets_figures(cloud: ApiCloud) -> None:
    adviser = cloud.cloud.services.adviser
    known = await cloud.store.read(adviser.engine)
    assert await cloud.store.read(adviser.engine) is known
    await cloud.store.write(lambda tx: tx.touch("figures", "sim-1"))
    async with asyncio.timeout(10):
        while await cloud.store.read(adviser.engine) is known:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ({"trilith__own_kernel": "true", "trilith__pillar": "lxc"}, "a container runs on the host's kernel"),
        ({"trilith__own_kernel": "true", "trilith__start_within": "10 ms"}, "cannot be met on any pillar"),
        ({"trilith__shape": "round"}, "There is no extra spec 'trilith:shape'"),
        ({"trilith__start_within": "50"}, "trilith:start_within"),
        ({"trilith__own_kernel": "perhaps"}, "trilith:own_kernel"),
    ],
)
async def test_demands_that_nothing_meets_are_the_requests_400(
    unnamed: ApiCloud, specs: dict[str, Any], words: str
) -> None:
    cloud = unnamed
    boss = await admin(cloud)
    assert words in await refused(boss, await flavor(cloud, **specs))
    servers: list[Server] = await cloud.store.read(lambda r: r.select(Server))
    assert not servers


async def test_a_demand_is_held_to_on_each_node(unnamed: ApiCloud) -> None:
    """Live migration: only one node's driver can."""
    cloud = unnamed
    boss = await admin(cloud)

    def lose(tx: Tx) -> None:
        node = tx.first(Node, name="sim-1")
        assert node is not None
        assert node.facts is not None
        able = {p: tuple(c for c in can if c != "live_migration") for p, can in node.facts.capabilities.items()}
        tx.change(node, facts=replace(node.facts, capabilities=able))

    await cloud.store.write(lose)
    wanted = await flavor(cloud, trilith__live_migration="true")
    body = {"image": await boss.image(), "flavor": wanted}
    said = (await cloud.client.post("/trilith/v1/explain", headers=boss.headers, json=body)).json()
    assert (said["node"], said["pillar"]) == ("sim-2", "kvm")
    why = next(n["why_not"] for n in said["nodes"] if n["name"] == "sim-1")
    assert (why["rule"], why["needed"], why["had"]) == ("flavor's demands", "live_migration", "none")
    assert (await placed(cloud, boss, flavorRef=wanted)).node == "sim-2"


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ({"trilith:shape": "round"}, "There is no extra spec 'trilith:shape'"),
        ({"trilith:start_within": "soon"}, "trilith:start_within"),
        ({"trilith:pillar": "vmware"}, "trilith:pillar is 'vmware'"),
        ({"trilith:processes": "many"}, "trilith:processes is 'many'"),
    ],
)
@pytest.mark.parametrize("version", ["2.1", "2.100"])
async def test_a_flavor_is_not_given_what_it_could_not_hold(
    cloud: ApiCloud, specs: dict[str, str], words: str, version: str
) -> None:
    boss = await admin(cloud)
    path = f"/flavors/{await flavor(cloud)}/os-extra_specs"
    answer = await boss.ask("POST", path, version, json={"extra_specs": specs})
    assert answer.status_code == 400
    assert words in answer.json()["badRequest"]["message"]
    good = {"trilith:start_within": "2 s", "trilith:own_kernel": "true", "trilith:processes": "100"}
    assert (await boss.ask("POST", path, version, json={"extra_specs": good})).status_code == 200


async def test_a_resize_is_held_to_what_the_new_flavor_demands(unnamed: ApiCloud) -> None:
    """Not on a pillar that can never; and off a node that cannot, to one that can."""
    cloud = unnamed
    boss = await admin(cloud)
    container = await placed(cloud, boss, flavorRef=await flavor(cloud, trilith__pillar="lxc"))
    kernel = await flavor(cloud, trilith__own_kernel="true")
    answer = await boss.act(container.id, "resize", {"flavorRef": kernel})
    assert answer.status_code == 400
    assert "a container runs on the host's kernel" in answer.text
    machine = await placed(cloud, boss, flavorRef=await flavor(cloud, trilith__pillar="kvm"))

    def lose(tx: Tx) -> None:
        node = tx.first(Node, name=machine.node)
        assert node is not None
        assert node.facts is not None
        able = {p: tuple(c for c in can if c != "live_migration") for p, can in node.facts.capabilities.items()}
        tx.change(node, facts=replace(node.facts, capabilities=able))

    await cloud.store.write(lose)
    moving = await flavor(cloud, trilith__live_migration="true")
    answer = await boss.act(machine.id, "resize", {"flavorRef": moving})
    assert answer.status_code == 202, answer.text
    moved = await boss.settle(machine.id)
    assert moved is not None
    assert (moved.fault, moved.node != machine.node) == (None, True)


async def test_a_server_moves_although_its_flavor_asks_for_what_is_no_longer_so(unnamed: ApiCloud) -> None:
    """Figures that were measured after it was made do not hold it on its node."""
    cloud = unnamed
    boss = await admin(cloud)
    server = await placed(
        cloud, boss, flavorRef=await flavor(cloud, trilith__start_within="1 s", trilith__pillar="kvm")
    )
    spread = {"median": 5000.0, "p10": 4000.0, "p90": 6000.0, "samples": 5}
    body = {
        "host": {"name": "sim-1"}, "guest": "linux", "emulated": False, "about": "slow",
        "measured": [{"name": "start_to_first_answer", "guest": spread, "how": "a stop watch"}],
    }  # fmt: skip
    kept = await cloud.call("PUT", "/trilith/v1/figures/sim-1/kvm", boss.headers, json=body)
    assert kept.status_code == 200, kept.text
    cloud.cloud.services.adviser.forget()
    assert (await boss.act(server.id, "migrate")).status_code == 202
    moved = await boss.settle(server.id)
    assert moved is not None
    assert (moved.fault, moved.node != server.node) == (None, True)
    assert "cannot be met" in await refused(
        boss, await flavor(cloud, trilith__start_within="1 s", trilith__pillar="kvm")
    )
