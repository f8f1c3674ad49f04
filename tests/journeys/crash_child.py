"""A cloud of two simulated nodes in a process of its own, for tests that kill it.

argv: STATE ACTION CRASH_AT. ACTION is what is asked for ("reports": that nodes report often, until they have no guest
that is nobody's); CRASH_AT "" runs to the end. What is true then is printed as one line of JSON: the server, its jobs,
and what is left on the node.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from trilith.app import Cloud, cloud
from trilith.commands import server_changes, server_moves, server_rescue, servers
from trilith.commands.adviser import Adviser, read_rules
from trilith.commands.servers import NetworkRequest, ServerRequest
from trilith.config import Settings
from trilith.model.identity import Project, User
from trilith.model.image import BlobReference, Image
from trilith.model.job import FINAL, Job
from trilith.model.network import IpAddress, Network, Port
from trilith.model.node import Allocation, Inventory, Node, QuotaUse
from trilith.model.record import Actor
from trilith.model.server import Flavor, IdRange, Migration, Server
from trilith.store.tx import Reader, Tx

NAME = "victim"


async def settled(running: Cloud) -> None:
    """Until no job is open, whatever its end."""
    async with asyncio.timeout(60):
        while True:
            cursor = await running.store.head()
            jobs = await running.store.read(lambda r: r.select(Job))
            if all(j.state in FINAL for j in jobs):
                return
            await running.store.wait(cursor, timeout=2)


async def tidied(running: Cloud) -> None:
    """Until no node has a guest that is not its own any more: its reports find those, which nothing announces."""
    server = await running.store.read(lambda r: r.first(Server, name=NAME))
    own = (server.node, server.old_node) if server is not None else ()
    async with asyncio.timeout(30):
        while [1 for agent in running.agents if agent.node not in own for _ in await agent.guests.facts()]:
            await asyncio.sleep(0.1)


async def act(running: Cloud, action: str) -> None:
    def who(reader: Reader) -> Actor:
        user, project = reader.first(User, name="admin"), reader.first(Project, name="admin")
        assert user is not None
        assert project is not None
        return Actor(user_id=user.id, project_id=project.id, roles=("admin",), is_admin=True)

    actor = await running.store.read(who)

    def body(tx: Tx) -> Any:
        server = tx.first(Server, name=NAME)
        flavor, micro = tx.first(Flavor, name="m1.nano"), tx.first(Flavor, name="m1.micro")
        image, other = tx.first(Image, name="tiny"), tx.first(Image, name="tiny-alt")
        network = tx.first(Network, external=True)
        assert None not in (flavor, micro, image, other, network)
        if action in ("create", "create-vm"):
            # a container is the pillar that has most to clear away (its own range of ids); only machines move running
            pillar = "lxc" if action == "create" else "kvm"
            for size in (flavor, micro):
                tx.change(size, extra_specs={"trilith:pillar": pillar})
            request = ServerRequest(
                name=NAME,
                flavor_id=flavor.id,
                image_id=image.id,
                networks=(NetworkRequest(network_id=network.id),),
                user_data=b"secret user data",
            )
            return servers.create(tx, actor, request, Adviser(read_rules("")))
        assert server is not None
        if action == "delete":
            return servers.delete(tx, server)
        if action == "resize":
            return server_changes.resize(tx, actor, server, micro.id, Adviser(read_rules("")))
        if action == "confirm":
            return server_changes.confirm_resize(tx, server)
        if action == "revert":
            return server_changes.revert_resize(tx, server)
        if action == "rebuild":
            return server_changes.rebuild(tx, actor, server, other.id)
        if action == "snapshot":
            return server_changes.snapshot(tx, actor, server, "copy", {})
        if action == "backup":
            return server_changes.backup(tx, actor, server, "copy", "daily", 1)
        if action == "migrate":
            return server_moves.migrate(tx, server)
        if action == "live":
            return server_moves.live_migrate(tx, server)
        if action == "shelve":
            return server_moves.shelve(tx, actor, server)
        if action == "unshelve":
            return server_moves.unshelve(tx, server)
        if action == "rescue":
            return server_rescue.rescue(tx, actor, server, "a password")
        if action == "unrescue":
            return server_rescue.unrescue(tx, server)
        if action == "evacuate":
            lost = tx.first(Node, name=server.node)
            assert lost is not None
            tx.change(lost, forced_down=True, alive=False)
            return server_moves.evacuate(tx, server)
        if action == "inject":
            return server_changes.inject_network_info(tx, server)
        if action == "attach":
            return server_changes.attach_port(tx, actor, server, NetworkRequest(network_id=network.id))
        if action == "detach":
            port = tx.first(Port, device_id=server.id)
            assert port is not None
            return server_changes.detach_port(tx, server, port.id)
        if action == "password":
            return server_rescue.change_password(tx, server, "a password")
        return servers.power(tx, server, action)

    if action not in ("nothing", "reports"):
        await running.store.write(body, actor=actor, action=f"test.{action}")


def truth(reader: Reader) -> dict[str, Any]:
    server = reader.first(Server, name=NAME)
    images = reader.select(Image)
    return {
        "server": None
        if server is None
        else {
            "state": server.state,
            "task": server.task,
            "job": server.job_id,
            "flavor": server.flavor.name,
            "image": next((i.name for i in images if i.id == server.image_id), ""),
            "fault": server.fault.message if server.fault else "",
            "node": server.node,
            "old_node": server.old_node,
            "rescue": server.rescue is not None,
        },
        "jobs": {j.kind: j.state for j in reader.select(Job)},
        "ports": reader.count(Port, device_owner="compute:nova"),
        "addresses": reader.count(IpAddress),
        "server_addresses": sum(reader.count(IpAddress, port_id=p.id) for p in reader.select(Port, device_id=server.id))
        if server
        else 0,
        "allocations": sorted((a.resource_class, a.used) for a in reader.select(Allocation)),
        "used": sum(i.used for i in reader.select(Inventory, resource_class="VCPU")),
        "quota": {q.resource: q.used for q in reader.select(QuotaUse) if q.resource in ("instances", "cores", "ram")},
        "id_ranges": reader.count(IdRange),
        "images": {i.name: i.state for i in images},
        "migrations": [m.status for m in reader.select(Migration)],
        "blobs": reader.count(BlobReference, holder_kind="migration"),
        "server_blobs": reader.count(BlobReference, holder_kind="server"),
    }


async def main(state: str, action: str, crash_at: str) -> None:
    often = 0.3 if action == "reports" else 30.0
    settings = Settings(state=Path(state), simulated=2, crash_at=crash_at, reconcile_seconds=often)
    async with cloud(settings, admin_password="a password of the test") as running:
        await act(running, action)
        await settled(running)
        if action == "reports":
            await tidied(running)
        found = await running.store.read(truth)
        every = [agent.guests for agent in running.agents]
        found["guests"] = {a.node: f.power for a in running.agents for f in await a.guests.facts()}
        found["disks"] = [disk for guests in every for disk in await guests.storage.disks()]
        found["kept"] = await asyncio.to_thread(lambda: [p.name for p in Path(state).rglob("*.kept")])
        found["plugged"] = {a.node: n for a in running.agents if (n := len(await a.guests.switch.plugged()))}
        incoming = Path(state) / "images" / "incoming"
        found["incoming"] = await asyncio.to_thread(lambda: [p.name for p in incoming.glob("*")])
        print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
