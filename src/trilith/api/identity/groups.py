"""/v3/groups and their members."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.identity import listing
from trilith.api.identity.listing import Filters
from trilith.api.identity.views import group_view, user_view
from trilith.api.identity.wire import ShortName, Text, parse_open, set_fields
from trilith.commands.identity_domain_config import list_limit
from trilith.commands.identity_groups import add_member, create_group, delete_group, remove_member, update_group
from trilith.commands.identity_rules import hex_id
from trilith.model.identity import DEFAULT_DOMAIN, Group, GroupMember, User
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader


class GroupUpdate(Struct):
    name: ShortName | UnsetType = UNSET
    domain_id: str | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET


class GroupCreate(GroupUpdate, kw_only=True):
    name: ShortName


class GroupBody(Struct):
    group: dict[str, Any]


async def _load(call: Call, policy: str) -> Group:
    """Raises Forbidden before Missing."""
    id, user_id = call.params["group_id"], call.params.get("user_id", "")

    def look(reader: Reader) -> tuple[Group | None, User | None]:
        return reader.find(Group, id), reader.find(User, user_id) if user_id else None

    group, user = await call.read(look)
    facts = {
        "target.group.id": id,
        "target.group.domain_id": group.domain_id if group else "",
        "target.user.id": user_id,
        "target.user.domain_id": user.domain_id if user else "",
    }
    call.allow(f"identity:{policy}", **facts)
    if group is None:
        raise errors.Missing(f"Could not find group: {id}.")
    return group


async def create(call: Call) -> dict[str, Any]:
    """201. 400, 403, 404 for an unknown domain, 409 for a name taken in it."""
    given, extra = parse_open(call.body.group, GroupCreate)
    domain_id = given.domain_id or call.actor.domain_id or DEFAULT_DOMAIN
    call.allow("identity:create_group", **{"target.group.domain_id": domain_id})
    group = Group(id=hex_id(), domain_id=domain_id, extra=extra, **set_fields(given, "domain_id"))
    made = await call.write(lambda tx: create_group(tx, group), "group.create")
    return {"group": group_view(call, made)}


async def list_groups(call: Call) -> dict[str, Any]:
    """200, a page. 403."""
    domain_id = call.one("domain_id") or call.actor.domain_id
    call.allow("identity:list_groups", **{"target.domain_id": domain_id})
    clauses = Filters(texts=("name", "domain_id")).clauses(call, Group)
    if domain_id:
        clauses.append(REGISTRY[Group].table.c.domain_id == domain_id)
    found = await call.read(
        lambda r: listing.page(call, r, Group, "/v3/groups", *clauses, most=list_limit(r, domain_id))
    )
    return listing.answer("groups", found, lambda g: group_view(call, g))


async def show(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    return {"group": group_view(call, await _load(call, "get_group"))}


async def update(call: Call) -> dict[str, Any]:
    """200. 400, 403, 404, 409 for a name taken."""
    group = await _load(call, "update_group")
    given, extra = parse_open(call.body.group, GroupUpdate)
    fields = set_fields(given)
    if extra:
        fields["extra"] = extra
    done = await call.write(lambda tx: update_group(tx, group.id, dict(fields)), "group.update")
    return {"group": group_view(call, done)}


async def delete(call: Call) -> None:
    """204. 403, 404."""
    group = await _load(call, "delete_group")
    await call.write(lambda tx: delete_group(tx, group.id), "group.delete")


async def list_members(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    group = await _load(call, "list_users_in_group")
    users, members = REGISTRY[User].table.c, REGISTRY[GroupMember].table.c
    clauses = Filters(texts=("name", "domain_id"), flags=("enabled",)).clauses(call, User)
    clauses += [users.id == members.user_id, members.group_id == group.id]
    path = f"/v3/groups/{group.id}/users"
    found = await call.read(lambda r: listing.page(call, r, User, path, *clauses))
    return listing.answer("users", found, lambda u: user_view(call, u))


async def check_member(call: Call) -> None:
    """204. 403, 404 also for a user who is not in it."""
    group = await _load(call, "check_user_in_group")
    user_id = call.params["user_id"]
    if not await call.read(lambda r: r.count(GroupMember, group_id=group.id, user_id=user_id)):
        raise errors.Missing(f"User {user_id} is not in group {group.id}.")


async def add(call: Call) -> None:
    """204. 403, 404."""
    group = await _load(call, "add_user_to_group")
    user_id = call.params["user_id"]
    await call.write(lambda tx: add_member(tx, group.id, user_id), "group.add")


async def remove(call: Call) -> None:
    """204. 403, 404."""
    group = await _load(call, "remove_user_from_group")
    user_id = call.params["user_id"]
    await call.write(lambda tx: remove_member(tx, group.id, user_id), "group.remove")
