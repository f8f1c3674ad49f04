"""A server on the wire, for every microversion: what is shown follows from flags computed once a request.

A page reads what it needs of other nouns at once (ports, networks, groups, floating IPs, nodes), never a row at a time.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from trilith.api.compute import server_states as states
from trilith.api.compute.microversions import has
from trilith.api.compute.server_details import hints_of
from trilith.api.compute.wire import VERSION, Link, iso, micro_or_none
from trilith.api.http.call import Call
from trilith.model.network import FixedIp, FloatingIp, Network, Port, SecurityGroup
from trilith.model.node import Node
from trilith.model.server import FlavorData, Server
from trilith.store import statements
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader


class Ref(msgspec.Struct):
    id: str
    links: list[Link]
    properties: dict[str, str] | UnsetType = UNSET


class FlavorShown(msgspec.Struct):
    """id and links until 2.46, the flavor as it was from 2.47 on."""

    id: str | UnsetType = UNSET
    links: list[Link] | UnsetType = UNSET
    original_name: str | UnsetType = UNSET
    vcpus: int | UnsetType = UNSET
    ram: int | UnsetType = UNSET
    disk: int | UnsetType = UNSET
    ephemeral: int | UnsetType = UNSET
    swap: int | UnsetType = UNSET
    extra_specs: dict[str, str] | UnsetType = UNSET


class FaultView(msgspec.Struct):
    code: int
    created: str
    message: str
    details: str | UnsetType = UNSET


class Address(msgspec.Struct):
    version: int
    addr: str
    type: str | UnsetType = msgspec.field(name="OS-EXT-IPS:type", default=UNSET)
    mac: str | UnsetType = msgspec.field(name="OS-EXT-IPS-MAC:mac_addr", default=UNSET)


class ServerBrief(msgspec.Struct, kw_only=True):
    id: str
    name: str
    links: list[Link]


class ServerView(ServerBrief, kw_only=True):
    status: str
    tenant_id: str
    user_id: str
    metadata: dict[str, str]
    hostId: str
    image: Ref | Literal[""]
    flavor: FlavorShown
    created: str
    updated: str
    addresses: dict[str, list[Address]]
    accessIPv4: str
    accessIPv6: str
    disk_config: str = msgspec.field(name="OS-DCF:diskConfig")
    progress: int | UnsetType = UNSET
    fault: FaultView | UnsetType = UNSET
    zone: str | UnsetType = msgspec.field(name="OS-EXT-AZ:availability_zone", default=UNSET)
    config_drive: str | UnsetType = UNSET
    key_name: str | UnsetType | None = UNSET
    launched_at: str | UnsetType | None = msgspec.field(name="OS-SRV-USG:launched_at", default=UNSET)
    terminated_at: str | UnsetType | None = msgspec.field(name="OS-SRV-USG:terminated_at", default=UNSET)
    security_groups: list[dict[str, str]] | UnsetType = UNSET
    host: str | UnsetType | None = msgspec.field(name="OS-EXT-SRV-ATTR:host", default=UNSET)
    instance_name: str | UnsetType = msgspec.field(name="OS-EXT-SRV-ATTR:instance_name", default=UNSET)
    hypervisor: str | UnsetType | None = msgspec.field(name="OS-EXT-SRV-ATTR:hypervisor_hostname", default=UNSET)
    hostname: str | UnsetType = msgspec.field(name="OS-EXT-SRV-ATTR:hostname", default=UNSET)
    kernel_id: str | UnsetType = msgspec.field(name="OS-EXT-SRV-ATTR:kernel_id", default=UNSET)
    ramdisk_id: str | UnsetType = msgspec.field(name="OS-EXT-SRV-ATTR:ramdisk_id", default=UNSET)
    launch_index: int | UnsetType = msgspec.field(name="OS-EXT-SRV-ATTR:launch_index", default=UNSET)
    reservation_id: str | UnsetType = msgspec.field(name="OS-EXT-SRV-ATTR:reservation_id", default=UNSET)
    root_device: str | UnsetType | None = msgspec.field(name="OS-EXT-SRV-ATTR:root_device_name", default=UNSET)
    ext_user_data: str | UnsetType | None = msgspec.field(name="OS-EXT-SRV-ATTR:user_data", default=UNSET)
    task_state: str | UnsetType | None = msgspec.field(name="OS-EXT-STS:task_state", default=UNSET)
    vm_state: str | UnsetType = msgspec.field(name="OS-EXT-STS:vm_state", default=UNSET)
    power_state: int | UnsetType = msgspec.field(name="OS-EXT-STS:power_state", default=UNSET)
    volumes: list[Any] | UnsetType = msgspec.field(name="os-extended-volumes:volumes_attached", default=UNSET)
    locked: bool | UnsetType = UNSET
    host_status: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    tags: list[str] | UnsetType = UNSET
    trusted: UnsetType | None = msgspec.field(name="trusted_image_certificates", default=UNSET)
    server_groups: list[str] | UnsetType = UNSET
    locked_reason: str | UnsetType | None = UNSET
    pinned_zone: str | UnsetType | None = msgspec.field(name="pinned_availability_zone", default=UNSET)
    scheduler_hints: dict[str, Any] | UnsetType = UNSET
    user_data: str | UnsetType | None = UNSET
    adminPass: str | UnsetType = UNSET


@dataclass(slots=True)
class Around:
    """What a page of servers needs of other nouns, by server's id; nodes by name."""

    addresses: dict[str, dict[str, list[Address]]] = field(default_factory=dict)
    groups: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    user_data: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PortRow:
    """The columns of a port that a server's view needs."""

    id: str
    server_id: str
    network_id: str
    mac: str
    fixed_ips: tuple[FixedIp, ...]
    groups: tuple[str, ...]


