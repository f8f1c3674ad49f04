"""Finding the server that a path names, with the right and the lock checked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from trilith import errors
from trilith.api.http.call import Call
from trilith.commands import servers as commands
from trilith.model.job import FINAL, Job
from trilith.model.server import Server
from trilith.store.tx import Reader, Tx

T = TypeVar("T")


def find(reader: Reader, call: Call, server_id: str, *, dead: bool = False) -> Server:
    """Raises Missing, also for another project's server unless the caller is an admin."""
    server = reader.find(Server, server_id, dead=dead)
    if server is None or (server.project_id != call.actor.project_id and not call.actor.is_admin):
        raise errors.Missing(f"Instance {server_id} could not be found.")
    return server


def load(reader: Reader, call: Call, rule: str, *, dead: bool = False) -> Server:
    """The server of the path's {id}. rule: after os_compute_api:, or whole where Nova's begins with compute:.

    Raises Missing, Forbidden.
    """
    server = find(reader, call, call.params["id"], dead=dead)
    name = rule if rule.startswith("compute:") else f"os_compute_api:{rule}"
    call.allow(name, project_id=server.project_id, user_id=server.user_id)
    return server


async def change(call: Call, rule: str, action: str, fn: Callable[[Tx, Server], T], *, locks: bool = True) -> T:
    """Run fn on the server in one transaction. Raises Missing, Forbidden, and Conflict for a locked server.

    locks: false for what a lock does not stand against: it is there against change and deletion by mistake (Nova).
    """

    def body(tx: Tx) -> T:
        server = load(tx, call, rule)
        if locks:
            commands.check_lock(server, call.actor, override=call.actor.is_admin)
        return fn(tx, server)

    return await call.write(body, action)


#: seconds that a request waits for its job, where Nova answers after the fact
_PATIENCE = 60.0


async def settled(call: Call, job_id: str) -> Job | None:
    """The job when it has ended; None when it runs on after a minute. Woken by the change feed."""
    store = call.host.store
    until = time.monotonic() + _PATIENCE
    while (left := until - time.monotonic()) > 0:
        cursor = await store.head()
        job = await store.read(lambda r: r.get(Job, job_id))
        if job.state in FINAL:
            return job
        await store.wait(cursor, timeout=min(left, 5.0))
    return None
