"""Console tokens on SQLite and PostgreSQL alike: used once, however many come at once, and gone when they are old."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from trilith import errors
from trilith.commands import consoles
from trilith.model.console import ConsoleKind, ConsoleToken
from trilith.model.record import Actor
from trilith.model.server import FlavorData, Server
from trilith.store import purge
from trilith.store.contract import Store
from trilith.store.purge import Cutoffs
from trilith.store.tx import Tx, new_id

ALICE = Actor(user_id="alice", project_id="p")


async def given(store: Store, *, seconds: float = 600.0) -> tuple[str, Server]:
    token = consoles.new_token()

    def body(tx: Tx) -> Server:
        flavor = FlavorData(id="1", name="f", vcpus=1, ram=64, disk=1)
        server = tx.add(
            Server(id=new_id(), name="s", project_id="p", user_id="u", hostname="s", flavor=flavor, node="n1")
        )
        consoles.issue(tx, ALICE, server, ConsoleKind.NOVNC, token, seconds=seconds)
        return server

    return token, await store.write(body, actor=ALICE)


async def redeem(store: Store, token: str, kind: ConsoleKind = ConsoleKind.NOVNC) -> Server:
    return await store.write(lambda tx: consoles.redeem(tx, token, kind), actor=ALICE)


async def test_of_many_at_once_one_gets_in(store: Store) -> None:
    token, server = await given(store)
    found = await asyncio.gather(*(redeem(store, token) for _ in range(8)), return_exceptions=True)
    assert [f.id for f in found if isinstance(f, Server)] == [server.id]
    assert sum(isinstance(f, errors.Missing) for f in found) == 7


async def test_what_is_refused(store: Store) -> None:
    token, server = await given(store)
    old, _ = await given(store, seconds=-1.0)
    for wrong in ("", token[:-1], token + "x", old):
        with pytest.raises(errors.Missing):
            await redeem(store, wrong)
    with pytest.raises(errors.Missing):
        await redeem(store, token, ConsoleKind.SERIAL)

    async def become(**changes: Any) -> None:
        await store.write(lambda tx: tx.change(tx.get(Server, server.id), **changes))

    for changes, back in (({"node": "n2"}, {"node": "n1"}), ({"task": "deleting"}, {"task": ""})):
        await become(**changes)
        with pytest.raises(errors.Missing):
            await redeem(store, token)
        await become(**back)
    await redeem(store, token)
    await store.write(lambda tx: consoles.forget(tx, server.id))
    assert await store.read(lambda r: r.count(ConsoleToken, server_id=server.id)) == 0


async def test_the_used_and_the_old_are_purged(store: Store) -> None:
    (used, _), (_old, _), (waiting, _) = await given(store), await given(store, seconds=-1.0), await given(store)
    await redeem(store, used)
    before = replace(Cutoffs(), consoles=time.time())
    assert await store.write(lambda tx: purge.purge(tx, before)) == 2
    left = await store.read(lambda r: r.select(ConsoleToken))
    assert [t.token_hash for t in left] == [consoles.hash_of(waiting)]
