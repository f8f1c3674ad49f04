"""Routers: gateways, interfaces and routes, by Neutron's rules (neutron/db/l3_db.py, extraroute_db.py)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from msgspec import UNSET, UnsetType

from trilith.commands import network_quota, ports
from trilith.commands.network_faults import (
    BadRequest,
    InvalidInput,
    InvalidRoutes,
    NetworkNotFound,
    PortInUse,
    PortNotFound,
    RouterExternalGatewayInUseByFloatingIp,
    RouterInterfaceInUseByFloatingIP,
    RouterInterfaceInUseByRoute,
    RouterInterfaceNotFound,
    RouterInterfaceNotFoundForSubnet,
    RouterInUse,
    RoutesExhausted,
    SubnetNotFound,
)
from trilith.commands.network_generation import bump
from trilith.model.network import FixedIp, FloatingIp, HostRoute, IpAddress, Network, Port, Router, Subnet
from trilith.model.network_forwarding import PortForwarding
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx, new_id

#: Neutron's max_routes
MAX_ROUTES = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """What a router is asked to have outside. enable_snat None: as it is, or on."""

    network_id: str
    enable_snat: bool | None = None
    fixed_ips: tuple[FixedIp, ...] = ()


def create_router(
    tx: Tx,
    *,
    project_id: str,
    name: str = "",
    description: str = "",
    admin_up: bool = True,
    gateway: Gateway | None = None,
    distributed: bool = True,
    ha: bool = True,
    zone_hints: tuple[str, ...] = (),
    tags: tuple[str, ...] = (),
) -> Router:
    """Raises OverQuota and what set_gateway does."""
    network_quota.charge(tx, project_id, "router")
    router = tx.add(
        Router(
            id=new_id(),
            name=name,
            project_id=project_id,
            description=description,
            admin_up=admin_up,
            distributed=distributed,
            ha=ha,
            zone_hints=zone_hints,
            tags=tags,
        )
    )
    return set_gateway(tx, router, gateway) if gateway is not None else router


def update_router(
    tx: Tx,
    router: Router,
    *,
    name: str | UnsetType = UNSET,
    description: str | UnsetType = UNSET,
    admin_up: bool | UnsetType = UNSET,
    gateway: Gateway | UnsetType | None = UNSET,
    routes: Sequence[HostRoute] | UnsetType = UNSET,
    distributed: bool | UnsetType = UNSET,
    ha: bool | UnsetType = UNSET,
) -> Router:
    """Raises BadRequest (distributed or ha of a router that is up) and what set_gateway and set_routes do."""
    given: dict[str, Any] = {
        "name": name,
        "description": description,
        "admin_up": admin_up,
        "distributed": distributed,
        "ha": ha,
    }
    changes = {f: v for f, v in given.items() if v is not UNSET and v != getattr(router, f)}
    if changes:
        if changes.keys() & {"distributed", "ha"} and changes.get("admin_up", router.admin_up):
            raise BadRequest(
                "Bad router request: Cannot change distributed or ha of an active router. Please set router "
                "admin_state_up to False prior to upgrade."
            )
        router = tx.change(router, **changes)
        if changes.keys() & {"name", "admin_up", "distributed", "ha"}:
            bump(tx, Router, [router.id])
    if gateway is not UNSET:
        router = clear_gateway(tx, router) if gateway is None else set_gateway(tx, router, gateway)
    if routes is not UNSET:
        router = set_routes(tx, router, routes)
    return router


def delete_router(tx: Tx, router: Router) -> None:
    """With its gateway. Raises RouterInUse while it has interfaces."""
    if interfaces(tx, router.id):
        raise RouterInUse(f"Router {router.id} still has ports", hint="Remove its interfaces first.")
    if router.gateway_port_id:
        router = clear_gateway(tx, router)
    tx.remove(router)
    network_quota.refund(tx, router.project_id, "router")


def interfaces(reader: Reader, router_id: str) -> list[Port]:
    return reader.select(Port, device_id=router_id, device_owner=ports.ROUTER_INTERFACE)


def set_gateway(tx: Tx, router: Router, gateway: Gateway) -> Router:
    """Raises NetworkNotFound, BadRequest (not external; overlaps), RouterExternalGatewayInUseByFloatingIp."""
    network = tx.find(Network, gateway.network_id)
    if network is None:
        raise NetworkNotFound(f"Network {gateway.network_id} could not be found.", field="external_gateway_info")
    if not network.external:
        raise BadRequest(
            f"Bad router request: Network {network.id} is not an external network.", field="external_gateway_info"
        )
    snat = router.enable_snat if gateway.enable_snat is None else gateway.enable_snat
    port = tx.find(Port, router.gateway_port_id) if router.gateway_port_id else None
    if port is not None and port.network_id == network.id:
        if gateway.fixed_ips:
            ports.update_port(tx, port, fixed_ips=gateway.fixed_ips)
    else:
        if port is not None:
            router = clear_gateway(tx, router)
        inside = [s for p in interfaces(tx, router.id) for s in _subnets(tx, p)]
        for subnet in tx.select(Subnet, network_id=network.id):
            _check_apart(inside, subnet, router)
        port = ports.create_port(
            tx,
            project_id="",
            network_id=network.id,
            network=network,
            device_id=router.id,
            device_owner=ports.ROUTER_GATEWAY,
            fixed_ips=gateway.fixed_ips or None,
        )
    changes: dict[str, Any] = {
        "external_network_id": network.id,
        "gateway_port_id": port.id,
        "enable_snat": snat,
    }
    changes = {f: v for f, v in changes.items() if v != getattr(router, f)}
    if changes:
        router = tx.change(router, **changes)
    bump(tx, Router, [router.id])
    return router


def clear_gateway(tx: Tx, router: Router) -> Router:
    """Raises RouterExternalGatewayInUseByFloatingIp, RouterInterfaceInUseByRoute."""
    if not router.gateway_port_id:
        return router
    if tx.first(FloatingIp, router_id=router.id):
        raise RouterExternalGatewayInUseByFloatingIp(
            f"Gateway cannot be updated for router {router.id}, since a gateway to external network "
            f"{router.external_network_id} is required by one or more floating IPs."
        )
    port = tx.find(Port, router.gateway_port_id)
    if port is not None:
        _check_routes_without(tx, router, port)
        ports.delete_port(tx, port, service=True)
    router = tx.change(router, external_network_id="", gateway_port_id="", enable_snat=True)
    bump(tx, Router, [router.id])
    return router


def add_interface(tx: Tx, router: Router, *, subnet_id: str = "", port_id: str = "") -> tuple[Port, str]:
    """The interface's port and the subnet added. Raises BadRequest, PortInUse, SubnetNotFound, PortNotFound,
    IpAddressAlreadyAllocated."""
    if bool(subnet_id) == bool(port_id):
        raise BadRequest(
            "Bad router request: Either subnet_id or port_id must be specified."
            if not subnet_id
            else "Bad router request: Cannot specify both subnet-id and port-id."
        )
    port, subnet = _by_port(tx, router, port_id) if port_id else _by_subnet(tx, router, subnet_id)
    _changed(tx, router)
    return port, subnet.id


def _by_subnet(tx: Tx, router: Router, subnet_id: str) -> tuple[Port, Subnet]:
    subnet = tx.find(Subnet, subnet_id)
    if subnet is None:
        raise SubnetNotFound(f"Subnet {subnet_id} could not be found.", field="subnet_id")
    if not subnet.gateway:
        raise BadRequest("Bad router request: Subnet for router interface must have a gateway IP.", field="subnet_id")
    _check_interface_mode(subnet)
    mine = interfaces(tx, router.id)
    _check_new(tx, router, mine, subnet)
    wanted = FixedIp(subnet_id=subnet.id, ip_address=subnet.gateway)
    if subnet.ip_version == 6:
        # one port advertises all IPv6 prefixes of a network
        for port in mine:
            if port.network_id == subnet.network_id and any(":" in ip.ip_address for ip in port.fixed_ips):
                return ports.update_port(tx, port, fixed_ips=(*port.fixed_ips, wanted)), subnet
    port = ports.create_port(
        tx,
        project_id=router.project_id,
        network_id=subnet.network_id,
        device_id=router.id,
        device_owner=ports.ROUTER_INTERFACE,
        fixed_ips=(wanted,),
    )
    return port, subnet


def _by_port(tx: Tx, router: Router, port_id: str) -> tuple[Port, Subnet]:
    port = tx.find(Port, port_id)
    if port is None:
        raise PortNotFound(f"Port {port_id} could not be found.", field="port_id")
    if port.device_id or ports.is_service(port.device_owner):
        raise PortInUse(
            f"Unable to complete operation on port {port.id} for network {port.network_id}. Port already has an "
            f"attached device {port.device_id}."
        )
    if not port.fixed_ips:
        raise BadRequest("Bad router request: Router port must have at least one fixed IP", field="port_id")
    subnets = _subnets(tx, port)
    if sum(s.ip_version == 4 for s in subnets) > 1:
        raise BadRequest("Bad router request: Cannot have multiple IPv4 subnets on router port", field="port_id")
    mine = interfaces(tx, router.id)
    for subnet in subnets:
        _check_interface_mode(subnet)
        _check_new(tx, router, mine, subnet)
        if subnet.ip_version == 6 and any(
            p.network_id == port.network_id and any(":" in ip.ip_address for ip in p.fixed_ips) for p in mine
        ):
            raise BadRequest(
                "Bad router request: Cannot have multiple router ports with the same network id if both contain IPv6 "
                f"subnets. Existing port shares the same network {port.network_id}"
            )
    # as a router's port it is a part of the router: no longer guarded, and not counted as the project's own
    port = tx.change(
        port,
        device_id=router.id,
        device_owner=ports.ROUTER_INTERFACE,
        security_groups=(),
        port_security=False,
        allowed_address_pairs=(),
    )
    network_quota.refund(tx, port.project_id, "port")
    bump(tx, Port, [port.id])  # its logical port of its own has to go
    return port, subnets[0]


def _check_interface_mode(subnet: Subnet) -> None:
    if subnet.ip_version == 6 and subnet.ipv6_address_mode and not subnet.ipv6_ra_mode:
        raise BadRequest(
            f"Bad router request: IPv6 subnet {subnet.id} configured to receive RAs from an external router cannot be "
            "added to Neutron Router."
        )


def remove_interface(tx: Tx, router: Router, *, subnet_id: str = "", port_id: str = "") -> tuple[Port, str]:
    """Deletes the port, or takes one IPv6 prefix of several from it. The port as it was, and the subnet.

    Raises BadRequest, RouterInterfaceNotFound…, RouterInterfaceInUseByFloatingIP, RouterInterfaceInUseByRoute.
    """
    if not subnet_id and not port_id:
        raise BadRequest("Bad router request: Either subnet_id or port_id must be specified.")
    mine = interfaces(tx, router.id)
    if port_id:
        found = next((p for p in mine if p.id == port_id), None)
        if found is None:
            raise RouterInterfaceNotFound(f"Router {router.id} does not have an interface with id {port_id}")
        held = [ip.subnet_id for ip in found.fixed_ips]
        if subnet_id and subnet_id not in held:
            raise BadRequest(f"Bad router request: Subnet {subnet_id} is not on port {port_id}.")
        gone = held
    else:
        found = next((p for p in mine if any(ip.subnet_id == subnet_id for ip in p.fixed_ips)), None)
        if found is None:
            if tx.find(Subnet, subnet_id) is None:
                raise SubnetNotFound(f"Subnet {subnet_id} could not be found.", field="subnet_id")
            raise RouterInterfaceNotFoundForSubnet(
                f"Router {router.id} has no interface on subnet {subnet_id}", field="subnet_id"
            )
        gone = [subnet_id]
    _check_unused(tx, router, found, gone)
    left = [ip for ip in found.fixed_ips if ip.subnet_id not in gone]
    if left:
        ports.update_port(tx, found, fixed_ips=left)
    else:
        ports.delete_port(tx, found, service=True)
    _changed(tx, router)
    return found, subnet_id or (gone[0] if gone else "")


def _check_unused(tx: Tx, router: Router, port: Port, subnet_ids: Sequence[str]) -> None:
    prefixes = [ipaddress.ip_network(s.cidr) for s in _subnets(tx, port) if s.id in subnet_ids]
    for floating in tx.select(FloatingIp, router_id=router.id):
        fixed = ipaddress.ip_address(floating.fixed_ip_address) if floating.fixed_ip_address else None
        if fixed is not None and any(fixed in p for p in prefixes):
            raise RouterInterfaceInUseByFloatingIP(
                f"Router interface for subnet {subnet_ids[0]} on router {router.id} cannot be deleted, as it is "
                "required by one or more floating IPs."
            )
    for rule in tx.select(PortForwarding, router_id=router.id):
        if any(ipaddress.ip_address(rule.internal_ip_address) in p for p in prefixes):
            raise RouterInterfaceInUseByFloatingIP(
                f"Router interface for subnet {subnet_ids[0]} on router {router.id} cannot be deleted, as it is "
                "required by one or more forwarded ports of floating IPs."
            )
    for route in router.routes:
        if any(ipaddress.ip_address(route.nexthop) in p for p in prefixes):
            raise RouterInterfaceInUseByRoute(
                f"Router interface for subnet {subnet_ids[0]} on router {router.id} cannot be deleted, as it is "
                "required by one or more routes."
            )


def set_routes(tx: Tx, router: Router, routes: Sequence[HostRoute]) -> Router:
    """Raises InvalidRoutes (a next hop that no interface reaches), RoutesExhausted."""
    if len(routes) > MAX_ROUTES:
        raise RoutesExhausted(f"Unable to complete operation for {router.id}. The number of routes exceeds the maximum "
                              f"quota.", field="routes")  # fmt: skip
    wanted = tuple(_route(r) for r in routes)
    if len(set(wanted)) != len(wanted):
        raise InvalidInput("Invalid input for routes. Duplicate items in the list.", field="routes")
    if wanted:
        _check_hops(tx, router, wanted)
    if wanted == router.routes:
        return router
    router = tx.change(router, routes=wanted)
    bump(tx, Router, [router.id])
    return router


def add_routes(tx: Tx, router: Router, routes: Sequence[HostRoute]) -> Router:
    """Those that are there already stay (extraroute-atomic)."""
    new = [r for r in map(_route, routes) if r not in router.routes]
    return set_routes(tx, router, (*router.routes, *dict.fromkeys(new)))


def remove_routes(tx: Tx, router: Router, routes: Sequence[HostRoute]) -> Router:
    """Those that are not there are no error (extraroute-atomic)."""
    gone = {_route(r) for r in routes}
    return set_routes(tx, router, [r for r in router.routes if r not in gone])


def _route(route: HostRoute) -> HostRoute:
    try:
        destination = ipaddress.ip_network(route.destination)
        hop = ipaddress.ip_address(route.nexthop)
    except ValueError as err:
        raise InvalidInput(f"Invalid input for routes. Reason: {err}.", field="routes") from err
    if destination.version != hop.version:
        raise InvalidInput("Invalid input for routes. destination and nexthop differ in version.", field="routes")
    return HostRoute(destination=str(destination), nexthop=str(hop))


def _check_hops(tx: Tx, router: Router, routes: Sequence[HostRoute]) -> None:
    own = tx.select(Port, device_id=router.id, device_owner=(ports.ROUTER_INTERFACE, ports.ROUTER_GATEWAY))
    prefixes = [ipaddress.ip_network(s.cidr) for p in own for s in _subnets(tx, p)]
    mine = {ip.ip_address for p in own for ip in p.fixed_ips}
    for route in routes:
        hop = ipaddress.ip_address(route.nexthop)
        if not any(hop in p for p in prefixes):
            raise InvalidRoutes(
                f"Invalid format for routes: {route.destination} via {hop}, the nexthop is not connected with router",
                field="routes",
            )
        if str(hop) in mine:
            raise InvalidRoutes(
                f"Invalid format for routes: {route.destination} via {hop}, the nexthop is used by router",
                field="routes",
            )


def _check_routes_without(tx: Tx, router: Router, gateway: Port) -> None:
    prefixes = [ipaddress.ip_network(s.cidr) for s in _subnets(tx, gateway)]
    for route in router.routes:
        if any(ipaddress.ip_address(route.nexthop) in p for p in prefixes):
            raise RouterInterfaceInUseByRoute(
                f"Router gateway of router {router.id} cannot be deleted, as it is required by one or more routes."
            )


def _check_new(tx: Tx, router: Router, mine: Sequence[Port], subnet: Subnet) -> None:
    """No second interface on the subnet, and none whose prefix overlaps another's."""
    known = [s for p in mine for s in _subnets(tx, p)]
    if any(s.id == subnet.id for s in known):
        raise BadRequest(f"Bad router request: Router already has a port on subnet {subnet.id}", field="subnet_id")
    if router.gateway_port_id:
        known += tx.select(Subnet, network_id=router.external_network_id)
    _check_apart(known, subnet, router)


