"""The trials: guests, a container and a network that really run, in places of their own, and are gone afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import shutil
import stat
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from trilith.agent.daemons import NodeNetwork, default_run_dir, settle_network, start_network, stop_network
from trilith.agent.doctor import Patient, Said, fine, problem, warning
from trilith.agent.doctor_cloud import TRIAL
from trilith.agent.supervise import Supervisor
from trilith.drivers.libvirt.probe import probe_kvm
from trilith.drivers.lxc.driver import LxcDriver
from trilith.drivers.ovn.local import OvsLocalSwitch, connect_local
from trilith.drivers.ovn.northbound import OvnNorthbound, connect
from trilith.drivers.ovn.tools import run
from trilith.errors import Backend, Unsupported
from trilith.model.guest import Artefact, GuestSpec, ImageForm, MachineIdentity, Pillar
from trilith.model.topology import Ensure, NetworkSpec, Noun, PortSpec, RuleSpec, SecurityGroupSpec, SubnetSpec

P = ParamSpec("P")
T = TypeVar("T")
_CLOUD = "trilith-doctor"
#: an id range that no server is given: it starts far above those that are handed out
_ID_BASE = 0x3000_0000
_MEMORY_MIB = 64
_INIT = """#!/bin/sh
trap 'poweroff -f' PWR
while :; do sleep 3600 & wait $!; done
"""


@contextlib.asynccontextmanager
async def _scratch(place: Path) -> AsyncIterator[Path]:
    """A directory with a short name; gone afterwards."""
    # not in a thread: cancelled there, nobody would know the name
    path = Path(tempfile.mkdtemp(prefix=f"{TRIAL}-{os.getpid()}-", dir=place))
    # a container's root, who is nobody here, passes through it
    os.chmod(path, 0o711)
    try:
        yield path
    finally:
        await _to_its_end(asyncio.to_thread(shutil.rmtree, path))


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Cancelled, it waits until `work` is done, and says so then.

    A thread or daemon of it would else go on beside its removal; a removal cut short would leave the rest behind.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _finally(
    stack: contextlib.AsyncExitStack, remove: Callable[P, Coroutine[Any, Any, None]], *args: P.args, **kwargs: P.kwargs
) -> None:
    """Have `stack` remove it, to its end."""
    stack.push_async_callback(lambda: _to_its_end(remove(*args, **kwargs)))


# ---- KVM


async def kvm(patient: Patient) -> list[Said]:
    """kvm.bare and kvm.linux as the node itself asks them, and never from its cache."""
    kernel = patient.settings.state / "node" / "probe-kernel"
    known = await asyncio.to_thread(kernel.exists)
    async with _scratch(patient.work) as work:
        found = await probe_kvm(str(work), kernel=str(kernel) if known else "", fresh=True)
    facts = {"kvm.bare": str(found.bare).lower(), "kvm.linux": str(found.linux).lower()}
    if not found.bare:
        todo = (
            "Switch on virtualisation in the firmware, or nested virtualisation on the host above; modprobe kvm."
            if "no /dev/kvm" in found.why_bare
            else "Is this a virtual machine? Its host must allow nested virtualisation."
        )
        return [warning(f"No KVM, machines are emulated and slow: {found.why_bare}", todo, **facts)]
    said = [fine(f"kvm.bare: a 4 MiB guest ran in {found.bare_seconds:.2f} s (cpu {found.cpu_bare})", **facts)]
    if found.linux:
        said.append(fine(f"kvm.linux: Linux reached user space (cpu {found.cpu_linux})"))
    elif not known:
        said.append(
            warning(
                "kvm.linux: not known, there is no kernel to try; until then machines are emulated.",
                "trilith image build tiny     # as root on this host: it hands over its kernel",
            )
        )
    else:
        said.append(
            warning(
                f"kvm.linux: Linux does not boot under KVM here, its machines are emulated, slowly: {found.why_linux}",
                "Containers and bare guests are not touched by this. Is nested virtualisation complete?",
            )
        )
    return said


# ---- a container


async def container(patient: Patient) -> list[Said]:
    """Busybox in a container, and each limit tried by exceeding it."""
    began = time.monotonic()
    closed = await asyncio.to_thread(_closed, patient.work)
    if closed is not None:
        return [
            problem(
                f"{closed} lets only its owner pass: containers below it, whose root is nobody here, do not start.",
                f"chmod o+x {closed}; or another --state",
            )
        ]
    async with _scratch(patient.work) as work:
        image = await _to_its_end(asyncio.to_thread(_busybox_root, work / "image"))
        driver = LxcDriver(work / "lxc", cloud_id=_CLOUD, pool_gib=4)
        spec = _spec(image)
        try:
            await _to_its_end(driver.open())
            await driver.probe()
            said = await _limits(driver, spec, began)
        finally:
            await _to_its_end(_remove(driver, spec))
    return said


def _closed(path: Path) -> Path | None:
    """The first directory above that others may not pass."""
    return next((p for p in (*reversed(path.parents), path) if not p.stat().st_mode & stat.S_IXOTH), None)


async def _limits(driver: LxcDriver, spec: GuestSpec, began: float) -> list[Said]:
    limited = True
    try:
        await driver.create(spec)
    except Unsupported as err:
        limited = False
        spec = replace(spec, disk_gib=0)
        why = err.message
        await driver.create(spec)
    await driver.start(spec)
    said = [await _works(driver, spec, began)]
    tried = [t for t in _LIMITS if limited or t.name != "disk"]
    held: list[str] = []
    for limit in tried:
        done = await driver.execute(spec.server_id, ["sh", "-c", limit.script], timeout=30)
        words = (done.stdout + done.stderr).decode(errors="replace")
        if done.exit_code == 0:
            said.append(problem(f"A container went over its limit of {limit.name}.", "See cgroups above.", words=words))
        elif done.exit_code not in limit.codes and not any(sign in words for sign in limit.signs):
            said.append(
                warning(f"The limit of {limit.name} could not be tried: {_last_line(words)}", "Run doctor again.")
            )
        else:
            held.append(limit.name)
    if held:
        said.append(fine(f"limits hold: {', '.join(held)}"))
    if not limited:
        said.append(
            warning(
                f"No disk limit works here, flavors with a disk are refused for containers: {why}",
                "apt-get install btrfs-progs, and a kernel with btrfs and loop devices; or put --state on btrfs.",
            )
        )
    return said


@dataclass(frozen=True, slots=True)
class _Limit:
    """A script that goes over a limit, and how it fails where the limit holds: by exit code, or by words."""

    name: str
    script: str
    codes: tuple[int, ...] = ()
    signs: tuple[str, ...] = ()


_LIMITS = (
    _Limit("memory", f"exec tail -c {4 * _MEMORY_MIB << 20} /dev/zero", codes=(9, 137)),
    _Limit("disk", "fallocate -l 1300m /big", signs=("uota exceeded", "No space")),
    # last: afterwards nothing more can be started inside
    _Limit("processes", "i=0; while [ $i -lt 80 ]; do sleep 20 >/dev/null 2>&1 & i=$((i+1)); done", signs=("fork",)),
)


async def _works(driver: LxcDriver, spec: GuestSpec, began: float) -> Said:
    done = await driver.execute(spec.server_id, ["cat", "/proc/self/uid_map"], timeout=20)
    words = done.stdout.split()
    if done.exit_code != 0 or words[1:2] == [b"0"]:
        return problem("A container ran, but not in a user namespace of its own.", "Report it: this must not be.")
    return fine(f"a container ran after {time.monotonic() - began:.1f} s, as host id {words[1].decode()}")


async def _remove(driver: LxcDriver, spec: GuestSpec) -> None:
    await driver.delete(spec.server_id)
    await driver.teardown()
    await driver.close()


def _spec(image: Path) -> GuestSpec:
    return GuestSpec(
        server_id=str(uuid.uuid4()),
        project_id="doctor",
        cloud_id=_CLOUD,
        name="doctor",
        hostname="doctor",
        pillar=Pillar.LXC,
        vcpus=1,
        memory_mib=_MEMORY_MIB,
        disk_gib=1,
        image=Artefact(sha256="0" * 64, form=ImageForm.ROOTFS, path=str(image), size_mib=3),
        identity=MachineIdentity(smbios_uuid="doctor", id_base=_ID_BASE + (os.getpid() % 4096) * 65536),
        processes_max=64,
    )


def _busybox_root(path: Path) -> Path:
    """A root file system of one static binary. Raises Backend where there is none."""
    binary = shutil.which("busybox")
    if binary is None:
        raise Backend("busybox is missing, the trial container is made of it.", hint="apt-get install busybox-static")
    for name in ("bin", "sbin", "etc", "proc", "sys", "dev", "run", "tmp", "root", "var"):
        (path / name).mkdir(parents=True)
    shutil.copy(binary, path / "bin/busybox")
    listed = subprocess.run([path / "bin/busybox", "--list"], capture_output=True, text=True, timeout=10, check=False)
    for applet in listed.stdout.split():
        if applet != "busybox":
            (path / "bin" / applet).symlink_to("busybox")
    init = path / "sbin/init"
    init.write_text(_INIT)
    init.chmod(0o755)
    (path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    return path


# ---- a network


async def network(patient: Patient) -> list[Said]:
    """All daemons of a node's network in a namespace of its own; two guests in namespaces ping through br-int."""
    began = time.monotonic()
    netns = f"{TRIAL}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    async with contextlib.AsyncExitStack() as stack:
        work = await stack.enter_async_context(_scratch(patient.work))
        _finally(stack, _delete, netns)
        await run(["ip", "netns", "add", netns])
        await run(["ip", "link", "set", "lo", "up"], netns=netns)
        kernel = await asyncio.to_thread(Path("/sys/module/openvswitch").exists)
        node = await settle_network(
            NodeNetwork(
                cloud_id=_CLOUD,
                node="doctor",
                state_dir=work,
                run_dir=default_run_dir(work),
                # what is not loaded is not loaded by a doctor
                datapath="system" if kernel else "netdev",
                netns=netns,
                dns=False,
                external_address="192.0.2.1/24",  # RFC 5737: nobody's
            )
        )
        supervisor = Supervisor(work / "daemons")
        _finally(stack, _stop, node, supervisor)
        await _to_its_end(start_network(node, supervisor))
        ready = time.monotonic() - began
        driver = await connect(node.nb, node.sb, cloud_id=_CLOUD)
        _finally(stack, driver.close)
        switch = await connect_local(node.db, cloud_id=_CLOUD)
        _finally(stack, switch.close)
        return [
            fine(f"the network's daemons were ready after {ready:.1f} s ({node.datapath} datapath)"),
            await _ping(stack, node, switch, driver),
        ]


