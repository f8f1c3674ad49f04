"""Routers, their interfaces and extra routes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.network import listing
from trilith.api.network import networks as network_api
from trilith.api.network import ports as port_api
from trilith.api.network import subnets as subnet_api
from trilith.api.network.listing import Noun, Standard, Viewer
from trilith.api.network.networks import Given, Name, Tags
from trilith.api.network.ports import FixedIpWire
from trilith.api.network.subnets import RouteWire
from trilith.commands import routers as commands
from trilith.commands.network_faults import BadRequest, RouterNotFound
from trilith.model.network import FixedIp, HostRoute, Network, Port, Router
from trilith.store.tx import Reader, Tx


class GatewayView(Struct):
    network_id: str
    enable_snat: bool
    external_fixed_ips: list[FixedIpWire]


class GatewayWire(Struct, forbid_unknown_fields=True):
    network_id: str = ""
    enable_snat: bool | UnsetType = UNSET
    external_fixed_ips: list[FixedIpWire] | UnsetType = UNSET


class RouterView(Standard, kw_only=True):
    name: str
    admin_state_up: bool
    status: str
    external_gateway_info: GatewayView | None
    routes: list[RouteWire]
    availability_zone_hints: tuple[str, ...]
    availability_zones: list[str]
    flavor_id: None = None
    distributed: bool | UnsetType = UNSET
    ha: bool | UnsetType = UNSET
    tags: tuple[str, ...]


class RouterCreate(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name = ""
    description: Name = ""
    admin_state_up: bool = True
    project_id: Given = UNSET
    tenant_id: Given = UNSET
    external_gateway_info: GatewayWire | UnsetType | None = UNSET
    availability_zone_hints: list[str] = []
    distributed: bool | UnsetType | None = UNSET
    ha: bool | UnsetType | None = UNSET
    tags: Tags = []


class RouterUpdate(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name | UnsetType = UNSET
    description: Name | UnsetType = UNSET
    admin_state_up: bool | UnsetType = UNSET
    external_gateway_info: GatewayWire | UnsetType | None = UNSET
    routes: list[RouteWire] | UnsetType | None = UNSET
    distributed: bool | UnsetType = UNSET
    ha: bool | UnsetType = UNSET


class CreateBody(Struct):
    router: RouterCreate | UnsetType = UNSET
    routers: list[RouterCreate] | UnsetType = UNSET


class UpdateBody(Struct):
    router: RouterUpdate


class InterfaceBody(Struct, forbid_unknown_fields=True):
    subnet_id: str = ""
    port_id: str = ""


class InterfaceView(Struct):
    id: str
    project_id: str
    tenant_id: str
    port_id: str
    network_id: str
    subnet_id: str
    subnet_ids: list[str]
    tags: tuple[str, ...] = ()


class RoutesWire(Struct, forbid_unknown_fields=True):
    routes: list[RouteWire]


class RoutesBody(Struct):
    router: RoutesWire


def view(reader: Reader, rows: Sequence[Router], who: Viewer) -> list[RouterView]:
    gateways = {p.id: p for p in reader.select(Port, id=[r.gateway_port_id for r in rows if r.gateway_port_id])}
    return [_view(r, gateways.get(r.gateway_port_id), who.admin) for r in rows]


def _view(router: Router, gateway: Port | None, admin: bool) -> RouterView:
    info = None
    if gateway is not None:
        ips = [FixedIpWire(ip.subnet_id, ip.ip_address) for ip in gateway.fixed_ips]
        info = GatewayView(router.external_network_id, router.enable_snat, ips)
    made = RouterView(
        **listing.standard(router),
        name=router.name,
        admin_state_up=router.admin_up,
        status="ERROR" if router.error else "ACTIVE",
        external_gateway_info=info,
        routes=[RouteWire(r.destination, r.nexthop) for r in router.routes],
        availability_zone_hints=router.zone_hints,
        availability_zones=[],
        tags=router.tags,
    )
    if admin:
        made.distributed, made.ha = router.distributed, router.ha
    return made


NOUN: Noun[Router] = Noun(
    Router,
    "router",
    "routers",
    "Router",
    RouterNotFound,
    view,
    {
        **listing.standard_filters(Router),
        "admin_state_up": listing.flag(Router, "admin_up"),
        "external_network_id": listing.text(Router, "external_network_id"),
        "enable_snat": listing.flag(Router, "enable_snat"),
        "distributed": listing.flag(Router, "distributed"),
        "ha": listing.flag(Router, "ha"),
    },
    listing.standard_sort(Router),
)


async def create(call: Call) -> Answer:
    """201: the router. 400: a network that is not external. 404: the network. 409: quota, addresses."""
    body: CreateBody = call.body
    return await listing.create_all(call, NOUN, body.router, body.routers, lambda tx, w: _make(call, tx, w))


def _make(call: Call, tx: Tx, wanted: RouterCreate) -> Router:
    project = listing.owner(call, NOUN, wanted.project_id, wanted.tenant_id)
    listing.refuse_hints(wanted.availability_zone_hints)
    distributed = UNSET if wanted.distributed is None else wanted.distributed
    ha = UNSET if wanted.ha is None else wanted.ha
    listing.restrict(call, {"create_router:distributed": distributed, "create_router:ha": ha})
    gateway = _gateway(call, tx, wanted.external_gateway_info, "create_router")
    return commands.create_router(
        tx,
        project_id=project,
        name=wanted.name,
        description=wanted.description,
        admin_up=wanted.admin_state_up,
        gateway=None if gateway is UNSET else gateway,
        distributed=distributed is not False,
        ha=ha is not False,
        tags=tuple(dict.fromkeys(wanted.tags)),
    )


def _gateway(
    call: Call, tx: Tx, wanted: GatewayWire | UnsetType | None, rule: str
) -> commands.Gateway | UnsetType | None:
    """None and {} clear it. Raises Forbidden for what only administrators choose."""
    if wanted is UNSET:
        return UNSET
    if wanted is None or not wanted.network_id:
        return None
    listing.restrict(
        call,
        {
            f"{rule}:external_gateway_info:enable_snat": wanted.enable_snat,
            f"{rule}:external_gateway_info:external_fixed_ips": wanted.external_fixed_ips or UNSET,
        },
    )
    listing.fetch(tx, network_api.NOUN, listing.viewer(call), wanted.network_id)
    ips = [] if wanted.external_fixed_ips is UNSET else wanted.external_fixed_ips
    return commands.Gateway(
        network_id=wanted.network_id,
        enable_snat=None if wanted.enable_snat is UNSET else wanted.enable_snat,
        fixed_ips=tuple(FixedIp(subnet_id=i.subnet_id or "", ip_address=i.ip_address or "") for i in ips),
    )


async def update(call: Call) -> Answer:
    """200: as it is now. 400: routes or gateway that cannot be. 409: floating IPs need the gateway."""
    wanted: RouterUpdate = call.body.router
    listing.restrict(call, {"update_router:distributed": wanted.distributed, "update_router:ha": wanted.ha})

    def act(tx: Tx, router: Router) -> Any:
        return commands.update_router(
            tx,
            router,
            name=wanted.name,
            description=wanted.description,
            admin_up=wanted.admin_state_up,
            gateway=_gateway(call, tx, wanted.external_gateway_info, "update_router"),
            routes=UNSET if wanted.routes is UNSET else _routes(wanted.routes or []),
            distributed=wanted.distributed,
            ha=wanted.ha,
        )

    return await listing.change(call, NOUN, act)


def _routes(routes: Sequence[RouteWire]) -> list[HostRoute]:
    return [HostRoute(destination=r.destination, nexthop=r.nexthop) for r in routes]


async def delete(call: Call) -> Answer:
    """204. 409: it has interfaces."""
    return await listing.remove(call, NOUN, commands.delete_router)


async def add_interface(call: Call) -> InterfaceView:
    """200: the interface. 400: overlaps, no gateway, another's network, both or neither named. 404: subnet or port.
    409: in use."""
    body: InterfaceBody = call.body

    def act(tx: Tx, router: Router) -> tuple[Port, str]:
        who = listing.viewer(call)
        if body.subnet_id and not body.port_id:
            subnet = listing.fetch(tx, subnet_api.NOUN, who, body.subnet_id)
            if not who.admin and tx.get(Network, subnet.network_id).project_id != call.actor.project_id:
                # it would be given the gateway's address, and with it what all of the network send outside
                raise BadRequest(
                    f"Bad router request: Cannot add interface to router because subnet {subnet.id} is not owned by "
                    "project making the request",
                    hint="Make a port on the network, and add that.",
                    field="subnet_id",
                )
        elif body.port_id and not body.subnet_id:
            port_api.mine(call, tx, body.port_id)
        return commands.add_interface(tx, router, subnet_id=body.subnet_id, port_id=body.port_id)

    return await _interface(call, "add_router_interface", act)


async def remove_interface(call: Call) -> InterfaceView:
    """200: what it was. 404: none such. 409: floating IPs or routes need it."""
    body: InterfaceBody = call.body

    def act(tx: Tx, router: Router) -> tuple[Port, str]:
        return commands.remove_interface(tx, router, subnet_id=body.subnet_id, port_id=body.port_id)

    return await _interface(call, "remove_router_interface", act)


async def _interface(call: Call, rule: str, act: Callable[[Tx, Router], tuple[Port, str]]) -> InterfaceView:
    who = listing.viewer(call)

    def body(tx: Tx) -> InterfaceView:
        router = listing.fetch(tx, NOUN, who, call.params["id"])
        call.allow(rule, project_id=router.project_id)
        port, subnet_id = act(tx, router)
        return InterfaceView(
            router.id, router.project_id, router.project_id, port.id, port.network_id, subnet_id, [subnet_id]
        )

    return await call.write(body, f"router.{rule}")


async def add_routes(call: Call) -> Answer:
    """200: the router with these routes, too. 400: a next hop out of reach."""
    routes = _routes(_asked(call))
    return await listing.change(call, NOUN, lambda tx, r: commands.add_routes(tx, r, routes), "add_extraroutes")


async def remove_routes(call: Call) -> Answer:
    """200: the router without these routes."""
    routes = _routes(_asked(call))
    return await listing.change(call, NOUN, lambda tx, r: commands.remove_routes(tx, r, routes), "remove_extraroutes")


def _asked(call: Call) -> list[RouteWire]:
    body: RoutesBody = call.body
    if not body.router.routes:
        raise errors.Invalid("Invalid input for routes. Reason: routes are needed.", field="routes")
    return body.router.routes
