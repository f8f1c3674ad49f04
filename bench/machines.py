"""Machines through the API, beside `virsh create` of the same domain; and the smallest guest there is."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo import pictures

from bench import machine
from bench.client import Api, Events, gone, settled
from bench.control import in_threads
from bench.plan import Plan
from bench.real import Namespace, real_up
from bench.table import Row, Table
from trilith.cli import probe_kernel
from trilith.drivers.libvirt import tiny_guests

SECTION = "machine"


def run(table: Table, plan: Plan) -> None:
    if not Path("/dev/kvm").exists():
        table.skip(SECTION, "no /dev/kvm")
        return
    tiny = pictures.built("tiny")[0]  # before: the namespace has no way out
    with Namespace(plan) as namespace:
        up = real_up(plan, "m", CPU_ALLOCATION_RATIO="256")  # 200 guests on few cores
        # the probe of what KVM can do here boots this kernel, so it must lie there before the node looks
        probe_kernel.hand_over(tiny.path, up.state / "node" / "probe-kernel")
        facts = up.start()
        try:
            node = namespace.ready(facts)
            if "kvm" not in node["pillars"]:
                table.skip(SECTION, f"this node runs no machines: {node['warnings']}")
                return
            api = Api(facts)
            api.unlimited()
            bare(table, plan, api, facts)
            compare(table, plan, api, facts, tiny)
        finally:
            up.stop()
            up.down()


def compare(table: Table, plan: Plan, api: Api, facts: Mapping[str, Any], tiny: Any) -> None:
    network = api.network("bench", "10.66.0.0/22")
    flavor = api.flavor("bench.kvm", ram=256, disk=1, pillar="kvm")
    image = api.upload("tiny", tiny.disk_format, tiny.path.read_bytes(), **tiny.properties)["id"]
    events = Events(api)
    ours: list[float] = []
    plain: list[float] = []
    cpu: list[float] = []
    virsh = Virsh(plan, facts)
    try:
        first = api.create("first", image, flavor, network)
        settled(api, events, first)
        xml = virsh.definition(first)
        api.call("POST", f"/compute/v2.1/servers/{first}/action", {"os-stop": None})
        until = time.monotonic() + 60
        while (api.server(first) or {})["status"] != "SHUTOFF" and time.monotonic() < until:
            events.wait(first, events.count(first), 1)
        for number in range(plan.count(10)):
            before = machine.cpu_seconds(facts["pid"])
            began = time.perf_counter()
            server = api.create(f"m{number}", image, flavor, network)
            settled(api, events, server)
            ours.append(time.perf_counter() - began)
            cpu.append(machine.cpu_seconds(facts["pid"]) - before)
            api.delete(server)
            gone(api, events, server)
            plain.append(virsh.create(xml))
        api.delete(first)
        gone(api, events, first)
    finally:
        events.close()
    note = f"{statistics.median(cpu) * 1e3:.0f} ms CPU of the control plane"
    middle = table.times(SECTION, "tiny under KVM: POST to ACTIVE, one port bound", ours, note=note)
    by_hand = table.times(SECTION, "plain `virsh create` of the same domain", plain)
    table.add(Row(SECTION, "times plain `virsh create`", middle / by_hand, "×", goal=1.1, count=len(ours)))


def bare(table: Table, plan: Plan, api: Api, facts: Mapping[str, Any]) -> None:
    flavor = api.flavor("bench.bare", ram=4, disk=0, pillar="kvm")
    image = api.upload("bare", "raw", tiny_guests.rom(), trilith_boot="bare")["id"]
    consoles = plan.folder / "m" / "node" / "vm" / "consoles"
    events = Events(api)
    took: list[float] = []
    ready: list[float] = []
    plain: list[float] = []
    virsh = Virsh(plan, facts)
    try:
        for number in range(plan.count(20) + 2):
            began = time.perf_counter()
            server = api.create(f"b{number}", image, flavor)
            log = consoles / server / "console.log"
            while not (log.exists() and tiny_guests.BARE_LINE in log.read_bytes()):
                if time.perf_counter() - began > 30:
                    raise RuntimeError(f"no serial line; the server: {api.server(server)}")
                time.sleep(0.001)
            line = time.perf_counter() - began
            settled(api, events, server)
            if number >= 2:
                took.append(line)
                ready.append(time.perf_counter() - began)
            if number < plan.count(8):
                xml = virsh.definition(server)
                api.delete(server)
                gone(api, events, server)
                plain.append(virsh.create(xml))
            else:
                api.delete(server)
                gone(api, events, server)
        note = f"ACTIVE after {statistics.median(ready) * 1e3:.0f} ms"
        table.times(SECTION, "4 MiB bare guest: POST to its serial line", took, goal=300, note=note)
        table.times(SECTION, "plain `virsh create` of the same bare domain", plain)
        together(table, plan, api, events, image, flavor, plan.folder / "m")
    finally:
        events.close()


def together(table: Table, plan: Plan, api: Api, events: Events, image: str, flavor: str, state: Path) -> None:
    """200 at once, from 8 clients; then the memory of each."""
    total = plan.count(200)
    numbers = iter(range(total))
    made: list[str] = []

    def work() -> None:
        mine = api.again()
        for number in numbers:
            server = mine.create(f"t{number}", image, flavor)
            made.append(server)
            settled(mine, events, server, timeout=300)

    began = time.perf_counter()
    try:
        in_threads(8, work)
        took = time.perf_counter() - began
        table.add(
            Row(SECTION, f"{total} bare guests at once: all ACTIVE", took, "s", note=f"{total / took:.1f} a second")
        )
        found = [
            p for pid in machine.in_namespace(Path("/proc/thread-self/ns/net"))
            if (p := machine.look(pid)) and p.name.startswith("qemu-system")
        ]  # fmt: skip
        if len(found) < total:
            raise RuntimeError(f"{len(found)} of {total} guests run")
        sizes = [p.pss for p in found]
        table.add(Row(SECTION, f"memory of a bare guest, {len(found)} running (PSS)", statistics.median(sizes), "MiB",
                      spread=f"{min(sizes):.1f}..{max(sizes):.1f}", count=len(found),
                      note=f"RSS {statistics.median(p.rss for p in found):.0f} MiB"))  # fmt: skip
    finally:
        for server in made:
            api.delete(server)
        for server in made:
            gone(api, events, server, timeout=300)


class Virsh:
    """The same libvirtd, asked by its own tool."""

    def __init__(self, plan: Plan, facts: Mapping[str, Any]) -> None:
        sockets = [p for p in Path("/run").glob("trilith-*/lv/run/libvirt/libvirt-sock") if _of(p, facts["pid"])]
        self.uri = f"qemu:///system?socket={sockets[0]}" if sockets else "qemu:///system"
        self.folder = plan.folder
        self.tool = shutil.which("virsh") or "virsh"

    def definition(self, server_id: str) -> str:
        """Its XML with another name and uuid, so that both can be."""
        for name in self._run("list", "--all", "--name").split():
            text = self._run("dumpxml", "--inactive", name)
            if server_id in text:
                root = ET.fromstring(text)
                for tag in ("name", "uuid"):
                    element = root.find(tag)
                    if element is not None:
                        root.remove(element)
                ET.SubElement(root, "name").text = "by-hand"
                sysinfo = root.find("sysinfo")
                if sysinfo is not None:  # its uuid must be the domain's
                    root.remove(sysinfo)
                for smbios in root.findall("os/smbios"):
                    root.find("os").remove(smbios)  # type: ignore[union-attr]
                return ET.tostring(root, encoding="unicode")
        raise RuntimeError(f"libvirt has no domain of {server_id}")

    def create(self, xml: str) -> float:
        """Seconds of `virsh create`."""
        path = self.folder / "by-hand.xml"
        path.write_text(xml)
        for log in ET.fromstring(xml).iter("log"):
            Path(log.get("file", "")).parent.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        self._run("create", str(path))
        took = time.perf_counter() - began
        self._run("destroy", "by-hand")
        return took

    def _run(self, *words: str) -> str:
        done = subprocess.run([self.tool, "-q", "-c", self.uri, *words], capture_output=True, text=True, timeout=60,
                              check=False)  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"virsh {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout


def _of(socket: Path, pid: int) -> bool:
    """Whether the libvirtd behind this socket is one of this cloud: in the same network namespace."""
    try:
        daemon = int(socket.with_name("libvirtd.pid").read_text())
        return Path(f"/proc/{daemon}/ns/net").stat().st_ino == Path(f"/proc/{pid}/ns/net").stat().st_ino
    except (OSError, ValueError):  # one that has ended
        return False
