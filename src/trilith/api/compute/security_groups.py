"""Security groups as Nova showed them: the proxies to the network service until 2.35, and the groups of a server."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.compute.wire import Number, Text255
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.commands import security_groups as commands
from trilith.commands.network_faults import (
    SecurityGroupCannotRemoveDefault,
    SecurityGroupCannotUpdateDefault,
    SecurityGroupDefaultAlreadyExists,
    SecurityGroupInUse,
    SecurityGroupRuleExists,
)
from trilith.model.network import SecurityGroup, SecurityGroupRule
from trilith.store.tx import Reader, Tx

T = TypeVar("T")
_NAME = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class RuleView(msgspec.Struct):
    id: str
    parent_group_id: str
    ip_protocol: str | None
    from_port: int | None
    to_port: int | None
    ip_range: dict[str, str]
    group: dict[str, str]


class GroupView(msgspec.Struct):
    id: str
    name: str
    tenant_id: str
    description: str
    rules: list[RuleView]


class NewGroup(msgspec.Struct):
    name: _NAME
    description: Text255 | UnsetType | None = UNSET


class CreateGroup(msgspec.Struct):
    security_group: NewGroup


class NewRule(msgspec.Struct):
    parent_group_id: str
    ip_protocol: str | None = None
    from_port: Number | None = None
    to_port: Number | None = None
    cidr: str | None = None
    group_id: str | None = None


class CreateRule(msgspec.Struct):
    security_group_rule: NewRule


def group_views(reader: Reader, groups: Sequence[SecurityGroup]) -> list[GroupView]:
    """With their ingress rules: Nova knew no others."""
    if not groups:
        return []
    rules: dict[str, list[SecurityGroupRule]] = {}
    found = reader.select(SecurityGroupRule, security_group_id=[g.id for g in groups], direction="ingress")
    for rule in found:
        rules.setdefault(rule.security_group_id, []).append(rule)
    remote = {r.remote_group_id for r in found if r.remote_group_id}
    names = {g.id: g for g in reader.select(SecurityGroup, id=list(remote))} if remote else {}
    return [
        GroupView(g.id, g.name, g.project_id, g.description, [_rule(r, names) for r in rules.get(g.id, [])])
        for g in groups
    ]


def _rule(rule: SecurityGroupRule, groups: dict[str, SecurityGroup]) -> RuleView:
    remote = groups.get(rule.remote_group_id)
    low, high = rule.port_range_min, rule.port_range_max
    everything = -1 if rule.protocol else None
    return RuleView(
        id=rule.id,
        parent_group_id=rule.security_group_id,
        ip_protocol=rule.protocol or None,
        from_port=low if low >= 0 else everything,
        to_port=high if high >= 0 else everything,
        ip_range={} if remote else {"cidr": rule.remote_ip_prefix or _anywhere(rule)},
        group={"name": remote.name, "tenant_id": remote.project_id} if remote else {},
    )


def _anywhere(rule: SecurityGroupRule) -> str:
    return "::/0" if rule.ethertype == "IPv6" else "0.0.0.0/0"


#: Neutron's conflicts that Nova answered with 400
_REFUSALS = (
    SecurityGroupCannotRemoveDefault,
    SecurityGroupCannotUpdateDefault,
    SecurityGroupDefaultAlreadyExists,
    SecurityGroupInUse,
    SecurityGroupRuleExists,
)


async def _as_nova(change: Awaitable[T]) -> T:
    try:
        return await change
    except _REFUSALS as err:
        raise errors.Invalid(err.message, hint=err.hint, field=err.field) from err


def _check_uuid(value: str, field: str) -> None:
    """Raises Invalid."""
    try:
        uuid.UUID(value)
    except ValueError as err:
        raise errors.Invalid(f"Security group id should be uuid, not {value!r}.", field=field) from err


def _find(reader: Reader, call: Call, group_id: str) -> SecurityGroup:
    group = reader.find(SecurityGroup, group_id)
    if group is None or (group.project_id != call.actor.project_id and not call.actor.is_admin):
        raise errors.Missing(f"Security group {group_id} not found.")
    return group


async def index(call: Call) -> dict[str, Any]:
    """200, the project's; of all projects with all_tenants for admins."""

    def body(tx: Tx) -> list[GroupView]:
        commands.default_group(tx, call.actor.project_id)
        everyone = call.one("all_tenants") and call.actor.is_admin
        scope: dict[str, Any] = {} if everyone else {"project_id": call.actor.project_id}
        return group_views(tx, tx.select(SecurityGroup, **scope))

    return {"security_groups": await call.write(body, "security_group.list")}


