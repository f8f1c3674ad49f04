"""libvirt's errors as ours, with libvirt's own words in the message."""

from __future__ import annotations

import libvirt

from trilith.errors import Backend, Conflict, Deadline, Missing, TrilithError, Unsupported

#: codes that mean that the connection, not the request, is at fault
GONE = frozenset(
    {
        libvirt.VIR_ERR_SYSTEM_ERROR,
        libvirt.VIR_ERR_INTERNAL_ERROR,
        libvirt.VIR_ERR_RPC,
        libvirt.VIR_ERR_NO_CONNECT,
        libvirt.VIR_ERR_INVALID_CONN,
    }
)

HINTS = (
    ("Permission denied", "QEMU's user must reach the file: images are 0644 in directories that others may enter."),
    ("cgroup", "libvirtd has no cgroup controller for this limit: see `trilith doctor`."),
    ("Cannot access storage file", "The disk is missing on this node."),
    ("device is already in use", "Another process holds the disk."),
)


def translate(error: libvirt.libvirtError, doing: str) -> TrilithError:
    """`doing` says what was tried, such as "start server …"."""
    words = error.get_error_message() or str(error)
    message = f"cannot {doing}: {words}"
    code = error.get_error_code()
    if code in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_DOMAIN_METADATA):
        return Missing(message)
    if code in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_DOM_EXIST, libvirt.VIR_ERR_AGENT_UNRESPONSIVE):
        return Conflict(message)
    if code in (libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_CONFIG_UNSUPPORTED, libvirt.VIR_ERR_OPERATION_UNSUPPORTED):
        return Unsupported(message, capability="libvirt")
    if code == libvirt.VIR_ERR_OPERATION_TIMEOUT:
        return Deadline(message, hint="Another operation holds the guest; try again.")
    hint = next((text for part, text in HINTS if part in words), "")
    return Backend(message, hint=hint)
