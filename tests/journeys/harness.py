"""A real cloud of a test's own: `trilith up` inside a network namespace, used through its public API."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo import pictures
from demo.process import Up, connect
from demo.ssh import Login, make_key

from trilith.images import BuiltImage

#: seconds; an emulated machine on a busy host takes its time
PATIENCE = 180.0
CIDR = "172.24.4.0/24"
TINY_USER = "tiny"


class Failed(RuntimeError):
    """A server that ended in ERROR; its message is the fault."""


def run(*argv: str, timeout: float = 60.0) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.returncode} {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def until(true: Callable[[], Any], *, timeout: float, what: str) -> Any:
    """What becomes true of something that tells nobody; its value. For the outside of a cloud only."""
    end = time.monotonic() + timeout
    while True:
        value = true()
        if value:
            return value
        assert time.monotonic() < end, f"not within {timeout:.0f} s: {what}"
        time.sleep(0.1)


class _Namespace:
    """Name of a network namespace; `inside` runs a block of this thread in it."""

    def __init__(self) -> None:
        self.name = f"tj-{secrets.token_hex(3)}"
        run("ip", "netns", "add", self.name)

    @property
    def path(self) -> str:
        return f"/run/netns/{self.name}"

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """setns(2) is a thread's own: sockets and processes made in the block are the namespace's."""
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as home, open(self.path) as there:
            if libc.setns(there.fileno(), 0x40000000):
                raise OSError(ctypes.get_errno(), "setns")
            try:
                yield
            finally:
                if libc.setns(home.fileno(), 0x40000000):
                    raise OSError(ctypes.get_errno(), "setns back")

    def processes(self) -> dict[int, str]:
        """pid → command line of what runs in it, its guests' own namespaces left out."""
        inode = os.stat(self.path).st_ino
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if os.stat(entry / "ns" / "net").st_ino == inode:
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        return found

    def interfaces(self) -> set[str]:
        text = run("ip", "-o", "link")
        return {line.split(": ")[1].partition("@")[0] for line in text.splitlines()}

    def remove(self) -> None:
        run("ip", "netns", "delete", self.name)


@dataclass
class Pings:
    """What a running ping saw: sent, and the longest silence in seconds."""

    sent: int
    received: int
    silence: float


class Pinger:
    """Pings an address ten times a second from inside the namespace, until told to stop."""

    def __init__(self, address: str) -> None:
        argv = ["ping", "-n", "-i", "0.1", "-W", "1", address]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self._times: list[float] = []
        self.began = time.monotonic()
        self._summary = ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "bytes from" in line:
                self._times.append(time.monotonic())
            elif "transmitted" in line:
                self._summary = line

    def answered_after(self, moment: float, *, timeout: float) -> float:
        """Seconds from a moment of time.monotonic() to the first answer after it."""
        return float(
            until(lambda: next((t - moment for t in self._times if t > moment), 0.0), timeout=timeout, what="a ping")
        )

    def stop(self) -> Pings:
        if self._process.poll() is None:
            self._process.send_signal(2)
        self._process.wait(10)
        self._thread.join(10)
        words = self._summary.split()
        assert words, "ping was stopped before it had sent anything"
        marks = [self.began, *self._times, time.monotonic()]
        silence = max(b - a for a, b in itertools.pairwise(marks))
        return Pings(sent=int(words[0]), received=int(words[3]), silence=silence)


