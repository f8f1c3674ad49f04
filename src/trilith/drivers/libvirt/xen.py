"""What is Xen's own: PV, PVH and HVM guests with xenbus disks and vifs, and no virtio.

The mode is the identity's machine (xenpv, xenpvh, xenfv) or the image property hw_vm_mode / vm_mode (Nova: "xen" is
PV, "hvm"; "pvh" is ours); else PVH for an image that names a kernel and HVM for one that boots from its disk.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from trilith.drivers.libvirt.domain import Dialect
from trilith.drivers.libvirt.host import GuestPaths, HostSetup, is_bare, is_windows, wants_secure_boot, wants_tpm
from trilith.drivers.libvirt.xml.console import serial, xen_console
from trilith.drivers.libvirt.xml.disk import config_drive, xen_disk
from trilith.drivers.libvirt.xml.features import features
from trilith.drivers.libvirt.xml.graphics import vnc
from trilith.drivers.libvirt.xml.interface import vif
from trilith.drivers.libvirt.xml.os import os_xen
from trilith.errors import Invalid, Unsupported
from trilith.model.guest import GuestSpec, NicSpec

#: libvirt machine → text of <type> (capabilities of libvirt's libxl driver)
KINDS = {"xenpv": "linux", "xenpvh": "xenpvh", "xenfv": "hvm"}
MODES = {"xen": "xenpv", "pv": "xenpv", "pvh": "xenpvh", "hvm": "xenfv"}


def machine_of(spec: GuestSpec) -> str:
    if spec.identity.machine in KINDS:
        return spec.identity.machine
    mode = spec.properties.get("hw_vm_mode") or spec.properties.get("vm_mode")
    if mode is None:
        return "xenpvh" if spec.image.kernel else "xenfv"
    if mode not in MODES:
        raise Invalid(f"hw_vm_mode must be one of {', '.join(MODES)}, not {mode!r}", field="hw_vm_mode")
    return MODES[mode]


def _os(spec: GuestSpec, host: HostSetup) -> list[Element]:
    if is_bare(spec):
        raise Unsupported("bare guests are QEMU's", capability="form.bare", hint="Use the KVM pillar.")
    if wants_secure_boot(spec) or wants_tpm(spec):
        raise Unsupported("Xen guests have no secure boot and no TPM", capability="tpm", hint="Use the KVM pillar.")
    if spec.identity.firmware == "uefi":
        raise Unsupported("UEFI guests are not supported on Xen", capability="firmware.uefi", hint="Use BIOS.")
    machine = machine_of(spec)
    if machine != "xenfv" and not spec.image.kernel:
        raise Unsupported(
            "a PV or PVH guest needs a kernel of its own",
            capability="boot.direct_kernel",
            hint="Use an image with a kernel, or hw_vm_mode=hvm.",
        )
    parts = [os_xen(spec, machine, KINDS[machine])]
    if machine == "xenfv":
        acpi = features(acpi=True)
        assert acpi is not None
        parts.append(acpi)
    clock = Element("clock", {"offset": "localtime" if is_windows(spec) else "utc"})
    return [*parts, clock]


def _interface(spec: GuestSpec, nic: NicSpec, host: HostSetup) -> Element:
    return vif(nic)


def _devices(spec: GuestSpec, host: HostSetup, paths: GuestPaths) -> list[Element]:
    if not spec.root_disk:
        raise Invalid(f"server {spec.server_id} has no root disk", field="root_disk")
    found = [xen_disk(spec.root_disk, device="xvda")]
    if spec.config_drive:
        found.append(config_drive(spec.config_drive, bus="xen", device="xvdb", cdrom=False))
    found.extend(vif(nic) for nic in spec.nics)
    if machine_of(spec) == "xenfv":
        found.append(serial(paths.console_log))
        found.extend(vnc(paths.vnc_socket))
    else:
        found.append(xen_console())
    return found


XEN = Dialect(os=_os, devices=_devices, interface=_interface)
