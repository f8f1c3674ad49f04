"""Servers that move between nodes, leave them and come back: migrate, live-migrate, evacuate, shelve, unshelve."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.api.compute_calls import Caller, admin, member
from tests.api.conftest import ApiCloud
from trilith.model.guest import PowerState
from trilith.model.image import BlobReference, Image
from trilith.model.job import Job, JobState
from trilith.model.node import Allocation, Inventory, Node
from trilith.model.server import Flavor, Migration, Server, ServerState
from trilith.store.tx import Reader

CONTAINERS = {"trilith:pillar": "lxc"}


def error(answer: httpx.Response, status: int, name: str) -> None:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == [name]


async def row(cloud: ApiCloud, server_id: str) -> Server:
    return await cloud.store.read(lambda r: r.get(Server, server_id, dead=True))  # type: ignore[no-any-return]


async def networked(root: Caller, **more: Any) -> dict[str, Any]:
    """A server with a port: moves carry it along."""
    return await root.boot(networks=[{"uuid": await root.network("inside", "10.9.0.0/24")}], **more)


async def until(root: Caller, server_id: str, status: str) -> dict[str, Any]:
    """The server as the API shows it when no task runs on it any more, in that status. A job may follow a job."""
    async with asyncio.timeout(20):
        while True:
            await root.settle(server_id)
            shown: dict[str, Any] = (await root.get(f"/servers/{server_id}", "2.3"))["server"]
            if shown["OS-EXT-STS:task_state"] is None:
                assert shown["status"] == status, shown
                return shown


async def gone(root: Caller, server_id: str) -> None:
    async with asyncio.timeout(20):
        while await root.settle(server_id) is not None:
            continue


def used(reader: Reader) -> list[tuple[str, int]]:
    """What all inventories count as used, against the sum of the allocations."""
    held: dict[tuple[str, str], int] = {}
    for a in reader.select(Allocation):
        key = (a.provider_id, a.resource_class)
        held[key] = held.get(key, 0) + a.used
    for i in reader.select(Inventory):
        assert i.used == held.get((i.provider_id, i.resource_class), 0)
    return sorted((rc, n) for (_, rc), n in held.items() if rc == "VCPU")


async def guests(cloud: ApiCloud, server_id: str) -> dict[str, PowerState]:
    """Node → power of the guest that it knows by that id."""
    found = {}
    for agent in cloud.cloud.agents:
        for fact in await agent.guests.facts():
            if fact.server_id == server_id:
                found[agent.node] = fact.power
    return found


async def plugged(cloud: ApiCloud) -> dict[str, int]:
    return {a.node: len(await a.guests.switch.plugged()) for a in cloud.cloud.agents}


async def other(cloud: ApiCloud, node: str) -> str:
    return "sim-2" if node == "sim-1" else "sim-1"


@pytest.mark.parametrize("settle", ["confirmResize", "revertResize"])
async def test_a_migration_takes_the_root_along_and_is_settled(cloud: ApiCloud, settle: str) -> None:
    root = await admin(cloud)
    made = await networked(root)
    before = await row(cloud, made["id"])
    assert (await root.act(made["id"], "migrate", None)).status_code == 202
    shown = await until(root, made["id"], "VERIFY_RESIZE")
    there = await other(cloud, before.node)
    assert shown["OS-EXT-SRV-ATTR:host"] == there
    assert await guests(cloud, made["id"]) == {before.node: PowerState.SHUTDOWN, there: PowerState.RUNNING}
    assert await plugged(cloud) == {before.node: 0, there: 1}
    moved = await row(cloud, made["id"])
    assert moved.image_sha256 != before.image_sha256, "the destination starts from a copy of the root"
    assert moved.image_id == before.image_id
    assert moved.identity == before.identity
    assert await cloud.store.read(used) == [("VCPU", 1), ("VCPU", 1)]
    assert (await root.act(made["id"], settle, None)).status_code in (202, 204)
    shown = await until(root, made["id"], "ACTIVE")
    ends_at = there if settle == "confirmResize" else before.node
    assert shown["OS-EXT-SRV-ATTR:host"] == ends_at
    assert await guests(cloud, made["id"]) == {ends_at: PowerState.RUNNING}
    assert await plugged(cloud) == {ends_at: 1, await other(cloud, ends_at): 0}
    assert await cloud.store.read(used) == [("VCPU", 1)]
    held = await cloud.store.read(lambda r: {b.sha256 for b in r.select(BlobReference, holder_id=made["id"])})
    assert held == {(await row(cloud, made["id"])).image_sha256}
    listed = (await root.get("/os-migrations", "2.80"))["migrations"]
    assert [(m["migration_type"], m["status"]) for m in listed] == [
        ("migration", "confirmed" if settle == "confirmResize" else "reverted")
    ]
    assert listed[0]["source_node"] == before.node
    assert listed[0]["dest_compute"] == there
    assert set(listed[0]) >= {"uuid", "user_id", "project_id", "old_instance_type_id"}
    assert "migration_type" not in (await root.get("/os-migrations", "2.1"))["migrations"][0]


async def test_a_migration_that_fails_leaves_all_as_it_was(cloud: ApiCloud) -> None:
    root = await admin(cloud)
    made = await networked(root)
    before = await row(cloud, made["id"])
    there = await other(cloud, before.node)
    agent = next(a for a in cloud.cloud.agents if a.node == there)
    driver = agent.guests.computes[before.pillar]  # type: ignore[index]

    def refuse(call: str) -> None:
        if call == "start":
            raise OSError("the disk is full")

    driver.fault = refuse  # type: ignore[attr-defined]
    await root.act(made["id"], "migrate", None)
    await until(root, made["id"], "ACTIVE")
    after = await row(cloud, made["id"])
    assert (after.node, after.old_node, after.image_sha256) == (before.node, "", before.image_sha256)
    assert after.fault is not None
    assert "disk is full" in after.fault.message
    assert await guests(cloud, made["id"]) == {before.node: PowerState.RUNNING}
    assert await plugged(cloud) == {before.node: 1, there: 0}
    assert await cloud.store.read(used) == [("VCPU", 1)]
    assert [m.status for m in await cloud.store.read(lambda r: r.select(Migration))] == ["error"]


async def test_a_host_that_cannot_be_is_refused(cloud: ApiCloud) -> None:
    root, alice = await admin(cloud), await member(cloud)
    made = await alice.boot()
    node = (await row(cloud, made["id"])).node
    error(await alice.act(made["id"], "migrate", None), 403, "forbidden")
    error(await root.act(made["id"], "migrate", {"host": node}, "2.56"), 400, "badRequest")
    error(await root.act(made["id"], "migrate", {"host": "nowhere"}, "2.56"), 400, "badRequest")
    live = {"block_migration": "auto", "host": "nowhere"}
    error(await root.act(made["id"], "os-migrateLive", live, "2.25"), 400, "badRequest")
    error(await root.act(made["id"], "os-migrateLive", live | {"host": None}, "2.24"), 400, "badRequest")
    refused = await root.act(made["id"], "os-migrateLive", {"block_migration": False, "host": None}, "2.25")
    error(refused, 400, "badRequest")
    assert (await row(cloud, made["id"])).task == ""
    error(await root.act(made["id"], "evacuate", {}, "2.14"), 400, "badRequest")


async def test_a_resize_without_room_goes_to_another_node(cloud: ApiCloud) -> None:
    root = await admin(cloud)
    made = await root.boot()
    before = await row(cloud, made["id"])
    provider = before.node

    def fill(tx: Any) -> None:
        from trilith.model.node import ResourceProvider

        found = tx.first(ResourceProvider, name=provider)
        inventory = tx.first(Inventory, provider_id=found.id, resource_class="VCPU")
        tx.change(inventory, reserved=int(inventory.total - 1), allocation_ratio=1.0)

    await cloud.store.write(fill)
    larger = await cloud.store.read(lambda r: r.first(Flavor, name="m1.micro").id)
    await root.act(made["id"], "resize", {"flavorRef": larger})
    shown = await until(root, made["id"], "VERIFY_RESIZE")
    assert shown["OS-EXT-SRV-ATTR:host"] != before.node
    assert (await row(cloud, made["id"])).flavor.name == "m1.micro"
    await root.act(made["id"], "confirmResize", None)
    await until(root, made["id"], "ACTIVE")
    assert await cloud.store.read(used) == [("VCPU", 2)]


@pytest.mark.parametrize("paused", [False, True])
async def test_a_live_migration_keeps_the_guest_as_it_is(cloud: ApiCloud, paused: bool) -> None:
    root = await admin(cloud)
    made = await networked(root)
    if paused:
        await root.act(made["id"], "pause", None)
        await until(root, made["id"], "PAUSED")
    before = await row(cloud, made["id"])
    there = await other(cloud, before.node)
    state, power = ("PAUSED", PowerState.PAUSED) if paused else ("ACTIVE", PowerState.RUNNING)
    for target, ends_at in ((None, there), (before.node, before.node)):
        body = {"block_migration": "auto", "host": target}
        assert (await root.act(made["id"], "os-migrateLive", body, "2.25")).status_code == 202
        shown = await until(root, made["id"], state)
        assert shown["OS-EXT-SRV-ATTR:host"] == ends_at, (await row(cloud, made["id"])).fault
        assert await guests(cloud, made["id"]) == {ends_at: power}
        assert await cloud.store.read(used) == [("VCPU", 1)]
    statuses = [m.status for m in await cloud.store.read(lambda r: r.select(Migration))]
    assert statuses == ["completed", "completed"]
    assert (await root.get(f"/servers/{made['id']}/migrations", "2.23"))["migrations"] == []
    number = (await root.get("/os-migrations"))["migrations"][0]["id"]
    path = f"/servers/{made['id']}/migrations/{number}"
    error(await root.ask("GET", path, "2.23"), 404, "itemNotFound")
    error(await root.ask("DELETE", path, "2.24"), 400, "badRequest")
    error(await root.ask("POST", f"{path}/action", "2.22", json={"force_complete": None}), 400, "badRequest")


async def test_containers_do_not_move_while_they_run(cloud: ApiCloud) -> None:
    root = await admin(cloud)
    await cloud.store.write(lambda tx: tx.change(tx.first(Flavor, name="m1.nano"), extra_specs=CONTAINERS))
    made = await root.boot()
    found = await row(cloud, made["id"])
    if "live_migration" in (await capabilities(cloud, found)):
        pytest.fail("a container's driver says that it can")
    refused = await root.act(made["id"], "os-migrateLive", {"block_migration": "auto", "host": None}, "2.25")
    error(refused, 400, "badRequest")


async def capabilities(cloud: ApiCloud, server: Server) -> tuple[str, ...]:
    node = await cloud.store.read(lambda r: r.first(Node, name=server.node))
    return node.facts.capabilities[server.pillar]  # type: ignore[no-any-return]


async def test_shelved_a_server_is_an_image_and_comes_back_anywhere(cloud: ApiCloud) -> None:
    root = await admin(cloud)
    made = await networked(root, name="one")
    before = await row(cloud, made["id"])
    for verb, status in (("pause", "PAUSED"), ("shelve", "SHELVED_OFFLOADED")):
        assert (await root.act(made["id"], verb, None)).status_code == 202
        shown = await until(root, made["id"], status)
    assert shown["OS-EXT-SRV-ATTR:host"] is None
    assert shown["image"]["id"] == before.image_id
    assert await guests(cloud, made["id"]) == {}
    assert await cloud.store.read(used) == []
    image = await cloud.store.read(lambda r: r.first(Image, name="one-shelved"))
    assert image.owner == before.project_id
    error(await root.act(made["id"], "shelve", None), 409, "conflictingRequest")
    error(await root.act(made["id"], "shelveOffload", None), 409, "conflictingRequest")
    error(await root.act(made["id"], "unshelve", {"availability_zone": "mars"}, "2.77"), 400, "badRequest")
    error(await root.act(made["id"], "unshelve", {"host": "sim-1"}, "2.90"), 400, "badRequest")
    there = await other(cloud, before.node)
    assert (await root.act(made["id"], "unshelve", {"host": there}, "2.91")).status_code == 202
    shown = await until(root, made["id"], "ACTIVE")
    assert shown["OS-EXT-SRV-ATTR:host"] == there
    after = await row(cloud, made["id"])
    assert after.identity == before.identity, "its machine identity is written once"
    assert await cloud.store.read(lambda r: r.first(Image, name="one-shelved")) is None
    assert await plugged(cloud) == {before.node: 0, there: 1}
    actions = (await root.get(f"/servers/{made['id']}/os-instance-actions"))["instanceActions"]
    assert [a["action"] for a in actions][:2] == ["unshelve", "shelve"]


async def test_a_shelved_server_is_deleted_with_its_image(cloud: ApiCloud) -> None:
    root = await admin(cloud)
    made = await root.boot(name="gone")
    await root.act(made["id"], "shelve", None)
    await until(root, made["id"], "SHELVED_OFFLOADED")
    assert (await root.ask("DELETE", f"/servers/{made['id']}")).status_code == 204
    await gone(root, made["id"])
    assert await cloud.store.read(lambda r: r.first(Image, name="gone-shelved")) is None
    assert await cloud.store.read(lambda r: r.count(BlobReference, holder_id=made["id"])) == 0


async def test_a_server_that_waits_for_its_confirmation_is_deleted_on_both_nodes(cloud: ApiCloud) -> None:
    root = await admin(cloud)
    made = await networked(root)
    await root.act(made["id"], "migrate", None)
    await until(root, made["id"], "VERIFY_RESIZE")
    await root.ask("DELETE", f"/servers/{made['id']}")
    await gone(root, made["id"])
    assert await guests(cloud, made["id"]) == {}
    assert await cloud.store.read(used) == []


async def test_a_server_is_evacuated_from_a_node_that_was_declared_down(cloud: ApiCloud) -> None:
    root = await admin(cloud)
    made = await networked(root)
    before = await row(cloud, made["id"])
    agent = next(a for a in cloud.cloud.agents if a.node == before.node)
    error(await root.act(made["id"], "evacuate", {}, "2.14"), 400, "badRequest")

    def lost(tx: Any) -> None:
        tx.change(tx.first(Node, name=before.node), forced_down=True, alive=False)

    await cloud.store.write(lost)
    answer = await root.act(made["id"], "evacuate", {"adminPass": "new"}, "2.14")
    assert (answer.status_code, answer.json()) == (200, {"adminPass": "new"})
    shown = await until(root, made["id"], "ACTIVE")
    assert shown["OS-EXT-SRV-ATTR:host"] == await other(cloud, before.node)
    assert [m.status for m in await cloud.store.read(lambda r: r.select(Migration))] == ["done"]
    assert await cloud.store.read(used) == [("VCPU", 1)]
    assert await agent.guests.facts(), "its remains wait for the node's next reports, which find that nobody owns them"


async def test_no_job_is_left_open(cloud: ApiCloud) -> None:
    root = await admin(cloud)
    made = await root.boot()
    for verb, status in (("shelve", "SHELVED_OFFLOADED"), ("unshelve", "ACTIVE"), ("migrate", "VERIFY_RESIZE")):
        await root.act(made["id"], verb, None)
        await until(root, made["id"], status)
    jobs = await cloud.store.read(lambda r: r.select(Job, resource_id=made["id"]))
    assert {j.state for j in jobs} == {JobState.DONE}
    assert (await row(cloud, made["id"])).state is ServerState.RESIZED
