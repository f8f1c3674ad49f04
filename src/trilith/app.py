"""The composition root: the one module that may import everything. It reads top to bottom, as a cloud starts."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Any

import structlog
from litestar import Litestar

from trilith import errors
from trilith.agent.agent import Agent
from trilith.agent.guests import Guests
from trilith.agent.volumes import Volumes
from trilith.api.http.host import Host, build
from trilith.api.http.policies import Policies
from trilith.api.http.route import Service
from trilith.api.http.tokens import Tokens
from trilith.cluster import cache_watch
from trilith.cluster.cache_watch import IDENTITY
from trilith.cluster.links import Links
from trilith.cluster.nodes import Nodes
from trilith.commands import blobs, quota, server_details, unified_limits, volume_pools, volume_types
from trilith.commands import first_start as first_start_of
from trilith.commands.adviser import Adviser, read_rules
from trilith.commands.bootstrap import bootstrap
from trilith.commands.passwords import hash_password
from trilith.commands.resource_providers import ensure_node
from trilith.config import Settings
from trilith.drivers.contract import NetworkDriver
from trilith.drivers.simulated.compute import SimulatedCompute
from trilith.drivers.simulated.fabric import SimulatedNetwork, SimulatedSwitch
from trilith.drivers.simulated.pillars import pillars_of
from trilith.drivers.simulated.storage import SimulatedStorage
from trilith.drivers.simulated.volumes import SimulatedVolumes
from trilith.drivers.storage.convert import convert_image
from trilith.jobs.engine import Engine
from trilith.jobs.kinds import KINDS
from trilith.jobs.services import Services
from trilith.model.node import Node
from trilith.reconcile import retention
from trilith.reconcile.networks import NetworkReconciler
from trilith.reconcile.plans import PlanReconciler
from trilith.reconcile.servers import ServerReconciler
from trilith.store.contract import Store
from trilith.store.seal import Sealer, load_master_key
from trilith.store.tx import Tx

if TYPE_CHECKING:
    from trilith.agent.local_node import LocalNode
    from trilith.agent.supervise import DaemonEvent

log = structlog.get_logger("cloud")

_ADMIN_PASSWORD = "admin.password"

#: every API on the one port; the table of each is in its routes.py
API_MODULES = ("identity", "compute", "placement", "network", "image", "volume", "console", "native")


@dataclass
class Cloud:
    """A running cloud. `problem` is set when a task that must not end has ended."""

    settings: Settings
    store: Store
    sealer: Sealer
    cloud_id: str
    services: Services
    host: Host
    api: Litestar
    network: NetworkDriver
    engine: Engine
    agents: list[Agent] = field(default_factory=list)
    problem: asyncio.Event = field(default_factory=asyncio.Event)
    failures: list[BaseException] = field(default_factory=list)

    async def admin_password(self) -> str:
        """The password of the first start, sealed in the database so that a later `up` can write clouds.yaml again."""
        sealed = await self.store.read(lambda r: r.setting(_ADMIN_PASSWORD))
        return self.sealer.open(sealed, context=_ADMIN_PASSWORD).decode() if sealed else ""


def api_services() -> list[Service]:
    """The tables of all services, in the order of API_MODULES. Imported here: `trilith down` needs none of them."""
    return [importlib.import_module(f"trilith.api.{name}.routes").SERVICE for name in API_MODULES]


def _ensure(tx: Tx, node: Node, settings: Settings) -> None:
    """What a node's facts mean to placement, of servers and of volumes."""
    ensure_node(tx, node, settings)
    volume_pools.ensure(tx, node)


def open_store(settings: Settings, sealer: Sealer) -> Store:
    if settings.database:
        from trilith.store.postgres import PostgresStore

        return PostgresStore(settings.database, sealer)
    from trilith.store.sqlite import SqliteStore

    return SqliteStore(settings.state / "trilith.db", sealer)


