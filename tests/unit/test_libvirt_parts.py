"""The pure parts of the libvirt driver: events, capabilities, identities, the smallest guests, names and numbers."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from tests.golden.libvirt import guests
from trilith.agent.libvirt_daemons import PrivateLibvirt, host_uuid
from trilith.drivers.libvirt import capabilities as caps
from trilith.drivers.libvirt import probe, snapshot, tiny_guests
from trilith.drivers.libvirt.connection import Happening
from trilith.drivers.libvirt.domain import build
from trilith.drivers.libvirt.events import Hub, classify
from trilith.drivers.libvirt.files import GuestFiles
from trilith.drivers.libvirt.host import GuestPaths, valid
from trilith.drivers.libvirt.kvm import KVM
from trilith.drivers.libvirt.probe import KvmProbe
from trilith.errors import Invalid
from trilith.model.guest import GuestEventKind, HostFacts, ImageForm, Pillar, PowerState
from trilith.model.machine import default_identity

FACTS = HostFacts(
    hostname="n1",
    pillars=(Pillar.KVM,),
    inventories={},
    traits=(),
    hypervisor_type="QEMU",
    hypervisor_version=7_002_022,
    cpu_info={
        "machine_disk": "pc-q35-7.2",
        "machine_bare": "pc-i440fx-7.2",
        "cpu_mode_disk": "maximum",
        "cpu_mode_bare": "qemu64",
    },
)


def lifecycle(event: int, detail: int) -> Happening:
    return Happening(kind="lifecycle", domain="t-x", event=event, detail=detail)


@pytest.mark.parametrize(
    ("event", "detail", "kind"),
    [
        (libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_STARTED_BOOTED, GuestEventKind.STARTED),
        (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN, GuestEventKind.STOPPED),
        (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED, GuestEventKind.STOPPED),
        (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED, GuestEventKind.CRASHED),
        (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED, GuestEventKind.SUSPENDED),
        (libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR, GuestEventKind.PAUSED),
    ],
)
def test_what_an_event_means(event: int, detail: int, kind: GuestEventKind) -> None:
    found = classify(lifecycle(event, detail))
    assert found is not None
    assert found[0] is kind


@pytest.mark.parametrize("event", [libvirt.VIR_DOMAIN_EVENT_DEFINED, libvirt.VIR_DOMAIN_EVENT_UNDEFINED])
def test_definitions_are_no_news(event: int) -> None:
    assert classify(lifecycle(event, 0)) is None


async def test_readers_get_events_from_the_call_on_and_gaps_are_filled() -> None:
    hub = Hub()
    events = hub.follow()
    hub.publish("a", GuestEventKind.RESUMED)
    hub.publish("a", GuestEventKind.STARTED)
    hub.publish("a", GuestEventKind.PAUSED)
    hub.publish("a", GuestEventKind.RESUMED)
    hub.fill_gap({"a": PowerState.RUNNING, "b": PowerState.UNKNOWN})
    hub.fill_gap({"a": PowerState.CRASHED})
    hub.close()
    kinds = GuestEventKind
    # the first "resumed" is the start's own; what did not change and what is unknown is no event
    assert [event.kind async for event in events] == [kinds.STARTED, kinds.PAUSED, kinds.RESUMED, kinds.CRASHED]


async def test_a_waiter_gets_its_event_only() -> None:
    hub = Hub()
    with hub.expect(lambda happening: happening.kind == "reboot") as future:
        hub.wake(lifecycle(0, 0))
        assert not future.done()
        hub.wake(Happening(kind="reboot", domain="t-x"))
        assert (await asyncio.wait_for(future, 1)).domain == "t-x"


def test_identity_is_the_hosts_unless_the_image_says() -> None:
    plain = default_identity(FACTS, server_id="s", form=ImageForm.DISK, direct_kernel=False, properties={})
    assert (plain.machine, plain.cpu_mode, plain.firmware) == ("pc-q35-7.2", "maximum", "bios")
    bare = default_identity(FACTS, server_id="s", form=ImageForm.BARE, direct_kernel=False, properties={})
    assert (bare.machine, bare.cpu_mode, bare.firmware) == ("pc-i440fx-7.2", "qemu64", "")
    asked = {"hw_machine_type": "pc-q35-6.2", "hw_firmware_type": "uefi", "hw_disk_bus": "sata"}
    own = default_identity(FACTS, server_id="s", form=ImageForm.DISK, direct_kernel=False, properties=asked)
    assert (own.machine, own.firmware, own.disk_bus) == ("pc-q35-6.2", "uefi", "sata")
    with pytest.raises(Invalid):
        default_identity(
            FACTS, server_id="s", form=ImageForm.DISK, direct_kernel=False, properties={"hw_firmware_type": "coreboot"}
        )


def test_capabilities_are_read() -> None:
    offer = caps.offer(
        "<domainCapabilities><path>/usr/bin/q</path><machine>pc-q35-7.2</machine><os supported='yes'>"
        "<enum name='firmware'><value>efi</value></enum><loader supported='yes'>"
        "<enum name='secure'><value>yes</value><value>no</value></enum></loader></os><devices>"
        "<tpm supported='yes'><enum name='backendModel'><value>emulator</value></enum></tpm></devices>"
        "</domainCapabilities>"
    )
    assert (offer.machine, offer.firmware, offer.secure_boot, offer.tpm) == ("pc-q35-7.2", ("efi",), True, True)
    host = (
        "<capabilities><host><cpu><arch>x86_64</arch><vendor>AMD</vendor></cpu><secmodel><model>dac</model>"
        "<baselabel type='kvm'>+64055:+109</baselabel></secmodel></host></capabilities>"
    )
    assert caps.run_as(host, "kvm") == (64055, 109)
    assert caps.run_as("<capabilities><host/></capabilities>", "kvm") == (0, 0)
    assert caps.cpu(host) == {"arch": "x86_64", "vendor": "AMD"}
    assert caps.cpu_traits("flags\t\t: fpu avx2 aes\n") == ("HW_CPU_X86_AESNI", "HW_CPU_X86_AVX2")


def test_the_rom_jumps_from_its_reset_vector_to_its_start() -> None:
    rom = tiny_guests.rom(b"hello")
    assert len(rom) == 65_536
    assert rom[0xFFF0] == 0xE9
    (offset,) = struct.unpack("<H", rom[0xFFF1:0xFFF3])
    assert (0xFFF3 + offset) & 0xFFFF == 0
    assert b"hello\r\n\0" in rom


def test_the_elf_has_the_note_that_pvh_needs() -> None:
    elf = tiny_guests.pvh_elf()
    assert elf[:4] == b"\x7fELF"
    assert struct.pack("<III", 4, 4, 18) + b"Xen\0" + struct.pack("<I", 0x10_0000) in elf
    archive = tiny_guests.initramfs(tiny_guests.init_elf())
    assert len(archive) % 4 == 0
    assert archive.startswith(b"070701")
    assert archive.index(b"init\0") < archive.index(b"TRAILER!!!")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("server_id", "../../etc"),
        ("server_id", ""),
        ("hostname", "a\nb"),
        ("hostname", "-a"),
        ("vcpus", 0),
        ("vcpus", 10_000),
        ("memory_mib", 0),
    ],
)
def test_bad_guests_name_the_field(field: str, value: object) -> None:
    spec = dataclasses.replace(guests.guest(guests.disk(), guests.identity()), **{field: value})  # type: ignore[arg-type]
    with pytest.raises(Invalid) as wrong:
        valid(spec)
    assert wrong.value.field == field


@pytest.mark.parametrize("nic", [{"ifname": "a" * 16}, {"ifname": "a/b"}, {"mac": "02:00"}, {"mtu": 1}])
def test_bad_interfaces_are_refused(nic: dict[str, object]) -> None:
    bad = dataclasses.replace(guests.nic(1), **nic)  # type: ignore[arg-type]
    with pytest.raises(Invalid):
        valid(dataclasses.replace(guests.guest(guests.disk(), guests.identity()), nics=(bad,)))


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's name; those of parallel test runs do not."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as path:
        yield Path(path)


def test_files_of_no_server_are_never_touched(short: Path) -> None:
    files = GuestFiles(str(short))
    (short / "mine").mkdir()
    with pytest.raises(Invalid):
        files.remove("../mine")
    assert (short / "mine").exists()
    files.remove(guests.SERVER)
    with pytest.raises(Invalid, match="too long"):
        GuestFiles("/" + "x" * 70)


def test_the_log_reaches_into_the_file_before(short: Path) -> None:
    files = GuestFiles(str(short))
    log = Path(files.paths(guests.SERVER, "").console_log)
    assert files.log_tail(guests.SERVER, 10) == b""
    log.parent.mkdir(parents=True)
    log.write_bytes(b"new")
    log.with_name("console.log.0").write_bytes(b"older")
    assert files.log_tail(guests.SERVER, 5) == b"ernew"
    assert files.log_tail(guests.SERVER, 2) == b"ew"


def test_only_the_root_disk_is_copied() -> None:
    spec = guests.guest(guests.disk(), guests.identity(), config_drive="/cd/config.iso")
    xml = build(spec, guests.KVM_HOST, GuestPaths(console_log="/c", vnc_socket="/v"), KVM)
    assert snapshot.root_disk_of(xml) == ("vda", "/disks/root.qcow2")
    text = snapshot.backup_xml(xml, "vda", "/snap/x.qcow2")
    assert '<disk name="vdb" backup="no" />' in text
    assert '<target file="/snap/x.qcow2" />' in text


def test_a_probe_is_remembered_for_the_same_host_only(tmp_path: Path) -> None:
    cache, found = tmp_path / "kvm-probe.json", KvmProbe(bare=True, linux=False, why_linux="hangs")
    assert probe._read(cache, "key") is None
    probe._write(cache, "key", found)
    assert probe._read(cache, "key") == found
    assert probe._read(cache, "other") is None
    for broken in ("", "[]", "{", json.dumps({"key": "key", "probe": {"nonsense": 1}})):
        cache.write_text(broken)
        assert probe._read(cache, "key") is None


def test_private_daemons_in_order(short: Path) -> None:
    log, daemon = PrivateLibvirt(root=short).specs()
    assert (log.name, daemon.name, daemon.depends_on) == ("virtlogd", "libvirtd", ("virtlogd",))
    assert daemon.argv[:4] == ("unshare", "--mount", "--propagation", "private")
    assert daemon.cgroup == ""
    assert host_uuid(short) == host_uuid(short) != host_uuid(short / "x")
    with pytest.raises(Invalid, match="too long"):
        PrivateLibvirt(root=Path("/" + "x" * 90)).specs()
