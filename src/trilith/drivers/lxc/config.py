"""One server as liblxc's configuration: lxc.container.conf(5). Pure text from pure data."""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace

from trilith.drivers.lxc import cgroup, state
from trilith.errors import Invalid
from trilith.model.guest import GuestSpec, NicSpec

CONSOLE_BYTES = 1 << 20  # of each of the two files that liblxc rotates between
_PLAIN = re.compile(r"[A-Za-z0-9_./:@+-]+")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_HOSTNAME = re.compile(r"(?=.{1,255}\Z)[A-Za-z0-9][A-Za-z0-9-]{0,62}(\.[A-Za-z0-9-]{1,63})*")
_MAC = re.compile(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}")
# what cannot matter inside a user namespace is taken away all the same: one barrier more
_DROPPED = "mac_admin mac_override sys_module sys_rawio sys_time wake_alarm block_suspend"


@dataclass(frozen=True, slots=True)
class HostConfig:
    """What of the host the text depends on. lxcfs: files below its directory that stand in for those of /proc."""

    cgroups: cgroup.Layout
    apparmor: bool
    lxcfs: tuple[str, ...] = ()
    lxcfs_dir: str = "/var/lib/lxcfs"
    seccomp: str = "/usr/share/lxc/config/common.seccomp"
    ovs_db: str | None = None
    bridge: str = "br-int"
    offload_off: bool = False


@dataclass(frozen=True, slots=True)
class Init:
    """The image's first process, and the signals by which it halts and reboots."""

    path: str
    halt: int
    reboot: int


def plain(text: str) -> re.Match[str] | None:
    """Whether a text can stand in configuration and mount options as it is."""
    return _PLAIN.fullmatch(text)


def group(server_id: str) -> str:
    """The container's control group, below the root of each tree, where a service manager leaves it alone."""
    return f"trilith-{server_id}"


def init_of(properties: dict[str, str], target: str) -> Init:
    """target: what /sbin/init of the image leads to. systemd(1): SIGRTMIN+3 halts, SIGINT reboots; busybox:
    SIGUSR2 powers off, SIGTERM reboots; sysvinit and the rest: SIGPWR, SIGINT. Properties trilith_init,
    trilith_halt_signal and trilith_reboot_signal say otherwise."""
    halt, reboot = signal.SIGPWR.value, signal.SIGINT.value
    if "trilith_init" not in properties:
        if "systemd" in target:
            halt = signal.SIGRTMIN + 3
        elif "busybox" in target:
            halt, reboot = signal.SIGUSR2.value, signal.SIGTERM.value
    path = properties.get("trilith_init", "/sbin/init")
    if not path.startswith("/") or _PLAIN.fullmatch(path) is None:
        raise Invalid("The property trilith_init must be an absolute path without blanks.", field="trilith_init")
    return Init(
        path,
        _signal(properties, "trilith_halt_signal", halt),
        _signal(properties, "trilith_reboot_signal", reboot),
    )


def _signal(properties: dict[str, str], name: str, default: int) -> int:
    text = properties.get(name)
    if text is None:
        return default
    found = re.fullmatch(r"(?:SIG)?(RTMIN\+)?([A-Z0-9]+)", text.upper())
    if found is not None and found[1] and found[2].isdigit():
        number = signal.SIGRTMIN + int(found[2])
    elif found is not None and found[2].isdigit():
        number = int(found[2])
    else:
        member = getattr(signal, f"SIG{found[2]}", None) if found is not None else None
        number = int(member) if isinstance(member, signal.Signals) else 0
    if not 1 <= number <= signal.SIGRTMAX:
        raise Invalid(f"The property {name} names no signal: {text[:40]!r}.", field=name)
    return number


