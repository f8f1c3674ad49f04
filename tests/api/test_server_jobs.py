"""The life of a server through its commands and jobs, on simulated nodes: no compute API in between."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tests.api.conftest import ApiCloud
from trilith import errors
from trilith.commands import quota, server_changes, server_moves, servers
from trilith.commands.servers import ServerRequest
from trilith.jobs import engine
from trilith.jobs.kinds import KINDS
from trilith.model.guest import GuestEvent, GuestEventKind, PowerState
from trilith.model.image import Image, ImageState
from trilith.model.job import FINAL, Job, JobState
from trilith.model.record import Actor
from trilith.model.server import Flavor, Server, ServerState


async def image(cloud: ApiCloud, name: str = "tiny") -> Image:
    return await cloud.store.read(lambda r: r.first(Image, name=name))  # type: ignore[no-any-return]


async def actor(cloud: ApiCloud) -> Actor:
    user_id, project_id = await cloud.user("alice", "alpha")
    return Actor(user_id=user_id, project_id=project_id, roles=("member", "reader"))


async def boot(cloud: ApiCloud, name: str = "one", **changes: Any) -> Server:
    found, who = await image(cloud), await actor(cloud)
    flavor = await cloud.store.read(lambda r: r.first(Flavor, name="m1.nano"))
    request = ServerRequest(name=name, flavor_id=flavor.id, image_id=found.id, **changes)
    made = await cloud.store.write(
        lambda tx: servers.create(tx, who, request, cloud.cloud.services.adviser), actor=who, action="server.create"
    )
    return await settled(cloud, made[0].id)


async def settled(cloud: ApiCloud, server_id: str) -> Server:
    """The server when no job owns it any more."""
    async with asyncio.timeout(20):
        while True:
            cursor = await cloud.store.head()
            found = await cloud.store.read(lambda r: r.get(Server, server_id, dead=True))
            if not found.job_id:
                return found  # type: ignore[no-any-return]
            await cloud.store.wait(cursor, timeout=5)


async def test_a_server_becomes_active_and_goes(cloud: ApiCloud) -> None:
    began = time.perf_counter()
    server = await boot(cloud)
    assert server.state is ServerState.ACTIVE, server.fault
    print(f"active after {(time.perf_counter() - began) * 1e3:.1f} ms")
    assert server.power is PowerState.RUNNING
    assert server.node in ("sim-1", "sim-2")
    assert server.reason
    await cloud.store.write(lambda tx: servers.delete(tx, tx.get(Server, server.id)))
    gone = await settled(cloud, server.id)
    assert gone.state is ServerState.DELETED
    jobs = await cloud.store.read(lambda r: r.select(Job, resource_id=server.id))
    assert [j.state for j in jobs] == [JobState.DONE, JobState.DONE]


@pytest.mark.parametrize(
    ("verbs", "state"),
    [
        (("stop", "start"), ServerState.ACTIVE),
        (("reboot",), ServerState.ACTIVE),
        (("reboot_hard",), ServerState.ACTIVE),
        (("pause", "unpause"), ServerState.ACTIVE),
        (("suspend", "resume"), ServerState.ACTIVE),
        (("stop",), ServerState.STOPPED),
    ],
)
async def test_power(cloud: ApiCloud, verbs: tuple[str, ...], state: ServerState) -> None:
    server = await boot(cloud)
    for verb in verbs:
        await cloud.store.write(lambda tx, v=verb, s=server.id: servers.power(tx, tx.get(Server, s), v))
        server = await settled(cloud, server.id)
        assert server.fault is None
    assert server.state is state


async def test_a_task_that_the_table_forbids_is_a_conflict(cloud: ApiCloud) -> None:
    server = await boot(cloud)
    with pytest.raises(errors.Conflict):
        await cloud.store.write(lambda tx: servers.power(tx, tx.get(Server, server.id), "start"))


async def test_a_step_that_fails_is_undone_and_leaves_a_fault(cloud: ApiCloud) -> None:
    def fault(name: str) -> None:
        if name == "start":
            raise errors.Backend("the simulated guest would not start")

    drivers = [d for a in cloud.cloud.agents for d in a.guests.computes.values()]
    for driver in drivers:
        driver.fault = fault  # type: ignore[attr-defined]
    server = await boot(cloud)
    assert server.state is ServerState.ERROR
    assert server.fault is not None
    assert "would not start" in server.fault.message
    assert not server.node
    for agent in cloud.cloud.agents:
        assert await agent.guests.facts() == []
        assert await agent.guests.storage.disks() == []
    await cloud.store.write(lambda tx: servers.delete(tx, tx.get(Server, server.id)))
    assert (await settled(cloud, server.id)).state is ServerState.DELETED


async def test_deleting_while_it_builds_cancels_and_removes(cloud: ApiCloud) -> None:
    entered = asyncio.Event()
    found, who = await image(cloud), await actor(cloud)
    flavor = await cloud.store.read(lambda r: r.first(Flavor, name="m1.nano"))
    for agent in cloud.cloud.agents:
        for driver in agent.guests.computes.values():

            async def slow(spec: Any) -> None:
                entered.set()
                await asyncio.sleep(60)

            driver.start = slow  # type: ignore[method-assign,assignment]
    request = ServerRequest(name="slow", flavor_id=flavor.id, image_id=found.id)
    made = (
        await cloud.store.write(lambda tx: servers.create(tx, who, request, cloud.cloud.services.adviser), actor=who)
    )[0]
    await asyncio.wait_for(entered.wait(), 10)
    await cloud.store.write(lambda tx: servers.delete(tx, tx.get(Server, made.id)))
    assert (await settled(cloud, made.id)).state is ServerState.DELETED
    states = [j.state for j in await cloud.store.read(lambda r: r.select(Job, resource_id=made.id))]
    assert states == [JobState.CANCELLED, JobState.DONE]
    assert all(s in FINAL for s in states)


async def test_resize_confirm_and_revert(cloud: ApiCloud) -> None:
    server, who = await boot(cloud), await actor(cloud)
    micro = await cloud.store.read(lambda r: r.first(Flavor, name="m1.micro"))
    await cloud.store.write(
        lambda tx: server_changes.resize(tx, who, tx.get(Server, server.id), micro.id, cloud.cloud.services.adviser)
    )
    server = await settled(cloud, server.id)
    assert (server.state, server.flavor.name) == (ServerState.RESIZED, "m1.micro"), server.fault
    await cloud.store.write(lambda tx: server_changes.revert_resize(tx, tx.get(Server, server.id)))
    server = await settled(cloud, server.id)
    assert (server.state, server.flavor.name) == (ServerState.ACTIVE, "m1.nano")
    await cloud.store.write(
        lambda tx: server_changes.resize(tx, who, tx.get(Server, server.id), micro.id, cloud.cloud.services.adviser)
    )
    server = await settled(cloud, server.id)
    await cloud.store.write(lambda tx: server_changes.confirm_resize(tx, tx.get(Server, server.id)))
    server = await settled(cloud, server.id)
    assert (server.state, server.flavor.name, server.old_flavor) == (ServerState.ACTIVE, "m1.micro", None)


async def test_rebuild_keeps_who_it_is(cloud: ApiCloud) -> None:
    server, who = await boot(cloud), await actor(cloud)
    other = await image(cloud, "tiny-alt")
    await cloud.store.write(lambda tx: server_changes.rebuild(tx, who, tx.get(Server, server.id), other.id, name="new"))
    after = await settled(cloud, server.id)
    assert (after.state, after.image_id, after.name) == (ServerState.ACTIVE, other.id, "new"), after.fault
    assert (after.identity, after.node) == (server.identity, server.node)


async def test_a_snapshot_becomes_an_image(cloud: ApiCloud) -> None:
    server, who = await boot(cloud), await actor(cloud)
    made = await cloud.store.write(
        lambda tx: server_changes.snapshot(tx, who, tx.get(Server, server.id), "snap", {"k": "v"}), actor=who
    )
    server = await settled(cloud, server.id)
    found = await cloud.store.read(lambda r: r.get(Image, made.id))
    assert found.state is ImageState.ACTIVE, server.fault
    assert found.size > 0
    assert found.properties["instance_uuid"] == server.id
    assert (cloud.cloud.services.blobs / found.sha256).stat().st_size == found.size


async def test_a_guest_that_powers_itself_off_is_stopped_and_a_crashed_one_restored(cloud: ApiCloud) -> None:
    server = await boot(cloud)
    agent = next(a for a in cloud.cloud.agents if a.node == server.node)
    driver: Any = agent.guests.driver(server.id)
    await driver.crash(server.id)
    async with asyncio.timeout(10):
        while len(await cloud.store.read(lambda r: r.select(Job, resource_id=server.id))) < 2:
            await cloud.store.wait(await cloud.store.head(), timeout=0.2)
    server = await settled(cloud, server.id)
    assert (server.state, server.power) == (ServerState.ACTIVE, PowerState.RUNNING)
    await driver.power_off(server.id)
    async with asyncio.timeout(10):
        while (await cloud.store.read(lambda r: r.get(Server, server.id))).state is not ServerState.STOPPED:
            await cloud.store.wait(await cloud.store.head(), timeout=0.2)


async def test_what_an_event_tells_late_is_not_believed(cloud: ApiCloud) -> None:
    """Regression: the stop within a job (a reverted resize) was read after the job's end, and the server counted as
    powered off by itself while it ran."""
    server = await boot(cloud)
    agent = next(a for a in cloud.cloud.agents if a.node == server.node)
    driver: Any = agent.guests.driver(server.id)
    driver._events.put_nowait(GuestEvent(server_id=server.id, kind=GuestEventKind.STOPPED, at=time.time()))
    await driver.pause(server.id)  # shows that the event before it was worked off
    async with asyncio.timeout(10):
        while (found := await cloud.store.read(lambda r: r.get(Server, server.id))).power is not PowerState.PAUSED:
            await cloud.store.wait(await cloud.store.head(), timeout=0.2)
    assert (found.state, found.desired) == (ServerState.ACTIVE, PowerState.RUNNING)
    assert len(await cloud.store.read(lambda r: r.select(Job, resource_id=server.id))) == 1


async def test_a_guest_that_dies_again_and_again_is_left_in_error(cloud: ApiCloud) -> None:
    server = await boot(cloud)
    agent = next(a for a in cloud.cloud.agents if a.node == server.node)
    driver: Any = agent.guests.driver(server.id)
    async with asyncio.timeout(20):
        for wanted in range(2, 6):
            await driver.crash(server.id)
            server = await restored(cloud, server.id, wanted)
    assert server.state is ServerState.ERROR
    assert server.fault is not None
    assert "4 times" in server.fault.message


async def restored(cloud: ApiCloud, server_id: str, jobs: int) -> Server:
    """The server when it has had so many jobs and none is open, or when it was given up."""
    while True:
        cursor = await cloud.store.head()
        # in one snapshot: a job that comes between two reads would be counted, and not seen at the server
        server, had = await cloud.store.read(
            lambda r: (r.get(Server, server_id), len(r.select(Job, resource_id=server_id)))
        )
        if (had >= jobs and not server.job_id) or server.state is ServerState.ERROR:
            return server  # type: ignore[no-any-return]
        await cloud.store.wait(cursor, timeout=1)


async def test_servers_deleted_at_any_moment_of_their_creation_all_end(cloud: ApiCloud) -> None:
    """Regression: a cancel that arrived while a job was being claimed ended its task and left the job without one."""
    found, who = await image(cloud), await actor(cloud)
    flavor = await cloud.store.read(lambda r: r.first(Flavor, name="m1.nano"))
    request = ServerRequest(name="brief", flavor_id=flavor.id, image_id=found.id)

    async def one(number: int) -> Server:
        made = (
            await cloud.store.write(
                lambda tx: servers.create(tx, who, request, cloud.cloud.services.adviser), actor=who
            )
        )[0]
        for _ in range(number % 5):
            await cloud.store.read(lambda r: r.find(Server, made.id))  # lets the job come a little further each time
        await cloud.store.write(lambda tx: servers.delete(tx, tx.get(Server, made.id)), actor=who)
        return await settled(cloud, made.id)

    for round_ in range(8):
        gone = await asyncio.gather(*(one(round_ + n) for n in range(8)))
        assert {s.state for s in gone} == {ServerState.DELETED}
    for agent in cloud.cloud.agents:
        assert await agent.guests.facts() == []


async def test_each_job_has_the_deadline_of_its_kind(cloud: ApiCloud) -> None:
    """Regression: all but two kinds were held to 600 s, whatever docs/jobs.md promised."""
    server, who = await boot(cloud), await actor(cloud)
    micro = await cloud.store.read(lambda r: r.first(Flavor, name="m1.micro"))
    for change in (
        lambda tx, s: server_changes.snapshot(tx, who, s, "snap", {}),
        lambda tx, s: server_changes.backup(tx, who, s, "back", "daily", 1),
        lambda tx, s: server_changes.resize(tx, who, s, micro.id, cloud.cloud.services.adviser),
        lambda tx, s: server_changes.revert_resize(tx, s),
        lambda tx, s: server_moves.shelve(tx, who, s),
    ):
        await cloud.store.write(lambda tx, change=change: change(tx, tx.get(Server, server.id)))
        await settled(cloud, server.id)
    jobs = await cloud.store.read(lambda r: r.select(Job, resource_id=server.id))
    assert {"server.snapshot", "server.backup", "server.shelve", "server.shelve_offload"} <= {j.kind for j in jobs}
    for job in jobs:
        assert job.deadline - job.created_at == pytest.approx(KINDS[job.kind].deadline, abs=1), job.kind


async def test_a_deletion_goes_on_however_long_the_cloud_was_off(
    cloud: ApiCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: after a quarter of an hour it ended in ERROR at the next start, as a step of 0 s."""
    server = await boot(cloud)
    monkeypatch.setattr(engine, "time", SimpleNamespace(time=lambda: time.time() + 86400))
    await cloud.store.write(lambda tx: servers.delete(tx, tx.get(Server, server.id)))
    assert (await settled(cloud, server.id)).state is ServerState.DELETED


