"""Containers by liblxc's tools: one directory, one layer and one monitor process a server.

Nothing of liblxc is loaded here. A container's monitor is a daemon of its own; this process watches it and may end.
All calls about one server take turns; servers do not wait for each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from weakref import WeakValueDictionary

from trilith.drivers.contract import ComputeCapabilities, Terminal
from trilith.drivers.lxc import config, host, inside, layout, nics, power, shell, state, tool, words
from trilith.drivers.lxc.console import Consoles
from trilith.drivers.lxc.node import Node
from trilith.drivers.lxc.pool import Pool
from trilith.drivers.lxc.snapshot import write_snapshot
from trilith.drivers.lxc.watch import Watch
from trilith.errors import Backend, Conflict, Invalid, Unsupported
from trilith.model.guest import (
    ConsoleEndpoint,
    ExecResult,
    GuestEvent,
    GuestEventKind,
    GuestFacts,
    GuestSpec,
    HostFacts,
    ImageForm,
    NicSpec,
    Pillar,
)


class LxcDriver:
    """ComputeDriver for containers. Call `open` first.

    state_dir: this driver's own directory on a local file system; others must not write there.
    ovs_db: path of the local switch's database socket; None leaves interfaces to others after a restart.
    offload_off: turn checksum offload off inside, for the userspace datapath.
    lxcfs: True demands it, False ignores it, None uses it where it is mounted at `lxcfs_dir`.
    pool_gib: size of the sparse file that holds all writable layers, where state_dir is not on btrfs.
    soft_reboot_seconds: how long a guest may take to reboot itself before it is started anew.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        cloud_id: str,
        ovs_db: str | None = None,
        bridge: str = "br-int",
        offload_off: bool = False,
        lxcfs: bool | None = None,
        lxcfs_dir: str = "/var/lib/lxcfs",
        pool_gib: int = 100,
        soft_reboot_seconds: float = 60.0,
    ) -> None:
        if config.plain(str(state_dir)) is None or ":" in str(state_dir) or not state_dir.is_absolute():
            raise Invalid(f"The state directory's path has characters that mounts cannot take: {state_dir}.")
        self._node = Node(state.Paths(state_dir), Pool(state_dir, gib=pool_gib), cloud_id)
        self._look = lambda: host.look(
            lxcfs=lxcfs, lxcfs_dir=lxcfs_dir, ovs_db=ovs_db, bridge=bridge, offload_off=offload_off
        )
        self._watch = Watch(self._node.paths, self._node.known)
        self._consoles = Consoles()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._soft = soft_reboot_seconds

    async def open(self) -> None:
        """Lay out the directory, mount the pool, adopt what runs. Raises Backend with what is missing."""
        if os.geteuid() != 0:
            raise Backend("Containers need root.", hint="Run the agent as root.")
        await asyncio.to_thread(layout.prepare, self._node)
        self._node.host = host.without_missing(await asyncio.to_thread(self._look))
        await self._node.pool.open()
        self._watch.open()

    async def close(self) -> None:
        """Let go. Containers and the pool they need go on."""
        self._watch.close()
        await self._consoles.close()

    async def teardown(self) -> None:
        """After the last container was stopped: unmount the pool. Raises Conflict."""
        if any(fact.pid for fact in await self.facts()):
            raise Conflict("Containers are running.", hint="Stop them first.")
        for fact in await self.facts():
            # they were stopped with the cloud, not by themselves: the next start of it may start them again
            await asyncio.to_thread(self._node.paths.of_run(fact.server_id, "run").unlink, missing_ok=True)
        await self._node.pool.unmount()

    @property
    def capabilities(self) -> ComputeCapabilities:
        freezer = self._node.host is not None and self._node.host.cgroups.freezer
        return ComputeCapabilities(  # noqa: S604  `shell` is a capability, not subprocess's
            pillar=Pillar.LXC,
            forms=(ImageForm.ROOTFS,),
            pause=freezer,
            live_resize=True,
            hotplug_nic=True,
            snapshot=True,
            snapshot_form="root-tar",
            serial_console=True,
            execute=True,
            shell=True,
            password=True,
            rescue=True,
            disk_limit=self._node.pool.limits,
        )

    async def probe(self) -> HostFacts:
        self._node.host = host.without_missing(await asyncio.to_thread(self._look))
        capacity = await asyncio.to_thread(self._node.pool.capacity_gib)
        return await host.probe(self._node.host, id_probe=1 << 30, disk_gib=capacity, disk=self._node.pool.why_not)

    async def create(self, spec: GuestSpec) -> None:
        async with self._turn(spec.server_id):
            await layout.create(self._node, spec)

    async def start(self, spec: GuestSpec) -> None:
        async with self._turn(spec.server_id):
            await power.start(self._node, spec)

    async def stop(self, server_id: str, *, timeout: float) -> None:
        async with self._turn(server_id):
            guest = await self._node.guest(server_id)
            await power.stop(self._node, guest, timeout=timeout)

    async def reboot(self, spec: GuestSpec, *, hard: bool) -> None:
        async with self._turn(spec.server_id):
            guest = await self._node.guest(spec.server_id)
            run = await self._node.run(guest.server_id)
            alive = run.init is not None and run.init.alive()
            asked = not hard and alive and run.monitor is not None
            if asked and await power.reboots_itself(self._node, self._watch, self._soft, guest, run):
                return
            await power.stop(self._node, guest, timeout=0)
            await power.start(self._node, spec)

    async def pause(self, server_id: str) -> None:
        await self._freeze(server_id, frozen=True)

    async def unpause(self, server_id: str) -> None:
        await self._freeze(server_id, frozen=False)

    async def suspend(self, server_id: str) -> None:
        raise Unsupported("A container cannot be suspended to disk.", capability="suspend", hint="Pause it instead.")

    async def resume(self, spec: GuestSpec) -> None:
        raise Unsupported("A container cannot be suspended to disk.", capability="suspend")

    async def delete(self, server_id: str) -> None:
        async with self._turn(server_id):
            home = self._node.paths.home(server_id)
            if await asyncio.to_thread(self._node.foreign, server_id):
                raise Conflict(f"The container {server_id} belongs to another cloud and is left alone.")
            await power.kill(self._node, server_id)
            await self._consoles.drop(server_id)
            self._watch.forget(server_id)
            await asyncio.to_thread(self._node.here.cgroups.remove, *power.groups(server_id))
            for name in (server_id, f"{server_id}.frozen", inside.rescue_layer(server_id)):
                await self._node.pool.remove(name)
            await asyncio.to_thread(layout.wipe, self._node, server_id, home)

    async def facts(self, server_id: str = "") -> list[GuestFacts]:
        def look() -> list[GuestFacts]:
            if server_id:
                return [power.fact(self._node, server_id)] if self._node.known(server_id) else []
            return [power.fact(self._node, each) for each in state.names(self._node.paths, self._node.cloud_id)]

        return await asyncio.to_thread(look)

    def events(self) -> AsyncIterator[GuestEvent]:
        return self._watch.events()

    async def plug(self, spec: GuestSpec, nic: NicSpec) -> None:
        async with self._turn(spec.server_id):
            wanted = (*(other for other in spec.nics if other.port_id != nic.port_id), nic)
            named = config.with_names(wanted)
            await layout.write(self._node, config.with_nics(spec, named))
            init = await self._node.init(spec.server_id)
            if init is not None:
                here = self._node.here
                await nics.add(self._node.paths, spec.server_id, init.pid, named[-1], offload_off=here.offload_off)

    async def unplug(self, spec: GuestSpec, nic: NicSpec) -> None:
        async with self._turn(spec.server_id):
            kept = tuple(other for other in config.with_names(spec.nics) if other.port_id != nic.port_id)
            await layout.write(self._node, config.with_nics(spec, kept))
            if await self._node.init(spec.server_id) is not None:
                await nics.remove(self._node.paths, spec.server_id, nic)

    async def resize(self, spec: GuestSpec) -> None:
        async with self._turn(spec.server_id):
            guest = await self._node.guest(spec.server_id)
            wanted = config.disk_mib(spec)
            running = await self._node.init(spec.server_id) is not None
            if running and wanted < guest.disk_mib:
                raise Invalid("A root disk cannot be made smaller.", field="flavor")
            # a stopped one gets the smaller limit when a resize is reverted; what it holds beyond that stays readable
            if running:
                group = config.group(spec.server_id)
                await asyncio.to_thread(self._node.here.cgroups.apply, group, config.limits(spec))
            if self._node.pool.limits:
                await self._node.pool.limit(spec.server_id, wanted)
            await layout.write(self._node, spec)

    async def snapshot(self, server_id: str, dest: str) -> None:
        async with self._turn(server_id):
            await write_snapshot(self._node.pool, self._node.paths, await self._node.guest(server_id), dest)

    async def console_log(self, server_id: str, *, max_bytes: int) -> bytes:
        await self._node.guest(server_id)
        path = self._node.paths.home(server_id) / "console.log"
        return await asyncio.to_thread(words.tail, [path, path.with_name("console.log.1")], max_bytes)

    async def console(self, server_id: str) -> ConsoleEndpoint:
        await self._node.running(server_id)
        argv = [*self._node.lxc("lxc-console", server_id), "--tty", "0"]
        path = await self._consoles.serve(server_id, self._node.paths.of_run(server_id, "sock"), argv)
        return ConsoleEndpoint(kind="unix", address=path)

    async def execute(self, server_id: str, argv: Sequence[str], *, timeout: float) -> ExecResult:
        if not argv:
            raise Invalid("There is no command to run.", field="command")
        variables = ("PATH=" + tool.clean_env()["PATH"], "HOME=/root", "LANG=C.UTF-8")
        return await tool.capture(await self._attach(server_id, variables, argv), timeout=timeout)

    async def set_password(self, server_id: str, user: str, password: str) -> None:
        line = inside.password_line(user, password)
        variables = ("PATH=" + tool.clean_env()["PATH"], "LANG=C.UTF-8")
        await inside.set_password(await self._attach(server_id, variables, ["chpasswd"]), line)

    async def shell(self, server_id: str, *, rows: int, cols: int) -> Terminal:
        return await shell.start(await self._attach(server_id, shell.ENVIRONMENT, shell.LOGIN), rows=rows, cols=cols)

    async def _attach(self, server_id: str, variables: Sequence[str], argv: Sequence[str]) -> list[str]:
        """Arguments that run argv inside. Raises Conflict, Backend where nothing can be run."""
        await asyncio.to_thread(power.check_attachable, self._node, server_id)
        settings = [f"--set-var={name}" for name in variables]
        return [*self._node.lxc("lxc-attach", server_id), "--clear-env", *settings, "--", *argv]

    # ---- what the calls above share; the caller holds the server's turn

    @contextlib.asynccontextmanager
    async def _turn(self, server_id: str) -> AsyncIterator[None]:
        if config.plain(server_id) is None or "/" in server_id or server_id.startswith("."):
            raise Invalid(f"Not a server id: {server_id[:80]!r}.", field="server_id")
        async with self._locks.setdefault(server_id, asyncio.Lock()):
            yield

    async def _freeze(self, server_id: str, *, frozen: bool) -> None:
        async with self._turn(server_id):
            cgroups, group = self._node.here.cgroups, config.group(server_id)
            if not cgroups.freezer:
                raise Unsupported("This host has no freezer.", capability="pause")
            await self._node.running(server_id)
            if await asyncio.to_thread(cgroups.frozen, group) == frozen:
                return
            await asyncio.to_thread(cgroups.freeze, group, frozen=frozen)
            self._watch.publish(server_id, GuestEventKind.PAUSED if frozen else GuestEventKind.RESUMED)
