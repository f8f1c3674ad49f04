"""What else hangs on a server: diagnostics, topology, the password that the guest posted."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.agent.calls import ServerArgs
from trilith.api.compute.microversions import has
from trilith.api.compute.server_load import change, load
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.commands import server_details
from trilith.model.guest import GuestFacts, Pillar, PowerState
from trilith.model.network import Port
from trilith.model.server import Server
from trilith.store.tx import Reader

_STATES = {
    PowerState.RUNNING: "running",
    PowerState.PAUSED: "paused",
    PowerState.SHUTDOWN: "shutdown",
    PowerState.CRASHED: "crashed",
    PowerState.SUSPENDED: "suspended",
    PowerState.UNKNOWN: "pending",
}


async def diagnostics(call: Call) -> dict[str, Any]:
    """200: what the node's driver knows of the guest; null for what it does not count. 404; 409 without a guest."""

    def read(reader: Reader) -> tuple[Server, list[Port]]:
        server = load(reader, call, "os-server-diagnostics")
        return server, reader.select(Port, device_id=server.id)

    server, ports = await call.read(read)
    if not server.node or server.launched_at == 0:
        raise errors.Conflict(f"Cannot 'get_diagnostics' instance {server.id} while it is in vm_state {server.state}")
    facts = await call.host.services.links.call(
        server.node, "guest.state", ServerArgs(server.id), GuestFacts, timeout=30
    )
    if not has(call.version, "diagnostics_standard"):
        return {"cpu0_time": int(facts.cpu_seconds * 1e9), "memory": server.flavor.ram * 1024}
    nothing = ("octets", "errors", "drop", "packets", "rate")
    counters = {f"{way}_{what}": None for way in ("rx", "tx") for what in nothing}
    container = server.pillar is Pillar.LXC
    return {
        "state": _STATES[facts.power],
        "driver": "libvirt",
        "hypervisor": "lxc" if container else str(server.pillar or ""),
        "hypervisor_os": "linux",
        "uptime": int(time.time() - facts.started_at) if facts.started_at else None,
        "config_drive": server.config_drive,
        "num_cpus": 1,
        "num_nics": len(ports),
        "num_disks": 0,
        "memory_details": {"maximum": server.flavor.ram, "used": facts.memory_mib or None},
        # the guest's time over all its processors: drivers do not part it
        "cpu_details": [{"id": None, "time": int(facts.cpu_seconds * 1e9), "utilisation": None}],
        "nic_details": [{"mac_address": p.mac_address, **counters} for p in ports],
        "disk_details": [],
    }


async def topology(call: Call) -> dict[str, Any]:
    """200: no NUMA topology is given to guests, so there are no nodes to show; 404."""
    await call.read(lambda r: load(r, call, "compute:server:topology:index"))
    return {"nodes": [], "pagesize_kb": None}


async def show_password(call: Call) -> dict[str, str]:
    """200: what the guest posted, encrypted for the key's owner, or "". 404."""
    server = await call.read(lambda r: load(r, call, "os-server-password:show"))
    return {"password": server.system_metadata.get(server_details.PASSWORD, "")}


async def clear_password(call: Call) -> Answer:
    """204; 404."""
    await change(
        call,
        "os-server-password:clear",
        "server.clear_password",
        lambda tx, server: server_details.keep(tx, server, **{server_details.PASSWORD: ""}),
    )
    return Answer(status=204)


class NewShare(msgspec.Struct, forbid_unknown_fields=True):
    share_id: str
    tag: str | UnsetType = UNSET


class AttachShare(msgspec.Struct, forbid_unknown_fields=True):
    share: NewShare


async def list_shares(call: Call) -> dict[str, list[Any]]:
    """200, none: there is no shared file system service; 404."""
    await call.read(lambda r: load(r, call, "os-server-shares:index"))
    return {"shares": []}


async def attach_share(call: Call) -> Answer:
    """400: there is no shared file system service; 404."""
    await call.read(lambda r: load(r, call, "os-server-shares:create"))
    raise errors.Invalid("There is no shared file system service.", field="share_id")
