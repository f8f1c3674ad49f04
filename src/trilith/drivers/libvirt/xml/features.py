"""<features> and <clock>. https://libvirt.org/formatdomain.html#hypervisor-features"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from trilith.drivers.libvirt.xml import child

#: Hyper-V enlightenments that Windows wants (libvirt: hypervisor features; the set that Nova turns on)
HYPERV = ("relaxed", "vapic", "vpindex", "runtime", "synic", "reset", "frequencies")


def features(*, acpi: bool, windows: bool = False, secure_boot: bool = False) -> Element | None:
    root = Element("features")
    if acpi:
        child(root, "acpi")
        child(root, "apic")
    if windows:
        hyperv = child(root, "hyperv", mode="custom")
        for name in HYPERV:
            child(hyperv, name, state="on")
        child(hyperv, "spinlocks", state="on", retries="8191")
    if secure_boot:
        child(root, "smm", state="on")
    return root if len(root) else None


def clock(*, windows: bool, kvm: bool) -> Element:
    """Windows keeps local time in the RTC; all others UTC. Timers as recommended for KVM guests."""
    root = Element("clock", {"offset": "localtime" if windows else "utc"})
    child(root, "timer", name="pit", tickpolicy="delay")
    child(root, "timer", name="rtc", tickpolicy="catchup")
    child(root, "timer", name="hpet", present="no")
    if windows and kvm:
        child(root, "timer", name="hypervclock", present="yes")
    return root
