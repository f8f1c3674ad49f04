"""A container and a machine on one real network, used as a user does: through the public API and over ssh."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.harness import Cloud, cloud, until
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
SCRIPT = "#!/bin/sh\necho made-by-user-data > /root/mark\nchmod 644 /root/mark; chmod 755 /root\n"


class Guest:
    """One server that the tests of its pillar share."""

    def __init__(self, cloud: Cloud, name: str, pillar: str) -> None:
        self.cloud, self.name, self.pillar = cloud, name, pillar
        user_data = base64.b64encode(SCRIPT.encode()).decode()
        networks = [{"uuid": cloud.network.id, "tag": "first"}]
        self.server = cloud.order(
            name, pillar, user_data=user_data, config_drive=True, metadata={"colour": "red"}, networks=networks
        )

    def ready(self) -> None:
        self.server = self.cloud.wait(self.server)
        self.address = self.cloud.address(self.server)
        self.floating = self.cloud.float(self.server)
        self.login = self.cloud.login(self.floating)

    def settled(self, status: str = "ACTIVE") -> None:
        self.server = self.cloud.wait(self.server, status)
        if status == "ACTIVE":
            self.login.wait(timeout=180)

    def born(self) -> str:
        """Changes with each start, of a container too: when its first process began, in ticks."""
        return self.login.run("cut -d' ' -f22 /proc/1/stat; cat /proc/sys/kernel/random/boot_id")


@pytest.fixture(scope="module")
def real(tiny_image: BuiltImage) -> Iterator[Cloud]:
    with cloud(tiny_image) as running:
        yield running


@pytest.fixture(scope="module")
def guests(real: Cloud) -> dict[str, Guest]:
    found = {pillar: Guest(real, f"{pillar}1", pillar) for pillar in PILLARS}
    for guest in found.values():
        guest.ready()
    return found


@pytest.fixture(params=PILLARS)
def guest(request: pytest.FixtureRequest, guests: dict[str, Guest]) -> Guest:
    return guests[request.param]


def test_each_is_logged_in_to_by_its_floating_ip(guest: Guest) -> None:
    assert guest.login.run("hostname").strip() == guest.name


def test_each_reaches_the_other_by_address_and_by_name(guests: dict[str, Guest]) -> None:
    for one, other in ((guests["lxc"], guests["kvm"]), (guests["kvm"], guests["lxc"])):
        one.login.run(f"ping -c 1 -W 5 {other.address}")
        assert other.address in one.login.run(f"ping -c 1 -W 5 {other.name}")


def test_a_port_outside_of_the_security_group_is_closed(guest: Guest) -> None:
    guest.login.run("(nc -l -p 8080 </dev/null >/dev/null 2>&1 &) ; sleep 0.2")
    with socket.create_connection((guest.floating, 22), timeout=5):
        pass
    with pytest.raises(TimeoutError):
        socket.create_connection((guest.floating, 8080), timeout=1.5).close()


def _metadata(guest: Guest) -> dict[str, Any]:
    text = guest.login.run("curl -sf -m 10 http://169.254.169.254/openstack/latest/meta_data.json")
    found: dict[str, Any] = json.loads(text)
    return found


def _tagged(document: dict[str, Any]) -> dict[str, str]:
    """MAC address of each interface with a tag."""
    return {tag: d["mac"] for d in document["devices"] if d["type"] == "nic" for tag in d["tags"]}


def test_metadata_by_http(guest: Guest) -> None:
    document = _metadata(guest)
    assert document["uuid"] == guest.server.id
    assert document["meta"] == {"colour": "red"}
    assert _tagged(document) == {"first": guest.cloud.port(guest.server).mac_address}
    name = guest.login.run("curl -sf -m 10 http://169.254.169.254/latest/meta-data/hostname")
    assert name.partition(".")[0] == guest.name


def test_who_is_not_root_finds_the_config_drive_by_its_label(guests: dict[str, Guest]) -> None:
    assert guests["kvm"].login.run("blkid -L config-2 -o device").strip() == "/dev/vdb"


def test_a_password_asked_for_while_the_guest_boots_is_kept(guests: dict[str, Guest]) -> None:
    cloud = guests["kvm"].cloud
    server = cloud.boot("kvm-early", "kvm", admin_password="0lder one")
    cloud.sdk.compute.change_server_password(server, "n3wer one")
    login = cloud.login(cloud.float(server))
    kept = login.run("sudo awk -F: '$1 == \"tiny\" { print $2 }' /etc/shadow").strip()
    made = login.run(f"printf 'n3wer one\\n' | mkpasswd -m sha512 -P 0 -S {kept.split('$')[2]}").strip()
    cloud.delete(server)
    assert made == kept


def test_metadata_on_the_config_drive(guest: Guest) -> None:
    if guest.pillar == "lxc":
        text = guest.login.run("sudo cat /config-drive/openstack/latest/meta_data.json")
    else:
        mount = "sudo mkdir -p /run/cd && sudo mount -o ro $(sudo blkid -L config-2) /run/cd"
        text = guest.login.run(f"{mount} && sudo cat /run/cd/openstack/latest/meta_data.json; sudo umount /run/cd")
    assert json.loads(text)["uuid"] == guest.server.id
    assert _tagged(json.loads(text)) == {"first": guest.cloud.port(guest.server).mac_address}


def test_the_user_data_script_ran(guest: Guest) -> None:
    def ran() -> bool:
        return "made-by-user-data" in guest.login.run("sudo cat /root/mark || true")

    until(ran, timeout=30, what="the script's mark")


def test_console_log(guest: Guest) -> None:
    text = guest.cloud.sdk.compute.get_server_console_output(guest.server, length=200)["output"]
    assert len(text.splitlines()) > 3, text


@pytest.mark.parametrize("how", ["SOFT", "HARD"])
def test_reboot(guest: Guest, how: str) -> None:
    before = guest.born()
    guest.cloud.sdk.compute.reboot_server(guest.server, how)
    guest.settled()
    assert guest.born() != before


def test_stop_and_start(guest: Guest) -> None:
    compute = guest.cloud.sdk.compute
    compute.stop_server(guest.server)
    guest.settled("SHUTOFF")
    with pytest.raises(OSError):
        socket.create_connection((guest.floating, 22), timeout=1).close()
    compute.start_server(guest.server)
    guest.settled()


def test_a_new_password_is_the_administrators(guest: Guest) -> None:
    guest.cloud.sdk.compute.change_server_password(guest.server, "n3w: one")
    kept = guest.login.run("sudo awk -F: '$1 == \"tiny\" { print $2 }' /etc/shadow").strip()
    _, method, salt, _ = kept.split("$")
    assert method == "6"
    made = guest.login.run(f"printf 'n3w: one\\n' | mkpasswd -m sha512 -P 0 -S {salt}").strip()
    assert made == kept


def test_rescue_boots_another_root_with_its_own_beside_it(guests: dict[str, Guest]) -> None:
    guest, compute = guests["kvm"], guests["kvm"].cloud.sdk.compute
    guest.login.run("echo mine > rescued; sync")
    compute.rescue_server(guest.server)
    guest.settled("RESCUE")
    guest.login.wait(timeout=180)
    assert (
        guest.login.run("cat rescued 2>/dev/null || sudo mount /dev/vdb /mnt; cat /mnt/home/tiny/rescued") == "mine\n"
    )
    guest.login.run("echo told | sudo tee /mnt/home/tiny/rescued; sudo umount /mnt")
    compute.unrescue_server(guest.server)
    guest.settled()
    assert guest.login.run("cat rescued; lsblk -no NAME").split() == ["told", "vda", "vdb"]  # its root and its drive


def test_pause_and_unpause(guest: Guest) -> None:
    compute = guest.cloud.sdk.compute
    compute.pause_server(guest.server)
    guest.settled("PAUSED")
    try:
        # a frozen container's kernel still answers pings and connections, its programs do not
        with pytest.raises(OSError), socket.create_connection((guest.floating, 22), timeout=2) as ssh:
            ssh.recv(1)
    finally:
        compute.unpause_server(guest.server)
        guest.settled()


def test_interface_attach_and_detach(guest: Guest) -> None:
    compute = guest.cloud.sdk.compute
    own = guest.cloud.port(guest.server).mac_address
    made = compute.create_server_interface(guest.server, net_id=guest.cloud.network.id, tag="later")
    second = made.fixed_ips[0]["ip_address"]
    mac = made.mac_addr
    until(lambda: mac in guest.login.run("ip link"), timeout=30, what=f"a second interface in {guest.name}")
    until(lambda: _tagged(_metadata(guest)) == {"first": own, "later": mac}, timeout=30, what=f"tags of {guest.name}")
    assert {p.fixed_ips[0]["ip_address"] for p in guest.cloud.sdk.network.ports(device_id=guest.server.id)} == {
        guest.address,
        second,
    }
    compute.delete_server_interface(made, server=guest.server)
    until(lambda: mac not in guest.login.run("ip link"), timeout=30, what=f"one interface less in {guest.name}")
    guest.login.run(f"ping -c 1 -W 5 {guest.cloud.sdk.network.find_subnet('inner').gateway_ip}")


def _size(guest: Guest) -> tuple[int, int]:
    """MiB of memory and of disk; a container's memory is its limit, and its disk shows by filling it."""
    if guest.pillar == "kvm":
        memory = int(guest.login.run("awk '/MemTotal/ {print int($2/1024)}' /proc/meminfo"))
        disk = int(guest.login.run("sudo lsblk -bno SIZE /dev/vda")) >> 20
        return memory, disk
    group = f"trilith-{guest.server.id}"
    files = (f"/sys/fs/cgroup/memory/{group}/memory.limit_in_bytes", f"/sys/fs/cgroup/{group}/memory.max")
    limit = next(path for path in map(Path, files) if path.exists())
    return int(limit.read_text()) >> 20, 0


