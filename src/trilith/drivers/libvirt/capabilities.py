"""What libvirt says of this host, read from its capabilities and domain capabilities. Pure: text in, data out.

https://libvirt.org/formatcaps.html, https://libvirt.org/formatdomaincaps.html
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import Element, fromstring

#: flag in /proc/cpuinfo → trait of os-traits
CPU_TRAITS = {
    "aes": "HW_CPU_X86_AESNI",
    "avx": "HW_CPU_X86_AVX",
    "avx2": "HW_CPU_X86_AVX2",
    "avx512f": "HW_CPU_X86_AVX512F",
    "fma": "HW_CPU_X86_FMA3",
    "sse4_2": "HW_CPU_X86_SSE42",
    "sha_ni": "HW_CPU_X86_SHA",
    "vmx": "HW_CPU_X86_VMX",
    "svm": "HW_CPU_X86_SVM",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainOffer:
    """Of one domain type and machine: its canonical name, the firmware there is, secure boot, TPM emulation."""

    emulator: str
    machine: str
    firmware: tuple[str, ...]
    secure_boot: bool
    tpm: bool


def offer(text: str) -> DomainOffer:
    """Read a <domainCapabilities>."""
    root = fromstring(text)
    tpm = root.find("./devices/tpm")
    backends = _values(root, "./devices/tpm/enum[@name='backendModel']")
    return DomainOffer(
        emulator=root.findtext("path", ""),
        machine=root.findtext("machine", ""),
        firmware=tuple(_values(root, "./os/enum[@name='firmware']")),
        secure_boot="yes" in _values(root, "./os/loader/enum[@name='secure']"),
        tpm=tpm is not None and tpm.get("supported") == "yes" and "emulator" in backends,
    )


def run_as(text: str, domain_type: str) -> tuple[int, int]:
    """uid and gid of QEMU by <secmodel>'s DAC label (like "+64055:+109"), root when there is none."""
    root = fromstring(text)
    for model in root.findall("./host/secmodel"):
        if model.findtext("model") != "dac":
            continue
        for label in model.findall("baselabel"):
            if label.get("type") == domain_type and label.text:
                user, _, group = label.text.partition(":")
                return int(user.lstrip("+")), int(group.lstrip("+"))
    return 0, 0


def cpu(text: str) -> dict[str, str]:
    """Architecture, model and vendor of the host."""
    found = fromstring(text).find("./host/cpu")
    if found is None:
        return {}
    return {name: found.findtext(name, "") for name in ("arch", "model", "vendor") if found.findtext(name)}


def cpu_traits(cpuinfo: str) -> tuple[str, ...]:
    """Traits by /proc/cpuinfo's first processor."""
    flags = next((line.partition(":")[2].split() for line in cpuinfo.splitlines() if line.startswith("flags")), [])
    return tuple(sorted(trait for flag, trait in CPU_TRAITS.items() if flag in flags))


def _values(root: Element, path: str) -> list[str]:
    return [value.text or "" for value in root.findall(f"{path}/value")]
