"""Rescue, passwords, backups and network information of servers, as the compute API serves them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.api.compute_calls import Caller, admin, member
from tests.api.conftest import ApiCloud
from tests.api.test_server_moves import error, row, until
from trilith.commands import images
from trilith.drivers.simulated.compute import SimulatedCompute, password_hash
from trilith.errors import Backend
from trilith.model.guest import MachineIdentity, Pillar
from trilith.model.image import BlobReference, Image
from trilith.model.job import Job
from trilith.model.server import Server, ServerState
from trilith.store.tx import Tx


def guest_file(cloud: ApiCloud, server_id: str) -> dict[str, Any]:
    """What the simulated driver was asked for."""
    state = Path(cloud.cloud.settings.state)
    (path,) = [p for pillar in Pillar for p in state.glob(f"simulated/*/{pillar}/{server_id}.json")]
    return msgspec.json.decode(path.read_bytes())  # type: ignore[no-any-return]


def disks(cloud: ApiCloud) -> set[str]:
    return {p.name for p in Path(cloud.cloud.settings.state).glob("simulated/*/disks/*")}


async def test_rescue_boots_another_disk_and_unrescue_the_own(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    made = await alice.boot()
    answer = await alice.act(made["id"], "rescue", {"adminPass": "secret"})
    assert (answer.status_code, answer.json()) == (200, {"adminPass": "secret"})
    await until(alice, made["id"], "RESCUE")
    rescue = guest_file(cloud, made["id"])["spec"]["rescue"]
    assert (rescue["stable"], rescue["device"]) == (False, "disk")
    assert disks(cloud) == {made["id"], f"{made['id']}.rescue"}
    for verb in ("rescue", "reboot", "rebuild", "pause", "os-stop", "shelve", "migrate"):
        value = {"reboot": {"type": "HARD"}, "rebuild": {"imageRef": await alice.image()}}.get(verb)
        refused = await (await admin(cloud)).act(made["id"], verb, value)
        error(refused, 409, "conflictingRequest")
    assert (await alice.act(made["id"], "unrescue", None)).status_code == 202
    await until(alice, made["id"], "ACTIVE")
    assert guest_file(cloud, made["id"])["spec"]["rescue"] is None
    assert disks(cloud) == {made["id"]}
    error(await alice.act(made["id"], "unrescue", None), 409, "conflictingRequest")


async def test_a_stable_rescue_is_what_the_image_asks_for(cloud: ApiCloud) -> None:
    root = await admin(cloud)
    made = await root.boot()
    image_id = await root.image()

    def ask(device: str, bus: str) -> Any:
        properties = {"hw_rescue_device": device, "hw_rescue_bus": bus}
        return cloud.store.write(
            lambda tx: images.update(tx, image_id, lambda i: {"properties": i.properties | properties})
        )

    def machine(tx: Tx) -> None:
        found = tx.get(Server, made["id"])
        tx.change(found, identity=replace(found.identity or MachineIdentity(smbios_uuid=""), machine="pc-q35-7.2"))

    await cloud.store.write(machine)
    for device, bus in (("floppy", "virtio"), ("cdrom", "virtio"), ("cdrom", "ide")):
        await ask(device, bus)
        error(await root.act(made["id"], "rescue", {"rescue_image_ref": image_id}), 400, "badRequest")
    await ask("disk", "usb")
    assert (await root.act(made["id"], "rescue", {"rescue_image_ref": image_id})).status_code == 200
    await until(root, made["id"], "RESCUE")
    rescue = guest_file(cloud, made["id"])["spec"]["rescue"]
    assert (rescue["stable"], rescue["device"], rescue["bus"]) == (True, "disk", "usb")
    await root.ask("DELETE", f"/servers/{made['id']}")
    await root.settle(made["id"])
    assert disks(cloud) == set()


async def test_a_rescue_that_fails_leaves_the_server_running(cloud: ApiCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    root = await admin(cloud)
    made = await root.boot()
    start = SimulatedCompute.start

    async def broken(self: SimulatedCompute, spec: Any) -> None:
        if spec.rescue is not None:
            raise Backend("no such boot device")
        await start(self, spec)

    monkeypatch.setattr(SimulatedCompute, "start", broken)
    await root.act(made["id"], "rescue", None)
    await until(root, made["id"], "ACTIVE")
    found = await row(cloud, made["id"])
    assert found.rescue is None
    assert found.fault is not None
    assert guest_file(cloud, made["id"])["power"] == "running"
    assert disks(cloud) == {made["id"]}


async def test_a_password_is_set_inside_and_kept_sealed(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    made = await alice.boot()
    assert (await alice.act(made["id"], "changePassword", {"adminPass": "Newpass1234"})).status_code == 202
    assert guest_file(cloud, made["id"])["passwords"] == {"root": password_hash(made["id"], "Newpass1234")}
    jobs = await cloud.store.read(lambda r: r.select(Job, resource_id=made["id"], kind="server.password"))
    assert "Newpass1234" not in jobs[0].args
    error(await alice.act(made["id"], "changePassword", {}), 400, "badRequest")
    await alice.act(made["id"], "os-stop", None)
    await until(alice, made["id"], "SHUTOFF")
    error(await alice.act(made["id"], "changePassword", {"adminPass": "x"}), 409, "conflictingRequest")


async def test_what_the_guest_answers_to_a_password_is_told(cloud: ApiCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = await member(cloud)
    made = await alice.boot()

    async def no_agent(self: SimulatedCompute, server_id: str, user: str, password: str) -> None:
        raise Backend("Guest agent is not responding")

    monkeypatch.setattr(SimulatedCompute, "set_password", no_agent)
    answer = await alice.act(made["id"], "changePassword", {"adminPass": "x"})
    error(answer, 409, "conflictingRequest")
    assert "Guest agent is not responding" in answer.text
    assert (await row(cloud, made["id"])).state is ServerState.ACTIVE


async def backup(caller: Caller, server_id: str, name: str, rotation: int, kind: str = "daily") -> str:
    value = {"name": name, "backup_type": kind, "rotation": rotation}
    answer = await caller.act(server_id, "createBackup", value, "2.45")
    assert answer.status_code == 202
    await until(caller, server_id, "ACTIVE")
    return str(answer.json()["image_id"]) if rotation else ""


async def test_of_backups_the_newest_are_kept(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    made = await alice.boot()
    other = await alice.boot(name="two")
    kept = await backup(alice, other["id"], "of another", 1)
    weekly = await backup(alice, made["id"], "weekly", 1, "weekly")
    daily = [await backup(alice, made["id"], f"daily-{n}", 2) for n in range(3)]
    found = await cloud.store.read(lambda r: {i.id for i in r.select(Image) if "backup_type" in i.properties})
    assert found == {kept, weekly, *daily[1:]}
    await backup(alice, made["id"], "none", 0)
    found = await cloud.store.read(lambda r: {i.id for i in r.select(Image) if "backup_type" in i.properties})
    assert found == {kept, weekly}
    held = await cloud.store.read(lambda r: {b.holder_id for b in r.select(BlobReference, holder_kind="image")})
    assert not held & set(daily)
    answer = await alice.act(made["id"], "createBackup", {"name": "x", "backup_type": "d", "rotation": -1})
    error(answer, 400, "badRequest")


async def test_a_rebuild_shows_its_image_at_once(cloud: ApiCloud) -> None:
    root = await admin(cloud)
    made = await root.boot()
    other = await cloud.store.read(lambda r: r.first(Image, name="tiny-alt").id)
    await root.act(made["id"], "os-stop", None)
    await until(root, made["id"], "SHUTOFF")
    answer = await root.act(made["id"], "rebuild", {"imageRef": other})
    assert answer.json()["server"]["image"]["id"] == other
    shown = await until(root, made["id"], "SHUTOFF")
    assert shown["image"]["id"] == other


async def test_network_information_is_told_anew(cloud: ApiCloud) -> None:
    root, alice = await admin(cloud), await member(cloud)
    made = await alice.boot()
    error(await alice.act(made["id"], "injectNetworkInfo", None), 403, "forbidden")
    assert (await root.act(made["id"], "injectNetworkInfo", None)).status_code == 202
    await until(root, made["id"], "ACTIVE")
    actions = (await root.get(f"/servers/{made['id']}/os-instance-actions"))["instanceActions"]
    assert actions[0]["action"] == "inject_network_info"


async def test_a_lock_takes_any_value_before_it_had_a_reason(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    made = await alice.boot()
    assert (await alice.act(made["id"], "lock", {})).status_code == 202
    error(await alice.act(made["id"], "os-stop", None), 409, "conflictingRequest")
    assert (await alice.act(made["id"], "unlock", {})).status_code == 202
    error(await alice.act(made["id"], "lock", {"reason": "x"}, "2.73"), 400, "badRequest")
