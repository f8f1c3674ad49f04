"""What the advisor says, asked in each of its ways: demands, an image with a flavor, a server that runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version

from trilith.commands import figures, server_candidates
from trilith.commands.adviser import Adviser, middle
from trilith.commands.servers import ServerRequest, requested
from trilith.model.guest import GuestFacts, PowerState
from trilith.model.image import Image
from trilith.model.record import Actor
from trilith.model.server import Flavor, FlavorData, Server
from trilith.placement.advisor.answer import Answer, Asked, AskedBy, DemandShown, Grounds, NodeKind, Observed
from trilith.placement.advisor.demands import BY_NAME, Value, demanded
from trilith.placement.advisor.engine import Engine
from trilith.placement.advisor.request import workload_of_request
from trilith.placement.advisor.workload import Workload
from trilith.placement.advisor.workload_file import workload_of_fields, workload_of_yaml
from trilith.placement.choose import forms_allow, wanted_pillar
from trilith.store.tx import Reader

__all__ = ["Answer", "for_request", "for_server", "for_workload", "workload_of_fields", "workload_of_yaml"]


def for_workload(reader: Reader, adviser: Adviser, cloud: str, workload: Workload) -> Answer:
    """cloud: its name in the answer."""
    return answer(reader, adviser, cloud, workload, Asked(by=AskedBy.WORKLOAD, name=workload.title))


def for_request(reader: Reader, adviser: Adviser, cloud: str, actor: Actor, *, image_id: str, flavor_id: str) -> Answer:
    """Raises Invalid for what the actor cannot use, and for extra specs that are none."""
    flavor, image = requested(reader, actor, ServerRequest(name="", flavor_id=flavor_id, image_id=image_id))
    named = wanted_pillar(image.properties, flavor.extra_specs)
    asked = Asked(
        by=AskedBy.REQUEST,
        image=image.name,
        flavor=flavor.name,
        forms=forms_allow(image.disk_format, image.properties),
        named=named,
    )
    workload = workload_of_request(flavor.data(), image.properties, f"{image.name}, {flavor.name}")
    return answer(reader, adviser, cloud, workload, asked)


def for_server(reader: Reader, adviser: Adviser, cloud: str, server: Server, facts: GuestFacts) -> Answer:
    """facts: what its node says of the guest now.

    What it was seen to use stands in place of what its flavor says of memory: a guest of 2 GiB that uses 100 MiB is a
    small one.
    """
    image = reader.find(Image, server.image_id)
    workload = workload_of_request(server.flavor, server.image_properties, server.name)
    observed = observe(server.flavor, facts) if facts.power is PowerState.RUNNING else None
    if observed is not None and observed.memory_mib:
        workload = replace(workload, memory_per_guest_mib=observed.memory_mib)
    asked = Asked(
        by=AskedBy.SERVER,
        name=server.name,
        image=image.name if image else "",
        flavor=server.flavor.name,
        forms=forms_allow(server.image_format, server.image_properties),
        named=wanted_pillar(server.image_properties, server.flavor.extra_specs),
        runs_on=server.pillar,
        observed=observed,
    )
    return answer(reader, adviser, cloud, workload, asked)


def observe(flavor: FlavorData | Flavor, facts: GuestFacts) -> Observed:
    uptime = max(0.0, time.time() - facts.started_at) if facts.started_at else 0.0
    share = facts.cpu_seconds / (uptime * flavor.vcpus) if uptime >= 1 and facts.cpu_seconds else None
    return Observed(
        cpu_share=min(share, 1.0) if share is not None else None,
        memory_mib=facts.memory_mib,
        memory_of_mib=flavor.ram,
        uptime=uptime,
    )


def answer(reader: Reader, adviser: Adviser, cloud: str, workload: Workload, asked: Asked) -> Answer:
    """With the figures and nodes of now."""
    known = figures.of_nodes(reader)
    nodes = server_candidates.look(reader)
    here = nodes.here()
    measured = middle(known)
    grounds = Grounds(
        cloud=cloud,
        version=version("trilith"),
        at=_day(time.time()),
        nodes=len(nodes.in_service),
        kinds=tuple(
            NodeKind(
                pillar=kind.pillar,
                count=kind.count,
                emulated=kind.emulated,
                traits=tuple(sorted(kind.traits)),
                capabilities=tuple(sorted(kind.capabilities)),
            )
            for kind in here.nodes
        ),
        measured=tuple(known),
        host=measured.host,
        measured_at=_day(measured.measured_at),
        rules_file=adviser.rules_file,
    )
    return Answer(
        advice=Engine(adviser.rules, measured).advise(workload, here),
        asked=asked,
        demands=tuple(_shown(demanded(workload))),
        grounds=grounds,
    )


def _shown(wanted: Mapping[str, Value]) -> list[DemandShown]:
    found = []
    for name, value in wanted.items():
        demand = BY_NAME[name]
        found.append(
            DemandShown(name=name, value=value, words=demand.show(value), words_zh=demand.show(value, chinese=True))
        )
    return found


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at)) if at else ""
