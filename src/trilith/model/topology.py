"""The network as the network driver is asked to make it: desired state, denormalised, one frozen object a noun.

The controller's reconciler builds these from the Neutron-shaped rows; the driver turns them into northbound rows in
one transaction a batch. `revision` is compared in that same transaction: an older revision never overwrites a newer.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetSpec:
    """cidr in text; gateway "" for none. Routes are (destination, next hop). mode is Neutron's address mode."""

    id: str
    cidr: str
    gateway: str = ""
    dhcp: bool = True
    dns: tuple[str, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()
    ipv6_address_mode: str = ""  # "", slaac, dhcpv6-stateful, dhcpv6-stateless
    ipv6_ra_mode: str = ""
    metadata_ip: str = ""  # address of the network's localport in this subnet


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """A logical switch. physical_network "" for an overlay network; segmentation is a VLAN id or 0 (flat).

    names: (lower-case host name or FQDN, addresses) answered by OVN's own DNS on this network.
    metadata_port_id, metadata_mac: the localport that the agent binds inside the network's namespace.
    admin_up: False disables every port on it, whatever each port says of itself.
    """

    id: str
    revision: int
    name: str
    mtu: int
    subnets: tuple[SubnetSpec, ...] = ()
    physical_network: str = ""
    segmentation: int = 0
    external: bool = False
    dns_domain: str = ""
    names: tuple[tuple[str, tuple[str, ...]], ...] = ()
    metadata_port_id: str = ""
    metadata_mac: str = ""
    admin_up: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class QosSpec:
    """One rule, seen from the guest: ingress is what it gets. kbps and burst_kbit 0: no limit; dscp -1: no mark."""

    ingress: bool = False
    kbps: int = 0
    burst_kbit: int = 0
    dscp: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class PortSpec:
    """A logical switch port (device ports of servers; router and localnet ports belong to their own specs).

    addresses: (subnet id, address). With port security the source is bound to mac + addresses + allowed pairs.
    security_groups: ids; without any and with port security on, all IP traffic is dropped (Neutron's rule).
    host: node name for requested-chassis, "" for none. dhcp_options: extra (name, value, ip version) options, of which
    those of a version that the port has no address of are left aside. dhcp False: nobody answers its DHCP.
    parent, vlan: the port whose interface carries this one, and the tag there.
    """

    id: str
    revision: int
    network_id: str
    mac: str
    addresses: tuple[tuple[str, str], ...] = ()
    security_groups: tuple[str, ...] = ()
    port_security: bool = True
    allowed_address_pairs: tuple[tuple[str, str], ...] = ()  # (mac, cidr or address)
    admin_up: bool = True
    device_id: str = ""
    device_owner: str = ""
    host: str = ""
    hostname: str = ""
    dhcp_options: tuple[tuple[str, str, int], ...] = ()
    dhcp: bool = True
    qos: tuple[QosSpec, ...] = ()
    parent: str = ""
    vlan: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterInterfaceSpec:
    port_id: str
    network_id: str
    mac: str
    cidrs: tuple[str, ...]  # address/prefix of the router in each subnet


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterGatewaySpec:
    port_id: str
    network_id: str
    mac: str
    cidrs: tuple[str, ...]
    next_hops: tuple[str, ...]  # the external subnets' gateways
    snat: bool = True
    snat_cidrs: tuple[str, ...] = ()  # the internal IPv4 subnets to masquerade
    snat_address: str = ""
    standbys: bool = True  # other gateway chassis take over


@dataclass(frozen=True, slots=True, kw_only=True)
class NatSpec:
    """A floating IP: distributed one-to-one NAT (OVN dnat_and_snat) where port_id and mac are set."""

    floating_ip_id: str
    external_ip: str
    internal_ip: str
    port_id: str = ""
    mac: str = ""
    qos: tuple[QosSpec, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardSpec:
    """A port of an external address that is an inner port."""

    protocol: str  # tcp | udp | sctp
    external_ip: str
    external_port: int
    internal_ip: str
    internal_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSpec:
    """apart: (source, destination) CIDRs of the router's own networks that it does not carry between.
    walled: internal CIDRs that it does not carry to or from the external network, but for the floating IPs' own.
    """

    id: str
    revision: int
    name: str
    admin_up: bool = True
    interfaces: tuple[RouterInterfaceSpec, ...] = ()
    gateway: RouterGatewaySpec | None = None
    routes: tuple[tuple[str, str], ...] = ()  # (destination, next hop)
    nats: tuple[NatSpec, ...] = ()
    forwards: tuple[ForwardSpec, ...] = ()
    apart: tuple[tuple[str, str], ...] = ()
    walled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSpec:
    """One allow rule. ports: inclusive range, or ICMP (type, code); -1 for any. remote: a CIDR, a
    group's or an address group's id, or ""."""

    id: str
    ingress: bool
    ethertype: str  # IPv4 | IPv6
    protocol: str = ""  # "", tcp, udp, icmp, icmpv6, sctp … or a number in text
    port_min: int = -1
    port_max: int = -1
    remote_cidr: str = ""
    remote_group: str = ""
    remote_addresses: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressGroupSpec:
    """CIDRs of both IP versions that rules name as one."""

    id: str
    revision: int
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityGroupSpec:
    """A port group with its whole list of rules (written as one `acls` column). Members come with PortSpec.

    log_allowed, log_dropped: ids of the logs under whose name the nodes write what the rules let through, and what
    they refuse to the group's ports; "" for none.
    """

    id: str
    revision: int
    stateful: bool = True
    rules: tuple[RuleSpec, ...] = ()
    log_allowed: str = ""
    log_dropped: str = ""


Noun = NetworkSpec | PortSpec | RouterSpec | SecurityGroupSpec | AddressGroupSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensure:
    """Make it so. The driver refuses to replace a newer revision (the change is then skipped, not an error)."""

    noun: Noun


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Make it absent. kind: network | port | router | security_group | address_group. Absent already is success."""

    kind: str
    id: str


Change = Ensure | Remove


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """An object of this cloud found in the backend, for drift and leak detection."""

    kind: str
    id: str
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A port as the southbound database reports it: up on a chassis, or not."""

    port_id: str
    up: bool
    chassis: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chassis:
    name: str
    hostname: str
    encaps: tuple[str, ...] = ()
    physical_networks: tuple[str, ...] = ()
    gateway: bool = True
