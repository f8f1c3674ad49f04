"""Long loops, by `make soak` only: what leaks a little at a time is found here."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from trilith.app import Cloud, cloud
from trilith.commands import servers
from trilith.commands.servers import NetworkRequest, ServerRequest
from trilith.config import Settings
from trilith.model.identity import Project, User
from trilith.model.image import Image
from trilith.model.job import FINAL, Job
from trilith.model.network import IpAddress, Network, Port
from trilith.model.node import Allocation, Quota
from trilith.model.record import Actor
from trilith.model.server import Flavor, Server
from trilith.store.tx import Tx, new_id

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

_AT_ONCE = 8
_ROUNDS = 250


def rss_mib() -> float:
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


async def rest(running: Cloud) -> None:
    """Until no job is open."""
    async with asyncio.timeout(120):
        while True:
            cursor = await running.store.head()
            if not [j for j in await running.store.read(lambda r: r.select(Job)) if j.state not in FINAL]:
                return
            await running.store.wait(cursor, timeout=2)


async def test_two_thousand_servers_come_and_go_and_nothing_stays(tmp_path: Path) -> None:
    async with cloud(Settings(state=tmp_path / "s", simulated=3), admin_password="a password of the test") as running:
        store = running.store

        def prepare(tx: Tx) -> tuple[Actor, Any, Any, Any]:
            user, project = tx.first(User, name="admin"), tx.first(Project, name="admin")
            assert user is not None
            assert project is not None
            for resource in ("instances", "cores", "ram", "port"):
                tx.add(Quota(id=new_id(), project_id=project.id, resource=resource, limit=-1))
            who = Actor(user_id=user.id, project_id=project.id, roles=("admin",), is_admin=True)
            return who, tx.first(Flavor, name="m1.nano"), tx.first(Image, name="tiny"), tx.first(Network, external=True)

        who, flavor, image, network = await store.write(prepare)
        adviser = running.services.adviser
        before: list[int] = await store.read(_rows)

        async def one(number: int) -> None:
            request = ServerRequest(
                name=f"s{number}",
                flavor_id=flavor.id,
                image_id=image.id,
                networks=(NetworkRequest(network_id=network.id),),
            )
            made = (await store.write(lambda tx: servers.create(tx, who, request, adviser), actor=who))[0]
            await store.write(lambda tx: servers.delete(tx, tx.get(Server, made.id)), actor=who)

        warm = 0.0
        for round_ in range(_ROUNDS):
            await asyncio.gather(*(one(round_ * _AT_ONCE + n) for n in range(_AT_ONCE)))
            await rest(running)
            if round_ == _ROUNDS // 5:
                warm = rss_mib()
        assert await store.read(_rows) == before
        for agent in running.agents:
            assert await agent.guests.facts() == []
            assert await agent.guests.switch.plugged() == {}
            assert await agent.guests.storage.disks() == []
        grown = rss_mib() - warm  # what a fifth of the rounds did not need yet
        assert grown < 60, f"{grown:.0f} MiB grown over {_ROUNDS * _AT_ONCE} servers"


def _rows(reader: Any) -> list[int]:
    return [reader.count(cls) for cls in (Server, Port, IpAddress, Allocation)]
