"""Grants: /v3/{projects,domains,system}/…/{users,groups}/…/roles, and their inherited form under OS-INHERIT."""

from __future__ import annotations

from typing import Any

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.identity import listing
from trilith.api.identity.views import role_view
from trilith.commands.identity_grants import Grant, Parties, give, granted, parties, take
from trilith.commands.roles import SYSTEM
from trilith.model.identity import Project, Role
from trilith.store.tx import Reader


def _grant(call: Call) -> Grant:
    """Read from the path's parts."""
    params = call.params
    actor_kind = "user" if "user_id" in params else "group"
    target_kind = "project" if "project_id" in params else "domain" if "domain_id" in params else SYSTEM
    return Grant(
        actor_kind=actor_kind,
        actor_id=params[f"{actor_kind}_id"],
        target_kind=target_kind,
        target_id=params.get(f"{target_kind}_id", SYSTEM),
        inherited="/OS-INHERIT/" in call.route.path,
    )


async def _checked(call: Call, what: str) -> Grant:
    """The policy needs the domains of both sides. Raises Forbidden before Missing, Missing."""
    grant, role_id = _grant(call), call.params.get("role_id", "")

    def look(reader: Reader) -> tuple[Parties | errors.Missing, Role | None]:
        role = reader.find(Role, role_id) if role_id else None
        try:
            return parties(reader, grant), role
        except errors.Missing as err:
            return err, role

    found, role = await call.read(look)
    if grant.target_kind == SYSTEM:
        noun = f"system_grants_for_{grant.actor_kind}" if what == "list" else f"system_grant_for_{grant.actor_kind}"
        call.allow(f"identity:{what}_{noun}")
    else:
        known = isinstance(found, Parties)
        facts = {
            "target.actor.domain_id": found.actor.domain_id if isinstance(found, Parties) else "",
            "target.target.domain_id": _home(found, grant) if known else "",
            "target.role.name": role.name if role and not role.domain_id else "",
        }
        call.allow("identity:list_grants" if what == "list" else f"identity:{what}_grant", **facts)
    if isinstance(found, errors.Missing):
        raise errors.Missing(found.message)
    if role_id and role is None:
        raise errors.Missing(f"Could not find role: {role_id}.")
    return grant


def _home(found: Parties | errors.Missing, grant: Grant) -> str:
    if isinstance(found, Parties) and isinstance(found.target, Project):
        return found.target.domain_id
    return grant.target_id


async def create(call: Call) -> None:
    """204, also when it is given already. 403, 404."""
    grant, role_id = await _checked(call, "create"), call.params["role_id"]
    await call.write(lambda tx: give(tx, grant, role_id), "grant.create")


async def check(call: Call) -> None:
    """204. 403, 404 also when it is not given."""
    grant, role_id = await _checked(call, "check"), call.params["role_id"]
    if not any(a.role_id == role_id for a in await call.read(lambda r: granted(r, grant))):
        raise errors.Missing(f"Could not find role assignment with role: {role_id}.")


async def revoke(call: Call) -> None:
    """204. 403, 404 also when it is not given."""
    grant, role_id = await _checked(call, "revoke"), call.params["role_id"]
    await call.write(lambda tx: take(tx, grant, role_id), "grant.revoke")


async def list_grants(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    grant = await _checked(call, "list")

    def look(reader: Reader) -> list[Role]:
        return reader.select(Role, id=[a.role_id for a in granted(reader, grant)])

    roles = await call.read(look)
    path = call.request.url.path.removeprefix(call.service.prefix)
    return listing.plain(call, "roles", path, [role_view(call, r) for r in roles])
