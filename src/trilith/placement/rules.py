"""The hard rules: what keeps a server from a node, in words, with what was needed and what was had. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from trilith.model.guest import Pillar
from trilith.placement.advisor.feasibility import met
from trilith.placement.advisor.here import PillarNodes
from trilith.placement.advisor.rules import Need
from trilith.placement.demand import Candidate, Demand, Units


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """rule: its name, a resource class where that is what lacks. needed, had: as a person reads them; "" for a rule
    that compares nothing. text: the whole in words."""

    rule: str
    text: str
    needed: str = ""
    had: str = ""

    def __str__(self) -> str:
        return self.text


def admit(demand: Demand, c: Candidate) -> Refusal | Pillar:
    """The first rule that refuses, or the pillar that the server would be there."""
    return _out_of_reach(demand, c) or _traits(demand, c) or _resources(demand, c) or _pillar(demand, c)


def _out_of_reach(demand: Demand, c: Candidate) -> Refusal | None:
    """By the node's state, by the zone, and by what the request and its group say of nodes."""
    if demand.node and c.name != demand.node:
        return Refusal(rule="node", needed=demand.node, had=c.name, text=f"the request names the node {demand.node}")
    if not c.enabled:
        return Refusal(rule="enabled", needed="in service", had="disabled", text="out of service (disabled)")
    if not c.alive:
        return Refusal(rule="alive", needed="connected", had="not connected", text="its agent is not connected")
    if demand.zone and c.zone != demand.zone:
        text = f"availability zone: needed {demand.zone}, is in {c.zone}"
        return Refusal(rule="zone", needed=demand.zone, had=c.zone, text=text)
    if c.name in demand.not_nodes:
        return Refusal(rule="different_host", text="a scheduler hint (different_host) excludes it")
    if demand.only_nodes and c.name not in demand.only_nodes:
        needed = ", ".join(sorted(demand.only_nodes))
        text = "a scheduler hint (same_host) names other nodes"
        return Refusal(rule="same_host", needed=needed, had=c.name, text=text)
    if demand.affinity == "affinity" and demand.group_nodes and c.name not in demand.group_nodes:
        needed = ", ".join(sorted(demand.group_nodes))
        text = "affinity: the group's servers are elsewhere"
        return Refusal(rule="affinity", needed=needed, had=c.name, text=text)
    if demand.affinity == "anti-affinity" and c.servers_of_group >= demand.group_most:
        return Refusal(
            rule="anti-affinity",
            needed=f"fewer than {demand.group_most}",
            had=str(c.servers_of_group),
            text=f"anti-affinity: {c.servers_of_group} of the group are here, at most {demand.group_most} may be",
        )
    return None


def _traits(demand: Demand, c: Candidate) -> Refusal | None:
    if missing := ", ".join(sorted(demand.traits - c.traits)):
        return Refusal(rule="traits", needed=missing, had="none of these", text=f"traits: needed {missing}")
    if forbidden := ", ".join(sorted(demand.forbidden & c.traits)):
        return Refusal(
            rule="forbidden traits", needed=f"not {forbidden}", had=forbidden, text=f"traits: forbidden {forbidden}"
        )
    return None


def _resources(demand: Demand, c: Candidate) -> Refusal | None:
    for resource, needed in demand.resources.items():
        had = c.free.get(resource, 0)
        if needed > had:
            text = f"{resource}: needed {needed}, had {had:g}"
            return Refusal(rule=resource, needed=str(needed), had=f"{had:g}", text=text)
        units = c.units.get(resource, Units())
        if not units.least <= needed <= units.most or needed % units.step:
            had_units = f"{units.least} to {units.most}" + (f" in steps of {units.step}" if units.step > 1 else "")
            text = f"{resource}: needed {needed}, one server may have {had_units} there"
            return Refusal(rule=f"{resource} of one server", needed=str(needed), had=had_units, text=text)
    return None


def _pillar(demand: Demand, c: Candidate) -> Refusal | Pillar:
    if demand.chosen and demand.chosen not in demand.pillars:
        return Refusal(
            rule="image form",
            needed=demand.chosen,
            had=" or ".join(demand.pillars),
            text=f"the image has no form for {demand.chosen}",
        )
    pillars = (demand.chosen,) if demand.chosen else demand.pillars
    refused: Refusal | None = None
    for pillar in pillars:
        if pillar not in c.pillars:
            continue
        refused = _pillar_lacks(demand, c, pillar)
        if refused is None:
            return pillar
    had = ", ".join(c.pillars) or "none"
    needed = " or ".join(pillars)
    return refused or Refusal(rule="pillar", needed=needed, had=had, text=f"pillar: needed {needed}, has {had}")


def _pillar_lacks(demand: Demand, c: Candidate, pillar: Pillar) -> Refusal | None:
    """What keeps the server from this pillar on a node that has it."""
    if pillar is not Pillar.LXC and demand.memory_mib < demand.machine_memory_mib:
        return Refusal(
            rule="memory of a machine",
            needed=f"{demand.machine_memory_mib} MiB",
            had=f"{demand.memory_mib} MiB",
            text=f"{pillar}: the image needs {demand.machine_memory_mib} MiB as a machine, had {demand.memory_mib}",
        )
    if demand.disk_gib and "disk_limit" not in c.able.get(pillar, ("disk_limit",)):
        return Refusal(
            rule="disk limit",
            needed=f"{demand.disk_gib} GiB enforced",
            had="no limit that the node can enforce",
            text=f"{pillar}: the flavor's disk of {demand.disk_gib} GiB cannot be enforced on this node",
        )
    if demand.extra_disks and "extra_disks" not in c.able.get(pillar, ("extra_disks",)):
        return Refusal(
            rule="extra disks",
            needed="the flavor's ephemeral disk and swap",
            had="a root disk alone",
            text=f"{pillar}: this node gives servers a root disk alone, no ephemeral disk and no swap",
        )
    return unmet(demand.needs.get(pillar, ()), c, pillar)


def unmet(needs: tuple[Need, ...], c: Candidate, pillar: Pillar) -> Refusal | None:
    """The first of the flavor's demands that the node cannot meet as this pillar."""
    here = _as_the_advisor_sees(c, pillar)
    for need in needs:
        if not met(need, here):
            needed, had = _lacking(need, here)
            text = f"{pillar}: needed {needed}, had {had}: {need.words.en}"
            return Refusal(rule="flavor's demands", needed=needed, had=had, text=text)
    return None


def _as_the_advisor_sees(c: Candidate, pillar: Pillar) -> PillarNodes:
    able = frozenset(c.able.get(pillar, ()))
    classes = frozenset(name for name, amount in c.total.items() if amount > 0)
    return PillarNodes(
        pillar=pillar, traits=c.traits, capabilities=able, resources=classes, emulated="emulated" in able
    )


def _lacking(need: Need, here: PillarNodes) -> tuple[str, str]:
    """What is needed and what the node has of it, for people."""
    if need.hardware and here.emulated:
        return "hardware virtualization", "emulation"
    for wanted, has in (
        (need.traits, here.traits),
        (need.resources, here.resources),
        (need.capabilities, here.capabilities),
    ):
        if wanted and not has & set(wanted):
            break
    return " or ".join(wanted), "none of them" if len(wanted) > 1 else "none"