def port_rows(reader: Reader, server_ids: Sequence[str]) -> list[PortRow]:
    names = ("id", "device_id", "network_id", "mac_address", "fixed_ips", "security_groups")
    stmt = statements.columns(REGISTRY[Port].table, names, "device_id")
    return [PortRow(*row) for row in reader.conn.execute(stmt, {"device_id": list(server_ids)})]


def _names(reader: Reader, cls: type[Network] | type[SecurityGroup], ids: set[str]) -> dict[str, str]:
    if not ids:
        return {}
    stmt = statements.columns(REGISTRY[cls].table, ("id", "name"), "id")
    return {row[0]: row[1] for row in reader.conn.execute(stmt, {"id": list(ids)})}


def addresses_of(reader: Reader, rows: Sequence[PortRow], *, extended: bool) -> dict[str, dict[str, list[Address]]]:
    """Server → network name → addresses, fixed ones before their floating ones."""
    networks = _names(reader, Network, {r.network_id for r in rows})
    floating: dict[tuple[str, str], list[str]] = {}
    if rows:
        names = ("port_id", "fixed_ip_address", "floating_ip_address")
        stmt = statements.columns(REGISTRY[FloatingIp].table, names, "port_id")
        for port_id, fixed, public in reader.conn.execute(stmt, {"port_id": [r.id for r in rows]}):
            floating.setdefault((port_id, fixed), []).append(public)
    found: dict[str, dict[str, list[Address]]] = {}
    for row in rows:
        name = networks.get(row.network_id, row.network_id)
        entries = found.setdefault(row.server_id, {}).setdefault(name, [])
        public = []
        for ip in row.fixed_ips:
            entries.append(_address(ip.ip_address, "fixed", row.mac, extended=extended))
            for address in floating.get((row.id, ip.ip_address), ()):
                public.append(_address(address, "floating", row.mac, extended=extended))
        entries += public
    return found


def _address(addr: str, kind: str, mac: str, *, extended: bool) -> Address:
    version = 6 if ":" in addr else 4
    return Address(version, addr, kind, mac) if extended else Address(version, addr)


