"""Guest → domain XML, held by golden files that libvirt's own schema accepts.

TRILITH_UPDATE_GOLDEN=1 writes them anew.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from tests.golden.libvirt import guests
from trilith.drivers.libvirt.domain import build
from trilith.drivers.libvirt.host import GuestPaths, HostSetup
from trilith.drivers.libvirt.kvm import KVM
from trilith.drivers.libvirt.xen import XEN
from trilith.drivers.libvirt.xml.metadata import NAMESPACE, owner_of
from trilith.errors import Invalid, Unsupported
from trilith.model.guest import Artefact, GuestSpec, ImageForm, Pillar

GOLDEN = Path(__file__).parents[1] / "golden" / "libvirt"
PATHS = GuestPaths(console_log="/state/console.log", vnc_socket="/state/vnc/s")
NAMES = sorted(guests.cases(Path(), Path()))


@pytest.fixture
def cases(tmp_path: Path) -> dict[str, tuple[GuestSpec, HostSetup]]:
    rom, elf = tmp_path / "guest.rom", tmp_path / "guest.elf"
    rom.write_bytes(b"\xfa\xba")
    elf.write_bytes(b"\x7fELF")
    return guests.cases(rom, elf)


def written(spec: GuestSpec, host: HostSetup, tmp_path: Path) -> str:
    dialect = XEN if spec.pillar is Pillar.XEN else KVM
    return build(spec, host, PATHS, dialect).replace(str(tmp_path), "/img")


@pytest.mark.parametrize("name", NAMES)
def test_domain_is_golden(name: str, cases: dict[str, tuple[GuestSpec, HostSetup]], tmp_path: Path) -> None:
    text = written(*cases[name], tmp_path)
    file = GOLDEN / f"{name}.xml"
    if os.environ.get("TRILITH_UPDATE_GOLDEN") == "1":
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.skipif(
    shutil.which("virt-xml-validate") is None or shutil.which("xmllint") is None,
    reason="needs virt-xml-validate (libvirt-clients) and xmllint (libxml2-utils)",
)
def test_golden_files_are_valid() -> None:
    refused = {}
    for file in sorted(GOLDEN.glob("*.xml")):
        done = subprocess.run(["virt-xml-validate", str(file), "domain"], capture_output=True, text=True, check=False)
        if done.returncode:
            refused[file.name] = done.stdout + done.stderr
    assert refused == {}


def test_every_golden_file_has_a_guest() -> None:
    assert sorted(file.stem for file in GOLDEN.glob("*.xml")) == NAMES


def test_metadata_tells_the_owner(cases: dict[str, tuple[GuestSpec, HostSetup]], tmp_path: Path) -> None:
    from xml.etree.ElementTree import tostring

    root = fromstring(written(*cases["bare-elf"], tmp_path))
    element = root.find(f"./metadata/{{{NAMESPACE}}}server")
    assert element is not None
    owner = owner_of(tostring(element, encoding="unicode"))
    assert owner is not None
    assert (owner.cloud_id, owner.server_id, owner.bare) == ("c1", guests.SERVER, True)
    assert owner.ports == (guests.PORT.format(1),)


@pytest.mark.parametrize("text", ["", "<server", "<other/>"])
def test_a_stranger_has_no_owner(text: str) -> None:
    assert owner_of(text) is None


@pytest.mark.parametrize(
    ("host", "properties", "firmware", "capability"),
    [
        (guests.TCG_HOST, {}, "uefi", "firmware.uefi"),
        (guests.TCG_HOST, {"hw_tpm_version": "2.0"}, "bios", "tpm"),
        (guests.TCG_HOST, {"os_secure_boot": "required"}, "bios", "firmware.secure_boot"),
        (guests.KVM_HOST, {"os_secure_boot": "required"}, "bios", "firmware.secure_boot"),
        (guests.KVM_HOST, {"hw_vif_model": "ne2k_pci"}, "bios", "vif_model.ne2k_pci"),
        (guests.KVM_HOST, {"hw_disk_bus": "fdc"}, "bios", "disk_bus.fdc"),
        (guests.KVM_HOST, {"hw_disk_bus": "ide"}, "bios", "disk_bus.ide"),
    ],
)
def test_what_is_not_there_is_refused(
    host: HostSetup, properties: dict[str, str], firmware: str, capability: str
) -> None:
    spec = guests.guest(guests.disk(), guests.identity(firmware=firmware), nics=1, properties=properties)
    with pytest.raises(Unsupported) as refused:
        build(spec, host, PATHS, KVM)
    assert refused.value.capability == capability


def test_missing_firmware_names_its_package() -> None:
    spec = guests.guest(guests.disk(), guests.identity(firmware="uefi"))
    with pytest.raises(Unsupported, match="Install the ovmf package"):
        build(spec, guests.TCG_HOST, PATHS, KVM)


def test_a_root_file_system_is_no_vm() -> None:
    image = Artefact(sha256="0", form=ImageForm.ROOTFS, path="/img/root")
    with pytest.raises(Unsupported):
        build(guests.guest(image, guests.identity()), guests.KVM_HOST, PATHS, KVM)


@pytest.mark.parametrize("value", ["0", "x", "999", "²", "17592186044416"])
def test_cpu_quota_is_bounded(value: str) -> None:
    spec = guests.guest(guests.disk(), guests.identity(), properties={"quota:cpu_quota": value})
    with pytest.raises(Invalid) as wrong:
        build(spec, guests.KVM_HOST, PATHS, KVM)
    assert wrong.value.field == "quota:cpu_quota"


def test_xen_pv_needs_a_kernel_and_no_bare_guest() -> None:
    pv = guests.guest(guests.disk(), guests.identity(machine="xenpv"), pillar=Pillar.XEN)
    with pytest.raises(Unsupported, match="kernel of its own"):
        build(pv, guests.XEN_HOST, PATHS, XEN)
    bare = guests.guest(guests.bare("/img/x"), guests.identity(machine=""), pillar=Pillar.XEN)
    with pytest.raises(Unsupported, match="bare"):
        build(bare, guests.XEN_HOST, PATHS, XEN)


def test_cached_writes_where_there_is_no_direct_io() -> None:
    spec = guests.guest(guests.disk(), guests.identity())
    native = dataclasses.replace(guests.KVM_HOST, disk_io="native")
    for host, direct, expected in (
        (native, True, {"cache": "none", "io": "native"}),
        (native, False, {"cache": "writeback", "io": None}),
        (guests.KVM_HOST, False, {"cache": "writeback", "io": "io_uring"}),
    ):
        driver = fromstring(build(spec, host, dataclasses.replace(PATHS, direct_io=direct), KVM)).find(".//disk/driver")
        assert driver is not None
        assert {name: driver.get(name) for name in expected} == expected