@asynccontextmanager
async def cloud(settings: Settings, *, admin_password: str = "") -> AsyncIterator[Cloud]:
    """Start everything but the listening socket, and end it in reverse order. Guests go on."""
    async with contextlib.AsyncExitStack() as stack:
        # first of all: with rules that are wrong nothing is started
        rules = await asyncio.to_thread(read_rules, settings.advisor_rules)
        adviser = Adviser(rules, settings.advisor_rules)
        settings.state.mkdir(parents=True, exist_ok=True)
        sealer = load_master_key(settings.state / "master.key")
        store = open_store(settings, sealer)
        await store.open()
        stack.push_async_callback(store.close)
        await first_start(store, sealer, settings, admin_password)
        await fill(store, settings)
        await store.write(lambda tx: volume_types.default_of(tx).id)
        await store.write(lambda tx: unified_limits.choose(tx, settings.quota_driver, quota.DEFAULTS, settings.region))
        cloud_id = await store.read(lambda r: r.setting("cloud.id")) or ""

        nodes = Nodes(store, settings, _ensure)
        reconciler = ServerReconciler()
        links = Links(
            cloud_id=cloud_id,
            joined=nodes.joined,
            left=nodes.left,
            reported=reconciler.reported,
            happened=reconciler.happened,
            posted=lambda node, server, password: store.write(
                lambda tx: server_details.post_password(tx, node, server, password)
            ),
        )
        node: LocalNode | None = None
        if settings.simulated:
            network: NetworkDriver = SimulatedNetwork()
        else:
            from trilith.drivers.ovn.northbound import connect

            node = await start_local_node(settings, cloud_id)
            stack.push_async_callback(node.close)
            network = await connect(node.network.nb, node.network.sb, cloud_id=cloud_id)
        stack.push_async_callback(network.close)
        services = Services(
            store=store,
            links=links,
            network=network,
            settings=settings,
            cloud_id=cloud_id,
            adviser=adviser,
            convert=convert_image,
        )
        tokens = Tokens(store, sealer)
        tables = api_services()
        host = Host(
            settings=settings,
            store=store,
            policies=Policies(tables, settings.state, scoped=settings.enforce_scope),
            tokens=tokens,
            services=services,
        )
        await blobs.sweep(store, services.stores, settings.node_name or gethostname())
        engine = Engine(services, KINDS, crash_at=settings.crash_at)
        running = Cloud(settings, store, sealer, cloud_id, services, host, build(host, tables), network, engine)

        run_dir = settings.state / "run"
        run_dir.mkdir(exist_ok=True)
        socket = run_dir / "agents.sock"
        await links.listen(socket)
        stack.push_async_callback(links.close)
        tasks = Tasks(running)
        stack.push_async_callback(tasks.stop)
        if isinstance(network, SimulatedNetwork):
            running.agents += [
                simulated_agent(settings, cloud_id, network, n) for n in range(1, settings.simulated + 1)
            ]
        for agent in running.agents:
            await agent.prepare()
            tasks.own(partial(agent.run, socket), f"agent-{agent.node}")
        tasks.own(engine.run, "engine")
        tasks.own(partial(reconciler.run, services), "reconcile-servers")
        tasks.own(partial(blobs.keep_swept, store, services.stores), "sweep-blobs")
        tasks.own(partial(services.uploads.run, store, services.stores), "settle-uploads")
        tasks.own(NetworkReconciler(services).run, "reconcile-networks")
        tasks.own(PlanReconciler(services).run, "reconcile-plans")
        watched = dict.fromkeys(IDENTITY, tokens.forget) | {"figures": adviser.forget}
        tasks.own(partial(cache_watch.run, store, watched), "cache-watch")
        tasks.own(partial(retention.run, services), "retention")
        if node is not None:
            # probing this host takes seconds the first time: the API answers meanwhile
            tasks.own(partial(serve_node, node, socket, running), f"agent-{node.name}")
        for agent in running.agents:
            await links.wait_for(agent.node, timeout=20)
        yield running


