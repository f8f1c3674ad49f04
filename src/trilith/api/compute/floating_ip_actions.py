"""addFloatingIp and removeFloatingIp: what Nova proxied to the network service before 2.44."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.compute.server_load import change
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.commands import floating_ips
from trilith.model.network import FloatingIp, Port
from trilith.model.server import Server
from trilith.store.tx import Reader, Tx


class AddFloatingIp(msgspec.Struct, forbid_unknown_fields=True):
    address: str
    fixed_address: str | UnsetType = UNSET


class RemoveFloatingIp(msgspec.Struct, forbid_unknown_fields=True):
    address: str


def _find(reader: Reader, call: Call, address: str) -> FloatingIp:
    owner: dict[str, Any] = {} if call.actor.is_admin else {"project_id": call.actor.project_id}
    found = reader.first(FloatingIp, floating_ip_address=address, **owner)
    if found is None:
        raise errors.Missing("floating IP not found")
    return found


async def add_floating_ip(call: Call, value: AddFloatingIp) -> Answer:
    """202; 400 for a server without a fitting port; 404."""

    def body(tx: Tx, server: Server) -> None:
        wanted = value.fixed_address if value.fixed_address is not UNSET else ""
        pairs = [
            (p, ip.ip_address)
            for p in tx.select(Port, device_id=server.id)
            for ip in p.fixed_ips
            if ":" not in ip.ip_address and wanted in ("", ip.ip_address)
        ]
        if not pairs:
            raise errors.Invalid(
                "Specified fixed address not assigned to instance" if wanted else "No fixed IPs associated to instance"
            )
        port, fixed = pairs[0]
        floating = _find(tx, call, value.address)
        floating_ips.associate(tx, floating, port, fixed)

    await change(call, "os-floating-ips:add", "server.add_floating_ip", body, locks=False)
    return Answer(status=202)


async def remove_floating_ip(call: Call, value: RemoveFloatingIp) -> Answer:
    """202; 404; 409 for an address of another server."""

    def body(tx: Tx, server: Server) -> None:
        floating = _find(tx, call, value.address)
        port = tx.find(Port, floating.port_id) if floating.port_id else None
        if port is None or port.device_id != server.id:
            raise errors.Conflict(f"Floating IP {value.address} is not associated with instance {server.id}.")
        floating_ips.disassociate(tx, floating)

    await change(call, "os-floating-ips:remove", "server.remove_floating_ip", body, locks=False)
    return Answer(status=202)
