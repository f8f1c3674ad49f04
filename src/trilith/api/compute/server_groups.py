"""/os-server-groups."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.compute import paging
from trilith.api.compute.faults import unexpected
from trilith.api.compute.microversions import has
from trilith.api.compute.wire import Name, Number, number
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.commands import server_groups as commands
from trilith.model.server import ServerGroup
from trilith.store.tx import Reader

LIST_QUERY = ("all_projects", "limit", "offset")
_POLICY = Literal["anti-affinity", "affinity", "soft-anti-affinity", "soft-affinity"]


class Rules(msgspec.Struct, forbid_unknown_fields=True):
    max_server_per_host: Number | UnsetType = UNSET


class NewGroup(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    policies: Annotated[list[_POLICY], msgspec.Meta(min_length=1, max_length=1)] | UnsetType = UNSET
    policy: _POLICY | UnsetType = UNSET
    rules: Rules | UnsetType = UNSET


class Create(msgspec.Struct, forbid_unknown_fields=True):
    server_group: NewGroup


class GroupView(msgspec.Struct, kw_only=True):
    id: str
    name: str
    members: list[str]
    policies: list[str] | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET
    policy: str | UnsetType = UNSET
    rules: dict[str, int] | UnsetType = UNSET
    project_id: str | UnsetType = UNSET
    user_id: str | UnsetType = UNSET


class GroupOne(msgspec.Struct):
    server_group: GroupView


class GroupList(msgspec.Struct):
    server_groups: list[GroupView]


def _view(call: Call, group: ServerGroup, members: list[str]) -> GroupView:
    made = GroupView(id=group.id, name=group.name, members=members)
    if has(call.version, "group_policy"):
        made.policy, made.rules = group.policy, group.rules
    else:
        made.policies, made.metadata = [group.policy], {}
    if has(call.version, "group_owner"):
        made.project_id, made.user_id = group.project_id, group.user_id
    return made


async def index(call: Call) -> GroupList:
    """200, the project's; of all with all_projects for admins."""
    everyone = any(name == "all_projects" for name, _ in call.query) and call.actor.is_admin
    scope: dict[str, Any] = {} if everyone else {"project_id": call.actor.project_id}
    limit, offset = paging.limit_of(call), call.number("offset", 0)

    def read(reader: Reader) -> list[GroupView]:
        groups = reader.select(ServerGroup, limit=limit, offset=offset, **scope)
        members = commands.members(reader, [g.id for g in groups])
        return [_view(call, g, members.get(g.id, [])) for g in groups]

    return GroupList(await call.read(read))


async def show(call: Call) -> GroupOne:
    """200; 403; 404."""

    def read(reader: Reader) -> GroupView:
        group = commands.get(reader, call.params["id"])
        call.allow("os_compute_api:os-server-groups:show", project_id=group.project_id)
        return _view(call, group, commands.members(reader, [group.id]).get(group.id, []))

    return GroupOne(await call.read(read))


async def create(call: Call) -> GroupOne:
    """200; 400; 403 at the quota."""
    asked: NewGroup = call.body.server_group
    if has(call.version, "group_policy"):
        if asked.policies is not UNSET:
            unexpected("policies")
        if asked.policy is UNSET:
            raise errors.Invalid("Invalid input received: 'policy' is a required property", field="policy")
        policy: str = asked.policy
    else:
        if asked.policy is not UNSET or asked.rules is not UNSET:
            unexpected("policy" if asked.policy is not UNSET else "rules")
        if asked.policies is UNSET:
            raise errors.Invalid("Invalid input received: 'policies' is a required property", field="policies")
        policy = asked.policies[0]
        if policy.startswith("soft-") and not has(call.version, "soft_affinity"):
            raise errors.Invalid(f"Invalid input for field/attribute policies. Value: {policy}.", field="policies")
    rules: dict[str, int] = {}
    if asked.rules is not UNSET and asked.rules.max_server_per_host is not UNSET:
        rules = {"max_server_per_host": number(asked.rules.max_server_per_host, "max_server_per_host", least=1)}
    group = await call.write(
        lambda tx: commands.create(
            tx,
            project_id=call.actor.project_id,
            user_id=call.actor.user_id,
            name=asked.name.strip(),
            policy=policy,
            rules=rules,
        ),
        "server_group.create",
    )
    return GroupOne(_view(call, group, []))


async def delete(call: Call) -> Answer:
    """204; 403; 404."""

    def owner(reader: Reader) -> str:
        return commands.get(reader, call.params["id"]).project_id

    call.allow("os_compute_api:os-server-groups:delete", project_id=await call.read(owner))
    await call.write(lambda tx: commands.delete(tx, call.params["id"]), "server_group.delete")
    return Answer(status=204)