async def first_start(store: Store, sealer: Sealer, settings: Settings, given: str) -> None:
    """Fill an empty database. The admin's password is the one given, or made at random."""
    if await store.read(lambda r: r.setting("cloud.id")) is not None:
        return
    password = given or secrets.token_urlsafe(18)
    hashed = await hash_password(password)

    def body(tx: Tx) -> None:
        bootstrap(tx, region=settings.region, password_hash=hashed)
        tx.set_setting(_ADMIN_PASSWORD, sealer.seal(password.encode(), context=_ADMIN_PASSWORD))

    await store.write(body)


async def fill(store: Store, settings: Settings) -> None:
    """What a new cloud has from the start, once."""
    if first_start_of.is_seeded(await store.read(lambda r: r.setting(first_start_of.setting()))):
        return
    blob_dir = settings.state / "images"
    seeds: list[first_start_of.Seed] = []
    for name in first_start_of.SIMULATED_IMAGES if settings.simulated else ():
        path = blob_dir / "incoming" / name
        await asyncio.to_thread(first_start_of.write_simulated_image, name, path)
        seeds.append(first_start_of.Seed(name, await blobs.ingest(path, blob_dir)))
    mtu = settings.underlay_mtu
    await store.write(
        lambda tx: first_start_of.seed(tx, external_cidr=settings.external_cidr, mtu=mtu, simulated=tuple(seeds))
    )


async def start_local_node(settings: Settings, cloud_id: str) -> LocalNode:
    """This machine's daemons, started or adopted. Imported here: simulated clouds need none of it."""
    from trilith.agent.local_node import local_node

    def tell(event: DaemonEvent) -> None:
        log.info("daemon", **asdict(event))

    node = await local_node(settings, cloud_id, tell)
    await node.start_network()
    return node


async def end_node(settings: Settings) -> list[str]:
    """Everything of this cloud on this machine but its files is gone; what was done, in words. Raises Backend."""
    sealer = load_master_key(settings.state / "master.key")
    store = open_store(settings, sealer)
    await store.open()
    try:
        cloud_id = await store.read(lambda r: r.setting("cloud.id")) or ""
        from trilith.agent.local_node import local_node

        node = await local_node(settings, cloud_id)
        # what is left may be half there: bring it up whole, so that every part is known, then end it in order
        await node.start_network()
        await node.assemble()
        return await node.teardown()
    finally:
        await store.close()


async def serve_node(node: LocalNode, socket: Path, cloud: Cloud) -> None:
    """The agent of this machine, from its drivers to its end."""
    agent = await node.assemble()
    cloud.agents.append(agent)
    await agent.prepare()
    if node.metadata is not None:
        await node.metadata.sweep()
    await agent.run(socket)


def simulated_agent(settings: Settings, cloud_id: str, fabric: SimulatedNetwork, number: int) -> Agent:
    """One simulated node: its guests do not exist. number: from 1."""
    node = f"sim-{number}"
    guests = Guests(
        settings.state / "simulated" / node,
        computes={
            pillar: SimulatedCompute(settings.state, node=node, cloud_id=cloud_id, pillar=pillar)
            for pillar in pillars_of(settings.simulated_pillars, number)
        },
        switch=SimulatedSwitch(fabric, node, settings.state),
        storage=SimulatedStorage(settings.state, node=node),
        config_drives=None,
        metadata=None,
    )
    volumes = Volumes({"sim": SimulatedVolumes(settings.state / "simulated" / node / "volumes")})
    return Agent(guests, node=node, cloud_id=cloud_id, report_seconds=settings.reconcile_seconds, simulated=True,
                 bandwidth=settings.bandwidth, volumes=volumes)  # fmt: skip


class Tasks:
    """The long tasks of a cloud: each is owned, and one that ends by itself is a failure of the whole."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._tasks: list[asyncio.Task[None]] = []

    def own(self, run: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        task = asyncio.create_task(run(), name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        failure = task.exception() or errors.Bug(f"{task.get_name()} ended")
        log.error("a task of the cloud ended", task=task.get_name(), exc_info=failure)
        self._cloud.failures.append(failure)
        self._cloud.problem.set()

    async def stop(self) -> None:
        for task in reversed(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