def host_id(project_id: str, host: str) -> str:
    """Nova's hostId: the same host shows as another one to each project."""
    return hashlib.sha224((project_id + host).encode()).hexdigest() if host else ""


class Shape:
    """What this caller sees of servers in this microversion. full: as GET shows it, not as PUT did before 2.75."""

    def __init__(self, call: Call, *, full: bool = True, single: bool = False, rebuild: bool = False) -> None:
        version = call.version
        everything = full or has(version, "consistent")
        self.base = call.url(VERSION)
        self.root = call.url("")
        self.everything = everything
        self.rebuild = rebuild
        self.attributes = everything and call.can("os_compute_api:os-extended-server-attributes")
        self.more_attributes = self.attributes and has(version, "extended_attributes")
        self.hostname = everything and has(version, "hostname")
        self.locked = has(version, "locked")
        tells_host = everything and has(version, "host_status")
        self.any_host_status = tells_host and call.can("os_compute_api:servers:show:host_status")
        self.host_status = self.any_host_status or (
            tells_host and call.can("os_compute_api:servers:show:host_status:unknown-only")
        )
        self.description = has(version, "description")
        self.tags = has(version, "tags")
        self.embedded = has(version, "flavor_embedded")
        self.specs = self.embedded and call.can("os_compute_api:servers:show:flavor-extra-specs")
        self.trusted = has(version, "trusted_certificates")
        self.server_groups = single and has(version, "server_groups")
        self.locked_reason = has(version, "locked_reason")
        self.pinned = has(version, "pinned_zone")
        self.image_properties = has(version, "image_properties")
        self.hints = has(version, "scheduler_hints")
        self.rebuild_key = rebuild and has(version, "rebuild_key")
        self.rebuild_user_data = rebuild and has(version, "no_personality")
        self.user_data = self.rebuild_user_data or (self.more_attributes and not rebuild)
        self._flavors: dict[str, FlavorShown] = {}
        self._images: dict[str, list[Link]] = {}

    def around(self, reader: Reader, servers: Sequence[Server]) -> Around:
        """Read what the page needs, in a handful of queries whatever its length."""
        found = Around()
        if not servers:
            return found
        rows = port_rows(reader, [s.id for s in servers])
        found.addresses = addresses_of(reader, rows, extended=self.everything)
        if self.everything:
            names = _names(reader, SecurityGroup, {g for r in rows for g in r.groups})
            for row in rows:
                mine = found.groups.setdefault(row.server_id, [])
                mine += [{"name": names[g]} for g in row.groups if g in names and {"name": names[g]} not in mine]
        if self.host_status:
            found.nodes = {n.name: n for n in reader.select(Node)}
        if self.user_data:
            for server in servers:
                if server.user_data:
                    clear = reader.sealer.open(server.user_data, context=f"server.user_data:{server.id}")
                    found.user_data[server.id] = base64.b64encode(clear).decode()
        return found

    def links(self, server_id: str) -> list[Link]:
        return [
            Link("self", f"{self.base}/servers/{server_id}"),
            Link("bookmark", f"{self.root}/servers/{server_id}"),
        ]

    def brief(self, server: Server) -> ServerBrief:
        return ServerBrief(id=server.id, name=server.name, links=self.links(server.id))

    def view(self, server: Server, around: Around) -> ServerView:
        shown = states.status(server)
        made = ServerView(
            id=server.id,
            name=server.name,
            links=self.links(server.id),
            status=shown,
            tenant_id=server.project_id,
            user_id=server.user_id,
            metadata=server.metadata,
            hostId=host_id(server.project_id, server.node),
            image=self._image(server),
            flavor=self._flavor(server.flavor),
            created=iso(server.created_at),
            updated=iso(server.updated_at),
            addresses=around.addresses.get(server.id, {}),
            accessIPv4=server.access_ipv4,
            accessIPv6=server.access_ipv6,
            disk_config=server.disk_config,
        )
        if shown in states.PROGRESS_STATUSES:
            made.progress = server.progress
        if server.fault is not None and shown in states.FAULT_STATUSES:
            fault = server.fault
            made.fault = FaultView(
                fault.code,
                iso(fault.created),
                fault.message,
                fault.details if self.attributes or fault.code != 500 else UNSET,
            )
        if self.everything:
            self._details(made, server, around)
        if self.attributes:
            self._attributes(made, server, around)
        if self.hostname:
            made.hostname = server.hostname
        self._newer(made, server, around)
        return made

    def _details(self, made: ServerView, server: Server, around: Around) -> None:
        made.zone = server.zone if server.node else ""
        made.config_drive = "True" if server.config_drive else ""
        made.key_name = server.key_name or None
        made.launched_at = micro_or_none(server.launched_at)
        made.terminated_at = micro_or_none(server.terminated_at)
        made.security_groups = around.groups.get(server.id) or UNSET
        made.task_state = states.task_state(server)
        made.vm_state = states.vm_state(server)
        made.power_state = states.POWER[server.power]
        made.volumes = []

    def _attributes(self, made: ServerView, server: Server, around: Around) -> None:
        made.host = server.node or None
        made.hypervisor = server.node or None
        made.instance_name = f"instance-{server.seq:08x}"
        if self.more_attributes:
            made.hostname = server.hostname
            made.kernel_id = made.ramdisk_id = ""
            made.launch_index = server.launch_index
            made.reservation_id = server.reservation_id
            made.root_device = "/dev/vda"
            if not self.rebuild:
                made.ext_user_data = around.user_data.get(server.id)

    def _newer(self, made: ServerView, server: Server, around: Around) -> None:
        if self.locked:
            made.locked = server.locked
        if self.host_status:
            shown = _host_status(around.nodes.get(server.node))
            made.host_status = shown if self.any_host_status or shown == "UNKNOWN" else UNSET
        if self.description:
            made.description = server.description or None
        if self.tags:
            made.tags = list(server.tags)
        if self.trusted:
            made.trusted = None
        if self.server_groups:
            made.server_groups = [server.group_id] if server.group_id else []
        if self.locked_reason:
            made.locked_reason = server.locked_reason or None
        if self.pinned:
            made.pinned_zone = server.zone_requested or None
        if self.hints:
            made.scheduler_hints = hints_of(server)
        if self.rebuild_key:
            made.key_name = server.key_name or None
        if self.rebuild_user_data:
            made.user_data = around.user_data.get(server.id)

    def _image(self, server: Server) -> Ref | Literal[""]:
        if not server.image_id:
            return ""
        shown = self._images.get(server.image_id)
        if shown is None:
            shown = self._images[server.image_id] = [Link("bookmark", f"{self.root}/images/{server.image_id}")]
        return Ref(server.image_id, shown, server.image_properties if self.image_properties else UNSET)

    def _flavor(self, flavor: FlavorData) -> FlavorShown:
        if self.embedded:
            return FlavorShown(
                original_name=flavor.name,
                vcpus=flavor.vcpus,
                ram=flavor.ram,
                disk=flavor.disk,
                ephemeral=flavor.ephemeral,
                swap=flavor.swap,
                extra_specs=flavor.extra_specs if self.specs else UNSET,
            )
        shown = self._flavors.get(flavor.id)
        if shown is None:
            shown = self._flavors[flavor.id] = FlavorShown(
                flavor.id, [Link("bookmark", f"{self.root}/flavors/{flavor.id}")]
            )
        return shown


def _host_status(node: Node | None) -> str:
    """UNKNOWN is a node that does not answer; DOWN one that an operator says is down."""
    if node is None:
        return ""
    if node.forced_down:
        return "DOWN"
    if not node.enabled:
        return "MAINTENANCE"
    return "UP" if node.alive else "UNKNOWN"
