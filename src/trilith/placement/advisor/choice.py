"""The automatic choice: what an image and a flavor demand, and the pillars that a server may be, best first, with the
reason in words. For requests that name no pillar themselves. Pure.

A flavor's extra spec `trilith:demand:NAME` and an image's property `trilith_demand_NAME` make a demand of the advisor's
(docs/advisor.md) by its name; the rest follows from what else image and flavor ask of a machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trilith import errors
from trilith.model.guest import Pillar
from trilith.placement.advisor import wording
from trilith.placement.advisor.advice import Availability
from trilith.placement.advisor.demands import BY_NAME, Demand
from trilith.placement.advisor.engine import Engine, Verdict
from trilith.placement.advisor.feasibility import active
from trilith.placement.advisor.here import PillarsHere
from trilith.placement.advisor.quantity import NotAllowed
from trilith.placement.advisor.rules import Need, Words
from trilith.placement.advisor.workload import Firmware, OperatingSystem, Workload
from trilith.placement.flavor_specs import encrypts_memory

#: what a demand's name follows in a flavor's extra specs, and in an image's properties
IN_FLAVOR, IN_IMAGE = "trilith:demand:", "trilith_demand_"

_FLAGS = {"true": True, "yes": True, "false": False, "no": False}
_BSD = ("freebsd", "netbsd", "openbsd", "dragonfly")
#: a reason stands in a server's record and in listings
_LONGEST_REASON = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class PillarOrder:
    """pillars: those that fit, best first: with hardware, under emulation, then those that no node has now; empty where
    none fits. needs: what a node must have to run one. refused: why the others do not fit. reason: of the first one;
    without one, of there being none."""

    pillars: tuple[Pillar, ...]
    reason: str
    reason_zh: str
    needs: Mapping[Pillar, tuple[Need, ...]] = field(default_factory=dict)
    refused: Mapping[Pillar, str] = field(default_factory=dict)
    scores: Mapping[Pillar, float] = field(default_factory=dict)


def workload_of_request(properties: Mapping[str, str], extra_specs: Mapping[str, str], memory_mib: int) -> Workload:
    """properties: the image's. Raises Invalid for a demand that is none, and where image and flavor contradict."""
    found: dict[str, Any] = {"memory_per_guest_mib": memory_mib} if memory_mib > 0 else {}
    if properties.get("os_type", "").lower() == "windows":
        found["operating_system"] = OperatingSystem.WINDOWS
    elif properties.get("os_distro", "").lower() in _BSD:
        found["operating_system"] = OperatingSystem.BSD
    if properties.get("os_secure_boot") == "required":
        found["firmware"] = Firmware.SECURE_BOOT
    elif properties.get("hw_firmware_type") == "uefi":
        found["firmware"] = Firmware.UEFI
    if properties.get("hw_tpm_version") or properties.get("hw_tpm_model"):
        found["tpm"] = True
    if encrypts_memory(extra_specs, properties):
        found["confidential_computing"] = True
    by_flavor = _named(extra_specs, IN_FLAVOR)
    by_image = _named(properties, IN_IMAGE)
    for field_name, value in by_image.items():
        if by_flavor.get(field_name, value) != value:
            raise errors.Invalid(
                f"The image demands {field_name}={value}, the flavor {field_name}={by_flavor[field_name]}.",
                hint="Take a flavor that demands the same, or none.",
                field="flavorRef",
            )
    return Workload(**found | by_image | by_flavor)


