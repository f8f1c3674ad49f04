"""Rows of the network nouns into what the network driver is asked to make: a few statements a batch."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from trilith.commands.ports import METADATA, ROUTER_GATEWAY, ROUTER_INTERFACE, SERVICE_OWNERS
from trilith.config import Settings
from trilith.model.network import (
    DhcpExclusion,
    FixedIp,
    FloatingIp,
    Network,
    Port,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
    domain_of,
    guest_dns,
)
from trilith.model.record import Record
from trilith.model.topology import (
    NatSpec,
    NetworkSpec,
    Noun,
    PortSpec,
    RouterGatewaySpec,
    RouterInterfaceSpec,
    RouterSpec,
    RuleSpec,
    SecurityGroupSpec,
    SubnetSpec,
)
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

#: ids in one IN list: SQLite takes 32,766 parameters, and plans grow with them
_CHUNK = 500

#: kinds as the driver names them, roots first → the noun
KINDS: dict[str, type[Network | Port | Router | SecurityGroup]] = {
    "network": Network,
    "security_group": SecurityGroup,
    "port": Port,
    "router": Router,
}


def has_switch_port(port: Port) -> bool:
    """Service ports belong to the specs of what they serve."""
    return port.device_owner not in SERVICE_OWNERS


def build(reader: Reader, settings: Settings, kind: str, ids: Sequence[str]) -> list[Noun]:
    """The specs of one kind; ids without a row are left out."""
    made: list[Noun] = []
    for at in range(0, len(ids), _CHUNK):
        part = ids[at : at + _CHUNK]
        match kind:
            case "network":
                made += networks(reader, settings, part)
            case "port":
                made += ports(reader, part)
            case "router":
                made += routers(reader, part)
            case _:
                made += groups(reader, part)
    return made


def networks(reader: Reader, settings: Settings, ids: Sequence[str]) -> list[NetworkSpec]:
    found = reader.select(Network, id=ids)
    subnets = _by(reader.select(Subnet, network_id=ids), "network_id")
    t = REGISTRY[Port].table.c
    metadata = {p.network_id: p for p in reader.select(Port, network_id=ids, device_owner=METADATA)}
    named = reader.conn.execute(
        sa.select(t.network_id, t.dns_name, t.fixed_ips).where(t.network_id.in_(ids), t.dns_name != "").order_by(t.seq)
    )
    names: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for network_id, name, fixed_ips in named:
        names[network_id][name.lower()] += [ip.ip_address for ip in fixed_ips]
    made = []
    for network in found:
        port = metadata.get(network.id)
        local = {ip.subnet_id: ip.ip_address for ip in port.fixed_ips} if port else {}
        made.append(
            NetworkSpec(
                id=network.id,
                revision=network.generation,
                name=network.name,
                mtu=network.mtu,
                subnets=tuple(_subnet(s, settings, local.get(s.id, "")) for s in subnets[network.id]),
                physical_network=network.physical_network,
                segmentation=network.segmentation_id if network.network_type == "vlan" else 0,
                external=network.external,
                dns_domain=domain_of(network),
                names=tuple(_names(names[network.id], domain_of(network))),
                metadata_port_id=network.metadata_port_id,
                metadata_mac=network.metadata_mac,
                admin_up=network.admin_up,
            )
        )
    return made


def _subnet(subnet: Subnet, settings: Settings, metadata_ip: str) -> SubnetSpec:
    return SubnetSpec(
        id=subnet.id,
        cidr=subnet.cidr,
        gateway=subnet.gateway,
        dhcp=subnet.dhcp,
        dns=guest_dns(subnet, settings.dns, settings.external_cidr),
        routes=tuple((r.destination, r.nexthop) for r in subnet.routes),
        ipv6_address_mode=subnet.ipv6_address_mode,
        ipv6_ra_mode=subnet.ipv6_ra_mode,
        metadata_ip=metadata_ip,
    )


def _names(names: dict[str, list[str]], domain: str) -> Iterable[tuple[str, tuple[str, ...]]]:
    for name, addresses in names.items():
        if addresses:
            yield name, tuple(addresses)
            yield f"{name}.{domain}", tuple(addresses)


def ports(reader: Reader, ids: Sequence[str]) -> list[PortSpec]:
    found = [p for p in reader.select(Port, id=ids) if has_switch_port(p)]
    silent = {(e.network_id, e.node) for e in reader.select(DhcpExclusion, network_id={p.network_id for p in found})}
    return [
        PortSpec(
            id=port.id,
            revision=port.generation,
            network_id=port.network_id,
            mac=port.mac_address,
            addresses=tuple((ip.subnet_id, ip.ip_address) for ip in port.fixed_ips),
            security_groups=port.security_groups,
            port_security=port.port_security,
            allowed_address_pairs=tuple((p.mac_address, p.ip_address) for p in port.allowed_address_pairs),
            admin_up=port.admin_up,
            device_id=port.device_id,
            device_owner=port.device_owner,
            host=port.host,
            hostname=port.dns_name,
            dhcp_options=tuple((o.opt_name, o.opt_value, o.ip_version) for o in port.dhcp_options),
            dhcp=not any((port.network_id, host) in silent for host in port.host.split(",")),
        )
        for port in found
    ]


def routers(reader: Reader, ids: Sequence[str]) -> list[RouterSpec]:
    found = reader.select(Router, id=ids)
    own = _by(reader.select(Port, device_id=ids, device_owner=(ROUTER_INTERFACE, ROUTER_GATEWAY)), "device_id")
    floating = _by(reader.select(FloatingIp, router_id=ids), "router_id")
    subnet_ids = {ip.subnet_id for ports in own.values() for p in ports for ip in p.fixed_ips}
    subnets = {s.id: s for s in _chunked(reader, Subnet, subnet_ids)}
    outside_ids = {f.floating_port_id for fs in floating.values() for f in fs}
    outside = {p.id: p for p in _chunked(reader, Port, outside_ids)}
    inner_ids = {f.port_id for fs in floating.values() for f in fs if f.port_id}
    inner = {p.id: p for p in _chunked(reader, Port, inner_ids)}
    return [_router(r, own[r.id], floating[r.id], subnets, outside, inner) for r in found]


def _router(
    router: Router,
    own: Sequence[Port],
    floating: Sequence[FloatingIp],
    subnets: dict[str, Subnet],
    outside: dict[str, Port],
    inner: dict[str, Port],
) -> RouterSpec:
    inside = [p for p in own if p.device_owner == ROUTER_INTERFACE]
    gateway = next((p for p in own if p.id == router.gateway_port_id), None)
    internal = [subnets[ip.subnet_id] for p in inside for ip in p.fixed_ips if ip.subnet_id in subnets]
    return RouterSpec(
        id=router.id,
        revision=router.generation,
        name=router.name,
        admin_up=router.admin_up,
        interfaces=tuple(
            RouterInterfaceSpec(
                port_id=p.id, network_id=p.network_id, mac=p.mac_address, cidrs=_cidrs(p.fixed_ips, subnets)
            )
            for p in inside
        ),
        gateway=None if gateway is None else _gateway(router, gateway, internal, subnets),
        routes=tuple((r.destination, r.nexthop) for r in router.routes),
        nats=tuple(_nat(f, outside, inner, router.distributed) for f in floating if f.port_id) if gateway else (),
    )


def _gateway(router: Router, port: Port, internal: Sequence[Subnet], subnets: dict[str, Subnet]) -> RouterGatewaySpec:
    held = [subnets[ip.subnet_id] for ip in port.fixed_ips if ip.subnet_id in subnets]
    four = next((ip.ip_address for ip in port.fixed_ips if "." in ip.ip_address), "")
    return RouterGatewaySpec(
        port_id=port.id,
        network_id=port.network_id,
        mac=port.mac_address,
        cidrs=_cidrs(port.fixed_ips, subnets),
        next_hops=tuple(dict.fromkeys(s.gateway for s in held if s.gateway)),
        snat=router.enable_snat,
        snat_cidrs=tuple(dict.fromkeys(s.cidr for s in internal if s.ip_version == 4)) if router.enable_snat else (),
        snat_address=four if router.enable_snat else "",
        standbys=router.ha,
    )


def _nat(floating: FloatingIp, outside: dict[str, Port], inner: dict[str, Port], spread: bool) -> NatSpec:
    """Distributed, where the router is and the inner port is a guest's: its own node answers for the address."""
    guest = inner.get(floating.port_id)
    own = outside.get(floating.floating_port_id)
    distributed = spread and guest is not None and own is not None and has_switch_port(guest)
    return NatSpec(
        floating_ip_id=floating.id,
        external_ip=floating.floating_ip_address,
        internal_ip=floating.fixed_ip_address,
        port_id=floating.port_id if distributed else "",
        mac=own.mac_address if distributed and own else "",
    )


