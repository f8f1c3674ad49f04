"""Tokens that are there: GET, HEAD and DELETE /v3/auth/tokens, and what the caller's own token may be changed to."""

from __future__ import annotations

from typing import Any

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.http.tokens import Valid
from trilith.api.identity import listing
from trilith.api.identity.auth import tokens_of
from trilith.api.identity.catalog import catalog, token_body
from trilith.api.identity.views import domain_view, project_view
from trilith.commands.identity_tokens import revoke
from trilith.commands.roles import SYSTEM, given_to
from trilith.model.identity import Domain, Project
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader


async def _subject(call: Call) -> Valid:
    """Raises Missing for a token that counts no more, as Keystone does."""
    text = call.headers.get("x-subject-token", "")
    try:
        return await tokens_of(call).valid(text)
    except errors.Unauthenticated as err:
        raise errors.Missing("Failed to validate token.") from err


def _knows_access_rules(call: Call) -> bool:
    """Whether who asks says that it holds requests to access rules: Keystone's header, a version of 1.0 or later."""
    try:
        return float(call.headers.get("openstack-identity-access-rules", "0")) >= 1.0
    except ValueError:
        return False


async def show_token(call: Call) -> Answer:
    """200 with the token's body (HEAD: without). 403 for another's token, 404 for one that counts no more."""
    valid = await _subject(call)
    call.allow("identity:validate_token", **{"target.token.user_id": valid.user.id})
    if valid.access_rules and not _knows_access_rules(call):
        # who asks would let the token do what its access rules forbid
        raise errors.Missing("Failed to validate token.")
    shown = token_body(call.host.settings.url, valid, with_catalog=not any(key == "nocatalog" for key, _ in call.query))
    headers = {"X-Subject-Token": call.headers["x-subject-token"], "Vary": "X-Auth-Token"}
    return Answer(shown, headers=headers)


async def revoke_token(call: Call) -> None:
    """204. 403 for another's token, 404 for one that counts no more."""
    valid = await _subject(call)
    call.allow("identity:revoke_token", **{"target.token.user_id": valid.user.id})
    token = valid.token
    await call.write(lambda tx: revoke(tx, token.audit_ids[0], token.expires_at), "token.revoke")


async def show_catalog(call: Call) -> dict[str, Any]:
    """200. 403 for a token without a scope."""
    actor = call.actor
    if not (actor.project_id or actor.domain_id or actor.system):
        raise errors.Forbidden("The catalog needs a scoped token.")
    valid = await tokens_of(call).valid(call.headers["x-auth-token"])
    entries = catalog(call.host.settings.url, valid.directory, actor.project_id)
    return {"catalog": entries, "links": listing.links(call, "/v3/auth/catalog")}


def accessible_projects(
    reader: Reader, user_id: str, *clauses: listing.Clause, groups: tuple[str, ...] = ()
) -> list[Project]:
    """Projects on which the user has a role, by assignment or inheritance, enabled or not.

    groups: those that an identity provider puts the user in for now.
    """
    t = REGISTRY[Project].table.c
    given = given_to(reader, user_id, groups)
    direct = {a.target_id for a in given if a.target_kind == "project" and not a.inherited}
    domains = {a.target_id for a in given if a.target_kind == "domain" and a.inherited}
    level = {a.target_id for a in given if a.target_kind == "project" and a.inherited}
    while level:  # one query a level of the trees below
        below = {p.id for p in reader.select(Project, parent_id=list(level))} - direct
        direct |= below
        level = below
    if not direct and not domains:
        return []
    return reader.select(Project, t.id.in_(direct) | t.domain_id.in_(domains), *clauses)


async def _groups(call: Call) -> tuple[str, ...]:
    """Of the caller's token."""
    return (await tokens_of(call).valid(call.headers["x-auth-token"])).token.group_ids


async def auth_projects(call: Call) -> dict[str, Any]:
    """200: enabled projects that the caller's user may have a token for."""
    t = REGISTRY[Project].table.c
    user_id, groups = call.actor.user_id, await _groups(call)
    found = await call.read(lambda r: accessible_projects(r, user_id, t.enabled.is_(True), groups=groups))
    return listing.plain(call, "projects", "/v3/auth/projects", [project_view(call, p) for p in found])


async def auth_domains(call: Call) -> dict[str, Any]:
    """200: enabled domains that the caller's user may have a token for."""
    user_id, groups = call.actor.user_id, await _groups(call)

    def look(reader: Reader) -> list[Domain]:
        ids = [a.target_id for a in given_to(reader, user_id, groups) if a.target_kind == "domain" and not a.inherited]
        return reader.select(Domain, id=ids, enabled=True)

    found = await call.read(look)
    return listing.plain(call, "domains", "/v3/auth/domains", [domain_view(call, d) for d in found])


async def auth_system(call: Call) -> dict[str, Any]:
    """200: whether the caller's user may have a token for the system."""
    user_id, groups = call.actor.user_id, await _groups(call)
    given = await call.read(lambda r: given_to(r, user_id, groups))
    shown = [{"all": True}] if any(a.target_kind == SYSTEM for a in given) else []
    return listing.plain(call, "system", "/v3/auth/system", shown)
