"""Where a server goes: hard rules first, each refusal in words, then weights. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from trilith import errors
from trilith.model.guest import Pillar
from trilith.placement.weigh import Room, weigh

#: image formats → the pillars whose form they can become
CONTAINER_FORMATS = ("root-tar", "squashfs")
DISK_ONLY_FORMATS = ("qcow2", "raw", "gpt", "vmdk", "vdi", "vhd", "vhdx", "iso", "ploop", "ami")

#: img_hv_type and hw_vm_mode values → pillar (Nova's hypervisor type names)
HV_TYPES: dict[str, Pillar] = {
    "lxc": Pillar.LXC,
    "kvm": Pillar.KVM,
    "qemu": Pillar.KVM,
    "xen": Pillar.XEN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One node with what is free on it: resource class → amount left."""

    name: str
    pillars: tuple[Pillar, ...]
    traits: frozenset[str]
    free: dict[str, float]
    total: dict[str, float]
    enabled: bool = True
    alive: bool = True
    zone: str = "nova"
    servers_of_group: int = 0
    disk_limit: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """pillars: those that the image's forms allow, best first. chosen: where image or flavor names one."""

    vcpus: int
    memory_mib: int
    disk_gib: int
    pillars: tuple[Pillar, ...]
    chosen: Pillar | None = None
    traits: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    zone: str = ""
    node: str = ""
    not_nodes: frozenset[str] = frozenset()
    only_nodes: frozenset[str] = frozenset()  # empty: any
    affinity: str = ""  # "", affinity, anti-affinity, soft-affinity, soft-anti-affinity
    group_nodes: frozenset[str] = frozenset()  # where the group's servers are
    group_most: int = 1  # servers of an anti-affinity group that one node may have
    machine_memory_mib: int = 0  # what the image needs as a virtual machine (a container needs less)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    node: str
    pillar: Pillar
    reason: str
    passed_over: dict[str, str]


def forms_allow(disk_format: str, properties: dict[str, str]) -> tuple[Pillar, ...]:
    """The pillars that an image can run on, best first. An archive serves containers, and VMs when it has a kernel
    (which the node finds out)."""
    if properties.get("trilith_boot") == "bare":
        return (Pillar.KVM,)
    if disk_format in CONTAINER_FORMATS:
        if properties.get("trilith_kernel_inside") == "no":
            return (Pillar.LXC,)
        return (Pillar.LXC, Pillar.KVM, Pillar.XEN)
    if disk_format in DISK_ONLY_FORMATS:
        return (Pillar.KVM, Pillar.XEN)
    return ()


def wanted_pillar(properties: dict[str, str], extra_specs: dict[str, str]) -> Pillar | None:
    """What image (img_hv_type) or flavor (trilith:pillar, capabilities:hypervisor_type) names. Raises Invalid."""
    named = (
        extra_specs.get("trilith:pillar")
        or extra_specs.get("capabilities:hypervisor_type")
        or properties.get("img_hv_type")
        or properties.get("hypervisor_type")
        or ""
    ).lower()
    if not named:
        return None
    if named not in HV_TYPES:
        raise errors.Invalid(
            f"There is no hypervisor type {named!r}.", hint=f"Known: {', '.join(HV_TYPES)}.", field="img_hv_type"
        )
    return HV_TYPES[named]


