"""What is purged and what stays, on both databases."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from trilith import errors
from trilith.config import Settings
from trilith.model.identity import Project, Revocation
from trilith.model.job import Job, JobState, JobStep
from trilith.model.record import Actor
from trilith.model.server import FlavorData, InstanceAction, Server
from trilith.reconcile import retention
from trilith.store import purge
from trilith.store.contract import Store
from trilith.store.mapping import REGISTRY
from trilith.store.purge import Cutoffs
from trilith.store.tx import Reader, Tx, audit_table, feed_table, new_id

ALICE = Actor(user_id="alice")
NOW = 1_000_000.0
OLD, YOUNG = NOW - 50.0, NOW - 5.0
BEFORE = NOW - 10.0


def server(deleted_at: float) -> Server:
    flavor = FlavorData(id="1", name="f", vcpus=1, ram=64, disk=1)
    return Server(
        id=new_id(), name="s", project_id="p", user_id="u", hostname="s", flavor=flavor, deleted_at=deleted_at
    )


def job(state: JobState, finished_at: float) -> Job:
    return Job(
        id=new_id(), kind="server.start", resource="server", resource_id="x", state=state, finished_at=finished_at
    )


def add_all(tx: Tx) -> dict[str, str]:
    """Of each kind one that is old, one that is young and one that has not ended; the ids by what they are."""
    ids: dict[str, str] = {}
    for name, deleted_at in (("alive", 0.0), ("old", OLD), ("young", YOUNG)):
        ids[f"server {name}"] = made = tx.add(server(deleted_at)).id
        action = InstanceAction(
            id=new_id(), server_id=made, project_id="p", user_id="u", request_id="r", action="create"
        )
        ids[f"action {name}"] = tx.add(action).id
    jobs = {"running": job(JobState.RUNNING, 0.0), "old": job(JobState.DONE, OLD), "young": job(JobState.FAILED, YOUNG)}
    for name, one in jobs.items():
        ids[f"job {name}"] = tx.add(one).id
        ids[f"step {name}"] = tx.add(JobStep(id=new_id(), job_id=one.id, idx=0, name="x")).id
    for name, at in (("old", OLD), ("young", YOUNG)):
        ids[f"revocation {name}"] = tx.add(Revocation(id=new_id(), audit_id=name, expires_at=at)).id
    return ids


def present(reader: Reader) -> set[str]:
    classes = (Server, InstanceAction, Job, JobStep, Revocation)
    return {row.id for cls in classes for row in reader.conn.execute(sa.select(REGISTRY[cls].table.c.id))}


async def test_what_is_old_goes_with_what_belongs_to_it(store: Store) -> None:
    ids = await store.write(add_all)
    removed = await store.prune(Cutoffs(tombstones=BEFORE, jobs=BEFORE, revocations=BEFORE))
    old = {"server old", "action old", "job old", "step old", "revocation old"}
    assert removed == len(old)
    assert await store.read(present) == {id for name, id in ids.items() if name not in old}
    assert await store.prune(Cutoffs(tombstones=BEFORE, jobs=BEFORE, revocations=BEFORE)) == 0


async def test_without_cutoffs_all_stays(store: Store) -> None:
    ids = await store.write(add_all)
    assert await store.prune(Cutoffs()) == 0
    assert await store.read(present) == set(ids.values())


async def test_the_audit_is_kept_longer_than_the_feed(store: Store) -> None:
    await store.write(lambda tx: tx.add(Project(id=new_id(), name="p")), actor=ALICE, action="project.create")

    def count(table: sa.Table) -> Any:
        return store.read(lambda r: r.conn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())

    await store.prune(Cutoffs(feed=time.time() + 1))
    assert (await count(feed_table), await count(audit_table)) == (0, 1)
    await store.prune(Cutoffs(audit=time.time() + 1))
    assert await count(audit_table) == 0


async def test_a_purge_is_many_short_transactions(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """No transaction removes more rows of a kind than the batch, and the purged cursor only grows."""
    monkeypatch.setattr(purge, "BATCH", 10)
    seen: list[tuple[int, str]] = []
    real = purge.purge

    def watched(tx: Tx, before: Cutoffs) -> int:
        removed = real(tx, before, purge.BATCH)
        seen.append((removed, tx.setting("feed.purged") or ""))
        return removed

    monkeypatch.setattr(purge, "purge", watched)
    for n in range(35):
        await store.write(lambda tx, n=n: tx.add(Project(id=new_id(), name=f"p{n}")))
    head = await store.head()
    assert await store.prune(Cutoffs(feed=time.time() + 1)) == 35
    assert [removed for removed, _ in seen] == [10, 10, 10, 5, 0]
    order = [tuple(int(x) for x in cursor.split("-")) for _, cursor in seen]
    assert order == sorted(order)
    assert await store.feed(head) == []  # a reader that has read all is not told to begin again
    with pytest.raises(errors.Missing):
        await store.feed("0-1")


async def test_a_young_row_before_an_old_one_stops_nothing(store: Store) -> None:
    """Rows of one moment do not lie in the order of their time."""
    for n in range(3):
        await store.write(lambda tx, n=n: tx.add(Project(id=new_id(), name=f"p{n}")))

    def shift(tx: Tx) -> None:
        for n, row in enumerate(tx.conn.execute(sa.select(feed_table.c.id).order_by(feed_table.c.id)).all()):
            tx.conn.execute(sa.update(feed_table).where(feed_table.c.id == row.id).values(at=[100.0, 90.0, 300.0][n]))

    await store.write(shift)
    assert await store.prune(Cutoffs(feed=95.0)) == 2
    assert len(await store.feed("")) == 1


@pytest.mark.postgres
async def test_controllers_purge_one_at_a_time(open_postgres: Any) -> None:
    first, second = await open_postgres(), await open_postgres()
    for n in range(3):
        await first.write(lambda tx, n=n: tx.add(Project(id=new_id(), name=f"p{n}")))
    everything = Cutoffs(feed=time.time() + 1)
    async with first._get().begin() as conn:
        await conn.execute(sa.text("SELECT pg_advisory_xact_lock(:k)"), {"k": purge._LOCK})
        assert await second.prune(everything) == 0
    assert await second.prune(everything) == 3


async def test_rounds_keep_to_the_settings(store: Store) -> None:
    ids = await store.write(add_all)
    settings = replace(Settings(), tombstone_seconds=time.time() - BEFORE)
    services: Any = SimpleNamespace(store=store, settings=settings)
    task = asyncio.create_task(retention.run(services, first=0.0, every=0.01))
    try:
        async with asyncio.timeout(10):
            while ids["server old"] in await store.read(present):
                await asyncio.sleep(0.01)
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])
    left = await store.read(present)
    assert {ids["server young"], ids["job young"], ids["job running"], ids["server alive"]} <= left
    assert len(await store.feed("")) > 0


def test_how_long_what_is_kept() -> None:
    settings = replace(Settings(), tombstone_seconds=7.0, audit_seconds=9.0)
    day = 24 * 3600.0
    expected = Cutoffs(feed=10 * day - day, tombstones=10 * day - 7, jobs=10 * day - 7, revocations=10 * day,
                       audit=10 * day - 9, consoles=10 * day)  # fmt: skip
    assert retention.cutoffs(settings, 10 * day) == expected
