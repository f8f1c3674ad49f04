"""Guests that the libvirt tests share: each a name, a spec and the host that it is meant for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trilith.drivers.libvirt.host import HostSetup
from trilith.model.guest import Artefact, GuestSpec, ImageForm, MachineIdentity, NicSpec, Pillar, RescueSpec

SERVER = "3f2a1c58-6b1e-4c0b-9d6e-0a5b7c9d1e2f"
PORT = "aaaaaaaa-0000-4000-8000-00000000000{}"
KVM_HOST = HostSetup(
    domain_type="kvm",
    emulator="/usr/bin/qemu-system-x86_64",
    machine_disk="pc-q35-7.2",
    machine_bare="pc-i440fx-7.2",
    cpu_mode="host-passthrough",
    firmware=("efi",),
    secure_boot=True,
    tpm=True,
    disk_io="io_uring",
)
TCG_HOST = HostSetup(
    domain_type="qemu",
    emulator="/usr/bin/qemu-system-x86_64",
    machine_disk="pc-q35-7.2",
    machine_bare="pc-i440fx-7.2",
    cpu_mode="maximum",
    disk_io="threads",
    offload_off=True,
)
BARE_HOST = HostSetup(
    domain_type="kvm",
    emulator="/usr/bin/qemu-system-x86_64",
    machine_disk="pc-i440fx-7.2",
    machine_bare="pc-i440fx-7.2",
    cpu_mode="qemu64",
)
XEN_HOST = HostSetup(domain_type="xen")


def nic(number: int) -> NicSpec:
    return NicSpec(
        port_id=PORT.format(number), mac=f"fa:16:3e:00:00:0{number}", ifname=f"tapaaaaaaaa-0{number}", mtu=1442
    )


def disk(*, kernel: bool = False) -> Artefact:
    boot = {"kernel": "/img/vmlinuz", "initrd": "/img/initrd", "cmdline": "root=/dev/vda console=ttyS0 quiet"}
    return Artefact(
        sha256="ab" * 32, form=ImageForm.DISK, path="/img/disk.qcow2", size_mib=64, **boot if kernel else {}
    )


def bare(path: str) -> Artefact:
    return Artefact(sha256="cd" * 32, form=ImageForm.BARE, path=path)


def identity(machine: str = "pc-q35-7.2", cpu: str = "host-passthrough", firmware: str = "bios") -> MachineIdentity:
    return MachineIdentity(smbios_uuid=SERVER, machine=machine, cpu_mode=cpu, firmware=firmware)


def guest(
    image: Artefact,
    machine: MachineIdentity,
    *,
    nics: int = 0,
    vcpus: int = 1,
    memory_mib: int = 256,
    config_drive: str = "",
    pillar: Pillar = Pillar.KVM,
    properties: dict[str, str] | None = None,
    cloud_id: str = "c1",
) -> GuestSpec:
    return GuestSpec(
        server_id=SERVER,
        project_id="9d0e3f00000000000000000000000001",
        cloud_id=cloud_id,
        name="web <1> & co",
        hostname="web1",
        pillar=pillar,
        vcpus=vcpus,
        memory_mib=memory_mib,
        disk_gib=1,
        image=image,
        identity=machine,
        nics=tuple(nic(number) for number in range(1, nics + 1)),
        config_drive=config_drive,
        root_disk="" if image.form is ImageForm.BARE else "/disks/root.qcow2",
        properties=properties or {},
    )


def cases(rom: Path, elf: Path) -> dict[str, tuple[GuestSpec, HostSetup]]:
    """Every golden file's guest. rom and elf: files that begin as such files do."""
    xen = {"pillar": Pillar.XEN, "nics": 1}
    none = identity(machine="", cpu="", firmware="")
    return {
        "kvm-kernel": (
            guest(disk(kernel=True), identity(firmware=""), nics=1, config_drive="/cd/config.iso"),
            KVM_HOST,
        ),
        "kvm-bios": (guest(disk(), identity(), nics=2, vcpus=2, memory_mib=2048), KVM_HOST),
        "kvm-uefi-secure-tpm": (
            guest(
                disk(),
                identity(firmware="uefi"),
                properties={"os_secure_boot": "required", "hw_tpm_version": "2.0", "hw_qemu_guest_agent": "yes"},
            ),
            KVM_HOST,
        ),
        "kvm-windows-sata": (
            guest(
                disk(),
                identity(),
                nics=1,
                vcpus=4,
                config_drive="/cd/config.iso",
                properties={"os_type": "windows", "hw_disk_bus": "sata", "hw_vif_model": "e1000e"},
            ),
            KVM_HOST,
        ),
        "kvm-cpu-quota": (
            guest(disk(), identity(), properties={"quota:cpu_quota": "50000", "quota:cpu_period": "100000"}),
            KVM_HOST,
        ),
        "tcg-kernel": (guest(disk(kernel=True), identity(firmware=""), nics=1), TCG_HOST),
        "kvm-rescue": (
            replace(
                guest(disk(kernel=True), identity(firmware=""), nics=1, config_drive="/cd/config.iso"),
                rescue=RescueSpec(image=disk(kernel=True), root_disk="/disks/root.rescue.qcow2"),
            ),
            KVM_HOST,
        ),
        "kvm-rescue-stable-usb": (
            replace(
                guest(disk(), identity(), config_drive="/cd/config.iso"),
                rescue=RescueSpec(image=disk(), root_disk="/disks/root.rescue.qcow2", bus="usb", stable=True),
            ),
            KVM_HOST,
        ),
        "kvm-rescue-stable-cdrom": (
            replace(
                guest(disk(), identity()),
                rescue=RescueSpec(image=disk(), root_disk="/disks/root.rescue.qcow2", device="cdrom", stable=True),
            ),
            KVM_HOST,
        ),
        "bare-rom": (guest(bare(str(rom)), identity("pc-i440fx-7.2", "qemu64", ""), memory_mib=4), BARE_HOST),
        "bare-elf": (guest(bare(str(elf)), identity("pc-i440fx-7.2", "qemu64", ""), memory_mib=4, nics=1), BARE_HOST),
        "xen-pv": (
            guest(disk(kernel=True), none, **xen, properties={"hw_vm_mode": "xen"}, config_drive="/cd/config.iso"),  # type: ignore[arg-type]
            XEN_HOST,
        ),
        "xen-pvh": (guest(disk(kernel=True), none, **xen), XEN_HOST),  # type: ignore[arg-type]
        "xen-hvm": (guest(disk(), none, **xen), XEN_HOST),  # type: ignore[arg-type]
    }
