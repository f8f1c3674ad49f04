"""Images for real: built from the distribution's packages, unpacked, and booted as machines under emulation."""

# ruff: noqa: ASYNC240 (a stat in a test blocks nobody)

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from trilith.agent.config_drive import write_iso
from trilith.drivers.contract import BlobSource
from trilith.drivers.storage import DirStorage
from trilith.errors import Unsupported
from trilith.images import BuiltImage, build
from trilith.model.guest import Artefact, ImageForm
from trilith.model.instance import FixedAddress, InstanceData, InstanceNic, Keypair

QEMU = "qemu-system-x86_64"
NEEDED = ("apt-get", "dpkg-deb", "zstd", "qemu-img", "mke2fs")
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool([t for t in NEEDED if shutil.which(t) is None]), reason=f"needs {', '.join(NEEDED)}"),
]

#: QEMU's own first MAC and what its user network hands out.
NIC = InstanceNic(
    port_id="5f1e7a7c-52e0-4b6c-9d1d-70a3a6d2c0b1", network_id="0f7c1b2a-9a43-4b0a-8f0a-4b7e3f0f8f11",
    mac="52:54:00:12:34:56", link="tap0", mtu=1500,
    addresses=(FixedAddress(address="10.0.2.15", cidr="10.0.2.0/24", gateway="10.0.2.2", dhcp=True),),
)  # fmt: skip


