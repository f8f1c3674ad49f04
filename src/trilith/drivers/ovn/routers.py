"""A router: logical router, its ports on both sides, gateway chassis, routes and NAT."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from trilith.drivers.ovn import qos, rows
from trilith.drivers.ovn.networks import PORT, SWITCH, is_down, ra_configs
from trilith.drivers.ovn.plan import Plan
from trilith.drivers.ovn.rows import Row, Value
from trilith.model.topology import RouterGatewaySpec, RouterInterfaceSpec, RouterSpec

ROUTER = "Logical_Router"
#: Highest priority of a gateway chassis (ovn-nb(5): up to 32767; a handful of standbys is what fails over in time).
_GATEWAYS = 5
_POLICY = 1000
_FORWARDED = ("tcp", "udp", "sctp")


def ensure_router(plan: Plan, spec: RouterSpec) -> None:
    row = rows.row_id(spec.id)
    if plan.newer(ROUTER, row, spec.revision, f"Router {spec.id}"):
        return
    before = _recorded(plan, row)
    ends: Sequence[RouterInterfaceSpec | RouterGatewaySpec] = [
        *spec.interfaces,
        *([spec.gateway] if spec.gateway else []),
    ]
    ports = [_connect(plan, spec, end) for end in ends]
    wanted = {(end.port_id, end.network_id) for end in ends}
    for port_id, network_id in sorted(before - wanted):
        plan.take_from(SWITCH, rows.row_id(network_id), "ports", rows.row_id(port_id))
    plan.put(
        ROUTER,
        row,
        {
            "name": spec.id,
            "enabled": [spec.admin_up],
            "ports": ports,
            "policies": list(dict.fromkeys(_policies(plan, spec))),
            "load_balancer": _forwards(plan, spec),
            "static_routes": list(dict.fromkeys(_routes(plan, spec))),
            "nat": list(dict.fromkeys(_nats(plan, spec))),
            # routers learn neighbours when they need them; with many routers on one net the default floods
            "options": {"always_learn_from_arp_request": "false", "dynamic_neigh_routers": "true"},
            "external_ids": rows.marks(
                plan.cloud,
                "router",
                spec.id,
                spec.revision,
                name=spec.name,
                interfaces=",".join(f"{port}={network}" for port, network in sorted(wanted)),
                qos=_limits(plan, spec, row),
            ),
        },
    )


def remove_router(plan: Plan, router_id: str) -> None:
    row = rows.row_id(router_id)
    found = plan.ours(ROUTER, row, f"Router {router_id}")
    if found is None:
        return
    plan.guard(ROUTER, row, found)
    for port_id, network_id in sorted(_recorded(plan, row)):
        plan.take_from(SWITCH, rows.row_id(network_id), "ports", rows.row_id(port_id))
    _unlimit(plan, rows.external_ids(found))
    for protocol in _FORWARDED:
        plan.drop_root("Load_Balancer", rows.row_id(router_id, f"forward-{protocol}"))
    plan.drop_root(ROUTER, row)


def _limits(plan: Plan, spec: RouterSpec, row: UUID) -> str:
    """Limits of its floating IPs, on the external network; "switch=rows" for the router's own external_ids."""
    before = rows.external_ids(plan.get(ROUTER, row) or {})
    if spec.gateway is None:
        _unlimit(plan, before)
        return ""
    switch, _ = plan.switch(spec.gateway.network_id)
    was, _, had = before.get("trilith:qos", "").partition("=")
    if was not in ("", str(switch)):
        _unlimit(plan, before)
        had = ""
    port = spec.gateway.port_id
    made = [one for nat in spec.nats for one in qos.of_floating_ip(plan, port, nat.external_ip, nat.qos)]
    qos.refer(plan, switch, [part for part in had.split(",") if part], made)
    return f"{switch}={','.join(map(str, made))}" if made else ""


def _unlimit(plan: Plan, ids: Mapping[str, str]) -> None:
    switch, _, had = ids.get("trilith:qos", "").partition("=")
    if had and plan.get(SWITCH, UUID(switch)) is not None:
        qos.refer(plan, UUID(switch), had.split(","), ())


