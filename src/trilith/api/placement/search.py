"""GET /allocation_candidates."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.placement import candidates, forest, query
from trilith.api.placement.candidates import Candidate, Question
from trilith.api.placement.forest import Forest
from trilith.api.placement.layout import Layout, Provider
from trilith.api.placement.wire import at_least, fresh
from trilith.store.tx import Reader


class Usage(msgspec.Struct, gc=False):
    used: int
    capacity: int


class Summary(msgspec.Struct, omit_defaults=True, gc=False):
    resources: dict[str, Usage]
    traits: list[str] | msgspec.UnsetType = msgspec.UNSET
    parent_provider_uuid: str | msgspec.UnsetType | None = msgspec.UNSET
    root_provider_uuid: str | msgspec.UnsetType = msgspec.UNSET


class AllocationRequest(msgspec.Struct, omit_defaults=True, gc=False):
    """allocations: by provider; a list up to microversion 1.11."""

    allocations: dict[str, Any] | list[dict[str, Any]]
    mappings: dict[str, list[str]] | msgspec.UnsetType = msgspec.UNSET


class Candidates(msgspec.Struct):
    allocation_requests: list[AllocationRequest]
    provider_summaries: dict[str, Summary]


async def list_candidates(call: Call) -> Answer:
    """200, with none where nothing fits. 400 for a malformed question or unknown classes, traits and suffixes."""
    asked, limit = query.question(call)

    def body(reader: Reader) -> Forest:
        query.check_names(reader, [*asked.groups.values(), asked.root_required])
        return forest.read(reader, call.host.store)

    known = await call.read(body)

    def answer() -> bytes:
        found = candidates.find(asked, known.layout, known.used, limit=limit)
        return msgspec.json.encode(Candidates(_requests(call, found), _summaries(call, asked, found, known)))

    # a search over many trees takes milliseconds to seconds, which the loop has not
    return fresh(call, await asyncio.to_thread(answer))


def _requests(call: Call, found: list[Candidate]) -> list[AllocationRequest]:
    if not at_least(call, "1.12"):
        return [
            AllocationRequest([{"resource_provider": {"uuid": p}, "resources": r} for p, r in c.allocations.items()])
            for c in found
        ]
    mapped = at_least(call, "1.34")
    return [
        AllocationRequest(
            {p: {"resources": r} for p, r in c.allocations.items()},
            {suffix: list(p) for suffix, p in c.mappings.items()} if mapped else msgspec.UNSET,
        )
        for c in found
    ]


def _summaries(call: Call, asked: Question, found: list[Candidate], known: Forest) -> dict[str, Summary]:
    """Of the providers in the requests, and from 1.29 on of their whole trees."""
    nested, every, traits = at_least(call, "1.29"), at_least(call, "1.27"), at_least(call, "1.17")
    wanted = {rc for wants in asked.groups.values() for rc in wants.resources}
    used = known.used
    sorted_traits: dict[frozenset[str], list[str]] = {}
    summaries: dict[str, Summary] = {}
    for provider in _shown(found, known.layout, nested=nested):
        made = Summary(
            {
                name: Usage(used[held.slot], held.capacity)
                for name, held in provider.inventories.items()
                if every or name in wanted
            }
        )
        if traits:
            names = sorted_traits.get(provider.traits)
            if names is None:
                names = sorted_traits[provider.traits] = sorted(provider.traits)
            made.traits = names
        if nested:
            made.parent_provider_uuid = provider.parent or None
            made.root_provider_uuid = provider.root
        summaries[provider.id] = made
    return summaries


def _shown(found: list[Candidate], layout: Layout, *, nested: bool) -> list[Provider]:
    own = dict.fromkeys(p for c in found for p in c.allocations)
    if not nested:
        return [layout.by_id[p] for p in own]
    return [p for root in dict.fromkeys(layout.by_id[p].root for p in own) for p in layout.trees[root]]
