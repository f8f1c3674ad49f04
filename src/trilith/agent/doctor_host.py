"""What the host is and has, found by looking; nothing is started and nothing is changed."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import platform
import shutil
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from trilith.agent.doctor import Patient, Said, fine, problem, unknown, warning
from trilith.drivers.lxc import cgroup
from trilith.drivers.lxc.mounts import try_user_namespace
from trilith.drivers.ovn.tools import run
from trilith.errors import Backend

#: program → Debian's and Ubuntu's package, what it is for
PROGRAMS: dict[str, tuple[str, str]] = {
    "qemu-system-x86_64": ("qemu-system-x86", "virtual machines"),
    "qemu-img": ("qemu-utils", "virtual machines"),
    "libvirtd": ("libvirt-daemon-system", "virtual machines"),
    "virtlogd": ("libvirt-daemon-system", "virtual machines"),
    "lxc-start": ("lxc", "containers"),
    "lxc-attach": ("lxc", "containers"),
    "newuidmap": ("uidmap", "containers"),
    "mkfs.btrfs": ("btrfs-progs", "containers' disk limits"),
    "ovsdb-server": ("openvswitch-switch", "networks"),
    "ovs-vswitchd": ("openvswitch-switch", "networks"),
    "ovs-vsctl": ("openvswitch-switch", "networks"),
    "ovn-northd": ("ovn-central", "networks"),
    "ovn-controller": ("ovn-host", "networks"),
    "nft": ("nftables", "networks"),
    "ip": ("iproute2", "networks"),
    "ethtool": ("ethtool", "networks"),
    "dnsmasq": ("dnsmasq-base", "name service of guests"),
    "mmdebstrap": ("mmdebstrap", "image builds"),
    "zstd": ("zstd", "image builds"),
    "mkfs.ext4": ("e2fsprogs", "machines from root file systems"),
    "unsquashfs": ("squashfs-tools", "squashfs images"),
    "genisoimage": ("genisoimage", "config drives of machines"),
    "busybox": ("busybox-static", "the tiny image"),
}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SERVED = {("debian", "12"), ("debian", "13"), ("ubuntu", "24.04"), ("ubuntu", "24.10"), ("ubuntu", "25.04")}
#: GiB free below which the first images and servers will not fit
_LITTLE_GIB = 10
#: seconds of an fsync beyond which each change of the cloud waits noticeably
_SLOW_FSYNC = 0.02
_TIME_ERROR = 5  # adjtimex(2)


async def system(patient: Patient) -> list[Said]:
    release = await asyncio.to_thread(_os_release)
    kernel, machine = platform.release(), platform.machine()
    name = release.get("PRETTY_NAME", "an unknown system")
    facts = {"distribution": name, "kernel": kernel, "machine": machine}
    said = []
    if machine != "x86_64":
        said.append(problem(f"{name} on {machine}.", "Only x86_64 is served yet.", **facts))
    elif (release.get("ID", ""), release.get("VERSION_ID", "")) in _SERVED:
        said.append(fine(f"{name}, kernel {kernel}", **facts))
    else:
        said.append(
            warning(
                f"{name}, kernel {kernel}: not tried by us.", "Debian 12 and Ubuntu 24.04 are what is tested.", **facts
            )
        )
    if tuple(int(p) for p in kernel.split(".")[:2] if p.isdigit()) < (5, 12):
        said.append(problem(f"Kernel {kernel} has no idmapped mounts.", "Containers need 5.12 or later."))
    return said


def _os_release() -> dict[str, str]:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except FileNotFoundError:
        return {}
    return {k: v.strip('"') for k, _, v in (line.partition("=") for line in lines) if k}


async def packages(patient: Patient) -> list[Said]:
    missing: dict[str, set[str]] = {}
    for program, (package, purpose) in PROGRAMS.items():
        if shutil.which(program, path=_PATH) is None:
            missing.setdefault(package, set()).add(purpose)
    if not missing:
        return [fine(f"all {len(PROGRAMS)} programs are there")]
    purposes = ", ".join(sorted({p for found in missing.values() for p in found}))
    install = "apt-get install --no-install-recommends " + " ".join(sorted(missing))
    return [
        problem(f"{len(missing)} packages are missing, for {purposes}.", install, missing=" ".join(sorted(missing)))
    ]


async def clock(patient: Patient) -> list[Said]:
    """adjtimex(2) tells whether anybody keeps the kernel's clock true."""
    libc = ctypes.CDLL(None, use_errno=True)
    state = libc.adjtimex(ctypes.create_string_buffer(512))
    if state == _TIME_ERROR:
        return [
            warning(
                "Nobody keeps the clock true (or does so without telling the kernel).",
                "apt-get install chrony: tokens, leases and logs of several nodes compare times.",
            )
        ]
    return [fine("the clock is kept true")] if state >= 0 else [unknown("The kernel does not tell of its clock.")]


