"""Containers' interfaces, in a network namespace of their own: the test runs itself again inside of one.

liblxc's command socket is abstract and so belongs to a network namespace: the driver must be in the containers' one.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.contracts.compute_suite", "tests.contracts.lxc_bench")

from tests.contracts.compute_suite import Listener, power  # noqa: E402
from tests.contracts.lxc_bench import LxcBench, busybox_root, lxc_bench  # noqa: E402
from trilith.model.guest import GuestEventKind, GuestSpec, NicSpec, PowerState  # noqa: E402

INSIDE = os.environ.get("TRILITH_TEST_NETNS") == "1"
pytestmark = [pytest.mark.root, pytest.mark.lxc]
inside = pytest.mark.skipif(not INSIDE, reason="runs in the namespace that test_in_a_namespace_of_its_own makes")
NIC = NicSpec(port_id="port-1", mac="fa:16:3e:00:00:01", ifname="tlx-1", mtu=1442)
SECOND = NicSpec(port_id="port-2", mac="fa:16:3e:00:00:02", ifname="tlx-2", mtu=1400)


@pytest.mark.skipif(INSIDE, reason="is in it already")
@pytest.mark.parametrize("marker", ["not ovn", "ovn"])
def test_in_a_namespace_of_its_own(marker: str, tmp_path: Path) -> None:
    if marker == "ovn" and shutil.which("ovs-vswitchd") is None:
        pytest.skip("needs openvswitch-switch")
    unshare = shutil.which("unshare")
    assert unshare
    argv = [unshare, "--net", "--", sys.executable, "-m", "pytest", "-x", "-m", marker, __file__]
    argv += ["-p", "no:cacheprovider", f"--basetemp={tmp_path / 'inside'}"]
    done = subprocess.run(
        argv,
        env=os.environ | {"TRILITH_TEST_NETNS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return busybox_root(tmp_path_factory.mktemp("image") / "root")


@pytest.fixture
async def bench(image: Path) -> AsyncIterator[LxcBench]:
    async with lxc_bench(image) as made:
        yield made


async def run(bench: LxcBench, spec: GuestSpec, script: str) -> str:
    done = await bench.driver.execute(spec.server_id, ["sh", "-c", script], timeout=30)
    assert done.exit_code == 0, (script, done)
    return done.stdout.decode().strip()


def links() -> dict[str, dict[str, object]]:
    text = subprocess.run(["ip", "-j", "link"], capture_output=True, text=True, check=True).stdout
    return {link["ifname"]: link for link in json.loads(text)}


async def reboot_by_itself(bench: LxcBench, spec: GuestSpec) -> None:
    listener = Listener(bench.driver)
    await bench.driver.execute(spec.server_id, ["kill", "-INT", "1"], timeout=10)
    await listener.until(spec.server_id, GuestEventKind.REBOOTED)
    await listener.close()


async def gone() -> None:
    """Until no interface of a guest is left: the kernel ends a network namespace a moment after its last process."""
    async with asyncio.timeout(10):
        while set(links()) != {"lo"}:
            await asyncio.sleep(0.01)


@inside
async def test_interfaces_are_as_asked(bench: LxcBench) -> None:
    spec = bench.spec(nics=(NIC, replace(SECOND, guest_name="mgmt")))
    await bench.driver.start(spec)
    assert await run(bench, spec, "cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu") == f"{NIC.mac}\n1442"
    assert await run(bench, spec, "cat /sys/class/net/mgmt/mtu") == "1400"
    assert {"tlx-1", "tlx-2"} <= set(links())
    await bench.driver.stop(spec.server_id, timeout=0)
    assert not {"tlx-1", "tlx-2"} & set(links())


@inside
async def test_plug_and_unplug_while_running_and_over_a_reboot(bench: LxcBench) -> None:
    assert bench.driver.capabilities.hotplug_nic
    spec = bench.spec(nics=(NIC,))
    await bench.driver.start(spec)
    both = replace(spec, nics=(NIC, SECOND))
    for _ in range(2):
        await bench.driver.plug(both, SECOND)
    assert await run(bench, spec, "cat /sys/class/net/eth1/address /sys/class/net/eth1/mtu") == f"{SECOND.mac}\n1400"
    await reboot_by_itself(bench, spec)
    assert await run(bench, spec, "ls /sys/class/net") == "eth0\neth1\nlo"
    assert await run(bench, spec, "cat /sys/class/net/eth1/address") == SECOND.mac
    last = replace(spec, nics=(SECOND,))
    for _ in range(2):
        await bench.driver.unplug(last, NIC)
    assert "tlx-1" not in links()
    await reboot_by_itself(bench, spec)
    assert "tlx-1" not in links(), "what was taken away stays away"
    assert "eth0" not in await run(bench, spec, "ls /sys/class/net")
    await bench.driver.stop(spec.server_id, timeout=0)
    await gone()
    await bench.driver.start(both)
    assert await run(bench, spec, "ls /sys/class/net") == "eth0\neth1\nlo"


@inside
async def test_plug_while_stopped(bench: LxcBench) -> None:
    spec = bench.spec()
    await bench.driver.create(spec)
    await bench.driver.plug(spec, NIC)
    await bench.driver.start(replace(spec, nics=(NIC,)))
    assert await run(bench, spec, "cat /sys/class/net/eth0/address") == NIC.mac


@dataclass
class Switch:
    """Open vSwitch on the userspace datapath, with one port of the host's as the other end."""

    db: Path

    def vsctl(self, *argv: str) -> str:
        whole = ["ovs-vsctl", f"--db=unix:{self.db}", "--timeout=15", *argv]
        return subprocess.run(whole, capture_output=True, text=True, check=True).stdout.strip()

    def raise_link(self, ifname: str) -> None:
        """As the agent does: a port older than its device may be taken over with flags of before it was up."""
        self.vsctl("wait-until", "Interface", ifname, "ofport>0")
        subprocess.run(["ip", "link", "set", ifname, "up"], check=True)


