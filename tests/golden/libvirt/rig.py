"""What the real libvirt tests stand on: a private libvirtd in a network namespace of its own, kernels, tiny disks.

It is beside the golden files since both belong to the libvirt driver.
"""

# ruff: noqa: ASYNC221, ASYNC240, SIM905 - a test has the event loop to itself

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from trilith.agent.libvirt_daemons import PrivateLibvirt
from trilith.agent.supervise import Supervisor
from trilith.drivers.libvirt import tiny_guests
from trilith.drivers.libvirt.driver import LibvirtDriver
from trilith.drivers.libvirt.probe import KvmProbe, probe_kvm
from trilith.model.guest import Artefact, GuestSpec, HostFacts, ImageForm, NicSpec, Pillar
from trilith.model.machine import default_identity

CLOUD = "11111111-2222-4333-8444-555555555555"
CACHE = Path(tempfile.gettempdir()) / f"trilith-test-kernel-{os.geteuid()}"
#: what libvirt found out about QEMU: eight seconds a run; libvirt itself tells whether it is stale
ASKED = CACHE.with_name(f"trilith-test-libvirt-{os.geteuid()}")
MODULES = (
    "virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net "
    "virtio_blk evdev button"
).split()
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
for m in {modules}; do insmod /lib/$m.ko; done
echo GUEST-UP product=$(cat /sys/class/dmi/id/product_name) uuid=$(cat /sys/class/dmi/id/product_uuid)
echo DISK $(cat /sys/block/vda/size) $(ls /sys/block)
mkdir -p /var/run; acpid -f -c /etc/acpi -l /dev/console &
sleep 1; echo READY
old=
while :; do now=$(cat /sys/class/net/*/address | tr '\\n' ' '); [ "$now" = "$old" ] || echo "LINKS $now"; old=$now
sleep 0.2; done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    root: Path
    libvirt: PrivateLibvirt
    supervisor: Supervisor
    driver: LibvirtDriver
    probe: KvmProbe
    host: HostFacts
    kvm_seconds: float

    def bare(self, *, elf: bool = False, nics: tuple[NicSpec, ...] = ()) -> GuestSpec:
        path = self.root / ("guest.elf" if elf else "guest.rom")
        path.write_bytes(tiny_guests.pvh_elf() if elf else tiny_guests.rom())
        image = Artefact(sha256="0" * 64, form=ImageForm.BARE, path=str(path))
        return self.spec(image, memory_mib=4, nics=nics)

    def spec(
        self,
        image: Artefact,
        *,
        memory_mib: int,
        nics: tuple[NicSpec, ...] = (),
        root_disk: str = "",
        config_drive: str = "",
        properties: dict[str, str] | None = None,
    ) -> GuestSpec:
        server_id = str(uuid.uuid4())
        machine = default_identity(
            self.host,
            server_id=server_id,
            form=image.form,
            direct_kernel=bool(image.kernel),
            properties=properties or {},
        )
        return GuestSpec(
            server_id=server_id,
            project_id="p",
            cloud_id=CLOUD,
            name="web",
            hostname="web",
            pillar=Pillar.KVM,
            vcpus=1,
            memory_mib=memory_mib,
            disk_gib=0,
            image=image,
            identity=machine,
            nics=nics,
            root_disk=root_disk,
            config_drive=config_drive,
            properties=properties or {},
        )

    async def line(self, spec: GuestSpec, text: bytes, *, timeout: float, count: int = 1) -> float:
        """Seconds until the console says `text` for the `count`-th time."""
        begun = time.monotonic()
        while (log := await self.driver.console_log(spec.server_id, max_bytes=65_536)).count(text) < count:
            if time.monotonic() - begun > timeout:
                pytest.fail(f"{text!r} not on the console within {timeout} s: {log[-2000:]!r}")
            await asyncio.sleep(0.01)
        return time.monotonic() - begun


def _give_cache(libvirt: PrivateLibvirt) -> None:
    if ASKED.exists():
        shutil.copytree(ASKED, libvirt.root / "var/cache/libvirt", dirs_exist_ok=True)


def _keep_cache(libvirt: PrivateLibvirt) -> None:
    found = libvirt.root / "var/cache/libvirt"
    if ASKED.exists() or not any(found.rglob("*.xml")):
        return
    fresh = Path(tempfile.mkdtemp(prefix="tlv-cache-"))
    shutil.copytree(found, fresh, dirs_exist_ok=True)
    try:
        fresh.rename(ASKED)
    except OSError:
        shutil.rmtree(fresh)  # another run was faster


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemons:
    """A private libvirtd and virtlogd that run for a whole module, whichever event loop its tests have."""

    root: Path
    libvirt: PrivateLibvirt

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Daemons]:
        """Afterwards no daemon, namespace or file is left."""
        root = Path(tempfile.mkdtemp(prefix="tlv-"))
        root.chmod(0o755)  # QEMU runs as somebody else
        made = cls(root=root, libvirt=PrivateLibvirt(root=root / "lv", netns=root.name))
        subprocess.run(["ip", "netns", "add", root.name], check=True)
        try:
            _give_cache(made.libvirt)
            asyncio.run(made._start())
            yield made
        finally:
            asyncio.run(made._stop())
            _keep_cache(made.libvirt)
            subprocess.run(["ip", "netns", "del", root.name], check=False)
            shutil.rmtree(root, ignore_errors=True)

    async def _start(self) -> None:
        supervisor = Supervisor(self.root / "daemons")
        await supervisor.start(self.libvirt.specs())
        await supervisor.close()

    async def _stop(self) -> None:
        supervisor = Supervisor(self.root / "daemons")
        await supervisor.start(self.libvirt.specs())
        await supervisor.stop()


@asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    """Everything up; afterwards no guest, daemon, namespace or file is left."""
    root = Path(tempfile.mkdtemp(prefix="tlv-"))
    root.chmod(0o755)  # QEMU runs as somebody else
    netns = root.name
    subprocess.run(["ip", "netns", "add", netns], check=True)
    libvirt = PrivateLibvirt(root=root / "lv", netns=netns)
    supervisor = Supervisor(root / "daemons")
    driver: LibvirtDriver | None = None
    try:
        _give_cache(libvirt)
        await supervisor.start(libvirt.specs())
        begun = time.monotonic()
        # the real Linux probe costs its deadline here, so it has a test of its own
        probe = await probe_kvm(str(root / "state"))
        seconds = time.monotonic() - begun
        driver = LibvirtDriver(libvirt.uri, str(root / "state"), cloud_id=CLOUD, offload_off=True, kvm=probe)
        await driver.open()
        yield Rig(
            root=root,
            libvirt=libvirt,
            supervisor=supervisor,
            driver=driver,
            probe=probe,
            host=await driver.probe(),
            kvm_seconds=seconds,
        )
    finally:
        try:
            if driver is not None:
                for fact in await driver.facts():
                    await driver.delete(fact.server_id)
                await driver.close()
        finally:
            await supervisor.stop()
            _keep_cache(libvirt)
            subprocess.run(["ip", "netns", "del", netns], check=False)
            shutil.rmtree(root, ignore_errors=True)


def cloud_kernel() -> tuple[Path, Path]:
    """(vmlinuz, directory of modules) of the distribution's cloud kernel, kept between runs. Skips when unreachable."""
    if not CACHE.exists():
        work = Path(tempfile.mkdtemp(prefix="tlv-kernel-"))
        shown = subprocess.run(
            ["apt-cache", "depends", "linux-image-cloud-amd64"], capture_output=True, text=True, check=False
        )
        names = [line.split()[-1] for line in shown.stdout.splitlines() if "Depends:" in line]
        got = subprocess.run(["apt-get", "download", names[0]], cwd=work, check=False) if names else None
        debs = list(work.glob("*.deb"))
        if got is None or got.returncode or not debs:
            shutil.rmtree(work)
            pytest.skip("needs the package linux-image-cloud-amd64 from the distribution's archive")
        subprocess.run(["dpkg-deb", "-x", str(debs[0]), str(work)], check=True)
        debs[0].unlink()
        try:
            work.rename(CACHE)
        except OSError:
            shutil.rmtree(work)  # another run was faster
    CACHE.chmod(0o755)
    return next(CACHE.glob("boot/vmlinuz-*")), next(CACHE.glob("lib/modules/*"))


def busybox_initrd(dest: Path, modules: Path) -> None:
    """busybox, the modules for a virtio guest, and a first process that tells what it sees."""
    tree = dest.with_suffix(".tree")
    for name in ("bin", "lib", "proc", "sys", "dev", "etc/acpi/PWRF"):
        (tree / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", tree / "bin/busybox")
    for name in MODULES:
        shutil.copy(next(modules.rglob(f"{name}.ko")), tree / "lib")
    (tree / "init").write_text(INIT.format(modules=" ".join(MODULES)))
    (tree / "init").chmod(0o755)
    (tree / "etc/acpi/PWRF/00000080").write_text("#!/bin/sh\necho BUTTON\npoweroff -f\n")
    (tree / "etc/acpi/PWRF/00000080").chmod(0o755)
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    with dest.open("wb") as out:
        subprocess.run(["busybox", "cpio", "-o", "-H", "newc"], cwd=tree, input=names.encode(), stdout=out, check=True)