def _forwards(plan: Plan, spec: RouterSpec) -> list[UUID]:
    """Forwarded ports as load balancers of one member, one row a protocol."""
    made = []
    for protocol in _FORWARDED:
        row = rows.row_id(spec.id, f"forward-{protocol}")
        vips = {
            f"{f.external_ip}:{f.external_port}": f"{f.internal_ip}:{f.internal_port}"
            for f in spec.forwards
            if f.protocol == protocol
        }
        if not vips:
            plan.drop_root("Load_Balancer", row)
            continue
        ids = rows.marks(plan.cloud, "forward", spec.id)
        name = f"forward-{protocol}-{spec.id}"
        plan.put("Load_Balancer", row, {"name": name, "protocol": [protocol], "vips": vips, "external_ids": ids})
        made.append(row)
    return made


def _policies(plan: Plan, spec: RouterSpec) -> list[UUID]:
    """What the router drops though it has a route."""
    made = []
    for source, destination in spec.apart:
        family = _family(source)
        made.append(_drop(plan, spec.id, f"{family}.src == {source} && {family}.dst == {destination}"))
    if spec.gateway is not None:
        out = rows.router_port_name(spec.gateway.port_id)
        for cidr in spec.walled:
            family = _family(cidr)
            own = [n.internal_ip for n in spec.nats] if family == "ip4" else []
            for side, end in (("outport", "src"), ("inport", "dst")):
                but = f" && {family}.{end} != {{{', '.join(own)}}}" if own else ""
                made.append(_drop(plan, spec.id, f'{side} == "{out}" && {family}.{end} == {cidr}{but}'))
    return made


def _family(cidr: str) -> str:
    return "ip6" if ":" in cidr else "ip4"


def _drop(plan: Plan, router_id: str, expression: str) -> UUID:
    columns: dict[str, Value] = {"priority": _POLICY, "match": expression, "action": "drop"}
    return plan.once("Logical_Router_Policy", rows.content_id(router_id, "policy", expression), columns)


def _recorded(plan: Plan, row: UUID) -> set[tuple[str, str]]:
    listed = rows.external_ids(plan.get(ROUTER, row) or {}).get("trilith:interfaces", "")
    pairs = (part.partition("=") for part in listed.split(",") if part)
    return {(port, network) for port, _, network in pairs}


def _connect(plan: Plan, spec: RouterSpec, end: RouterInterfaceSpec | RouterGatewaySpec) -> UUID:
    """Both sides of one router interface; the row of the router's side."""
    switch, network = plan.switch(end.network_id)
    row = rows.row_id(end.port_id)
    gateway = isinstance(end, RouterGatewaySpec)
    options = {"router-port": rows.router_port_name(end.port_id)}
    if gateway:
        options["nat-addresses"] = "router"  # the chassis announces its addresses when it takes over
    plan.put(
        PORT,
        row,
        {
            "name": end.port_id,
            "type": "router",
            "addresses": ["router"],
            "options": options,
            "enabled": [not is_down(network)],
            "external_ids": rows.marks(plan.cloud, "router-port", end.port_id, network=end.network_id, router=spec.id),
        },
    )
    plan.add_to(SWITCH, switch, "ports", row)
    columns: dict[str, Value] = {
        "name": rows.router_port_name(end.port_id),
        "mac": end.mac,
        "networks": list(end.cidrs),
        "enabled": [spec.admin_up],
        "gateway_chassis": _gateways(plan, end.port_id, _most(end)),
        "ipv6_ra_configs": {} if gateway else ra_configs(rows.external_ids(network)),
        "external_ids": rows.marks(
            plan.cloud,
            "router-port",
            end.port_id,
            network=end.network_id,
            router=spec.id,
            gateway=str(_most(end)) if gateway else "",
        ),
    }
    inner = rows.router_port_row(end.port_id)
    plan.put("Logical_Router_Port", inner, columns)
    return inner


def _most(end: RouterInterfaceSpec | RouterGatewaySpec) -> int:
    """How many chassis may carry it."""
    if isinstance(end, RouterInterfaceSpec):
        return 0
    return _GATEWAYS if end.standbys else 1


