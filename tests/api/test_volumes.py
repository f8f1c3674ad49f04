"""Block storage: volumes and their snapshots from the API to the pools, on simulated nodes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.api.conftest import ApiCloud
from trilith.model.node import QuotaUse
from trilith.model.volume import SnapshotState, Volume, VolumePool, VolumeSnapshot, VolumeState

BUSY = (VolumeState.CREATING, VolumeState.DOWNLOADING, VolumeState.EXTENDING, VolumeState.REVERTING,
        VolumeState.DELETING, SnapshotState.CREATING, SnapshotState.DELETING)  # fmt: skip


@dataclass
class Api:
    cloud: ApiCloud
    headers: dict[str, str]

    async def __call__(self, method: str, path: str, expected: int = 200, version: str = "3.71", **body: Any) -> Any:
        answer = await self.ask(method, path, version, **body)
        assert answer.status_code == expected, answer.text
        return answer.json() if answer.content else None

    async def ask(self, method: str, path: str, version: str = "3.71", **body: Any) -> httpx.Response:
        headers = {**self.headers, "OpenStack-API-Version": f"volume {version}"}
        return await self.cloud.client.request(method, f"/volume/v3{path}", headers=headers, json=body or None)

    async def volume(self, **fields: Any) -> Volume:
        made = (await self("POST", "/volumes", 202, volume={"size": 1, **fields}))["volume"]
        return await self.settled(Volume, made["id"])

    async def snapshot(self, volume_id: str) -> VolumeSnapshot:
        made = (await self("POST", "/snapshots", 202, snapshot={"volume_id": volume_id}))["snapshot"]
        return await self.settled(VolumeSnapshot, made["id"])

    async def settled(self, cls: Any, id: str) -> Any:
        """As it is when nothing works at it; None when it is gone."""
        async with asyncio.timeout(20):
            while True:
                cursor = await self.cloud.store.head()
                found = await self.cloud.store.read(lambda r: r.find(cls, id))
                if found is None or found.state not in BUSY:
                    return found
                await self.cloud.store.wait(cursor, timeout=5)

    async def gone(self, cls: Any, path: str, id: str) -> None:
        await self("DELETE", f"/{path}/{id}", 202)
        assert await self.settled(cls, id) is None
        await self("GET", f"/{path}/{id}", 404)


@pytest.fixture
async def alice(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.member())


@pytest.fixture
async def admin(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.token())


async def promised(cloud: ApiCloud) -> int:
    return sum(p.promised for p in await cloud.store.read(lambda r: r.select(VolumePool)))


async def test_a_volume_from_its_making_to_its_end(cloud: ApiCloud, alice: Api) -> None:
    one = await alice.volume(size=2, name="one", metadata={"a": "b"})
    assert one.state is VolumeState.AVAILABLE
    assert one.pool in ("sim-1@sim#sim", "sim-2@sim#sim")
    assert await promised(cloud) == 2
    await alice("POST", f"/volumes/{one.id}/action", 202, **{"os-extend": {"new_size": 5}})
    grown = await alice.settled(Volume, one.id)
    assert (grown.state, grown.size, await promised(cloud)) == (VolumeState.AVAILABLE, 5, 5)
    await alice("POST", f"/volumes/{one.id}/action", 400, **{"os-extend": {"new_size": 5}})
    await alice.gone(Volume, "volumes", one.id)
    assert await promised(cloud) == 0
    used = await cloud.store.read(lambda r: {q.resource: q.used for q in r.select(QuotaUse)})
    assert not {name: n for name, n in used.items() if n and name.startswith(("volumes", "gigabytes", "snapshots"))}


async def test_snapshots_and_what_is_made_of_them(cloud: ApiCloud, alice: Api) -> None:
    one = await alice.volume()
    first = await alice.snapshot(one.id)
    assert (first.state, first.size, first.progress) == (SnapshotState.AVAILABLE, 1, 100)
    refused = await alice("DELETE", f"/volumes/{one.id}", 400)
    assert "still has snapshots" in refused["badRequest"]["message"]
    two = await alice.volume(snapshot_id=first.id, size=2)
    clone = await alice.volume(source_volid=one.id, size=None)
    assert {two.pool, clone.pool} == {one.pool}
    assert (two.size, clone.size) == (2, 1)
    await alice("POST", f"/volumes/{one.id}/action", 202, revert={"snapshot_id": first.id})
    assert (await alice.settled(Volume, one.id)).state is VolumeState.AVAILABLE
    await alice.gone(VolumeSnapshot, "snapshots", first.id)
    for volume in (one, two, clone):
        await alice.gone(Volume, "volumes", volume.id)
    assert await promised(cloud) == 0


async def test_others_do_not_see_it(cloud: ApiCloud, alice: Api, admin: Api) -> None:
    bob = Api(cloud, await cloud.member("bob", "beta"))
    one = await alice.volume()
    snapshot = await alice.snapshot(one.id)
    for method, path in (("GET", f"/volumes/{one.id}"), ("DELETE", f"/volumes/{one.id}"),
                         ("GET", f"/snapshots/{snapshot.id}"), ("DELETE", f"/snapshots/{snapshot.id}")):  # fmt: skip
        await bob(method, path, 404)
    await bob("POST", "/snapshots", 404, snapshot={"volume_id": one.id})
    await bob("POST", "/volumes", 404, volume={"source_volid": one.id, "size": 1})
    await bob("POST", "/volumes", 404, volume={"snapshot_id": snapshot.id, "size": 1})
    assert (await bob("GET", "/volumes/detail?all_tenants=1"))["volumes"] == []
    assert [v["id"] for v in (await admin("GET", "/volumes?all_tenants=1"))["volumes"]] == [one.id]
    await bob("POST", f"/volumes/{one.id}/action", 404, **{"os-extend": {"new_size": 5}})
    await alice("POST", f"/volumes/{one.id}/action", 403, **{"os-reset_status": {"status": "error"}})


async def test_a_fault_of_the_pool_is_told(cloud: ApiCloud, alice: Api) -> None:
    def broken(call: str) -> None:
        if call == "volume.create":
            raise_full()

    def raise_full() -> None:
        from trilith.errors import Backend

        raise Backend("The disk below /pool is full.")

    for agent in cloud.cloud.agents:
        agent.volumes.pool("sim").fault = broken  # type: ignore[attr-defined]
    one = await alice.volume()
    assert (one.state, one.message) == (VolumeState.ERROR, "The disk below /pool is full.")
    for agent in cloud.cloud.agents:
        agent.volumes.pool("sim").fault = lambda _call: None  # type: ignore[attr-defined]
    await alice.gone(Volume, "volumes", one.id)
    assert await promised(cloud) == 0


async def test_types_choose_pools(cloud: ApiCloud, admin: Api, alice: Api) -> None:
    body = {"name": "fast", "extra_specs": {"volume_backend_name": "nowhere"}}
    kind = (await admin("POST", "/types", volume_type=body))["volume_type"]
    one = await alice.volume(volume_type="fast")
    assert one.state is VolumeState.ERROR
    assert "volume_backend_name: needed nowhere, is sim" in one.message
    await admin("DELETE", f"/types/{kind['id']}", 400)
    await alice.gone(Volume, "volumes", one.id)
    await admin("POST", f"/types/{kind['id']}/extra_specs", extra_specs={"volume_backend_name": "sim"})
    assert (await alice.volume(volume_type=kind["id"])).state is VolumeState.AVAILABLE
    await alice("POST", "/types", 403, volume_type={"name": "mine"})


async def test_quotas_hold(cloud: ApiCloud, admin: Api, alice: Api) -> None:
    _, project = await cloud.user("alice", "alpha")
    await admin("PUT", f"/os-quota-sets/{project}", quota_set={"volumes": 1, "gigabytes": 3})
    one = await alice.volume()
    refused = await alice("POST", "/volumes", 413, volume={"size": 1})
    assert "volumes" in refused["overLimit"]["message"]
    await alice("POST", f"/volumes/{one.id}/action", 413, **{"os-extend": {"new_size": 4}})
    await alice.gone(Volume, "volumes", one.id)
    assert (await alice.volume(size=3)).state is VolumeState.AVAILABLE


async def test_metadata_of_volumes_and_snapshots(alice: Api) -> None:
    one = await alice.volume(metadata={"a": "1"})
    snapshot = await alice.snapshot(one.id)
    for path, kept in ((f"/volumes/{one.id}", {"a": "1"}), (f"/snapshots/{snapshot.id}", {})):
        assert (await alice("GET", f"{path}/metadata"))["metadata"] == kept
        assert (await alice("POST", f"{path}/metadata", metadata={"b": "2"}))["metadata"] == kept | {"b": "2"}
        assert (await alice("PUT", f"{path}/metadata", metadata={"c": "3"}))["metadata"] == {"c": "3"}
        assert (await alice("PUT", f"{path}/metadata/d", meta={"d": "4"}))["meta"] == {"d": "4"}
        await alice("PUT", f"{path}/metadata/d", 400, meta={"e": "4"})
        assert (await alice("GET", f"{path}/metadata/d"))["meta"] == {"d": "4"}
        await alice("DELETE", f"{path}/metadata/c")
        await alice("DELETE", f"{path}/metadata/c", 404)
        await alice("GET", f"{path}/metadata/c", 404)
        assert (await alice("GET", f"{path}/metadata"))["metadata"] == {"d": "4"}
    found = await alice("GET", "/volumes/detail?metadata={'d': '4'}")
    assert [v["id"] for v in found["volumes"]] == [one.id]
    assert (await alice("GET", "/volumes?metadata={'d': '5'}"))["volumes"] == []


async def test_pages(alice: Api) -> None:
    made = [(await alice.volume(name=f"v{i}", size=i % 2 + 1)).id for i in range(5)]
    found = []
    answer = await alice("GET", "/volumes?limit=2&sort=size:asc,name:desc&with_count=1")
    assert answer["count"] == 5
    while True:
        found += [v["name"] for v in answer["volumes"]]
        if "volumes_links" not in answer:
            break
        (link,) = answer["volumes_links"]
        assert link["rel"] == "next"
        answer = await alice("GET", link["href"].partition("/volume/v3")[2])
    assert found == ["v4", "v2", "v0", "v3", "v1"]
    assert len(made) == len(set(made))
    await alice("GET", "/volumes?sort_key=nothing", 400)
    await alice("GET", "/volumes?limit=-1", 400)
    await alice("GET", "/volumes?marker=nobody", 404)