class Machine:
    """A VM under TCG with its serial line, its QMP and a forwarded ssh port."""

    def __init__(self, process: asyncio.subprocess.Process, qmp: Path, port: int, key: Path) -> None:
        self.process, self.qmp, self.port, self.key = process, qmp, port, key
        self.log = ""
        self.started = time.monotonic()

    async def until(self, text: str, *, timeout: float) -> float:
        """Seconds from power-on to `text` on the serial line."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(timeout):
                while text not in self.log:
                    chunk = await self.process.stdout.read(4096)
                    assert chunk, f"QEMU ended before {text!r}:\n{self.log[-3000:]}"
                    self.log += chunk.decode(errors="replace")
        except TimeoutError:
            pytest.fail(f"no {text!r} within {timeout} s:\n{self.log[-3000:]}")
        return time.monotonic() - self.started

    async def ssh(self, user: str, command: str) -> str:
        process = await asyncio.create_subprocess_exec(
            "ssh", "-i", str(self.key), "-p", str(self.port), "-o", "StrictHostKeyChecking=no",
            "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-o", "ConnectTimeout=80",
            f"{user}@127.0.0.1", command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), 120)
        assert process.returncode == 0, f"{command}: {process.returncode}\n{out.decode()}\n{err.decode()}"
        return out.decode()

    async def power_button(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self.qmp)
        await reader.readline()  # its greeting
        for command in ("qmp_capabilities", "system_powerdown"):
            writer.write(json.dumps({"execute": command}).encode() + b"\n")
            await writer.drain()
            await reader.readline()
        writer.close()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


@asynccontextmanager
async def machine(image: Artefact, disk: str, iso: Path, folder: Path, *, memory: int) -> AsyncIterator[Machine]:
    port, qmp = free_port(), folder / "qmp"
    process = await asyncio.create_subprocess_exec(
        QEMU, "-machine", "q35,accel=tcg", "-cpu", "max", "-m", str(memory), "-display", "none", "-serial", "stdio",
        "-no-reboot", "-kernel", image.kernel, "-initrd", image.initrd, "-append", image.cmdline + " quiet",
        "-drive", f"file={disk},if=virtio,format=qcow2", "-drive", f"file={iso},if=virtio,format=raw,readonly=on",
        "-netdev", f"user,id=n,hostfwd=tcp:127.0.0.1:{port}-:22", "-device", "virtio-net-pci,netdev=n,romfile=",
        "-smbios", "type=1,product=OpenStack Nova", "-qmp", f"unix:{qmp},server=on,wait=off",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield Machine(process, qmp, port, folder / "key")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def server(folder: Path, user_data: str) -> InstanceData:
    command = ["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(folder / "key")]
    subprocess.run(command, check=True)
    return InstanceData(
        uuid="83679162-1378-4288-a2d4-70e13ec132aa",
        name="web1",
        hostname="web1.novalocal",
        project_id="p",
        keys=(Keypair(name="k", public_key=(folder / "key.pub").read_text()),),
        user_data=user_data.encode(),
        admin_pass="S3cret",
        networks=(NIC,),
    )


def blob(made: BuiltImage) -> BlobSource:
    return BlobSource(sha256=made.sha256, path=str(made.path), disk_format=made.disk_format, properties=made.properties)


def inside(root: str, script: str) -> str:
    """The output of a script run with an image's own programs."""
    done = subprocess.run(["chroot", root, "/bin/sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """Built once for all tests of this file."""
    steps: list[float] = []

    async def make() -> BuiltImage:
        return await build("tiny", tmp_path_factory.mktemp("tiny"), progress=lambda what, part: steps.append(part))

    begun = time.monotonic()
    made = asyncio.run(make())
    print(f"tiny: {made.path.stat().st_size >> 20} MiB in {time.monotonic() - begun:.1f} s")
    assert steps == sorted(steps)
    assert steps[-1] == 1.0
    assert os.listdir(made.path.parent) == ["tiny.tar.zst"]
    return made


WANTED = """
    awk blkid busybox chpasswd curl cut dbclient df dropbear e2fsck getty ip lsblk mke2fs mkfs.ext4 modprobe mount nc
    ping ping6 poweroff qemu-ga reboot resize2fs sed ssh stty sudo udhcpc umount wget
""".split()  # noqa: SIM905 (read as a line of words)


async def test_tiny_holds_what_guests_need(tiny: BuiltImage, tmp_path: Path) -> None:
    driver = DirStorage(tmp_path / "state")
    root = (await driver.realize(blob(tiny), ImageForm.ROOTFS)).path

    async def run(script: str) -> str:
        return await asyncio.to_thread(inside, root, script)

    assert await run("set -eu -o pipefail; echo a b | cut -d' ' -f2 | awk '{print $1}'") == "b\n"
    assert (await run("command -v " + " ".join(WANTED))).count("\n") == len(WANTED)
    # each runs, so each has its libraries; ping and nc are the whole ones, not busybox's
    for command in ("lsblk --version", "blkid --version", "curl --version", "ping -V", "sudo --version", "mke2fs -V",
                    "qemu-ga --version"):  # fmt: skip
        await run(f"{command} 2>&1")
    assert "iputils" in await run("ping -V")
    assert "OpenBSD" in await run("nc -h 2>&1 || true")
    assert await run("su tiny -c 'sudo -n id -u'") == "0\n"
    await run("echo 'tiny:a: b' | chpasswd && awk -F: '$1 == \"tiny\" { exit $2 !~ /^[$]6[$]/ }' /etc/shadow")
    assert "no user nobody2" in await run("printf 'tiny:new\nnobody2:x\n' | chpasswd 2>&1 || true")
    await run("dropbearkey -t ecdsa -f /tmp/k >&2 && test -s /tmp/k && rm /tmp/k")
    assert not [p for p in Path(root).rglob("*") if p.is_block_device() or p.is_char_device()]


USER_DATA = """#!/bin/sh
echo "user-data of $(hostname) as $(id -un)"
df -m / | awk 'NR == 2 { print "root has " ($2 > 900 ? "grown" : "not grown: " $2) }'
"""


@pytest.mark.libvirt
@pytest.mark.parametrize("memory", [80, 256])
async def test_tiny_boots_as_a_machine(tiny: BuiltImage, tmp_path: Path, memory: int) -> None:
    driver = DirStorage(tmp_path / "state")
    image = await driver.realize(blob(tiny), ImageForm.DISK)
    disk = await driver.create_disk("vm", size_gib=1, backing=image)
    await write_iso(server(tmp_path, USER_DATA), tmp_path / "drive.iso")
    async with machine(image, disk, tmp_path / "drive.iso", tmp_path, memory=memory) as vm:
        seconds = await vm.until("web1 login:", timeout=120)
        print(f"tiny with {memory} MiB: login after {seconds:.1f} s")
        await vm.until("user data ended with 0", timeout=60)
        assert "user-data of web1 as root" in vm.log
        assert "root has grown" in vm.log
        await vm.until("tiny: eth0 10.0.2.15/24", timeout=30)
        assert await vm.ssh("tiny", "set -eu -o pipefail; sudo -n id -u") == "0\n"
        assert "vda  disk" in await vm.ssh("root", "lsblk -o NAME,TYPE")
        assert "config-2" in await vm.ssh("tiny", "sudo blkid")
        assert "not found" not in vm.log
        await vm.power_button()
        assert await asyncio.wait_for(vm.process.wait(), 60) == 0


async def test_ubuntu_is_refused_plainly_without_its_packages(tmp_path: Path) -> None:
    sources = "\n".join(p.read_text() for p in Path("/etc/apt").rglob("*") if p.suffix in {".list", ".sources"})
    if "noble" in sources:
        pytest.skip("this host has Ubuntu's packages")
    with pytest.raises(Unsupported, match="serves ubuntu noble"):
        await build("ubuntu-24.04", tmp_path, progress=lambda what, part: None)
    assert os.listdir(tmp_path) == []


def enabled(root: str) -> set[str]:
    """Units that something wants (the links' targets are the image's own paths, so they dangle here)."""
    return {unit for _, _, names in os.walk(Path(root, "etc/systemd/system")) for unit in names}


@pytest.mark.journey
@pytest.mark.libvirt
@pytest.mark.timeout(1500)
@pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="needs mmdebstrap")
async def test_debian_serves_containers_and_machines(tmp_path: Path) -> None:
    begun = time.monotonic()
    made = await build("debian-12", tmp_path / "out", progress=lambda what, part: None)
    print(f"debian-12: {made.path.stat().st_size >> 20} MiB in {time.monotonic() - begun:.0f} s")
    assert os.listdir(tmp_path / "out") == ["debian-12.tar.zst"]
    driver = DirStorage(tmp_path / "state")
    root = (await driver.realize(blob(made), ImageForm.ROOTFS)).path
    assert not list(Path(root, "etc/ssh").glob("ssh_host_*"))
    assert Path(root, "etc/machine-id").read_bytes() == b""
    assert Path(root, "etc/hostname").read_text() == "localhost\n"
    assert not list(Path(root, "var/lib/apt/lists").iterdir())
    assert {"systemd-networkd.service", "systemd-resolved.service", "ssh.service"} <= enabled(root)
    image = await driver.realize(blob(made), ImageForm.DISK)
    disk = await driver.create_disk("vm", size_gib=2, backing=image)
    await write_iso(server(tmp_path, "#!/bin/sh\necho user-data of $(hostname)\n"), tmp_path / "drive.iso")
    async with machine(image, disk, tmp_path / "drive.iso", tmp_path, memory=512) as vm:
        seconds = await vm.until("web1 login:", timeout=600)
        print(f"debian-12: login after {seconds:.0f} s of emulation")
        await vm.until("DataSourceConfigDrive", timeout=300)
        assert "user-data of web1" in vm.log
        assert await vm.ssh("debian", "sudo -n id -u") == "0\n"
        assert await vm.ssh("debian", "systemctl is-system-running --wait || systemctl --failed") == "running\n"
        await vm.power_button()
        assert await asyncio.wait_for(vm.process.wait(), 120) == 0