def reschedule_gateways(plan: Plan, router_ports: Iterable[tuple[UUID, Row]]) -> None:
    """Spread the gateways of these router ports over the plan's chassis. With no chassis at all they stay."""
    if not plan.gateway_chassis:
        return
    for row, columns in router_ports:
        ids = rows.external_ids(columns)
        if ids.get(rows.CLOUD) == plan.cloud and ids.get("trilith:gateway"):
            before = columns.get("gateway_chassis", [])
            most = int(ids["trilith:gateway"])
            wanted = _gateway_rows(plan, ids[rows.ID], most)
            if set(before if isinstance(before, list) else []) != set(wanted):
                plan.put("Logical_Router_Port", row, {"gateway_chassis": _gateways(plan, ids[rows.ID], most)})


def _gateway_rows(plan: Plan, port_id: str, most: int) -> dict[UUID, str]:
    """Standbys in an order of each router's own, so that many routers spread over the gateway nodes."""

    def weight(chassis: str) -> bytes:
        return hashlib.sha256(f"{port_id}|{chassis}".encode()).digest()

    chosen = sorted(plan.gateway_chassis, key=weight)[:most]
    return {rows.row_id(port_id, f"gateway-{chassis}"): chassis for chassis in chosen}


def _gateways(plan: Plan, port_id: str, most: int) -> list[UUID]:
    name = rows.router_port_name(port_id)
    made = []
    for rank, (row, chassis) in enumerate(_gateway_rows(plan, port_id, most).items()):
        ids = rows.marks(plan.cloud, "gateway-chassis", port_id)
        columns: dict[str, Value] = {
            "name": f"{name}_{chassis}",
            "chassis_name": chassis,
            "priority": _GATEWAYS - rank,
            "external_ids": ids,
        }
        plan.put("Gateway_Chassis", row, columns)
        made.append(row)
    return made


def _routes(plan: Plan, spec: RouterSpec) -> list[UUID]:
    made = []
    if spec.gateway is not None:
        out = rows.router_port_name(spec.gateway.port_id)
        for hop in spec.gateway.next_hops:
            everything = "::/0" if ipaddress.ip_address(hop).version == 6 else "0.0.0.0/0"
            made.append(_route(plan, spec.id, everything, hop, out))
    made += [_route(plan, spec.id, destination, hop, "") for destination, hop in spec.routes]
    return made


def _route(plan: Plan, router_id: str, destination: str, hop: str, out: str) -> UUID:
    columns: dict[str, Value] = {"ip_prefix": destination, "nexthop": hop, "output_port": [out] if out else []}
    row = rows.content_id(router_id, "route", destination, hop, out)
    return plan.once("Logical_Router_Static_Route", row, columns)


def _nats(plan: Plan, spec: RouterSpec) -> list[UUID]:
    made = []
    gateway = spec.gateway
    if gateway is not None and gateway.snat and gateway.snat_address:
        made += [_nat(plan, spec.id, "snat", gateway.snat_address, cidr) for cidr in gateway.snat_cidrs]
    for nat in spec.nats:
        distributed = bool(nat.port_id and nat.mac)
        made.append(
            _nat(
                plan,
                spec.id,
                "dnat_and_snat",
                nat.external_ip,
                nat.internal_ip,
                port=nat.port_id if distributed else "",
                mac=nat.mac if distributed else "",
                floating_ip=nat.floating_ip_id,
            )
        )
    return made


def _nat(
    plan: Plan,
    router_id: str,
    kind: str,
    outside: str,
    inside: str,
    *,
    port: str = "",
    mac: str = "",
    floating_ip: str = "",
) -> UUID:
    columns: dict[str, Value] = {
        "type": kind,
        "external_ip": outside,
        "logical_ip": inside,
        "logical_port": [port] if port else [],
        "external_mac": [mac] if mac else [],
        "external_ids": rows.marks(plan.cloud, "nat", floating_ip or router_id),
    }
    return plan.once("NAT", rows.content_id(router_id, kind, outside, inside, port, mac, floating_ip), columns)