def _fill(guest: Guest, mib: int) -> bool:
    """Whether the container's disk takes so much."""
    write = f"dd if=/dev/zero of=fill bs=1M count={mib} 2>/dev/null && sync && echo fits"
    said = guest.login.run(f"{write}; rm -f fill; sync", timeout=90)
    return "fits" in said


def _resize(guest: Guest, flavor: str) -> None:
    compute = guest.cloud.sdk.compute
    compute.resize_server(guest.server, compute.find_flavor(f"{flavor}.{guest.pillar}").id)
    guest.settled("VERIFY_RESIZE")
    guest.login.wait(timeout=180)


def test_resize_reverted_is_as_before_and_confirmed_is_larger(guest: Guest) -> None:
    compute = guest.cloud.sdk.compute
    small = _size(guest)
    _resize(guest, "large")
    large = _size(guest)
    assert large[0] >= small[0] + 100
    compute.revert_server_resize(guest.server)
    guest.settled()
    assert _size(guest) == small
    if guest.pillar == "lxc":
        assert not _fill(guest, 1200)
    _resize(guest, "large")
    compute.confirm_server_resize(guest.server)
    guest.settled()
    assert _size(guest) == large
    if guest.pillar == "lxc":
        assert _fill(guest, 1200)
    else:
        assert large[1] == 2 * 1024


