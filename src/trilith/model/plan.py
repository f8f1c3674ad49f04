"""What the controller sends to a node about one server: all it needs to lay it out, start it, and start it again
without a controller. The node turns it into a GuestSpec with its own paths."""

from __future__ import annotations

from dataclasses import dataclass, field

from trilith.model.guest import BlobSource, MachineIdentity, NicSpec, Pillar
from trilith.model.instance import InstanceData


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataEndpoint:
    """A network's localport: where the agent answers metadata requests of this network's servers."""

    network_id: str
    port_id: str
    mac: str
    mtu: int
    addresses: tuple[str, ...] = ()  # address/prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class RescuePlan:
    """What a server in rescue boots from. device, bus, stable: as in model.server.Rescue."""

    blob: BlobSource
    kernel: BlobSource | None = None
    device: str = "disk"
    bus: str = ""
    stable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestPlan:
    """blob: the image; kernel: the image whose kernel boots it, where that is another.

    config_drive: whether one is made. running: what is wanted after a crash of the guest or a reboot of the node.
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
    blob: BlobSource
    kernel: BlobSource | None = None
    identity: MachineIdentity
    nics: tuple[NicSpec, ...] = ()
    processes_max: int = 4096
    properties: dict[str, str] = field(default_factory=dict)
    config_drive: bool = True
    instance: InstanceData
    metadata: tuple[MetadataEndpoint, ...] = ()
    running: bool = True
    revision: int = 0  # of the server's row: the node keeps no older plan for a newer one
    version: int = 1
    rescue: RescuePlan | None = None


def interface_name(port_id: str) -> str:
    """The host's end of a port: `t` and 11 digits of the id, within Linux's 15 characters."""
    return "t" + port_id.replace("-", "")[:11]
