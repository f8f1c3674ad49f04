"""The machine identity of a new server, chosen once from what the node's probe found and recorded with the server."""

from __future__ import annotations

from collections.abc import Mapping

from trilith.errors import Invalid
from trilith.model.guest import HostFacts, ImageForm, MachineIdentity, Pillar

#: keys of HostFacts.cpu_info that this module reads and the probe writes
MACHINE_DISK, MACHINE_BARE = "machine_disk", "machine_bare"
CPU_DISK, CPU_BARE = "cpu_mode_disk", "cpu_mode_bare"


def has_bus(identity: MachineIdentity, bus: str) -> bool:
    """Whether disks can be on it: a q35 has no IDE (https://wiki.qemu.org/Features/Q35)."""
    return bus != "ide" or "q35" not in identity.machine


def default_identity(
    facts: HostFacts,
    *,
    server_id: str,
    form: ImageForm,
    direct_kernel: bool,
    properties: Mapping[str, str],
) -> MachineIdentity:
    """Canonical machine type (it never changes under the guest), CPU mode, firmware, disk bus.

    properties: image properties and extra specs; hw_machine_type, hw_cpu_model, hw_firmware_type, hw_disk_bus decide
    where they are given. Raises Invalid for a firmware that does not exist.
    """
    if Pillar.XEN in facts.pillars:
        # "" lets the Xen dialect decide by image; a mode that was asked for is recorded by it, too
        return MachineIdentity(smbios_uuid=server_id, disk_bus="xen", firmware="" if direct_kernel else "bios")
    bare = form is ImageForm.BARE
    firmware = properties.get("hw_firmware_type", "bios")
    if firmware not in ("bios", "uefi"):
        raise Invalid(f"hw_firmware_type must be bios or uefi, not {firmware!r}", field="hw_firmware_type")
    return MachineIdentity(
        smbios_uuid=server_id,
        machine=properties.get("hw_machine_type") or facts.cpu_info.get(MACHINE_BARE if bare else MACHINE_DISK, ""),
        cpu_mode=properties.get("hw_cpu_model") or facts.cpu_info.get(CPU_BARE if bare else CPU_DISK, ""),
        firmware="" if bare or direct_kernel else firmware,
        disk_bus=properties.get("hw_disk_bus", "virtio"),
    )
