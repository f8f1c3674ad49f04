"""Interfaces of a domain that is there: put in and taken out, also while it runs."""

from __future__ import annotations

import asyncio
from typing import Any
from xml.etree.ElementTree import tostring

import libvirt

from trilith.drivers.libvirt import domains
from trilith.drivers.libvirt.connection import Happening
from trilith.drivers.libvirt.domain import domain_name
from trilith.drivers.libvirt.host import is_bare
from trilith.drivers.libvirt.node import Node
from trilith.errors import Deadline, Unsupported
from trilith.model.guest import GuestSpec, NicSpec

#: seconds for a guest to let go of an interface
UNPLUG_DEADLINE = 20.0


async def plug(node: Node, spec: GuestSpec, nic: NicSpec) -> None:
    def work(domain: Any) -> None:
        if domains.interface_xml(domain.XMLDesc(0), nic.ifname)[1]:
            return
        host = node.host(spec)
        xml = tostring(node.dialect.interface(spec, nic, host), encoding="unicode")
        flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG
        if domain.isActive():
            if is_bare(spec):
                raise Unsupported("a bare guest cannot take an interface while it runs", capability="hotplug_nic")
            flags |= libvirt.VIR_DOMAIN_AFFECT_LIVE
        domain.attachDeviceFlags(xml, flags)

    await node.call(f"plug {nic.ifname} into server {spec.server_id}", node.on(spec.server_id, work))


async def unplug(node: Node, spec: GuestSpec, nic: NicSpec) -> None:
    """The guest must let go of a device first: one that does not (still booting, or without PCI hot plug) gives
    Deadline, and the interface stays."""
    name = domain_name(spec.server_id)
    alias = ""

    def gone(happening: Happening) -> bool:
        return happening.kind == "device_removed" and happening.domain == name and happening.text == alias

    def work(domain: Any) -> str:
        active = domain.isActive()
        inactive = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        element = tostring(node.dialect.interface(spec, nic, node.host(spec)), encoding="unicode")
        if domains.interface_xml(inactive, nic.ifname)[1]:
            domain.detachDeviceFlags(element, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
        live, mac = domains.interface_xml(domain.XMLDesc(0), nic.ifname) if active else ("", "")
        if not mac:
            return ""
        nonlocal alias
        alias = live
        try:
            domain.detachDeviceFlags(element, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        except libvirt.libvirtError as error:
            # an earlier try of ours is still waiting for the guest
            if "already in the process of unplug" not in error.get_error_message():
                raise
        return live if domains.interface_xml(domain.XMLDesc(0), nic.ifname)[1] else ""

    with node.hub.expect(gone) as removed:
        doing = f"unplug {nic.ifname} from server {spec.server_id}"
        if not await node.call(doing, node.on(spec.server_id, work)):
            return
        try:
            await asyncio.wait_for(removed, UNPLUG_DEADLINE)
        except TimeoutError as error:
            raise Deadline(
                f"the guest did not let go of {nic.ifname} within {UNPLUG_DEADLINE:g} s",
                hint="Is it booted? Repeat, or stop the server first.",
            ) from error
