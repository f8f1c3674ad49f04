"""Containers through the API, beside lxc-start and lxc-attach written by hand, turn by turn in the same run.

By hand means: the same root file system, the same ids, an overlay, a veth and the same limits, all laid out before
the clock starts, with no switch, no database and nobody to ask. Bare means: nothing but the root file system.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path

from demo import pictures

from bench import machine
from bench.client import Api, Events, gone, settled
from bench.plan import Plan
from bench.real import Namespace, real_up
from bench.table import Row, Table

SECTION = "container"
_IDS = 1_900_000_000
_MEMORY_MIB, _PROCESSES = 256, 4096


def run(table: Table, plan: Plan) -> None:
    for tool in ("lxc-start", "lxc-attach", "lxc-stop"):
        if shutil.which(tool) is None:
            table.skip(SECTION, f"{tool} is not installed")
            return
    names = ["tiny"]
    if not plan.quick or (pictures.ROOT / pictures.source_hash() / "debian-12.json").exists():
        names.append("debian-12")
    images = {name: pictures.built(name)[0] for name in names}  # before: the namespace has no way out
    with Namespace(plan) as namespace:
        up = real_up(plan, "c")
        facts = up.start()
        try:
            namespace.ready(facts)
            api = Api(facts)
            api.unlimited()
            network = api.network("bench", "10.66.0.0/22")
            flavor = api.flavor("bench.lxc", ram=_MEMORY_MIB, disk=2, pillar="lxc")
            for name, built in images.items():
                image = api.upload(name, built.disk_format, built.path.read_bytes(), **built.properties)
                _compare(table, plan, api, facts["pid"], name, image["id"], flavor, network)
        finally:
            up.stop()
            up.down()


def _compare(table: Table, plan: Plan, api: Api, pid: int, name: str, image: str, flavor: str, network: str) -> None:
    hand = Hand(plan.folder / f"hand-{name}")
    events = Events(api)
    ours: list[float] = []
    active: list[float] = []
    cpu: list[float] = []
    same: list[float] = []
    bare: list[float] = []
    try:
        first = api.create("first", image, flavor, network)  # realizes the image: once a node and image
        settled(api, events, first)
        hand.prepare(_lower(plan.folder / "c" / "node"))
        api.delete(first)
        gone(api, events, first)
        for number in range(plan.count(15)):
            before = machine.cpu_seconds(pid)
            began = time.perf_counter()
            server = api.create(f"c{number}", image, flavor, network)
            settled(api, events, server)
            active.append(time.perf_counter() - began)
            answer = api.call("POST", f"/trilith/v1/servers/{server}/exec", {"argv": ["true"]})
            ours.append(time.perf_counter() - began)
            cpu.append(machine.cpu_seconds(pid) - before)
            if answer["exit_code"] != 0:
                raise RuntimeError(f"true in {server}: {answer}")
            api.delete(server)
            gone(api, events, server)
            same.append(hand.start_to_exec("same"))
            bare.append(hand.start_to_exec("bare"))
    finally:
        events.close()
        hand.remove()
    note = f"ACTIVE after {statistics.median(active) * 1e3:.0f} ms; {statistics.median(cpu) * 1e3:.0f} ms CPU of the control plane"  # noqa: E501
    middle = table.times(SECTION, f"{name}: POST to ACTIVE and `exec true`", ours, goal=300, note=note)
    by_hand = table.times(SECTION, f"{name}: lxc-start and lxc-attach by hand, same limits", same)
    barest = table.times(SECTION, f"{name}: lxc-start and lxc-attach by hand, bare", bare)
    table.add(Row(SECTION, f"{name}: times the one by hand", middle / by_hand, "×", goal=1.5, count=len(ours),
                  note=f"{middle / barest:.2f} × the bare one"))  # fmt: skip


def _lower(node: Path) -> Path:
    """The directory that the image's containers share."""
    found = [p for p in (node / "storage").rglob("sbin/init") if p.is_symlink() or p.exists()]
    roots = sorted((p.parents[1] for p in found), key=lambda p: p.stat().st_ctime)
    roots = [r for r in roots if (r / "etc").is_dir()] or [
        p.parent for p in (node / "storage").rglob("etc") if (p.parent / "usr").is_dir()
    ]
    if not roots:
        raise RuntimeError("the image's root file system was not found")
    return roots[-1]