def test_snapshot_and_a_server_from_it(guest: Guest) -> None:
    compute = guest.cloud.sdk.compute
    guest.login.run("echo kept > kept; sync")
    image = compute.create_server_image(guest.server, f"{guest.name}-image", wait=True, timeout=180)
    guest.settled()
    copy = guest.cloud.boot(f"{guest.name}-copy", guest.pillar, image=f"{guest.name}-image", flavor="large")
    login = guest.cloud.login(guest.cloud.float(copy))
    assert login.run("cat kept; hostname").split() == ["kept", f"{guest.name}-copy"]
    guest.cloud.delete(copy)
    guest.cloud.sdk.image.delete_image(image.id)
    assert guest.cloud.traces(copy.id) == []


def _host_key(guest: Guest) -> str:
    argv = ["ssh-keyscan", "-T", "10", guest.floating]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    return "\n".join(sorted(line for line in said.splitlines() if not line.startswith("#")))


def test_rebuild_keeps_addresses_and_makes_new_host_keys(guest: Guest) -> None:
    compute = guest.cloud.sdk.compute
    before = _host_key(guest)
    guest.login.run("echo lost > /home/tiny/lost; sync")
    image = guest.cloud.sdk.image.find_image("tiny")
    compute.rebuild_server(guest.server, image=image.id, name=guest.name)
    guest.settled()
    assert guest.cloud.address(guest.server) == guest.address
    assert guest.login.run("ls /home/tiny").split() == []
    after = _host_key(guest)
    assert before
    assert after
    assert after != before


def test_delete_leaves_nothing(guests: dict[str, Guest], real: Cloud) -> None:
    """Last of this file: it takes the servers of the others."""
    ids = [g.server.id for g in guests.values()]
    ports = [real.port(g.server).id for g in guests.values()]
    real.delete(*(g.server for g in guests.values()))
    assert [t for i in ids for t in real.traces(i)] == []
    assert [p.id for p in real.sdk.network.ports() if p.id in ports] == []
    assert real.guests() == {}


def test_down_with_guests_leaves_nothing(real: Cloud) -> None:
    servers: list[Any] = [real.order(f"last-{pillar}", pillar) for pillar in PILLARS]
    for server in servers:
        real.wait(server)
    real.up.down()
    real.up.stop()
    assert {p: line for p, line in real.namespace.processes().items() if p != os.getpid()} == {}
    assert real.namespace.interfaces() <= {"lo", "ifb0", "ifb1"}
    text = [m for m in Path("/proc/self/mountinfo").read_text().splitlines() if str(real.state) in m]
    assert text == []
