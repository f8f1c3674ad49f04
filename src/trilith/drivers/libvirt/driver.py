"""The compute driver for virtual machines, over libvirt."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import libvirt

from trilith.drivers.contract import ComputeCapabilities
from trilith.drivers.libvirt import button, domains, guest_agent, hostfacts, nics, snapshot
from trilith.drivers.libvirt.connection import Connection, Happening
from trilith.drivers.libvirt.domain import domain_name
from trilith.drivers.libvirt.files import GuestFiles
from trilith.drivers.libvirt.host import is_bare
from trilith.drivers.libvirt.hostfacts import Hosts
from trilith.drivers.libvirt.inbox import Inbox
from trilith.drivers.libvirt.kvm import KVM
from trilith.drivers.libvirt.node import Node
from trilith.drivers.libvirt.probe import KvmProbe
from trilith.drivers.libvirt.xen import XEN
from trilith.errors import Conflict, Invalid, Unsupported
from trilith.model.guest import (
    ConsoleEndpoint,
    ExecResult,
    GuestEvent,
    GuestFacts,
    GuestSpec,
    HostFacts,
    ImageForm,
    NicSpec,
    Pillar,
)

T = TypeVar("T")

#: seconds for a guest to reboot itself
SOFT_REBOOT_DEADLINE = 60.0


class LibvirtDriver:
    """Virtual machines through one libvirtd.

    uri: such as qemu:///system?socket=/run/…/libvirt-sock or xen:///system.
    state_dir: for console logs and VNC sockets; its path may have at most 64 characters, and others may enter it.
    offload_off: checksum offloads off in every interface, which the userspace (netdev) datapath needs.
    kvm: what `probe_kvm` found; a guest runs under KVM only where its probe held, else under emulation.

    replug: called between the two halves of a hard reboot, to do what the next paragraph asks of the caller.

    Before `start`, and before the `resume` of a suspended guest, the caller has unplugged and plugged each of the
    guest's ports at the switch, in transactions of their own: a tap that comes again by the same name is not attached
    otherwise. A guest's own reboot keeps its taps.
    """

    def __init__(
        self,
        uri: str,
        state_dir: str,
        *,
        cloud_id: str,
        offload_off: bool,
        kvm: KvmProbe,
        replug: Callable[[GuestSpec], Awaitable[None]] | None = None,
        soft_reboot_deadline: float = SOFT_REBOOT_DEADLINE,
    ) -> None:
        self._uri = uri
        self._offload_off = offload_off
        self._kvm = kvm
        self._replug = replug
        self._soft_reboot_deadline = soft_reboot_deadline
        self._xen = uri.startswith("xen")
        self._state_dir = state_dir
        # the daemon's run directory holds QEMU's pid files, beside the socket
        given = parse_qs(urlsplit(uri).query).get("socket", ["/run/libvirt/libvirt-sock"])[0]
        self._run_dir = os.path.dirname(given)
        connection = Connection(uri, on_event=self._on_event, on_connected=self._on_connected)
        self._node = Node(connection, cloud_id, XEN if self._xen else KVM, GuestFiles(state_dir))
        self._inbox = Inbox(self._node, self.facts)
        self._pump: asyncio.Task[None] | None = None

    @property
    def capabilities(self) -> ComputeCapabilities:
        if self._xen:
            return ComputeCapabilities(
                pillar=Pillar.XEN,
                forms=(ImageForm.DISK,),
                pause=True,
                suspend=True,
                serial_console=True,
                snapshot=False,
            )
        return ComputeCapabilities(
            pillar=Pillar.KVM,
            forms=(ImageForm.DISK, ImageForm.BARE),
            pause=True,
            suspend=True,
            hotplug_nic=True,
            serial_console=True,
            vnc_console=True,
            password=True,
            rescue=True,
            stable_rescue=True,
            emulated=not self._kvm.linux,
        )

    async def open(self) -> None:
        """Connect and learn what the host has. Raises Backend when libvirtd does not answer."""
        await asyncio.to_thread(os.makedirs, self._state_dir, 0o711, True)
        await self._node.connection.open()
        self._node.hosts = await self._node.call("ask libvirt for its capabilities", self._learn)
        self._node.hub.states.update({fact.server_id: fact.power for fact in await self.facts()})
        self._pump = asyncio.create_task(self._inbox.deliver(), name="libvirt-events")

    async def close(self) -> None:
        await self._node.connection.close()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        self._node.hub.close()

    async def probe(self) -> HostFacts:
        return await self._node.call("ask libvirt about the host", self._facts_of_host)

    # -- life ---------------------------------------------------------------------------------------------------

    async def create(self, spec: GuestSpec) -> None:
        await self._node.call(f"define server {spec.server_id}", lambda c: self._node.define(c, spec))

    async def start(self, spec: GuestSpec) -> None:
        def work(connection: Any) -> None:
            domain = domains.find(connection, self._node.cloud_id, spec.server_id)
            if domain is not None and domain.isActive():
                return
            if domain is None or not domain.hasManagedSaveImage(0):
                domain = self._node.define(connection, spec)
            _begin(domain)

        await self._node.call(f"start server {spec.server_id}", work)

    async def stop(self, server_id: str, *, timeout: float) -> None:
        """A bare guest has no power button, and a paused one cannot press it: their power is taken at once."""
        await button.stop(self._node, server_id, timeout=timeout)

    async def reboot(self, spec: GuestSpec, *, hard: bool) -> None:
        """Hard: power off and on, with a new QEMU and new taps (see `replug`). A soft reboot that is not answered, and
        any of a bare guest, which has no button, is a reset: the same QEMU from its first instruction, taps kept."""
        server_id = spec.server_id
        if not await self._active(server_id):
            await self.start(spec)
            return
        if hard:
            await self.stop(server_id, timeout=0)
            if self._replug is not None:
                await self._replug(spec)
            await self.start(spec)
            return
        if not is_bare(spec) and await button.reboot(self._node, server_id, self._soft_reboot_deadline):
            return

        def work(domain: Any) -> None:
            domain.reset(0)
            if domain.state(0)[0] == libvirt.VIR_DOMAIN_PAUSED:
                domain.resume()

        await self._node.call(f"reboot server {server_id}", self._node.on(server_id, work))

    async def pause(self, server_id: str) -> None:
        def work(domain: Any) -> None:
            if domain.state(0)[0] != libvirt.VIR_DOMAIN_PAUSED:
                domain.suspend()

        await self._node.call(f"pause server {server_id}", self._node.on(server_id, work))

    async def unpause(self, server_id: str) -> None:
        def work(domain: Any) -> None:
            if domain.state(0)[0] == libvirt.VIR_DOMAIN_PAUSED:
                domain.resume()
            elif not domain.isActive():
                raise Conflict(f"server {server_id} does not run")

        await self._node.call(f"unpause server {server_id}", self._node.on(server_id, work))

    async def suspend(self, server_id: str) -> None:
        def work(domain: Any) -> None:
            if domain.isActive():
                domain.managedSave(0)
            elif not domain.hasManagedSaveImage(0):
                raise Conflict(f"server {server_id} does not run")

        await self._node.call(f"suspend server {server_id}", self._node.on(server_id, work))

    async def resume(self, spec: GuestSpec) -> None:
        """Restores the memory saved by `suspend`. Raises Conflict when there is none and the guest does not run."""

        def work(domain: Any) -> None:
            if domain.isActive():
                return
            if not domain.hasManagedSaveImage(0):
                raise Conflict(f"server {spec.server_id} is not suspended", hint="Start it instead.")
            _begin(domain)

        await self._node.call(f"resume server {spec.server_id}", self._node.on(spec.server_id, work))

    async def delete(self, server_id: str) -> None:
        def work(connection: Any) -> None:
            domain = domains.find(connection, self._node.cloud_id, server_id)
            if domain is not None:
                uuid = domain.UUIDString()
                domains.remove(domain)
                self._node.owners.pop(uuid, None)
            self._node.files.remove(server_id)

        await self._node.call(f"delete server {server_id}", work)
        self._node.hub.forget(server_id)

    # -- changes ------------------------------------------------------------------------------------------------

    async def plug(self, spec: GuestSpec, nic: NicSpec) -> None:
        await nics.plug(self._node, spec, nic)

    async def unplug(self, spec: GuestSpec, nic: NicSpec) -> None:
        """The guest must let go of a device first: one that does not gives Deadline, and the interface stays."""
        await nics.unplug(self._node, spec, nic)

    async def resize(self, spec: GuestSpec) -> None:
        def work(connection: Any) -> None:
            domain = domains.need(connection, self._node.cloud_id, spec.server_id)
            if domain.isActive():
                raise Conflict(f"server {spec.server_id} runs", hint="Stop it before resizing.")
            if domain.hasManagedSaveImage(0):
                raise Conflict(f"server {spec.server_id} is suspended", hint="Resume and stop it before resizing.")
            self._node.define(connection, spec)

        await self._node.call(f"resize server {spec.server_id}", work)

    async def snapshot(self, server_id: str, dest: str) -> None:
        if self._xen:
            raise Unsupported("snapshots of Xen guests are not supported", capability="snapshot")

        def look(domain: Any) -> tuple[bool, str]:
            return bool(domain.isActive()), snapshot.root_disk_of(domain.XMLDesc(0))[1]

        active, path = await self._node.call(f"snapshot server {server_id}", self._node.on(server_id, look))
        if not path:
            raise Unsupported(f"server {server_id} has no disk", capability="snapshot")
        if await asyncio.to_thread(os.path.exists, dest):
            raise Conflict(f"{dest} exists already")
        part = await asyncio.to_thread(self._node.files.snapshot, server_id)
        try:
            if active:
                await snapshot.running(self._node.connection, self._node.hub, domain_name(server_id), part)
            else:
                await snapshot.stopped(path, part)
            await asyncio.to_thread(snapshot.finish, part, dest)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)

    # -- looking ------------------------------------------------------------------------------------------------

    async def facts(self, server_id: str = "") -> list[GuestFacts]:
        def work(connection: Any) -> list[GuestFacts]:
            only = domains.ours(connection, self._node.cloud_id, server_id) if server_id else None
            return domains.list_facts(connection, self._node.cloud_id, self._node.owners, self._run_dir, only=only)

        found = await self._node.call("list servers", work)
        self._node.ours.update(fact.server_id for fact in found)
        return found

    def events(self) -> AsyncIterator[GuestEvent]:
        return self._node.hub.follow()

    async def console_log(self, server_id: str, *, max_bytes: int) -> bytes:
        if max_bytes < 0:
            raise Invalid("max_bytes must not be negative", field="max_bytes")
        await self._node.call(f"read the console of server {server_id}", self._node.on(server_id, lambda domain: None))
        return await asyncio.to_thread(self._node.files.log_tail, server_id, max_bytes)

    async def console(self, server_id: str) -> ConsoleEndpoint:
        def work(domain: Any) -> ConsoleEndpoint:
            found = domains.serial_pty(domain.XMLDesc(0)) if domain.isActive() else None
            if found is None:
                raise Conflict(f"server {server_id} does not run", hint="Start it first.")
            return found

        return await self._node.call(f"find the console of server {server_id}", self._node.on(server_id, work))

    async def screen(self, server_id: str) -> ConsoleEndpoint:
        def work(domain: Any) -> ConsoleEndpoint:
            if not domain.isActive():
                raise Conflict(f"server {server_id} does not run", hint="Start it first.")
            found = domains.vnc_socket(domain.XMLDesc(0))
            if found is None:
                raise Unsupported(
                    f"server {server_id} has no screen", capability="vnc_console", hint="Use its serial console."
                )
            return found

        return await self._node.call(f"find the screen of server {server_id}", self._node.on(server_id, work))

    async def set_password(self, server_id: str, user: str, password: str) -> None:
        """By the QEMU guest agent, which only the image can bring along. A guest that still boots is waited for."""
        doing = f"set a password in server {server_id}"

        def work(domain: Any) -> bool:
            return guest_agent.set_password(domain, user, password)

        with self._node.hub.expect(lambda happening: guest_agent.connected(server_id, happening)) as listens:
            if await self._node.call(doing, self._node.on(server_id, work)):
                return
            await asyncio.wait([listens], timeout=guest_agent.CONNECT_DEADLINE)
            if not await self._node.call(doing, self._node.on(server_id, work)):
                raise guest_agent.absent()

    async def execute(self, server_id: str, argv: Sequence[str], *, timeout: float) -> ExecResult:
        raise Unsupported(
            "commands are not run inside virtual machines", capability="execute", hint="Use ssh or the console."
        )

    # -- inside -------------------------------------------------------------------------------------------------

    def _learn(self, connection: Any) -> Hosts:
        return hostfacts.learn(connection, xen=self._xen, offload_off=self._offload_off, probe=self._kvm)

    def _facts_of_host(self, connection: Any) -> HostFacts:
        return hostfacts.facts(connection, self._node.need_hosts(), self._kvm, self._state_dir)

    async def _active(self, server_id: str) -> bool:
        return bool(
            await self._node.call(f"look at server {server_id}", self._node.on(server_id, lambda d: d.isActive()))
        )

    def _on_event(self, happening: Happening) -> None:
        self._inbox.put(happening)

    def _on_connected(self) -> None:
        self._inbox.missed()


def _begin(domain: Any) -> None:
    try:
        domain.createWithFlags(0)
    except libvirt.libvirtError as error:
        # somebody was faster: running is what was wanted
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID or not domain.isActive():
            raise
