"""GuestSpec → liblxc's configuration, beside files that a person has read. TRILITH_GOLDEN=write writes them anew."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from trilith.drivers.lxc import cgroup, config, host, state
from trilith.errors import Invalid
from trilith.model.guest import Artefact, GuestSpec, ImageForm, MachineIdentity, NicSpec, Pillar

GOLDEN = Path(__file__).parents[1] / "golden" / "lxc"
ROOT = Path("/sys/fs/cgroup")
V1 = cgroup.Layout(
    1,
    {name: ROOT / name for name in ("cpu", "cpuacct", "memory", "pids", "freezer")},
    tuple(ROOT / name for name in ("cpu", "cpuacct", "memory", "pids", "freezer", "systemd")),
    swap=True,
)
V2 = cgroup.Layout(2, dict.fromkeys(("cpu", "memory", "pids", "io", "freezer"), ROOT), (ROOT,), swap=True)
PATHS = state.Paths(Path("/var/lib/trilith/lxc"))
PLAIN = GuestSpec(
    server_id="5f0bb1d8-2a27-4c0f-9e0a-0d7a2f6d0001",
    project_id="p",
    cloud_id="c0ffee",
    name="web1",
    hostname="web1",
    pillar=Pillar.LXC,
    vcpus=2,
    memory_mib=512,
    disk_gib=10,
    image=Artefact(sha256="a" * 64, form=ImageForm.ROOTFS, path="/var/lib/trilith/images/aa/rootfs", size_mib=190),
    identity=MachineIdentity(smbios_uuid="u", id_base=1_000_000),
)
NICS = (
    NicSpec(port_id="p1", mac="fa:16:3e:00:00:01", ifname="tp-5f0bb1d8a", mtu=1442),
    NicSpec(port_id="p2", mac="fa:16:3e:00:00:02", ifname="tp-5f0bb1d8b", mtu=1500, guest_name="mgmt"),
)
SYSTEMD = config.Init("/sbin/init", 37, 2)
CASES: dict[str, tuple[GuestSpec, config.HostConfig]] = {
    "v1-plain": (PLAIN, config.HostConfig(V1, apparmor=False)),
    "v1-no-swap-accounting": (PLAIN, config.HostConfig(replace(V1, swap=False), apparmor=False)),
    "v2-everything": (
        replace(PLAIN, nics=NICS, config_drive="/var/lib/trilith/drives/1", processes_max=100),
        config.HostConfig(V2, apparmor=True, lxcfs=("proc/meminfo", "proc/cpuinfo"), ovs_db="/run/ovs/db.sock"),
    ),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_configuration(name: str) -> None:
    spec, host_config = CASES[name]
    text = config.render(spec, host_config, PATHS, SYSTEMD)
    path = GOLDEN / f"{name}.conf"
    if os.environ.get("TRILITH_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.lxc
@pytest.mark.parametrize("name", sorted(CASES))
def test_liblxc_takes_it(name: str, tmp_path: Path) -> None:
    """lxc-info reads a value back through liblxc's own parser, which refuses a key it does not know."""
    home = tmp_path / PLAIN.server_id
    home.mkdir()
    (home / "config").write_text((GOLDEN / f"{name}.conf").read_text())
    tool = shutil.which("lxc-info")
    assert tool
    argv = [tool, "-P", str(tmp_path), "-n", PLAIN.server_id, "-c", "lxc.uts.name"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "lxc.uts.name = web1"), done.stderr


def test_hook_settings_are_safe_to_source() -> None:
    host_config = config.HostConfig(V1, apparmor=False, ovs_db="/a b/$(id)'.sock", offload_off=True)
    text = config.hook_settings((("tap0", "eth0"), ("tap1", "eth1")), host_config)
    script = f'{text}\nprintf "%s|%s|%s|%s" "$OVS_DB" "$BRIDGE" "$OFFLOAD_OFF" "$NICS"'
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "unix:/a b/$(id)'.sock|br-int|1|tap0=eth0 tap1=eth1"


@pytest.mark.parametrize(
    ("target", "properties", "expected"),
    [
        ("/usr/lib/systemd/systemd", {}, ("/sbin/init", 37, 2)),
        ("/bin/busybox", {}, ("/sbin/init", 12, 15)),
        ("/sbin/init", {}, ("/sbin/init", 30, 2)),
        ("/bin/busybox", {"trilith_init": "/opt/init"}, ("/opt/init", 30, 2)),
        ("", {"trilith_halt_signal": "SIGRTMIN+3", "trilith_reboot_signal": "term"}, ("/sbin/init", 37, 15)),
    ],
)
def test_signals(target: str, properties: dict[str, str], expected: tuple[str, int, int]) -> None:
    init = config.init_of(properties, target)
    assert (init.path, init.halt, init.reboot) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"hostname": "web1\nlxc.idmap = u 0 0 1"},
        {"hostname": ""},
        {"hostname": "x" * 64},
        {"hostname": ".".join(["x" * 63] * 5)},
        {"memory_mib": 0},
        {"identity": MachineIdentity(smbios_uuid="u", id_base=(1 << 32) - 65535)},
        {"server_id": "a/b"},
        {"cloud_id": "a b"},
        {"nics": (replace(NICS[0], mac="fa:16"),)},
        {"nics": (replace(NICS[0], ifname="longer-than-fifteen"),)},
        {"nics": (replace(NICS[0], guest_name="a b"),)},
        {"nics": (replace(NICS[0], mtu=20),)},
        {"image": replace(PLAIN.image, path="/a/../b")},
        {"image": replace(PLAIN.image, size_mib=10241)},
    ],
)
def test_refused(changes: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        config.check(replace(PLAIN, **changes))  # type: ignore[arg-type]


def test_the_kernel_gets_the_first_label_of_a_name_with_its_domain() -> None:
    """Its bound is 64 bytes, a qualified name's 255."""
    spec = replace(PLAIN, hostname="x" * 63 + ".example.org")
    text = config.render(spec, CASES["v1-plain"][1], PATHS, SYSTEMD)
    assert f"lxc.uts.name = {'x' * 63}\n" in text


def test_names_inside_do_not_collide() -> None:
    named = config.with_names((NICS[0], replace(NICS[0], guest_name="eth0"), replace(NICS[0], port_id="p3")))
    assert [nic.guest_name for nic in named] == ["eth1", "eth0", "eth2"]


def test_init_is_looked_up_inside_of_the_image(tmp_path: Path) -> None:
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "usr/lib/systemd").mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/systemd").touch()
    (tmp_path / "sbin").symlink_to("usr/sbin")
    (tmp_path / "lib").symlink_to("/usr/lib")
    (tmp_path / "usr/sbin/init").symlink_to("/../../lib/systemd/systemd")
    assert host.init_target(str(tmp_path)) == "/usr/lib/systemd/systemd"
    (tmp_path / "usr/sbin/init").unlink()
    assert host.init_target(str(tmp_path)) == ""
    (tmp_path / "usr/sbin/init").symlink_to("init")
    assert host.init_target(str(tmp_path)) == ""
