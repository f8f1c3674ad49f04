"""This machine as a node: its daemons, its drivers, and the end of all of it.

Order: the network's daemons, the local switch, then each pillar that the host can have. A pillar that cannot start
is left out with its reason; the node then offers the others.
"""

from __future__ import annotations

import asyncio
import grp
import hashlib
import ipaddress
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from trilith import errors
from trilith.agent import lxcfs
from trilith.agent.agent import Agent
from trilith.agent.config_drives import NodeConfigDrives
from trilith.agent.daemons import NodeNetwork, settle_network, start_network, stop_network
from trilith.agent.guests import Guests
from trilith.agent.libvirt_daemons import PrivateLibvirt, qemu_account, system_uri
from trilith.agent.lxcfs import PrivateLxcfs
from trilith.agent.metadata_service import MetadataService
from trilith.agent.posts import Posts
from trilith.agent.supervise import DaemonEvent, Supervisor
from trilith.agent.volumes import Volumes
from trilith.config import Settings
from trilith.drivers.contract import ComputeDriver
from trilith.drivers.libvirt.driver import LibvirtDriver
from trilith.drivers.libvirt.probe import KvmProbe, probe_kvm
from trilith.drivers.lxc.driver import LxcDriver
from trilith.drivers.ovn.local import OvsLocalSwitch, connect_local
from trilith.drivers.storage.directory import DirStorage
from trilith.drivers.storage.volume_dir import DirVolumes
from trilith.model.guest import GuestSpec, Pillar, PowerState

log = structlog.get_logger("node")

#: seconds that a network without servers here keeps its metadata namespace
_METADATA_LINGER = 60.0


@dataclass
class LocalNode:
    """What runs on this machine for one cloud. Make it with `assemble`, after `start_daemons`."""

    settings: Settings
    cloud_id: str
    name: str
    network: NodeNetwork
    supervisor: Supervisor
    problems: list[str] = field(default_factory=list)
    switch: OvsLocalSwitch | None = None
    computes: dict[Pillar, ComputeDriver] = field(default_factory=dict)
    metadata: MetadataService | None = None
    kvm: KvmProbe | None = None

    @property
    def state(self) -> Path:
        return self.settings.state / "node"

    async def start_network(self) -> None:
        """Daemons of the network up or adopted, br-int there. Raises Backend."""
        await start_network(self.network, self.supervisor)

    async def assemble(self) -> Agent:
        """Drivers over the running daemons; the agent that uses them. Raises Backend when no pillar works."""
        self.switch = await connect_local(
            self.network.db, cloud_id=self.cloud_id, bridge=self.network.integration_bridge
        )
        posts = Posts()
        self.metadata = MetadataService(self.switch, linger=_METADATA_LINGER, posted=posts.password)
        _account, group = qemu_account()
        storage = DirStorage(self.state / "storage", qemu_group=group if _has_group(group) else "")
        lxc, kvm = await asyncio.gather(self._lxc(), self._libvirt())
        for pillar, driver in ((Pillar.LXC, lxc), (Pillar.KVM, kvm)):
            if driver is not None:
                self.computes[pillar] = driver
        guests = Guests(
            self.state,
            computes=self.computes,
            switch=self.switch,
            storage=storage,
            config_drives=NodeConfigDrives(self.state, qemu_group=group if _has_group(group) else ""),
            metadata=self.metadata,
        )
        return Agent(
            guests,
            node=self.name,
            cloud_id=self.cloud_id,
            report_seconds=self.settings.reconcile_seconds,
            posts=posts,
            bandwidth=self.settings.bandwidth,
            volumes=Volumes({"local": DirVolumes(self.state / "volumes", group=_group_id(group))}),
        )

    @property
    def _lxcfs(self) -> PrivateLxcfs:
        return PrivateLxcfs(point=self.state / "lxcfs", run=self.network.run_dir)

    async def _lxc(self) -> ComputeDriver | None:
        lxcfs_dir = lxcfs.SERVICE
        if self._lxcfs.wanted():
            try:
                await self.supervisor.start([self._lxcfs.spec()])
                lxcfs_dir = self._lxcfs.point
            except errors.TrilithError as err:  # containers start without, and the driver warns of it
                log.warning("lxcfs cannot start here", error=str(err))
        driver = LxcDriver(
            self.state / "lxc",
            cloud_id=self.cloud_id,
            ovs_db=str(self.network.switch_run_dir / "db.sock"),
            bridge=self.network.integration_bridge,
            offload_off=self.network.datapath == "netdev",
            lxcfs_dir=str(lxcfs_dir),
            pool_gib=self.settings.container_pool_gib,
        )
        try:
            await driver.open()
        except errors.TrilithError as err:
            self._without(Pillar.LXC, err)
            return None
        return driver

    async def _libvirt(self) -> ComputeDriver | None:
        try:
            self.kvm = await probe_kvm(str(self.state), kernel=_probe_kernel(self.settings))
            uri = await system_uri()
            if not uri:
                private = PrivateLibvirt(root=self.network.run_dir / "lv")
                await self.supervisor.start(private.specs())
                uri = private.uri
            driver = LibvirtDriver(
                uri,
                str(self.state / "vm"),
                cloud_id=self.cloud_id,
                offload_off=self.network.datapath == "netdev",
                kvm=self.kvm,
                replug=self._replug,
            )
            await driver.open()
        except errors.TrilithError as err:
            self._without(Pillar.KVM, err)
            return None
        return driver

    async def _replug(self, spec: GuestSpec) -> None:
        assert self.switch is not None
        for nic in spec.nics:
            await self.switch.unplug(nic.ifname)
            await self.switch.plug(ifname=nic.ifname, port_id=nic.port_id, mac=nic.mac)

    def _without(self, pillar: Pillar, err: errors.TrilithError) -> None:
        self.problems.append(f"{pillar}: {err}")
        log.warning("a pillar cannot start here", pillar=str(pillar), error=str(err))

    async def close(self) -> None:
        """Let go: daemons and guests go on."""
        if self.metadata is not None:
            await self.metadata.close()
        for driver in self.computes.values():
            await driver.close()
        if self.switch is not None:
            await self.switch.close()
        await self.supervisor.close()

    async def teardown(self) -> list[str]:
        """`trilith down --guests`: every guest, daemon, interface, namespace and mount of this cloud is gone.

        What was done, in words.
        """
        done: list[str] = []
        for pillar, driver in self.computes.items():
            alive = [f for f in await driver.facts() if f.power not in (PowerState.SHUTDOWN, PowerState.CRASHED)]
            await asyncio.gather(*(driver.stop(f.server_id, timeout=20) for f in alive))
            done.append(f"{pillar} guests: {len(alive)} stopped")
        lxc = self.computes.get(Pillar.LXC)
        if isinstance(lxc, LxcDriver):
            await lxc.teardown()
        if self.metadata is not None:
            await self.metadata.close()
            self.metadata.forget_all()
            await self.metadata.sweep()
        for driver in self.computes.values():
            await driver.close()
        self.computes.clear()
        private = PrivateLibvirt(root=self.network.run_dir / "lv")
        own = [*private.specs(), self._lxcfs.spec()]
        self.supervisor.know(own)
        await self.supervisor.stop([s.name for s in own])
        if self.switch is not None:
            await self.switch.close()
            self.switch = None
        await stop_network(self.network, self.supervisor)
        await self.supervisor.stop()
        await asyncio.to_thread(shutil.rmtree, self.network.run_dir, True)
        return [*done, "network: daemons, bridges and rules removed"]