async def _ping(
    stack: contextlib.AsyncExitStack, node: NodeNetwork, switch: OvsLocalSwitch, driver: OvnNorthbound
) -> Said:
    subnet, group = str(uuid.uuid4()), str(uuid.uuid4())
    spec = NetworkSpec(
        id=str(uuid.uuid4()),
        revision=1,
        name="doctor",
        mtu=1442,
        subnets=(SubnetSpec(id=subnet, cidr="198.51.100.0/24", gateway="198.51.100.1"),),
    )
    rules = (
        RuleSpec(id=str(uuid.uuid4()), ingress=False, ethertype="IPv4"),
        RuleSpec(id=str(uuid.uuid4()), ingress=True, ethertype="IPv4", protocol="icmp"),
    )
    ports = [
        PortSpec(
            id=str(uuid.uuid4()),
            revision=1,
            network_id=spec.id,
            mac=f"fa:16:3e:00:00:0{n}",
            addresses=((subnet, f"198.51.100.1{n}"),),
            security_groups=(group,),
        )
        for n in (1, 2)
    ]
    nouns: list[Noun] = [spec, SecurityGroupSpec(id=group, revision=1, rules=rules), *ports]
    await driver.apply([Ensure(noun=noun) for noun in nouns])
    guests = [await _guest(stack, node, switch, port) for port in ports]
    await driver.wait_up([port.id for port in ports], timeout=20)
    target = ports[1].addresses[0][1]
    try:
        # an echo every 50 ms until the first answer
        said = await run(["ping", "-n", "-q", "-i", "0.05", "-c", "5", "-w", "10", target], netns=guests[0], timeout=15)
    except Backend as err:
        return problem(
            f"Two guests on one network do not reach each other: {_last_line(err.message)}",
            "Look at `ovs-vswitchd --version`, `ovn-controller --version`; on a kernel datapath at `dmesg`.",
        )
    return fine(f"two guests ping each other through OVN ({_round_trip(said)})")


