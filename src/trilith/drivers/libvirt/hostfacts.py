"""What this host can run, learned from libvirt once at `open`, and told to placement by `probe`."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt

from trilith.drivers.libvirt import capabilities as caps
from trilith.drivers.libvirt.host import DomainType, HostSetup
from trilith.drivers.libvirt.probe import KvmProbe
from trilith.errors import Backend
from trilith.model.guest import HostFacts, Pillar
from trilith.model.machine import CPU_BARE, CPU_DISK, MACHINE_BARE, MACHINE_DISK

EMULATION = (
    "KVM does not run Linux guests on this host ({why}): virtual machines run under emulation, about ten times slower. "
    "Containers are not affected."
)
ROOT = "QEMU runs as root here: set user and group in libvirt's qemu.conf."

_IO_URING_SETUP = 425  # the same number on every architecture since Linux 5.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """disk: for guests that boot from a disk or kernel; bare: for guests without firmware. Each has its own type,
    since KVM may run the one and not the other. capabilities: libvirt's XML."""

    disk: HostSetup
    bare: HostSetup
    capabilities: str


def learn(connection: Any, *, xen: bool, offload_off: bool, probe: KvmProbe) -> Hosts:
    """Ask libvirt. With an empty cache its first answer takes about ten seconds. Raises Backend when it has no x86."""
    text = connection.getCapabilities()
    if xen:
        setup = HostSetup(domain_type="xen", offload_off=offload_off)
        return Hosts(disk=setup, bare=setup, capabilities=text)
    disk = _setup(connection, text, "q35", "kvm" if probe.linux else "qemu", probe.cpu_linux, offload_off)
    bare = _setup(connection, text, "pc", "kvm" if probe.bare else "qemu", probe.cpu_bare, offload_off)
    return Hosts(disk=disk, bare=bare, capabilities=text)


def _setup(
    connection: Any, text: str, machine: str, domain_type: DomainType, cpu_mode: str, offload_off: bool
) -> HostSetup:
    try:
        found = caps.offer(connection.getDomainCapabilities(None, "x86_64", machine, domain_type, 0))
    except libvirt.libvirtError as error:
        raise Backend(
            f"libvirt cannot run {domain_type} guests on {machine}: {error.get_error_message()}",
            hint="Install the qemu-system-x86 package; look at /dev/kvm's permissions for QEMU's user.",
        ) from error
    uid, gid = caps.run_as(text, domain_type)
    return HostSetup(
        domain_type=domain_type,
        emulator=found.emulator,
        machine_disk=found.machine,
        machine_bare=found.machine,
        cpu_mode=cpu_mode or "maximum",
        firmware=found.firmware,
        secure_boot=found.secure_boot,
        tpm=found.tpm,
        disk_io=disk_io(),
        offload_off=offload_off,
        run_uid=uid,
        run_gid=gid,
    )


def disk_io() -> str:
    """io_uring where the kernel grants a ring (a sandbox or a sysctl may forbid it), else a pool of threads.

    Not `native`: it blocks QEMU's main loop whenever the host's file system allocates, as under a thin qcow2.
    """
    params = ctypes.create_string_buffer(120)
    ring = ctypes.CDLL(None, use_errno=True).syscall(_IO_URING_SETUP, 1, params)
    if ring < 0:
        return "threads"
    os.close(ring)
    return "io_uring"


def facts(connection: Any, hosts: Hosts, probe: KvmProbe, state_dir: str) -> HostFacts:
    """DISK_GB is the file system of `state_dir`; the storage driver knows better where its disks are elsewhere."""
    _arch, memory_mib, threads, *_rest = connection.getInfo()
    disk_gib = shutil.disk_usage(state_dir).total >> 30
    xen = hosts.disk.domain_type == "xen"
    info = caps.cpu(hosts.capabilities) | {
        MACHINE_DISK: hosts.disk.machine_disk,
        MACHINE_BARE: hosts.bare.machine_bare,
        CPU_DISK: hosts.disk.cpu_mode,
        CPU_BARE: hosts.bare.cpu_mode,
    }
    traits = ["COMPUTE_IMAGE_TYPE_QCOW2", *([] if xen else _kvm_traits(hosts, probe))]
    if xen or probe.linux:
        traits += caps.cpu_traits(Path("/proc/cpuinfo").read_text())
    warnings = []
    if not xen and not probe.linux:
        warnings.append(EMULATION.format(why=probe.why_linux or "not tried"))
    if not xen and hosts.disk.run_uid == 0:
        warnings.append(ROOT)
    return HostFacts(
        hostname=socket.gethostname(),
        pillars=(Pillar.XEN if xen else Pillar.KVM,),
        inventories={"VCPU": threads, "MEMORY_MB": memory_mib, "DISK_GB": disk_gib},
        traits=tuple(sorted(traits)),
        hypervisor_type="Xen" if xen else "QEMU",
        hypervisor_version=connection.getVersion(),
        cpu_info=info,
        warnings=tuple(warnings),
    )


def _kvm_traits(hosts: Hosts, probe: KvmProbe) -> list[str]:
    held = {
        "CUSTOM_KVM_BARE": probe.bare,
        "CUSTOM_KVM_LINUX": probe.linux,
        "COMPUTE_NET_ATTACH_INTERFACE": True,
        "COMPUTE_NET_VIF_MODEL_VIRTIO": True,
        "COMPUTE_STORAGE_BUS_VIRTIO": True,
        "COMPUTE_SECURITY_UEFI_SECURE_BOOT": hosts.disk.secure_boot,
        "COMPUTE_SECURITY_TPM_2_0": hosts.disk.tpm,
    }
    return [trait for trait, holds in held.items() if holds]
