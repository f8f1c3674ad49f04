"""What a server is told about itself: the facts behind the metadata service and the config drive."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceAddress:
    """One fixed address with what its subnet says. routes: (destination CIDR, next hop)."""

    address: str
    cidr: str
    gateway: str = ""
    dns: tuple[str, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()
    dhcp: bool = True
    ipv6_mode: str = ""
    subnet_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceNic:
    port_id: str
    network_id: str
    mac: str
    mtu: int
    ifname: str = ""
    addresses: tuple[InstanceAddress, ...] = ()
    tag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceData:
    """user_data is the decoded bytes. keys: (name, public key)."""

    uuid: str
    name: str
    hostname: str
    project_id: str
    availability_zone: str = ""
    flavor: str = ""
    image_id: str = ""
    keys: tuple[tuple[str, str], ...] = ()
    meta: dict[str, str] = field(default_factory=dict)
    user_data: bytes = b""
    admin_password: str = ""
    launch_index: int = 0
    reservation_id: str = ""
    nics: tuple[InstanceNic, ...] = ()
    security_groups: tuple[str, ...] = ()
    ntp: tuple[str, ...] = ()
    public_ipv4: str = ""
