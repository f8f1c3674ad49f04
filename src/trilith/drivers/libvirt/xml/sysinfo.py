"""<sysinfo>: SMBIOS. cloud-init knows OpenStack's metadata service by the product's name."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from trilith.drivers.libvirt.xml import child
from trilith.model.guest import GuestSpec


def sysinfo(spec: GuestSpec) -> Element:
    root = Element("sysinfo", {"type": "smbios"})
    system = child(root, "system")
    for name, value in (
        ("manufacturer", "OpenStack Foundation"),
        ("product", "OpenStack Nova"),
        ("serial", spec.identity.smbios_uuid),
        # libvirt demands that this one equals the domain's own uuid
        ("uuid", spec.server_id),
        ("family", "Virtual Machine"),
    ):
        child(system, "entry", value, name=name)
    return root
