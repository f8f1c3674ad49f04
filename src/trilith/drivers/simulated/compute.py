"""Simulated guests: a file a guest, so that they outlive the process as real ones do. For tests and scale runs only.

The guest's memory is its file's content: the power state. A kill -9 of the control plane leaves the files; a new
driver adopts them. Faults are injected by `fault`, called with the name of each call.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import tarfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec

from trilith import errors
from trilith.drivers.contract import ComputeCapabilities, Terminal
from trilith.drivers.simulated.fabric import Fault, no_fault
from trilith.drivers.simulated.screen import SimulatedScreen
from trilith.drivers.simulated.shell import SimulatedConsole, SimulatedShell
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
    PowerState,
)

#: what simulated machines have as real ones do where libvirt has an emulated TPM and signed firmware
_FIRMWARE = ("COMPUTE_SECURITY_TPM_2_0", "COMPUTE_SECURITY_UEFI_SECURE_BOOT")


class _Guest(msgspec.Struct):
    spec: GuestSpec
    power: PowerState
    started_at: float = 0.0
    passwords: dict[str, str] = {}  # user → hash of what was set, as a guest's shadow file has it; nothing logs in here


class SimulatedCompute:
    """A ComputeDriver. Sizes of the simulated host: threads, MiB, GiB."""

    def __init__(
        self, state: Path, *, node: str, cloud_id: str, pillar: Pillar = Pillar.KVM, vcpus: int = 64,
        memory_mib: int = 256 * 1024, disk_gib: int = 4096,
    ) -> None:  # fmt: skip
        self._dir = state / "simulated" / node / pillar
        self._dir.mkdir(parents=True, exist_ok=True)
        self._node, self._cloud, self._pillar = node, cloud_id, pillar
        self._sizes = (vcpus, memory_mib, disk_gib)
        self._events: asyncio.Queue[GuestEvent] = asyncio.Queue()
        self._terminals: defaultdict[str, set[SimulatedShell]] = defaultdict(set)
        self._consoles: dict[str, SimulatedConsole] = {}
        self._screens: dict[str, SimulatedScreen] = {}
        self._sockets = -1  # descriptor of the screens' directory
        self.fault: Fault = no_fault

    @property
    def capabilities(self) -> ComputeCapabilities:
        return ComputeCapabilities(
            pillar=self._pillar,
            forms=(ImageForm.DISK, ImageForm.ROOTFS, ImageForm.BARE),
            pause=True,
            suspend=self._pillar is not Pillar.LXC,  # as the real ones: nobody saves a container's memory here
            hotplug_nic=True,
            snapshot_form="root-tar",
            serial_console=True,
            vnc_console=self._pillar is not Pillar.LXC,  # as the real ones: a container has no screen
            execute=True,
            shell=self._pillar is Pillar.LXC,
            password=True,
            rescue=True,
            stable_rescue=self._pillar is Pillar.KVM,
            live_migration=self._pillar is not Pillar.LXC,
            simulated=True,
        )

    async def probe(self) -> HostFacts:
        vcpus, memory, disk = self._sizes
        return HostFacts(
            hostname=self._node,
            pillars=(self._pillar,),
            inventories={"VCPU": vcpus, "MEMORY_MB": memory, "DISK_GB": disk},
            traits=("HW_CPU_X86_SSE2", "CUSTOM_SIMULATED", *(_FIRMWARE if self._pillar is Pillar.KVM else ())),
            hypervisor_type="simulated",
            hypervisor_version=1,
            cpu_info={"arch": "x86_64", "model": "simulated"},
            warnings=("This node is simulated: its guests do not exist.",),
        )

    async def create(self, spec: GuestSpec) -> None:
        self.fault("create")
        old = self._find(spec.server_id)
        self._write(_Guest(spec, old.power if old else PowerState.SHUTDOWN, old.started_at if old else 0.0))

    async def start(self, spec: GuestSpec) -> None:
        self.fault("start")
        guest = self._get(spec.server_id)
        guest.spec = spec
        if guest.power is not PowerState.RUNNING:
            self._set(guest, PowerState.RUNNING, GuestEventKind.STARTED)

    async def stop(self, server_id: str, *, timeout: float) -> None:
        self.fault("stop")
        guest = self._find(server_id)
        if guest is not None and guest.power is not PowerState.SHUTDOWN:
            self._set(guest, PowerState.SHUTDOWN, GuestEventKind.STOPPED)

    async def reboot(self, spec: GuestSpec, *, hard: bool) -> None:
        self.fault("reboot")
        self._set(self._get(spec.server_id), PowerState.RUNNING, GuestEventKind.REBOOTED)

    async def pause(self, server_id: str) -> None:
        self.fault("pause")
        self._set(self._get(server_id), PowerState.PAUSED, GuestEventKind.PAUSED)

    async def unpause(self, server_id: str) -> None:
        self.fault("unpause")
        self._set(self._get(server_id), PowerState.RUNNING, GuestEventKind.RESUMED)

    async def suspend(self, server_id: str) -> None:
        self.fault("suspend")
        self._set(self._get(server_id), PowerState.SUSPENDED, GuestEventKind.SUSPENDED)

    async def resume(self, spec: GuestSpec) -> None:
        self.fault("resume")
        self._set(self._get(spec.server_id), PowerState.RUNNING, GuestEventKind.RESUMED)

    async def delete(self, server_id: str) -> None:
        self.fault("delete")
        self._hang_up(server_id)
        self._path(server_id).unlink(missing_ok=True)

    async def facts(self, server_id: str = "") -> list[GuestFacts]:
        self.fault("facts")
        one = self._path(server_id)
        paths = self._dir.glob("*.json") if not server_id else [one] if one.exists() else []
        return [fact for path in paths if (fact := self._fact(path)) is not None]

    def _fact(self, path: Path) -> GuestFacts | None:
        guest = msgspec.json.decode(path.read_bytes(), type=_Guest)
        if guest.spec.cloud_id != self._cloud:
            return None
        reason = "powered-off" if guest.power is PowerState.SHUTDOWN else ""
        return GuestFacts(server_id=guest.spec.server_id, power=guest.power, started_at=guest.started_at, reason=reason)

    async def events(self) -> AsyncIterator[GuestEvent]:
        while True:
            yield await self._events.get()

    async def plug(self, spec: GuestSpec, nic: NicSpec) -> None:
        self.fault("plug")
        self._write(_Guest(spec, self._get(spec.server_id).power))

    async def unplug(self, spec: GuestSpec, nic: NicSpec) -> None:
        self.fault("unplug")
        self._write(_Guest(spec, self._get(spec.server_id).power))

    async def resize(self, spec: GuestSpec) -> None:
        self.fault("resize")
        self._write(_Guest(spec, self._get(spec.server_id).power))

    async def set_password(self, server_id: str, user: str, password: str) -> None:
        self.fault("set_password")
        guest = self._running(server_id)
        guest.passwords = guest.passwords | {user or "root": password_hash(server_id, password)}
        self._write(guest)

    async def receive(self, spec: GuestSpec) -> str:
        self.fault("receive")
        return str(self._path(self._get(spec.server_id).spec.server_id))

    async def send(self, server_id: str, address: str) -> None:
        """The guest's memory is its file: its state goes into the other node's."""
        self.fault("send")
        guest, there = self._get(server_id), _read(Path(address))
        if guest.power is PowerState.SHUTDOWN and there.power is not PowerState.SHUTDOWN:
            return
        if guest.power not in (PowerState.RUNNING, PowerState.PAUSED):
            raise errors.Conflict(f"The server {server_id} does not run.")
        there.power, there.started_at, there.passwords = guest.power, guest.started_at, guest.passwords
        _keep(Path(address), there)
        guest.power = PowerState.SHUTDOWN  # it ended by its move, which is no event of its own
        self._hang_up(server_id)
        self._write(guest)

    async def snapshot(self, server_id: str, dest: str) -> None:
        self.fault("snapshot")
        guest = self._get(server_id)
        text = f"simulated root of {guest.spec.server_id}\n".encode()
        with tarfile.open(dest, "x") as tar:
            info = tarfile.TarInfo("etc/simulated")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))

    async def console_log(self, server_id: str, *, max_bytes: int) -> bytes:
        guest = self._get(server_id)
        lines = [f"[simulated] {guest.spec.hostname} line {n}\n" for n in range(1, 40)]
        return "".join([*lines, f"{guest.spec.hostname} login: "]).encode()[-max_bytes:]

    async def console(self, server_id: str) -> ConsoleEndpoint:
        guest = self._running(server_id)
        if server_id not in self._consoles:
            self._consoles[server_id] = SimulatedConsole(guest.spec.hostname)
        return ConsoleEndpoint(kind="pty", address=self._consoles[server_id].path)

    async def screen(self, server_id: str) -> ConsoleEndpoint:
        self.fault("screen")
        guest = self._get(server_id)
        if guest.power not in (PowerState.RUNNING, PowerState.PAUSED):  # a paused machine's screen stands still
            raise errors.Conflict(f"The server {server_id} is not running.", hint="Start it first.")
        if not self.capabilities.vnc_console:
            raise errors.Unsupported(f"The server {server_id} has no screen.", capability="vnc_console")
        if server_id not in self._screens:
            if self._sockets < 0:
                folder = self._dir / "screens"
                folder.mkdir(exist_ok=True)
                self._sockets = os.open(folder, os.O_PATH | os.O_DIRECTORY)
            # by the directory's descriptor, as a state directory's name may be too long for a socket in it (unix(7))
            address = f"/proc/{os.getpid()}/fd/{self._sockets}/{server_id}"
            screen = self._screens[server_id] = SimulatedScreen(guest.spec.hostname, address)
            await screen.open()
        return ConsoleEndpoint(kind="unix", address=self._screens[server_id].address, protocol="vnc")

    async def execute(self, server_id: str, argv: Sequence[str], *, timeout: float) -> ExecResult:
        self._get(server_id)
        return ExecResult(exit_code=0, stdout=b"", stderr=b"[simulated]\n")

    async def shell(self, server_id: str, *, rows: int, cols: int) -> Terminal:
        self.fault("shell")
        guest = self._running(server_id)
        terminals = self._terminals[server_id]
        made = SimulatedShell(guest.spec.hostname, rows=rows, cols=cols, ended=terminals.discard)
        terminals.add(made)
        return made

    def _running(self, server_id: str) -> _Guest:
        guest = self._get(server_id)
        if guest.power is not PowerState.RUNNING:
            raise errors.Conflict(f"The server {server_id} is not running.", hint="Start it first.")
        return guest

    async def close(self) -> None:
        for server_id in [*self._terminals, *self._consoles, *self._screens]:
            self._hang_up(server_id)
        if self._sockets >= 0:
            os.close(self._sockets)
            self._sockets = -1

    async def crash(self, server_id: str) -> None:
        """What a guest does by itself: for tests."""
        self._set(self._get(server_id), PowerState.CRASHED, GuestEventKind.CRASHED)

    async def power_off(self, server_id: str) -> None:
        """What a user inside does: for tests."""
        self._set(self._get(server_id), PowerState.SHUTDOWN, GuestEventKind.STOPPED)

    def _hang_up(self, server_id: str) -> None:
        for terminal in list(self._terminals.pop(server_id, ())):
            terminal.end()
        console = self._consoles.pop(server_id, None)
        if console is not None:
            console.end()
        screen = self._screens.pop(server_id, None)
        if screen is not None:
            screen.end()

    def _path(self, server_id: str) -> Path:
        return self._dir / f"{server_id}.json"

    def _find(self, server_id: str) -> _Guest | None:
        try:
            return msgspec.json.decode(self._path(server_id).read_bytes(), type=_Guest)
        except FileNotFoundError:
            return None

    def _get(self, server_id: str) -> _Guest:
        guest = self._find(server_id)
        if guest is None:
            raise errors.Missing(f"Node {self._node} has no guest {server_id}.")
        return guest

    def _write(self, guest: _Guest) -> None:
        _keep(self._path(guest.spec.server_id), guest)

    def _set(self, guest: _Guest, power: PowerState, kind: GuestEventKind) -> None:
        if power is PowerState.RUNNING and kind in (GuestEventKind.STARTED, GuestEventKind.REBOOTED):
            guest.started_at = time.time()
        guest.power = power
        self._write(guest)
        if power in (PowerState.SHUTDOWN, PowerState.CRASHED):
            self._hang_up(guest.spec.server_id)
        self._events.put_nowait(GuestEvent(server_id=guest.spec.server_id, kind=kind, at=time.time()))


def _read(path: Path) -> _Guest:
    return msgspec.json.decode(path.read_bytes(), type=_Guest)


def _keep(path: Path, guest: _Guest) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(guest))
    fresh.replace(path)


def password_hash(server_id: str, password: str) -> str:
    """Salted with the server's id."""
    return hashlib.scrypt(password.encode(), salt=server_id.encode(), n=1024, r=8, p=1, dklen=32).hex()
