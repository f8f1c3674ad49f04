"""The actions for floating and fixed IPs: what Nova proxied to the network service before 2.44."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.compute.server_load import change
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.commands import floating_ips, ports
from trilith.commands.network_faults import ExternalGatewayForFloatingIPNotFound, FloatingIPPortAlreadyAssociated
from trilith.model.network import FixedIp, FloatingIp, Port
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
    """202; 400 for a server without a fitting port, and where the network cannot; 404."""

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

    try:
        await change(call, "os-floating-ips:add", "server.add_floating_ip", body, locks=False)
    except (FloatingIPPortAlreadyAssociated, ExternalGatewayForFloatingIPNotFound) as err:
        # Nova's own answer to whatever the network service refused
        raise errors.Invalid(f"Unable to associate floating IP {value.address}: {err.message}", hint=err.hint) from err
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


class AddFixedIp(msgspec.Struct, forbid_unknown_fields=True):
    networkId: str | int


class RemoveFixedIp(msgspec.Struct, forbid_unknown_fields=True):
    address: str


async def add_fixed_ip(call: Call, value: AddFixedIp) -> Answer:
    """202: one more address for the server's port on the network; 400 where it has no port there; 404; 409."""
    network = str(value.networkId)

    def body(tx: Tx, server: Server) -> None:
        mine = tx.select(Port, device_id=server.id, network_id=network)
        if not mine or not mine[0].fixed_ips:
            raise errors.Invalid(f"Network {network} is not one of instance {server.id}.", field="networkId")
        port = mine[0]
        more = FixedIp(subnet_id=port.fixed_ips[0].subnet_id, ip_address="")
        ports.update_port(tx, port, fixed_ips=[*port.fixed_ips, more])

    await change(call, "os-multinic:add", "server.add_fixed_ip", body)
    return Answer(status=202)


async def remove_fixed_ip(call: Call, value: RemoveFixedIp) -> Answer:
    """202; 400 for an address that the server does not have; 404; 409."""

    def body(tx: Tx, server: Server) -> None:
        for port in tx.select(Port, device_id=server.id):
            left = [ip for ip in port.fixed_ips if ip.ip_address != value.address]
            if len(left) < len(port.fixed_ips):
                ports.update_port(tx, port, fixed_ips=left)
                return
        raise errors.Invalid(f"Fixed IP {value.address} not found for instance {server.id}.", field="address")

    await change(call, "os-multinic:remove", "server.remove_fixed_ip", body)
    return Answer(status=202)
