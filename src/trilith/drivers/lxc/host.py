"""What this host offers to containers, found by looking and, where that is cheap, by trying."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from trilith.drivers.lxc import cgroup, mounts, tool
from trilith.drivers.lxc.config import HostConfig
from trilith.errors import Backend
from trilith.model.guest import HostFacts, Pillar

# what lxcfs(1) shows per container, as far as it has the file
_LXCFS = (
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/loadavg",
    "proc/meminfo",
    "proc/stat",
    "proc/swaps",
    "proc/uptime",
    "sys/devices/system/cpu/online",
)
_OWN_MIB = 512  # kept for the host itself


def look(*, lxcfs: bool | None, lxcfs_dir: str, ovs_db: str | None, bridge: str, offload_off: bool) -> HostConfig:
    """Everything that a container's configuration depends on. lxcfs None: where it is mounted."""
    files: tuple[str, ...] = ()
    if lxcfs is not False and os.path.ismount(lxcfs_dir):
        files = tuple(file for file in _LXCFS if os.path.exists(f"{lxcfs_dir}/{file}"))
    if lxcfs and not files:
        raise Backend(f"lxcfs is not mounted at {lxcfs_dir}.", hint="Start lxcfs, or leave it to be detected.")
    return HostConfig(
        cgroups=cgroup.detect(),
        apparmor=_apparmor(),
        lxcfs=files,
        lxcfs_dir=lxcfs_dir,
        ovs_db=ovs_db,
        bridge=bridge,
        offload_off=offload_off,
    )


def _apparmor() -> bool:
    try:
        enabled = Path("/sys/module/apparmor/parameters/enabled").read_text(encoding="ascii").strip() == "Y"
    except OSError:
        return False
    return enabled and shutil.which("apparmor_parser", path=tool.clean_env()["PATH"]) is not None


def warnings(host: HostConfig, *, disk: str) -> list[str]:
    """In plain words what is missing and what to do. disk: why no disk limit works, or ""."""
    found = [
        f"The cgroup controller {name} is not mounted: containers' {name} limit is not enforced."
        for name in host.cgroups.missing()
    ]
    if not host.cgroups.swap and _swap_kib():
        found.append("Swap is not accounted (swapaccount=1): a container can swap beyond its memory limit.")
    if not host.apparmor:
        found.append("AppArmor is not active: containers run unconfined by it (user namespace and seccomp hold).")
    if not host.lxcfs:
        found.append("lxcfs is not running: containers see the host's memory and CPUs in /proc. Install lxcfs.")
    if disk:
        found.append(f"Containers' disks cannot be limited, flavors with a disk are refused: {disk}")
    if not Path(host.seccomp).exists():
        found.append(f"The seccomp profile {host.seccomp} is missing: install liblxc-common.")
    return found


async def probe(host: HostConfig, *, id_probe: int, disk_gib: int, disk: str) -> HostFacts:
    """Raises Backend with what is missing. Tries the tools and a user namespace; a container is doctor's to try."""
    version = (await tool.call([tool.find("lxc-start", "lxc"), "--version"])).decode().strip()
    for name, package in (("lxc-attach", "lxc"), ("lxc-console", "lxc"), ("ip", "iproute2"), ("nsenter", "util-linux")):
        tool.find(name, package)
    await mounts.try_user_namespace(id_probe)
    numbers = [int(part) for part in re.findall(r"\d+", version)[:3]] + [0, 0, 0]
    memory = _meminfo("MemTotal") // 1024
    return HostFacts(
        hostname=os.uname().nodename,
        pillars=(Pillar.LXC,),
        inventories={
            "VCPU": len(os.sched_getaffinity(0)),
            "MEMORY_MB": max(0, memory - min(_OWN_MIB, memory // 4)),
            "DISK_GB": disk_gib,
        },
        traits=("COMPUTE_NODE", "COMPUTE_NET_ATTACH_INTERFACE", "CUSTOM_PILLAR_LXC", "CUSTOM_IMAGE_FORM_ROOTFS"),
        hypervisor_type="lxc",
        hypervisor_version=numbers[0] * 1_000_000 + numbers[1] * 1_000 + numbers[2],
        cpu_info={"arch": os.uname().machine, "model": _cpu_model()},
        warnings=tuple(warnings(host, disk=disk)),
    )


def without_missing(host: HostConfig) -> HostConfig:
    """Refuse a host on which no container could be made safe. Raises Backend."""
    if not Path(host.seccomp).exists():
        raise Backend(f"The seccomp profile {host.seccomp} is missing.", hint="Install the package liblxc-common.")
    if not host.cgroups.every:
        raise Backend("No control groups are mounted.", hint="Mount /sys/fs/cgroup.")
    return host


def init_target(image: str) -> str:
    """Where /sbin/init of a root file system leads, its links taken inside of it; "" when there is none."""
    path, seen = "/sbin/init", 0
    done: list[str] = []
    todo = [part for part in path.split("/") if part]
    while todo:
        part = todo.pop(0)
        if part in (".", ""):
            continue
        if part == "..":
            done = done[:-1]
            continue
        here = "/".join([image, *done, part])
        if os.path.islink(here):
            seen += 1
            if seen > 40:
                return ""
            link = os.readlink(here)
            done = [] if link.startswith("/") else done
            todo = link.split("/") + todo
        elif not os.path.lexists(here):
            return ""
        else:
            done.append(part)
    return "/" + "/".join(done)


def _meminfo(name: str) -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def _swap_kib() -> int:
    return _meminfo("SwapTotal")


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return ""
