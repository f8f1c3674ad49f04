"""The compute driver for virtual machines, over libvirt."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit
from xml.etree.ElementTree import tostring

import libvirt

from trilith.drivers.contract import ComputeCapabilities
from trilith.drivers.libvirt import domains, guest_agent, hostfacts, snapshot
from trilith.drivers.libvirt.connection import Connection, Happening
from trilith.drivers.libvirt.domain import Dialect, build, domain_name
from trilith.drivers.libvirt.events import Hub, classify
from trilith.drivers.libvirt.files import GuestFiles
from trilith.drivers.libvirt.host import HostSetup, is_bare, valid
from trilith.drivers.libvirt.hostfacts import Hosts
from trilith.drivers.libvirt.kvm import KVM
from trilith.drivers.libvirt.probe import KvmProbe
from trilith.drivers.libvirt.xen import XEN
from trilith.drivers.libvirt.xml.metadata import Owner
from trilith.errors import Backend, Conflict, Deadline, Invalid, Missing, TrilithError, Unsupported
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

#: seconds for a guest to reboot itself, and to let go of an interface
SOFT_REBOOT_DEADLINE, UNPLUG_DEADLINE = 60.0, 20.0
#: seconds after which the power button is pressed again: a guest that is still booting does not notice the first time
#: (Nova: shutdown_retry_interval)
PRESS_AGAIN = 10.0
#: what every guest of ours begins with, before its id
PREFIX = "t-"


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
        self._cloud_id = cloud_id
        self._offload_off = offload_off
        self._kvm = kvm
        self._replug = replug
        self._soft_reboot_deadline = soft_reboot_deadline
        self._xen = uri.startswith("xen")
        self._dialect: Dialect = XEN if self._xen else KVM
        self._files = GuestFiles(state_dir)
        self._state_dir = state_dir
        # the daemon's run directory holds QEMU's pid files, beside the socket
        given = parse_qs(urlsplit(uri).query).get("socket", ["/run/libvirt/libvirt-sock"])[0]
        self._run_dir = os.path.dirname(given)
        self._connection = Connection(uri, on_event=self._on_event, on_connected=self._on_connected)
        self._hub = Hub()
        self._owners: dict[str, Owner | None] = {}
        self._ours: set[str] = set()
        self._inbox: asyncio.Queue[Happening | None] = asyncio.Queue()
        self._pump: asyncio.Task[None] | None = None
        self._hosts: Hosts | None = None

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
        await self._connection.open()
        self._hosts = await self._call("ask libvirt for its capabilities", self._learn)
        self._hub.states.update({fact.server_id: fact.power for fact in await self.facts()})
        self._pump = asyncio.create_task(self._deliver(), name="libvirt-events")

    async def close(self) -> None:
        await self._connection.close()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        self._hub.close()

    async def probe(self) -> HostFacts:
        return await self._call("ask libvirt about the host", self._facts_of_host)

    # -- life ---------------------------------------------------------------------------------------------------

    async def create(self, spec: GuestSpec) -> None:
        await self._call(f"define server {spec.server_id}", lambda c: self._define(c, spec))

    async def start(self, spec: GuestSpec) -> None:
        def work(connection: Any) -> None:
            domain = domains.find(connection, self._cloud_id, spec.server_id)
            if domain is not None and domain.isActive():
                return
            if domain is None or not domain.hasManagedSaveImage(0):
                domain = self._define(connection, spec)
            _begin(domain)

        await self._call(f"start server {spec.server_id}", work)

    async def stop(self, server_id: str, *, timeout: float) -> None:
        """A bare guest has no power button, and a paused one cannot press it: their power is taken at once.

        A Linux guest needs a handler of the ACPI button (systemd-logind, acpid, busybox acpid with the button driver).
        """

        doing = f"stop server {server_id}"

        def ask(domain: Any) -> bool:
            if not domain.isActive():
                return True
            whose = domains.owner(domain)
            if timeout <= 0 or (whose is not None and whose.bare) or domain.state(0)[0] != libvirt.VIR_DOMAIN_RUNNING:
                domains.stop_at_once(domain)
                return True
            domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_DEFAULT)
            return False

        with self._hub.expect(_ended(server_id)) as ended:
            if await self._call(doing, self._with(server_id, ask)):
                return
            if not await self._press(ended, timeout, lambda: self._call(doing, self._with(server_id, ask))):
                await self._call(doing, self._with(server_id, domains.stop_at_once))

    async def _press(
        self, answer: asyncio.Future[Happening], timeout: float, again: Callable[[], Awaitable[bool]]
    ) -> bool:
        """Wait for the guest's answer, pressing again from time to time. False when it never came."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        while (left := until - loop.time()) > 0:
            await asyncio.wait([answer], timeout=min(left, PRESS_AGAIN))
            if answer.done() or (left > PRESS_AGAIN and await again()):
                return True
        return answer.done()

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
        if not is_bare(spec) and await self._soft_reboot(server_id):
            return

        def work(domain: Any) -> None:
            domain.reset(0)
            if domain.state(0)[0] == libvirt.VIR_DOMAIN_PAUSED:
                domain.resume()

        await self._call(f"reboot server {server_id}", self._with(server_id, work))

    async def _soft_reboot(self, server_id: str) -> bool:
        """Whether the guest did it within its deadline."""

        def again(happening: Happening) -> bool:
            return happening.domain == domain_name(server_id) and happening.kind == "reboot"

        def work(domain: Any) -> bool:
            if domain.state(0)[0] != libvirt.VIR_DOMAIN_RUNNING:
                return False
            domain.reboot(libvirt.VIR_DOMAIN_REBOOT_DEFAULT)
            return True

        doing = f"reboot server {server_id}"
        with self._hub.expect(again) as rebooted:
            if not await self._call(doing, self._with(server_id, work)):
                return False

            async def repeat() -> bool:
                await self._call(doing, self._with(server_id, work))
                return False

            return await self._press(rebooted, self._soft_reboot_deadline, repeat)

    async def pause(self, server_id: str) -> None:
        def work(domain: Any) -> None:
            if domain.state(0)[0] != libvirt.VIR_DOMAIN_PAUSED:
                domain.suspend()

        await self._call(f"pause server {server_id}", self._with(server_id, work))

    async def unpause(self, server_id: str) -> None:
        def work(domain: Any) -> None:
            if domain.state(0)[0] == libvirt.VIR_DOMAIN_PAUSED:
                domain.resume()
            elif not domain.isActive():
                raise Conflict(f"server {server_id} does not run")

        await self._call(f"unpause server {server_id}", self._with(server_id, work))

    async def suspend(self, server_id: str) -> None:
        def work(domain: Any) -> None:
            if domain.isActive():
                domain.managedSave(0)
            elif not domain.hasManagedSaveImage(0):
                raise Conflict(f"server {server_id} does not run")

        await self._call(f"suspend server {server_id}", self._with(server_id, work))

    async def resume(self, spec: GuestSpec) -> None:
        """Restores the memory saved by `suspend`. Raises Conflict when there is none and the guest does not run."""

        def work(domain: Any) -> None:
            if domain.isActive():
                return
            if not domain.hasManagedSaveImage(0):
                raise Conflict(f"server {spec.server_id} is not suspended", hint="Start it instead.")
            _begin(domain)

        await self._call(f"resume server {spec.server_id}", self._with(spec.server_id, work))

    async def delete(self, server_id: str) -> None:
        def work(connection: Any) -> None:
            domain = domains.find(connection, self._cloud_id, server_id)
            if domain is not None:
                uuid = domain.UUIDString()
                domains.remove(domain)
                self._owners.pop(uuid, None)
            self._files.remove(server_id)

        await self._call(f"delete server {server_id}", work)
        self._hub.forget(server_id)

    # -- changes ------------------------------------------------------------------------------------------------

    async def plug(self, spec: GuestSpec, nic: NicSpec) -> None:
        def work(domain: Any) -> None:
            if domains.interface_xml(domain.XMLDesc(0), nic.ifname)[1]:
                return
            host = self._host(spec)
            xml = tostring(self._dialect.interface(spec, nic, host), encoding="unicode")
            flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG
            if domain.isActive():
                if is_bare(spec):
                    raise Unsupported("a bare guest cannot take an interface while it runs", capability="hotplug_nic")
                flags |= libvirt.VIR_DOMAIN_AFFECT_LIVE
            domain.attachDeviceFlags(xml, flags)

        await self._call(f"plug {nic.ifname} into server {spec.server_id}", self._with(spec.server_id, work))

    async def unplug(self, spec: GuestSpec, nic: NicSpec) -> None:
        """The guest must let go of a device first: one that does not (still booting, or without PCI hot plug) gives
        Deadline, and the interface stays."""
        name = domain_name(spec.server_id)
        alias = ""

        def gone(happening: Happening) -> bool:
            return happening.kind == "device_removed" and happening.domain == name and happening.text == alias

        def work(domain: Any) -> str:
            active = domain.isActive()
            inactive = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
            element = tostring(self._dialect.interface(spec, nic, self._host(spec)), encoding="unicode")
            if domains.interface_xml(inactive, nic.ifname)[1]:
                domain.detachDeviceFlags(element, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
            live, mac = domains.interface_xml(domain.XMLDesc(0), nic.ifname) if active else ("", "")
            if not mac:
                return ""
            nonlocal alias
            alias = live
            try:
                domain.detachDeviceFlags(element, libvirt.VIR_DOMAIN_AFFECT_LIVE)
            except libvirt.libvirtError as error:
                # an earlier try of ours is still waiting for the guest
                if "already in the process of unplug" not in error.get_error_message():
                    raise
            return live if domains.interface_xml(domain.XMLDesc(0), nic.ifname)[1] else ""

        with self._hub.expect(gone) as removed:
            doing = f"unplug {nic.ifname} from server {spec.server_id}"
            if not await self._call(doing, self._with(spec.server_id, work)):
                return
            try:
                await asyncio.wait_for(removed, UNPLUG_DEADLINE)
            except TimeoutError as error:
                raise Deadline(
                    f"the guest did not let go of {nic.ifname} within {UNPLUG_DEADLINE:g} s",
                    hint="Is it booted? Repeat, or stop the server first.",
                ) from error

    async def resize(self, spec: GuestSpec) -> None:
        def work(connection: Any) -> None:
            domain = domains.need(connection, self._cloud_id, spec.server_id)
            if domain.isActive():
                raise Conflict(f"server {spec.server_id} runs", hint="Stop it before resizing.")
            if domain.hasManagedSaveImage(0):
                raise Conflict(f"server {spec.server_id} is suspended", hint="Resume and stop it before resizing.")
            self._define(connection, spec)

        await self._call(f"resize server {spec.server_id}", work)

    async def snapshot(self, server_id: str, dest: str) -> None:
        if self._xen:
            raise Unsupported("snapshots of Xen guests are not supported", capability="snapshot")

        def look(domain: Any) -> tuple[bool, str]:
            return bool(domain.isActive()), snapshot.root_disk_of(domain.XMLDesc(0))[1]

        active, path = await self._call(f"snapshot server {server_id}", self._with(server_id, look))
        if not path:
            raise Unsupported(f"server {server_id} has no disk", capability="snapshot")
        if await asyncio.to_thread(os.path.exists, dest):
            raise Conflict(f"{dest} exists already")
        part = await asyncio.to_thread(self._files.snapshot, server_id)
        try:
            if active:
                await snapshot.running(self._connection, self._hub, domain_name(server_id), part)
            else:
                await snapshot.stopped(path, part)
            await asyncio.to_thread(snapshot.finish, part, dest)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)

    # -- looking ------------------------------------------------------------------------------------------------

    async def facts(self, server_id: str = "") -> list[GuestFacts]:
        def work(connection: Any) -> list[GuestFacts]:
            only = domains.ours(connection, self._cloud_id, server_id) if server_id else None
            return domains.list_facts(connection, self._cloud_id, self._owners, self._run_dir, only=only)

        found = await self._call("list servers", work)
        self._ours.update(fact.server_id for fact in found)
        return found

    def events(self) -> AsyncIterator[GuestEvent]:
        return self._hub.follow()

    async def console_log(self, server_id: str, *, max_bytes: int) -> bytes:
        if max_bytes < 0:
            raise Invalid("max_bytes must not be negative", field="max_bytes")
        await self._call(f"read the console of server {server_id}", self._with(server_id, lambda domain: None))
        return await asyncio.to_thread(self._files.log_tail, server_id, max_bytes)

    async def console(self, server_id: str) -> ConsoleEndpoint:
        def work(domain: Any) -> ConsoleEndpoint:
            found = domains.serial_pty(domain.XMLDesc(0)) if domain.isActive() else None
            if found is None:
                raise Conflict(f"server {server_id} does not run", hint="Start it first.")
            return found

        return await self._call(f"find the console of server {server_id}", self._with(server_id, work))

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

        return await self._call(f"find the screen of server {server_id}", self._with(server_id, work))

    async def set_password(self, server_id: str, user: str, password: str) -> None:
        """By the QEMU guest agent, which only the image can bring along. A guest that still boots is waited for."""
        doing = f"set a password in server {server_id}"

        def work(domain: Any) -> bool:
            return guest_agent.set_password(domain, user, password)

        with self._hub.expect(lambda happening: guest_agent.connected(server_id, happening)) as listens:
            if await self._call(doing, self._with(server_id, work)):
                return
            await asyncio.wait([listens], timeout=guest_agent.CONNECT_DEADLINE)
            if not await self._call(doing, self._with(server_id, work)):
                raise guest_agent.absent()

    async def execute(self, server_id: str, argv: Sequence[str], *, timeout: float) -> ExecResult:
        raise Unsupported(
            "commands are not run inside virtual machines", capability="execute", hint="Use ssh or the console."
        )

    # -- inside -------------------------------------------------------------------------------------------------

    def _learn(self, connection: Any) -> Hosts:
        return hostfacts.learn(connection, xen=self._xen, offload_off=self._offload_off, probe=self._kvm)

    def _facts_of_host(self, connection: Any) -> HostFacts:
        return hostfacts.facts(connection, self._need_hosts(), self._kvm, self._state_dir)

    def _need_hosts(self) -> Hosts:
        if self._hosts is None:
            raise Conflict("the libvirt driver is not open")
        return self._hosts

    def _host(self, spec: GuestSpec) -> HostSetup:
        hosts = self._need_hosts()
        return hosts.bare if is_bare(spec) else hosts.disk

    def _define(self, connection: Any, spec: GuestSpec) -> Any:
        if spec.cloud_id != self._cloud_id:
            raise Invalid(f"server {spec.server_id} is of another cloud", field="cloud_id")
        valid(spec)
        domains.find(connection, self._cloud_id, spec.server_id)
        host = self._host(spec)
        xml = build(spec, host, self._files.paths(spec.server_id, spec.root_disk), self._dialect)
        self._files.lay_out(spec.server_id, host.run_uid, host.run_gid)
        domain = connection.defineXML(xml)
        self._ours.add(spec.server_id)
        self._owners.pop(domain.UUIDString(), None)
        return domain

    async def _call(self, doing: str, work: Callable[[Any], T]) -> T:
        return await self._connection.call(doing, work)

    def _with(self, server_id: str, work: Callable[[Any], T]) -> Callable[[Any], T]:
        return lambda connection: work(domains.need(connection, self._cloud_id, server_id))

    async def _active(self, server_id: str) -> bool:
        return bool(await self._call(f"look at server {server_id}", self._with(server_id, lambda d: d.isActive())))

    def _on_event(self, happening: Happening) -> None:
        self._hub.wake(happening)
        if happening.domain.startswith(PREFIX):
            self._inbox.put_nowait(happening)

    def _on_connected(self) -> None:
        self._inbox.put_nowait(None)

    async def _deliver(self) -> None:
        """One after the other, so that a reader sees events in libvirt's order. None: events were missed."""
        while True:
            happening = await self._inbox.get()
            if happening is None:
                with contextlib.suppress(TrilithError):
                    # lost again: the next connection asks again
                    self._hub.fill_gap({fact.server_id: fact.power for fact in await self.facts()})
                continue
            server_id = happening.domain.removeprefix(PREFIX)
            found = classify(happening)
            with contextlib.suppress(Backend):  # lost at this moment: the next connection asks how all are
                if found is not None and await self._is_ours(server_id):
                    self._hub.publish(server_id, *found)

    async def _is_ours(self, server_id: str) -> bool:
        if server_id in self._ours:
            return True
        try:
            await self._call("tell whose domain it is", self._with(server_id, lambda domain: None))
        except (Missing, Conflict):
            return False
        self._ours.add(server_id)
        return True


def _ended(server_id: str) -> Callable[[Happening], bool]:
    def matches(happening: Happening) -> bool:
        stopped = happening.kind == "lifecycle" and happening.event == libvirt.VIR_DOMAIN_EVENT_STOPPED
        return stopped and happening.domain == domain_name(server_id)

    return matches


def _begin(domain: Any) -> None:
    try:
        domain.createWithFlags(0)
    except libvirt.libvirtError as error:
        # somebody was faster: running is what was wanted
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID or not domain.isActive():
            raise
