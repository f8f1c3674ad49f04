"""The Neutron nouns.

`generation` of a noun that the backend holds grows whenever what the backend is to make of it changes: its own columns
or rows of others that are part of it (a network's subnets, a router's floating IPs, a group's rules). It is the
revision that the network driver compares; `applied_revision` is the generation that the backend has. Both stand apart
from `revision`, which is what the API shows and what If-Match compares.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

from trilith.model.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Network(Record):
    name: str
    project_id: str
    description: str = ""
    admin_up: bool = True
    shared: bool = False
    external: bool = False
    default: bool = False
    mtu: int = 0
    network_type: str = "geneve"  # geneve | vxlan | vlan | flat
    physical_network: str = ""
    segmentation_id: int = 0
    port_security: bool = True
    dns_domain: str = ""
    zone_hints: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    metadata_port_id: str = ""  # its localport
    metadata_mac: str = ""
    qos_policy_id: str = ""
    generation: int = 1
    applied_revision: int = 0  # what the backend has
    error: str = ""


#: the domain of networks that name none (Neutron's default of dns_domain)
DEFAULT_DOMAIN = "openstacklocal"


def domain_of(network: Network) -> str:
    """The DNS domain of a network's ports, without a dot at its end."""
    return (network.dns_domain or DEFAULT_DOMAIN).rstrip(".")


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationPool:
    start: str
    end: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRoute:
    destination: str
    nexthop: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet(Record):
    name: str
    project_id: str
    network_id: str
    cidr: str
    ip_version: int = 4
    gateway: str = ""  # "" for none
    dhcp: bool = True
    dns: tuple[str, ...] = ()
    pools: tuple[AllocationPool, ...] = ()
    routes: tuple[HostRoute, ...] = ()
    description: str = ""
    ipv6_address_mode: str = ""
    ipv6_ra_mode: str = ""
    subnetpool_id: str = ""
    service_types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    dns_publish_fixed_ip: bool = False


def guest_dns(subnet: Subnet, servers: Sequence[str], external_cidr: str) -> tuple[str, ...]:
    """The name servers that guests of the subnet are told: its own, else the cloud's, else the cloud's forwarder.

    The forwarder is at the first host of the external network, which guests reach by a router. One is always named to
    IPv4 guests: OVN answers names of the network on the way to any server.
    """
    given = subnet.dns or tuple(d for d in servers if ipaddress.ip_address(d).version == subnet.ip_version)
    if given or not external_cidr:
        return given
    forwarder, version = _first_host(external_cidr)
    return (forwarder,) if version == subnet.ip_version else ()


@functools.cache
def _first_host(cidr: str) -> tuple[str, int]:
    """And its IP version. A cloud has one such network, which every subnet asks for."""
    first = ipaddress.ip_network(cidr, strict=False)[1]
    return str(first), first.version


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedIp:
    subnet_id: str
    ip_address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPair:
    ip_address: str
    mac_address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpOption:
    opt_name: str
    opt_value: str
    ip_version: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Port(Record):
    """status is ACTIVE, DOWN, BUILD or N/A by Neutron's meaning; up comes from the southbound database.

    host is the node it is asked to be on; created_by_server marks ports that die with their server.
    """

    name: str
    project_id: str
    network_id: str
    mac_address: str
    description: str = ""
    admin_up: bool = True
    status: str = "DOWN"
    fixed_ips: tuple[FixedIp, ...] = ()
    device_id: str = ""
    device_owner: str = ""
    security_groups: tuple[str, ...] = ()
    port_security: bool = True
    allowed_address_pairs: tuple[AddressPair, ...] = ()
    dhcp_options: tuple[DhcpOption, ...] = ()
    dns_name: str = ""
    dns_domain: str = ""
    host: str = ""
    vnic_type: str = "normal"
    binding_profile: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    created_by_server: bool = False
    propagate_uplink_status: bool = True
    qos_policy_id: str = ""
    generation: int = 1
    applied_revision: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IpAddress(Record):
    """One address in use; (subnet_id, address) is unique, which is what keeps two ports from having it.

    position: the address less the subnet's first, for finding gaps; -1 where it is over 2**62 (far IPv6 addresses).
    """

    subnet_id: str
    address: str
    port_id: str
    position: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class MacAddress(Record):
    """One MAC in use on a network; (network_id, mac) is unique."""

    network_id: str
    mac: str
    port_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Router(Record):
    """The gateway is a port of its own (gateway_port_id); interfaces are ports with device_id = router id.

    Traffic between its networks never leaves the guests' nodes. distributed: floating IPs are answered by the node of
    their guest, else by the gateway's. ha: other gateway nodes take the gateway over when its own fails.
    """

    name: str
    project_id: str
    description: str = ""
    admin_up: bool = True
    external_network_id: str = ""
    gateway_port_id: str = ""
    enable_snat: bool = True
    routes: tuple[HostRoute, ...] = ()
    zone_hints: tuple[str, ...] = ()
    distributed: bool = True
    ha: bool = True
    tags: tuple[str, ...] = ()
    generation: int = 1
    applied_revision: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatingIp(Record):
    """floating_port_id holds the address on the external network."""

    project_id: str
    floating_network_id: str
    floating_ip_address: str
    floating_port_id: str
    floating_subnet_id: str = ""
    description: str = ""
    router_id: str = ""
    port_id: str = ""
    fixed_ip_address: str = ""
    status: str = "DOWN"
    dns_name: str = ""
    dns_domain: str = ""
    qos_policy_id: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityGroup(Record):
    name: str
    project_id: str
    description: str = ""
    stateful: bool = True
    default: bool = False
    tags: tuple[str, ...] = ()
    generation: int = 1
    applied_revision: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityGroupRule(Record):
    """port_range_* -1 for none (for ICMP: type and code)."""

    project_id: str
    security_group_id: str
    direction: str  # ingress | egress
    ethertype: str  # IPv4 | IPv6
    protocol: str = ""
    port_range_min: int = -1
    port_range_max: int = -1
    remote_ip_prefix: str = ""
    remote_group_id: str = ""
    remote_address_group_id: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rbac(Record):
    """A network (or another object) shared with one project or all ("*")."""

    project_id: str
    object_type: str
    object_id: str
    action: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressScope(Record):
    """Within one scope addresses do not overlap."""

    name: str
    project_id: str
    ip_version: int = 4
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetPool(Record):
    """Prefixes from which subnets are cut. default_quota: addresses (IPv6: /64s) a project may have, -1 for any."""

    name: str
    project_id: str
    prefixes: tuple[str, ...]
    ip_version: int = 4
    min_prefixlen: int = 8
    max_prefixlen: int = 32
    default_prefixlen: int = 8
    default_quota: int = -1
    address_scope_id: str = ""
    description: str = ""
    shared: bool = False
    default: bool = False
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpExclusion(Record):
    """A node that does not answer DHCP for a network, because an administrator took its agent from there."""

    network_id: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoTopology(Record):
    """The network and router that a project was given without asking for their parts; (project_id) is unique."""

    project_id: str
    network_id: str
    router_id: str
