"""/os-availability-zone, and /os-hosts until 2.42."""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.compute.compute_services import CONTROL, here
from trilith.api.compute.faults import not_implemented
from trilith.api.compute.wire import micro
from trilith.api.http.call import Call
from trilith.commands import compute_services
from trilith.model.node import Inventory, Node, ResourceProvider
from trilith.model.server import Server

HOSTS_QUERY = ("zone",)


def _up(node: Node) -> bool:
    return node.alive and node.enabled and not node.forced_down


async def index(call: Call) -> dict[str, Any]:
    """200: the zones; available is one with a node that takes servers."""
    return {"availabilityZoneInfo": await _zones(call, hosts=False)}


async def detail(call: Call) -> dict[str, Any]:
    """200, with hosts and services, and the internal zone."""
    found = await _zones(call, hosts=True)
    about = {"available": True, "active": True, "updated_at": micro(time.time())}
    hosts = {here(call): dict.fromkeys(CONTROL, about)}
    found.append({"zoneName": "internal", "zoneState": {"available": True}, "hosts": hosts})
    return {"availabilityZoneInfo": found}


async def _zones(call: Call, *, hosts: bool) -> list[dict[str, Any]]:
    nodes = await call.read(lambda r: r.select(Node))
    zones: dict[str, list[Node]] = {}
    for node in nodes:
        zones.setdefault(node.zone, []).append(node)
    found: list[dict[str, Any]] = []
    for zone, mine in sorted(zones.items(), key=lambda z: (not any(map(_up, z[1])), z[0])):
        about = {
            n.name: {
                "nova-compute": {
                    "available": n.alive and not n.forced_down,
                    "active": n.enabled,
                    "updated_at": micro(n.alive_at) if n.alive_at else None,
                }
            }
            for n in mine
        }
        available = any(_up(n) for n in mine)
        found.append({"zoneName": zone, "zoneState": {"available": available}, "hosts": about if hosts else None})
    return found


async def list_hosts(call: Call) -> dict[str, Any]:
    """200: hosts of services, what this process does among them. Until 2.42."""
    nodes = await call.read(lambda r: r.select(Node))
    zone = call.one("zone")
    found = [(here(call), binary.removeprefix("nova-"), "internal") for binary in CONTROL]
    found += [(n.name, "compute", n.zone) for n in nodes]
    return {
        "hosts": [
            {"host_name": host, "service": service, "zone": of} for host, service, of in found if zone in ("", of)
        ]
    }


async def show_host(call: Call) -> dict[str, Any]:
    """200: totals, what is used, and a sum a project; 404. Until 2.42."""
    name = call.params["host"]

    def read(reader: Any) -> tuple[Node | None, list[Inventory], list[Server]]:
        providers = reader.select(ResourceProvider, name=name)
        amounts = reader.select(Inventory, provider_id=[p.id for p in providers]) if providers else []
        return reader.first(Node, name=name), amounts, reader.select(Server, node=name)

    node, amounts, servers = await call.read(read)
    if node is None:
        raise errors.Missing(f"Compute host {name} could not be found.")
    by_class = {i.resource_class: i for i in amounts}

    def row(project: str, cpu: int, memory: int, disk: int) -> dict[str, Any]:
        made = {"host": name, "project": project, "cpu": cpu, "memory_mb": memory, "disk_gb": disk}
        return {"resource": made}

    classes = ("VCPU", "MEMORY_MB", "DISK_GB")
    total = [by_class[c].total if c in by_class else 0 for c in classes]
    used = [by_class[c].used if c in by_class else 0 for c in classes]
    sums: dict[str, list[int]] = {}
    for s in servers:
        mine = sums.setdefault(s.project_id, [0, 0, 0])
        for i, amount in enumerate((s.flavor.vcpus, s.flavor.ram, s.flavor.disk)):
            mine[i] += amount
    most = [sum(s[i] for s in sums.values()) for i in range(3)]
    rows = [row("(total)", *total), row("(used_now)", *used), row("(used_max)", *most)]
    return {"host": [*rows, *(row(project, *amount) for project, amount in sums.items())]}


_Switch = Annotated[str, msgspec.Meta(pattern=r"(?i)^(enable|disable)$")]


class ChangeHost(msgspec.Struct, forbid_unknown_fields=True):
    status: _Switch | UnsetType = UNSET
    maintenance_mode: _Switch | UnsetType = UNSET


async def change_host(call: Call) -> dict[str, Any]:
    """200: status enables or disables the node's nova-compute. 400; 404; 501 for a maintenance mode. Until 2.42."""
    asked: ChangeHost = call.body
    name = call.params["host"]
    if asked.status is UNSET and asked.maintenance_mode is UNSET:
        raise errors.Invalid("Invalid input received: 'status' or 'maintenance_mode' is needed.")
    await call.read(lambda r: compute_services.by_host(r, name))
    if asked.maintenance_mode is not UNSET:
        not_implemented("A maintenance mode of hosts", hint="Disable the host's nova-compute in place of it.")
    enabled = asked.status is not UNSET and asked.status.lower() == "enable"
    await call.write(
        lambda tx: compute_services.set_enabled(tx, compute_services.by_host(tx, name), enabled, ""), "service.update"
    )
    return {"host": name, "status": "enabled" if enabled else "disabled"}


async def host_power(call: Call) -> Any:
    """404; 501: the power of hosts is the operator's own, as with every driver of Nova today. Until 2.42."""
    name = call.params["host"]
    await call.read(lambda r: compute_services.by_host(r, name))
    not_implemented("The power of a host through this API")
