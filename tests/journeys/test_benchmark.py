"""`trilith benchmark pillars` on a real cloud: measured in real guests, kept, and nothing left, whatever ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.journeys.harness import Cloud, cloud, until
from trilith.images import BuiltImage
from trilith.model.figures import FigureName

pytestmark = [
    pytest.mark.root,
    pytest.mark.ovn,
    pytest.mark.lxc,
    pytest.mark.libvirt,
    pytest.mark.journey,
    pytest.mark.timeout(420),
]
_ARGV = (sys.executable, "-m", "trilith.cli.main", "benchmark")


class Command:
    """The command as an administrator runs it on the node; its children are in the cloud's network, as this thread."""

    def __init__(self, running: Cloud) -> None:
        self.cloud = running
        facts = running.up.facts
        auth = {"auth_url": facts["url"], "username": facts["user"], "password": facts["password"]}
        auth |= {"project_name": facts["project"], "user_domain_name": "Default", "project_domain_name": "Default"}
        path = running.folder / "clouds.yaml"
        path.write_text(yaml.safe_dump({"clouds": {"trilith": {"auth": auth, "region_name": "RegionOne"}}}))
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("OS_")}
        self.env |= {"OS_CLIENT_CONFIG_FILE": str(path)}

    def start(self, *argv: str) -> subprocess.Popen[str]:
        full = [*_ARGV, "pillars", "--quick", "--samples", "1", "--state", str(self.cloud.state), "--json", *argv]
        return subprocess.Popen(full, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env)

    def run(self, *argv: str, timeout: float = 300) -> Any:
        child = self.start(*argv)
        try:
            said, errors = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            child.terminate()
            raise AssertionError(f"not within {timeout} s: {child.communicate()[1]}") from None
        assert child.returncode == 0, errors
        return json.loads(said)

    def latency_used(self) -> dict[str, dict[str, Any]]:
        """Pillar → which figure of its scheduling latency the advisor reckons with."""
        argv = [*_ARGV[:-1], "advise", "--file", "-", "--json"]
        done = subprocess.run(argv, input="latency: 10 ms\n", capture_output=True, text=True, env=self.env, check=True)
        used = json.loads(done.stdout)["advice"]["used"]
        return {u["pillar"]: u for u in used if u["name"] == "scheduling_latency"}

    def kept(self) -> list[dict[str, Any]]:
        done = subprocess.run([*_ARGV, "show", "--json"], capture_output=True, text=True, env=self.env, check=True)
        return list(json.loads(done.stdout)["figures"])

    def left(self) -> list[str]:
        """All of this cloud that a measurement has made, and not removed."""
        sdk = self.cloud.sdk
        nouns = [sdk.compute.servers(), sdk.compute.flavors(is_public=None), sdk.network.networks(), sdk.image.images()]
        return [n.name for noun in nouns for n in noun if n.name.startswith("trilith-benchmark")]

    def guest(self) -> str:
        """The id of a guest that a measurement has running."""
        return str(
            until(
                lambda: next((s.id for s in self.cloud.sdk.compute.servers() if s.status == "ACTIVE"), ""),
                timeout=90,
                what="a guest of the measurement",
            )
        )


@pytest.fixture(scope="module")
def command(tiny_image: BuiltImage) -> Iterator[Command]:
    with cloud(tiny_image) as running:
        yield Command(running)


