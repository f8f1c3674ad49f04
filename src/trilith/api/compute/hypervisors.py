"""/os-hypervisors: the nodes, with what placement counts on them before 2.88."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.compute import paging
from trilith.api.compute.compute_services import service_number, service_uuid
from trilith.api.compute.microversions import has
from trilith.api.compute.wire import Link
from trilith.api.http.call import Call
from trilith.commands.network_search import contains
from trilith.model.node import Inventory, Node, ResourceProvider
from trilith.model.server import Server
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

LIST_QUERY = ("limit", "marker", "hypervisor_hostname_pattern", "with_servers")
SHOW_QUERY = ("with_servers",)


class HypervisorView(msgspec.Struct, kw_only=True):
    id: int | str
    hypervisor_hostname: str
    state: str
    status: str
    hypervisor_type: str | UnsetType = UNSET
    hypervisor_version: int | UnsetType = UNSET
    host_ip: str | UnsetType = UNSET
    service: dict[str, int | str | None] | UnsetType = UNSET
    vcpus: int | UnsetType = UNSET
    vcpus_used: int | UnsetType = UNSET
    memory_mb: int | UnsetType = UNSET
    memory_mb_used: int | UnsetType = UNSET
    local_gb: int | UnsetType = UNSET
    local_gb_used: int | UnsetType = UNSET
    free_ram_mb: int | UnsetType = UNSET
    free_disk_gb: int | UnsetType = UNSET
    current_workload: int | UnsetType = UNSET
    running_vms: int | UnsetType = UNSET
    disk_available_least: int | UnsetType | None = UNSET
    cpu_info: dict[str, str] | str | UnsetType = UNSET
    uptime: str | UnsetType | None = UNSET
    servers: list[dict[str, str]] | UnsetType = UNSET


class HypervisorList(msgspec.Struct):
    hypervisors: list[HypervisorView]
    hypervisors_links: list[Link] | UnsetType = UNSET


class HypervisorOne(msgspec.Struct):
    hypervisor: HypervisorView


@dataclass(slots=True)
class Usage:
    """Of one node: resource class → (total, used), its servers, and those with a running task."""

    amounts: dict[str, tuple[int, int]] = field(default_factory=dict)
    servers: list[tuple[str, str, int]] = field(default_factory=list)  # id, name, seq
    busy: int = 0

    def of(self, resource: str) -> tuple[int, int]:
        return self.amounts.get(resource, (0, 0))


def _usage(reader: Reader, nodes: list[Node], *, servers: bool = True) -> dict[str, Usage]:
    """In three reads, whatever the number of nodes."""
    found = {n.name: Usage() for n in nodes}
    if not nodes:
        return found
    names = {p.id: p.name for p in reader.select(ResourceProvider, name=list(found))}
    for inventory in reader.select(Inventory, provider_id=list(names)) if names else ():
        found[names[inventory.provider_id]].amounts[inventory.resource_class] = (inventory.total, inventory.used)
    if servers:
        t = REGISTRY[Server].table.c
        rows = sa.select(t.node, t.id, t.name, t.seq, t.task).where(t.node.in_(list(found)), t.deleted_at == 0)
        for node, id, name, seq, task in reader.conn.execute(rows.order_by(t.seq)):
            found[node].servers.append((id, name, seq))
            found[node].busy += bool(task)
    return found


def _view(call: Call, node: Node, usage: Usage, *, detail: bool, servers: bool = False) -> HypervisorView:
    uuids = has(call.version, "uuids")
    made = HypervisorView(
        id=node.id if uuids else node.seq,
        hypervisor_hostname=node.name,
        state="up" if node.alive and not node.forced_down else "down",
        status="enabled" if node.enabled else "disabled",
    )
    if detail:
        facts = node.facts
        made.hypervisor_type = facts.hypervisor_type if facts else ""
        made.hypervisor_version = facts.hypervisor_version if facts else 0
        made.host_ip = _address(call)
        made.service = {
            "id": service_uuid(node.id) if uuids else service_number(node),
            "host": node.name,
            "disabled_reason": node.disabled_reason or None,
        }
        if has(call.version, "hypervisor_brief"):
            made.uptime = _uptime() if node.alive else None
        else:
            _amounts(made, usage)
            info = facts.cpu_info if facts else {}
            made.cpu_info = info if has(call.version, "cpu_info_object") else msgspec.json.encode(info).decode()
    if servers and (usage.servers or has(call.version, "consistent")):
        made.servers = [{"name": name, "uuid": id} for id, name, _ in usage.servers]
    return made


def _amounts(made: HypervisorView, usage: Usage) -> None:
    made.vcpus, made.vcpus_used = usage.of("VCPU")
    made.memory_mb, made.memory_mb_used = usage.of("MEMORY_MB")
    made.local_gb, made.local_gb_used = usage.of("DISK_GB")
    made.free_ram_mb = made.memory_mb - made.memory_mb_used
    made.free_disk_gb = made.disk_available_least = made.local_gb - made.local_gb_used
    made.current_workload = usage.busy
    made.running_vms = len(usage.servers)


def _address(call: Call) -> str:
    host = call.host.settings.listen.rpartition(":")[0].strip("[]")
    return host if host.replace(".", "").isdecimal() or ":" in host else "127.0.0.1"


def _uptime() -> str:
    """As uptime(1) says it. All nodes are on this machine for now."""
    with open("/proc/uptime", encoding="ascii") as file:
        up = int(float(file.read().split()[0]))
    days, hours, minutes = up // 86400, up // 3600 % 24, up // 60 % 60
    load = ", ".join(f"{x:.2f}" for x in os.getloadavg())
    now = time.strftime("%H:%M:%S", time.gmtime())
    return f" {now} up {days} days, {hours:2d}:{minutes:02d},  0 users,  load average: {load}"


async def index(call: Call) -> HypervisorList:
    """200; 400; 404 for a pattern that matches none."""
    return await _list(call, detail=False)


async def detail(call: Call) -> HypervisorList:
    """200; 400; 404 as index."""
    return await _list(call, detail=True)


async def _list(call: Call, *, detail: bool) -> HypervisorList:
    pages = has(call.version, "hypervisor_paging")
    newer = has(call.version, "uuids")
    limit = paging.limit_of(call) if pages else None
    marker = paging.marker_of(call) if pages else ""
    pattern = call.one("hypervisor_hostname_pattern") if newer else ""
    servers = call.flag("with_servers") if newer else False
    if pattern and (call.one("limit") or marker):
        raise errors.Invalid(
            "Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported."
        )
    t = REGISTRY[Node].table.c

    def read(reader: Reader) -> tuple[list[Node], dict[str, Usage]]:
        clauses = [contains(reader, t.name, pattern)] if pattern else []
        if marker:
            clauses.append(t.seq > _marker(reader, marker, uuids=newer).seq)
        nodes = reader.select(Node, *clauses, limit=limit)
        return nodes, _usage(reader, nodes, servers=servers or detail)

    nodes, usage = await call.read(read)
    if pattern and not nodes:
        raise errors.Missing(f"No hypervisor matching '{pattern}' could be found.")
    path = "/os-hypervisors/detail" if detail else "/os-hypervisors"
    more = pages and not pattern and bool(nodes) and len(nodes) == limit
    last = (nodes[-1].id if newer else str(nodes[-1].seq)) if nodes else ""
    return HypervisorList(
        [_view(call, n, usage[n.name], detail=detail, servers=servers) for n in nodes],
        paging.next_link(call, path, last) if more else UNSET,
    )


def _marker(reader: Reader, marker: str, *, uuids: bool) -> Node:
    number = int(marker) if marker.isascii() and marker.isdecimal() and len(marker) < 11 else -1
    found = reader.find(Node, marker) if uuids else reader.first(Node, seq=number)
    if found is None:
        raise paging.no_marker(marker)
    return found


def _one(reader: Reader, call: Call) -> Node:
    """Raises Invalid for what is no uuid (from 2.53 on), Missing."""
    asked = call.params["id"]
    missing = errors.Missing(f"Hypervisor with ID '{asked}' could not be found.")
    if has(call.version, "uuids"):
        try:
            wanted = str(uuid.UUID(asked))
        except ValueError as err:
            raise errors.Invalid(f"Invalid uuid {asked}", field="id") from err
        node = reader.find(Node, wanted)
    else:
        node = reader.first(Node, seq=int(asked)) if asked.isascii() and asked.isdecimal() and len(asked) < 11 else None
    if node is None:
        raise missing
    return node


async def show(call: Call) -> HypervisorOne:
    """200; 400; 404."""
    servers = call.flag("with_servers") if has(call.version, "uuids") else False

    def read(reader: Reader) -> HypervisorView:
        node = _one(reader, call)
        return _view(call, node, _usage(reader, [node])[node.name], detail=True, servers=servers)

    return HypervisorOne(await call.read(read))


async def uptime(call: Call) -> HypervisorOne:
    """200; 400 for a node that is down; 404. Until 2.87."""

    def read(reader: Reader) -> HypervisorView:
        node = _one(reader, call)
        if not node.alive:
            raise errors.Invalid(f"Compute service of {node.name} is unavailable at this time.")
        return _view(call, node, Usage(), detail=False)

    made = await call.read(read)
    made.uptime = _uptime()
    return HypervisorOne(made)


async def statistics(call: Call) -> dict[str, Any]:
    """200: the sums over all enabled nodes. Until 2.87."""

    def read(reader: Reader) -> list[Usage]:
        return list(_usage(reader, reader.select(Node, enabled=True)).values())

    found = await call.read(read)
    sums = {r: [sum(u.of(r)[i] for u in found) for i in (0, 1)] for r in ("VCPU", "MEMORY_MB", "DISK_GB")}
    (vcpus, vcpus_used), (ram, ram_used), (disk, disk_used) = sums.values()
    return {
        "hypervisor_statistics": {
            "count": len(found),
            "vcpus": vcpus,
            "vcpus_used": vcpus_used,
            "memory_mb": ram,
            "memory_mb_used": ram_used,
            "free_ram_mb": ram - ram_used,
            "local_gb": disk,
            "local_gb_used": disk_used,
            "free_disk_gb": disk - disk_used,
            "disk_available_least": disk - disk_used,
            "current_workload": sum(u.busy for u in found),
            "running_vms": sum(len(u.servers) for u in found),
        }
    }


async def search(call: Call) -> HypervisorList:
    """200; 404 where none matches. Until 2.52."""
    return await _matching(call, servers=False)


async def servers_of(call: Call) -> HypervisorList:
    """200; 404 where none matches. Until 2.52."""
    return await _matching(call, servers=True)


async def _matching(call: Call, *, servers: bool) -> HypervisorList:
    pattern = call.params["id"]
    t = REGISTRY[Node].table.c

    def read(reader: Reader) -> tuple[list[Node], dict[str, Usage]]:
        nodes = reader.select(Node, contains(reader, t.name, pattern))
        return nodes, _usage(reader, nodes, servers=servers)

    nodes, usage = await call.read(read)
    if not nodes:
        raise errors.Missing(f"No hypervisor matching '{pattern}' could be found.")
    return HypervisorList([_view(call, n, usage[n.name], detail=False, servers=servers) for n in nodes])