def check(spec: GuestSpec) -> None:
    """Refuse what could never start, or could write a line of configuration of its own. Raises Invalid."""
    base = spec.identity.id_base
    if base < 65536 or base + 65536 > 1 << 32:
        raise Invalid(f"A container needs a range of 65,536 ids above 65,535; id_base is {base}.", field="id_base")
    if spec.vcpus < 1 or spec.memory_mib < 4 or spec.processes_max < 8:
        raise Invalid("A container needs 1 vCPU, 4 MiB and 8 processes at least.", field="flavor")
    if _HOSTNAME.fullmatch(spec.hostname) is None:
        raise Invalid(f"Not a host name: {spec.hostname[:80]!r}.", field="hostname")
    for field, text in (("server_id", spec.server_id), ("cloud_id", spec.cloud_id), ("image", spec.image.path)):
        if _PLAIN.fullmatch(text) is None or ".." in text.split("/"):
            raise Invalid(f"{field} has characters that cannot stand in a container's configuration.", field=field)
    if "/" in spec.server_id or ":" in spec.image.path:
        raise Invalid("server_id or image path is malformed.", field="server_id")
    if spec.disk_gib and spec.image.size_mib > spec.disk_gib * 1024:
        raise Invalid(
            f"The image needs {spec.image.size_mib} MiB and the flavor's disk is {spec.disk_gib} GiB.",
            hint="Choose a larger flavor.",
            field="flavor",
        )
    for nic in with_names(spec.nics):
        if not (_NAME.fullmatch(nic.ifname) and _NAME.fullmatch(nic.guest_name) and _MAC.fullmatch(nic.mac)):
            raise Invalid(f"Interface {nic.port_id} is malformed.", field="networks")
        if not 68 <= nic.mtu <= 65535:
            raise Invalid(f"Interface {nic.port_id} has an MTU of {nic.mtu}.", field="mtu")


def disk_mib(spec: GuestSpec) -> int:
    """The limit of the writable layer. A flavor's disk of 0 means the image's own size, and 1 GiB at least: the
    layer holds only what the guest writes, and a guest that could write nothing would not start."""
    return spec.disk_gib * 1024 if spec.disk_gib else max(1024, spec.image.size_mib)


def limits(spec: GuestSpec) -> cgroup.Limits:
    return cgroup.Limits(spec.vcpus, spec.memory_mib, spec.processes_max)


