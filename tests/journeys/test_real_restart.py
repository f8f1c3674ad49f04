"""What dies and what goes on: the control plane, each daemon, the whole host, with guests that are pinged meanwhile."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from demo.ssh import Login

from tests.journeys.harness import Cloud, cloud, until
from trilith.agent.local_node import run_directory
from trilith.config import Settings
from trilith.images import BuiltImage

pytestmark = [
    pytest.mark.root,
    pytest.mark.ovn,
    pytest.mark.lxc,
    pytest.mark.libvirt,
    pytest.mark.journey,
    pytest.mark.timeout(420),
]
PILLARS = ("lxc", "kvm")
#: seconds that a restarted daemon and the traffic over it get on a busy machine; what it took is printed
RESUMED = 30.0


@dataclass
class Guest:
    server: Any
    floating: str
    login: Login


@pytest.fixture(scope="module")
def real(tiny_image: BuiltImage) -> Iterator[Cloud]:
    with cloud(tiny_image) as running:
        yield running


@pytest.fixture(scope="module")
def guests(real: Cloud) -> dict[str, Guest]:
    servers = {pillar: real.order(f"{pillar}1", pillar) for pillar in PILLARS}
    found = {}
    for pillar, ordered in servers.items():
        server = real.wait(ordered)
        floating = real.float(server)
        found[pillar] = Guest(server, floating, real.login(floating))
    return found


@pytest.mark.parametrize("end", ["kill -9", "Ctrl-C"])
def test_guests_do_not_feel_the_end_of_the_control_plane(real: Cloud, guests: dict[str, Guest], end: str) -> None:
    before = real.guests(), real.daemons()
    assert len(before[0]) == len(guests)
    pingers = {pillar: real.ping(g.floating) for pillar, g in guests.items()}
    time.sleep(1)  # some answers before
    if end == "Ctrl-C":
        assert real.up.stop() == 0
    else:
        real.up.kill()
    time.sleep(1)  # and some without it
    real.start()
    real.node_up()
    for pillar, guest in guests.items():
        real.wait(guest.server)
        seen = pingers[pillar].stop()
        lost = seen.sent - seen.received
        print(f"{end}, {pillar}: {lost} of {seen.sent} pings lost, longest silence {seen.silence:.2f} s")
        assert lost <= 2
    assert (real.guests(), real.daemons()) == before
    fresh = real.boot("later", "lxc")
    real.delete(fresh)


def test_what_guests_did_by_themselves_meanwhile_is_true_afterwards(real: Cloud, guests: dict[str, Guest]) -> None:
    real.up.kill()
    born = guests["lxc"].login.run("cut -d' ' -f22 /proc/1/stat")
    with contextlib.suppress(RuntimeError):  # the connection ends with the guest
        guests["lxc"].login.run("sudo reboot")
    with contextlib.suppress(RuntimeError):
        guests["kvm"].login.run("sudo poweroff")
    machine = guests["kvm"].server.id
    until(lambda: not [p for p in real.namespace.processes().values() if "qemu" in p and machine in p],
          timeout=60, what="the machine's end")  # fmt: skip
    # its network is back though nobody of us is there
    guests["lxc"].login.wait(timeout=60)
    assert guests["lxc"].login.run("cut -d' ' -f22 /proc/1/stat") != born
    real.start()
    real.node_up()
    real.wait(guests["kvm"].server, "SHUTOFF")
    real.wait(guests["lxc"].server)
    guests["lxc"].login.wait(timeout=30)
    real.sdk.compute.start_server(guests["kvm"].server)
    real.wait(guests["kvm"].server)
    guests["kvm"].login.wait(timeout=180)


@pytest.mark.parametrize(
    "daemon", ["ovs-vswitchd", "ovn-controller", "ovsdb-local", "ovsdb-central", "ovn-northd", "libvirtd", "lxcfs"]
)
def test_a_daemon_that_dies_comes_back(real: Cloud, guests: dict[str, Guest], daemon: str) -> None:
    before = real.daemons()
    if daemon not in before:
        pytest.skip(f"{daemon} is the host's own here, not ours to kill")
    pingers = {pillar: real.ping(g.floating) for pillar, g in guests.items()}
    for pinger in pingers.values():
        pinger.answered_after(pinger.began, timeout=10)
    os.kill(before[daemon], signal.SIGKILL)
    moment = time.monotonic()
    until(lambda: real.daemons().get(daemon, before[daemon]) != before[daemon], timeout=RESUMED, what=f"a new {daemon}")
    back = time.monotonic() - moment
    time.sleep(2)  # what the new one breaks while it starts belongs to what is measured
    for pillar, pinger in pingers.items():
        pinger.answered_after(time.monotonic(), timeout=RESUMED)
        seen = pinger.stop()
        lost = seen.sent - seen.received
        print(f"{daemon}, {pillar}: back in {back:.2f} s, longest silence {seen.silence:.2f} s, {lost} pings lost")
    server = real.boot(f"after-{daemon}", "kvm" if daemon == "libvirtd" else "lxc")
    floating = real.float(server)
    pinger = real.ping(floating)
    pinger.answered_after(time.monotonic(), timeout=60)
    pinger.stop()
    real.delete(server)


def _power_cut(real: Cloud) -> None:
    """What a host's sudden reboot leaves of this cloud: its files on disk."""
    me = os.getpid()
    ids = [s.id for s in real.sdk.compute.servers()]
    pids = {p for p in real.namespace.processes() if p != me}
    for server_id in ids:
        for group in Path("/sys/fs/cgroup").rglob(f"trilith-{server_id}*"):
            for procs in group.rglob("cgroup.procs"):
                pids |= {int(pid) for pid in procs.read_text().split()}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    real.up.kill()
    until(lambda: not real.namespace.processes().keys() - {me}, timeout=20, what="the end of all processes")
    shutil.rmtree(run_directory(Settings(state=real.state)))
    for server_id in ids:
        groups = {
            p for top in Path("/sys/fs/cgroup").rglob(f"*{server_id}*") for p in (top, *top.rglob("*")) if p.is_dir()
        }
        for group in sorted(groups, key=lambda p: len(p.parts), reverse=True):
            with contextlib.suppress(FileNotFoundError):  # one tree under two names
                group.rmdir()


def test_after_a_power_cut_what_should_run_runs_again(real: Cloud, guests: dict[str, Guest]) -> None:
    stopped = real.boot("stopped", "lxc")
    real.sdk.compute.stop_server(stopped)
    real.wait(stopped, "SHUTOFF")
    _power_cut(real)
    began = time.monotonic()
    real.start()
    real.node_up()
    for pillar, guest in guests.items():
        guest.login.wait(timeout=180)
        print(f"{pillar}: log-in {time.monotonic() - began:.1f} s after `trilith up`")
        real.wait(guest.server)
    assert real.wait(stopped, "SHUTOFF").status == "SHUTOFF"
    real.delete(stopped)


def test_down_with_guests_leaves_nothing(real: Cloud, guests: dict[str, Guest]) -> None:
    real.up.down()
    real.up.stop()
    assert {p: line for p, line in real.namespace.processes().items() if p != os.getpid()} == {}
    left = [m for m in Path("/proc/self/mountinfo").read_text().splitlines() if str(real.state) in m]
    assert left == []
    ids = [g.server.id for g in guests.values()]
    assert [str(p) for i in ids for p in Path("/sys/fs/cgroup").rglob(f"*{i}*")] == []
