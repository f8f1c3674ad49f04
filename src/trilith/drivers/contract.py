"""What a driver must do: three small protocols, the local switch beside them, and capabilities as data.

Rules for every implementation, checked by tests/contracts:
- each call is idempotent: repeated after a crash it ends in the same state;
- each call raises only `trilith.errors` classes, with the backend's own words in the message;
- only objects that carry this cloud's id are changed; strangers are left alone;
- nothing blocks the event loop: files, libvirt and tools run in threads or processes;
- a call that is cancelled leaves nothing that the same call, or `delete`, would not clear.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from trilith.model.guest import (
    Artefact,
    BlobSource,
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
from trilith.model.topology import Binding, Change, Chassis, Owned

__all__ = [
    "BlobSource",
    "ComputeCapabilities",
    "ComputeDriver",
    "GraphicalConsole",
    "InteractiveShell",
    "LiveMigrator",
    "LocalSwitch",
    "NetworkDriver",
    "PasswordSetter",
    "StorageCapabilities",
    "StorageDriver",
    "Terminal",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeCapabilities:
    """What a compute driver can do, as data. Callers ask this; nobody asks for the driver's name."""

    pillar: Pillar
    forms: tuple[ImageForm, ...]  # image forms that it can start, best first
    pause: bool = False  # freezes the guest in memory
    suspend: bool = False  # saves memory to disk
    live_resize: bool = False  # resize without a stop
    hotplug_nic: bool = False  # add and remove ports while running
    snapshot: bool = True  # an image of the root disk
    snapshot_form: str = "qcow2"  # disk_format of what `snapshot` writes: qcow2 | root-tar
    serial_console: bool = False
    vnc_console: bool = False  # guests have a screen: the driver is a GraphicalConsole, too
    execute: bool = False  # run a command inside
    shell: bool = False  # an interactive login shell inside: the driver is an InteractiveShell, too
    password: bool = False  # sets a user's password inside: the driver is a PasswordSetter, too
    rescue: bool = False  # `start` boots a spec's rescue image, the guest's own root beside it
    stable_rescue: bool = False  # … without moving the guest's own disks
    live_migration: bool = False  # moves a running guest to another node: the driver is a LiveMigrator, too
    disk_limit: bool = True  # flavor's disk is enforced; false makes placement refuse disk > 0
    extra_disks: bool = False  # a flavor's ephemeral disk and swap; false makes placement refuse such flavors
    emulated: bool = False  # no hardware virtualisation: runs, slowly
    simulated: bool = False


class ComputeDriver(Protocol):
    """Runs guests on this node. Guests outlive the process that started them and are adopted by `facts`."""

    @property
    def capabilities(self) -> ComputeCapabilities: ...

    async def probe(self) -> HostFacts:
        """Find out by trying what this host can do. Raises Backend with what is missing."""
        ...

    async def create(self, spec: GuestSpec) -> None:
        """Lay out everything the guest needs (overlay, config, domain) without starting it."""
        ...

    async def start(self, spec: GuestSpec) -> None:
        """Start it, or leave it running. Returns when the guest's first process or vCPU runs."""
        ...

    async def stop(self, server_id: str, *, timeout: float) -> None:
        """Ask the guest to power off; after `timeout` seconds (0: at once) take the power away."""
        ...

    async def reboot(self, spec: GuestSpec, *, hard: bool) -> None:
        """Soft: the guest's own reboot, hard when it does not answer. The NICs work after it."""
        ...

    async def pause(self, server_id: str) -> None: ...

    async def unpause(self, server_id: str) -> None: ...

    async def suspend(self, server_id: str) -> None: ...

    async def resume(self, spec: GuestSpec) -> None: ...

    async def delete(self, server_id: str) -> None:
        """Remove the guest and all that `create` made, running or not. Absent is success."""
        ...

    async def facts(self, server_id: str = "") -> list[GuestFacts]:
        """Every guest of this cloud on this node, running or not; or that one, at a cost that does not grow with
        their number."""
        ...

    def events(self) -> AsyncIterator[GuestEvent]:
        """State changes as they happen, from hooks, pidfds or the hypervisor's events; never by polling."""
        ...

    async def plug(self, spec: GuestSpec, nic: NicSpec) -> None:
        """Add an interface to a running or stopped guest. Unsupported without `hotplug_nic` when running."""
        ...

    async def unplug(self, spec: GuestSpec, nic: NicSpec) -> None: ...

    async def resize(self, spec: GuestSpec) -> None:
        """Apply new vcpus, memory and a disk that is not smaller. Stopped, unless `live_resize`."""
        ...

    async def snapshot(self, server_id: str, dest: str) -> None:
        """Write the root disk as `capabilities.snapshot_form` to the new file `dest`, crash-consistent."""
        ...

    async def console_log(self, server_id: str, *, max_bytes: int) -> bytes:
        """The tail of the console log (bounded on disk, too)."""
        ...

    async def console(self, server_id: str) -> ConsoleEndpoint: ...

    async def execute(self, server_id: str, argv: Sequence[str], *, timeout: float) -> ExecResult: ...

    async def close(self) -> None:
        """Let go of connections and watchers. Guests go on."""
        ...