def _check_apart(known: Sequence[Subnet], subnet: Subnet, router: Router) -> None:
    prefix = ipaddress.ip_network(subnet.cidr)
    for other in known:
        if other.ip_version == subnet.ip_version and prefix.overlaps(ipaddress.ip_network(other.cidr)):
            raise BadRequest(
                f"Bad router request: Cidr {subnet.cidr} of subnet {subnet.id} overlaps with cidr {other.cidr} of "
                f"subnet {other.id}",
                field="subnet_id",
            )


def _subnets(reader: Reader, port: Port) -> list[Subnet]:
    return reader.select(Subnet, id=[ip.subnet_id for ip in port.fixed_ips])


def _changed(tx: Tx, router: Router) -> None:
    """The router's revision_number grows with its interfaces, and its generation."""
    table = REGISTRY[Router].table
    tx.conn.execute(
        sa.update(table)
        .where(table.c.id == router.id)
        .values(revision=table.c.revision + 1, generation=table.c.generation + 1, updated_at=tx.now)
    )
    tx.touch("router", router.id, router.project_id)


def behind(reader: Reader, subnet_id: str, external_network_id: str) -> Router | None:
    """The router that joins the subnet to the external network; of several the one that is the subnet's gateway."""
    p, a, r = (REGISTRY[cls].table.c for cls in (Port, IpAddress, Router))
    subnet = reader.find(Subnet, subnet_id)
    rows = reader.conn.execute(
        sa.select(r.id, a.address)
        .select_from(REGISTRY[IpAddress].table)
        .join(REGISTRY[Port].table, p.id == a.port_id)
        .join(REGISTRY[Router].table, r.id == p.device_id)
        .where(
            a.subnet_id == subnet_id,
            p.device_owner == ports.ROUTER_INTERFACE,
            r.external_network_id == external_network_id,
        )
        .order_by(r.seq)
    ).all()
    if not rows:
        return None
    best = next((id for id, address in rows if subnet and address == subnet.gateway), rows[0][0])
    return reader.find(Router, best)
