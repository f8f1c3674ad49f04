"""What the XML builders need to know of this host, as one frozen value that a test can make by hand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from trilith.errors import Invalid, Unsupported
from trilith.model.guest import GuestSpec, ImageForm

DomainType = Literal["kvm", "qemu", "xen"]


def is_bare(spec: GuestSpec) -> bool:
    """A bare guest has no firmware, no ACPI and no drivers: it gets nothing that it would have to ask for."""
    return spec.image.form is ImageForm.BARE


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSetup:
    """One hypervisor as found.

    emulator: path of QEMU; "" lets libvirt choose.
    machine_disk, machine_bare: canonical machine types for guests whose identity names none.
    cpu_mode: libvirt cpu mode, or a model's name, for guests whose identity names none.
    firmware: values of <os firmware=…> that libvirt found descriptors for ("bios", "efi").
    secure_boot, tpm: whether libvirt says that it can.
    disk_io: "io_uring", "native" or "threads".
    offload_off: checksum and segmentation offloads off, which the userspace datapath needs.
    run_uid, run_gid: whom QEMU runs as.
    """

    domain_type: DomainType
    emulator: str = ""
    machine_disk: str = ""
    machine_bare: str = ""
    cpu_mode: str = ""
    firmware: tuple[str, ...] = ()
    secure_boot: bool = False
    tpm: bool = False
    disk_io: str = "threads"
    offload_off: bool = False
    run_uid: int = 0
    run_gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestPaths:
    """Where one guest's own files are. console_log is written by virtlogd, vnc_socket by QEMU.

    direct_io: the root disk's file system takes O_DIRECT.
    """

    console_log: str
    vnc_socket: str
    direct_io: bool = True


def wants_secure_boot(spec: GuestSpec) -> bool:
    return spec.properties.get("os_secure_boot", "disabled") == "required"


def wants_tpm(spec: GuestSpec) -> bool:
    return bool(spec.properties.get("hw_tpm_version") or spec.properties.get("hw_tpm_model"))


def wants_agent(spec: GuestSpec) -> bool:
    return spec.properties.get("hw_qemu_guest_agent", "no").lower() in ("yes", "true", "1")


def is_windows(spec: GuestSpec) -> bool:
    return spec.properties.get("os_type", "") == "windows"


#: ids end in file names and in libvirt's XML
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,253}[A-Za-z0-9])?")
#: netdevice(7): IFNAMSIZ less the closing zero
_IFNAME = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


def valid_id(server_id: str) -> str:
    """The id itself. Raises Invalid for what is no UUID in its usual form."""
    if _ID.fullmatch(server_id) is None:
        raise Invalid(f"not a server id: {server_id[:80]!r}", field="server_id")
    return server_id


def valid(spec: GuestSpec) -> None:
    """Raises Invalid naming the first field that cannot be."""
    valid_id(spec.server_id)
    if _HOSTNAME.fullmatch(spec.hostname) is None:
        raise Invalid(f"not a host name: {spec.hostname[:80]!r}", field="hostname")
    if spec.identity.smbios_uuid:
        valid_id(spec.identity.smbios_uuid)
    for field, value, most in (("vcpus", spec.vcpus, 288), ("memory_mib", spec.memory_mib, 1 << 24)):
        if not 1 <= value <= most:
            raise Invalid(f"{field} must be from 1 to {most}, not {value}", field=field)
    for nic in spec.nics:
        if _IFNAME.fullmatch(nic.ifname) is None or _MAC.fullmatch(nic.mac) is None or not 68 <= nic.mtu <= 65_535:
            raise Invalid(f"not an interface: {nic.ifname[:20]!r} {nic.mac[:20]!r} mtu {nic.mtu}", field="nics")


def check(spec: GuestSpec, host: HostSetup) -> None:
    """Refuse what this host can't give, before anything is made. Raises Unsupported naming what to install."""
    if spec.image.form is ImageForm.ROOTFS:
        raise Unsupported(
            "a root file system cannot boot as a virtual machine",
            capability="form.rootfs",
            hint="Use an image with a disk form.",
        )
    if spec.identity.firmware == "uefi" and host.domain_type != "xen" and "efi" not in host.firmware:
        raise Unsupported(
            "this host has no UEFI firmware for guests", capability="firmware.uefi", hint="Install the ovmf package."
        )
    if wants_secure_boot(spec) and not host.secure_boot:
        raise Unsupported(
            "this host has no UEFI firmware with secure boot",
            capability="firmware.secure_boot",
            hint="Install the ovmf package.",
        )
    if wants_secure_boot(spec) and spec.identity.firmware != "uefi":
        raise Unsupported(
            "secure boot needs UEFI firmware",
            capability="firmware.secure_boot",
            hint="Set the image property hw_firmware_type=uefi.",
        )
    if wants_tpm(spec) and not host.tpm:
        raise Unsupported(
            "this host has no TPM emulator", capability="tpm", hint="Install the swtpm and swtpm-tools packages."
        )
    if is_bare(spec) and spec.properties.get("hw_firmware_type") == "uefi":
        raise Unsupported("a bare guest has no firmware", capability="firmware.uefi")
