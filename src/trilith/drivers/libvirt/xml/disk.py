"""<disk>. https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from trilith.drivers.libvirt.xml import child

#: disk bus → prefix of the guest's device names
PREFIX = {"virtio": "vd", "scsi": "sd", "sata": "sd", "usb": "sd", "ide": "hd", "xen": "xvd"}


def root_disk(
    path: str, *, bus: str, io: str, direct: bool, serial: str, letter: str = "a", device: str = "disk", boot: int = 0
) -> Element:
    """The root disk, or another that is one of a guest's own.

    letter: of its name in the guest. device: disk or cdrom. boot: its place in the order, 0 for none.
    direct: the file system takes O_DIRECT, so the host's page cache is left out (cache=none). `native` asynchronous
    I/O is only defined with it.
    serial: what /dev/disk/by-id shows, at most 20 characters.
    """
    root = Element("disk", {"type": "file", "device": device})
    attributes = {"name": "qemu", "type": "qcow2", "cache": "none" if direct else "writeback", "discard": "unmap"}
    if io != "native" or direct:
        attributes["io"] = io
    child(root, "driver", **attributes)
    child(root, "source", file=path)
    child(root, "target", dev=PREFIX[bus] + letter, bus=bus)
    if device == "cdrom":
        child(root, "readonly")
    child(root, "serial", serial[:20])
    if boot:
        child(root, "boot", order=str(boot))
    return root


def xen_disk(path: str, *, device: str) -> Element:
    root = Element("disk", {"type": "file", "device": "disk"})
    child(root, "driver", name="qemu", type="qcow2")
    child(root, "source", file=path)
    child(root, "target", dev=device, bus="xen")
    return root


def config_drive(path: str, *, bus: str, device: str, cdrom: bool) -> Element:
    """The ISO 9660 config drive: found by its label config-2, so the device does not matter to cloud-init."""
    root = Element("disk", {"type": "file", "device": "cdrom" if cdrom else "disk"})
    child(root, "driver", name="qemu", type="raw")
    child(root, "source", file=path)
    child(root, "target", dev=device, bus=bus)
    child(root, "readonly")
    return root
