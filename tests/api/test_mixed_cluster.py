"""One scheduler for all pillars: a mixed cluster of simulated nodes is filled with 1,000 mixed servers."""

from __future__ import annotations

import asyncio
import io
import random
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.compute_calls import Caller, admin
from tests.api.conftest import PASSWORD, ApiCloud
from trilith import errors
from trilith.app import cloud as start_cloud
from trilith.config import Settings
from trilith.drivers.simulated.pillars import pillars_of
from trilith.model.guest import Pillar
from trilith.model.node import Allocation, Inventory, ResourceProvider
from trilith.model.server import Server, ServerState

NODES = ("kvm", "xen", "lxc", "lxc+kvm")
COUNT = 1000
SEED = 20261123


@dataclass(frozen=True)
class Wish:
    """What the requests of one kind ask for, beside their flavor's size. share: of all requests."""

    name: str
    share: float
    pillars: tuple[Pillar, ...]
    specs: dict[str, str]


WISHES = (
    Wish("machine", 0.3, (Pillar.KVM,), {"trilith:pillar": "kvm"}),
    Wish("isolated", 0.2, (Pillar.XEN,), {"trilith:pillar": "xen"}),
    Wish("light", 0.3, (Pillar.LXC,), {"trilith:pillar": "lxc"}),
    Wish("any", 0.15, tuple(Pillar), {}),
    Wish("fast", 0.05, (Pillar.KVM,), {"trilith:pillar": "kvm", "trait:CUSTOM_FAST": "required"}),
)
SIZES = ((1, 2048), (2, 4096), (1, 1024), (4, 8192))


@pytest.fixture
async def mixed(tmp_path: Path) -> AsyncIterator[ApiCloud]:
    settings = Settings(state=tmp_path / "state", simulated=12, simulated_pillars=NODES, public_url="http://testserver")
    async with start_cloud(settings, admin_password=PASSWORD) as running:
        transport = httpx.ASGITransport(app=running.api)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            yield ApiCloud(running, client)


async def placement(root: Caller, method: str, path: str, **body: Any) -> Any:
    headers = {**root.headers, "OpenStack-API-Version": "placement 1.39"}
    answer = await root.cloud.client.request(method, f"/placement{path}", headers=headers, json=body or None)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


async def image(root: Caller) -> str:
    """A root file system, which serves every pillar."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("etc"))
    fields = {"name": "any", "disk_format": "root-tar", "container_format": "bare"}
    made = await root.cloud.client.post("/image/v2/images", headers=root.headers, json=fields)
    assert made.status_code == 201, made.text
    path = f"/image/v2/images/{made.json()['id']}/file"
    headers = {**root.headers, "Content-Type": "application/octet-stream"}
    assert (await root.cloud.client.put(path, headers=headers, content=archive.getvalue())).status_code == 204
    return str(made.json()["id"])


async def flavors(root: Caller) -> dict[tuple[str, int], str]:
    """(wish, index of its size) → the flavor's id."""
    found = {}
    for wish in WISHES:
        for i, (vcpus, ram) in enumerate(SIZES):
            fields = {"name": f"{wish.name}.{i}", "vcpus": vcpus, "ram": ram, "disk": 10}
            made = await root.ask("POST", "/flavors", json={"flavor": fields})
            assert made.status_code == 200, made.text
            found[wish.name, i] = made.json()["flavor"]["id"]
            if wish.specs:
                path = f"/flavors/{found[wish.name, i]}/os-extra_specs"
                assert (await root.ask("POST", path, json={"extra_specs": wish.specs})).status_code == 200
    return found