async def disk(patient: Patient) -> list[Said]:
    place = patient.work

    def measure() -> tuple[int, float]:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".trilith-doctor-") as file:
            times = []
            for _ in range(15):
                file.write(b"x" * 4096)
                began = time.perf_counter()
                file.flush()
                os.fsync(file.fileno())
                times.append(time.perf_counter() - began)
        return shutil.disk_usage(place).free, statistics.median(times)

    try:
        free, fsync = await asyncio.to_thread(measure)
    except OSError as err:
        return [problem(f"{place} cannot be written: {err.strerror}.", "Choose another --state, or mend the disk.")]
    gib, ms = free / 1024**3, fsync * 1000
    facts = {"path": str(place), "free_gib": f"{gib:.1f}", "fsync_ms": f"{ms:.2f}"}
    said = []
    if gib < _LITTLE_GIB:
        said.append(
            warning(f"{gib:.1f} GiB free at {place}.", "Images and servers want more: --state elsewhere.", **facts)
        )
    else:
        said.append(fine(f"{gib:.0f} GiB free at {place}", **facts))
    if fsync > _SLOW_FSYNC:
        said.append(
            warning(f"An fsync takes {ms:.1f} ms: every change of the cloud waits for one.", "Put --state on an SSD.")
        )
    else:
        said.append(fine(f"fsync in {ms:.2f} ms"))
    return said


async def cgroups(patient: Patient) -> list[Said]:
    layout = await asyncio.to_thread(cgroup.detect)
    if not layout.every:
        return [problem("No control groups are mounted.", "mount -t cgroup2 none /sys/fs/cgroup")]
    missing = layout.missing()
    facts = {"version": str(layout.version), "controllers": " ".join(sorted(layout.trees))}
    said: list[Said] = []
    if missing:
        said.append(
            problem(
                f"cgroup v{layout.version} without {', '.join(missing)}: these limits of containers do not hold.",
                "Enable them: on v1 mount the controllers, on v2 write them to cgroup.subtree_control; "
                "memory may need cgroup_enable=memory on the kernel's command line.",
                **facts,
            )
        )
    else:
        said.append(fine(f"cgroup v{layout.version}: cpu, memory, pids", **facts))
    if not layout.freezer:
        said.append(warning("No freezer: containers cannot be paused.", "Mount the freezer controller."))
    return said


async def user_namespaces(patient: Patient) -> list[Said]:
    most = _number("/proc/sys/user/max_user_namespaces")
    if most == 0:
        return [problem("User namespaces are switched off.", "sysctl -w user.max_user_namespaces=15000")]
    if not patient.root:
        return [unknown("Whether containers get an id range of their own, only root can try.", "sudo trilith doctor")]
    try:
        await try_user_namespace(0x3000_0000)
    except Backend as err:
        return [problem(err.message, err.hint or "sysctl -w user.max_user_namespaces=15000")]
    return [fine("containers get an id range of their own")]


async def confinement(patient: Patient) -> list[Said]:
    return await asyncio.to_thread(_confinement)


