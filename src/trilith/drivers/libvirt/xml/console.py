"""<serial> and <console>. https://libvirt.org/formatdomain.html#consoles-serial-parallel-channel-devices"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from trilith.drivers.libvirt.xml import child


def serial(log: str) -> Element:
    """A pty for who types, and a copy of all output in a log that virtlogd writes and rotates."""
    root = Element("serial", {"type": "pty"})
    child(root, "log", file=log, append="on")
    child(root, "target", port="0")
    return root


def xen_console() -> Element:
    """The PV console. xenconsoled logs it, when told to; libxl takes no log file here."""
    root = Element("console", {"type": "pty"})
    child(root, "target", type="xen", port="0")
    return root
