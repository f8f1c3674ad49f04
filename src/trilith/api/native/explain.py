"""/trilith/v1/explain: where a server would go that nobody has asked for yet, and why nowhere else."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from trilith import errors
from trilith.api.compute.server_create import checked_image, group_of
from trilith.api.http.call import Call
from trilith.commands.explain import Explanation
from trilith.commands.explain import explain as explain_request
from trilith.commands.server_networks import NetworkRequest
from trilith.commands.servers import ServerRequest

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
_Name = Annotated[str, msgspec.Meta(max_length=255)]


class ExplainRequest(msgspec.Struct, forbid_unknown_fields=True):
    """image, flavor: ids. networks: ids, or `auto` or `none` as in Nova's own request. zone: an availability zone.
    node: a machine's name, which only those may give who may do so in a request. hints: scheduler hints."""

    image: _Id
    flavor: _Id
    networks: Annotated[list[_Id], msgspec.Meta(max_length=64)] | Literal["auto", "none"] = "auto"
    zone: _Name = ""
    node: _Name = ""
    hints: dict[str, Any] = {}


class RuleView(msgspec.Struct):
    """needed, had: as a person reads them; empty for a rule that compares nothing."""

    rule: str
    needed: str
    had: str
    reason: str


class NodeView(msgspec.Struct):
    """fits: no rule refuses it. chosen: the server would get it. weight: more is better; null where it was not
    weighed, as there is room as a better pillar. why_not: null for the chosen one."""

    name: str
    fits: bool
    chosen: bool
    pillar: str | None
    weight: float | None
    why_not: RuleView | None


class ExplanationView(msgspec.Struct):
    """possible: a request now would end on `node`. obstacles: what refuses it whatever the node.
    pillars: those that the server may be on, best first. nodes: all, best first."""

    possible: bool
    node: str | None
    pillar: str | None
    reason: str
    pillars: list[str]
    image: str
    flavor: str
    networks: list[str]
    obstacles: list[RuleView]
    nodes: list[NodeView]


async def explain(call: Call) -> ExplanationView:
    """200, also where no node fits: then `reason` says why, and each node for itself. 400, 403 and 409 as the request
    for the server would answer."""
    asked: ExplainRequest = call.body
    if asked.node:
        call.host.policies.enforce("compute", "os_compute_api:servers:create:forced_host", call.actor, {})
    request = ServerRequest(
        name="explained",
        flavor_id=asked.flavor,
        image_id=checked_image(asked.image),
        networks=_networks(asked),
        zone=asked.zone,
        node=asked.node,
        group_id=group_of(asked.hints),
    )
    adviser = call.host.services.adviser
    return view(await call.read(lambda r: explain_request(r, adviser, call.actor, request, asked.hints)))


def _networks(asked: ExplainRequest) -> tuple[NetworkRequest, ...] | None:
    if isinstance(asked.networks, str):
        return None if asked.networks == "auto" else ()
    if any("\x00" in n for n in asked.networks):
        raise errors.Invalid("A network's id holds the character NUL.", field="networks")
    return tuple(NetworkRequest(network_id=n) for n in asked.networks)


def view(found: Explanation) -> ExplanationView:
    decision, demand = found.decision, found.demand
    why = {
        node: RuleView(rule=r.rule, needed=r.needed, had=r.had, reason=r.text) for node, r in found.passed_over.items()
    }
    return ExplanationView(
        possible=found.possible,
        node=decision.node if decision else None,
        pillar=str(decision.pillar) if decision else None,
        reason=decision.reason if decision else found.why_none,
        pillars=[str(p) for p in ((demand.chosen,) if demand.chosen else demand.pillars)],
        image=found.image.name,
        flavor=found.server.flavor.name,
        networks=found.networks,
        obstacles=[RuleView(rule=o.rule, needed=o.needed, had=o.had, reason=o.text) for o in found.obstacles],
        nodes=[
            NodeView(
                name=j.node,
                fits=j.pillar is not None,
                chosen=decision is not None and j.node == decision.node,
                pillar=str(j.pillar) if j.pillar else None,
                weight=round(j.weight.total, 4) if j.weight else None,
                why_not=why.get(j.node),
            )
            for j in found.judged
        ],
    )
