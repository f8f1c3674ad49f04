"""What the driver's parts share: one node's libvirtd, what its host has, and how a server's domain is come by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from trilith.drivers.libvirt import domains
from trilith.drivers.libvirt.connection import Connection
from trilith.drivers.libvirt.domain import Dialect, build
from trilith.drivers.libvirt.events import Hub
from trilith.drivers.libvirt.files import GuestFiles
from trilith.drivers.libvirt.host import HostSetup, is_bare, valid
from trilith.drivers.libvirt.hostfacts import Hosts
from trilith.drivers.libvirt.xml.metadata import Owner
from trilith.errors import Conflict, Invalid
from trilith.model.guest import GuestSpec

T = TypeVar("T")


@dataclass(slots=True)
class Node:
    """hosts: None until the driver is open. ours: servers whose domains are this cloud's. owners: by domain's uuid."""

    connection: Connection
    cloud_id: str
    dialect: Dialect
    files: GuestFiles
    hub: Hub = field(default_factory=Hub)
    hosts: Hosts | None = None
    ours: set[str] = field(default_factory=set)
    owners: dict[str, Owner | None] = field(default_factory=dict)

    async def call(self, doing: str, work: Callable[[Any], T]) -> T:
        return await self.connection.call(doing, work)

    def on(self, server_id: str, work: Callable[[Any], T]) -> Callable[[Any], T]:
        return lambda connection: work(domains.need(connection, self.cloud_id, server_id))

    def need_hosts(self) -> Hosts:
        if self.hosts is None:
            raise Conflict("the libvirt driver is not open")
        return self.hosts

    def host(self, spec: GuestSpec) -> HostSetup:
        hosts = self.need_hosts()
        return hosts.bare if is_bare(spec) else hosts.disk

    def define(self, connection: Any, spec: GuestSpec) -> Any:
        if spec.cloud_id != self.cloud_id:
            raise Invalid(f"server {spec.server_id} is of another cloud", field="cloud_id")
        valid(spec)
        domains.find(connection, self.cloud_id, spec.server_id)
        host = self.host(spec)
        xml = build(spec, host, self.files.paths(spec.server_id, spec.root_disk), self.dialect)
        self.files.lay_out(spec.server_id, host.run_uid, host.run_gid)
        domain = connection.defineXML(xml)
        self.ours.add(spec.server_id)
        self.owners.pop(domain.UUIDString(), None)
        return domain
