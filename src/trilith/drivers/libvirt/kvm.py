"""What is KVM's and QEMU's own: q35 with virtio for Linux and Windows, a bare i440fx for guests without firmware."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

from trilith.drivers.libvirt import rescue
from trilith.drivers.libvirt.domain import Dialect
from trilith.drivers.libvirt.host import (
    GuestPaths,
    HostSetup,
    is_bare,
    is_windows,
    wants_agent,
    wants_secure_boot,
    wants_tpm,
)
from trilith.drivers.libvirt.xml import devices as small
from trilith.drivers.libvirt.xml.console import serial
from trilith.drivers.libvirt.xml.cpu import cpu
from trilith.drivers.libvirt.xml.disk import PREFIX, config_drive, root_disk
from trilith.drivers.libvirt.xml.features import clock, features
from trilith.drivers.libvirt.xml.graphics import vnc
from trilith.drivers.libvirt.xml.interface import tap
from trilith.drivers.libvirt.xml.os import os_bare, os_disk
from trilith.drivers.libvirt.xml.sysinfo import sysinfo
from trilith.errors import Backend, Invalid, Unsupported
from trilith.model.guest import GuestSpec, NicSpec
from trilith.model.machine import has_bus

#: interface models that QEMU has and guests commonly know (Nova: hw_vif_model)
VIF_MODELS = ("virtio", "e1000", "e1000e", "rtl8139")


def _is_elf(path: str) -> bool:
    try:
        with Path(path).open("rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError as error:
        raise Backend(f"cannot read the image {path}: {error}") from error


def machine_of(spec: GuestSpec, host: HostSetup) -> str:
    return spec.identity.machine or (host.machine_bare if is_bare(spec) else host.machine_disk)


def disk_bus(spec: GuestSpec) -> str:
    bus = spec.properties.get("hw_disk_bus") or spec.identity.disk_bus
    if bus not in ("virtio", "sata", "scsi", "ide"):
        raise Unsupported(f"disk bus {bus!r} is not known here", capability=f"disk_bus.{bus}", hint="Use virtio.")
    if not has_bus(spec.identity, bus):
        raise Unsupported("a q35 machine has no IDE bus", capability="disk_bus.ide", hint="Use virtio or sata.")
    return bus


def _os(spec: GuestSpec, host: HostSetup) -> list[Element]:
    machine = machine_of(spec, host)
    mode = spec.identity.cpu_mode or host.cpu_mode
    if host.domain_type == "qemu" and mode.startswith("host-"):
        # emulation has no host CPU to pass through: a guest made under KVM gets all that QEMU can do
        mode = "maximum"
    model = cpu(spec, mode)
    if is_bare(spec):
        found = [os_bare(spec, machine, elf=_is_elf(spec.image.path))]
        return found if model is None else [*found, model]
    secure, windows = wants_secure_boot(spec), is_windows(spec)
    boots, disks = rescue.booted(spec), _layout(spec, host, direct=True)
    parts = [
        sysinfo(spec),
        os_disk(
            boots,
            machine,
            secure_boot=secure,
            emulated=host.domain_type == "qemu",
            disk=disks.root,
            ordered=disks.ordered,
        ),
        features(acpi=True, windows=windows, secure_boot=secure),
        model,
        clock(windows=windows, kvm=host.domain_type == "kvm"),
    ]
    return [part for part in parts if part is not None]


def _layout(spec: GuestSpec, host: HostSetup, *, direct: bool) -> rescue.Layout:
    q35 = "q35" in machine_of(spec, host)
    return rescue.layout(spec, disk_bus(spec), io=host.disk_io, direct=direct, q35=q35)


def _interface(spec: GuestSpec, nic: NicSpec, host: HostSetup) -> Element:
    model = spec.properties.get("hw_vif_model", "virtio")
    if model not in VIF_MODELS:
        raise Unsupported(
            f"interface model {model!r} is not known here",
            capability=f"vif_model.{model}",
            hint=f"Use one of {', '.join(VIF_MODELS)}.",
        )
    return tap(nic, model=model, offload_off=host.offload_off)


def _bare_devices(spec: GuestSpec, host: HostSetup, paths: GuestPaths) -> list[Element]:
    found = [_interface(spec, nic, host) for nic in spec.nics]
    if spec.root_disk:
        disk = root_disk(spec.root_disk, bus="virtio", io=host.disk_io, direct=paths.direct_io, serial=spec.server_id)
        found.insert(0, disk)
    return [small.usb(), *found, serial(paths.console_log), small.balloon("none")]


def _devices(spec: GuestSpec, host: HostSetup, paths: GuestPaths) -> list[Element]:
    if is_bare(spec):
        return _bare_devices(spec, host, paths)
    if not spec.root_disk:
        raise Invalid(f"server {spec.server_id} has no root disk", field="root_disk")
    bus, disks = disk_bus(spec), _layout(spec, host, direct=paths.direct_io)
    found = list(disks.first)
    if spec.config_drive:
        # virtio needs no driver besides the root disk's; other buses carry it as the CD-ROM that it is
        virtio = bus == "virtio"
        found.append(
            config_drive(
                spec.config_drive,
                bus="virtio" if virtio else "sata",
                device=f"{PREFIX['virtio' if virtio else 'sata']}{disks.drive if virtio else 'z'}",
                cdrom=not virtio,
            )
        )
    found.extend(disks.last)
    found.append(small.usb("qemu-xhci") if "usb" in disks.buses else small.usb())
    if "scsi" in disks.buses:
        found.append(Element("controller", {"type": "scsi", "index": "0", "model": "virtio-scsi"}))
    if "q35" in machine_of(spec, host):
        # root disk, config drive, rng, balloon, serial controller of the agent's channel, and the interfaces; of a
        # rescue its disk and that one's controller
        found.extend(small.pcie_ports(5 + len(spec.nics) + (2 if spec.rescue is not None else 0)))
    found.extend(_interface(spec, nic, host) for nic in spec.nics)
    found.append(serial(paths.console_log))
    if wants_agent(spec):
        found.append(small.agent_channel())
    if wants_tpm(spec):
        found.append(
            small.tpm(spec.properties.get("hw_tpm_model", "tpm-crb"), spec.properties.get("hw_tpm_version", "2.0"))
        )
    if spec.properties.get("hw_video_model") != "none":
        found.extend(vnc(paths.vnc_socket))
    found.append(small.balloon("virtio"))
    found.append(small.rng())
    return found


KVM = Dialect(os=_os, devices=_devices, interface=_interface)
