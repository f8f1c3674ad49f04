"""/trilith/v1: jobs, events, nodes, status, idempotency keys."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from tests.api.conftest import ApiCloud
from tests.api.test_image_images import BASIC, make
from trilith import errors
from trilith.api.http.call import Call
from trilith.api.native import events
from trilith.commands import idempotency
from trilith.jobs.submit import submit
from trilith.model.job import Job, JobStep
from trilith.model.record import Actor
from trilith.store.contract import Store
from trilith.store.purge import Cutoffs
from trilith.store.tx import Tx, new_id

V1 = "/trilith/v1"


class NoArgs(msgspec.Struct):
    pass


async def job(cloud: ApiCloud, project: str, kind: str = "test.none", **more: Any) -> Job:
    """A job that waits for another one, so that no engine runs it."""

    def body(tx: Tx) -> Job:
        first = tx.add(Job(id=new_id(), kind="test.first", resource="x", resource_id="x", step=0, after="", **more))
        made = submit(
            tx, kind, resource="thing", resource_id="t", args=NoArgs(), project_id=project, deadline=600, after=first.id
        )
        tx.add(JobStep(id=new_id(), job_id=made.id, idx=0, name="one", result="Success", note="done"))
        return made

    return await cloud.store.write(body)  # type: ignore[no-any-return]


@pytest.fixture
async def quiet(cloud: ApiCloud, monkeypatch: pytest.MonkeyPatch) -> ApiCloud:
    """The engine leaves jobs alone: these tests make some of kinds that it does not know."""
    monkeypatch.setattr(cloud.cloud.engine, "_consider", lambda job: None)
    return cloud


async def test_discovery_needs_no_token_and_names_everything(cloud: ApiCloud) -> None:
    found = (await cloud.client.get(V1)).json()
    assert {s["type"] for s in found["services"]} >= {"identity", "compute", "image", "network", "placement"}
    assert found["resources"]["jobs"] == "http://testserver/trilith/v1/jobs"
    assert (await cloud.client.get(f"{V1}/jobs")).status_code == 401
    body = (await cloud.client.get(f"{V1}/nothing")).json()
    assert (body["code"], body["error"]) == (404, "missing")


async def test_status_and_nodes(cloud: ApiCloud) -> None:
    admin, alice = await cloud.token(), await cloud.member()
    status = (await cloud.call("GET", f"{V1}/status", admin)).json()
    assert status["nodes"] == {"total": 2, "alive": 2, "enabled": 2}
    assert any("simulated" in w for w in status["warnings"])
    assert (await cloud.call("GET", f"{V1}/status", alice)).json()["warnings"] == []
    assert (await cloud.call("GET", f"{V1}/nodes", alice)).status_code == 403
    nodes = (await cloud.call("GET", f"{V1}/nodes", admin)).json()["nodes"]
    assert {n["name"] for n in nodes} == {"sim-1", "sim-2"}
    assert nodes[0]["inventories"]["VCPU"]["used"] == 0


async def test_jobs_are_the_projects_own(quiet: ApiCloud) -> None:
    cloud = quiet
    alice, bob, admin = await cloud.member(), await cloud.member("bob", "beta"), await cloud.token()
    _, alpha = await cloud.user("alice", "alpha")
    made = [await job(cloud, alpha) for _ in range(3)]
    page = (await cloud.call("GET", f"{V1}/jobs?limit=2", alice)).json()
    assert [j["id"] for j in page["jobs"]] == [made[2].id, made[1].id]
    rest = (await cloud.call("GET", f"{V1}/jobs?limit=2&marker={page['next']}", alice)).json()
    assert [j["id"] for j in rest["jobs"]] == [made[0].id]
    assert "next" not in rest
    assert (await cloud.call("GET", f"{V1}/jobs", bob)).json()["jobs"] == []
    assert len((await cloud.call("GET", f"{V1}/jobs?resource=thing&kind=test.none", admin)).json()["jobs"]) == 3
    assert (await cloud.call("GET", f"{V1}/jobs?state=done&resource=thing", admin)).json()["jobs"] == []
    assert (await cloud.call("GET", f"{V1}/jobs?state=odd", admin)).status_code == 400
    assert (await cloud.call("GET", f"{V1}/jobs?marker=odd", admin)).status_code == 400
    shown = (await cloud.call("GET", f"{V1}/jobs/{made[0].id}", alice)).json()
    assert shown["steps"][0]["note"] == "done"
    assert (await cloud.call("GET", f"{V1}/jobs/{made[0].id}", bob)).status_code == 404


async def test_cancel_with_an_idempotency_key(quiet: ApiCloud) -> None:
    cloud = quiet
    alice, bob = await cloud.member(), await cloud.member("bob", "beta")
    reader = await cloud.member("rita", "alpha", "reader")
    _, alpha = await cloud.user("alice", "alpha")
    one, two = await job(cloud, alpha), await job(cloud, alpha)
    path = f"{V1}/jobs/{one.id}/cancel"
    assert (await cloud.call("POST", path, bob)).status_code == 404
    assert (await cloud.call("POST", path, reader)).status_code == 403
    keyed = alice | {"Idempotency-Key": "k1"}
    first = await cloud.call("POST", path, keyed)
    assert (first.status_code, first.json()["cancelling"]) == (202, True)
    again = await cloud.call("POST", path, keyed)
    assert (again.status_code, again.content) == (202, first.content)
    assert (await cloud.call("POST", f"{V1}/jobs/{two.id}/cancel", keyed)).status_code == 422
    assert not (await cloud.store.read(lambda r: r.get(Job, two.id))).cancel


async def test_a_key_remembers_only_what_was_done(cloud: ApiCloud) -> None:
    store: Store = cloud.store
    actor, runs = Actor(user_id="u"), []

    def once(fail: bool, mark: str = "m") -> Any:
        def do(tx: Tx) -> tuple[int, str]:
            runs.append(fail)
            if fail:
                raise errors.Conflict("no")
            return 201, "made"

        return store.write(lambda tx: idempotency.once(tx, key="k", fingerprint=mark, do=do), actor=actor)

    with pytest.raises(errors.Conflict):
        await once(True)
    assert await once(False) == (201, "made")
    assert await once(True) == (201, "made")
    assert runs == [True, False]
    with pytest.raises(idempotency.KeyReused):
        await once(False, "other")
    with pytest.raises(errors.Invalid):
        await store.write(lambda tx: idempotency.once(tx, key="k" * 256, fingerprint="m", do=lambda tx: (1, "")))


class Follower:
    """Reads an event stream as it comes. httpx's ASGI transport waits for the end of an answer, so this drives the
    handler itself."""

    def __init__(self, cloud: ApiCloud, actor: Actor, *, cursor: str = "", noun: str = "") -> None:
        query = [("cursor", cursor)] if cursor else []
        query += [("noun", noun)] if noun else []
        self.call = Call(
            host=cloud.cloud.host,
            service=None,  # type: ignore[arg-type]
            route=None,  # type: ignore[arg-type]
            actor=actor,
            version=None,  # type: ignore[arg-type]
            params={},
            query=query,
            body=None,
            headers={},
            request_id="",
            request=None,  # type: ignore[arg-type]
        )
        self.stream: AsyncIterator[bytes] = iter(())  # type: ignore[assignment]

    async def start(self) -> Follower:
        self.stream = (await events.follow(self.call)).stream
        assert b"following" in await anext(self.stream)
        return self

    async def event(self) -> tuple[str, dict[str, Any]]:
        """The next one: its id and data."""
        async with asyncio.timeout(10):
            async for block in self.stream:
                for text in block.decode().split("\n\n"):
                    lines = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
                    if "data" in lines:
                        return lines["id"], json.loads(lines["data"])
        raise AssertionError("the stream ended")


ADMIN = Actor(user_id="admin", is_admin=True)


async def test_events_come_as_they_happen_and_go_on_from_a_cursor(cloud: ApiCloud) -> None:
    alice = await cloud.member()
    follower = await Follower(cloud, ADMIN, noun="image").start()
    one = await make(cloud, alice)
    first, seen = await follower.event()
    assert (seen["noun"], seen["change"], seen["id"]) == ("image", "created", one["id"])
    two = await make(cloud, alice)
    await follower.stream.aclose()  # type: ignore[attr-defined]
    later = await Follower(cloud, ADMIN, cursor=first, noun="image").start()
    assert (await later.event())[1]["id"] == two["id"]
    await later.stream.aclose()  # type: ignore[attr-defined]


async def test_events_of_others_are_not_shown(cloud: ApiCloud) -> None:
    _, beta = await cloud.user("bob", "beta")
    follower = await Follower(cloud, Actor(user_id="bob", project_id=beta, roles=("reader",))).start()
    headers = await cloud.member()
    await cloud.call("POST", "/image/v2/images", headers, json=BASIC)
    assert (await anext(follower.stream)).startswith(b"id: ")  # the cursor moves, nothing is told
    mine = await make(cloud, await cloud.member("bob", "beta"))
    seen = (await follower.event())[1]
    assert (seen["id"], seen["project_id"]) == (mine["id"], beta)
    await follower.stream.aclose()  # type: ignore[attr-defined]


async def test_an_old_cursor_is_gone_and_a_wrong_one_invalid(cloud: ApiCloud) -> None:
    admin, alice = await cloud.token(), await cloud.member()
    old = await cloud.store.head()
    await make(cloud, alice)
    await cloud.store.prune(Cutoffs(feed=2e10))
    for headers in (admin | {"Last-Event-ID": old}, admin):
        query = "" if "Last-Event-ID" in headers else f"?cursor={old}"
        answer = await cloud.call("GET", f"{V1}/events{query}", headers)
        assert (answer.status_code, answer.json()["error"]) == (410, "gone")
    assert (await cloud.call("GET", f"{V1}/events?cursor=odd", admin)).status_code == 400


async def test_a_stream_ends_when_the_cloud_stops_and_speaks_when_nothing_happens(
    cloud: ApiCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE", 0.05)
    follower = await Follower(cloud, ADMIN, noun="none").start()
    async with asyncio.timeout(10):
        while b"alive" not in await anext(follower.stream):
            pass
        cloud.cloud.host.stopping.set()
        rest = [block async for block in follower.stream]
    assert all(b"data" not in block for block in rest)
    # and over HTTP: an answer that ends at once
    answer = await cloud.call("GET", f"{V1}/events", await cloud.token())
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
