"""/trilith/v1/explain: what it says is what becomes of the request, and it changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.api.compute_calls import Caller, admin, member
from tests.api.conftest import ApiCloud
from tests.api.test_minimum_bandwidth import EGRESS, policy_of
from tests.api.test_network_topology import Api
from trilith.commands import allocations
from trilith.model.node import Inventory, Node, Quota, ResourceProvider
from trilith.model.server import Flavor, Server
from trilith.store.tx import Tx, new_id

PATH = "/trilith/v1/explain"


async def ask(caller: Caller, status: int = 200, **fields: Any) -> dict[str, Any]:
    body = {"image": await caller.image(), "flavor": await caller.flavor(), **fields}
    answer = await caller.cloud.client.post(PATH, headers=caller.headers, json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def by_name(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {n["name"]: n for n in found["nodes"]}


async def test_the_server_goes_where_it_was_said_and_nothing_was_made_before(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    before = await cloud.store.head()
    said = await ask(alice)
    assert await cloud.store.head() == before
    assert said["possible"]
    made = await alice.boot()
    server: Server = await cloud.store.read(lambda r: r.get(Server, made["id"]))
    assert (server.node, str(server.pillar), server.reason) == (said["node"], said["pillar"], said["reason"])
    chosen, other = said["nodes"]
    assert (chosen["name"], chosen["chosen"], chosen["why_not"]) == (server.node, True, None)
    assert (other["fits"], other["why_not"]["rule"]) == (True, "weight")


async def test_the_fuller_node_is_passed_over_with_both_weights(cloud: ApiCloud) -> None:
    alice = await member(cloud)

    def fill(tx: Tx) -> None:
        provider = tx.first(ResourceProvider, name="sim-1")
        assert provider is not None
        used = {"VCPU": 32, "MEMORY_MB": 200_000}
        allocations.claim(
            tx, consumer_id=new_id(), provider_id=provider.id, resources=used, project_id="p", user_id="u"
        )

    await cloud.store.write(fill)
    said = await ask(alice)
    assert said["node"] == "sim-2"
    why = by_name(said)["sim-1"]["why_not"]
    assert float(why["had"]) < float(why["needed"].removeprefix("more than "))


async def test_each_node_says_which_rule_what_it_needed_and_had(cloud: ApiCloud) -> None:
    alice = await member(cloud)

    def spoil(tx: Tx) -> None:
        one, two = (tx.first(Node, name=n) for n in ("sim-1", "sim-2"))
        assert one is not None
        assert two is not None
        tx.change(one, enabled=False)
        held = tx.first(Inventory, provider_id=two.id, resource_class="MEMORY_MB")
        assert held is not None
        tx.change(held, reserved=held.total - 1)

    await cloud.store.write(spoil)
    said = await ask(alice)
    assert (said["possible"], said["node"], said["pillar"]) == (False, None, None)
    assert said["reason"].startswith("No valid host was found.")
    nodes = by_name(said)
    assert nodes["sim-1"]["why_not"]["rule"] == "enabled"
    memory = nodes["sim-2"]["why_not"]
    assert (memory["rule"], memory["had"]) == ("MEMORY_MB", "1")
    assert int(memory["needed"]) > 1
    # and the request itself fails with these words
    server = await alice.settle((await alice.boot())["id"])
    assert server is not None
    assert server.fault is not None
    assert server.fault.message == said["reason"]


async def test_what_no_single_server_may_have_is_refused_before_the_claim(cloud: ApiCloud) -> None:
    """Overcommitted, the node has the threads free, but one server gets no more than the machine has."""
    alice = await member(cloud)
    boss = await admin(cloud)

    def grow(tx: Tx) -> str:
        flavor = tx.add(Flavor(id=new_id(), name="huge", vcpus=65, ram=64, disk=1))
        tx.add(Quota(id=new_id(), project_id="class:default", resource="cores", limit=-1))
        return flavor.id

    huge = await cloud.store.write(grow)
    said = await ask(alice, flavor=huge)
    assert by_name(said)["sim-1"]["why_not"] == {
        "rule": "VCPU of one server",
        "needed": "65",
        "had": "1 to 64",
        "reason": "VCPU: needed 65, one server may have 1 to 64 there",
    }
    server = await boss.settle((await boss.boot(flavorRef=huge))["id"])
    assert server is not None
    assert server.fault is not None
    assert "one server may have 1 to 64" in server.fault.message


async def test_hints_zone_and_group_are_heeded(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    first = await alice.boot()
    server: Server = await cloud.store.read(lambda r: r.get(Server, first["id"]))
    other = "sim-2" if server.node == "sim-1" else "sim-1"
    apart = await ask(alice, hints={"different_host": [server.id]})
    assert apart["node"] == other
    assert by_name(apart)[server.node]["why_not"]["rule"] == "different_host"
    assert (await ask(alice, hints={"same_host": server.id}))["node"] == server.node
    group = await alice.ask(
        "POST", "/os-server-groups", json={"server_group": {"name": "g", "policies": ["anti-affinity"]}}
    )
    assert group.status_code == 200, group.text
    hints = {"group": group.json()["server_group"]["id"]}
    body = {"name": "in", "flavorRef": await alice.flavor(), "imageRef": await alice.image()}
    made = await alice.ask("POST", "/servers", json={"server": body, "os:scheduler_hints": hints})
    inside = await alice.settle(made.json()["server"]["id"])
    assert inside is not None
    why = by_name(await ask(alice, hints=hints))[inside.node]["why_not"]
    assert (why["rule"], why["had"]) == ("anti-affinity", "1")
    assert (await ask(alice, status=400, zone="nowhere"))[
        "message"
    ] == "The requested availability zone is not available"


async def test_a_quota_is_an_obstacle_whatever_the_node(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    _, project = await cloud.user("alice", "alpha")
    await cloud.store.write(lambda tx: tx.add(Quota(id=new_id(), project_id=project, resource="instances", limit=0)))
    said = await ask(alice)
    assert (said["possible"], said["node"] is not None) == (False, True)
    assert [(o["rule"], o["needed"], o["had"]) for o in said["obstacles"]] == [("quota of instances", "1", "0")]


async def test_a_disk_that_a_node_cannot_limit_is_refused_there(cloud: ApiCloud) -> None:
    alice = await member(cloud)

    def lose(tx: Tx) -> None:
        for node in tx.select(Node):
            assert node.facts is not None
            able = {p: tuple(c for c in can if c != "disk_limit") for p, can in node.facts.capabilities.items()}
            tx.change(node, facts=replace(node.facts, capabilities=able))

    await cloud.store.write(lose)
    flavor = await cloud.store.write(lambda tx: tx.add(Flavor(id=new_id(), name="d", vcpus=1, ram=512, disk=3)))
    said = await ask(alice, flavor=flavor.id)
    assert by_name(said)["sim-1"]["why_not"]["rule"] == "disk limit"


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"image": "nothing"}, 400, "Invalid imageRef"),
        ({"flavor": "nothing"}, 400, "could not be found"),
        ({"networks": ["nothing"]}, 400, "Network nothing"),
        ({"hints": {"group": "nothing"}}, 400, "group"),
        ({"size": 1}, 400, "size"),
        ({"node": "sim-1"}, 403, "forced_host"),
    ],
)
async def test_what_the_request_itself_would_answer(
    cloud: ApiCloud, fields: dict[str, Any], status: int, words: str
) -> None:
    assert words in (await ask(await member(cloud), status, **fields))["message"]


async def test_readers_and_strangers_may_not_ask(cloud: ApiCloud) -> None:
    await ask(await member(cloud, "eve", "alpha", "reader"), 403)
    assert (await cloud.client.post(PATH, json={})).status_code == 401


async def test_an_admin_may_name_the_node(cloud: ApiCloud) -> None:
    said = await ask(await admin(cloud), node="sim-2")
    assert said["node"] == "sim-2"
    assert by_name(said)["sim-1"]["why_not"] == {
        "rule": "node",
        "needed": "sim-2",
        "had": "sim-1",
        "reason": "the request names the node sim-2",
    }


async def test_bandwidth_that_the_networks_would_promise_is_asked_of_nodes_too(cloud: ApiCloud) -> None:
    """No port is there yet: its network's policy speaks for it."""
    alice, boss = await member(cloud), Api(cloud, await cloud.token())
    policy, _ = await policy_of(boss, 600)
    network = await alice.network("fast", "10.9.0.0/24")
    assert (await ask(alice, networks=[network]))["possible"]
    await boss("PUT", f"/networks/{network}", 200, {"network": {"qos_policy_id": policy}})
    said = await ask(alice, networks=[network])
    assert not said["possible"]
    assert by_name(said)["sim-1"]["why_not"] == {
        "rule": EGRESS,
        "needed": "600",
        "had": "0",
        "reason": f"{EGRESS}: needed 600, had 0",
    }
