"""A guest in rescue: which of its disks is where, and what it boots.

Without a stable device the rescue disk takes the root's place and the root comes second, as Nova's libvirt driver
does. With one (image properties hw_rescue_device, hw_rescue_bus) all stay where they are and the rescue disk is the
last, first in the order of boot.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element

from trilith.drivers.libvirt.xml.disk import PREFIX, root_disk
from trilith.errors import Unsupported
from trilith.model.guest import GuestSpec, RescueSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """first: the disks before the config drive; last: those after it. drive: the letter of a virtio config drive.
    buses: what needs a controller. root: the booted disk's name where it is not vda."""

    first: list[Element]
    last: list[Element]
    drive: str = "b"
    buses: frozenset[str] = frozenset()
    root: str = ""
    ordered: bool = False


def booted(spec: GuestSpec) -> GuestSpec:
    """The spec with the image whose kernel, if it has one, starts."""
    return spec if spec.rescue is None else replace(spec, image=spec.rescue.image)


def bus_of(rescue: RescueSpec, own: str, *, q35: bool) -> str:
    """Raises Unsupported for a bus that the machine does not have."""
    bus = rescue.bus or ("sata" if rescue.device == "cdrom" else own)
    if bus == "ide" and q35:
        raise Unsupported(
            "a q35 machine has no IDE bus", capability="disk_bus.ide", hint="Use sata for a CD-ROM, or virtio."
        )
    if bus == "virtio" and rescue.device == "cdrom":
        raise Unsupported("virtio has no CD-ROM", capability="disk_bus.virtio", hint="Use sata, scsi or usb.")
    if bus not in PREFIX or bus == "xen":
        raise Unsupported(f"disk bus {bus!r} is not known here", capability=f"disk_bus.{bus}", hint="Use virtio.")
    return bus


def layout(spec: GuestSpec, bus: str, *, io: str, direct: bool, q35: bool) -> Layout:
    """bus: of the root disk."""
    own = {"bus": bus, "io": io, "direct": direct, "serial": spec.server_id}
    rescue = spec.rescue
    if rescue is None:
        return Layout(first=[_disk(spec.root_disk, own)], last=[], buses=frozenset({bus}))
    there = {"bus": bus_of(rescue, bus, q35=q35), "io": io, "direct": direct, "serial": f"rescue-{spec.server_id}"}
    if not rescue.stable:
        disks = [_disk(rescue.root_disk, there | {"bus": bus}), _disk(spec.root_disk, own | {"letter": "b"})]
        return Layout(first=disks, last=[], drive="c", buses=frozenset({bus}))
    used = [PREFIX[bus] + "a", *([f"{PREFIX['virtio']}b"] if bus == "virtio" and spec.config_drive else [])]
    prefix = PREFIX[str(there["bus"])]
    letter = next(c for c in "abcdefghij" if prefix + c not in used)
    disk = _disk(rescue.root_disk, there | {"letter": letter, "device": rescue.device, "boot": 1})
    return Layout(
        first=[_disk(spec.root_disk, own)],
        last=[disk],
        buses=frozenset({bus, str(there["bus"])}),
        root=f"{'sr' if rescue.device == 'cdrom' else prefix}{'0' if rescue.device == 'cdrom' else letter}",
        ordered=True,
    )


def _disk(path: str, given: dict[str, object]) -> Element:
    return root_disk(path, **given)  # type: ignore[arg-type]
