"""<memory>. https://libvirt.org/formatdomain.html#memory-allocation"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from trilith.model.guest import GuestSpec


def memory(spec: GuestSpec) -> list[Element]:
    """Maximum and current are the same: there is no ballooning behind a tenant's back."""
    found = []
    for tag in ("memory", "currentMemory"):
        element = Element(tag, {"unit": "MiB"})
        element.text = str(spec.memory_mib)
        found.append(element)
    return found
