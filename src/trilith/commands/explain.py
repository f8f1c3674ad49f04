"""What would become of a request for a server: the same rows and the same rules as the claim, and nothing changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec

from trilith import errors
from trilith.commands import quota, server_networks, server_resources, servers
from trilith.commands.adviser import Adviser
from trilith.commands.server_candidates import check_zone, question
from trilith.commands.server_details import HINTS
from trilith.commands.servers import ServerRequest
from trilith.model.image import Image
from trilith.model.record import Actor
from trilith.model.server import Server
from trilith.placement.choose import Decision, Judgment, decide, judge, passed_over
from trilith.placement.demand import Demand
from trilith.placement.rules import Refusal
from trilith.store.tx import Reader, new_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """server: as it would be, never stored. judged: every node, best first. decision: None where no node fits, and
    then `why_none` says why. obstacles: what refuses the request whatever the node (quotas).

    passed_over: node → why it is not the one. networks: ids of those that the server would join.
    """

    server: Server
    image: Image
    demand: Demand
    judged: list[Judgment]
    decision: Decision | None
    why_none: str
    passed_over: dict[str, Refusal]
    obstacles: list[Refusal]
    networks: list[str]

    @property
    def possible(self) -> bool:
        return self.decision is not None and not self.obstacles


def explain(
    reader: Reader, adviser: Adviser, actor: Actor, request: ServerRequest, hints: dict[str, Any]
) -> Explanation:
    """Raises what the creation itself would: Invalid, Forbidden, Conflict."""
    flavor, image = servers.requested(reader, actor, request)
    check_zone(reader, request.zone)
    networks = server_networks.look(reader, actor, request.networks)
    server = servers.draft(actor, request, flavor, image, server_id=new_id(), name=request.name)
    if hints:
        server = replace(server, system_metadata={HINTS: msgspec.json.encode(hints).decode()})
    demand, nodes = question(reader, adviser, server, node=request.node)
    promises = server_resources.promised(reader, [n.policy_id for n in networks])
    for joining in networks:  # its ports are not there yet to be asked
        demand = replace(demand, named=server_resources.added(demand.named, promises.get(joining.policy_id, {})))
    judged = judge(demand, nodes)
    decision, why_none = None, ""
    try:
        decision = decide(demand, judged)
    except errors.NoValidHost as err:
        why_none = err.message
    wanted = quota.of_server(flavor, request.max_count)
    lacking = quota.lacking(reader, actor.project_id, actor.user_id, wanted)
    return Explanation(
        server=server,
        image=image,
        demand=demand,
        judged=judged,
        decision=decision,
        why_none=why_none,
        passed_over=passed_over(judged),
        obstacles=[_quota(name, wanted[name], *held) for name, held in sorted(lacking.items())],
        networks=[n.network_id for n in networks],
    )


def _quota(resource: str, needed: int, used: int, limit: int) -> Refusal:
    had = max(0, limit - used)
    text = f"quota of {resource}: needed {needed}, had {had} ({used} of {limit} used)"
    return Refusal(rule=f"quota of {resource}", needed=str(needed), had=str(had), text=text)
