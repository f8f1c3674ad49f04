"""<os>: how the guest boots. https://libvirt.org/formatdomain.html#operating-system-booting"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from trilith.drivers.libvirt.xml import child
from trilith.model.guest import GuestSpec

#: QEMU's own small firmware: loads an ELF with a PVH note and nothing else, in no time (package qemu-system-data)
QBOOT = "/usr/share/qemu/qboot.rom"
DEFAULT_CMDLINE = "root=/dev/vda console=ttyS0"
#: an emulated clock on a busy host ticks too late for the kernel's test of it, which then panics ("IO-APIC + timer
#: doesn't work!"). Measured: 7 of 30 boots at a load of 15 on two cores. Under KVM the kernel omits the test itself
EMULATED_CMDLINE = "no_timer_check"


def _type(root: Element, machine: str, kind: str) -> None:
    attributes = {"arch": "x86_64"}
    if machine:
        attributes["machine"] = machine
    child(root, "type", kind, **attributes)


def direct_kernel(root: Element, spec: GuestSpec, cmdline: str) -> None:
    """Append <kernel>, <initrd> and <cmdline>."""
    child(root, "kernel", spec.image.kernel)
    if spec.image.initrd:
        child(root, "initrd", spec.image.initrd)
    child(root, "cmdline", cmdline)


def os_disk(
    spec: GuestSpec, machine: str, *, secure_boot: bool, emulated: bool, disk: str = "", ordered: bool = False
) -> Element:
    """A guest with a disk: direct kernel boot where the image names a kernel, else BIOS or UEFI.

    disk: the root's name for a kernel that is told it, where that is another than the image says. ordered: the disks
    themselves say which boots first.
    """
    uefi = spec.identity.firmware == "uefi"
    root = Element("os", {"firmware": "efi"} if uefi else {})
    _type(root, machine, "hvm")
    if uefi:
        firmware = child(root, "firmware")
        # libvirt picks the build of the firmware by its features: without the two lines it may pick either
        child(firmware, "feature", enabled="yes" if secure_boot else "no", name="secure-boot")
        child(firmware, "feature", enabled="yes" if secure_boot else "no", name="enrolled-keys")
    if spec.image.kernel:
        cmdline = spec.image.cmdline or DEFAULT_CMDLINE
        if disk:
            cmdline = cmdline.replace("/dev/vda", f"/dev/{disk}")
        direct_kernel(root, spec, f"{cmdline} {EMULATED_CMDLINE}" if emulated else cmdline)
    elif not ordered:
        child(root, "boot", dev="hd")
    child(root, "smbios", mode="sysinfo")
    return root


def os_bare(spec: GuestSpec, machine: str, *, elf: bool) -> Element:
    """A guest without firmware: its ROM in the firmware's place, or qboot and an ELF with a PVH note."""
    root = Element("os")
    _type(root, machine, "hvm")
    child(root, "loader", QBOOT if elf else spec.image.path, readonly="yes", type="rom")
    if elf:
        child(root, "kernel", spec.image.path)
        if spec.image.cmdline:
            child(root, "cmdline", spec.image.cmdline)
    return root


def os_xen(spec: GuestSpec, machine: str, kind: str) -> Element:
    """PV, PVH and HVM differ by machine and type; libvirt's libxl driver finds hvmloader itself."""
    root = Element("os")
    _type(root, machine, kind)
    if spec.image.kernel:
        # an image names the devices as KVM shows them; Xen's disks and the PV console have names of their own
        cmdline = (spec.image.cmdline or DEFAULT_CMDLINE).replace("/dev/vd", "/dev/xvd")
        direct_kernel(root, spec, cmdline if kind == "hvm" else cmdline.replace("console=ttyS0", "console=hvc0"))
    elif kind == "hvm":
        child(root, "boot", dev="hd")
    return root
