"""Which flavor a server gets: the smallest that holds the image, and one that names the pillar where one is asked."""

from __future__ import annotations

from typing import Any

from trilith import errors
from trilith.cli.client import Cloud
from trilith.cli.screen import Steps

PILLARS = ("lxc", "kvm", "xen")
#: MiB for an image that says nothing about itself: a usual distribution boots
_USUAL_MIB = 512
PILLAR_SPEC = "trilith:pillar"


def needs(image: Any) -> tuple[int, int]:
    """MiB of memory and GiB of disk that a server from this image needs, as container or machine."""
    properties = dict(getattr(image, "properties", None) or {})
    said = str(properties.get("trilith_machine_min_ram") or "")
    memory = max(int(image.min_ram or 0), int(said) if said.isdigit() else 0)
    virtual = -(-int(getattr(image, "virtual_size", 0) or 0) // 1024**3)
    known = memory > 0 or properties.get("trilith_simulated") == "yes"
    return memory if known else _USUAL_MIB, max(int(image.min_disk or 0), virtual)


def smallest(flavors: list[Any], image: Any) -> Any:
    """Of those for everybody, without a pillar's own. Raises Missing when none holds the image."""
    memory, disk = needs(image)
    plain = [f for f in flavors if f.name.rpartition(".")[2] not in PILLARS]
    enough = [f for f in plain if f.ram >= memory and (f.disk >= disk or f.disk == 0)]
    if not enough:
        raise errors.Missing(
            f"No flavor has {memory} MiB of memory and {disk} GiB of disk, which {image.name} needs.",
            hint="Make one: trilith flavor create NAME --vcpus 1 --memory MIB --disk GIB",
        )
    return min(enough, key=lambda f: (f.ram, f.vcpus, f.disk, f.name))


def flavor_for(cloud: Cloud, wanted: str, pillar: str, image: Any, steps: Steps) -> Any:
    """The flavor named or the smallest, turned into the pillar's own. Raises Missing, Forbidden, Conflict."""
    compute = cloud.sdk.compute
    if wanted:
        base = cloud.find(compute.find_flavor, wanted, "flavor", "trilith flavor list", get_extra_specs=True)
    else:
        base = smallest(list(compute.flavors()), image)
    if not pillar:
        return base
    said = str((base.extra_specs or {}).get(PILLAR_SPEC, ""))
    if said and said != pillar:
        raise errors.Conflict(
            f"The flavor {base.name} is for {said}.", hint="Name another --flavor, or leave out --pillar."
        )
    return base if said == pillar else copy_for(cloud, base, pillar, steps)


def copy_for(cloud: Cloud, base: Any, pillar: str, steps: Steps) -> Any:
    """`<flavor>.<pillar>`: the same size with the pillar as an extra spec. Making it is the administrator's."""
    compute = cloud.sdk.compute
    name = f"{base.name}.{pillar}"
    known = compute.find_flavor(name, ignore_missing=True, get_extra_specs=True)
    if known is not None and (known.extra_specs or {}).get(PILLAR_SPEC) == pillar:
        return known
    if not cloud.is_admin:
        raise errors.Forbidden(
            f"--pillar {pillar} needs the flavor {name}, and only an administrator can make it.",
            hint=f"Ask for: trilith flavor create {name} --like {base.name} --pillar {pillar}",
        )
    steps.step(f"flavor {name}")
    made = known or compute.create_flavor(
        name=name, vcpus=base.vcpus, ram=base.ram, disk=base.disk, ephemeral=base.ephemeral, swap=base.swap
    )
    compute.create_flavor_extra_specs(made, {**(base.extra_specs or {}), PILLAR_SPEC: pillar})
    return made