async def _guest(stack: contextlib.AsyncExitStack, node: NodeNetwork, switch: OvsLocalSwitch, port: PortSpec) -> str:
    """A namespace with one interface, plugged as the port; its name."""
    tag = uuid.uuid4().hex[:8]
    name = f"{TRIAL}-{os.getpid()}-{tag}"
    _finally(stack, _delete, name)
    await run(["ip", "netns", "add", name])
    link = ["ip", "link", "add", f"v-{tag}", "mtu", "1442", "type", "veth", "peer", "name", "eth0"]
    await run([*link, "netns", name, "address", port.mac, "mtu", "1442"], netns=node.netns)
    if node.datapath == "netdev":
        await run(["ethtool", "-K", "eth0", "tx", "off"], netns=name)
    address = ipaddress.ip_interface(f"{port.addresses[0][1]}/24")
    lines = ["link set lo up", f"address add {address} dev eth0", "link set eth0 up"]
    await run(["ip", "-batch", "-"], netns=name, stdin="\n".join(lines) + "\n")
    await run(["ip", "link", "set", f"v-{tag}", "up"], netns=node.netns)
    await switch.plug(ifname=f"v-{tag}", port_id=port.id, mac=port.mac)
    return name


async def _stop(node: NodeNetwork, supervisor: Supervisor) -> None:
    await stop_network(node, supervisor)
    await supervisor.close()
    if node.run_dir.parent == Path("/run"):
        await asyncio.to_thread(shutil.rmtree, node.run_dir, True)


async def _delete(netns: str) -> None:
    if await asyncio.to_thread(Path("/run/netns", netns).exists):
        # a deleted link is gone at once, a namespace is taken apart later
        await run(["ip", "link", "delete", "eth0"], netns=netns, accept=(0, 1))
        await run(["ip", "netns", "delete", netns])


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "no answer"


def _round_trip(said: str) -> str:
    line = next((text for text in said.splitlines() if "min/avg" in text), "")
    return f"{line.partition('= ')[2].split('/')[0]} ms at best" if line else "answered"
