"""/v3/OS-TRUST/trusts."""

from __future__ import annotations

import time
from typing import Annotated, Any

import sqlalchemy as sa
from msgspec import Meta, Struct

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.identity import listing
from trilith.api.identity.views import link, role_view
from trilith.api.identity.wire import Links, ListLinks, Text, isotime, or_none, parse_time
from trilith.commands.identity_delegation import (
    MOST_REDELEGATIONS,
    RoleRef,
    check_within,
    create_trust,
    delete_trust,
    find_roles,
    redelegate,
)
from trilith.commands.identity_rules import hex_id
from trilith.model.identity import ApplicationCredential, Role, Trust
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx


class RoleGiven(Struct):
    id: Text | None = None
    name: Text | None = None


class Create(Struct):
    trustor_user_id: Text
    trustee_user_id: Text
    impersonation: bool
    project_id: Text | None = None
    roles: Annotated[list[RoleGiven], Meta(max_length=256)] | None = None
    expires_at: Text | None = None
    remaining_uses: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    allow_redelegation: bool | None = None
    redelegation_count: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None


class CreateBody(Struct):
    trust: Create


class Summary(Struct):
    id: str
    trustor_user_id: str
    trustee_user_id: str
    project_id: str | None
    impersonation: bool
    expires_at: str | None
    deleted_at: str | None
    remaining_uses: int | None
    redelegation_count: int
    redelegated_trust_id: str | None
    links: Links


class View(Summary):
    roles: list[dict[str, Any]]
    roles_links: ListLinks


def _summary(call: Call, t: Trust) -> Summary:
    return Summary(
        id=t.id,
        trustor_user_id=t.trustor_user_id,
        trustee_user_id=t.trustee_user_id,
        project_id=or_none(t.project_id),
        impersonation=t.impersonation,
        expires_at=isotime(t.expires_at) if t.expires_at else None,
        deleted_at=None,
        remaining_uses=None if t.remaining_uses < 0 else t.remaining_uses,
        redelegation_count=t.redelegation_count,
        redelegated_trust_id=or_none(t.redelegated_trust_id),
        links=link(call, f"OS-TRUST/trusts/{t.id}"),
    )


def _view(call: Call, t: Trust, roles: list[Role]) -> View:
    summary = _summary(call, t)
    return View(
        **{n: getattr(summary, n) for n in summary.__struct_fields__},
        roles=[role_view(call, r) for r in roles],
        roles_links=ListLinks(self=call.url(f"/v3/OS-TRUST/trusts/{t.id}/roles")),
    )


def _alive() -> listing.Clause:
    t = REGISTRY[Trust].table.c
    return sa.and_(sa.or_(t.expires_at == 0, t.expires_at > time.time()), t.remaining_uses != 0)


def _redelegations(given: Create) -> int:
    """How often the trust may be handed on, 0 for never. Raises Invalid, Forbidden beyond the bound."""
    if not given.allow_redelegation or given.redelegation_count == 0:
        return 0
    if (given.redelegation_count or 0) > MOST_REDELEGATIONS:
        raise errors.Forbidden(f"redelegation_count is above {MOST_REDELEGATIONS}.", field="redelegation_count")
    if given.remaining_uses is not None:
        raise errors.Invalid("remaining_uses must not be set if redelegation is allowed.", field="remaining_uses")
    return given.redelegation_count or MOST_REDELEGATIONS


async def create(call: Call) -> dict[str, Any]:
    """201. 400 for a bad attribute, 403 for another than the trustor or roles beyond, 404 for users or project."""
    given = call.body.trust
    call.allow("identity:create_trust", **{"target.trust.trustor_user_id": given.trustor_user_id})
    expires = parse_time(given.expires_at, "expires_at") if given.expires_at else 0.0
    if expires and expires <= time.time():
        raise errors.Invalid("expires_at lies in the past.", field="expires_at")
    refs = tuple(RoleRef(id=r.id or "", name=r.name or "") for r in given.roles or ())
    count = _redelegations(given)
    trust = Trust(
        id=hex_id(),
        trustor_user_id=given.trustor_user_id,
        trustee_user_id=given.trustee_user_id,
        impersonation=given.impersonation,
        project_id=given.project_id or "",
        expires_at=expires,
        remaining_uses=-1 if given.remaining_uses is None else given.remaining_uses,
        redelegation_count=count,
    )
    actor = call.actor
    if actor.access_token_id:
        raise errors.Forbidden("A token of an OAuth access token cannot make trusts.")

    def run(tx: Tx) -> tuple[Trust, list[Role]]:
        if actor.credential_id:
            check_within(tx, tx.find(ApplicationCredential, actor.credential_id), trust, find_roles(tx, refs))
        if actor.trust_id:
            parent = tx.get(Trust, actor.trust_id)
            handed_on = redelegate(parent, trust, find_roles(tx, refs), given.redelegation_count)
            made = create_trust(tx, handed_on, refs)
        else:
            made = create_trust(tx, trust, refs)
        return made, tx.select(Role, id=made.roles)

    made, roles = await call.write(run, "trust.create")
    return {"trust": _view(call, made, roles)}


async def list_trusts(call: Call) -> dict[str, Any]:
    """200, a page: one's own with a filter, all with the rights for it. 403."""
    trustor, trustee = call.one("trustor_user_id"), call.one("trustee_user_id")
    t = REGISTRY[Trust].table.c
    clauses = [_alive()]
    if trustor:
        call.allow("identity:list_trusts_for_trustor", **{"target.trust.trustor_user_id": trustor})
        clauses.append(t.trustor_user_id == trustor)
    if trustee:
        call.allow("identity:list_trusts_for_trustee", **{"target.trust.trustee_user_id": trustee})
        clauses.append(t.trustee_user_id == trustee)
    if not trustor and not trustee:
        call.allow("identity:list_trusts")
    found = await call.read(lambda r: listing.page(call, r, Trust, "/v3/OS-TRUST/trusts", *clauses))
    return listing.answer("trusts", found, lambda trust: _summary(call, trust))


async def _load(call: Call, policy: str) -> tuple[Trust, list[Role]]:
    """Raises Forbidden, Missing also for one that has run out."""
    id = call.params["trust_id"]

    def look(reader: Reader) -> tuple[Trust | None, list[Role]]:
        found = reader.first(Trust, _alive(), id=id)
        return found, reader.select(Role, id=found.roles) if found else []

    found, roles = await call.read(look)
    if found is None:
        raise errors.Missing(f"Could not find trust: {id}.")
    facts = {
        "target.trust.trustor_user_id": found.trustor_user_id,
        "target.trust.trustee_user_id": found.trustee_user_id,
    }
    call.allow(f"identity:{policy}", **facts)
    return found, roles


async def show(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    return {"trust": _view(call, *await _load(call, "get_trust"))}


async def delete(call: Call) -> None:
    """204, those that it was handed on in too. 403, 404."""
    trust, _ = await _load(call, "delete_trust")
    await call.write(lambda tx: delete_trust(tx, trust.id), "trust.delete")


async def list_roles(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    trust, roles = await _load(call, "list_roles_for_trust")
    path = f"/v3/OS-TRUST/trusts/{trust.id}/roles"
    return listing.plain(call, "roles", path, [role_view(call, r) for r in roles])


async def show_role(call: Call) -> dict[str, Any]:
    """200. 403, 404 also for a role that is not delegated."""
    _, roles = await _load(call, "get_role_for_trust")
    for role in roles:
        if role.id == call.params["role_id"]:
            return {"role": role_view(call, role)}
    raise errors.Missing(f"Could not find role: {call.params['role_id']}.")
