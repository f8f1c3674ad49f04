"""Security groups and their rules."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.network import listing
from trilith.api.network.listing import Noun, Standard, Viewer
from trilith.api.network.networks import Given, Name, Tags
from trilith.commands import security_groups as commands
from trilith.commands.network_faults import (
    InvalidInput,
    SecurityGroupInvalidPortValue,
    SecurityGroupNotFound,
    SecurityGroupRuleNotFound,
)
from trilith.model.network import Rbac, SecurityGroup, SecurityGroupRule
from trilith.store.tx import Reader, Tx


class RuleView(Standard, kw_only=True):
    security_group_id: str
    direction: str
    ethertype: str
    protocol: str | None
    port_range_min: int | None
    port_range_max: int | None
    remote_ip_prefix: str | None
    normalized_cidr: str | None
    remote_group_id: str | None
    remote_address_group_id: str | None


class GroupView(Standard, kw_only=True):
    name: str
    stateful: bool
    shared: bool
    security_group_rules: list[RuleView]
    tags: tuple[str, ...]


class GroupCreate(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name = ""
    description: Name = ""
    project_id: Given = UNSET
    tenant_id: Given = UNSET
    stateful: bool = True
    tags: Tags = []


class GroupUpdate(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name | UnsetType = UNSET
    description: Name | UnsetType = UNSET
    stateful: bool | UnsetType = UNSET


class RuleCreate(Struct, kw_only=True, forbid_unknown_fields=True):
    security_group_id: str
    direction: Literal["ingress", "egress"]
    ethertype: str | None = "IPv4"
    protocol: str | int | None = None
    port_range_min: int | str | None = None
    port_range_max: int | str | None = None
    remote_ip_prefix: str | None = None
    remote_group_id: str | None = None
    remote_address_group_id: str | None = None
    project_id: Given = UNSET
    tenant_id: Given = UNSET
    description: Name = ""


class CreateGroupBody(Struct):
    security_group: GroupCreate | UnsetType = UNSET
    security_groups: list[GroupCreate] | UnsetType = UNSET


class UpdateGroupBody(Struct):
    security_group: GroupUpdate


class CreateRuleBody(Struct):
    security_group_rule: RuleCreate | UnsetType = UNSET
    security_group_rules: list[RuleCreate] | UnsetType = UNSET


def view_rules(_reader: Reader, rows: Sequence[SecurityGroupRule], _who: Viewer) -> list[RuleView]:
    return [_rule(r) for r in rows]


def _rule(rule: SecurityGroupRule) -> RuleView:
    prefix = rule.remote_ip_prefix
    return RuleView(
        **listing.standard(rule),
        security_group_id=rule.security_group_id,
        direction=rule.direction,
        ethertype=rule.ethertype,
        protocol=rule.protocol or None,
        port_range_min=None if rule.port_range_min < 0 else rule.port_range_min,
        port_range_max=None if rule.port_range_max < 0 else rule.port_range_max,
        remote_ip_prefix=prefix or None,
        normalized_cidr=str(ipaddress.ip_network(prefix, strict=False)) if prefix else None,
        remote_group_id=rule.remote_group_id or None,
        remote_address_group_id=rule.remote_address_group_id or None,
    )


def view(reader: Reader, rows: Sequence[SecurityGroup], _who: Viewer) -> list[GroupView]:
    ids = [g.id for g in rows]
    rules: dict[str, list[RuleView]] = {}
    for rule in reader.select(SecurityGroupRule, security_group_id=ids):
        rules.setdefault(rule.security_group_id, []).append(_rule(rule))
    shared = {r.object_id for r in reader.select(Rbac, object_id=ids, object_type="security_group")}
    return [
        GroupView(
            **listing.standard(g),
            name=g.name,
            stateful=g.stateful,
            shared=g.id in shared,
            security_group_rules=rules.get(g.id, []),
            tags=g.tags,
        )
        for g in rows
    ]


GROUP: Noun[SecurityGroup] = Noun(
    SecurityGroup,
    "security_group",
    "security_groups",
    "Security group",
    SecurityGroupNotFound,
    view,
    {**listing.standard_filters(SecurityGroup), "stateful": listing.flag(SecurityGroup, "stateful")},
    listing.standard_sort(SecurityGroup),
    path="security-groups",
)

RULE: Noun[SecurityGroupRule] = Noun(
    SecurityGroupRule,
    "security_group_rule",
    "security_group_rules",
    "Security group rule",
    SecurityGroupRuleNotFound,
    view_rules,
    {
        **listing.standard_filters(SecurityGroupRule),
        "security_group_id": listing.text(SecurityGroupRule, "security_group_id"),
        "direction": listing.text(SecurityGroupRule, "direction"),
        "ethertype": listing.text(SecurityGroupRule, "ethertype"),
        "protocol": listing.text(SecurityGroupRule, "protocol"),
        "port_range_min": listing.number(SecurityGroupRule, "port_range_min"),
        "port_range_max": listing.number(SecurityGroupRule, "port_range_max"),
        "remote_ip_prefix": listing.text(SecurityGroupRule, "remote_ip_prefix"),
        "remote_address_group_id": listing.text(SecurityGroupRule, "remote_address_group_id"),
        "remote_group_id": listing.text(SecurityGroupRule, "remote_group_id"),
    },
    {
        **listing.standard_sort(SecurityGroupRule),
        "security_group_id": "security_group_id",
        "direction": "direction",
        "ethertype": "ethertype",
        "protocol": "protocol",
        "port_range_min": "port_range_min",
        "port_range_max": "port_range_max",
        "remote_ip_prefix": "remote_ip_prefix",
        "remote_group_id": "remote_group_id",
    },
    path="security-group-rules",
)


async def _default(call: Call) -> None:
    """Looking at one's groups is a first use of `default`, as in Neutron."""
    project = call.actor.project_id
    if project and call.can("get_security_group", project_id=project):
        known = await call.read(lambda r: r.first(SecurityGroup, project_id=project, default=True))
        if known is None:
            await call.write(lambda tx: commands.default_group(tx, project), "security_group.create")