async def local_node(
    settings: Settings, cloud_id: str, notify: Callable[[DaemonEvent], None] | None = None
) -> LocalNode:
    """Raises Invalid, Conflict where this host cannot be a node as asked."""
    if os.geteuid() != 0:
        raise errors.Forbidden(
            "A real cloud needs root on this machine.", hint="Run it as root, or try --simulated N without."
        )
    state = settings.state / "node"
    state.mkdir(parents=True, exist_ok=True)
    name = settings.node_name or os.uname().nodename.partition(".")[0]
    external = ipaddress.ip_network(settings.external_cidr)
    gateway = f"{external[1]}/{external.prefixlen}"  # as commands.networks.ensure_external: the first host
    network = await settle_network(
        NodeNetwork(
            cloud_id=cloud_id,
            node=name,
            state_dir=state / "network",
            run_dir=run_directory(settings),
            integration_bridge=settings.integration_bridge,
            external_bridge=settings.external_bridge,
            external_address=gateway,
        )
    )
    return LocalNode(settings, cloud_id, name, network, Supervisor(state / "daemons", notify=notify))


def run_directory(settings: Settings) -> Path:
    """Short, for unix sockets: /run/trilith, with a mark of the state directory where that is not the default one."""
    if settings.run:
        return Path(settings.run)
    if settings.state == Path("/var/lib/trilith"):
        return Path("/run/trilith")
    mark = hashlib.sha256(str(settings.state.resolve()).encode()).hexdigest()[:8]
    return Path(f"/run/trilith-{mark}")


def _group_id(name: str) -> int:
    """-1 where there is none."""
    return grp.getgrnam(name).gr_gid if _has_group(name) else -1


def _has_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _probe_kernel(settings: Settings) -> str:
    """The kernel of the `tiny` image, once it is built, for the kvm.linux probe."""
    kernel = settings.state / "node" / "probe-kernel"
    return str(kernel) if kernel.exists() else ""