def test_each_pillar_is_measured_in_real_guests_and_kept(command: Command) -> None:
    assert command.latency_used()["lxc"]["figure"]["samples"] == 0, "a claim, as long as nothing was measured"
    found = command.run()
    assert found["not_here"]["xen"] == "not on this host"
    rows = {(f["pillar"], f["guest"]): f for f in found["figures"]}
    lxc = rows["lxc", "linux"]
    assert lxc["left_out"] == {}
    figures = {m["name"]: m for m in lxc["measured"]}
    assert set(figures) == {str(n) for n in FigureName}
    for one in figures.values():
        assert 0 < one["guest"]["p10"] <= one["guest"]["median"] <= one["guest"]["p90"], one
    # generous bounds that no container leaves, on a machine however busy
    assert (
        figures["start_to_first_answer"]["guest"]["median"] > figures["start_to_first_answer"]["bare_process"]["median"]
    )
    assert figures["memory"]["guest"]["median"] < 64
    assert figures["memory_overhead"]["guest"]["median"] < figures["memory"]["guest"]["median"]
    assert figures["network_round_trip"]["ratio"] > 1, "OVN costs more than loopback"
    assert (lxc["emulated"], lxc["host"]["kernel"]) == (False, os.uname().release)
    if "CUSTOM_KVM_BARE" in _traits(command):
        bare = rows["kvm", "bare"]
        assert not bare["emulated"]
        assert {m["name"] for m in bare["measured"]} == {"start_to_first_answer", "memory", "memory_overhead"}
        assert "system_call" in bare["left_out"]
    if "CUSTOM_KVM_LINUX" not in _traits(command):
        assert "under emulation" in found["not_here"]["kvm"]
        assert ("kvm", "linux") not in rows
    latency = command.latency_used()
    assert latency["lxc"]["figure"]["value"] == figures["scheduling_latency"]["guest"]["median"]
    assert "measured on " in latency["lxc"]["figure"]["source"]
    if "CUSTOM_KVM_LINUX" not in _traits(command):
        assert latency["kvm"]["figure"]["samples"] == 0, "nothing that stands for KVM was measured"
    assert command.kept() == sorted(found["figures"], key=lambda f: (f["pillar"], f["emulated"], f["guest"]))
    assert command.left() == []


def _traits(command: Command) -> list[str]:
    sdk = command.cloud.sdk
    base = sdk.session.get_endpoint(service_type="identity").rpartition("/identity")[0]
    nodes = sdk.session.get(f"{base}/trilith/v1/nodes").json()["nodes"]
    return list(nodes[0]["traits"])


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(command: Command, how: int) -> None:
    child = command.start("--pillar", "lxc")
    guest = command.guest()
    assert [n for n in command.left() if n.endswith(".lxc")], "named so that no launch picks it"
    child.send_signal(how)
    child.send_signal(how)  # a second one does not cut the removal short
    _, said = child.communicate(timeout=120)
    assert (child.returncode, "Stopped; the guests are gone" in said) == (130, True), said
    assert command.left() == []
    until(lambda: not command.cloud.traces(guest), timeout=20, what="every trace of the guest to go")


def test_what_a_killed_run_left_the_next_one_removes(command: Command) -> None:
    child = command.start("--pillar", "lxc")
    guest = command.guest()
    child.kill()
    child.communicate()
    assert command.left(), "a killed run leaves its guests: else this tests nothing"
    found = command.run("--pillar", "lxc")
    assert [f["pillar"] for f in found["figures"]] == ["lxc"]
    assert command.left() == []
    until(lambda: not command.cloud.traces(guest), timeout=20, what="every trace of the guest to go")


def test_one_at_a_time(command: Command) -> None:
    first = command.start("--pillar", "lxc")
    command.guest()
    second = command.start("--pillar", "lxc")
    _, said = second.communicate(timeout=60)
    assert (second.returncode, "Another measurement runs on this host" in said) == (1, True), said
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=120)
    assert command.left() == []


def test_a_guest_that_fails_is_told_and_nothing_is_left(command: Command) -> None:
    network = command.cloud.sdk.network
    project = command.cloud.sdk.current_project_id
    network.update_quota(project, port=0)
    try:
        child = command.start("--pillar", "lxc")
        _, said = child.communicate(timeout=120)
    finally:
        network.update_quota(project, port=-1)
    assert child.returncode == 1, said
    assert "trilith: " in said
    assert "Traceback" not in said
    assert command.left() == []


def test_without_its_image_it_is_refused_before_anything_is_made(command: Command, tmp_path: Path) -> None:
    images = command.cloud.sdk.image
    tiny = images.find_image("tiny")
    images.update_image(tiny, name="other")
    try:
        child = command.start("--pillar", "lxc")
        _, said = child.communicate(timeout=60)
    finally:
        images.update_image(tiny, name="tiny")
    assert (child.returncode, "trilith image build tiny" in said) == (1, True), said
    assert command.left() == []


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_linux_under_emulation_is_kept_as_emulated(command: Command) -> None:
    if "CUSTOM_KVM_LINUX" in _traits(command):
        pytest.skip("Linux runs under KVM here")
    found = command.run("--pillar", "kvm", "--emulated", timeout=1000)
    assert command.latency_used()["kvm"]["figure"]["samples"] == 0, "what was emulated stands for nothing"
    linux = next(f for f in found["figures"] if f["guest"] == "linux")
    assert linux["emulated"]
    assert {m["name"] for m in linux["measured"]} == {str(n) for n in FigureName}
