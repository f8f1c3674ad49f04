"""What a store promises, on both databases."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from trilith import errors
from trilith.model.identity import Project, Role
from trilith.model.record import Actor, Change
from trilith.model.server import FlavorData, Server, ServerState
from trilith.store import cursor as cursors
from trilith.store.contract import Store
from trilith.store.mapping import REGISTRY
from trilith.store.postgres import PostgresStore
from trilith.store.purge import Cutoffs
from trilith.store.tx import Reader, Tx, audit_table, new_id

Opener = Callable[[], Awaitable[Store]]


def project(name: str) -> Project:
    return Project(id=new_id(), name=name, tags=("a", "b"), extra={"k": "v"})


def server(name: str = "s") -> Server:
    flavor = FlavorData(id="1", name="f", vcpus=1, ram=64, disk=1)
    return Server(id=new_id(), name=name, project_id="p", user_id="u", hostname=name, flavor=flavor)


async def test_a_record_comes_back_as_it_went_in(store: Store) -> None:
    made = await store.write(lambda tx: tx.add(server()))
    found = await store.read(lambda r: r.get(Server, made.id))
    assert found == made
    assert isinstance(found.flavor, FlavorData)
    assert found.state is ServerState.BUILDING


async def test_two_writers_never_overwrite_each_other(store: Store) -> None:
    made = await store.write(lambda tx: tx.add(project("one")))
    await store.write(lambda tx: tx.change(made, description="first"))
    with pytest.raises(errors.Conflict):
        await store.write(lambda tx: tx.change(made, description="second"))
    assert (await store.read(lambda r: r.get(Project, made.id))).description == "first"


async def test_writers_that_read_the_row_themselves_all_get_their_turn(store: Store) -> None:
    made = await store.write(lambda tx: tx.add(project("counted")))

    def one_more(tx: Tx) -> None:
        found = tx.get(Project, made.id)
        tx.change(found, description=found.description + "x")

    await asyncio.gather(*(store.write(one_more) for _ in range(4)))
    assert (await store.read(lambda r: r.get(Project, made.id))).description == "xxxx"


async def test_of_removals_at_once_one_finds_the_record(store: Store) -> None:
    """What goes with it (a quota that is given back) is done once."""
    made = await store.write(lambda tx: tx.add(project("once")))

    def remove(tx: Tx) -> None:
        found = tx.get(Project, made.id)
        if tx.conn.dialect.name == "postgresql":
            tx.conn.execute(sa.text("SELECT pg_sleep(0.2)"))  # until all have read it; SQLite's writers take turns
        tx.remove(found)

    results = await asyncio.gather(*(store.write(remove) for _ in range(4)), return_exceptions=True)
    assert results.count(None) == 1
    assert sum(isinstance(r, errors.Missing) for r in results) == 3


async def test_a_failed_body_leaves_nothing(store: Store) -> None:
    def body(tx: Tx) -> None:
        tx.add(project("gone"))
        raise errors.Invalid("no")

    head = await store.head()
    with pytest.raises(errors.Invalid):
        await store.write(body)
    assert await store.read(lambda r: r.count(Project)) == 0
    assert await store.feed(head) == []


async def test_a_unique_value_taken_twice_is_a_conflict(store: Store) -> None:
    await store.write(lambda tx: tx.add(project("same")))
    with pytest.raises(errors.Conflict):
        await store.write(lambda tx: tx.add(project("same")))


async def test_concurrent_writers_of_one_name_leave_one(store: Store) -> None:
    results = await asyncio.gather(
        *(store.write(lambda tx: tx.add(project("race"))) for _ in range(10)), return_exceptions=True
    )
    assert sum(not isinstance(r, BaseException) for r in results) == 1
    assert all(isinstance(r, errors.Conflict) for r in results if isinstance(r, BaseException))


async def test_feed_commits_with_the_change(store: Store) -> None:
    made = await store.write(lambda tx: tx.add(project("fed")))
    made = await store.write(lambda tx: tx.change(made, description="x"))
    await store.write(lambda tx: tx.remove(made))
    rows = await store.feed("")
    assert [(r.noun, r.change, r.revision) for r in rows if r.id == made.id] == [
        ("project", Change.CREATED, 1),
        ("project", Change.UPDATED, 2),
        ("project", Change.DELETED, 2),
    ]
    assert await store.feed(await store.head()) == []
    assert await store.feed(rows[0].cursor) == rows[1:]


async def test_a_deleted_server_leaves_a_tombstone_until_it_is_purged(store: Store) -> None:
    made = await store.write(lambda tx: tx.add(server()))
    await store.write(lambda tx: tx.remove(made))
    assert await store.read(lambda r: r.find(Server, made.id)) is None
    grave = await store.read(lambda r: r.get(Server, made.id, dead=True))
    assert grave.deleted_at > 0
    await store.prune(Cutoffs(tombstones=time.time() + 1))
    assert await store.read(lambda r: r.find(Server, made.id, dead=True)) is None


async def test_writers_that_make_the_same_row_find_the_firsts(store: Store) -> None:
    """Each looks, finds nothing and makes it: one row, and nobody is refused."""

    def ensure(tx: Tx) -> str:
        found = tx.first(Role, name="same", domain_id="")
        return found.id if found else tx.add(Role(id=new_id(), name="same")).id

    made = await asyncio.gather(*(store.write(ensure) for _ in range(6)))
    assert len(set(made)) == 1
    with pytest.raises(errors.Conflict):
        await store.write(lambda tx: tx.add(Role(id=new_id(), name="same")))


async def test_the_feed_is_what_the_table_says(store: Store) -> None:
    """Also where its newest rows come from memory, and where a transaction of the same commit failed."""
    head = await store.head()

    def fails(tx: Tx) -> None:
        tx.add(project("undone"))
        raise errors.Invalid("no")

    made = [store.write(lambda tx, n=n: tx.add(project(f"p{n}"))) for n in range(5)]
    results = await asyncio.gather(*made, store.write(fails), return_exceptions=True)
    await store.write(lambda tx: [tx.add(project("x")), tx.add(project("y"))])
    assert [type(r) for r in results] == [Project] * 5 + [errors.Invalid]
    table = [cursors.load(row) for row in await store.read(lambda r: r.conn.execute(*cursors.after(head, 99)).all())]
    assert len(table) == 7
    assert await store.feed(head) == table
    assert await store.feed(head, limit=2) == table[:2]
    assert await store.feed(table[3].cursor) == table[4:]
    assert await store.feed(table[-1].cursor) == []
    assert await store.head() == table[-1].cursor


async def test_a_cursor_past_retention_is_refused(store: Store) -> None:
    made = await store.write(lambda tx: tx.add(project("old")))
    first = (await store.feed(""))[0].cursor
    await store.write(lambda tx: tx.change(made, description="x"))
    await store.prune(Cutoffs(feed=time.time() + 1))
    with pytest.raises(errors.Missing):
        await store.feed(first)
    head = await store.head()
    await store.write(lambda tx: tx.add(project("new")))
    assert [r.noun for r in await store.feed(head)] == ["project"]


@pytest.mark.parametrize(
    "bad", ["x", "1", "1-", "-1-2", "1-2-3", "1-x", "9" * 60, "²-1", "0-²", "0-" + "9" * 30, f"{2**63}-1"]
)
async def test_what_is_no_cursor_is_invalid(store: Store, bad: str) -> None:
    with pytest.raises(errors.Invalid):
        await store.feed(bad)


async def test_a_waiting_reader_wakes_on_commit(store: Store) -> None:
    head = await store.head()
    waiting = asyncio.create_task(store.wait(head, timeout=30))
    await asyncio.sleep(0)
    await store.write(lambda tx: tx.add(project("wake")))
    async with asyncio.timeout(10):
        await waiting
    assert len(await store.feed(head)) == 1


@pytest.mark.postgres  # SQLite has one writer: two open transactions cannot exist
async def test_readers_never_pass_a_transaction_that_is_still_open(open_postgres: Opener) -> None:
    """Two commits out of order: the later begun commits first; a reader in between must not lose the earlier."""
    slow, fast = await open_postgres(), await open_postgres()
    assert isinstance(slow, PostgresStore)
    entered, release = threading.Event(), asyncio.Event()
    cursor = await slow.head()

    async def hold() -> None:
        async with slow._get().begin() as conn:
            tx_id = (await conn.execute(sa.text("SELECT pg_current_xact_id()::text::bigint"))).scalar_one()

            def body(sync: sa.Connection) -> None:
                tx = Tx(sync, slow.sealer, Actor(user_id="slow"), "test")
                tx.add(project("slow"))
                tx.finish(tx_id)

            await conn.run_sync(body)
            entered.set()
            await release.wait()

    task = asyncio.create_task(hold())
    await asyncio.to_thread(entered.wait, 10)
    await fast.write(lambda tx: tx.add(project("fast")))
    seen = await fast.feed(cursor)
    assert seen == []  # the fast one is committed, but the slow one, begun before, is open
    release.set()
    await task
    assert len(await fast.feed(cursor)) == 2


async def test_without_its_listener_a_reader_still_goes_on(store: Store) -> None:
    head = await store.head()
    waiting = asyncio.create_task(store.wait(head, timeout=20))
    if isinstance(store, PostgresStore):
        await store.drop_listener()
    await store.write(lambda tx: tx.add(project("silent")))
    async with asyncio.timeout(15):
        await waiting
    assert len(await store.feed(head)) == 1


async def test_the_audit_says_who_did_what(store: Store) -> None:
    who = Actor(user_id="alice", project_id="p1", request_id="req-1", address="192.0.2.1")
    made = await store.write(lambda tx: tx.add(project("seen")), actor=who, action="project.create")

    def rows(reader: Reader) -> list[tuple[str, ...]]:
        a = audit_table.c
        stmt = sa.select(a.action, a.user_id, a.project_id, a.request_id, a.address, a.targets)
        return [tuple(row) for row in reader.conn.execute(stmt)]

    expected = ("project.create", "alice", "p1", "req-1", "192.0.2.1", f"project:created:{made.id}")
    assert await store.read(rows) == [expected]


async def test_what_was_written_is_there_after_reopening(open_store: Opener) -> None:
    store = await open_store()
    made = await store.write(lambda tx: tx.add(project("stays")))
    await store.close()
    again = await open_store()
    assert await again.read(lambda r: r.get(Project, made.id)) == made


async def test_a_second_process_cannot_open_an_embedded_database(open_store: Opener) -> None:
    store = await open_store()
    if store.needs_leadership:
        second = await open_store()  # PostgreSQL: many may open, one leads
        async with store.leadership():
            waiting = asyncio.create_task(second.leadership().__aenter__())
            done, _ = await asyncio.wait([waiting], timeout=0.3)
            assert not done
        await asyncio.wait_for(waiting, 10)
    else:
        with pytest.raises(errors.Conflict):
            await open_store()


async def test_selections(store: Store) -> None:
    """Each way to ask, twice with other values: statements are kept, values are not."""
    made = [await store.write(lambda tx, n=n: tx.add(project(f"p{n}"))) for n in range(5)]
    ids = [p.id for p in made]
    t = REGISTRY[Project].table.c

    def names(reader: Reader, *clauses: Any, **ask: Any) -> list[str]:
        return [p.name for p in reader.select(Project, *clauses, **ask)]

    def look(reader: Reader) -> None:
        for n in (1, 3):
            assert reader.find(Project, ids[n]) == made[n]
            assert reader.first(Project, name=f"p{n}", domain_id="default") == made[n]
            assert names(reader, limit=n) == [f"p{i}" for i in range(n)]
            assert names(reader, limit=1, offset=n) == [f"p{n}"]
            assert names(reader, id=ids[:n]) == [f"p{i}" for i in range(n)]
            assert names(reader, id=set(ids[n:]), enabled=True) == [f"p{i}" for i in range(n, 5)]
            assert names(reader, t.name > f"p{n}", enabled=True) == [f"p{i}" for i in range(n + 1, 5)]
            assert names(reader, order=[t.name.desc()], limit=n) == [f"p{4 - i}" for i in range(n)]
            assert reader.count(Project, id=tuple(ids[:n])) == n
            assert reader.count(Project, t.name == f"p{n}") == 1
            assert names(reader, tags=made[n].tags) == []  # a tuple is a list of values, here none equals
        assert names(reader, id=[]) == []
        assert names(reader, enabled=False) == []
        assert reader.find(Project, "' OR 1=1 --") is None

    await store.read(look)


async def test_changes_of_the_same_columns_take_their_own_values(store: Store) -> None:
    one, two = (
        await store.write(lambda tx: tx.add(project("one"))),
        await store.write(lambda tx: tx.add(project("two"))),
    )
    for value in ("first", "second"):
        one = await store.write(lambda tx, p=one, v=value: tx.change(p, description=v, extra={"was": v}))
    two = await store.write(lambda tx: tx.change(two, description="other", extra={}))
    assert await store.read(lambda r: r.select(Project)) == [one, two]
    assert (one.description, one.extra, one.revision) == ("second", {"was": "second"}, 3)


async def test_every_table_takes_its_default_record(store: Store) -> None:
    """A column whose type does not survive the round trip is found here, not in production."""
    names = {m.table.name for m in REGISTRY.values()}
    present = await store.read(lambda r: set(sa.inspect(r.conn).get_table_names()))
    assert names <= present