class Hand:
    """The containers written by hand, below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self, image: Path) -> None:
        """Copies of the root file system: ids shifted for the unprivileged one, as they are for the bare one."""
        for name in ("same", "bare"):
            (self.root / name).mkdir(parents=True)
        subprocess.run(["cp", "-a", f"{image}/.", str(self.root / "bare" / "rootfs")], check=True)
        lower = self.root / "lower"
        subprocess.run(["cp", "-a", f"{image}/.", str(lower)], check=True)
        for folder, names, files in os.walk(lower):
            for each in [folder, *(os.path.join(folder, n) for n in names + files)]:
                held = os.lstat(each)
                if held.st_uid < _IDS:
                    os.lchown(each, held.st_uid + _IDS, held.st_gid + _IDS)
                    if not os.path.islink(each):
                        os.chmod(each, held.st_mode & 0o7777)
        for path in (self.root, self.root / "same", self.root / "bare", self.root.parent):
            path.chmod(0o755)
        common = [
            "lxc.uts.name = hand", "lxc.autodev = 1", "lxc.tty.max = 0",
            "lxc.mount.auto = proc:mixed sys:mixed cgroup:mixed",
        ]  # fmt: skip
        (self.root / "bare" / "config").write_text(
            "\n".join([*common, f"lxc.rootfs.path = dir:{self.root}/bare/rootfs", "lxc.net.0.type = empty"]) + "\n"
        )
        self._same = [
            *common,
            f"lxc.rootfs.path = dir:{self.root}/same/rootfs",
            f"lxc.idmap = u 0 {_IDS} 65536",
            f"lxc.idmap = g 0 {_IDS} 65536",
            "lxc.seccomp.profile = /usr/share/lxc/config/common.seccomp",
            "lxc.net.0.type = veth", "lxc.net.0.flags = up", "lxc.net.0.name = eth0", "lxc.net.0.veth.pair = hand0",
            *_limits(),
        ]  # fmt: skip

    def start_to_exec(self, name: str) -> float:
        """Seconds from lxc-start to the end of lxc-attach true."""
        layer, target = self.root / "same" / "layer", self.root / "same" / "rootfs"
        if name == "same":
            shutil.rmtree(layer, ignore_errors=True)
            for path in (layer / "up", layer / "work", target):
                path.mkdir(parents=True, exist_ok=True)
                os.chown(path, _IDS, _IDS)
            (self.root / "same" / "config").write_text("\n".join(self._same) + "\n")
        options = f"lowerdir={self.root}/lower,upperdir={layer}/up,workdir={layer}/work"
        own = ["--lxcpath", str(self.root), "--name", name]
        # as the driver does: root writes the id map itself, newuidmap would want lines in /etc/subuid
        env = {"PATH": str(self.root), "LANG": "C.UTF-8", "HOME": "/root"}
        start, attach, stop = (shutil.which(f"lxc-{verb}") or "" for verb in ("start", "attach", "stop"))
        began = time.perf_counter()
        try:
            if name == "same":
                self._run(["mount", "-t", "overlay", "overlay", "-o", options, str(target)], dict(os.environ))
            self._run([start, *own, "--daemon", "--logfile", str(self.root / "log")], env)
            self._run([attach, *own, "--clear-env", "--", "true"], dict(os.environ))
            return time.perf_counter() - began
        finally:
            subprocess.run([stop, *own, "--kill"], capture_output=True, check=False)
            if os.path.ismount(target):
                subprocess.run(["umount", str(target)], check=True)

    def _run(self, argv: list[str], env: dict[str, str]) -> None:
        done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, timeout=60, check=False)  # fmt: skip
        if done.returncode != 0:
            log = self.root / "log"
            words = log.read_text(errors="replace")[-1500:] if log.exists() else ""
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr} {words}")

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


def _limits() -> list[str]:
    """Those of the flavor, by the control groups of this host."""
    memory = _MEMORY_MIB << 20
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return [f"lxc.cgroup2.memory.max = {memory}", "lxc.cgroup2.cpu.max = 100000 100000",
                f"lxc.cgroup2.pids.max = {_PROCESSES}"]  # fmt: skip
    return [
        "lxc.cgroup.cpu.cfs_period_us = 100000", "lxc.cgroup.cpu.cfs_quota_us = 100000",
        f"lxc.cgroup.memory.limit_in_bytes = {memory}", f"lxc.cgroup.pids.max = {_PROCESSES}",
    ]  # fmt: skip
