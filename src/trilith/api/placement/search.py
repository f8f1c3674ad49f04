"""GET /allocation_candidates."""

from __future__ import annotations

from typing import Any

import msgspec

from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.placement import candidates, query
from trilith.api.placement.candidates import Candidate, Provider, Question
from trilith.api.placement.wire import at_least, fresh
from trilith.store.tx import Reader


class Usage(msgspec.Struct):
    used: int
    capacity: int


class Summary(msgspec.Struct, omit_defaults=True):
    resources: dict[str, Usage]
    traits: list[str] | msgspec.UnsetType = msgspec.UNSET
    parent_provider_uuid: str | msgspec.UnsetType | None = msgspec.UNSET
    root_provider_uuid: str | msgspec.UnsetType = msgspec.UNSET


class AllocationRequest(msgspec.Struct, omit_defaults=True):
    """allocations: by provider; a list up to microversion 1.11."""

    allocations: dict[str, Any] | list[dict[str, Any]]
    mappings: dict[str, list[str]] | msgspec.UnsetType = msgspec.UNSET


class Candidates(msgspec.Struct):
    allocation_requests: list[AllocationRequest]
    provider_summaries: dict[str, Summary]


async def list_candidates(call: Call) -> Answer:
    """200, with none where nothing fits. 400 for a malformed question or unknown classes, traits and suffixes."""
    asked, limit = query.question(call)

    def body(reader: Reader) -> list[Provider]:
        query.check_names(reader, [*asked.groups.values(), asked.root_required])
        return query.forest(reader)

    providers = await call.read(body)
    found = candidates.find(asked, providers, limit=limit)
    return fresh(call, Candidates([_request(call, c) for c in found], _summaries(call, asked, found, providers)))


def _request(call: Call, candidate: Candidate) -> AllocationRequest:
    if not at_least(call, "1.12"):
        old = [{"resource_provider": {"uuid": p}, "resources": dict(r)} for p, r in candidate.allocations.items()]
        return AllocationRequest(old)
    made = AllocationRequest({p: {"resources": dict(r)} for p, r in candidate.allocations.items()})
    if at_least(call, "1.34"):
        made.mappings = {suffix: list(p) for suffix, p in candidate.mappings.items()}
    return made


def _summaries(call: Call, asked: Question, found: list[Candidate], providers: list[Provider]) -> dict[str, Summary]:
    """Of the providers in the requests, and from 1.29 on of their whole trees."""
    shown = {p for c in found for p in c.allocations}
    roots = {p.root for p in providers if p.id in shown} if at_least(call, "1.29") else set()
    wanted = {rc for wants in asked.groups.values() for rc in wants.resources}
    every = at_least(call, "1.27")
    summaries: dict[str, Summary] = {}
    for provider in providers:
        if provider.id not in shown and provider.root not in roots:
            continue
        made = Summary(
            {rc: Usage(a.used, a.capacity) for rc, a in provider.inventories.items() if every or rc in wanted}
        )
        if at_least(call, "1.17"):
            made.traits = sorted(provider.traits)
        if at_least(call, "1.29"):
            made.parent_provider_uuid = provider.parent or None
            made.root_provider_uuid = provider.root
        summaries[provider.id] = made
    return summaries
