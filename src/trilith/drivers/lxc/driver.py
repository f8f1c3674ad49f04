"""Containers by liblxc's tools: one directory, one layer and one monitor process a server.

Nothing of liblxc is loaded here. A container's monitor is a daemon of its own; this process watches it and may end.
All calls about one server take turns; servers do not wait for each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from trilith.drivers.contract import ComputeCapabilities, Terminal
from trilith.drivers.lxc import cgroup, config, host, inject, inside, mounts, nics, shell, signals, state, tool, words
from trilith.drivers.lxc.console import Consoles
from trilith.drivers.lxc.pool import Pool
from trilith.drivers.lxc.snapshot import write_snapshot
from trilith.drivers.lxc.watch import Watch, wait_exit
from trilith.errors import Backend, Conflict, Deadline, Invalid, Missing, Unsupported
from trilith.model.guest import (
    POWERED_OFF,
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
    PowerState,
)

_START_SECONDS = 60.0
_TEARDOWN_SECONDS = 20.0
_HOOK = Path(__file__).with_name("hook.sh")


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
        self._paths = state.Paths(state_dir)
        self._cloud_id = cloud_id
        self._pool = Pool(state_dir, gib=pool_gib)
        self._look = lambda: host.look(
            lxcfs=lxcfs, lxcfs_dir=lxcfs_dir, ovs_db=ovs_db, bridge=bridge, offload_off=offload_off
        )
        self._host: config.HostConfig | None = None
        self._watch = Watch(self._paths, self._known)
        self._consoles = Consoles()
        self._locks: dict[str, asyncio.Lock] = {}
        self._soft = soft_reboot_seconds

    async def open(self) -> None:
        """Lay out the directory, mount the pool, adopt what runs. Raises Backend with what is missing."""
        if os.geteuid() != 0:
            raise Backend("Containers need root.", hint="Run the agent as root.")
        await asyncio.to_thread(self._lay_out)
        self._host = host.without_missing(await asyncio.to_thread(self._look))
        await self._pool.open()
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
            await asyncio.to_thread(self._paths.of_run(fact.server_id, "run").unlink, missing_ok=True)
        await self._pool.unmount()

    @property
    def capabilities(self) -> ComputeCapabilities:
        freezer = self._host is not None and self._host.cgroups.freezer
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
            disk_limit=self._pool.limits,
        )

    async def probe(self) -> HostFacts:
        self._host = host.without_missing(await asyncio.to_thread(self._look))
        capacity = await asyncio.to_thread(self._pool.capacity_gib)
        return await host.probe(self._host, id_probe=1 << 30, disk_gib=capacity, disk=self._pool.why_not)

    async def create(self, spec: GuestSpec) -> None:
        async with self._turn(spec.server_id):
            await self._create(spec)

    async def start(self, spec: GuestSpec) -> None:
        async with self._turn(spec.server_id):
            await self._start(spec)

    async def stop(self, server_id: str, *, timeout: float) -> None:
        async with self._turn(server_id):
            guest = await self._guest(server_id)
            await self._stop(guest, timeout=timeout)

    async def reboot(self, spec: GuestSpec, *, hard: bool) -> None:
        async with self._turn(spec.server_id):
            guest = await self._guest(spec.server_id)
            run = await self._run(guest.server_id)
            alive = run.init is not None and run.init.alive()
            if not hard and alive and run.monitor is not None and await self._reboots_itself(guest, run):
                return
            await self._stop(guest, timeout=0)
            await self._start(spec)

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
            home = self._paths.home(server_id)
            if await asyncio.to_thread(self._foreign, server_id):
                raise Conflict(f"The container {server_id} belongs to another cloud and is left alone.")
            await self._kill(server_id)
            await self._consoles.drop(server_id)
            self._watch.forget(server_id)
            await asyncio.to_thread(self._here.cgroups.remove, *_groups(server_id))
            for name in (server_id, f"{server_id}.frozen", inside.rescue_layer(server_id)):
                await self._pool.remove(name)
            await asyncio.to_thread(self._wipe, server_id, home)
        self._locks.pop(server_id, None)

    async def facts(self, server_id: str = "") -> list[GuestFacts]:
        def look() -> list[GuestFacts]:
            if server_id:
                return [self._fact(server_id)] if self._known(server_id) else []
            return [self._fact(each) for each in state.names(self._paths, self._cloud_id)]

        return await asyncio.to_thread(look)

    def events(self) -> AsyncIterator[GuestEvent]:
        return self._watch.events()

    async def plug(self, spec: GuestSpec, nic: NicSpec) -> None:
        async with self._turn(spec.server_id):
            wanted = (*(other for other in spec.nics if other.port_id != nic.port_id), nic)
            named = config.with_names(wanted)
            await self._write(config.with_nics(spec, named))
            init = await self._init(spec.server_id)
            if init is not None:
                here = self._here
                await nics.add(self._paths, spec.server_id, init.pid, named[-1], offload_off=here.offload_off)

    async def unplug(self, spec: GuestSpec, nic: NicSpec) -> None:
        async with self._turn(spec.server_id):
            kept = tuple(other for other in config.with_names(spec.nics) if other.port_id != nic.port_id)
            await self._write(config.with_nics(spec, kept))
            if await self._init(spec.server_id) is not None:
                await nics.remove(self._paths, spec.server_id, nic)

    async def resize(self, spec: GuestSpec) -> None:
        async with self._turn(spec.server_id):
            guest = await self._guest(spec.server_id)
            wanted = config.disk_mib(spec)
            running = await self._init(spec.server_id) is not None
            if running and wanted < guest.disk_mib:
                raise Invalid("A root disk cannot be made smaller.", field="flavor")
            # a stopped one gets the smaller limit when a resize is reverted; what it holds beyond that stays readable
            if running:
                group = config.group(spec.server_id)
                await asyncio.to_thread(self._here.cgroups.apply, group, config.limits(spec))
            if self._pool.limits:
                await self._pool.limit(spec.server_id, wanted)
            await self._write(spec)

    async def snapshot(self, server_id: str, dest: str) -> None:
        async with self._turn(server_id):
            await write_snapshot(self._pool, self._paths, await self._guest(server_id), dest)

    async def console_log(self, server_id: str, *, max_bytes: int) -> bytes:
        await self._guest(server_id)
        path = self._paths.home(server_id) / "console.log"
        return await asyncio.to_thread(words.tail, [path, path.with_name("console.log.1")], max_bytes)

    async def console(self, server_id: str) -> ConsoleEndpoint:
        await self._running(server_id)
        argv = [*self._lxc("lxc-console", server_id), "--tty", "0"]
        path = await self._consoles.serve(server_id, self._paths.of_run(server_id, "sock"), argv)
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
        await asyncio.to_thread(self._check_attachable, server_id)
        settings = [f"--set-var={name}" for name in variables]
        return [*self._lxc("lxc-attach", server_id), "--clear-env", *settings, "--", *argv]

    def _check_attachable(self, server_id: str) -> None:
        if state.load(self._paths, server_id, self._cloud_id) is None:
            raise Missing(f"There is no container {server_id} on this node.")
        run = state.run_of(self._paths, server_id)
        if run.init is None or not run.this_boot or not run.init.alive():
            raise Conflict(f"The server {server_id} is not running.", hint="Start it first.")
        if run.monitor is None:
            raise Backend("The container's monitor is gone, nothing can attach.", hint="Reboot the server (hard).")
        if self._here.cgroups.frozen(config.group(server_id)):
            raise Conflict("The server is paused.", hint="Unpause it first.")

    # ---- what the calls above share; the caller holds the server's turn

    @property
    def _here(self) -> config.HostConfig:
        if self._host is None:
            raise Backend("The container driver is not open.")
        return self._host

    @contextlib.asynccontextmanager
    async def _turn(self, server_id: str) -> AsyncIterator[None]:
        if config.plain(server_id) is None or "/" in server_id or server_id.startswith("."):
            raise Invalid(f"Not a server id: {server_id[:80]!r}.", field="server_id")
        async with self._locks.setdefault(server_id, asyncio.Lock()):
            yield

    def _lxc(self, name: str, server_id: str) -> list[str]:
        return [tool.find(name, "lxc"), "--lxcpath", str(self._paths.ct), "--name", server_id]

    def _known(self, server_id: str) -> bool:
        return state.ours(self._paths, server_id, self._cloud_id)

    def _foreign(self, server_id: str) -> bool:
        """A complete container with somebody else's mark, or without one."""
        try:
            text = self._paths.config(server_id).read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        return f"lxc.environment = {state.MARKER}={self._cloud_id}\n" not in text

    async def _guest(self, server_id: str) -> state.Guest:
        guest = await asyncio.to_thread(state.load, self._paths, server_id, self._cloud_id)
        if guest is None:
            raise Missing(f"There is no container {server_id} on this node.")
        return guest

    async def _run(self, server_id: str) -> state.Run:
        return await asyncio.to_thread(state.run_of, self._paths, server_id)

    async def _init(self, server_id: str) -> state.Process | None:
        """The container's first process if it runs."""
        run = await self._run(server_id)
        return run.init if run.init is not None and run.this_boot and run.init.alive() else None

    async def _running(self, server_id: str) -> None:
        await self._guest(server_id)
        if await self._init(server_id) is None:
            raise Conflict(f"The server {server_id} is not running.", hint="Start it first.")

    def _lay_out(self) -> None:
        for path, mode in (
            (self._paths.root, 0o711),
            (self._paths.ct, 0o711),  # a container's root passes here on its way to rootfs
            (self._paths.run, 0o700),
            (self._paths.bin, 0o700),
        ):
            path.mkdir(mode=mode, parents=True, exist_ok=True)
            path.chmod(mode)
        state.write(self._paths.hook, _HOOK.read_bytes())
        # PATH of lxc-start. newuidmap must not be on it: where liblxc finds it, it insists on lines for root in
        # /etc/subuid; without it root writes the map itself, which it may
        parser = shutil.which("apparmor_parser", path=tool.clean_env()["PATH"])
        link = self._paths.bin / "apparmor_parser"
        if parser is not None and not link.is_symlink():
            link.symlink_to(parser)

    async def _create(self, spec: GuestSpec) -> None:
        config.check(spec)
        if spec.image.form is not ImageForm.ROOTFS:
            raise Invalid("A container starts from a root file system.", field="image")
        if await asyncio.to_thread(self._foreign, spec.server_id):
            raise Conflict(f"A container {spec.server_id} of another cloud is in the way.")
        size = config.disk_mib(spec) if spec.disk_gib or self._pool.limits else 0
        await asyncio.to_thread(self._directories, spec.server_id)
        await self._write_config(spec)  # first: with it whatever is left after a crash is known as ours
        known = await asyncio.to_thread(state.load, self._paths, spec.server_id, self._cloud_id)
        if known is None or known.disk_mib != config.disk_mib(spec) or not await self._pool.has(spec.server_id):
            await self._pool.create(spec.server_id, limit_mib=size)
        if spec.files and known is None:  # before the record: a crash between them writes the same files again
            upper = self._pool.layer(spec.server_id) / "up"
            await asyncio.to_thread(inject.write, spec.files, Path(spec.image.path), upper)
        await self._rescue_layer(spec, size)
        await self._write_record(spec)

    async def _rescue_layer(self, spec: GuestSpec, size: int) -> None:
        """What a rescue writes is thrown away with it."""
        name = inside.rescue_layer(spec.server_id)
        if spec.rescue is None:
            if await self._pool.has(name) and await self._init(spec.server_id) is None:
                await self._pool.remove(name)
            return
        if spec.rescue.image.form is not ImageForm.ROOTFS:
            raise Invalid("A container is rescued by a root file system.", field="rescue")
        if not await self._pool.has(name):
            await self._pool.create(name, limit_mib=size)
        await asyncio.to_thread((self._pool.layer(name) / "up" / "mnt").mkdir, mode=0o755, exist_ok=True)

    def _directories(self, server_id: str) -> None:
        home = self._paths.home(server_id)
        home.mkdir(mode=0o711, exist_ok=True)
        for name in ("lower", "layer", "own-lower", "own-layer", "drive", "rootfs"):
            (home / name).mkdir(mode=0o755, exist_ok=True)

    async def _write(self, spec: GuestSpec) -> None:
        await self._guest(spec.server_id)
        await self._write_config(spec)
        await self._write_record(spec)

    async def _write_config(self, spec: GuestSpec) -> None:
        here, boots = self._here, inside.booted(spec)

        def work() -> None:
            init = config.init_of(boots.properties, host.init_target(boots.image.path))
            text = config.render(spec, here, self._paths, init)
            home = self._paths.home(spec.server_id)
            state.write(home / "config", text.encode())
            state.write(home / "hook.conf", config.hook_settings(config.named(spec), here).encode())

        await asyncio.to_thread(work)

    async def _write_record(self, spec: GuestSpec) -> None:
        def work() -> None:
            init = config.init_of(spec.properties, host.init_target(inside.booted(spec).image.path))
            state.save(self._paths, config.record(spec, init))

        await asyncio.to_thread(work)

    async def _start(self, spec: GuestSpec) -> None:
        run = await self._run(spec.server_id)
        if run.init is not None and run.this_boot and run.init.alive():
            await self._guest(spec.server_id)
            return
        if run.monitor is not None and not (run.ended == "stop" and await wait_exit(run.monitor, timeout=5)):
            await self._kill(spec.server_id)  # a start that was cut off, or a monitor that hangs
        await self._create(spec)
        await self._end_all(_groups(spec.server_id)[0])  # what a lost record left; else liblxc says it runs already
        here, home = self._here, self._paths.home(spec.server_id)

        def prepare() -> None:
            here.cgroups.remove(*_groups(spec.server_id))
            (home / "lxc.log").unlink(missing_ok=True)
            self._paths.of_run(spec.server_id, "nics").unlink(missing_ok=True)

        await asyncio.to_thread(prepare)
        own = str(self._pool.layer(spec.server_id))
        rescued = spec.rescue is not None
        root = mounts.Root(
            image=inside.booted(spec).image.path,
            layer=str(self._pool.layer(inside.rescue_layer(spec.server_id))) if rescued else own,
            base=str(home),
            id_base=spec.identity.id_base,
            drive=spec.config_drive,
            own_image=spec.image.path if rescued else "",
            own_layer=own if rescued else "",
        )
        monitor = str(self._paths.of_run(spec.server_id, "monitor"))
        argv = [*self._lxc("lxc-start", spec.server_id), "--daemon", "--pidfile", monitor]
        env = {"PATH": str(self._paths.bin), "LANG": "C.UTF-8", "HOME": "/root"}
        try:
            ended = await mounts.start_in(root, argv, env, timeout=_START_SECONDS)
        except Deadline:
            await self._kill(spec.server_id)
            raise
        if ended.exit_code != 0:
            said = await asyncio.to_thread(words.log_words, home / "lxc.log")
            await self._kill(spec.server_id)
            raise Backend(f"The container did not start: {said or ended.stderr.strip()[-1000:]}")
        now = await self._run(spec.server_id)
        if now.init is None or now.init == run.init:  # lxc-start is content with any container of this name
            await self._kill(spec.server_id)
            raise Backend("liblxc started nothing: a container of this name runs already.", hint="Find it by lxc-ls.")

    async def _stop(self, guest: state.Guest, *, timeout: float) -> None:
        run = await self._run(guest.server_id)
        if timeout > 0 and run.init is not None and run.this_boot and run.init.alive():
            await self._thaw(config.group(guest.server_id))
            until = asyncio.get_running_loop().time() + timeout
            while (left := until - asyncio.get_running_loop().time()) > 0:
                signals.send(run.init, guest.halt_signal)
                if await wait_exit(run.monitor or run.init, timeout=min(left, signals.PRESS_AGAIN)):
                    break
        await self._kill(guest.server_id)

    async def _kill(self, server_id: str) -> None:
        """Take the power away and wait until the monitor has cleared up. A monitor that does not is killed, too.
        Goes by the control groups as well as by the record: a start that was cut off may have left no record."""
        run = await self._run(server_id)
        group, monitors, pivot = _groups(server_id)
        if run.init is not None and run.this_boot and run.init.alive():
            signals.send(run.init, signal.SIGKILL)  # first and at once: the rest of the container ends with it
            await self._thaw(group)
            if not await wait_exit(run.init, timeout=_TEARDOWN_SECONDS):
                raise Deadline("The container's first process does not die.", hint="See dmesg for a blocked device.")
        await self._end_all(group)
        # the monitor clears up now, moving to the pivot group as its last act
        left = {run.monitor} if run.monitor is not None else set()
        for name in (monitors, pivot):
            left |= set(await asyncio.to_thread(self._members, name))
        await asyncio.gather(*(wait_exit(each, timeout=_TEARDOWN_SECONDS) for each in left))
        if not left and run.init is not None and not run.ended:  # nobody was left to say so
            path = self._paths.of_run(server_id, "end")
            await asyncio.to_thread(path.write_text, f"stop {server_id}\n", "ascii")
        for name in (monitors, pivot, group):  # the group once more: a hanging monitor may have started it again
            await self._end_all(name)
        await asyncio.to_thread(self._here.cgroups.remove, *_groups(server_id))

    def _members(self, group: str) -> list[state.Process]:
        found = self._here.cgroups.members(group)
        return [state.Process(pid, ticks) for pid in found if (ticks := state.start_ticks(pid)) is not None]

    async def _end_all(self, group: str) -> None:
        """SIGKILL all of a control group. A frozen process dies only when it is thawed."""
        for _ in range(5):
            processes = await asyncio.to_thread(self._members, group)
            if not processes:
                return
            for process in processes:
                signals.send(process, signal.SIGKILL)
            await self._thaw(group)
            ended = await asyncio.gather(*(wait_exit(each, timeout=_TEARDOWN_SECONDS) for each in processes))
            if not all(ended):
                break
        raise Deadline("The container's processes do not die.", hint="See dmesg for a blocked device.")

    async def _reboots_itself(self, guest: state.Guest, run: state.Run) -> bool:
        assert run.init is not None
        with self._watch.subscribe() as queue:
            await self._thaw(config.group(guest.server_id))
            until = asyncio.get_running_loop().time() + self._soft
            while (left := until - asyncio.get_running_loop().time()) > 0:
                signals.send(run.init, guest.reboot_signal)
                with contextlib.suppress(TimeoutError):  # pressed again
                    async with asyncio.timeout(min(left, signals.PRESS_AGAIN)):
                        while True:
                            event = await queue.get()
                            if event.server_id != guest.server_id:
                                continue
                            if event.kind in (GuestEventKind.REBOOTED, GuestEventKind.STARTED):
                                return True
                            if event.kind in (GuestEventKind.STOPPED, GuestEventKind.CRASHED):
                                return False
            return False

    async def _thaw(self, group: str) -> None:
        cgroups = self._here.cgroups
        if await asyncio.to_thread(cgroups.frozen, group):
            await asyncio.to_thread(cgroups.freeze, group, frozen=False)

    async def _freeze(self, server_id: str, *, frozen: bool) -> None:
        async with self._turn(server_id):
            cgroups, group = self._here.cgroups, config.group(server_id)
            if not cgroups.freezer:
                raise Unsupported("This host has no freezer.", capability="pause")
            await self._running(server_id)
            if await asyncio.to_thread(cgroups.frozen, group) == frozen:
                return
            await asyncio.to_thread(cgroups.freeze, group, frozen=frozen)
            self._watch.publish(server_id, GuestEventKind.PAUSED if frozen else GuestEventKind.RESUMED)

    def _wipe(self, server_id: str, home: Path) -> None:
        for path in self._paths.run.glob(f"{server_id}.*"):
            path.unlink(missing_ok=True)
        if home.exists():
            (home / "guest.json").unlink(missing_ok=True)
            for name in ("lower", "layer", "own-lower", "own-layer", "drive", "rootfs", "frozen"):
                with contextlib.suppress(FileNotFoundError):
                    (home / name).rmdir()  # empty mount points: never a tree, whatever may be mounted
            shutil.rmtree(home)

    def _fact(self, server_id: str) -> GuestFacts:
        run = state.run_of(self._paths, server_id)
        if run.init is not None and run.this_boot and run.init.alive():
            used: cgroup.Used = self._here.cgroups.used(config.group(server_id))
            return GuestFacts(
                server_id=server_id,
                power=PowerState.PAUSED if used.frozen else PowerState.RUNNING,
                pid=run.init.pid,
                started_at=run.init.started_at,
                cpu_seconds=used.cpu_seconds,
                memory_mib=used.memory_mib,
            )
        if run.monitor is not None and run.ended == "reboot":
            return GuestFacts(server_id=server_id, power=PowerState.RUNNING, reason="It is rebooting.")
        if run.init is None or run.ended:
            # what ended before the host restarted may have been ended by that
            own = bool(run.ended) and run.this_boot
            return GuestFacts(server_id=server_id, power=PowerState.SHUTDOWN, reason=POWERED_OFF if own else "")
        if run.monitor is not None:  # it ended this moment, and the monitor has not said how
            return GuestFacts(server_id=server_id, power=PowerState.UNKNOWN, reason="It is ending.")
        why = "It ended without its monitor." if run.this_boot else "The host restarted."
        return GuestFacts(server_id=server_id, power=PowerState.CRASHED, reason=why)


def _groups(server_id: str) -> tuple[str, str, str]:
    group = config.group(server_id)
    return group, f"{group}-monitor", f"{group}-pivot"
