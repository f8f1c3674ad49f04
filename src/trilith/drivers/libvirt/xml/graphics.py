"""<graphics> and <video>. https://libvirt.org/formatdomain.html#graphical-framebuffers"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from trilith.drivers.libvirt.xml import child


def vnc(socket: str) -> list[Element]:
    """VNC on a unix socket: nobody reaches it over the network but through the agent."""
    graphics = Element("graphics", {"type": "vnc", "socket": socket})
    video = Element("video")
    child(video, "model", type="vga")
    return [graphics, video]
