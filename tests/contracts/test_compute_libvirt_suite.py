"""The compute contract on real virtual machines of 4 MiB."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

pytest.register_assert_rewrite("tests.contracts.compute_suite")

from tests.contracts.compute_suite import ComputeSuite  # noqa: E402
from tests.golden.libvirt.rig import CLOUD, Daemons  # noqa: E402
from trilith.drivers.contract import ComputeDriver  # noqa: E402
from trilith.drivers.libvirt import tiny_guests  # noqa: E402
from trilith.drivers.libvirt.driver import LibvirtDriver  # noqa: E402
from trilith.drivers.libvirt.probe import KvmProbe, probe_kvm  # noqa: E402
from trilith.model.guest import Artefact, GuestSpec, ImageForm, MachineIdentity, NicSpec, Pillar  # noqa: E402

pytestmark = [pytest.mark.root, pytest.mark.libvirt]


@pytest.fixture(scope="module")
def daemons() -> Iterator[Daemons]:
    with Daemons.running() as made:
        yield made


class LibvirtBench:
    """One driver on the module's libvirtd. Its guests are ROMs with a small disk."""

    def __init__(self, daemons: Daemons, probe: KvmProbe) -> None:
        self._daemons, self._probe = daemons, probe
        self._state = daemons.root / "state"
        self._all: list[LibvirtDriver] = []
        self._strangers: list[str] = []
        self._numbers = 0
        self.rom = daemons.root / "ready.rom"
        self.rom.write_bytes(tiny_guests.rom(b"ready"))
        self.driver: ComputeDriver

    async def another(self) -> ComputeDriver:
        driver = LibvirtDriver(
            self._daemons.libvirt.uri, str(self._state), cloud_id=CLOUD, offload_off=True, kvm=self._probe
        )
        self._all.append(driver)
        await driver.open()
        self.driver = driver
        return driver

    def spec(self, **changes: Any) -> GuestSpec:
        server_id = str(uuid.uuid4())
        self._numbers += 1
        disk = self._daemons.root / f"{server_id}.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "1M"], check=True)
        number = f"{self._numbers:02d}"
        spec = GuestSpec(
            server_id=server_id,
            project_id="p",
            cloud_id=CLOUD,
            name="small",
            hostname="small",
            pillar=Pillar.KVM,
            vcpus=1,
            memory_mib=4,
            disk_gib=0,
            image=Artefact(sha256="0" * 64, form=ImageForm.BARE, path=str(self.rom)),
            identity=MachineIdentity(smbios_uuid=server_id),
            nics=(NicSpec(port_id=server_id, mac=f"02:00:00:00:02:{number}", ifname=f"tlvs{number}", mtu=1442),),
            root_disk=str(disk),
        )
        return dataclasses.replace(spec, **changes)

    async def stranger(self) -> Callable[[], Awaitable[bool]]:
        name = f"t-{uuid.uuid4()}"
        self._strangers.append(name)

        def make() -> None:
            connection = libvirt.open(self._daemons.libvirt.uri)
            connection.defineXML(
                f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>4</memory>"
                "<os><type arch='x86_64' machine='pc'>hvm</type></os></domain>"
            )
            connection.close()

        await asyncio.to_thread(make)

        async def whole() -> bool:
            return name in await asyncio.to_thread(self._names)

        return whole

    def _names(self) -> list[str]:
        connection = libvirt.open(self._daemons.libvirt.uri)
        try:
            return [domain.name() for domain in connection.listAllDomains()]
        finally:
            connection.close()

    async def leftovers(self) -> list[str]:
        return await asyncio.to_thread(self._leftovers)

    def _leftovers(self) -> list[str]:
        found = [name for name in self._names() if name not in self._strangers]
        for name in ("consoles", "vnc"):
            if (self._state / name).exists():
                found += [str(path) for path in (self._state / name).iterdir()]
        links = subprocess.run(
            ["ip", "-n", self._daemons.libvirt.netns, "-o", "link"], capture_output=True, text=True, check=True
        )
        found += [line for line in links.stdout.splitlines() if "tlvs" in line]
        found += [str(path) for path in (self._daemons.libvirt.root / "run/libvirt/qemu").glob("t-*")]
        return found

    async def close(self) -> None:
        for driver in self._all:
            await driver.close()
        await asyncio.to_thread(self._forget_strangers)

    def _forget_strangers(self) -> None:
        connection = libvirt.open(self._daemons.libvirt.uri)
        for name in self._strangers:
            connection.lookupByName(name).undefine()
        connection.close()
        for disk in Path(self._daemons.root).glob("*.qcow2"):
            disk.unlink()


class TestLibvirt(ComputeSuite):
    @pytest.fixture
    async def bench(self, daemons: Daemons) -> AsyncIterator[LibvirtBench]:
        made = LibvirtBench(daemons, await probe_kvm(str(daemons.root / "state")))
        try:
            await made.another()
            yield made
        finally:
            await made.close()
