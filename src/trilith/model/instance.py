"""What a server is told about itself: the facts behind the metadata service and the config drive."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Keypair:
    name: str
    public_key: str
    type: str = "ssh"


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedAddress:
    """One address of a NIC with what its subnet says. routes: (destination, next hop); gateway "" for none.

    ipv6_address_mode: Neutron's ("", slaac, dhcpv6-stateful, dhcpv6-stateless). floating: the public address.
    """

    address: str
    cidr: str
    gateway: str = ""
    dns: tuple[str, ...] = ()
    ntp: tuple[str, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()
    dhcp: bool = True
    ipv6_address_mode: str = ""
    floating: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceNic:
    """link: the host's interface name, which is what Nova shows as the link's id. mtu 0: not known."""

    port_id: str
    network_id: str
    mac: str
    link: str
    mtu: int = 0
    vif_type: str = "ovs"
    addresses: tuple[FixedAddress, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedDevice:
    """A tagged NIC (mac) or disk (serial, path). bus: pci, virtio, scsi … or none; address in the bus's own form."""

    type: str
    tags: tuple[str, ...]
    bus: str = "none"
    address: str = ""
    mac: str = ""
    serial: str = ""
    path: str = ""
    vlan: int = 0
    vf_trusted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectedFile:
    path: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceData:
    """hostname: fully qualified where the cloud has a DHCP domain. user_data: decoded bytes, None where none was given.

    admin_pass goes to the config drive only, as in Nova. random_seed: 512 random bytes, kept with the server.
    password: what the guest posted, encrypted. vendor_data: static; vendor_data2: by vendor name.
    """

    uuid: str
    name: str
    hostname: str
    project_id: str
    availability_zone: str = "nova"
    flavor: str = ""
    image_id: str = ""
    keys: tuple[Keypair, ...] = ()
    meta: dict[str, str] = field(default_factory=dict)
    user_data: bytes | None = None
    admin_pass: str = ""
    networks: tuple[InstanceNic, ...] = ()
    devices: tuple[TaggedDevice, ...] = ()
    files: tuple[InjectedFile, ...] = ()
    security_groups: tuple[str, ...] = ()
    launch_index: int = 0
    reservation_id: str = ""
    root_device: str = "/dev/vda"
    dedicated_cpus: tuple[int, ...] = ()
    random_seed: bytes = b""
    password: bytes = b""
    vendor_data: dict[str, Any] = field(default_factory=dict)
    vendor_data2: dict[str, Any] = field(default_factory=dict)
