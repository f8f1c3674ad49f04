"""The network reconciler against a backend that goes away, refuses, loses and leaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from trilith import errors
from trilith.cluster.links import Links
from trilith.commands import networks, ports, routers, subnets
from trilith.commands.adviser import Adviser, read_rules
from trilith.config import Settings
from trilith.drivers.simulated.fabric import SimulatedNetwork
from trilith.jobs.services import Services
from trilith.model.network import Network, Port, Router, Subnet
from trilith.model.topology import Change, Ensure, PortSpec, Remove
from trilith.reconcile.networks import NetworkReconciler, ensure_ports
from trilith.store.seal import Sealer
from trilith.store.sqlite import SqliteStore
from trilith.store.tx import Tx

P = "project-one"


class Backend(SimulatedNetwork):
    """Records batches; refuses ports with a DHCP option of the value `poison`, and everything while `away`."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.batches: list[list[Change]] = []

    async def apply(self, changes: Any) -> None:
        if self.away:
            raise errors.Backend("ovsdb-server: connection refused")
        for change in changes:
            if isinstance(change, Ensure) and isinstance(change.noun, PortSpec):
                if any(value == "poison" for _, value, _ in change.noun.dhcp_options):
                    raise errors.Unsupported("OVN has no DHCPv4 option poison.", capability="dhcp")
                if ("network", change.noun.network_id) not in self.nouns and not any(
                    isinstance(c, Ensure) and c.noun.id == change.noun.network_id for c in changes
                ):
                    raise errors.Missing(f"Network {change.noun.network_id} is not there.")
        self.batches.append(list(changes))
        await super().apply(changes)


async def _nothing(*_args: Any) -> Any:
    return None


@asynccontextmanager
async def running(tmp_path: Path, period: float = 0.1) -> AsyncIterator[tuple[Services, Backend]]:
    store = SqliteStore(tmp_path / "t.db", Sealer([b"k" * 32]))
    await store.open()
    backend = Backend()
    links = Links(cloud_id="c", joined=_nothing, left=_nothing, reported=_nothing, happened=_nothing, posted=_nothing)
    settings = Settings(state=tmp_path, simulated=1, reconcile_seconds=period)
    services = Services(
        store=store, links=links, network=backend, settings=settings, cloud_id="c", adviser=Adviser(read_rules(""))
    )
    task = asyncio.create_task(NetworkReconciler(services).run())
    try:
        yield services, backend
    finally:
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
        await store.close()
    assert isinstance(results[0], asyncio.CancelledError), results


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[tuple[Services, Backend]]:
    async with running(tmp_path) as both:
        yield both


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """What is waited for is an effect in another task, seen through the store or the backend."""
    async with asyncio.timeout(10):
        while not await check():
            await asyncio.sleep(0.01)


def setup(tx: Tx) -> tuple[Network, Subnet, Port]:
    network = networks.create_network(tx, project_id=P, mtu=1442)
    subnet = subnets.create_subnet(tx, network, project_id=P, cidr="10.0.0.0/24")
    return network, subnet, ports.create_port(tx, project_id=P, network_id=network.id, dns_name="web")


async def test_rows_reach_the_backend_in_one_batch(cloud: tuple[Services, Backend]) -> None:
    services, backend = cloud
    network, _, port = await services.store.write(setup)

    async def there() -> bool:
        return ("port", port.id) in backend.nouns

    await until(there)
    batch = next(b for b in backend.batches if any(isinstance(c, Ensure) and c.noun.id == port.id for c in b))
    assert {c.noun.id for c in batch if isinstance(c, Ensure)} == {network.id, port.id, port.security_groups[0]}
    await ensure_ports(services, [port.id])
    kept = await services.store.read(lambda r: r.get(Port, port.id))
    assert (kept.applied_revision, kept.revision) == (kept.generation, port.revision)


