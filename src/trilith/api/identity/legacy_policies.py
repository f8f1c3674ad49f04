"""/v3/policies: documents kept for other services. Nothing in Trilith reads them."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from trilith.api.http.call import Call
from trilith.api.identity import listing
from trilith.api.identity.listing import Filters
from trilith.api.identity.views import link
from trilith.api.identity.wire import Links, Name, flat, parse_open, set_fields
from trilith.commands.identity_credentials import create_policy, delete_policy, update_policy
from trilith.commands.identity_rules import hex_id
from trilith.model.identity import PolicyBlob

Blob = Annotated[str, Meta(max_length=262_144)]


class PolicyUpdate(Struct):
    blob: Blob | UnsetType = UNSET
    type: Name | UnsetType = UNSET


class PolicyCreate(Struct):
    blob: Blob
    type: Name


class PolicyBody(Struct):
    policy: dict[str, Any]


class View(Struct):
    id: str
    blob: str
    type: str
    links: Links


def _view(call: Call, p: PolicyBlob) -> dict[str, Any]:
    return flat(View(id=p.id, blob=p.blob, type=p.type, links=link(call, f"policies/{p.id}")), p.extra)


async def create(call: Call) -> dict[str, Any]:
    """201. 400, 403."""
    given, extra = parse_open(call.body.policy, PolicyCreate)
    policy = PolicyBlob(id=hex_id(), blob=given.blob, type=given.type, extra=extra)
    return {"policy": _view(call, await call.write(lambda tx: create_policy(tx, policy), "policy.create"))}


async def list_policies(call: Call) -> dict[str, Any]:
    """200, a page. 403."""
    clauses = Filters(texts=("type",)).clauses(call, PolicyBlob)
    found = await call.read(lambda r: listing.page(call, r, PolicyBlob, "/v3/policies", *clauses))
    return listing.answer("policies", found, lambda p: _view(call, p))


async def show(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    id = call.params["policy_id"]
    return {"policy": _view(call, await call.read(lambda r: r.get(PolicyBlob, id)))}


async def update(call: Call) -> dict[str, Any]:
    """200. 400, 403, 404."""
    id = call.params["policy_id"]
    given, extra = parse_open(call.body.policy, PolicyUpdate)
    fields = set_fields(given)
    if extra:
        fields["extra"] = extra
    return {"policy": _view(call, await call.write(lambda tx: update_policy(tx, id, dict(fields)), "policy.update"))}


async def delete(call: Call) -> None:
    """204. 403, 404."""
    id = call.params["policy_id"]
    await call.write(lambda tx: delete_policy(tx, id), "policy.delete")
