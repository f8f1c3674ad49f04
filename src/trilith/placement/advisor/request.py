"""The workload that an image and a flavor speak of. Pure.

Extra specs `trilith:DEMAND=VALUE` are demands by their names ("trilith:own_kernel=true", "trilith:start_within=50 ms").
Nova's own words are read where they mean a demand: encrypted memory, devices as resource classes, the traits of a
processor that is to be handed on to the guest, the image's operating system, firmware and TPM.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from trilith import errors
from trilith.model.server import FlavorData
from trilith.placement.advisor.demands import BY_FIELD, BY_NAME, Demand
from trilith.placement.advisor.quantity import NotAllowed
from trilith.placement.advisor.workload import Firmware, OperatingSystem, Workload
from trilith.placement.flavor_specs import encrypts_memory, named_resources, traits_of

PREFIX = "trilith:"
#: what `trilith:` specs say that is no demand (docs/advisor.md): their form, and what is allowed in words
_OTHER_FORMS = {
    "pillar": (re.compile(r"(?i:lxc|kvm|qemu|xen)"), "lxc, kvm, xen"),
    "processes": (re.compile(r"[1-9][0-9]{0,6}"), "a whole number from 1 to 9999999"),
}
OTHER_SPECS = tuple(_OTHER_FORMS)

_TRUE = ("true", "yes", "on", "1", "t", "y")
_FALSE = ("false", "no", "off", "0", "f", "n")
_ENCRYPTION_TRAITS = frozenset(
    {"HW_CPU_X86_AMD_SEV", "HW_CPU_X86_AMD_SEV_ES", "HW_CPU_X86_AMD_SEV_SNP", "HW_CPU_X86_INTEL_TDX"}
)
_VIRTUALIZATION_TRAITS = frozenset({"HW_CPU_X86_VMX", "HW_CPU_X86_SVM"})
_DEVICES = {"gpus": ("VGPU", "PGPU"), "virtual_functions": ("SRIOV_NET_VF",)}
#: Glance's os_type and os_distro → what a demand calls it; what is not here is Linux
_SYSTEMS = {
    "windows": OperatingSystem.WINDOWS,
    "freebsd": OperatingSystem.BSD,
    "openbsd": OperatingSystem.BSD,
    "netbsd": OperatingSystem.BSD,
    "solaris": OperatingSystem.OTHER,
    "opensolaris": OperatingSystem.OTHER,
    "netware": OperatingSystem.OTHER,
    "msdos": OperatingSystem.OTHER,
}


def workload_of_request(flavor: FlavorData, properties: Mapping[str, str], title: str = "") -> Workload:
    """properties: the image's. Raises Invalid for a spec that is no demand or has a value that it does not take."""
    values: dict[str, Any] = {"memory_per_guest_mib": flavor.ram}
    for name in ("os_distro", "os_type"):
        if system := _SYSTEMS.get(properties.get(name, "").lower()):
            values["operating_system"] = system
    if properties.get("os_secure_boot") == "required":
        values["firmware"] = Firmware.SECURE_BOOT
    elif properties.get("hw_firmware_type") == "uefi":
        values["firmware"] = Firmware.UEFI
    if properties.get("hw_tpm_version") or properties.get("hw_tpm_model"):
        values["tpm"] = True
    required, _ = traits_of(flavor.extra_specs, properties)
    if encrypts_memory(flavor.extra_specs, properties) or required & _ENCRYPTION_TRAITS:
        values["confidential_computing"] = True
    if required & _VIRTUALIZATION_TRAITS:
        values["nested_virtualization"] = True
    resources = named_resources(flavor.extra_specs, properties)
    for name, classes in _DEVICES.items():
        if amount := sum(resources.get(c, 0) for c in classes):
            values[name] = amount
    values |= demands_of_specs(flavor.extra_specs)
    return Workload(title=title, **values)


def demands_of_specs(extra_specs: Mapping[str, str]) -> dict[str, Any]:
    """Field of the workload → value, of the `trilith:` specs that are demands. Raises Invalid with the spec's name."""
    found: dict[str, Any] = {}
    said: dict[str, str] = {}
    for key, text in extra_specs.items():
        name = key.removeprefix(PREFIX)
        if not key.startswith(PREFIX) or name in OTHER_SPECS:
            continue
        demand = BY_NAME.get(name) or BY_FIELD.get(name)
        if demand is None:
            raise errors.Invalid(
                f"There is no extra spec {key!r}.",
                hint=f"Known after {PREFIX} are {', '.join((*OTHER_SPECS, *BY_NAME))}.",
                field=key,
            )
        if demand.name in said:
            raise errors.Invalid(f"{key} and {said[demand.name]} are the same demand.", field=key)
        said[demand.name] = key
        try:
            found[demand.field] = demand.parse(_typed(demand, text), bare=name not in BY_NAME)
        except NotAllowed as error:
            raise errors.Invalid(f"{key}: {error.message}.", hint=f"Allowed: {error.allowed}.", field=key) from error
    return found


def check_own_specs(extra_specs: Mapping[str, str]) -> None:
    """Of `trilith:` specs alone. Raises Invalid with the spec's name."""
    demands_of_specs(extra_specs)
    for name, (form, allowed) in _OTHER_FORMS.items():
        value = extra_specs.get(PREFIX + name)
        if value is not None and not form.fullmatch(value):
            raise errors.Invalid(f"{PREFIX}{name} is {value!r}.", hint=f"Allowed: {allowed}.", field=PREFIX + name)


def _typed(demand: Demand, text: str) -> object:
    """A spec is text: as the demand's own reader takes it."""
    if demand.flag:
        if text.lower() in _TRUE + _FALSE:
            return text.lower() in _TRUE
    elif demand.vocabulary is None and text.isascii() and text.isdigit() and len(text) <= 15:
        return int(text)
    return text