def _named(given: Mapping[str, str], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, text in given.items():
        if key.startswith(prefix):
            name = key.removeprefix(prefix)
            demand = BY_NAME.get(name)
            if demand is None:
                raise errors.Invalid(f"{key}: there is no demand {name!r}.", hint=f"Known: {_KNOWN}.", field=key)
            try:
                found[demand.field] = demand.parse(_plain(demand, text))
            except NotAllowed as error:
                raise errors.Invalid(
                    f"{key}: {error.message}.", hint=f"Allowed: {error.allowed}.", field=key
                ) from error
    return found


_KNOWN = ", ".join(BY_NAME)


def _plain(demand: Demand, text: str) -> object:
    """Properties and extra specs are texts."""
    if demand.flag:
        return _FLAGS.get(text.strip().lower(), text)
    if demand.vocabulary is None and demand.kind is None and text.strip().isdecimal() and len(text) < 16:
        return int(text)
    return text.strip()


def pillars_for(engine: Engine, forms: tuple[Pillar, ...], workload: Workload, here: PillarsHere) -> PillarOrder:
    """forms: the pillars that the image has a form for (`forms_allow`), or the one that image or flavor names, whose
    demands hold all the same. here: of the nodes in service."""
    key = (forms, workload, here)
    known = engine.orders.get(key)
    if known is None:
        known = _order(engine, forms, workload, here)
        if len(engine.orders) >= engine.ORDERS_KEPT:
            engine.orders.clear()
        engine.orders[key] = known
    return known


def _order(engine: Engine, forms: tuple[Pillar, ...], workload: Workload, here: PillarsHere) -> PillarOrder:
    v = engine.verdict(workload, here)
    tiers = [Availability.YES, Availability.EMULATED, Availability.NO]
    pillars = tuple(
        sorted((p for p in v.order if p in forms), key=lambda p: tiers.index(v.standings[p].available))
    )  # stable: by score within a tier
    refused = {p: wording.refusal(v.standings[p].blocks[0], workload) for p in forms if not v.standings[p].fits}
    reason = _reason(v, pillars, refused, forms)
    return PillarOrder(
        pillars=pillars,
        reason=reason.en[:_LONGEST_REASON],
        reason_zh=reason.zh[:_LONGEST_REASON],
        needs={p: needs for p in pillars if (needs := _needs(engine, v, p))},
        refused={p: told.en for p, told in refused.items()},
        scores={p: v.scored.scores[p] for p in forms},
    )


def _needs(engine: Engine, v: Verdict, pillar: Pillar) -> tuple[Need, ...]:
    """Of a node that is to run it: what constraints need, and no emulation where that was measured to be too slow."""
    found = [c.needs[pillar] for c in active(engine.rules, v.demanded) if pillar in c.needs]
    slow = {
        block.constraint.name
        for _, missing in v.standings[pillar].ways
        for block in missing
        if block.constraint is not None and block.figure is not None
    }
    found += [Need(hardware=True, words=Words(f"{name} is not met under emulation", "")) for name in sorted(slow)]
    return tuple(found)


def _reason(
    v: Verdict, pillars: tuple[Pillar, ...], refused: Mapping[Pillar, Words], forms: tuple[Pillar, ...]
) -> Words:
    names = wording.NAMES
    if not pillars:
        why, why_zh = "; ".join(w.en for w in refused.values()), "；".join(w.zh for w in refused.values())
        return Words(f"no pillar that the image has a form for fits: {why}", f"镜像可用的支柱均不满足需求：{why_zh}")
    first = pillars[0]
    if len(forms) == 1:
        return Words("the image has no form for another", "镜像没有其他支柱可用的形式")
    if len(pillars) == 1:
        why, why_zh = next(iter(refused.values())).en, next(iter(refused.values())).zh
        return Words(f"the only one that fits: {why}", f"唯一合适的支柱：{why_zh}")
    second = pillars[1]
    if v.standings[first].available is not v.standings[second].available:
        return wording.only_here(v.standings[second])
    lead = v.scored.scores[first] - v.scored.scores[second]
    if lead <= 0:
        return Words(
            f"scores {v.scored.scores[first]:.0f} as {names[second]} does, and costs a node less",
            f"与 {names[second]} 同得 {v.scored.scores[first]:.0f} 分，且节点开销更小",
        )
    rule = max(v.scored.rules, key=lambda r: r[0].weight * (r[1][first].value - r[1][second].value))[0]
    return Words(
        f"scores {v.scored.scores[first]:.0f}, {names[second]} {v.scored.scores[second]:.0f}; most by {rule.name}: "
        f"{rule.words.en}",
        f"得分 {v.scored.scores[first]:.0f}，{names[second]} {v.scored.scores[second]:.0f}；主要依据 {rule.name}："
        f"{rule.words.zh or rule.words.en}",
    )
