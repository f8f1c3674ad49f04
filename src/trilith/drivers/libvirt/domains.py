"""Plain calls on libvirt's domains, each run in a thread by `Connection.call`. Nothing here awaits.

Only a domain whose metadata carries this cloud's id is ever handed on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import libvirt

from trilith.drivers.libvirt.domain import domain_name
from trilith.drivers.libvirt.xml.metadata import NAMESPACE, Owner, owner_of
from trilith.errors import Conflict, Missing
from trilith.model.guest import POWERED_OFF, ConsoleEndpoint, GuestFacts, PowerState

_STATES = {
    libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.RUNNING,  # about to end, but vCPUs may still run
    libvirt.VIR_DOMAIN_SHUTOFF: PowerState.SHUTDOWN,
    libvirt.VIR_DOMAIN_CRASHED: PowerState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.PAUSED,
}
_CRASHED = {
    libvirt.VIR_DOMAIN_SHUTOFF_CRASHED: "QEMU ended unexpectedly",
    libvirt.VIR_DOMAIN_SHUTOFF_FAILED: "the guest did not start",
}
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def owner(domain: Any) -> Owner | None:
    """Whose domain it is, or None for a stranger's."""
    try:
        text = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN):
            return None
        raise
    return owner_of(text)


def find(connection: Any, cloud_id: str, server_id: str) -> Any | None:
    """The server's domain, None when there is none. Raises Conflict for another's domain of the same name."""
    try:
        domain = connection.lookupByName(domain_name(server_id))
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise
    found = owner(domain)
    if found is None or found.cloud_id != cloud_id:
        raise Conflict(
            f"the domain {domain_name(server_id)} belongs to somebody else", hint="Rename or remove it by hand."
        )
    return domain


def ours(connection: Any, cloud_id: str, server_id: str) -> list[Any]:
    """The server's domain, if there is one and it is this cloud's."""
    try:
        domain = find(connection, cloud_id, server_id)
    except Conflict:
        return []
    return [domain] if domain is not None else []


def need(connection: Any, cloud_id: str, server_id: str) -> Any:
    """As `find`, but raises Missing."""
    domain = find(connection, cloud_id, server_id)
    if domain is None:
        raise Missing(f"server {server_id} is not on this node")
    return domain


def power(domain: Any) -> tuple[PowerState, str]:
    """Its state and, of a crash or of its own power-off, the reason."""
    state, why = domain.state(0)
    return classify(domain, state, why)


def classify(domain: Any, state: int, why: int) -> tuple[PowerState, str]:
    if state == libvirt.VIR_DOMAIN_SHUTOFF:
        # the reason is lost when libvirtd restarts, the image is not
        if domain.hasManagedSaveImage(0):
            return PowerState.SUSPENDED, ""
        if why in _CRASHED:
            return PowerState.CRASHED, _CRASHED[why]
        if why == libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN:
            return PowerState.SHUTDOWN, POWERED_OFF
    return _STATES.get(state, PowerState.UNKNOWN), "" if state in _STATES else f"libvirt state {state}"


def stop_at_once(domain: Any) -> None:
    try:
        domain.destroy()
    except libvirt.libvirtError as error:
        # it ended by itself in between
        if error.get_error_code() not in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN):
            raise


def remove(domain: Any) -> None:
    """Destroy and undefine with all that libvirt keeps of it."""
    if domain.isActive():
        stop_at_once(domain)
    flags = (
        libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    )
    try:
        domain.undefineFlags(flags)
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_INVALID_ARG):
            # libxl knows only some of the flags
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
        elif error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise


def interface_xml(xml: str, ifname: str) -> tuple[str, str]:
    """(alias, mac) of the interface whose host end is `ifname`; ("", "") when there is none."""
    for element in fromstring(xml).findall("./devices/interface"):
        target, mac, alias = element.find("target"), element.find("mac"), element.find("alias")
        if target is not None and target.get("dev") == ifname:
            name = alias.get("name", "") if alias is not None else ""
            return name, mac.get("address", "") if mac is not None else ""
    return "", ""


def serial_pty(xml: str) -> ConsoleEndpoint | None:
    """The pty of the first serial port or console of a running domain."""
    root = fromstring(xml)
    for path in ("./devices/serial/source", "./devices/console/source"):
        for source in root.findall(path):
            if source.get("path", "").startswith("/dev/pts/"):
                return ConsoleEndpoint(kind="pty", address=source.get("path", ""))
    return None


def vnc_socket(xml: str) -> ConsoleEndpoint | None:
    """The unix socket of a running domain's screen."""
    for graphics in fromstring(xml).findall("./devices/graphics[@type='vnc']"):
        listen = graphics.find("listen[@type='socket']")
        path = graphics.get("socket") or (listen.get("socket", "") if listen is not None else "")
        if path:
            return ConsoleEndpoint(kind="unix", address=path, protocol="vnc")
    return None


def list_facts(
    connection: Any,
    cloud_id: str,
    owners: dict[str, Owner | None],
    run_dir: str,
    *,
    only: Sequence[Any] | None = None,
) -> list[GuestFacts]:
    """One call for the state of all where the driver has it (QEMU), else one a domain (libxl).

    only: these domains and no others. owners: what is known of a uuid's metadata already; it never changes while the
    domain is defined.
    """
    found: list[GuestFacts] = []
    for domain, values in _stats(connection, only):
        uuid = domain.UUIDString()
        if uuid not in owners:
            if not domain.name().startswith("t-"):
                continue
            owners[uuid] = owner(domain)
        whose = owners[uuid]
        if whose is None or whose.cloud_id != cloud_id:
            continue
        state, reason = classify(domain, values["state.state"], values["state.reason"])
        pid = _pid(run_dir, domain.name()) if state in (PowerState.RUNNING, PowerState.PAUSED) else 0
        found.append(
            GuestFacts(
                server_id=whose.server_id,
                power=state,
                pid=pid,
                started_at=started_at(pid) if pid else 0.0,
                cpu_seconds=values.get("cpu.time", 0) / 1e9,
                memory_mib=values.get("balloon.current", 0) // 1024,
                reason=reason,
            )
        )
    return found


def _stats(connection: Any, only: Sequence[Any] | None) -> list[tuple[Any, dict[str, int]]]:
    if only is not None and not only:
        return []  # libvirt takes an empty list for all
    wanted = libvirt.VIR_DOMAIN_STATS_STATE | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL | libvirt.VIR_DOMAIN_STATS_BALLOON
    try:
        # NOWAIT: one guest that is being saved must not hide all others
        found: list[tuple[Any, dict[str, int]]]
        nowait = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
        if only is None:
            found = connection.getAllDomainStats(wanted, nowait)
        else:
            found = connection.domainListGetStats(list(only), wanted, nowait)
        return found
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise
    listed = []
    for domain in connection.listAllDomains(0) if only is None else only:
        try:
            state, why = domain.state(0)
            _state, _most, memory_kib, _cpus, cpu_ns = domain.info()
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                continue
            raise
        values = {"state.state": state, "state.reason": why, "cpu.time": cpu_ns, "balloon.current": memory_kib}
        listed.append((domain, values))
    return listed


def _pid(run_dir: str, name: str) -> int:
    try:
        return int(Path(run_dir, "qemu", f"{name}.pid").read_text())
    except (OSError, ValueError):
        # not QEMU, or just gone
        return 0


def started_at(pid: int) -> float:
    """Seconds since the epoch at which a process began (proc(5): field 22 of stat, in ticks since boot)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    except (OSError, StopIteration):
        return 0.0
    return int(boot.split()[1]) + int(fields[19]) / _CLOCK_TICKS
