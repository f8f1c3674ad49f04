"""What placement is asked about a server, and what it is told of the nodes: the rows behind placement/choose.py.

A claim (jobs/server_create.py), a move and an explanation (commands/explain.py) all come through here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from trilith import errors
from trilith.commands.server_details import HINTS
from trilith.commands.server_resources import added, bandwidth
from trilith.model.node import Inventory, Node, ProviderTraits, ResourceProvider
from trilith.model.server import Server, ServerGroup
from trilith.placement.choose import forms_allow, wanted_pillar
from trilith.placement.demand import Candidate, Demand, Units
from trilith.placement.flavor_specs import named_resources, traits_of
from trilith.store.tx import Reader


def demand_of(reader: Reader, found: Server, *, node: str = "") -> Demand:
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
        pillars=forms_allow(found.image_format, found.image_properties),
        # the pillar is fixed at creation
        chosen=found.pillar or wanted_pillar(found.image_properties, extra),
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


def candidates(reader: Reader, found: Server) -> list[Candidate]:
    """Every node with what is free on it, in four reads whatever their number."""
    nodes = reader.select(Node)
    providers = {p.name: p.id for p in reader.select(ResourceProvider, name=[n.name for n in nodes])}
    inventories: dict[str, list[Inventory]] = {}
    for inventory in reader.select(Inventory, provider_id=list(providers.values())):
        inventories.setdefault(inventory.provider_id, []).append(inventory)
    traits = {t.id: t.traits for t in reader.select(ProviderTraits, id=list(providers.values()))}
    members: dict[str, int] = {}
    if found.group_id:
        for member in reader.select(Server, group_id=found.group_id):
            if member.node and member.id != found.id:
                members[member.node] = members.get(member.node, 0) + 1
    result = []
    for node in nodes:
        mine = inventories.get(providers.get(node.name, ""), [])
        result.append(
            Candidate(
                name=node.name,
                pillars=node.facts.pillars if node.facts else (),
                traits=frozenset(traits.get(providers.get(node.name, ""), ())),
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
