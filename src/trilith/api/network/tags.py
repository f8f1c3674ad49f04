"""Tags of networks, subnets, ports, routers, floating IPs, security groups, subnet pools, QoS policies, trunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.network import (
    floating_ips,
    listing,
    networks,
    ports,
    qos,
    routers,
    security_groups,
    subnet_pools,
    subnets,
    trunks,
)
from trilith.api.network.listing import Noun
from trilith.commands import network_tags
from trilith.commands.network_faults import TagNotFound
from trilith.store.tx import Tx

NOUNS: dict[str, Noun[Any]] = {
    "networks": networks.NOUN,
    "subnets": subnets.NOUN,
    "ports": ports.NOUN,
    "routers": routers.NOUN,
    "floatingips": floating_ips.NOUN,
    "security-groups": security_groups.GROUP,
    "subnetpools": subnet_pools.POOL,
    "policies": qos.NOUN,
    "trunks": trunks.NOUN,
}


class TagsBody(Struct, forbid_unknown_fields=True):
    tags: list[str]


def _noun(call: Call) -> Noun[Any]:
    """The resource is the path's second part: /v2.0/{resource}/{id}/tags."""
    resource = call.request.url.path.removeprefix(call.service.prefix).split("/")[2]
    if resource not in NOUNS:
        raise errors.Missing("The resource could not be found.")
    return NOUNS[resource]


async def index(call: Call) -> Answer:
    """200: the tags."""
    return Answer({"tags": await _read(call)})


async def _read(call: Call) -> tuple[str, ...]:
    noun = _noun(call)
    call.allow(noun.rule)
    who = listing.viewer(call)
    found: tuple[str, ...] = await call.read(lambda r: listing.fetch(r, noun, who, call.params["id"]).tags)
    return found


async def _write(call: Call, act: Callable[[Tx, Any], Any]) -> tuple[str, ...]:
    noun, who = _noun(call), listing.viewer(call)

    def body(tx: Tx) -> tuple[str, ...]:
        record = listing.fetch(tx, noun, who, call.params["id"])
        call.allow(f"update_{noun.singular}", project_id=record.project_id)
        changed: tuple[str, ...] = act(tx, record).tags
        return changed

    return await call.write(body, f"{noun.singular}.update")


async def replace(call: Call) -> Answer:
    """200: exactly these."""
    body: TagsBody = call.body
    return Answer({"tags": await _write(call, lambda tx, r: network_tags.replace_all(tx, r, body.tags))})


async def clear(call: Call) -> Answer:
    """204: none is left."""
    await _write(call, lambda tx, r: network_tags.replace_all(tx, r, ()))
    return Answer(status=204)


async def check(call: Call) -> Answer:
    """204: it is there. 404: it is not."""
    if call.params["tag"] not in await _read(call):
        raise TagNotFound(f"Tag {call.params['tag']} could not be found.")
    return Answer(status=204)


async def add(call: Call) -> Answer:
    """201: it is there now."""
    await _write(call, lambda tx, r: network_tags.add(tx, r, call.params["tag"]))
    return Answer(status=201)


async def remove(call: Call) -> Answer:
    """204: it is gone. 404: it was not there."""
    await _write(call, lambda tx, r: network_tags.remove(tx, r, call.params["tag"]))
    return Answer(status=204)
