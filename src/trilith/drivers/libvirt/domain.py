"""The whole <domain>: what every hypervisor has in common, in libvirt's order of elements.

kvm.py and xen.py say what differs, as a `Dialect`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from trilith.drivers.libvirt.host import GuestPaths, HostSetup, check
from trilith.drivers.libvirt.xml import child, render
from trilith.drivers.libvirt.xml.cpu import cputune, vcpu
from trilith.drivers.libvirt.xml.memory import memory
from trilith.drivers.libvirt.xml.metadata import metadata
from trilith.model.guest import GuestSpec, NicSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What one hypervisor says differently. Each function gives the elements in order; none may be empty-handed
    where the guest cannot do without."""

    os: Callable[[GuestSpec, HostSetup], list[Element]]  # <os>, <features>, <cpu>, <clock>, <sysinfo>
    devices: Callable[[GuestSpec, HostSetup, GuestPaths], list[Element]]
    interface: Callable[[GuestSpec, NicSpec, HostSetup], Element]


def domain_name(server_id: str) -> str:
    return f"t-{server_id}"


def build(spec: GuestSpec, host: HostSetup, paths: GuestPaths, dialect: Dialect) -> str:
    """The guest as libvirt's XML. Raises Unsupported for what this host lacks, Invalid for a bad property.

    The domain's uuid is the SMBIOS uuid of its identity (the server's id, unless it was restored from another):
    libvirt wants the two to be one.
    """
    check(spec, host)
    root = Element("domain", {"type": host.domain_type})
    child(root, "name", domain_name(spec.server_id))
    child(root, "uuid", spec.identity.smbios_uuid or spec.server_id)
    root.append(metadata(spec))
    root.extend(memory(spec))
    root.append(vcpu(spec))
    tune = cputune(spec)
    if tune is not None:
        root.append(tune)
    root.extend(dialect.os(spec, host))
    child(root, "on_poweroff", "destroy")
    child(root, "on_reboot", "restart")
    # restarting a guest that crashed is decided above, where its ports can be plugged again
    child(root, "on_crash", "destroy")
    devices = child(root, "devices")
    if host.emulator:
        child(devices, "emulator", host.emulator)
    devices.extend(dialect.devices(spec, host, paths))
    return render(root)
