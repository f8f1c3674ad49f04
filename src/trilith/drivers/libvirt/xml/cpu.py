"""<vcpu>, <cpu> and <cputune>. https://libvirt.org/formatdomain.html#cpu-model-and-topology"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from trilith.drivers.libvirt.xml import child
from trilith.errors import Invalid
from trilith.model.guest import GuestSpec

MODES = ("host-passthrough", "host-model", "maximum")

#: extra spec (Nova: quota:*) → element of <cputune> and its bounds (libvirt: cpu tuning)
TUNES = {
    "quota:cpu_shares": ("shares", 2, 262_144),
    "quota:cpu_period": ("period", 1_000, 1_000_000),  # microseconds
    "quota:cpu_quota": ("quota", 1_000, 17_592_186_044_415),  # microseconds
}


def vcpu(spec: GuestSpec) -> Element:
    root = Element("vcpu", {"placement": "static"})
    root.text = str(spec.vcpus)
    return root


def cpu(spec: GuestSpec, mode: str) -> Element | None:
    """`mode` is a libvirt mode or the name of a model; "" lets libvirt choose.

    A named model is not checked: what the probe ran with is known to run, and libvirt's own table of hosts knows
    nothing of a paravirtual KVM.
    """
    if not mode:
        return None
    if mode in MODES:
        root = Element("cpu", {"mode": mode})
        if mode == "host-passthrough":
            root.set("check", "none")
    else:
        root = Element("cpu", {"mode": "custom", "match": "exact", "check": "none"})
        child(root, "model", mode, fallback="forbid")
    if spec.vcpus > 1:
        # one socket: guests that are licensed or scheduled by socket see what a user expects
        child(root, "topology", sockets="1", dies="1", cores=str(spec.vcpus), threads="1")
    return root


def cputune(spec: GuestSpec) -> Element | None:
    """Present only where the flavor asks: it needs a cgroup CPU controller. Raises Invalid for a bad value."""
    root = Element("cputune")
    for name, (tag, least, most) in TUNES.items():
        text = spec.properties.get(name)
        if text is None:
            continue
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise Invalid(f"{name} must be a number from {least} to {most}, not {text!r}", field=name)
        child(root, tag, text)
    return root if len(root) else None
