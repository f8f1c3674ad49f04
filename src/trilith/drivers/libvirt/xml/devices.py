"""The small devices: entropy, balloon, controllers, TPM, the guest agent's channel."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from trilith.drivers.libvirt.xml import child

#: PCI Express ports kept free for interfaces that are plugged into a running guest (a q35 has no others)
SPARE_PORTS = 4


def rng() -> Element:
    root = Element("rng", {"model": "virtio"})
    child(root, "backend", "/dev/urandom", model="random")
    return root


def balloon(model: str) -> Element:
    return Element("memballoon", {"model": model})


def usb(model: str = "none") -> Element:
    """Without this line libvirt adds a USB controller, which costs a guest memory and start-up time."""
    return Element("controller", {"type": "usb", "model": model})


def pcie_ports(devices: int) -> list[Element]:
    """The root and a port for each device and each spare."""
    ports = [Element("controller", {"type": "pci", "index": "0", "model": "pcie-root"})]
    ports += [
        Element("controller", {"type": "pci", "index": str(index), "model": "pcie-root-port"})
        for index in range(1, devices + SPARE_PORTS + 1)
    ]
    return ports


def tpm(model: str, version: str) -> Element:
    root = Element("tpm", {"model": model})
    child(root, "backend", type="emulator", version=version)
    return root


def agent_channel() -> Element:
    """The QEMU guest agent's; libvirt makes the socket."""
    root = Element("channel", {"type": "unix"})
    child(root, "target", type="virtio", name="org.qemu.guest_agent.0")
    return root
