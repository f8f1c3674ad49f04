"""What a server's root is of, when its image goes or its new root does not start."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.compute_calls import Caller, admin, member
from tests.api.conftest import ApiCloud
from tests.api.test_server_moves import row, until
from trilith import errors
from trilith.agent import calls
from trilith.commands import images
from trilith.model.identity import RegisteredLimit, Service
from trilith.model.image import Image
from trilith.model.server import Server, ServerState
from trilith.store.tx import Tx, new_id


async def _alt(caller: Caller) -> Image:
    return await caller.cloud.store.read(lambda r: r.first(Image, name="tiny-alt"))  # type: ignore[no-any-return]


async def test_a_shelved_server_comes_back_from_its_copy_though_its_image_was_deleted_meanwhile(
    cloud: ApiCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: deleted while the guest was, the image was not found any more, and the server came back as it was
    on its first day."""
    root = await admin(cloud)
    made = await root.boot(name="one")
    found = calls.CALLS["guest.delete"]

    async def delete(*args: Any) -> Any:
        image = await cloud.store.read(lambda r: r.first(Image, name="one-shelved"))
        await cloud.store.write(lambda tx: images.delete(tx, image.id))
        return await found.handler(*args)

    monkeypatch.setitem(calls.CALLS, "guest.delete", calls.Call(found.args, delete, found.summary))
    before = await row(cloud, made["id"])
    assert (await root.act(made["id"], "shelve", None)).status_code == 202
    await until(root, made["id"], "SHELVED_OFFLOADED")
    after = await row(cloud, made["id"])
    assert after.image_sha256 != before.image_sha256
    assert (await root.act(made["id"], "unshelve", None)).status_code == 202
    await until(root, made["id"], "ACTIVE")


@pytest.mark.parametrize(("verb", "new"), [("rebuild", False), ("start", True)])
async def test_a_rebuild_that_fails_shows_the_image_that_the_root_is_of(cloud: ApiCloud, verb: str, new: bool) -> None:
    """Regression: the new root was laid out and the row told of the old one, which the next start put below it."""
    alice = await member(cloud)
    made = await alice.boot()
    before, wanted = await row(cloud, made["id"]), await _alt(alice)
    assert wanted.sha256 != before.image_sha256
    agent = next(a for a in cloud.cloud.agents if made["id"] in a.guests.plans())
    driver: Any = agent.guests.driver(made["id"])

    def fault(name: str) -> None:
        if name == ("create" if verb == "rebuild" else "start"):
            raise errors.Backend("no")

    driver.fault = fault
    assert (await alice.act(made["id"], "rebuild", {"imageRef": wanted.id})).status_code == 202
    server: Server | None = await alice.settle(made["id"])
    assert server is not None
    assert server.state is ServerState.ERROR
    expected = (wanted.id, wanted.sha256) if new else (before.image_id, before.image_sha256)
    assert (server.image_id, server.image_sha256) == expected
    driver.fault = lambda _name: None
    if new:
        assert (await alice.act(made["id"], "reboot", {"type": "HARD"})).status_code == 202
        await until(alice, made["id"], "ACTIVE")
        assert agent.guests.plan(made["id"]).blob.sha256 == wanted.sha256


async def test_a_lock_does_not_stand_against_copies(cloud: ApiCloud) -> None:
    """Nova: a lock is against change and deletion by mistake; snapshots and backups are made."""
    root, bob = await admin(cloud), await member(cloud, "bob", "beta")
    made = await bob.boot()
    await root.act(made["id"], "lock", None)
    assert (await bob.act(made["id"], "os-stop", None)).status_code == 409
    for verb, value in (
        ("createImage", {"name": "copy"}),
        ("createBackup", {"name": "copy", "backup_type": "daily", "rotation": 1}),
    ):
        assert (await bob.act(made["id"], verb, value)).status_code == 202
        await bob.settle(made["id"])


async def test_a_page_does_not_begin_at_another_projects_server(cloud: ApiCloud) -> None:
    root, bob, alice = await admin(cloud), await member(cloud, "bob", "beta"), await member(cloud)
    theirs, mine = await alice.boot("theirs"), await bob.boot("mine")
    assert (await bob.ask("GET", f"/servers?marker={theirs['id']}")).status_code == 400
    assert (await bob.ask("GET", f"/servers?marker={mine['id']}")).status_code == 200
    assert (await root.ask("GET", f"/servers?all_tenants=1&marker={theirs['id']}")).status_code == 200


async def test_two_events_of_one_server_are_both_taken(cloud: ApiCloud) -> None:
    root = await admin(cloud)
    made = await root.boot()
    event = {"name": "power-update", "server_uuid": made["id"], "tag": "POWER_OFF"}
    answer = await root.ask("POST", "/os-server-external-events", "2.76", json={"events": [event, event]})
    assert answer.status_code == 200, answer.text
    await until(root, made["id"], "SHUTOFF")


async def test_copies_of_servers_count_as_images(cloud: ApiCloud) -> None:
    """Regression: the limits of images held for uploads only."""
    bob = await member(cloud, "bob", "beta")
    made = await bob.boot()

    def register(tx: Tx) -> None:
        service = tx.first(Service, type="image")
        assert service is not None
        tx.add(
            RegisteredLimit(
                id=new_id(), service_id=service.id, region_id="", resource_name="image_count_total", default_limit=1
            )
        )

    await cloud.store.write(register)
    backup = {"name": "copy", "backup_type": "daily", "rotation": 1}
    assert (await bob.act(made["id"], "createImage", {"name": "one"})).status_code == 202
    await bob.settle(made["id"])
    for verb, value in (("createImage", {"name": "two"}), ("createBackup", backup), ("shelve", None)):
        refused = await bob.act(made["id"], verb, value)
        assert (refused.status_code, list(refused.json())) == (403, ["forbidden"]), verb
    assert (await bob.get(f"/servers/{made['id']}"))["server"]["status"] == "ACTIVE"