async def fill(root: Caller, count: int) -> dict[str, Wish]:
    """server → what it wished for; returns when every job has ended."""
    chance = random.Random(SEED)
    of_flavor, image_id = await flavors(root), await image(root)
    _, project = await root.cloud.user("admin", "admin")
    limits = {"quota_set": {"instances": -1, "cores": -1, "ram": -1}}
    assert (await root.ask("PUT", f"/os-quota-sets/{project}", json=limits)).status_code == 200
    wished: dict[str, Wish] = {}

    async def one(number: int, wish: Wish, size: int) -> None:
        fields = {
            "name": f"s{number}", "imageRef": image_id, "flavorRef": of_flavor[wish.name, size], "networks": "none"
        }  # fmt: skip
        answer = await root.ask("POST", "/servers", "2.37", json={"server": fields})
        assert answer.status_code == 202, answer.text
        wished[answer.json()["server"]["id"]] = wish

    for number in range(count):
        wish = chance.choices(WISHES, [w.share for w in WISHES])[0]
        await one(number, wish, chance.randrange(len(SIZES)))
    async with asyncio.timeout(120):
        while True:
            cursor = await root.cloud.store.head()
            if not await root.cloud.store.read(lambda r: r.count(Server, state=ServerState.BUILDING)):
                return wished
            await root.cloud.store.wait(cursor, timeout=5)


async def test_a_thousand_land_where_they_may(mixed: ApiCloud) -> None:
    root = await admin(mixed)
    providers = {p["name"]: p for p in (await placement(root, "GET", "/resource_providers"))["resource_providers"]}
    await placement(root, "PUT", "/traits/CUSTOM_FAST")
    for name in ("sim-1", "sim-4"):
        one = f"/resource_providers/{providers[name]['uuid']}/traits"
        held = await placement(root, "GET", one)
        await placement(root, "PUT", one, traits=[*held["traits"], "CUSTOM_FAST"],
                        resource_provider_generation=held["resource_provider_generation"])  # fmt: skip

    wished = await fill(root, COUNT)

    servers: list[Server] = await mixed.store.read(lambda r: r.select(Server, id=list(wished)))
    assert len(servers) == COUNT
    placed = [s for s in servers if s.state is ServerState.ACTIVE]
    for server in placed:
        wish = wished[server.id]
        number = int(server.node.removeprefix("sim-"))
        assert server.pillar in pillars_of(NODES, number), f"{server.name}: {server.node} has no {server.pillar}"
        assert server.pillar in wish.pillars, f"{server.name}: wished for {wish.name}, is {server.pillar}"
        assert "trait:CUSTOM_FAST" not in wish.specs or server.node in ("sim-1", "sim-4")
        assert server.node in server.reason
    # every refusal is one that the free inventories bear out: nothing of its kind had room for it
    rest = [s for s in servers if s.state is not ServerState.ACTIVE]
    free = await mixed.store.read(_free)
    for server in rest:
        assert server.state is ServerState.ERROR
        assert server.fault is not None
        assert "No valid host" in server.fault.message, server.fault
        wish = wished[server.id]
        able = [n for n in free if set(wish.pillars) & set(pillars_of(NODES, int(n.removeprefix("sim-"))))]
        if "trait:CUSTOM_FAST" in wish.specs:
            able = [n for n in able if n in ("sim-1", "sim-4")]
        assert all(free[n]["MEMORY_MB"] < server.flavor.ram for n in able), server.name
    assert {w.name for w in wished.values()} == {w.name for w in WISHES}


def _free(reader: Any) -> dict[str, dict[str, float]]:
    """From the allocations, not from the counters that placement decides by."""
    names = {p.id: p.name for p in reader.select(ResourceProvider)}
    found: dict[str, dict[str, float]] = {name: {} for name in names.values()}
    for i in reader.select(Inventory):
        found[names[i.provider_id]][i.resource_class] = (i.total - i.reserved) * i.allocation_ratio
    for a in reader.select(Allocation):
        found[names[a.provider_id]][a.resource_class] -= a.used
        assert found[names[a.provider_id]][a.resource_class] >= 0, f"{names[a.provider_id]} is given away twice"
    return found


@pytest.mark.parametrize("wrong", ["", "kvm+kvm", "vmware", "lxc,kvm"])
def test_pillars_of_simulated_nodes_are_told_apart(wrong: str) -> None:
    with pytest.raises(errors.Invalid, match="simulated_pillars"):
        pillars_of((wrong,), 1)
    with pytest.raises(errors.Invalid, match="simulated_pillars"):
        pillars_of((), 1)


def test_nodes_take_their_entries_in_turns() -> None:
    assert [pillars_of(NODES, n)[0] for n in (1, 2, 3, 4, 5)] == ["kvm", "xen", "lxc", "lxc", "kvm"]