async def show(call: Call) -> dict[str, Any]:
    """200; 404."""
    found = await call.read(lambda r: group_views(r, [_find(r, call, call.params["id"])]))
    return {"security_group": found[0]}


async def create(call: Call) -> dict[str, Any]:
    """200; 400; 403 at the quota."""
    asked: NewGroup = call.body.security_group
    text = (asked.description or "") if asked.description is not UNSET else ""

    def body(tx: Tx) -> list[GroupView]:
        group = commands.create_group(tx, project_id=call.actor.project_id, name=asked.name, description=text)
        return group_views(tx, [group])

    return {"security_group": (await _as_nova(call.write(body, "security_group.create")))[0]}


async def update(call: Call) -> dict[str, Any]:
    """200; 400; 404."""
    asked: NewGroup = call.body.security_group
    text = (asked.description or "") if asked.description is not UNSET else UNSET

    def body(tx: Tx) -> list[GroupView]:
        group = _find(tx, call, call.params["id"])
        return group_views(tx, [commands.update_group(tx, group, name=asked.name, description=text)])

    return {"security_group": (await _as_nova(call.write(body, "security_group.update")))[0]}


async def delete(call: Call) -> Answer:
    """202; 400 for one in use and for the default one; 404."""
    await _as_nova(
        call.write(lambda tx: commands.delete_group(tx, _find(tx, call, call.params["id"])), "security_group.delete")
    )
    return Answer(status=202)


async def create_rule(call: Call) -> dict[str, Any]:
    """200; 400, also for one that is there; 403 at the quota; 404."""
    asked: NewRule = call.body.security_group_rule
    remote = asked.group_id or ""
    _check_uuid(asked.parent_group_id, "parent_group_id")
    if remote:
        _check_uuid(remote, "group_id")
    cidr = "" if remote else (asked.cidr or "0.0.0.0/0")
    low = None if asked.from_port is None or int(asked.from_port) < 0 else int(asked.from_port)
    high = None if asked.to_port is None or int(asked.to_port) < 0 else int(asked.to_port)

    def body(tx: Tx) -> RuleView:
        group = _find(tx, call, asked.parent_group_id)
        rule = commands.create_rule(
            tx,
            group,
            project_id=group.project_id,
            direction="ingress",
            ethertype="IPv6" if ":" in cidr else "IPv4",
            protocol=(asked.ip_protocol or "").lower(),
            port_min=low,
            port_max=high,
            remote_ip_prefix=cidr,
            remote_group_id=remote,
        )
        other = tx.find(SecurityGroup, remote) if remote else None
        return _rule(rule, {other.id: other} if other else {})

    return {"security_group_rule": await _as_nova(call.write(body, "security_group_rule.create"))}


async def delete_rule(call: Call) -> Answer:
    """202; 404."""

    def body(tx: Tx) -> None:
        rule = tx.find(SecurityGroupRule, call.params["id"])
        if rule is None:
            raise errors.Missing(f"Security group rule {call.params['id']} not found.")
        _find(tx, call, rule.security_group_id)
        commands.delete_rule(tx, rule)

    await call.write(body, "security_group_rule.delete")
    return Answer(status=202)