def choose(demand: Demand, candidates: list[Candidate]) -> Decision:
    """The best pillar that any node has room for, on the node that weighs most (weigh.py). Raises NoValidHost with the
    reason for each node."""
    reasons: dict[str, str] = {}
    fitting: dict[str, tuple[Candidate, Pillar]] = {}
    for c in candidates:
        refusal, pillar = _refusal(demand, c)
        if refusal or pillar is None:
            reasons[c.name] = refusal
        else:
            fitting[c.name] = (c, pillar)
    if not fitting:
        detail = "; ".join(f"{n}: {r}" for n, r in sorted(reasons.items())) or "the cloud has no nodes"
        raise errors.NoValidHost(f"No valid host was found. {detail}", reasons=reasons)
    order = (demand.chosen,) if demand.chosen else demand.pillars
    pillar = min((p for _, p in fitting.values()), key=order.index)
    for name, (_, other) in fitting.items():
        if other is not pillar:
            reasons[name] = f"fits, but as {other} alone, and there is room as {pillar}"
    weights = weigh(
        {"VCPU": demand.vcpus, "MEMORY_MB": demand.memory_mib, "DISK_GB": demand.disk_gib},
        [_room(demand, c) for c in candidates if pillar in c.pillars and c.enabled and c.alive],
        [_room(demand, c) for c, p in fitting.values() if p is pillar],
    )
    ranked = sorted(weights, key=lambda name: (-weights[name].total, name))
    best = ranked[0]
    for name in ranked[1:]:
        reasons[name] = f"fits, but weighs {weights[name]} against {weights[best]}"
    why = "named by image or flavor" if demand.chosen else _why(demand, fitting[best][0], pillar)
    manner = "packed, as the cluster is more than half full" if weights[best].packed else "most room"
    return Decision(
        node=best,
        pillar=pillar,
        reason=f"{pillar} ({why}) on {best} ({manner}: {weights[best]})",
        passed_over=reasons,
    )


def _room(demand: Demand, c: Candidate) -> Room:
    pull = {"soft-affinity": c.servers_of_group, "soft-anti-affinity": -c.servers_of_group}.get(demand.affinity, 0)
    return Room(name=c.name, free=c.free, total=c.total, spare=len(c.pillars) - 1, pull=float(pull))


def _why(demand: Demand, candidate: Candidate, pillar: Pillar) -> str:
    if len(demand.pillars) == 1:
        return "the image has no form for another"
    if demand.pillars[0] is pillar:
        return "the image has a root file system, and a container starts fastest"
    return f"no node has room for it as {demand.pillars[0]}"


def _refusal(demand: Demand, c: Candidate) -> tuple[str, Pillar | None]:
    if demand.node and c.name != demand.node:
        return f"the request names the node {demand.node}", None
    if not c.enabled:
        return "out of service (disabled)", None
    if not c.alive:
        return "its agent is not connected", None
    if demand.zone and c.zone != demand.zone:
        return f"availability zone: needed {demand.zone}, is in {c.zone}", None
    if c.name in demand.not_nodes:
        return "a scheduler hint (different_host) excludes it", None
    if demand.only_nodes and c.name not in demand.only_nodes:
        return "a scheduler hint (same_host) names other nodes", None
    if demand.affinity == "affinity" and demand.group_nodes and c.name not in demand.group_nodes:
        return "affinity: the group's servers are elsewhere", None
    if demand.affinity == "anti-affinity" and c.servers_of_group >= demand.group_most:
        return f"anti-affinity: {c.servers_of_group} of the group are here, at most {demand.group_most} may be", None
    missing = demand.traits - c.traits
    if missing:
        return f"traits: needed {', '.join(sorted(missing))}", None
    forbidden = demand.forbidden & c.traits
    if forbidden:
        return f"traits: forbidden {', '.join(sorted(forbidden))}", None
    for resource, needed in (("VCPU", demand.vcpus), ("MEMORY_MB", demand.memory_mib), ("DISK_GB", demand.disk_gib)):
        had = c.free.get(resource, 0)
        if needed > had:
            return f"{resource}: needed {needed}, had {had:g}", None
    pillars = (demand.chosen,) if demand.chosen else demand.pillars
    if demand.chosen and demand.chosen not in demand.pillars:
        return f"the image has no form for {demand.chosen}", None
    small = ""
    for pillar in pillars:
        if pillar is not Pillar.LXC and demand.memory_mib < demand.machine_memory_mib:
            small = f"{pillar}: the image needs {demand.machine_memory_mib} MiB as a machine, had {demand.memory_mib}"
        elif pillar in c.pillars:
            return "", pillar
    if small:
        return small, None
    return f"pillar: needed {' or '.join(p for p in pillars)}, has {', '.join(c.pillars) or 'none'}", None
