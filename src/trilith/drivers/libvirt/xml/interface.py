"""<interface>. https://libvirt.org/formatdomain.html#network-interfaces

type='ethernet' with a managed target: libvirt makes a tap of the given name, up, and attaches it to nothing. The
switch port of that name is declared beforehand, and Open vSwitch attaches the tap when it appears.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from trilith.drivers.libvirt.xml import child
from trilith.model.guest import NicSpec

#: Script that makes a Xen vif ready. libxl waits for a script to write hotplug-status: without one no vif comes up.
XEN_VIF_SCRIPT = "vif-trilith"


def _interface(nic: NicSpec) -> Element:
    root = Element("interface", {"type": "ethernet"})
    child(root, "mac", address=nic.mac)
    return root


def tap(nic: NicSpec, *, model: str, offload_off: bool) -> Element:
    root = _interface(nic)
    child(root, "target", dev=nic.ifname, managed="yes")
    child(root, "model", type=model)
    if offload_off and model == "virtio":
        # The userspace datapath forwards a packet as it is: one whose checksum was left to the NIC stays wrong.
        # DHCP and ping work nevertheless, TCP does not.
        driver = child(root, "driver")
        child(driver, "host", csum="off", gso="off", tso4="off", tso6="off", ecn="off", ufo="off")
        child(driver, "guest", csum="off", tso4="off", tso6="off", ecn="off", ufo="off")
    child(root, "mtu", size=str(nic.mtu))
    # an option ROM for network boot is of no use to a guest that boots from its disk
    child(root, "rom", enabled="no")
    return root


def vif(nic: NicSpec) -> Element:
    root = _interface(nic)
    child(root, "script", path=XEN_VIF_SCRIPT)
    child(root, "target", dev=nic.ifname)
    return root