def terminate(pid: int) -> None:
    """And wait: a daemon that ends removes files of its own."""
    daemon = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(daemon, signal.SIGTERM)
        assert select.select([daemon], [], [], 10)[0], f"process {pid} did not end"
    finally:
        os.close(daemon)


@pytest.fixture
def switch() -> Iterator[Switch]:
    home = Path(tempfile.mkdtemp(prefix="lxs-"))
    env = os.environ | {"OVS_RUNDIR": str(home), "OVS_DBDIR": str(home), "OVS_LOGDIR": str(home)}
    schema = "/usr/share/openvswitch/vswitch.ovsschema"
    subprocess.run(["ovsdb-tool", "create", f"{home}/conf.db", schema], check=True)
    made = Switch(home / "db.sock")
    # --detach returns when the daemon serves: nothing to wait for
    tail = ["--detach", "--no-chdir", f"--log-file={home}/log", "-vconsole:off"]
    subprocess.run(
        ["ovsdb-server", f"{home}/conf.db", f"--remote=punix:{made.db}", f"--pidfile={home}/db.pid", *tail],
        check=True,
        env=env,
    )
    try:
        made.vsctl("--no-wait", "init")
        subprocess.run(["ovs-vswitchd", f"unix:{made.db}", f"--pidfile={home}/sw.pid", *tail], check=True, env=env)
        made.vsctl("add-br", "br-int", "--", "set", "Bridge", "br-int", "datapath_type=netdev")
        for argv in (["addr", "add", "10.9.0.1/24", "dev", "br-int"], ["link", "set", "br-int", "up", "mtu", "1442"]):
            subprocess.run(["ip", *argv], check=True)
        subprocess.run(["ethtool", "-K", "br-int", "tx", "off"], check=True, capture_output=True)
        yield made
    finally:
        for name in ("sw.pid", "db.pid"):
            if (home / name).exists():
                terminate(int((home / name).read_text()))
        shutil.rmtree(home)


@inside
@pytest.mark.ovn
async def test_the_network_is_back_after_the_guest_restarts_itself_without_us(image: Path, switch: Switch) -> None:
    """The trap: the userspace datapath does not attach a device that came again unless its port was away between."""
    async with lxc_bench(image, ovs_db=str(switch.db), bridge="br-int", offload_off=True) as bench:
        spec = bench.spec(nics=(NIC,))
        ids = "external_ids={iface-id=port-1,trilith=mine}"
        switch.vsctl("--no-wait", "add-port", "br-int", NIC.ifname, "--", "set", "Interface", NIC.ifname, ids)
        await bench.driver.start(spec)
        switch.raise_link(NIC.ifname)
        await _reachable(bench, spec)
        features = await asyncio.to_thread(_features, (await bench.driver.facts())[0].pid)
        assert "tx-checksumming: off" in features
        pid = (await bench.driver.facts())[0].pid
        await bench.driver.close()  # as if Trilith were down
        os.kill(pid, 2)
        second = await bench.another()
        async with asyncio.timeout(20):
            while (found := (await second.facts())[0]).pid in (0, pid):
                await asyncio.sleep(0.02)
        assert found.power is PowerState.RUNNING
        await _reachable(bench, spec)
        assert switch.vsctl("get", "Interface", NIC.ifname, "external_ids:iface-id") == "port-1"
        assert switch.vsctl("get", "Interface", NIC.ifname, "external_ids:trilith") == "mine"
        await second.stop(spec.server_id, timeout=0)
        await second.start(spec)
        await _reachable(bench, spec)
        await second.delete(spec.server_id)
        assert await power(second, spec.server_id) is None


async def _reachable(bench: LxcBench, spec: GuestSpec) -> None:
    await run(bench, spec, "ip addr add 10.9.0.2/24 dev eth0; ip link set eth0 up; ping -c 1 -w 10 10.9.0.1 >/dev/null")
    server = await asyncio.start_server(_answer, "10.9.0.1", 8080)
    async with server:
        assert await run(bench, spec, "nc -w 5 10.9.0.1 8080 </dev/null") == "hello", "TCP, too, not only ping"


async def _answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello\n")
    await writer.drain()
    writer.close()


def _features(pid: int) -> str:
    argv = ["nsenter", f"--target={pid}", "--net", "ethtool", "-k", "eth0"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
