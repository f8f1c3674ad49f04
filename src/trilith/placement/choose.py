"""Where a server goes: hard rules first, each refusal in words, then weights. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from trilith import errors
from trilith.model.guest import Pillar
from trilith.placement.demand import Candidate, Demand
from trilith.placement.rules import Refusal, admit
from trilith.placement.weigh import Room, Weight, weigh

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
class Judgment:
    """What the rules say of one node. pillar: what the server would be there; None where a rule refuses it. weight: of
    a node that was weighed: one that has the best pillar there is room for."""

    node: str
    pillar: Pillar | None = None
    weight: Weight | None = None
    refusal: Refusal | None = None


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
    return decide(demand, judge(demand, candidates))


def judge(demand: Demand, candidates: list[Candidate]) -> list[Judgment]:
    """Every node, the best first: those that were weighed, those that fit as a lesser pillar, those refused."""
    refused: list[Judgment] = []
    fitting: dict[str, tuple[Candidate, Pillar]] = {}
    for c in candidates:
        answer = admit(demand, c)
        if isinstance(answer, Refusal):
            refused.append(Judgment(node=c.name, refusal=answer))
        else:
            fitting[c.name] = (c, answer)
    refused.sort(key=lambda j: j.node)
    if not fitting:
        return refused
    order = (demand.chosen,) if demand.chosen else demand.pillars
    pillar = min((p for _, p in fitting.values()), key=order.index)
    weights = weigh(
        demand.resources,
        [_room(demand, c) for c in candidates if pillar in c.pillars and c.enabled and c.alive],
        [_room(demand, c) for c, p in fitting.values() if p is pillar],
    )
    ranked = sorted(weights, key=lambda name: (-weights[name].total, name))
    lesser = sorted((order.index(p), name) for name, (_, p) in fitting.items() if p is not pillar)
    return [
        *(Judgment(node=name, pillar=pillar, weight=weights[name]) for name in ranked),
        *(Judgment(node=name, pillar=order[place]) for place, name in lesser),
        *refused,
    ]


def decide(demand: Demand, judged: list[Judgment]) -> Decision:
    """judged: as `judge` gave it. Raises NoValidHost with the reason for each node."""
    reasons = {node: str(why) for node, why in passed_over(judged).items()}
    best = judged[0] if judged else None
    if best is None or best.pillar is None or best.weight is None:
        detail = "; ".join(f"{n}: {r}" for n, r in sorted(reasons.items())) or "the cloud has no nodes"
        raise errors.NoValidHost(f"No valid host was found. {detail}", reasons=reasons)
    why = "named by image or flavor" if demand.chosen else _why(demand, best.pillar)
    manner = "packed, as the cluster is more than half full" if best.weight.packed else "most room"
    return Decision(
        node=best.node,
        pillar=best.pillar,
        reason=f"{best.pillar} ({why}) on {best.node} ({manner}: {best.weight})",
        passed_over=reasons,
    )


def passed_over(judged: list[Judgment]) -> dict[str, Refusal]:
    """Why each node but the best did not get it. judged: as `judge` gave it."""
    return {j.node: j.refusal or _outdone(j, judged[0]) for j in judged if j.refusal or j is not judged[0]}


def _outdone(one: Judgment, best: Judgment) -> Refusal:
    if one.weight is None or best.weight is None:
        return Refusal(
            rule="lesser pillar",
            needed=str(best.pillar),
            had=str(one.pillar),
            text=f"fits, but as {one.pillar} alone, and there is room as {best.pillar}",
        )
    needed, had = f"more than {best.weight.total:.4f}", f"{one.weight.total:.4f}"
    if one.weight.total == best.weight.total:
        return Refusal(
            rule="weight", needed=needed, had=had, text=f"fits as well ({one.weight}): the first by name is taken"
        )
    return Refusal(rule="weight", needed=needed, had=had, text=f"fits, but weighs {one.weight} against {best.weight}")


def _room(demand: Demand, c: Candidate) -> Room:
    pull = {"soft-affinity": c.servers_of_group, "soft-anti-affinity": -c.servers_of_group}.get(demand.affinity, 0)
    return Room(name=c.name, free=c.free, total=c.total, spare=len(c.pillars) - 1, pull=float(pull))


def _why(demand: Demand, pillar: Pillar) -> str:
    why = demand.why.get(pillar, "the image has a form for it")
    if demand.pillars[0] is pillar:
        return why
    return f"no node has what it needs as {demand.pillars[0]}; {why}"
