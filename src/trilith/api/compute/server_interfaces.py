"""What hangs on a server: its interfaces, its security groups, its volumes (none yet)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.compute.microversions import has
from trilith.api.compute.security_groups import GroupView, group_views
from trilith.api.compute.server_create import Tag
from trilith.api.compute.server_load import change, load, settled
from trilith.api.compute.wire import Uuid, refuse_newer
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.commands import server_changes, server_details, server_networks
from trilith.commands.server_networks import NetworkRequest
from trilith.model.network import Port, SecurityGroup
from trilith.model.server import Server
from trilith.store.tx import Reader, Tx


class FixedIpItem(msgspec.Struct, forbid_unknown_fields=True):
    ip_address: str


class NewInterface(msgspec.Struct, forbid_unknown_fields=True):
    net_id: Uuid | UnsetType = UNSET
    port_id: Uuid | UnsetType = UNSET
    fixed_ips: Annotated[list[FixedIpItem], msgspec.Meta(min_length=1, max_length=1)] | UnsetType = UNSET
    tag: Tag | UnsetType = UNSET


class Attach(msgspec.Struct, forbid_unknown_fields=True):
    interfaceAttachment: NewInterface | UnsetType = UNSET


class Interface(msgspec.Struct):
    net_id: str
    port_id: str
    mac_addr: str
    port_state: str
    fixed_ips: list[dict[str, str]]
    tag: str | UnsetType | None = UNSET


class InterfaceOne(msgspec.Struct):
    interfaceAttachment: Interface


class InterfaceList(msgspec.Struct):
    interfaceAttachments: list[Interface]


def _view(call: Call, server: Server, port: Port) -> Interface:
    return Interface(
        net_id=port.network_id,
        port_id=port.id,
        mac_addr=port.mac_address,
        port_state=port.status,
        fixed_ips=[{"subnet_id": ip.subnet_id, "ip_address": ip.ip_address} for ip in port.fixed_ips],
        tag=server_details.nic_tag(server, port.id) if has(call.version, "device_tags") else UNSET,
    )


async def list_interfaces(call: Call) -> InterfaceList:
    """200; 404."""

    def read(reader: Reader) -> list[Interface]:
        server = load(reader, call, "os-attach-interfaces:list")
        return [_view(call, server, p) for p in reader.select(Port, device_id=server.id)]

    return InterfaceList(await call.read(read))


async def show_interface(call: Call) -> InterfaceOne:
    """200; 404 also for a port of another server."""

    def read(reader: Reader) -> Interface:
        server = load(reader, call, "os-attach-interfaces:show")
        port = reader.find(Port, call.params["port_id"])
        if port is None or port.device_id != server.id:
            raise errors.Missing(f"Instance {server.id} does not have a port with id {call.params['port_id']}")
        return _view(call, server, port)

    return InterfaceOne(await call.read(read))


async def attach(call: Call) -> InterfaceOne:
    """200 when it is attached; 400 for a request that names both or nothing usable, or when the node could not do it;
    404; 409 where state, a lock or the port forbid it."""
    asked = call.body.interfaceAttachment
    asked = asked if asked is not UNSET else NewInterface()
    refuse_newer(call, asked, {"tag": "attach_tags"})
    network = asked.net_id if asked.net_id is not UNSET else ""
    port_id = asked.port_id if asked.port_id is not UNSET else ""
    fixed = asked.fixed_ips[0].ip_address if asked.fixed_ips is not UNSET else ""
    tag = asked.tag if asked.tag is not UNSET else ""
    if network and port_id:
        raise errors.Invalid("Must not input both network_id and port_id")
    if fixed and not network:
        raise errors.Invalid("Must input network_id when request IP address")

    def body(tx: Tx, server: Server) -> tuple[Interface, str]:
        chosen = network
        if not chosen and not port_id:
            found = server_networks.automatic(tx, call.actor)
            if not found:
                raise errors.Invalid("No networks are defined for this project.", hint="Name a network or a port.")
            chosen = found[0]
        if port_id and tx.find(Port, port_id) is None:
            raise errors.Missing(f"Port id {port_id} could not be found.")
        request = NetworkRequest(network_id=chosen, port_id=port_id, fixed_ip=fixed, tag=tag)
        port = server_changes.attach_port(tx, call.actor, server, request)
        server = tx.get(Server, server.id)
        if tag:
            server = server_details.keep(tx, server, **{server_details.TAG_PREFIX + port.id: tag})
        return _view(call, server, port), server.job_id

    view, job_id = await change(call, "os-attach-interfaces:create", "server.attach_port", body)
    job = await settled(call, job_id)  # Nova's call returns when the guest has the interface
    if job is not None and job.error is not None:
        raise errors.Invalid(f"Failed to attach network adapter device to {call.params['id']}: {job.error.message}")
    port = await call.read(lambda r: r.find(Port, view.port_id))
    if port is not None:
        view.port_state = port.status
    return InterfaceOne(view)


async def detach(call: Call) -> Answer:
    """202; 404; 409."""
    await change(
        call,
        "os-attach-interfaces:delete",
        "server.detach_port",
        lambda tx, server: server_changes.detach_port(tx, server, call.params["port_id"]),
    )
    return Answer(status=202)


class GroupsOfServer(msgspec.Struct):
    security_groups: list[GroupView]


async def list_groups(call: Call) -> GroupsOfServer:
    """200, the groups of all its ports; 404."""

    def read(reader: Reader) -> list[GroupView]:
        server = load(reader, call, "os-security-groups:list")
        ids = {g for p in reader.select(Port, device_id=server.id) for g in p.security_groups}
        groups = reader.select(SecurityGroup, id=list(ids)) if ids else []
        return group_views(reader, groups)

    return GroupsOfServer(await call.read(read))


async def list_volumes(call: Call) -> dict[str, list[Any]]:
    """200, none: volumes cannot be attached yet; 404."""
    await call.read(lambda r: load(r, call, "os-volumes-attachments:index"))
    return {"volumeAttachments": []}


async def show_volume(call: Call) -> Answer:
    """404: the server has no volumes."""
    server = await call.read(lambda r: load(r, call, "os-volumes-attachments:show"))
    raise errors.Missing(f"Instance {server.id} is not attached to volume {call.params['volume_id']}.")


async def attach_volume(call: Call) -> Answer:
    """404: the volume cannot be there. 404 and 403 for the server first."""
    await call.read(lambda r: load(r, call, "os-volumes-attachments:create"))
    asked = call.body.volumeAttachment
    raise errors.Missing(
        f"Volume {asked.volumeId} could not be found.", hint="Volumes cannot be attached to servers yet."
    )


class NewVolume(msgspec.Struct):
    volumeId: Uuid


class AttachVolume(msgspec.Struct):
    volumeAttachment: NewVolume