async def index(call: Call) -> Answer:
    """200: the groups, the project's `default` one among them."""
    await _default(call)
    return await listing.index(GROUP)(call)


async def create(call: Call) -> Answer:
    """201: the group with its egress rules. 409: named `default`; quota."""
    body: CreateGroupBody = call.body

    def make(tx: Tx, wanted: GroupCreate) -> SecurityGroup:
        return commands.create_group(
            tx,
            project_id=listing.owner(call, GROUP, wanted.project_id, wanted.tenant_id),
            name=wanted.name,
            description=wanted.description,
            stateful=wanted.stateful,
            tags=tuple(dict.fromkeys(wanted.tags)),
        )

    return await listing.create_all(call, GROUP, body.security_group, body.security_groups, make)


async def update(call: Call) -> Answer:
    """200: as it is now. 409: the default group's name; stateful while in use."""
    wanted: UpdateGroupBody = call.body
    group = wanted.security_group

    def act(tx: Tx, record: SecurityGroup) -> Any:
        return commands.update_group(
            tx, record, name=group.name, description=group.description, stateful=group.stateful
        )

    return await listing.change(call, GROUP, act)


async def delete(call: Call) -> Answer:
    """204. 409: in use, or the default group (which administrators may delete)."""
    admin = call.can("context_is_admin")
    return await listing.remove(call, GROUP, lambda tx, g: commands.delete_group(tx, g, even_default=admin))


async def create_rule(call: Call) -> Answer:
    """201: the rule. 400: protocol, ports or prefix that do not fit. 404: a group. 409: it is there; quota."""
    body: CreateRuleBody = call.body
    return await listing.create_many(
        call, RULE, body.security_group_rule, body.security_group_rules, lambda tx, w: _make_rules(call, tx, w)
    )


def _make_rules(call: Call, tx: Tx, wanted: list[RuleCreate]) -> list[SecurityGroupRule]:
    who = listing.viewer(call)
    groups: dict[str, SecurityGroup] = {}
    owners: dict[tuple[str, object, object], str] = {}
    for w in wanted:
        if w.security_group_id not in groups:
            group = listing.fetch(tx, GROUP, who, w.security_group_id)
            call.allow("create_security_group_rule", project_id=group.project_id)
            groups[w.security_group_id] = group
        key = (w.security_group_id, w.project_id, w.tenant_id)
        if key not in owners:
            fallback = groups[w.security_group_id].project_id if who.admin else ""
            owners[key] = listing.owner(call, RULE, w.project_id, w.tenant_id, fallback)
    for remote in {w.remote_group_id for w in wanted if w.remote_group_id} - groups.keys():
        listing.fetch(tx, GROUP, who, remote)
    return commands.create_rules(
        tx,
        [
            commands.NewRule(
                group_id=w.security_group_id,
                project_id=owners[w.security_group_id, w.project_id, w.tenant_id],
                direction=w.direction,
                ethertype=ethertype_of(w.ethertype),
                protocol="" if w.protocol is None else str(w.protocol),
                port_min=port_of(w.port_range_min),
                port_max=port_of(w.port_range_max),
                remote_ip_prefix=w.remote_ip_prefix or "",
                remote_group_id=w.remote_group_id or "",
                remote_address_group_id=w.remote_address_group_id or "",
                description=w.description,
            )
            for w in wanted
        ],
    )


def ethertype_of(given: str | None) -> str:
    """Neutron takes any case. Raises Invalid."""
    for known in ("IPv4", "IPv6"):
        if (given or "IPv4").lower() == known.lower():
            return known
    raise InvalidInput(f"Invalid input for ethertype. Reason: '{given}' is not in ['IPv4', 'IPv6'].", field="ethertype")


def port_of(value: int | str | None) -> int | None:
    if value is None or value == "":
        return None
    try:
        return int(value)
    except ValueError as err:
        raise SecurityGroupInvalidPortValue(f"Invalid value for port {value}", field="port_range_min") from err


async def delete_rule(call: Call) -> Answer:
    """204."""
    return await listing.remove(call, RULE, commands.delete_rule)