def _cidrs(ips: Iterable[FixedIp], subnets: dict[str, Subnet]) -> tuple[str, ...]:
    return tuple(f"{ip.ip_address}/{subnets[ip.subnet_id].cidr.rpartition('/')[2]}" for ip in ips
                 if ip.subnet_id in subnets)  # fmt: skip


def groups(reader: Reader, ids: Sequence[str]) -> list[SecurityGroupSpec]:
    rules = _by(reader.select(SecurityGroupRule, security_group_id=ids), "security_group_id")
    return [
        SecurityGroupSpec(
            id=group.id,
            revision=group.generation,
            stateful=group.stateful,
            rules=tuple(map(_rule, rules[group.id])),
        )
        for group in reader.select(SecurityGroup, id=ids)
    ]


def _rule(rule: SecurityGroupRule) -> RuleSpec:
    prefix = rule.remote_ip_prefix
    return RuleSpec(
        id=rule.id,
        ingress=rule.direction == "ingress",
        ethertype=rule.ethertype,
        protocol=rule.protocol,
        port_min=rule.port_range_min,
        port_max=rule.port_range_max,
        remote_cidr=str(ipaddress.ip_network(prefix, strict=False)) if prefix else "",
        remote_group=rule.remote_group_id,
    )


def _by(found: Iterable[Any], field: str) -> dict[str, list[Any]]:
    by: dict[str, list[Any]] = defaultdict(list)
    for one in found:
        by[getattr(one, field)].append(one)
    return by


def _chunked(reader: Reader, cls: type[Record], ids: Iterable[str]) -> list[Any]:
    wanted = sorted(ids)
    return [r for at in range(0, len(wanted), _CHUNK) for r in reader.select(cls, id=wanted[at : at + _CHUNK])]
