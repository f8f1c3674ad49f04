"""The extra specs whose values Nova checks from 2.86 on: those of its own namespaces (nova/api/validation/extra_specs).

A namespace that is not listed is free. Within a listed one an unknown name is refused, as a mistyped one would
silently do nothing.
"""

from __future__ import annotations

import re

from trilith import errors

_BOOL = r"(?i:true|false|yes|no|on|off|1|0|t|f|y|n)"
_INT = r"[0-9]+"
_ANY = r".*"

#: pattern of the whole key → pattern of the value
_KNOWN: tuple[tuple[str, str], ...] = (
    (r"hw:boot_menu", _BOOL),
    (r"hw:cpu_cores", _INT),
    (r"hw:cpu_sockets", _INT),
    (r"hw:cpu_threads", _INT),
    (r"hw:cpu_max_(cores|sockets|threads)", _INT),
    (r"hw:cpu_(dedicated_mask|realtime_mask)", r"\^?[0-9]+((-[0-9]+)?(,\^?[0-9]+(-[0-9]+)?)?)*"),
    (r"hw:cpu_policy", r"dedicated|shared|mixed"),
    (r"hw:cpu_thread_policy", r"prefer|isolate|require"),
    (r"hw:cpu_realtime", _BOOL),
    (r"hw:emulator_threads_policy", r"isolate|share"),
    (r"hw:hide_hypervisor_id", _BOOL),
    (r"hw:locked_memory", _BOOL),
    (r"hw:maxphysaddr_mode", r"passthrough|emulate"),
    (r"hw:maxphysaddr_bits", _INT),
    (r"hw:mem_encryption", _BOOL),
    (r"hw:mem_page_size", r"large|small|any|\d+([kKMGT]i?)?(b|bit|B)?"),
    (r"hw:numa_nodes", _INT),
    (r"hw:numa_cpus\.\d+", r"\^?[0-9]+((-[0-9]+)?(,\^?[0-9]+(-[0-9]+)?)?)*"),
    (r"hw:numa_mem\.\d+", _INT),
    (r"hw:pci_numa_affinity_policy", r"required|preferred|legacy|socket"),
    (r"hw:pmem", r"([^=,]+(,[^=,]+)*)?"),
    (r"hw:pmu", _BOOL),
    (r"hw:serial_port_count", _INT),
    (r"hw:sound_model", r"sb16|es1370|pcspk|ac97|ich6|ich9|usb|ich7|virtio"),
    (r"hw:tpm_model", r"tpm-tis|tpm-crb"),
    (r"hw:tpm_version", r"1\.2|2\.0"),
    (r"hw:tpm_secret_security", r"user|host|deployment"),
    (r"hw:usb_model", r"piix3-uhci|piix4-uhci|ehci|ich9-(ehci1|uhci[123])|vt82c686b-uhci|pci-ohci|nec-xhci|qemu-xhci"),
    (r"hw:redirected_usb_ports", _INT),
    (r"hw:vif_multiqueue_enabled", _BOOL),
    (r"hw:viommu_model", r"intel|smmuv3|virtio|auto"),
    (r"hw:virtio_packed_ring", _BOOL),
    (r"hw:watchdog_action", r"none|pause|poweroff|reset|disabled"),
    (r"hw_rng:allowed", _BOOL),
    (r"hw_rng:rate_(bytes|period)", _INT),
    (r"hw_video:ram_max_mb", _INT),
    (r"os:secure_boot", r"disabled|required|optional"),
    (r"pci_passthrough:alias", r"([^:]+:\d+)(,\s*[^:]+:\d+)*"),
    (r"quota:(cpu_period|cpu_quota|cpu_shares)", r"-?[0-9]+"),
    (r"quota:disk_(read|write|total)_(bytes|iops)_sec(_max)?", _INT),
    (r"quota:vif_(inbound|outbound)_(average|peak|burst)", _INT),
    (r"quota:(cpu|memory|disk_io|vif)_(limit|reservation|shares_level|shares_share)", _ANY),
    (r"trait(\w+)?:[A-Z0-9_]+", r"required|forbidden"),
    (r"resources(\w+)?:[A-Z0-9_]+", _INT),
    (r"accel:device_profile", _ANY),
    (r"aggregate_instance_extra_specs:.+", _ANY),
    (r"capabilities:.+", _ANY),
    (r"trilith:.+", _ANY),  # the command checks them, in every microversion
    (r"vmware:.+", _ANY),
    (r"powervm:.+", _ANY),
)
_COMPILED = tuple((re.compile(key), re.compile(value)) for key, value in _KNOWN)
_NAMESPACES = frozenset(
    [
        "accel",
        "aggregate_instance_extra_specs",
        "capabilities",
        "hw",
        "hw_rng",
        "hw_video",
        "os",
        "pci_passthrough",
        "powervm",
        "quota",
        "resources",
        "trait",
        "vmware",
        "trilith",
    ]
)


def check_extra_spec(key: str, value: str) -> None:
    """Raises Invalid for an unknown key of a known namespace and for a value that its key does not take."""
    namespace, colon, _ = key.partition(":")
    if not colon or re.sub(r"\d+$", "", namespace) not in _NAMESPACES:
        return
    for known, takes in _COMPILED:
        if known.fullmatch(key):
            if not takes.fullmatch(value):
                raise errors.Invalid(f"Validation failed; '{value}' is not a valid value for extra spec '{key}'.")
            return
    raise errors.Invalid(
        f"Validation failed; extra spec '{key}' does not appear to be a valid extra spec.",
        hint="A namespace of your own is not checked.",
    )