def _confinement() -> list[Said]:
    said: list[Said] = []
    enabled = _text("/sys/module/apparmor/parameters/enabled") == "Y"
    if enabled and shutil.which("apparmor_parser", path=_PATH):
        said.append(fine("AppArmor is active"))
    elif enabled:
        said.append(warning("AppArmor is active, its tools are missing.", "apt-get install apparmor"))
    else:
        said.append(
            warning(
                "AppArmor is not active: containers are held by user namespace and seccomp alone.",
                "Boot with apparmor=1 security=apparmor where the kernel has it.",
            )
        )
    profile = Path("/usr/share/lxc/config/common.seccomp")
    actions = _text("/proc/sys/kernel/seccomp/actions_avail")
    if not actions:
        said.append(problem("The kernel has no seccomp filters.", "Use a kernel of the distribution."))
    elif not profile.exists():
        said.append(problem(f"{profile} is missing.", "apt-get install liblxc-common"))
    else:
        said.append(fine("seccomp filters, with LXC's profile"))
    if os.path.ismount("/var/lib/lxcfs"):
        said.append(fine("lxcfs is mounted"))
    elif shutil.which("lxcfs", path=_PATH) and os.path.exists("/dev/fuse"):
        said.append(fine("lxcfs is installed: the node runs one of its own"))
    elif shutil.which("lxcfs", path=_PATH):
        said.append(warning("lxcfs is not running: containers see the host's memory and processors.", _start("lxcfs")))
    else:
        said.append(
            warning("lxcfs is missing: containers see the host's memory and processors.", "apt-get install lxcfs")
        )
    return said


def _start(service: str) -> str:
    if Path("/run/systemd/system").is_dir():
        return f"systemctl enable --now {service}"
    return f"mkdir -p /var/lib/{service}; {service} /var/lib/{service} &"


async def datapath(patient: Patient) -> list[Said]:
    """Only looked at: `trilith up` loads the module, doctor does not."""
    if await asyncio.to_thread(Path("/sys/module/openvswitch").exists):
        return [fine("kernel datapath: openvswitch is in the kernel", datapath="system")]
    try:
        await run(["modprobe", "--dry-run", "--quiet", "openvswitch"])
    except Backend:
        return [
            warning(
                "No kernel datapath: the switch runs in user space, with a fraction of the throughput.",
                "Use a kernel with openvswitch.ko (every kernel of Debian and Ubuntu has it).",
                datapath="netdev",
            )
        ]
    return [fine("kernel datapath: openvswitch can be loaded", datapath="system")]


async def firewall(patient: Patient) -> list[Said]:
    if shutil.which("nft", path=_PATH) is None:
        return [problem("nft is missing: no masquerade for guests.", "apt-get install nftables")]
    said: list[Said] = []
    forward = _text("/proc/sys/net/ipv4/ip_forward")
    text = "forwarding is on" if forward == "1" else "forwarding is off; `trilith up` switches it on while it runs"
    said.append(fine(text, ip_forward=forward))
    if not patient.root:
        said.append(unknown("The host's firewall rules, only root can read.", "sudo trilith doctor"))
        return said
    try:
        rules = json.loads(await run(["nft", "-j", "list", "ruleset"]))
    except Backend as err:
        said.append(problem(f"nftables does not work here: {err.message}", "Use a kernel with nf_tables."))
        return said
    except ValueError:
        said.append(unknown("nft does not speak JSON here."))
        return said
    blocked = dropping_chains(rules.get("nftables", []))
    if blocked:
        bridge = patient.settings.external_bridge
        said.append(
            warning(
                f"Forwarded packets are dropped by default ({', '.join(blocked)}): guests do not reach the outside. "
                "Docker does that.",
                f"iptables -I DOCKER-USER -i {bridge} -j ACCEPT; iptables -I DOCKER-USER -o {bridge} "
                "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            )
        )
    else:
        said.append(fine("nftables works, and nothing drops forwarded packets by default"))
    return said


def dropping_chains(ruleset: list[dict[str, Any]]) -> list[str]:
    """Base chains on the forward hook whose policy is drop, of tables that see IPv4."""
    chains = [entry["chain"] for entry in ruleset if "chain" in entry]
    return [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in chains
        if chain.get("hook") == "forward" and chain.get("policy") == "drop" and chain.get("family") in ("ip", "inet")
    ]


async def ports(patient: Patient) -> list[Said]:
    settings = patient.settings
    if await asyncio.to_thread(_answers, settings.host, settings.port):
        up = settings.state / "run" / "up.json"
        if await asyncio.to_thread(up.exists):
            return [fine(f"{settings.listen} answers: the cloud's API")]
        return [problem(f"{settings.listen} is taken by something else.", "trilith up --listen HOST:PORT")]
    why = await asyncio.to_thread(_bindable, settings.host, settings.port)
    if why:
        return [problem(f"{settings.listen} cannot be listened on: {why}.", "trilith up --listen HOST:PORT")]
    return [fine(f"{settings.listen} is free")]


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


def _bindable(host: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as err:
            return err.strerror or str(err)
    return ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _number(path: str) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None
