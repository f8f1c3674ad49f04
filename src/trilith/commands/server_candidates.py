"""What placement is asked about a server, and what it is told of the nodes: the rows behind placement/choose.py.

A claim (jobs/server_create.py), a move and an explanation (commands/explain.py) all come through here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from trilith import errors
from trilith.commands.adviser import Adviser, PillarChoice
from trilith.commands.server_details import HINTS
from trilith.commands.server_resources import added, bandwidth
from trilith.model.node import Inventory, Node, ProviderTraits, ResourceProvider
from trilith.model.server import Server, ServerGroup
from trilith.placement.advisor.here import PillarsHere, pillars_here
from trilith.placement.choose import forms_allow
from trilith.placement.demand import Candidate, Demand, Units
from trilith.placement.flavor_specs import named_resources, traits_of
from trilith.store.tx import Reader


@dataclass(frozen=True, slots=True)
class Nodes:
    """Every node, and what placement has of it by its name: inventories and traits."""

    nodes: list[Node]
    inventories: dict[str, list[Inventory]]
    traits: dict[str, frozenset[str]]

    @property
    def in_service(self) -> list[Node]:
        return [n for n in self.nodes if n.facts and n.enabled and n.alive and not n.forced_down]

    def here(self) -> PillarsHere:
        """As the advisor takes them: those in service."""
        facts = [n.facts for n in self.in_service if n.facts]
        stocked = {n: [i.resource_class for i in held if i.total > i.reserved] for n, held in self.inventories.items()}
        return pillars_here(facts, self.traits, stocked)


def look(reader: Reader) -> Nodes:
    """In four reads, whatever their number."""
    nodes = reader.select(Node)
    names = {p.id: p.name for p in reader.select(ResourceProvider, name=[n.name for n in nodes])}
    inventories: dict[str, list[Inventory]] = {}
    for inventory in reader.select(Inventory, provider_id=list(names)):
        inventories.setdefault(names[inventory.provider_id], []).append(inventory)
    traits = {names[t.id]: frozenset(t.traits) for t in reader.select(ProviderTraits, id=list(names))}
    return Nodes(nodes, inventories, traits)


def question(reader: Reader, adviser: Adviser, found: Server, *, node: str = "") -> tuple[Demand, list[Candidate]]:
    """What placement is asked: the server's demands, and every node. node: the only one that the request wants.

    Raises Invalid, also where no pillar meets what the flavor demands.
    """
    nodes = look(reader)
    choice = adviser.pillars_for(reader, found, nodes.here(), keep=found.pillar is not None)
    return demand_of(reader, found, choice, node=node), candidates(reader, found, nodes)


def demand_of(reader: Reader, found: Server, choice: PillarChoice, *, node: str = "") -> Demand:
    """What the server asks of a node. Raises Invalid."""
    extra = found.flavor.extra_specs
    required, forbidden = traits_of(extra, found.image_properties)
    group = reader.find(ServerGroup, found.group_id) if found.group_id else None
    members = [m for m in reader.select(Server, group_id=found.group_id) if m.id != found.id] if group else []
    hints = _hints(found)
    return Demand(
        vcpus=found.flavor.vcpus,
        named=added(named_resources(extra, found.image_properties), bandwidth(reader, found.id)),
        memory_mib=found.flavor.ram,
        disk_gib=found.flavor.disk,
        # what is named may be a pillar that the image has no form for, which is then the reason
        pillars=forms_allow(found.image_format, found.image_properties) if choice.named else choice.order,
        chosen=choice.order[0] if choice.named else None,
        why=choice.why,
        needs=choice.needs,
        traits=required,
        forbidden=forbidden,
        zone=found.zone_requested,
        node=node,
        not_nodes=_nodes_of(reader, hints.get("different_host", ())),
        only_nodes=_nodes_of(reader, hints.get("same_host", ())),
        affinity=group.policy if group else "",
        group_nodes=frozenset(m.node for m in members if m.node),
        group_most=group.rules.get("max_server_per_host", 1) if group else 1,
        machine_memory_mib=_number(found.image_properties.get("trilith_machine_min_ram", "")),
        extra_disks=bool(found.flavor.ephemeral or found.flavor.swap),
    )


def check_zone(reader: Reader, zone: str) -> None:
    """Raises Invalid for a zone that no node is in."""
    if zone and reader.first(Node, zone=zone) is None:
        raise errors.Invalid("The requested availability zone is not available", field="availability_zone")


def _hints(found: Server) -> dict[str, list[str]]:
    """The scheduler hints of the request that name servers (Nova: a server's id, or a list of them)."""
    try:
        kept = msgspec.json.decode(found.system_metadata.get(HINTS, "{}"), type=dict[str, Any])
    except msgspec.MsgspecError as err:
        raise errors.Invalid(f"The scheduler hints of {found.id} cannot be read: {err}.") from err
    named = {k: kept[k] for k in ("different_host", "same_host") if k in kept}
    return {k: [str(v)] if isinstance(v, str) else [str(i) for i in v] for k, v in named.items()}


def _nodes_of(reader: Reader, server_ids: Sequence[str]) -> frozenset[str]:
    if not server_ids:
        return frozenset()
    return frozenset(s.node for s in reader.select(Server, id=list(server_ids)) if s.node)


def _number(text: str) -> int:
    """What an image property says; nothing for what is no number, as anybody may write it."""
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def candidates(reader: Reader, found: Server, nodes: Nodes) -> list[Candidate]:
    """Every node with what is free on it."""
    members: dict[str, int] = {}
    if found.group_id:
        for member in reader.select(Server, group_id=found.group_id):
            if member.node and member.id != found.id:
                members[member.node] = members.get(member.node, 0) + 1
    result = []
    for node in nodes.nodes:
        mine = nodes.inventories.get(node.name, [])
        result.append(
            Candidate(
                name=node.name,
                pillars=node.facts.pillars if node.facts else (),
                traits=nodes.traits.get(node.name, frozenset()),
                free={i.resource_class: (i.total - i.reserved) * i.allocation_ratio - i.used for i in mine},
                total={i.resource_class: (i.total - i.reserved) * i.allocation_ratio for i in mine},
                units={i.resource_class: Units(i.min_unit, i.max_unit, i.step_size) for i in mine},
                able=node.facts.capabilities if node.facts else {},
                enabled=node.enabled and not node.forced_down,
                alive=node.alive,
                zone=node.zone,
                servers_of_group=members.get(node.name, 0),
            )
        )
    return result
