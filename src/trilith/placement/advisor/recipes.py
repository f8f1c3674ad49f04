"""What asks this cloud for an advised pillar: extra specs, image properties, traits. Pure."""

from __future__ import annotations

from trilith.model.guest import Pillar
from trilith.placement.advisor.advice import Gets
from trilith.placement.advisor.feasibility import Standing, active
from trilith.placement.advisor.rules import Need, Rules, holds
from trilith.placement.advisor.verdict import Verdict


def gets(pillar: Pillar, v: Verdict, rules: Rules) -> Gets:
    """The flavor's extra spec or the image's property names the pillar (either is enough); each trait that a constraint
    needs is required of the node."""
    extra_specs = {"trilith:pillar": str(pillar)}
    properties = {"img_hv_type": str(pillar)}
    traits: list[str] = []
    notes, notes_zh = [], []
    for constraint in active(rules, v.demanded):
        need = constraint.needs.get(pillar)
        if need and need.traits:
            traits.append(_trait(need, v.standings[pillar]))
    for recipe in rules.recipes:
        if not holds(recipe.when, v.demanded) or (recipe.pillars and pillar not in recipe.pillars):
            continue
        extra_specs |= recipe.extra_specs
        properties |= recipe.image_properties
        traits += recipe.traits
        if recipe.note.en:
            notes.append(recipe.note.en)
            notes_zh.append(recipe.note.zh or recipe.note.en)
    required = tuple(dict.fromkeys(traits))
    return Gets(
        pillar=pillar,
        extra_specs=extra_specs | {f"trait:{t}": "required" for t in required},
        image_properties=properties,
        traits=required,
        notes=tuple(notes),
        notes_zh=tuple(notes_zh),
    )


def _trait(need: Need, standing: Standing) -> str:
    """The first that a node of this cloud has, since placement can require one but not one of several."""
    return next((t for t in need.traits if any(t in nodes.traits for nodes, _ in standing.ways)), need.traits[0])
