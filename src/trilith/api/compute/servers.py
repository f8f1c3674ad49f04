"""/servers: list, show, update, delete, and the addresses of one. Creation is in server_create.py."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.compute import paging, server_query
from trilith.api.compute.server_create import DiskConfig, Fqdn, checked_address, checked_hostname
from trilith.api.compute.server_load import change, load
from trilith.api.compute.server_view import Address, ServerView, Shape, addresses_of, port_rows
from trilith.api.compute.wire import Description, Link, Name, refuse_newer
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.commands import server_details, servers
from trilith.model.server import Server
from trilith.store.tx import Reader, Tx


class ServerList(msgspec.Struct):
    servers: list[Any]
    servers_links: list[Link] | UnsetType = UNSET


class ServerOne(msgspec.Struct):
    server: ServerView


class Changes(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    accessIPv4: str | UnsetType = UNSET
    accessIPv6: str | UnsetType = UNSET
    disk_config: DiskConfig | UnsetType = msgspec.field(name="OS-DCF:diskConfig", default=UNSET)
    hostname: Fqdn | UnsetType = UNSET
    pinned_zone: Name | UnsetType | None = msgspec.field(name="pinned_availability_zone", default=UNSET)


class Update(msgspec.Struct, forbid_unknown_fields=True):
    server: Changes


async def index(call: Call) -> ServerList:
    """200; 400 for a filter that cannot be read; 403 for all_tenants."""
    query = server_query.parse(call, detail=False)
    found = await call.read(query.run)
    shape = Shape(call)
    return ServerList([shape.brief(s) for s in found], _next(call, "/servers", found, query.limit))


async def detail(call: Call) -> ServerList:
    """200; 400 and 403 as index."""
    query = server_query.parse(call, detail=True)
    shape = Shape(call)

    def read(reader: Reader) -> tuple[list[Server], list[ServerView]]:
        found = query.run(reader)
        around = shape.around(reader, found)
        return found, [shape.view(s, around) for s in found]

    found, views = await call.read(read)
    return ServerList(views, _next(call, "/servers/detail", found, query.limit))


def _next(call: Call, path: str, found: list[Server], limit: int) -> list[Link] | UnsetType:
    return paging.next_link(call, path, found[-1].id) if found and len(found) == limit else UNSET


async def show(call: Call) -> ServerOne:
    """200; 404."""
    shape = Shape(call, single=True)

    def read(reader: Reader) -> ServerView:
        server = load(reader, call, "servers:show")
        return shape.view(server, shape.around(reader, [server]))

    return ServerOne(await call.read(read))


async def update(call: Call) -> ServerOne:
    """200; 400; 404; 409 for a zone that it cannot be pinned to."""
    asked: Changes = call.body.server
    refuse_newer(call, asked, {"description": "description", "hostname": "hostname", "pinned_zone": "repin_zone"})
    shape = Shape(call, full=False, single=True)
    changes: dict[str, Any] = {}
    if asked.name is not UNSET:
        changes["name"] = asked.name.strip()
    if asked.description is not UNSET:
        changes["description"] = asked.description or ""
    if asked.accessIPv4 is not UNSET:
        changes["access_ipv4"] = checked_address(asked.accessIPv4, 4, "accessIPv4")
    if asked.accessIPv6 is not UNSET:
        changes["access_ipv6"] = checked_address(asked.accessIPv6, 6, "accessIPv6")
    if asked.disk_config is not UNSET:
        changes["disk_config"] = asked.disk_config
    if asked.hostname is not UNSET:
        changes["hostname"] = checked_hostname(call, asked.hostname)

    def body(tx: Tx, server: Server) -> ServerView:
        server = server_details.update(tx, server, changes)
        if asked.pinned_zone is not UNSET:
            server = server_details.repin(tx, server, asked.pinned_zone)
        return shape.view(server, shape.around(tx, [server]))

    return ServerOne(await change(call, "servers:update", "server.update", body, locks=False))


async def delete(call: Call) -> Answer:
    """204; 404; 409 for a locked one."""
    await change(call, "servers:delete", "server.delete", servers.delete)
    return Answer(status=204)


class AddressesView(msgspec.Struct):
    addresses: dict[str, list[Address]]


async def ips(call: Call) -> AddressesView:
    """200, network name → addresses; 404."""
    return AddressesView(await _addresses(call, "ips:index"))


async def ips_of_network(call: Call) -> dict[str, list[Address]]:
    """200; 404 also for a network that the server is not on."""
    found = await _addresses(call, "ips:show")
    name = call.params["network"]
    if name not in found:
        raise errors.Missing("Instance is not a member of specified network")
    return {name: found[name]}


async def _addresses(call: Call, rule: str) -> dict[str, list[Address]]:
    def read(reader: Reader) -> dict[str, list[Address]]:
        server = load(reader, call, rule)
        return addresses_of(reader, port_rows(reader, [server.id]), extended=False).get(server.id, {})

    return await call.read(read)