class Terminal(Protocol):
    """Our end of a pty that something in a guest runs on. It has ended when reading gives nothing, or EIO."""

    @property
    def descriptor(self) -> int:
        """Non-blocking. The caller reads and writes it, until it calls `close`."""
        ...

    @property
    def said(self) -> bytes:
        """What came out of it before the caller had it."""
        ...

    def resize(self, rows: int, cols: int) -> None: ...

    async def close(self) -> None:
        """Hang up: what runs on it ends as it does when a terminal is closed, and nothing of ours is left."""
        ...


@runtime_checkable
class InteractiveShell(Protocol):
    """What a ComputeDriver with the capability `shell` is besides."""

    async def shell(self, server_id: str, *, rows: int, cols: int) -> Terminal:
        """A login shell of root. Raises Conflict when the guest does not run or is paused."""
        ...


@runtime_checkable
class GraphicalConsole(Protocol):
    """What a ComputeDriver with the capability `vnc_console` is besides."""

    async def screen(self, server_id: str) -> ConsoleEndpoint:
        """Where the guest's screen is: RFB (RFC 6143) on a unix socket, without a password, as nobody but the agent
        reaches it. Raises Conflict when the guest does not run, Unsupported for one without a screen."""
        ...


@runtime_checkable
class PasswordSetter(Protocol):
    """What a ComputeDriver with the capability `password` is besides."""

    async def set_password(self, server_id: str, user: str, password: str) -> None:
        """Of a running guest's user; "" for its administrator. The password is in no argument list and no log.

        Raises Conflict for a guest that does not run or has nothing inside that could do it; Backend with its words.
        """
        ...


@runtime_checkable
class LiveMigrator(Protocol):
    """What a ComputeDriver with the capability `live_migration` is besides."""

    async def receive(self, spec: GuestSpec) -> str:
        """At the destination, where `create` has laid the guest out: where the source sends it to. Repeatable."""
        ...

    async def send(self, server_id: str, address: str) -> None:
        """At the source: memory, devices and local disks go to `address`. The guest runs there, or is paused there as
        it was here, when this returns; here it is shut down. A guest that is shut down here and known there has been
        sent already. Raises Conflict for one that does not run; after any error it runs here as before."""
        ...


class LocalSwitch(Protocol):
    """This node's virtual switch. The agent plugs; OVN does the rest."""

    async def plug(self, *, ifname: str, port_id: str, mac: str) -> None:
        """Declare the interface on the integration bridge (it may appear later), bound to the logical port."""
        ...

    async def unplug(self, ifname: str) -> None:
        """In a transaction of its own, so that a re-created interface of the same name is attached again."""
        ...

    async def raise_link(self, ifname: str) -> None:
        """Return once the switch has taken the interface over and its link is up. Raises Backend, Deadline."""
        ...

    async def plugged(self) -> dict[str, str]:
        """ifname → port_id of what this cloud plugged."""
        ...

    async def close(self) -> None: ...


class NetworkDriver(Protocol):
    """The northbound side, used by controllers only."""

    async def apply(self, changes: Sequence[Change]) -> None:
        """All changes in one backend transaction, each guarded by its revision. Raises Backend; then none is in."""
        ...

    async def owned(self) -> list[Owned]:
        """Every object of this cloud in the backend."""
        ...

    async def wait_up(self, port_ids: Sequence[str], *, timeout: float) -> None:
        """Return when every port is bound and up; raises Deadline naming those that are not."""
        ...

    def bindings(self) -> AsyncIterator[Binding]:
        """First the present state of each port, then every change."""
        ...

    async def chassis(self) -> list[Chassis]: ...

    async def wait_applied(self, *, timeout: float) -> None:
        """Return when all that was applied is in force on every chassis. Raises Deadline."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageCapabilities:
    name: str
    shared: bool = False  # other nodes reach the same disks
    thin: bool = True
    clone_without_copy: bool = True  # a root disk starts as a reference to its image
    online_snapshot: bool = False
    online_extend: bool = False


class StorageDriver(Protocol):
    """Root disks and image artefacts on this node. Every image is inspected before any tool opens it."""

    @property
    def capabilities(self) -> StorageCapabilities: ...

    async def realize(self, blob: BlobSource, form: ImageForm) -> Artefact:
        """Make (or find) one form of a blob. Raises Invalid for a broken or malicious image, Unsupported for a
        form that this blob cannot have."""
        ...

    async def artefacts(self) -> list[Artefact]: ...

    async def drop(self, sha256: str) -> None:
        """Remove every form of a blob. The caller counts references."""
        ...

    async def create_disk(self, disk_id: str, *, size_gib: int, backing: Artefact) -> str:
        """A qcow2 on the artefact, grown to size_gib (0: as the image); its path. Invalid if the image is larger."""
        ...

    async def resize_disk(self, disk_id: str, *, size_gib: int) -> None: ...

    async def delete_disk(self, disk_id: str) -> None: ...

    async def keep_disk(self, disk_id: str) -> None:
        """Keep the disk as it is now until `restore_disk` or `forget_disk`. One that is kept already stays."""
        ...

    async def restore_disk(self, disk_id: str) -> None:
        """Put the kept disk back in the place of the present one. Without a kept one nothing happens."""
        ...

    async def forget_disk(self, disk_id: str) -> None: ...

    async def disks(self) -> list[str]:
        """Ids of all disks of this cloud."""
        ...

    async def free_mib(self) -> int: ...
