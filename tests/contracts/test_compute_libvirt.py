"""The libvirt driver on a real, private libvirtd: 4 MiB guests under KVM, a Linux guest, faults."""

# ruff: noqa: ASYNC221, ASYNC240 - a test has the event loop to itself

from __future__ import annotations

import asyncio
import dataclasses
import os
import pwd
import signal
import subprocess
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import libvirt
import pytest
import pytest_asyncio

from tests.golden.libvirt.rig import CLOUD, Rig, busybox_initrd, cloud_kernel, rig
from trilith.agent.libvirt_daemons import qemu_account
from trilith.drivers.libvirt import guest_agent, tiny_guests
from trilith.drivers.libvirt.domain import domain_name
from trilith.drivers.libvirt.driver import LibvirtDriver
from trilith.drivers.libvirt.probe import NO_KVM, probe_kvm
from trilith.errors import Backend, Conflict, Invalid, Missing, Unsupported
from trilith.model.guest import Artefact, GuestEventKind, GuestFacts, GuestSpec, ImageForm, NicSpec, PowerState

pytestmark = [pytest.mark.root, pytest.mark.libvirt, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host() -> AsyncIterator[Rig]:
    async with rig() as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def guest(host: Rig) -> AsyncIterator[GuestSpec]:
    """A bare guest, started, its line on the console."""
    spec = host.bare()
    await host.driver.create(spec)
    await host.driver.start(spec)
    await host.line(spec, tiny_guests.BARE_LINE, timeout=20)
    yield spec
    await host.driver.delete(spec.server_id)


def nic(number: int) -> NicSpec:
    return NicSpec(port_id=str(uuid.uuid4()), mac=f"02:00:00:00:01:0{number}", ifname=f"tlvtap{number}", mtu=1442)


async def fact(host: Rig, spec: GuestSpec) -> GuestFacts | None:
    return next((f for f in await host.driver.facts() if f.server_id == spec.server_id), None)


async def power(host: Rig, spec: GuestSpec) -> PowerState | None:
    found = await fact(host, spec)
    return found.power if found else None


async def test_bare_guest_runs_as_somebody_else(host: Rig, guest: GuestSpec) -> None:
    found = await fact(host, guest)
    assert found is not None
    assert found.power is PowerState.RUNNING
    assert found.memory_mib == 4
    assert os.stat(f"/proc/{found.pid}").st_uid == pwd.getpwnam(qemu_account()[0]).pw_uid != 0
    command = Path(f"/proc/{found.pid}/cmdline").read_bytes().split(b"\0")
    assert (b"kvm" in command) is host.probe.bare
    assert abs(found.started_at - time.time()) < 60
    endpoint = await host.driver.console(guest.server_id)
    assert endpoint.kind == "pty"
    assert Path(endpoint.address).is_char_device()


async def test_create_and_start_again_change_nothing(host: Rig, guest: GuestSpec) -> None:
    before = await fact(host, guest)
    assert before is not None
    await host.driver.create(guest)
    await host.driver.start(guest)
    after = await fact(host, guest)
    assert after is not None
    assert after.pid == before.pid


async def test_life_of_a_bare_guest_as_events(host: Rig) -> None:
    spec, seen = host.bare(elf=True, nics=(nic(1),)), []
    stopped = asyncio.Event()

    async def follow() -> None:
        async for event in host.driver.events():
            if event.server_id == spec.server_id:
                seen.append(event.kind)
                if event.kind is GuestEventKind.STOPPED:
                    stopped.set()

    reader = asyncio.create_task(follow())
    await asyncio.sleep(0)
    driver = host.driver
    try:
        await driver.create(spec)
        assert await power(host, spec) is PowerState.SHUTDOWN
        await driver.start(spec)
        await host.line(spec, tiny_guests.BARE_LINE, timeout=20)
        shown = subprocess.run(
            ["ip", "-n", host.root.name, "link", "show", "tlvtap1"], capture_output=True, text=True, check=True
        )
        assert "UP" in shown.stdout
        assert "mtu 1442" in shown.stdout
        await driver.pause(spec.server_id)
        await driver.pause(spec.server_id)
        assert await power(host, spec) is PowerState.PAUSED
        await driver.unpause(spec.server_id)
        await driver.reboot(spec, hard=False)
        await host.line(spec, tiny_guests.BARE_LINE, timeout=20, count=2)
        await driver.suspend(spec.server_id)
        await driver.suspend(spec.server_id)
        assert await power(host, spec) is PowerState.SUSPENDED
        with pytest.raises(Conflict):
            await driver.resize(spec)
        await driver.resume(spec)
        await driver.resume(spec)
        assert await power(host, spec) is PowerState.RUNNING
        with pytest.raises(Conflict):
            await driver.resize(dataclasses.replace(spec, memory_mib=8))
        await driver.stop(spec.server_id, timeout=30)
        await driver.stop(spec.server_id, timeout=30)
        async with asyncio.timeout(10):
            await stopped.wait()
        assert await power(host, spec) is PowerState.SHUTDOWN
        bigger = dataclasses.replace(spec, memory_mib=8)
        await driver.resize(bigger)
        await driver.start(bigger)
        found = await fact(host, spec)
        assert found is not None
        assert found.memory_mib == 8
    finally:
        await driver.delete(spec.server_id)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    kinds = GuestEventKind
    assert seen[:4] == [kinds.STARTED, kinds.PAUSED, kinds.RESUMED, kinds.REBOOTED]
    assert seen.index(kinds.SUSPENDED) < seen.index(kinds.STOPPED)


async def test_cpu_quota_holds(host: Rig) -> None:
    """The cgroup of the vCPU carries it, in whichever hierarchy the host has."""
    if host.libvirt.warnings():
        pytest.skip("needs cgroups that may be written")
    spec = host.bare()
    spec = dataclasses.replace(spec, properties={"quota:cpu_quota": "20000", "quota:cpu_period": "100000"})
    try:
        await host.driver.start(spec)
        found = await fact(host, spec)
        assert found is not None
        limits = []
        for task in Path(f"/proc/{found.pid}/task").iterdir():
            for line in (task / "cgroup").read_text().splitlines():
                _number, controllers, path = line.split(":", 2)
                for root in (f"/sys/fs/cgroup/{controllers}", "/sys/fs/cgroup"):
                    for name in ("cpu.cfs_quota_us", "cpu.max"):
                        file = Path(root + path) / name
                        if file.exists():
                            limits.append(file.read_text().split()[0])
        assert "20000" in limits
    finally:
        await host.driver.delete(spec.server_id)


async def test_delete_leaves_nothing(host: Rig) -> None:
    spec = host.bare(nics=(nic(2),))
    await host.driver.create(spec)
    await host.driver.start(spec)
    await host.driver.delete(spec.server_id)
    await host.driver.delete(spec.server_id)
    assert await fact(host, spec) is None
    left = [path for path in host.root.rglob("*") if spec.server_id in path.name]
    # libvirt's own log of the QEMU process stays: it is for the reader of a fault
    assert [path for path in left if path.parent.name != "qemu" or path.suffix != ".log"] == []
    gone = subprocess.run(["ip", "-n", host.root.name, "link", "show", "tlvtap2"], capture_output=True, check=False)
    assert gone.returncode != 0
    with pytest.raises(Missing):
        await host.driver.stop(spec.server_id, timeout=0)
    with pytest.raises(Missing):
        await host.driver.console_log(spec.server_id, max_bytes=10)


async def test_killed_guest_is_crashed_and_starts_again(host: Rig, guest: GuestSpec) -> None:
    events = host.driver.events()
    following = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    found = await fact(host, guest)
    assert found is not None
    os.kill(found.pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        event = await following
    assert (event.server_id, event.kind) == (guest.server_id, GuestEventKind.CRASHED)
    after = await fact(host, guest)
    assert after is not None
    assert after.power is PowerState.CRASHED
    assert after.reason
    await host.driver.start(guest)
    assert await power(host, guest) is PowerState.RUNNING


async def test_guests_and_driver_outlive_libvirtd(host: Rig, guest: GuestSpec) -> None:
    before = await fact(host, guest)
    daemon = next(status for status in host.supervisor.status() if status.name == "libvirtd")
    assert before is not None
    os.kill(daemon.pid, signal.SIGKILL)
    async with asyncio.timeout(30):
        while True:
            try:
                after = await fact(host, guest)
            except Backend:
                await asyncio.sleep(0.05)
                continue
            if after is not None:
                break
    assert after.pid == before.pid
    assert after.power is PowerState.RUNNING
    # events come over the new connection, too
    events = host.driver.events()
    following = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    await host.driver.pause(guest.server_id)
    async with asyncio.timeout(10):
        assert (await following).kind is GuestEventKind.PAUSED


async def test_another_driver_adopts(host: Rig, guest: GuestSpec) -> None:
    other = LibvirtDriver(host.libvirt.uri, str(host.root / "state"), cloud_id=CLOUD, offload_off=True, kvm=host.probe)
    await other.open()
    try:
        assert [f.power for f in await other.facts() if f.server_id == guest.server_id] == [PowerState.RUNNING]
        assert tiny_guests.BARE_LINE in await other.console_log(guest.server_id, max_bytes=1000)
        assert await other.console_log(guest.server_id, max_bytes=4) == b"ns\r\n"
    finally:
        await other.close()


async def test_strangers_are_left_alone(host: Rig, guest: GuestSpec) -> None:
    stranger = dataclasses.replace(guest, server_id=str(uuid.uuid4()))
    xml = (
        f"<domain type='qemu'><name>{domain_name(stranger.server_id)}</name><memory unit='MiB'>4</memory>"
        "<os><type arch='x86_64' machine='pc'>hvm</type></os></domain>"
    )
    connection = await asyncio.to_thread(libvirt.open, host.libvirt.uri)
    domain = await asyncio.to_thread(connection.defineXML, xml)
    try:
        assert await fact(host, stranger) is None
        for attempt in (
            host.driver.create(stranger),
            host.driver.stop(stranger.server_id, timeout=0),
            host.driver.delete(stranger.server_id),
        ):
            with pytest.raises(Conflict, match="somebody else"):
                await attempt
        other = LibvirtDriver(
            host.libvirt.uri, str(host.root / "state"), cloud_id="another", offload_off=True, kvm=NO_KVM
        )
        await other.open()
        try:
            assert await other.facts() == []
            with pytest.raises(Conflict):
                await other.delete(guest.server_id)
        finally:
            await other.close()
        assert await asyncio.to_thread(domain.isPersistent)
    finally:
        await asyncio.to_thread(domain.undefine)
        await asyncio.to_thread(connection.close)


async def test_what_cannot_be_is_refused(host: Rig, guest: GuestSpec) -> None:
    driver = host.driver
    with pytest.raises(Unsupported):
        await driver.execute(guest.server_id, ["true"], timeout=1)
    with pytest.raises(Unsupported):
        await driver.snapshot(guest.server_id, str(host.root / "none.qcow2"))
    with pytest.raises(Unsupported):
        await driver.plug(guest, nic(3))
    with pytest.raises(Invalid):
        await driver.create(dataclasses.replace(guest, cloud_id="another"))
    broken = dataclasses.replace(host.bare(), image=Artefact(sha256="0", form=ImageForm.BARE, path="/nowhere/rom"))
    with pytest.raises(Backend, match="/nowhere/rom"):
        await driver.create(broken)
    assert await fact(host, broken) is None
    with pytest.raises(Invalid, match="too long"):
        LibvirtDriver("qemu:///system", "/" + "x" * 80, cloud_id=CLOUD, offload_off=True, kvm=NO_KVM)
    nobody = LibvirtDriver(
        "qemu:///system?socket=/nowhere/sock", str(host.root / "s2"), cloud_id=CLOUD, offload_off=True, kvm=NO_KVM
    )
    with pytest.raises(Backend, match="cannot connect"):
        await nobody.open()
    await nobody.close()


async def test_a_password_needs_an_agent_inside(host: Rig, guest: GuestSpec) -> None:
    with pytest.raises(Conflict, match="guest agent is not enabled"):
        await host.driver.set_password(guest.server_id, "", "secret")
    await host.driver.stop(guest.server_id, timeout=0)
    with pytest.raises(Conflict, match="does not run"):
        await host.driver.set_password(guest.server_id, "", "secret")


async def test_libvirt_accepts_every_golden_file(host: Rig) -> None:
    """Its schema is checked before anything else, so that Xen's files get as far as the type of the domain."""
    connection = await asyncio.to_thread(libvirt.open, host.libvirt.uri)
    refused: dict[str, libvirt.libvirtError] = {}
    try:
        for file in sorted((Path(__file__).parents[1] / "golden" / "libvirt").glob("*.xml")):
            try:
                flag = libvirt.VIR_DOMAIN_DEFINE_VALIDATE
                domain = await asyncio.to_thread(connection.defineXMLFlags, file.read_text(), flag)
                await asyncio.to_thread(domain.undefineFlags, libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
            except libvirt.libvirtError as error:
                refused[file.stem] = error
        with pytest.raises(libvirt.libvirtError) as wrong:
            await asyncio.to_thread(connection.defineXMLFlags, "<domain type='qemu'><nonsense/></domain>", flag)
        assert wrong.value.get_error_code() == libvirt.VIR_ERR_XML_INVALID_SCHEMA
    finally:
        await asyncio.to_thread(connection.close)
    against_schema = [name for name, error in refused.items() if "schema" in str(error)]
    assert against_schema == []
    # past the schema, Xen's are not QEMU's to define, and firmware and TPM emulator may not be installed
    assert set(refused) <= {"xen-pv", "xen-pvh", "xen-hvm", "kvm-uefi-secure-tpm"}


async def test_the_linux_probe_ends_in_time(host: Rig) -> None:
    """Whatever this host's KVM can do, the answer comes within the deadlines, is kept, and agrees with itself."""
    vmlinuz, _modules = cloud_kernel()
    begun = time.monotonic()
    first = await probe_kvm(str(host.root / "probe"), kernel=str(vmlinuz), deadline=4, fresh=True)
    assert time.monotonic() - begun < 25
    assert first.linux is not bool(first.why_linux)
    assert first.bare == host.probe.bare
    begun = time.monotonic()
    assert await probe_kvm(str(host.root / "probe"), kernel=str(vmlinuz), deadline=4) == first
    assert time.monotonic() - begun < 2


async def test_linux_guest(host: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One boot pays for all: SMBIOS, disks, live plug and unplug, a password without an agent, a snapshot, soft reboot
    and soft stop."""
    driver = host.driver
    vmlinuz, modules = cloud_kernel()
    initrd, disk, seed = host.root / "initrd", host.root / "root.qcow2", host.root / "seed.iso"
    busybox_initrd(initrd, modules)
    base = host.root / "base.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(base), "64M"], check=True)
    subprocess.run(["qemu-io", "-c", "write -P 0x5a 1M 2M", str(base)], check=True, capture_output=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(base), str(disk)], check=True)
    subprocess.run(["qemu-io", "-c", "write -P 0xa5 8M 1M", str(disk)], check=True, capture_output=True)
    seed.write_bytes(b"config-2".ljust(4096, b"\0"))
    image = Artefact(
        sha256="1" * 64,
        form=ImageForm.DISK,
        path=str(base),
        kernel=str(vmlinuz),
        initrd=str(initrd),
        cmdline="console=ttyS0 quiet panic=-1 no_timer_check",
    )
    agent = {"hw_qemu_guest_agent": "yes"}
    spec = host.spec(
        image, memory_mib=160, nics=(nic(4),), root_disk=str(disk), config_drive=str(seed), properties=agent
    )
    try:
        await driver.create(spec)
        await driver.start(spec)
        await host.line(spec, b"READY", timeout=90)
        await host.line(spec, nic(4).mac.encode(), timeout=30)
        log = await driver.console_log(spec.server_id, max_bytes=65_536)
        assert b"product=OpenStack Nova" in log
        assert f"uuid={spec.identity.smbios_uuid}".encode() in log
        assert b"DISK 131072" in log
        assert b"vdb" in log
        assert (host.root / "state" / "vnc" / spec.server_id / "s").is_socket()

        extra = nic(5)
        await driver.plug(spec, extra)
        await driver.plug(spec, extra)
        await host.line(spec, extra.mac.encode(), timeout=30)
        await driver.unplug(spec, extra)
        await driver.unplug(spec, extra)

        monkeypatch.setattr(guest_agent, "CONNECT_DEADLINE", 0.5)
        with pytest.raises(Conflict, match="not connected"):
            await driver.set_password(spec.server_id, "", "secret")

        copy = tmp_path / "copy.qcow2"
        await driver.snapshot(spec.server_id, str(copy))
        assert await power(host, spec) is PowerState.RUNNING
        check_copy(copy)
        with pytest.raises(Conflict):
            await driver.snapshot(spec.server_id, str(copy))
        copy.unlink()

        await driver.reboot(spec, hard=False)
        await host.line(spec, b"READY", timeout=90, count=2)
        pressed = time.monotonic()
        await driver.stop(spec.server_id, timeout=40)
        assert time.monotonic() - pressed < 40
        assert b"BUTTON" in await driver.console_log(spec.server_id, max_bytes=65_536)
        assert await power(host, spec) is PowerState.SHUTDOWN

        await driver.snapshot(spec.server_id, str(copy))
        check_copy(copy)
        assert list((host.root / "state" / "snapshots").iterdir()) == []
    finally:
        await driver.delete(spec.server_id)
    assert os.stat(disk).st_uid == 0


def check_copy(copy: Path) -> None:
    info = subprocess.run(["qemu-img", "info", str(copy)], capture_output=True, text=True, check=True).stdout
    assert "backing file" not in info
    for pattern, where in (("0x5a", "1M 2M"), ("0xa5", "8M 1M"), ("0", "4M 4M")):
        read = subprocess.run(
            ["qemu-io", "-r", "-c", f"read -P {pattern} {where}", str(copy)], capture_output=True, text=True, check=True
        )
        assert "failed" not in read.stdout
