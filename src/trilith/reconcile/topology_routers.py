"""Routers as what the network driver is asked for: interfaces, gateway, translation, forwarded ports, scopes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

from trilith.commands.ports import ROUTER_GATEWAY, ROUTER_INTERFACE, SERVICE_OWNERS
from trilith.model.network import FixedIp, FloatingIp, Port, Router, Subnet, SubnetPool
from trilith.model.network_forwarding import PortForwarding
from trilith.model.topology import ForwardSpec, NatSpec, RouterGatewaySpec, RouterInterfaceSpec, RouterSpec
from trilith.reconcile.topology_qos import by, chunked, limits
from trilith.store.tx import Reader


def routers(reader: Reader, ids: Sequence[str]) -> list[RouterSpec]:
    found = reader.select(Router, id=ids)
    own = by(reader.select(Port, device_id=ids, device_owner=(ROUTER_INTERFACE, ROUTER_GATEWAY)), "device_id")
    floating = by(reader.select(FloatingIp, router_id=ids), "router_id")
    subnet_ids = {ip.subnet_id for ports in own.values() for p in ports for ip in p.fixed_ips}
    subnets = {s.id: s for s in chunked(reader, Subnet, subnet_ids)}
    outside_ids = {f.floating_port_id for fs in floating.values() for f in fs}
    outside = {p.id: p for p in chunked(reader, Port, outside_ids)}
    inner_ids = {f.port_id for fs in floating.values() for f in fs if f.port_id}
    inner = {p.id: p for p in chunked(reader, Port, inner_ids)}
    forwards = by(reader.select(PortForwarding, router_id=ids), "router_id")
    addresses = {f.id: f.floating_ip_address for fs in floating.values() for f in fs}
    rules = limits(reader, (f.qos_policy_id for fs in floating.values() for f in fs))
    walls = _walls(reader, found, own, subnets)
    made = []
    for router in found:
        spec = _router(router, own[router.id], floating[router.id], subnets, outside, inner)
        qos = {f.id: rules.get(f.qos_policy_id, ()) for f in floating[router.id]}
        apart, walled, same = walls[router.id]
        gateway = spec.gateway
        if gateway is not None and same:
            # within one address scope addresses are told apart as they are: no translation
            gateway = replace(gateway, snat_cidrs=tuple(c for c in gateway.snat_cidrs if c not in same))
        made.append(
            replace(
                spec,
                gateway=gateway,
                nats=tuple(replace(n, qos=qos[n.floating_ip_id]) for n in spec.nats),
                forwards=tuple(_forward(f, addresses) for f in forwards[router.id] if f.floating_ip_id in addresses),
                apart=apart,
                walled=walled if gateway is not None else (),
            )
        )
    return made


def _forward(forward: PortForwarding, addresses: dict[str, str]) -> ForwardSpec:
    return ForwardSpec(
        protocol=forward.protocol,
        external_ip=addresses[forward.floating_ip_id],
        external_port=forward.external_port,
        internal_ip=forward.internal_ip_address,
        internal_port=forward.internal_port,
    )


Pairs = tuple[tuple[str, str], ...]


def _walls(
    reader: Reader, found: Sequence[Router], own: dict[str, list[Port]], subnets: dict[str, Subnet]
) -> dict[str, tuple[Pairs, tuple[str, ...], frozenset[str]]]:
    """What address scopes forbid each router: pairs of its networks, and networks from the external one; and the
    networks that share their scope with the external one. Without any scope there is nothing to forbid."""
    pools = {s.subnetpool_id for s in subnets.values() if s.subnetpool_id}
    scopes: dict[str, str] = {p.id: p.address_scope_id for p in chunked(reader, SubnetPool, pools)}

    def scope(subnet: Subnet) -> str:
        return scopes.get(subnet.subnetpool_id, "")

    made = {}
    for router in found:
        ports = own[router.id]
        inside = [subnets[i.subnet_id] for p in ports if p.device_owner == ROUTER_INTERFACE for i in p.fixed_ips
                  if i.subnet_id in subnets]  # fmt: skip
        outer = {(subnets[i.subnet_id].ip_version, scope(subnets[i.subnet_id])) for p in ports
                 if p.id == router.gateway_port_id for i in p.fixed_ips if i.subnet_id in subnets}  # fmt: skip
        apart = tuple(
            (a.cidr, b.cidr)
            for a, b in itertools.permutations(inside, 2)
            if a.ip_version == b.ip_version and scope(a) != scope(b)
        )
        strangers = [
            s
            for s in inside
            if any(version == s.ip_version for version, _ in outer) and (s.ip_version, scope(s)) not in outer
        ]
        # with translation IPv4 goes out under the router's own address, which is of the external scope
        walled = tuple(s.cidr for s in strangers if s.ip_version == 6 or not router.enable_snat)
        same = frozenset(s.cidr for s in inside if scope(s) and (s.ip_version, scope(s)) in outer)
        made[router.id] = (apart, walled, same)
    return made


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
    distributed = spread and guest is not None and own is not None and guest.device_owner not in SERVICE_OWNERS
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