async def test_a_backend_that_is_away_is_tried_again(
    cloud: tuple[Services, Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    services, backend = cloud
    monkeypatch.setattr("trilith.reconcile.networks.PATIENCE", 0.6)
    backend.away = True
    _, _, port = await services.store.write(setup)
    with pytest.raises(errors.Deadline, match=r"OVN.*connection refused"):
        await ensure_ports(services, [port.id])
    assert not backend.nouns
    backend.away = False

    async def there() -> bool:
        return ("port", port.id) in backend.nouns

    await until(there)


async def test_a_servers_ports_wait_for_a_backend_that_restarts(cloud: tuple[Services, Backend]) -> None:
    services, backend = cloud
    backend.away = True
    _, _, port = await services.store.write(setup)
    waiting = asyncio.create_task(ensure_ports(services, [port.id]))
    await asyncio.sleep(0.6)
    assert not waiting.done()
    backend.away = False
    async with asyncio.timeout(5):
        await waiting
    assert ("port", port.id) in backend.nouns


async def test_one_bad_noun_holds_up_no_other(cloud: tuple[Services, Backend]) -> None:
    from trilith.model.network import DhcpOption

    services, backend = cloud
    network, _, port = await services.store.write(setup)

    def more(tx: Tx) -> tuple[Port, Port]:
        option = DhcpOption(opt_name="wpad", opt_value="poison")
        bad = ports.create_port(tx, project_id=P, network_id=network.id, dhcp_options=[option])
        return bad, ports.create_port(tx, project_id=P, network_id=network.id)

    bad, good = await services.store.write(more)
    await ensure_ports(services, [good.id, port.id])
    assert ("port", good.id) in backend.nouns
    with pytest.raises(errors.Backend, match="poison"):
        await ensure_ports(services, [bad.id])
    kept = await services.store.read(lambda r: r.get(Port, bad.id))
    assert "poison" in kept.error
    await services.store.write(lambda tx: ports.update_port(tx, tx.get(Port, bad.id), dhcp_options={("wpad", 4): None}))
    await ensure_ports(services, [bad.id])
    kept = await services.store.read(lambda r: r.get(Port, bad.id))
    assert kept.error == ""


async def test_what_the_backend_lost_is_made_again_and_what_leaked_goes(cloud: tuple[Services, Backend]) -> None:
    services, backend = cloud
    network, _, port = await services.store.write(setup)
    await ensure_ports(services, [port.id])
    spec = backend.nouns["port", port.id]
    assert isinstance(spec, PortSpec)
    from dataclasses import replace

    await SimulatedNetwork.apply(backend, [Ensure(noun=replace(spec, id="stranger"))])
    await SimulatedNetwork.apply(backend, [Remove(kind="port", id=port.id), Remove(kind="network", id=network.id)])

    async def whole() -> bool:
        return {("port", port.id), ("network", network.id)} <= set(backend.nouns) and (
            ("port", "stranger") not in backend.nouns
        )

    await until(whole)


async def test_a_backend_newer_than_the_rows_is_overtaken(cloud: tuple[Services, Backend]) -> None:
    """As after restoring the database from a copy: the driver skips older revisions, so the rows must go past it."""
    from dataclasses import replace

    services, backend = cloud
    _, _, port = await services.store.write(setup)
    await ensure_ports(services, [port.id])
    spec = backend.nouns["port", port.id]
    assert isinstance(spec, PortSpec)
    await SimulatedNetwork.apply(backend, [Ensure(noun=replace(spec, revision=1000, mac="fa:16:3e:ff:ff:ff"))])

    async def ours() -> bool:
        now = backend.nouns["port", port.id]
        return isinstance(now, PortSpec) and now.mac == port.mac_address

    await until(ours)
    kept = await services.store.read(lambda r: r.get(Port, port.id))
    assert kept.generation > 1000


async def test_a_port_that_becomes_a_routers_leaves_first(cloud: tuple[Services, Backend]) -> None:
    services, backend = cloud
    _, _, port = await services.store.write(setup)
    await ensure_ports(services, [port.id])

    def add(tx: Tx) -> Router:
        router = routers.create_router(tx, project_id=P)
        routers.add_interface(tx, router, port_id=port.id)
        return router

    router = await services.store.write(add)

    async def there() -> bool:
        kept = await services.store.read(lambda r: r.get(Port, port.id))
        return ("router", router.id) in backend.nouns and kept.status == "ACTIVE"

    await until(there)
    assert ("port", port.id) not in backend.nouns
    order = [
        "removed" if isinstance(c, Remove) else "made"
        for b in backend.batches
        for c in b
        if (isinstance(c, Remove) and c.id == port.id) or (isinstance(c, Ensure) and c.noun.id == router.id)
    ]
    assert order[0] == "removed"
    assert "made" in order


async def test_status_follows_the_binding(cloud: tuple[Services, Backend]) -> None:
    services, backend = cloud
    _, _, port = await services.store.write(setup)
    await ensure_ports(services, [port.id])

    async def is_at(status: str) -> bool:
        return (await services.store.read(lambda r: r.get(Port, port.id))).status == status

    backend.plug("node-1", port.id)
    await until(lambda: is_at("ACTIVE"))
    backend.unplug(port.id)
    await until(lambda: is_at("DOWN"))
    kept = await services.store.read(lambda r: r.get(Port, port.id))
    assert kept.revision == port.revision, "a status is no change of the user's"


async def test_deletions_missed_while_down_are_found_at_start(tmp_path: Path) -> None:
    async with running(tmp_path) as (services, backend):
        _, _, port = await services.store.write(setup)
        await ensure_ports(services, [port.id])
    nouns = dict(backend.nouns)
    async with running(tmp_path) as (services, backend):
        await services.store.write(lambda tx: ports.delete_port(tx, tx.get(Port, port.id)))
    async with running(tmp_path) as (services, backend):
        backend.nouns.update(nouns)

        async def gone() -> bool:
            return ("port", port.id) not in backend.nouns

        await until(gone)


async def test_a_port_without_a_row_is_missing(cloud: tuple[Services, Backend]) -> None:
    with pytest.raises(errors.Missing):
        await ensure_ports(cloud[0], ["nope"])