async def _counted(cloud: ApiCloud, project_id: str) -> dict[str, int]:
    return await cloud.store.read(  # type: ignore[no-any-return]
        lambda r: quota.usage(r, project_id, ("instances", "cores", "ram", "disk_gb"))
    )


async def test_a_server_deleted_before_its_resize_is_settled_gives_back_all_that_it_held(cloud: ApiCloud) -> None:
    """Regression: what the old flavor had more than the new one stayed counted for ever."""
    micro, who = await cloud.store.read(lambda r: r.first(Flavor, name="m1.micro")), await actor(cloud)
    less = replace(micro, id="less", name="less", vcpus=1, ram=micro.ram // 2)
    await cloud.store.write(lambda tx: tx.add(replace(less, seq=0, created_at=0.0, updated_at=0.0, revision=0)))
    found = await image(cloud)
    request = ServerRequest(name="big", flavor_id=micro.id, image_id=found.id)
    before = await _counted(cloud, who.project_id)
    made = await cloud.store.write(lambda tx: servers.create(tx, who, request, cloud.cloud.services.adviser), actor=who)
    server = await settled(cloud, made[0].id)
    await cloud.store.write(
        lambda tx: server_changes.resize(tx, who, tx.get(Server, server.id), "less", cloud.cloud.services.adviser)
    )
    server = await settled(cloud, server.id)
    assert server.state is ServerState.RESIZED, server.fault
    await cloud.store.write(lambda tx: servers.delete(tx, tx.get(Server, server.id)))
    assert (await settled(cloud, server.id)).state is ServerState.DELETED
    assert await _counted(cloud, who.project_id) == before


async def test_backups_are_counted_in_the_servers_own_project(cloud: ApiCloud) -> None:
    """Regression: images of another project that said to be backups of the server pushed its own ones out."""
    server, who = await boot(cloud), await actor(cloud)
    forged = {"instance_uuid": server.id, "image_type": "backup", "backup_type": "daily"}

    async def back_up(name: str) -> str:
        made = await cloud.store.write(
            lambda tx: server_changes.backup(tx, who, tx.get(Server, server.id), name, "daily", 2), actor=who
        )
        assert (await settled(cloud, server.id)).fault is None
        return str(made.id)

    first = await back_up("first")
    source = await image(cloud)
    foreign = replace(source, seq=0, revision=0, owner="elsewhere", properties=forged, created_at=time.time() + 60)
    for number in range(2):
        await cloud.store.write(lambda tx, n=number: tx.add(replace(foreign, id=f"forged-{n}")))
    second = await back_up("second")
    left = await cloud.store.read(lambda r: {i.id for i in r.select(Image, state=ImageState.ACTIVE)})
    assert {first, second, "forged-0", "forged-1"} <= left
    third = await back_up("third")
    left = await cloud.store.read(lambda r: {i.id for i in r.select(Image, state=ImageState.ACTIVE)})
    assert first not in left
    assert {second, third, "forged-0", "forged-1"} <= left
