"""What image and flavor demand, and what a node must have for it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.golden.advisor.cases import EMULATED, EVERYWHERE, measured, rules
from trilith import errors
from trilith.model.figures import Figures
from trilith.model.guest import Pillar
from trilith.model.server import FlavorData
from trilith.placement.advisor.engine import Engine
from trilith.placement.advisor.feasibility import active, needs_of
from trilith.placement.advisor.here import PillarsHere
from trilith.placement.advisor.request import workload_of_request
from trilith.placement.advisor.rules import Need
from trilith.placement.advisor.workload import Firmware, OperatingSystem, Workload

KVM, XEN, LXC = Pillar.KVM, Pillar.XEN, Pillar.LXC


def flavor(**specs: str) -> FlavorData:
    return FlavorData(
        id="f", name="f", vcpus=1, ram=512, disk=1, extra_specs={k.replace("__", ":"): v for k, v in specs.items()}
    )


@pytest.mark.parametrize(
    ("properties", "specs", "expected"),
    [
        ({}, {}, {}),
        ({"os_type": "windows"}, {}, {"operating_system": OperatingSystem.WINDOWS}),
        ({"os_distro": "freebsd"}, {}, {"operating_system": OperatingSystem.BSD}),
        ({"os_type": "linux", "os_distro": "debian"}, {}, {}),
        ({"hw_firmware_type": "bios", "os_secure_boot": "disabled"}, {}, {}),
        ({"hw_firmware_type": "uefi"}, {}, {"firmware": Firmware.UEFI}),
        ({"hw_firmware_type": "uefi", "os_secure_boot": "required"}, {}, {"firmware": Firmware.SECURE_BOOT}),
        ({"hw_tpm_version": "2.0"}, {}, {"tpm": True}),
        ({"hw_tpm_model": "tpm-crb"}, {}, {"tpm": True}),
        ({"hw_mem_encryption": "True"}, {}, {"confidential_computing": True}),
        ({}, {"hw__mem_encryption": "true"}, {"confidential_computing": True}),
        ({}, {"trilith__own_kernel": "yes"}, {"own_kernel": True}),
        ({}, {"trilith__start_within": "50 ms"}, {"start_within_ms": 50.0}),
        ({}, {"trilith__start_within_ms": "50"}, {"start_within_ms": 50.0}),
        ({}, {"trilith__memory_per_guest": "2 GiB"}, {"memory_per_guest_mib": 2048}),
    ],
)
def test_image_and_flavor_demand(properties: dict[str, str], specs: dict[str, str], expected: dict[str, Any]) -> None:
    assert workload_of_request(flavor(**specs), properties) == Workload(**{"memory_per_guest_mib": 512} | expected)


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ({"trilith__speed": "9"}, "no extra spec 'trilith:speed'"),
        ({"trilith__own_kernel": "perhaps"}, "true or false"),
        ({"trilith__start_within": "50"}, "without a unit"),
        ({"trilith__start_within_ms": "5 s"}, "contradictory units"),
        ({"trilith__tenants": "9" * 30}, "a whole number"),
        ({"trilith__start_within_ms": "5", "trilith__start_within": "5 s"}, "same demand"),
    ],
)
def test_a_demand_that_is_none_is_refused(specs: dict[str, str], words: str) -> None:
    with pytest.raises(errors.Invalid) as caught:
        workload_of_request(flavor(**specs), {})
    assert words in str(caught.value)


def needs(workload: Workload, pillar: Pillar, here: PillarsHere, figures: Figures) -> tuple[Need, ...]:
    verdict = Engine(rules(), figures).verdict(workload, here)
    return needs_of(active(rules(), verdict.demanded), verdict.standings[pillar])


def test_an_image_with_a_tpm_is_no_container_and_needs_a_node_with_one() -> None:
    workload = workload_of_request(flavor(), {"hw_tpm_version": "2.0"})
    assert Engine(rules(), Figures()).verdict(workload, EVERYWHERE).order == (KVM,)
    assert [n.traits for n in needs(workload, KVM, EVERYWHERE, Figures())] == [("COMPUTE_SECURITY_TPM_2_0",)]
    assert needs(workload, XEN, EVERYWHERE, Figures()) == ()


def test_a_node_that_was_measured_too_slow_under_emulation_is_needed_with_hardware() -> None:
    slow = Figures(figures=(measured(KVM, 40_000, emulated=True),))
    (found,) = needs(Workload(start_within_ms=5000), KVM, EMULATED, slow)
    assert found.hardware
    assert found.words.en == "under emulation start-within is not met"
    assert needs(Workload(start_within_ms=60_000), KVM, EMULATED, slow) == ()
    assert needs(Workload(start_within_ms=5000), KVM, EVERYWHERE, slow) == ()
