"""One batch that uses all that the network model can say, with ids that read well in a golden file."""

from __future__ import annotations

from trilith.model.topology import (
    Ensure,
    NatSpec,
    NetworkSpec,
    PortSpec,
    RouterGatewaySpec,
    RouterInterfaceSpec,
    RouterSpec,
    RuleSpec,
    SecurityGroupSpec,
    SubnetSpec,
)

PRIVATE = NetworkSpec(
    id="net-private",
    revision=3,
    name="private",
    mtu=1442,
    subnets=(
        SubnetSpec(
            id="sub-v4",
            cidr="10.10.0.0/24",
            gateway="10.10.0.1",
            dns=("172.24.4.1", "9.9.9.9"),
            routes=(("10.99.0.0/16", "10.10.0.254"),),
            metadata_ip="10.10.0.2",
        ),
        SubnetSpec(
            id="sub-v6",
            cidr="fd00:10::/64",
            gateway="fd00:10::1",
            dns=("fd00::53",),
            ipv6_address_mode="dhcpv6-stateful",
            ipv6_ra_mode="dhcpv6-stateful",
        ),
        SubnetSpec(id="sub-still", cidr="10.11.0.0/24", dhcp=False),
    ),
    dns_domain="example.org.",
    names=(("web", ("10.10.0.11", "fd00:10::11")), ("DB.example.org.", ("10.10.0.12",))),
    metadata_port_id="port-metadata",
    metadata_mac="fa:16:3e:00:00:02",
)
PUBLIC = NetworkSpec(
    id="net-public",
    revision=1,
    name="public",
    mtu=1500,
    subnets=(SubnetSpec(id="sub-public", cidr="172.24.4.0/24", gateway="172.24.4.1", dhcp=False),),
    physical_network="external",
    segmentation=101,
    external=True,
)
GROUP = SecurityGroupSpec(
    id="sg-web",
    revision=2,
    rules=(
        RuleSpec(id="1", ingress=True, ethertype="IPv4", protocol="tcp", port_min=22, port_max=22),
        RuleSpec(id="2", ingress=True, ethertype="IPv4", protocol="tcp", port_min=8000, port_max=8999,
                 remote_cidr="192.0.2.0/24"),
        RuleSpec(id="3", ingress=True, ethertype="IPv6", protocol="icmpv6", port_min=128, port_max=0),
        RuleSpec(id="4", ingress=True, ethertype="IPv4", protocol="icmp", port_min=8),
        RuleSpec(id="5", ingress=True, ethertype="IPv4", remote_group="sg-web"),
        RuleSpec(id="6", ingress=True, ethertype="IPv6", protocol="udp", remote_group="sg-stateless"),
        RuleSpec(id="7", ingress=True, ethertype="IPv4", protocol="vrrp", remote_cidr="0.0.0.0/0"),
        RuleSpec(id="8", ingress=False, ethertype="IPv4"),
        RuleSpec(id="9", ingress=False, ethertype="IPv6"),
        RuleSpec(id="10", ingress=False, ethertype="IPv6"),  # says the same as the one before: one ACL
    ),
)  # fmt: skip
STATELESS = SecurityGroupSpec(
    id="sg-stateless",
    revision=1,
    stateful=False,
    rules=(RuleSpec(id="11", ingress=True, ethertype="IPv4", protocol="udp", port_min=53, port_max=53),),
)
WEB = PortSpec(
    id="port-web",
    revision=5,
    network_id="net-private",
    mac="fa:16:3e:00:00:11",
    addresses=(("sub-v4", "10.10.0.11"), ("sub-v6", "fd00:10::11")),
    security_groups=("sg-web", "sg-stateless"),
    allowed_address_pairs=(("fa:16:3e:00:00:11", "10.10.0.100"), ("00:00:5e:00:01:01", "10.10.0.101/32")),
    device_id="server-1",
    device_owner="compute:nova",
    host="n1",
    hostname="web",
    dhcp_options=(("bootfile-name", "pxe.0", 4), ("tftp-server", "10.10.0.5", 4), ("ntp-server", "10.10.0.6", 4)),
)
FREE = PortSpec(
    id="port-free",
    revision=1,
    network_id="net-private",
    mac="fa:16:3e:00:00:12",
    addresses=(("sub-v4", "10.10.0.12"),),
    port_security=False,
    admin_up=False,
)
BARE = PortSpec(
    id="port-bare",
    revision=1,
    network_id="net-private",
    mac="fa:16:3e:00:00:13",
    addresses=(("sub-still", "10.11.0.9"),),
)
ROUTER = RouterSpec(
    id="router-1",
    revision=4,
    name="r1",
    interfaces=(
        RouterInterfaceSpec(
            port_id="port-r-in",
            network_id="net-private",
            mac="fa:16:3e:00:01:01",
            cidrs=("10.10.0.1/24", "fd00:10::1/64"),
        ),
    ),
    gateway=RouterGatewaySpec(
        port_id="port-r-out",
        network_id="net-public",
        mac="fa:16:3e:00:01:02",
        cidrs=("172.24.4.10/24",),
        next_hops=("172.24.4.1",),
        snat_cidrs=("10.10.0.0/24",),
        snat_address="172.24.4.10",
    ),
    routes=(("10.99.0.0/16", "10.10.0.254"),),
    nats=(
        NatSpec(
            floating_ip_id="fip-1",
            external_ip="172.24.4.50",
            internal_ip="10.10.0.11",
            port_id="port-web",
            mac="fa:16:3e:00:01:50",
        ),
        NatSpec(floating_ip_id="fip-2", external_ip="172.24.4.51", internal_ip="10.10.0.12"),
    ),
)

#: Leaves first: the driver must not mind.
BATCH = [Ensure(noun=noun) for noun in (ROUTER, BARE, FREE, WEB, STATELESS, GROUP, PUBLIC, PRIVATE)]
