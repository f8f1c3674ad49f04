"""One small builder a domain element. Each returns an element or changes nothing; none does I/O.

Format: https://libvirt.org/formatdomain.html. What the user said (GuestSpec) and what this host offers (HostSetup)
come in, so the same guest on the same host always gives the same text: golden files hold it.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, indent, tostring


def child(parent: Element, tag: str, text: str = "", **attributes: str) -> Element:
    """Append <tag attributes>text</tag>. A trailing underscore in a name keeps Python's words out of the way."""
    element = SubElement(parent, tag, {name.rstrip("_"): value for name, value in attributes.items()})
    if text:
        element.text = text
    return element


def render(root: Element) -> str:
    """The element as indented text."""
    indent(root)
    return tostring(root, encoding="unicode") + "\n"