def render(spec: GuestSpec, host: HostConfig, paths: state.Paths, init: Init) -> str:
    """The text of `config`. Raises Invalid for what `check` refuses."""
    check(spec)
    home, name = paths.home(spec.server_id), spec.server_id
    lines = [
        "# Written by Trilith at each create, start and resize: changes are lost.",
        f"lxc.environment = {state.MARKER}={spec.cloud_id}",
        "lxc.environment = PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "lxc.environment = product_name=OpenStack Nova",
        "lxc.environment = TERM=linux",
        f"lxc.rootfs.path = dir:{home}/rootfs",
        # the kernel's bound is 64 bytes (uname(2)), that of a name with its domain 255; the metadata say it whole
        f"lxc.uts.name = {spec.hostname.partition('.')[0]}",
        f"lxc.init.cmd = {init.path}",
        f"lxc.signal.halt = {init.halt}",
        f"lxc.signal.reboot = {init.reboot}",
        "lxc.monitor.signal.pdeath = 0",  # else the guest is killed with its monitor
        f"lxc.idmap = u 0 {spec.identity.id_base} 65536",
        f"lxc.idmap = g 0 {spec.identity.id_base} 65536",
        f"lxc.cap.drop = {_DROPPED}",
        f"lxc.seccomp.profile = {host.seccomp}",
    ]
    if host.apparmor:
        # nesting lets systemd make the mounts of its units; the user namespace bounds them
        lines += ["lxc.apparmor.profile = generated", "lxc.apparmor.allow_nesting = 1"]
    lines += [
        "lxc.autodev = 1",
        "lxc.tty.max = 0",
        "lxc.pty.max = 1024",
        "lxc.mount.auto = proc:mixed sys:mixed cgroup:mixed",
        "lxc.mount.entry = tmpfs run tmpfs rw,nosuid,nodev,mode=755,create=dir 0 0",
        "lxc.mount.entry = mqueue dev/mqueue mqueue rw,nodev,noexec,nosuid,create=dir,optional 0 0",
        "lxc.mount.entry = /dev/fuse dev/fuse none bind,create=file,optional 0 0",
        "lxc.mount.entry = /dev/net/tun dev/net/tun none bind,create=file,optional 0 0",
    ]
    lines += [f"lxc.mount.entry = {host.lxcfs_dir}/{file} {file} none bind,optional 0 0" for file in host.lxcfs]
    if spec.config_drive:
        lines.append(f"lxc.mount.entry = {home}/drive config-drive none bind,ro,create=dir 0 0")
    lines += [
        f"lxc.cgroup.dir.container = {group(name)}",
        f"lxc.cgroup.dir.monitor = {group(name)}-monitor",
        f"lxc.cgroup.dir.monitor.pivot = {group(name)}-pivot",
    ]
    lines += [f"{host.cgroups.key()}.{file} = {value}" for file, value in host.cgroups.settings(limits(spec))]
    lines += [
        f"lxc.console.logfile = {home}/console.log",
        f"lxc.console.size = {CONSOLE_BYTES}",
        "lxc.console.rotate = 1",
        f"lxc.console.buffer.size = {64 << 10}",
        f"lxc.log.file = {home}/lxc.log",
        "lxc.log.level = ERROR",
        f"lxc.hook.start-host = /bin/sh {paths.hook} start {name} {paths.root}",
        f"lxc.hook.post-stop = /bin/sh {paths.hook} stop {name} {paths.root}",
    ]
    if not spec.nics:
        lines.append("lxc.net.0.type = empty")
    for index, nic in enumerate(with_names(spec.nics)):
        key = f"lxc.net.{index}"
        lines += [
            f"{key}.type = veth",
            f"{key}.veth.pair = {nic.ifname}",
            f"{key}.name = {nic.guest_name}",
            f"{key}.hwaddr = {nic.mac}",
            f"{key}.mtu = {nic.mtu}",
            f"{key}.flags = up",
        ]
    return "\n".join(lines) + "\n"


def hook_settings(nics: tuple[tuple[str, str], ...], host: HostConfig) -> str:
    """What hook.sh reads: the switch, and the interfaces as host-end=guest-end."""
    pairs = " ".join(f"{ifname}={guest}" for ifname, guest in nics)
    return (
        f"OVS_DB={shlex.quote(f'unix:{host.ovs_db}' if host.ovs_db else '')}\n"
        f"BRIDGE={shlex.quote(host.bridge)}\n"
        f"OFFLOAD_OFF={'1' if host.offload_off else ''}\n"
        f"NICS={shlex.quote(pairs)}\n"
    )


def named(spec: GuestSpec) -> tuple[tuple[str, str], ...]:
    """(host end, guest end) of each interface."""
    return tuple((nic.ifname, nic.guest_name) for nic in with_names(spec.nics))


def with_names(nics: Sequence[NicSpec]) -> tuple[NicSpec, ...]:
    """Each with its name inside: as asked for, else the first free ethN."""
    taken = {nic.guest_name for nic in nics if nic.guest_name}
    free = (name for index in range(1024) if (name := f"eth{index}") not in taken)
    return tuple(nic if nic.guest_name else replace(nic, guest_name=next(free)) for nic in nics)


def with_nics(spec: GuestSpec, nics: tuple[NicSpec, ...]) -> GuestSpec:
    return replace(spec, nics=nics)


def record(spec: GuestSpec, init: Init) -> state.Guest:
    """What calls that get only the server's id will need."""
    return state.Guest(
        server_id=spec.server_id,
        cloud_id=spec.cloud_id,
        image=spec.image.path,
        id_base=spec.identity.id_base,
        halt_signal=init.halt,
        reboot_signal=init.reboot,
        vcpus=spec.vcpus,
        memory_mib=spec.memory_mib,
        processes_max=spec.processes_max,
        disk_mib=disk_mib(spec),
        nics=spec.nics,
    )
