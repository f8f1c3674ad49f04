"""A guest as a driver sees it: what is asked of it (spec), what is so (facts), and what happens to it (events).

Everything here is plain data and crosses the agent's wire. Sizes are MiB or GiB as the name says; times are
seconds since the epoch, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from trilith.model.instance import InjectedFile


class Pillar(StrEnum):
    KVM = "kvm"
    XEN = "xen"
    LXC = "lxc"


class ImageForm(StrEnum):
    """A shape that an image's blob can be turned into on a node (DECISIONS: images)."""

    DISK = "disk"  # a bootable disk: qcow2 plus, for direct kernel boot, kernel and initrd
    ROOTFS = "rootfs"  # an unpacked root file system, ids unshifted, read-only and shared
    BARE = "bare"  # a firmware-less guest: a ROM or an ELF with a PVH note (image property trilith_boot=bare)


class PowerState(StrEnum):
    """Actual state. UNKNOWN is what nobody could ask; it is never taken for SHUTDOWN."""

    RUNNING = "running"
    PAUSED = "paused"
    SHUTDOWN = "shutdown"
    CRASHED = "crashed"
    SUSPENDED = "suspended"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """One derived form of one blob, present on this node. Paths are absolute.

    path: the qcow2 (DISK), the directory (ROOTFS) or the ROM/ELF (BARE).
    kernel, initrd, cmdline: set for a DISK without a boot loader of its own.
    size_mib: virtual size of the disk, or bytes used by the root file system, rounded up.
    """

    sha256: str
    form: ImageForm
    path: str
    kernel: str = ""
    initrd: str = ""
    cmdline: str = ""
    size_mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobSource:
    """An image's one uploaded blob on this node. disk_format as in the image API plus root-tar and squashfs.

    properties: image properties (trilith_boot=bare, trilith_kernel=<sha256> of the image whose kernel boots it …).
    """

    sha256: str
    path: str
    disk_format: str
    properties: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineIdentity:
    """Written at creation and never derived again; it moves, snapshots and restores with the server."""

    smbios_uuid: str
    machine: str = ""  # libvirt machine type with its version; "" for containers
    cpu_mode: str = ""  # libvirt cpu mode or model
    firmware: str = ""  # "" (direct kernel), bios, uefi
    disk_bus: str = "virtio"
    id_base: int = 0  # container: first host id of its own range of 65,536


@dataclass(frozen=True, slots=True, kw_only=True)
class NicSpec:
    """One interface. `ifname` is the host's end, derived from the port's id (at most 15 characters)."""

    port_id: str
    mac: str
    ifname: str
    mtu: int
    guest_name: str = ""  # containers: eth0, eth1 …


@dataclass(frozen=True, slots=True, kw_only=True)
class RescueSpec:
    """What a guest boots from while it is in rescue, its own root beside it.

    root_disk: VMs: path that the storage driver made. device: disk or cdrom. bus: as of `hw_disk_bus`, "" for the
    root's own. stable: the guest's disks keep their places, and this one is the last; else it takes the root's place.
    """

    image: Artefact
    root_disk: str = ""
    device: str = "disk"
    bus: str = ""
    stable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestSpec:
    """All that a driver needs to lay out and start one server.

    config_drive: directory (containers, bind-mounted read-only at /config-drive) or ISO 9660 file (VMs); "" for none.
    disk_gib: the limit of the root disk; 0 means the image's own size.
    kind: "libvirt-qemu", "libvirt-kvm" … is the driver's own business; the spec carries the pillar only.
    """

    server_id: str
    project_id: str
    cloud_id: str
    name: str
    hostname: str
    pillar: Pillar
    vcpus: int
    memory_mib: int
    disk_gib: int
    image: Artefact
    identity: MachineIdentity
    nics: tuple[NicSpec, ...] = ()
    config_drive: str = ""
    root_disk: str = ""  # VMs: path that the storage driver made
    processes_max: int = 4096  # containers: limit on processes
    properties: dict[str, str] = field(default_factory=dict)  # image and extra-spec properties (hw_*, os_type …)
    files: tuple[InjectedFile, ...] = ()  # containers: put into the root when it is made; machines: on their drive
    rescue: RescueSpec | None = None  # what `start` boots instead of the root


#: the reason of a SHUTDOWN that the guest's own power-off caused; without it the guest was lost (host reboot, kill)
POWERED_OFF = "powered-off"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFacts:
    """What a driver found about one guest of ours."""

    server_id: str
    power: PowerState
    pid: int = 0
    started_at: float = 0.0
    cpu_seconds: float = 0.0
    memory_mib: int = 0
    #: of CRASHED or UNKNOWN; of SHUTDOWN: POWERED_OFF when the guest ended itself, else it was lost
    reason: str = ""


class GuestEventKind(StrEnum):
    STARTED = "started"
    STOPPED = "stopped"  # the guest powered itself off, or was stopped
    CRASHED = "crashed"
    PAUSED = "paused"
    RESUMED = "resumed"
    REBOOTED = "rebooted"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestEvent:
    server_id: str
    kind: GuestEventKind
    at: float
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """A pool of volumes on a node. total, free: GiB. capabilities: names of its driver's true PoolCapabilities."""

    name: str
    driver: str
    total: int
    free: int
    shared: bool = False
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """One node as placement needs it: inventories by resource class, traits, and warnings in plain words.

    inventories: VCPU (threads), MEMORY_MB (MiB), DISK_GB (GiB) by the standard resource class names.
    traits: os-traits names and CUSTOM_ ones.
    capabilities: the names of the driver's true ComputeCapabilities by pillar, so that the API refuses at once what
    this node cannot do. A pillar that is not in it was not asked (a node of a release before it).
    """

    hostname: str
    pillars: tuple[Pillar, ...]
    inventories: dict[str, int]
    traits: tuple[str, ...]
    hypervisor_type: str
    hypervisor_version: int
    cpu_info: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    capabilities: dict[str, tuple[str, ...]] = field(default_factory=dict)
    pools: tuple[PoolFacts, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleEndpoint:
    """Where the agent finds a guest's console: a pty, a unix socket, or a TCP port on loopback."""

    kind: str  # "pty" | "unix" | "tcp"
    address: str
    protocol: str = "serial"  # serial | vnc


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecResult:
    exit_code: int
    stdout: bytes
    stderr: bytes
