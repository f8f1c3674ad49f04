"""What flavors and images ask of a node, by Nova's own forms."""

from __future__ import annotations

import pytest

from trilith import errors
from trilith.model.server import FlavorData
from trilith.placement.flavor_specs import check_specs, resources_of, traits_of


def resources(specs: dict[str, str], properties: dict[str, str] | None = None) -> dict[str, int]:
    flavor = FlavorData(id="f", name="f", vcpus=2, ram=512, disk=0, extra_specs=specs)
    return resources_of(flavor, properties or {})


def test_a_flavors_sizes_are_what_it_takes() -> None:
    assert resources({}) == {"VCPU": 2, "MEMORY_MB": 512}


def test_named_resources_come_in_place_of_sizes_and_beside_them() -> None:
    specs = {"resources:VCPU": "0", "resources:CUSTOM_LICENCE": "1", "resources1:CUSTOM_LICENCE": "2"}
    assert resources(specs) == {"MEMORY_MB": 512, "CUSTOM_LICENCE": 3}


@pytest.mark.parametrize(
    ("specs", "properties"),
    [({"hw:mem_encryption": "True"}, {}), ({}, {"hw_mem_encryption": "yes"})],
)
def test_encrypted_memory_takes_a_context(specs: dict[str, str], properties: dict[str, str]) -> None:
    assert resources(specs, properties)["MEM_ENCRYPTION_CONTEXT"] == 1


def test_memory_that_need_not_be_encrypted_takes_none() -> None:
    assert "MEM_ENCRYPTION_CONTEXT" not in resources({"hw:mem_encryption": "false"}, {"hw_mem_encryption": "true"})


def test_traits_of_flavor_image_and_groups() -> None:
    specs = {"trait:A": "required", "trait1:B": "required", "trait:C": "forbidden", "trait:D": "maybe"}
    assert traits_of(specs, {"trait:E": "required"}) == (frozenset("ABE"), frozenset("C"))


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ({"resources:VCPU": "many"}, "resources:VCPU=many is not a whole number"),
        ({"resources:VCPU": "-1"}, "not a whole number"),
        ({"trait:A": "maybe"}, "not required or forbidden"),
        ({"pci_passthrough:alias": "gpu:1"}, "PCI alias gpu is not defined"),
    ],
)
def test_what_nova_refuses_a_server_for(specs: dict[str, str], words: str) -> None:
    with pytest.raises(errors.Invalid, match=words) as caught:
        check_specs(specs)
    assert caught.value.field == "flavorRef"
