"""Run on the ordinary host itself, as its root (tests/journeys/test_ordinary_host.py starts it there): the cloud as a
service of systemd, and a container of it over cgroup v2 and the kernel's datapath. In the order of the file; each test
goes on where the one before it ended."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from demo import pictures
from demo.process import connect
from demo.ssh import Login, make_key

ROOT = Path(__file__).parents[3]
TRILITH = str(ROOT / ".venv/bin/trilith")
STATE = Path("/var/lib/trilith")
CGROUPS = Path("/sys/fs/cgroup")
UNIT = "trilith.service"
#: seconds; the processor is an emulated one
PATIENCE = 600.0
PROCESSES = 60
_MIB = 1 << 20


def run(*argv: str, timeout: float = PATIENCE, ok: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode in ok, f"{' '.join(argv)}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def until(true: Callable[[], Any], *, what: str, timeout: float = PATIENCE) -> Any:
    end = time.monotonic() + timeout
    while not (value := true()):
        assert time.monotonic() < end, f"not within {timeout:.0f} s: {what}"
        time.sleep(2)  # what asks takes processor time from what is waited for
    return value


@contextmanager
def measured(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"\nFIGURE {what}: {time.monotonic() - began:.1f} s", flush=True)


class Host:
    """What the tests share: the cloud's API, its one server, and how this host was before any of it."""

    def __init__(self) -> None:
        self.before = self.look()
        self.sdk: Any = None
        self.server: Any = None
        self.login: Any = None
        self.folder = Path("/root/test")

    def look(self) -> dict[str, set[str]]:
        """Everything on this host that a cloud could leave behind."""
        links = {line.split(": ")[1].partition("@")[0] for line in run("ip", "-o", "link").splitlines()}
        return {
            "interfaces": links,
            "namespaces": set(run("ip", "netns").split()),
            # /run/netns itself is a mount of iproute2's, from the first namespace to the next boot
            "mounts": {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
            - {"/run/netns"},
            "loop devices": {str(p) for p in Path("/sys/block").glob("loop*/loop/backing_file")},
            "cgroups": {str(p) for p in CGROUPS.rglob("*trilith*") if p.is_dir()},
            "processes": {line for line in self.processes().values() if "/trilith" in line},
            "tables": set(run("nft", "list", "tables").splitlines()),
            "datapaths": set(run("ovs-dpctl", "dump-dps").split()),
        }

    def processes(self) -> dict[int, str]:
        found = {}
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                try:
                    found[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                except OSError:
                    continue
        return {pid: line for pid, line in found.items() if "pytest" not in line}

    def wait_api(self) -> None:
        """Until `trilith up` says that it answers."""
        until(lambda: "Trilith answers at" in self.journal(), what=f"the API, of {UNIT}")
        self.facts = {"url": "http://127.0.0.1:7480/identity/v3", "user": "admin", "project": "admin"}
        text = Path("/root/.config/openstack/clouds.yaml").read_text()
        self.facts["password"] = text.partition("password: ")[2].split()[0]
        self.sdk = connect(self.facts)

    def journal(self) -> str:
        """Of the unit's present run."""
        shown = run("systemctl", "show", "-p", "InvocationID", "--value", UNIT).strip()
        return run("journalctl", "--no-pager", "-o", "cat", f"_SYSTEMD_INVOCATION_ID={shown}")

    def wait_node(self) -> Any:
        nodes = self.sdk.compute.hypervisors
        return until(lambda: [node for node in nodes(details=True) if node.state == "up"], what="the node")

    def inside(self, script: str, *, timeout: float = PATIENCE) -> tuple[int, str]:
        """By `trilith exec`: exit code and what it said."""
        argv = [TRILITH, "exec", "--timeout", f"{timeout:.0f}", self.server.name, "--", "sh", "-c", script]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout + 60, check=False)
        return done.returncode, done.stdout + done.stderr

    @property
    def group(self) -> Path:
        return CGROUPS / f"trilith-{self.server.id}"

    def limit(self, name: str) -> str:
        return (self.group / name).read_text().strip()

    def counted(self, name: str, key: str) -> int:
        return int(dict(line.split() for line in (self.group / name).read_text().splitlines())[key])

    def settled(self, status: str = "ACTIVE") -> Any:
        def look() -> Any:
            found = self.sdk.compute.get_server(self.server.id)
            assert found.status != "ERROR" or status == "ERROR", found.to_dict().get("fault")
            return found if found.status == status and not found.task_state else None

        self.server = until(look, what=f"{self.server.name} {status}")
        return self.server

    def init(self) -> int:
        """The container's first process, seen from here."""
        return min(map(int, (self.group / "cgroup.procs").read_text().split()))


@pytest.fixture(scope="module")
def host() -> Host:
    return Host()


def test_this_is_an_ordinary_host(host: Host) -> None:
    assert Path("/proc/1/comm").read_text() == "systemd\n"
    assert {"cpu", "memory", "io", "pids"} <= set((CGROUPS / "cgroup.controllers").read_text().split())
    assert Path("/sys/module/apparmor/parameters/enabled").read_text() == "Y\n"
    assert run("systemctl", "is-active", "lxcfs").strip() == "active"
    for name in ("openvswitch-switch", "ovn-central", "ovn-host", "lxc", "lxc-net"):
        assert run("systemctl", "is-active", name, ok=(3,)).strip() == "inactive", f"setup.sh leaves {name} alone"


def test_setup_finds_everything_there() -> None:
    said = run("bash", str(ROOT / "scripts/setup.sh"))
    assert "packages are there" in said
    assert "is installed" in said


def test_doctor_finds_no_problem() -> None:
    with measured("trilith doctor"):
        said = json.loads(run(TRILITH, "doctor", "--json", timeout=600))
    (STATE.parent / "doctor.json").write_text(json.dumps(said))
    text = json.dumps(said)
    assert '"problem"' not in text, text
    for words in ("cgroup v2: cpu, memory, pids", "AppArmor is active", "lxcfs is mounted", "limits hold: memory"):
        assert words in text, text


def test_unit_starts_the_cloud_and_its_node_offers_containers(host: Host) -> None:
    shutil.copy(ROOT / "deploy/trilith.service", "/etc/systemd/system/")
    run("systemctl", "daemon-reload")
    with measured("systemctl start to the first answer of the API"):
        run("systemctl", "enable", "--now", "trilith")
        host.wait_api()
    with measured("to the node, beyond that"):
        (node,) = host.wait_node()
    resources = {r.name: r for r in host.sdk.placement.resource_providers()}
    path = f"/resource_providers/{resources[node.name].id}/traits"
    traits = host.sdk.placement.get(path, microversion="1.6").json()["traits"]
    assert "CUSTOM_PILLAR_LXC" in traits
    assert "openvswitch" in Path("/proc/modules").read_text()
    assert run("ovs-vsctl", "--db=unix:/run/trilith/db.sock", "get", "Bridge", "br-int", "datapath_type") == "system\n"
    assert "br-int" in run("ovs-dpctl", "show")


def test_container_by_the_cli_is_reached_through_its_floating_ip(host: Host) -> None:
    image, built_now = pictures.built("tiny")
    assert not built_now
    pictures.upload(host.sdk, image)
    key, _ = make_key(host.folder)
    for name, vcpus, ram, disk in (("small", 1, 128, 1), ("large", 2, 256, 2)):
        flavor = host.sdk.compute.create_flavor(name=name, vcpus=vcpus, ram=ram, disk=disk)
        host.sdk.compute.create_flavor_extra_specs(
            flavor, {"trilith:processes": str(PROCESSES), "trilith:pillar": "lxc"}
        )
    argv = ("--pillar", "lxc", "--flavor", "small", "--public", "--key", f"{key}.pub", "--json")
    with measured("trilith launch --public"):
        run(TRILITH, "launch", "tiny", "first", *argv, timeout=600)
    (host.server,) = host.sdk.compute.servers(name="first")
    addresses = [a for nets in host.server.addresses.values() for a in nets]
    (floating,) = [a["addr"] for a in addresses if a["OS-EXT-IPS:type"] == "floating"]
    with measured("first answer of a ping to the floating IP"):
        until(lambda: "1 received" in run("ping", "-c1", "-W2", floating, ok=(0, 1)), what=f"ping {floating}")
    host.login = Login(floating, "tiny", key)
    host.login.wait(timeout=PATIENCE)
    said = run("ping", "-c", "20", "-i", "0.2", floating)
    assert "20 received" in said, said
    print("\nFIGURE ping", said.splitlines()[-1], flush=True)
    assert "recirc_id" in run("ovs-dpctl", "dump-flows", "system@ovs-system"), "the kernel moved them"
    # a checksum that nobody filled in would be seen here: more than fits into one packet, over TCP
    assert len(host.login.run("head -c 300000 /dev/zero | tr '\\0' x", timeout=120)) == 300_000


def test_exec_and_what_the_container_sees_of_the_host(host: Host) -> None:
    code, words = host.inside("id -u; hostname; awk '/MemTotal/ {print $2}' /proc/meminfo; cat /proc/self/uid_map")
    assert code == 0, words
    uid, name, memory, _, outside, size = words.split()
    assert (uid, name) == ("0", "first")
    assert int(memory) == 128 * 1024, "lxcfs shows its own memory"
    assert int(outside) >= 65536
    assert size == "65536"
    assert host.inside("exit 7")[0] == 7
    confined = Path(f"/proc/{host.init()}/attr/current").read_text()
    assert "lxc-" in confined, confined
    assert "(enforce)" in confined, confined


def test_limits_are_written_to_the_one_tree(host: Host) -> None:
    assert host.limit("cpu.max") == "100000 100000"
    assert host.limit("memory.max") == str(128 * _MIB)
    assert host.limit("memory.swap.max") == "0"
    assert host.limit("pids.max") == str(PROCESSES)
    # the root inside is nobody here: it may make groups below its own, and not lift its own limits
    for name in ("memory.max", "pids.max", "cpu.max"):
        code, words = host.inside(f"echo max > /sys/fs/cgroup/{name}")
        assert code != 0, (name, words)
    code, words = host.inside("mkdir /sys/fs/cgroup/own && rmdir /sys/fs/cgroup/own && echo made")
    assert (code, words.strip()) == (0, "made")


def test_memory_hog_is_killed_inside(host: Host) -> None:
    code, _ = host.inside("exec tail -c 300000000 /dev/zero")
    assert code in (9, 137)
    assert host.counted("memory.events", "oom_kill") >= 1
    assert int(host.limit("memory.peak" if (host.group / "memory.peak").exists() else "memory.current")) <= 128 * _MIB
    assert host.settled().status == "ACTIVE"
    assert run("systemctl", "is-active", UNIT).strip() == "active", "the unit is not touched by it"


def test_busy_loops_get_one_processor(host: Host) -> None:
    before, began = host.counted("cpu.stat", "usage_usec"), time.monotonic()
    host.inside("for i in 1 2; do timeout 8 sh -c 'while :; do :; done' & done; wait")
    used, wall = (host.counted("cpu.stat", "usage_usec") - before) / 1e6, time.monotonic() - began
    assert used <= wall * 1.15 + 0.2, (used, wall)
    assert host.counted("cpu.stat", "nr_throttled") > 0


def test_processes_end_at_the_limit(host: Host) -> None:
    script = f"i=0; while [ $i -lt {PROCESSES + 20} ]; do sleep 20 >/dev/null 2>&1 & i=$((i+1)); done; wait"
    code, words = host.inside(script)
    assert code != 0
    assert "fork" in words, words
    assert host.counted("pids.events", "max") >= 1
    until(lambda: int(host.limit("pids.current")) < 30, what="the sleepers' end")


def test_disk_is_full_at_its_limit(host: Host) -> None:
    code, words = host.inside("dd if=/dev/zero of=/big bs=1M count=1200 2>&1; sync; du -m /big | cut -f1")
    assert "quota exceeded" in words or "No space" in words, words
    assert 900 <= int(words.split()[-1]) <= 1024, words
    assert host.inside("echo more > /more && sync")[0] != 0
    code, words = host.inside("rm /big; echo kept > /kept; sync; cat /kept")
    assert words.strip() == "kept", words
    assert code == 0


def test_paused_by_the_freezer_it_uses_no_processor(host: Host) -> None:
    compute = host.sdk.compute
    compute.pause_server(host.server)
    host.settled("PAUSED")
    assert host.counted("cgroup.events", "frozen") == 1
    before = host.counted("cpu.stat", "usage_usec")
    time.sleep(3)
    assert host.counted("cpu.stat", "usage_usec") == before
    code, words = host.inside("true")
    assert code != 0
    assert "paused" in words, words
    compute.unpause_server(host.server)
    host.settled()
    assert host.counted("cgroup.events", "frozen") == 0
    host.login.wait(timeout=PATIENCE)


def test_resize_takes_hold_and_keeps_what_it_wrote(host: Host) -> None:
    compute = host.sdk.compute
    with measured("resize"):
        compute.resize_server(host.server, compute.find_flavor("large").id)
        host.settled("VERIFY_RESIZE")
        compute.confirm_server_resize(host.server)
        host.settled()
    assert host.limit("cpu.max") == "200000 100000"
    assert host.limit("memory.max") == str(256 * _MIB)
    code, words = host.inside("head -c 150000000 /dev/zero | tail -c 150000000 | wc -c; cat /kept")
    assert words.split() == ["150000000", "kept"], (code, words)


def test_reboots(host: Host) -> None:
    for kind in ("SOFT", "HARD"):
        host.login.wait(timeout=PATIENCE)
        init = host.init()
        with measured(f"{kind.lower()} reboot to a log-in"):
            host.sdk.compute.reboot_server(host.server, kind)
            host.settled()
            host.login.wait(timeout=PATIENCE)
        assert host.init() != init
        assert host.limit("memory.max") == str(256 * _MIB)


def test_stopped_unit_leaves_guests_and_its_start_adopts_them(host: Host) -> None:
    init = host.init()
    daemons = {pid: line for pid, line in host.processes().items() if "/run/trilith/" in line}
    assert len(daemons) >= 5, daemons
    with measured("systemctl stop"):
        run("systemctl", "stop", "trilith")
    assert run("systemctl", "is-active", "trilith", ok=(3,)).strip() == "inactive"
    assert host.init() == init
    assert {pid: line for pid, line in host.processes().items() if "/run/trilith/" in line} == daemons
    assert host.login.run("echo here") == "here\n"
    with measured("systemctl start to the API, over a running server"):
        run("systemctl", "start", "trilith")
        host.wait_api()
    host.wait_node()
    assert host.settled().name == "first"
    assert host.init() == init
    assert {pid: line for pid, line in host.processes().items() if "/run/trilith/" in line} == daemons
    assert host.inside("cat /kept")[1] == "kept\n"
    assert "adopted" in host.journal()


def test_killed_unit_is_restarted_and_adopts_them(host: Host) -> None:
    init = host.init()
    run("systemctl", "kill", "--kill-whom=main", "-s", "KILL", UNIT)
    until(lambda: run("systemctl", "show", "-p", "NRestarts", "--value", UNIT).strip() == "1", what="a restart")
    host.wait_api()
    host.wait_node()
    assert host.init() == init
    assert host.login.run("echo here") == "here\n"


def test_delete_leaves_nothing_of_it(host: Host) -> None:
    name = host.server.id
    run(TRILITH, "launch", "tiny", "second", "--pillar", "lxc", "--flavor", "small", timeout=600)
    (second,) = host.sdk.compute.servers(name="second")
    gone, host.server = host.server, second
    run(TRILITH, "delete", "--yes", gone.name)
    until(lambda: not host.sdk.compute.find_server(gone.id), what="the server's end")
    traces = [str(p) for p in CGROUPS.rglob(f"*{name}*")] + [line for line in host.processes().values() if name in line]
    traces += [str(p) for p in (STATE / "node").rglob(f"*{name}*")]
    traces += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line]
    assert traces == []
    assert host.inside("echo the other goes on")[1] == "the other goes on\n"


def test_down_with_guests_leaves_the_host_as_it_was(host: Host) -> None:
    with measured("trilith down --guests"):
        print(run(TRILITH, "down", "--guests", "--yes"))
    assert run("systemctl", "is-active", "trilith", ok=(3,)).strip() == "inactive", "it is not started again"
    after = host.look()
    left = {what: after[what] - known for what, known in host.before.items() if after[what] - known}
    assert left == {}