@dataclass
class Cloud:
    """One cloud and what the tests of it share: network, router, security group, key pair, images, flavors."""

    folder: Path
    namespace: _Namespace
    up: Up
    env: dict[str, str]
    pings: list[Pinger] = field(default_factory=list)
    sdk: Any = None
    key: Path = Path()
    network: Any = None
    public: Any = None
    group: Any = None

    @property
    def state(self) -> Path:
        return self.up.state

    def start(self, **env: str) -> None:
        """`trilith up` to its first answer; the connection is made anew."""
        self.up.env = os.environ | self.env | env
        self.up.start()
        self.connect()

    def connect(self) -> None:
        self.sdk = connect(self.up.facts)

    def node_up(self) -> None:
        """Until this machine's node takes servers."""
        until(lambda: [h for h in self.sdk.compute.hypervisors() if h.state == "up"], timeout=90, what="the node")

    def prepare(self, image: BuiltImage) -> None:
        """Once a cloud: what every test's server needs."""
        net, compute = self.sdk.network, self.sdk.compute
        pictures.upload(self.sdk, image)
        self.public = net.find_network("public")
        self.network = net.create_network(name="inner")
        subnet = net.create_subnet(network_id=self.network.id, ip_version=4, cidr="10.20.0.0/24", name="inner")
        router = net.create_router(name="r", external_gateway_info={"network_id": self.public.id})
        net.add_interface_to_router(router, subnet_id=subnet.id)
        self.group = net.create_security_group(name="open", description="ssh and ping")
        for protocol, port in (("tcp", 22), ("icmp", None)):
            net.create_security_group_rule(
                security_group_id=self.group.id,
                direction="ingress",
                ethertype="IPv4",
                protocol=protocol,
                port_range_min=port,
                port_range_max=port,
            )
        self.key, public_key = make_key(self.folder / "keys")
        compute.create_keypair(name="k", public_key=public_key)
        for name, vcpus, ram, disk in (("small", 1, 192, 1), ("large", 2, 320, 2)):
            for pillar in ("lxc", "kvm"):
                flavor = compute.create_flavor(name=f"{name}.{pillar}", vcpus=vcpus, ram=ram, disk=disk)
                compute.create_flavor_extra_specs(flavor, {"trilith:pillar": pillar})

    def order(self, name: str, pillar: str, *, image: str = "tiny", flavor: str = "small", **more: Any) -> Any:
        """A server that is asked for, not waited for. networks="none" makes one without a port."""
        compute = self.sdk.compute
        given = {"networks": [{"uuid": self.network.id}], "security_groups": [{"name": "open"}]}
        if more.get("networks") == "none":
            given = {}
        return compute.create_server(
            name=name,
            image_id=self.sdk.image.find_image(image).id,
            flavor_id=compute.find_flavor(f"{flavor}.{pillar}").id,
            key_name="k",
            **(given | more),
        )

    def wait(self, server: Any, status: str = "ACTIVE", *, timeout: float = PATIENCE) -> Any:
        """The server in that status with no task left. Raises Failed with its fault, AssertionError in time."""
        end = time.monotonic() + timeout
        while True:
            found = self.sdk.compute.get_server(server.id)
            if found.status == status and not found.task_state:
                return found
            if found.status == "ERROR":
                fault = found.to_dict().get("fault") or self._fault(server.id)
                raise Failed(str(fault))
            assert time.monotonic() < end, f"{found.name} is {found.status} ({found.task_state}), not {status}"
            time.sleep(0.1)

    def _fault(self, server_id: str) -> Any:
        return self.sdk.compute.get(f"/servers/{server_id}").json()["server"].get("fault")

    def boot(self, name: str, pillar: str, **more: Any) -> Any:
        return self.wait(self.order(name, pillar, **more))

    def failure(self, server: Any, *, timeout: float = PATIENCE) -> str:
        """The fault of a server that must end in ERROR."""
        try:
            self.wait(server, timeout=timeout)
        except Failed as err:
            return str(err)
        raise AssertionError(f"{server.name} did not fail")

    def delete(self, *servers: Any) -> None:
        for server in servers:
            self.sdk.compute.delete_server(server, ignore_missing=True)
        for server in servers:
            self.sdk.compute.wait_for_delete(server, wait=60, interval=0.1)

    def port(self, server: Any) -> Any:
        return next(iter(self.sdk.network.ports(device_id=server.id)))

    def address(self, server: Any) -> str:
        return str(self.port(server).fixed_ips[0]["ip_address"])

    def float(self, server: Any) -> str:
        floating = self.sdk.network.create_ip(floating_network_id=self.public.id, port_id=self.port(server).id)
        return str(floating.floating_ip_address)

    def login(self, address: str, *, wait: bool = True) -> Login:
        login = Login(address, TINY_USER, self.key)
        if wait:
            login.wait(timeout=PATIENCE)
        return login

    def ping(self, address: str) -> Pinger:
        pinger = Pinger(address)
        self.pings.append(pinger)
        return pinger

    def daemons(self) -> dict[str, int]:
        """program → pid of what the cloud supervises."""
        names = ("ovsdb-server", "ovs-vswitchd", "ovn-northd", "ovn-controller", "libvirtd", "virtlogd", "dnsmasq",
                 "lxcfs")  # fmt: skip
        found: dict[str, int] = {}
        for pid, line in self.namespace.processes().items():
            program = Path(line.split(" ")[0].rstrip(":")).name
            if program == "ovsdb-server":
                program = "ovsdb-central" if "ovnnb_db.sock" in line else "ovsdb-local"
            if program in names or program.startswith("ovsdb-"):
                found[program] = pid
        return found

    def guests(self) -> dict[str, int]:
        """server id → pid of its machine or of its container's first process' keeper."""
        found = {}
        known = {s.id for s in self.sdk.compute.servers()}
        for pid, line in self.namespace.processes().items():
            program = Path(line.split(" ")[0]).name
            if program.startswith(("qemu-system", "lxc-start", "[lxc")) or "lxc monitor" in line:
                for server_id in known:
                    if server_id in line:
                        found[server_id] = pid
        return found

    def traces(self, server_id: str) -> list[str]:
        """Everything on this machine that names the server: files, mounts, cgroups, processes, interfaces' ports."""
        found = [str(p) for p in (self.state / "node").rglob(f"*{server_id}*")]
        found += [m for m in Path("/proc/self/mountinfo").read_text().splitlines() if server_id in m]
        found += [str(p) for p in Path("/sys/fs/cgroup").rglob(f"*{server_id}*")]
        found += [line for line in self.namespace.processes().values() if server_id in line]
        return found

    def taps(self) -> set[str]:
        """Interfaces of guests."""
        return {i for i in self.namespace.interfaces() if i.startswith(("tap", "veth", "tl"))}

    def end(self) -> None:
        """Everything of it goes, whatever became of it."""
        for pinger in self.pings:
            with contextlib.suppress(ValueError, IndexError):
                pinger.stop()
        try:
            if (self.state / "trilith.db").exists():
                self.up.env = os.environ | self.env
                self.up.down()
        finally:
            self.up.kill()
            # the test's own process is in there too
            left = {p: line for p, line in self.namespace.processes().items() if p != os.getpid()}
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            if not left and not os.path.ismount(self.state):
                shutil.rmtree(self.folder, ignore_errors=True)
        assert not left, f"left after `trilith down --guests`: {left}"


