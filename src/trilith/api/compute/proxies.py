"""What Nova passed on to the network service until 2.35. Security groups and images have modules of their own."""

from __future__ import annotations

from typing import Any

import msgspec

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.commands import floating_ips, network_search
from trilith.model.network import FloatingIp, Network, Port, Subnet
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx

# floating IPs


class NewFloatingIp(msgspec.Struct):
    pool: str | None = None


def _view(floating: FloatingIp, pool: str, server_id: str | None) -> dict[str, Any]:
    return {
        "id": floating.id,
        "ip": floating.floating_ip_address,
        "pool": pool,
        "fixed_ip": floating.fixed_ip_address or None,
        "instance_id": server_id,
    }


def _views(reader: Reader, found: list[FloatingIp]) -> list[dict[str, Any]]:
    if not found:
        return []
    pools = {n.id: n.name for n in reader.select(Network, id=list({f.floating_network_id for f in found}))}
    ids = list({f.port_id for f in found if f.port_id})
    devices = {p.id: p.device_id for p in reader.select(Port, id=ids)} if ids else {}
    return [_view(f, pools.get(f.floating_network_id, ""), devices.get(f.port_id) or None) for f in found]


def _find(reader: Reader, call: Call) -> FloatingIp:
    floating = reader.find(FloatingIp, call.params["id"])
    if floating is None or (floating.project_id != call.actor.project_id and not call.actor.is_admin):
        raise errors.Missing(f"Floating IP not found for ID {call.params['id']}")
    return floating


async def list_floating_ips(call: Call) -> dict[str, Any]:
    """200."""
    project = call.actor.project_id
    found = await call.read(lambda r: _views(r, r.select(FloatingIp, project_id=project)))
    return {"floating_ips": found}


async def show_floating_ip(call: Call) -> dict[str, Any]:
    """200; 404."""
    return {"floating_ip": (await call.read(lambda r: _views(r, [_find(r, call)])))[0]}


async def create_floating_ip(call: Call) -> dict[str, Any]:
    """200; 403 at the quota; 404 for a pool that is not there."""
    body: NewFloatingIp | None = call.body
    pool = (body.pool if body is not None else None) or ""

    def make(tx: Tx) -> dict[str, Any]:
        pools = tx.select(Network, external=True)
        named = [n for n in pools if pool in (n.name, n.id)] if pool else sorted(pools, key=lambda n: not n.default)
        if not named:
            raise errors.Missing("Floating IP pool not found.")
        floating = floating_ips.create(tx, project_id=call.actor.project_id, network_id=named[0].id)
        return _views(tx, [floating])[0]

    return {"floating_ip": await call.write(make, "floating_ip.create")}


async def delete_floating_ip(call: Call) -> Answer:
    """202; 404."""
    await call.write(lambda tx: floating_ips.delete(tx, _find(tx, call)), "floating_ip.delete")
    return Answer(status=202)


async def pools(call: Call) -> dict[str, Any]:
    """200: the external networks."""
    found = await call.read(lambda r: r.select(Network, external=True))
    return {"floating_ip_pools": [{"name": n.name} for n in found]}


# networks


async def list_tenant_networks(call: Call) -> dict[str, Any]:
    """200."""
    return {"networks": [_network(n, s) for n, s in await call.read(lambda r: _networks(r, call))]}


async def show_tenant_network(call: Call) -> dict[str, Any]:
    """200; 404."""
    found = await call.read(lambda r: _networks(r, call, call.params["id"]))
    if not found:
        raise errors.Missing("Network not found")
    return {"network": _network(*found[0])}


def _networks(reader: Reader, call: Call, id: str = "") -> list[tuple[Network, Subnet | None]]:
    clauses: list[Any] = [] if call.actor.is_admin and id else [network_search.visible(Network, call.actor)]
    if id:
        clauses.append(REGISTRY[Network].table.c.id == id)
    found = reader.select(Network, *clauses)
    subnets = reader.select(Subnet, network_id=[n.id for n in found]) if found else []
    first = {s.network_id: s for s in reversed(subnets)}
    return [(n, first.get(n.id)) for n in found]


def _network(network: Network, subnet: Subnet | None) -> dict[str, Any]:
    return {"id": network.id, "label": network.name, "cidr": subnet.cidr if subnet else "None"}


_EMPTY = [
    "bridge",
    "bridge_interface",
    "broadcast",
    "cidr_v6",
    "created_at",
    "deleted",
    "deleted_at",
    "dhcp_server",
    "dhcp_start",
    "dns1",
    "dns2",
    "enable_dhcp",
    "gateway",
    "gateway_v6",
    "host",
    "injected",
    "mtu",
    "multi_host",
    "netmask",
    "netmask_v6",
    "priority",
    "project_id",
    "rxtx_base",
    "share_address",
    "updated_at",
    "vlan",
    "vpn_private_address",
    "vpn_public_address",
    "vpn_public_port",
]


async def list_networks(call: Call) -> dict[str, Any]:
    """200: as nova showed what it does not own itself, nearly all null."""
    found = await call.read(lambda r: _networks(r, call))
    return {"networks": [dict.fromkeys(_EMPTY) | {"id": n.id, "label": n.name, "cidr": None} for n, _ in found]}


async def show_network(call: Call) -> dict[str, Any]:
    """200; 404."""
    found = await call.read(lambda r: _networks(r, call, call.params["id"]))
    if not found:
        raise errors.Missing("Network not found")
    network = found[0][0]
    return {"network": dict.fromkeys(_EMPTY) | {"id": network.id, "label": network.name, "cidr": None}}


_OLD = "no_proxies"
#: method, path, handler, rule, body, status, flag of the microversion that ended it
TABLE: tuple[tuple[str, str, Any, str, Any, int, str], ...] = (
    ("GET", "/os-floating-ips", list_floating_ips, "os-floating-ips:list", None, 200, _OLD),
    ("POST", "/os-floating-ips", create_floating_ip, "os-floating-ips:create", NewFloatingIp | None, 200, _OLD),
    ("GET", "/os-floating-ips/{id}", show_floating_ip, "os-floating-ips:show", None, 200, _OLD),
    ("DELETE", "/os-floating-ips/{id}", delete_floating_ip, "os-floating-ips:delete", None, 202, _OLD),
    ("GET", "/os-floating-ip-pools", pools, "os-floating-ip-pools", None, 200, _OLD),
    ("GET", "/os-tenant-networks", list_tenant_networks, "os-tenant-networks:list", None, 200, _OLD),
    ("GET", "/os-tenant-networks/{id}", show_tenant_network, "os-tenant-networks:show", None, 200, _OLD),
    ("GET", "/os-networks", list_networks, "os-networks:list", None, 200, _OLD),
    ("GET", "/os-networks/{id}", show_network, "os-networks:show", None, 200, _OLD),
)
