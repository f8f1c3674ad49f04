"""What a flavor's extra specs and an image's properties ask of a node: amounts by resource class, and traits. Pure.

Nova's own forms (its administration guide, "Extra specs"): `resources[group]:CLASS=N`, which takes the place of what
the flavor's sizes say, and `trait[group]:NAME=required|forbidden`. A node is one provider here, so groups mean nothing.
`hw:mem_encryption`, or the image's `hw_mem_encryption`, takes a MEM_ENCRYPTION_CONTEXT, as in Nova: a node that has
none cannot start such a guest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from trilith import errors
from trilith.model.server import FlavorData

_RESOURCE = re.compile(r"resources\w*:([A-Z0-9_]+)")
_TRAIT = re.compile(r"trait\w*:([A-Z0-9_]+)")
_AMOUNT = re.compile(r"[0-9]{1,9}")
_TRUE = ("true", "yes", "on", "1", "t", "y")
_ENCRYPTION = "MEM_ENCRYPTION_CONTEXT"
#: Nova's words for what no node of the cloud could name
_ALIAS = "pci_passthrough:alias"


def named_resources(extra_specs: Mapping[str, str], properties: Mapping[str, str]) -> dict[str, int]:
    """Amounts by resource class that specs name; zero is what takes a size away. properties: the image's."""
    named: dict[str, int] = {}
    for key, value in extra_specs.items():
        found = _RESOURCE.fullmatch(key)
        if found and _AMOUNT.fullmatch(value):
            named[found[1]] = named.get(found[1], 0) + int(value)
    if encrypts_memory(extra_specs, properties):
        named.setdefault(_ENCRYPTION, 1)
    return named


def resources_of(flavor: FlavorData, properties: Mapping[str, str]) -> dict[str, int]:
    """By resource class (VCPU threads, MEMORY_MB MiB, DISK_GB GiB); what is not asked for is not in it."""
    sizes = {"VCPU": flavor.vcpus, "MEMORY_MB": flavor.ram, "DISK_GB": flavor.disk}
    wanted = sizes | named_resources(flavor.extra_specs, properties)
    return {name: amount for name, amount in wanted.items() if amount}


def encrypts_memory(extra_specs: Mapping[str, str], properties: Mapping[str, str]) -> bool:
    wanted = extra_specs.get("hw:mem_encryption") or properties.get("hw_mem_encryption") or ""
    return wanted.lower() in _TRUE


def traits_of(extra_specs: Mapping[str, str], properties: Mapping[str, str]) -> tuple[frozenset[str], frozenset[str]]:
    """Required and forbidden ones."""
    wanted: dict[str, set[str]] = {"required": set(), "forbidden": set()}
    for key, value in [*extra_specs.items(), *properties.items()]:
        found = _TRAIT.fullmatch(key)
        if found and value in wanted:
            wanted[value].add(found[1])
    return frozenset(wanted["required"]), frozenset(wanted["forbidden"])


def check_specs(extra_specs: Mapping[str, str]) -> None:
    """What Nova refuses a server for, as specs of old microversions are stored unread. Raises Invalid."""
    for key, value in extra_specs.items():
        if _RESOURCE.fullmatch(key) and not _AMOUNT.fullmatch(value):
            raise _malformed(key, value, "a whole number")
        if _TRAIT.fullmatch(key) and value not in ("required", "forbidden"):
            raise _malformed(key, value, "required or forbidden")
        if key == _ALIAS:
            name = value.partition(":")[0]
            raise errors.Invalid(
                f"PCI alias {name} is not defined",
                hint="No driver gives a guest a device of its host: leave pci_passthrough:alias out of the flavor.",
                field="flavorRef",
            )


def _malformed(key: str, value: str, allowed: str) -> errors.Invalid:
    return errors.Invalid(f"The flavor's extra spec {key}={value} is not {allowed}.", field="flavorRef")