@contextlib.contextmanager
def _room(folder: Path, mib: int) -> Iterator[None]:
    if not mib:
        yield
        return
    file, point = folder / "disk", folder / "s"
    point.mkdir()
    with file.open("wb") as empty:
        empty.truncate(mib << 20)
    run("mkfs.ext4", "-q", "-m", "0", str(file))
    run("mount", "-o", "loop", str(file), str(point))
    try:
        yield
    finally:
        run("umount", str(point))
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def cloud(
    image: BuiltImage, *, env: Mapping[str, str] | None = None, prepare: bool = True, room_mib: int = 0
) -> Iterator[Cloud]:
    """A cloud that is up, with its node, and gone afterwards; the calling thread is in its network meanwhile.

    room_mib: its state lies on a file system of its own of that size.
    """
    namespace = _Namespace()
    folder = Path(tempfile.mkdtemp(prefix="tj"))
    folder.chmod(0o711)  # the users of containers and of QEMU pass through it
    settings = {"TRILITH_CLOUDS_YAML": "none", "TRILITH_CONTAINER_POOL_GIB": "6", **(env or {})}
    made = Cloud(folder, namespace, Up(folder / "s", listen="127.0.0.1:7480", env=settings), settings)
    try:
        with _room(folder, room_mib), namespace.inside():
            run("ip", "link", "set", "lo", "up")
            try:
                made.start()
                made.node_up()
                if prepare:
                    made.prepare(image)
                yield made
            finally:
                made.end()
    finally:
        namespace.remove()
