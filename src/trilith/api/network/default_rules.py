"""The rules that new security groups start with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.network import listing, security_groups
from trilith.api.network.listing import Noun, Viewer
from trilith.api.network.networks import Name
from trilith.commands import default_rules as commands
from trilith.commands.network_faults import DefaultSecurityGroupRuleNotFound
from trilith.commands.security_groups import NewRule, checked
from trilith.model.network_access import DefaultRule
from trilith.store.tx import Reader, Tx


class DefaultRuleView(Struct, kw_only=True):
    id: str
    description: str
    direction: str
    ethertype: str
    protocol: str | None
    port_range_min: int | None
    port_range_max: int | None
    remote_ip_prefix: str | None
    remote_group_id: str | None
    remote_address_group_id: str | None
    used_in_default_sg: bool
    used_in_non_default_sg: bool


class DefaultRuleCreate(Struct, kw_only=True, forbid_unknown_fields=True):
    direction: Literal["ingress", "egress"]
    ethertype: str | None = "IPv4"
    protocol: str | int | None = None
    port_range_min: int | str | None = None
    port_range_max: int | str | None = None
    remote_ip_prefix: str | None = None
    remote_group_id: str | None = None
    remote_address_group_id: str | None = None
    description: Name = ""
    used_in_default_sg: bool = False
    used_in_non_default_sg: bool = True


class CreateDefaultRuleBody(Struct):
    default_security_group_rule: DefaultRuleCreate | UnsetType = UNSET
    default_security_group_rules: list[DefaultRuleCreate] | UnsetType = UNSET


def view(_reader: Reader, rows: Sequence[DefaultRule], _who: Viewer) -> list[DefaultRuleView]:
    return [
        DefaultRuleView(
            id=r.id,
            description=r.description,
            direction=r.direction,
            ethertype=r.ethertype,
            protocol=r.protocol or None,
            port_range_min=None if r.port_range_min < 0 else r.port_range_min,
            port_range_max=None if r.port_range_max < 0 else r.port_range_max,
            remote_ip_prefix=r.remote_ip_prefix or None,
            remote_group_id=r.remote_group_id or None,
            remote_address_group_id=r.remote_address_group_id or None,
            used_in_default_sg=r.used_in_default,
            used_in_non_default_sg=r.used_in_others,
        )
        for r in rows
    ]


NOUN: Noun[DefaultRule] = Noun(
    DefaultRule,
    "default_security_group_rule",
    "default_security_group_rules",
    "Default security group rule",
    DefaultSecurityGroupRuleNotFound,
    view,
    {
        **{
            name: listing.text(DefaultRule, name)
            for name in ("id", "description", "direction", "ethertype", "protocol", "remote_ip_prefix",
                         "remote_group_id", "remote_address_group_id")
        },
        "port_range_min": listing.number(DefaultRule, "port_range_min"),
        "port_range_max": listing.number(DefaultRule, "port_range_max"),
        "used_in_default_sg": listing.flag(DefaultRule, "used_in_default"),
        "used_in_non_default_sg": listing.flag(DefaultRule, "used_in_others"),
    },
    {name: name for name in ("id", "description", "direction", "ethertype", "protocol")},
    path="default-security-group-rules",
)  # fmt: skip


async def _made(call: Call) -> None:
    if not await call.read(commands.ready):
        await call.write(commands.seed, "default_security_group_rule.create")


async def index(call: Call) -> Answer:
    """200: the rules, those that a cloud begins with among them."""
    await _made(call)
    return await listing.index(NOUN)(call)


async def show(call: Call) -> Answer:
    """200: the rule. 404: none such."""
    await _made(call)
    return await listing.show(NOUN)(call)


async def create(call: Call) -> Answer:
    """201: the rule; groups that are there already stay as they are. 400: what cannot be. 409: it is there."""
    call.allow("create_default_security_group_rule")
    body: CreateDefaultRuleBody = call.body

    def make(tx: Tx, wanted: DefaultRuleCreate) -> DefaultRule:
        rule = checked(
            NewRule(
                group_id="",
                project_id="",
                direction=wanted.direction,
                ethertype=security_groups.ethertype_of(wanted.ethertype),
                protocol="" if wanted.protocol is None else str(wanted.protocol),
                port_min=security_groups.port_of(wanted.port_range_min),
                port_max=security_groups.port_of(wanted.port_range_max),
                remote_ip_prefix=wanted.remote_ip_prefix or "",
                remote_group_id=wanted.remote_group_id or "",
                remote_address_group_id=wanted.remote_address_group_id or "",
                description=wanted.description,
            )
        )
        if rule.remote_group_id and rule.remote_group_id != commands.PARENT:
            listing.fetch(tx, security_groups.GROUP, listing.viewer(call), rule.remote_group_id)
        return commands.create(
            tx,
            DefaultRule(
                id="",
                direction=rule.direction,
                ethertype=rule.ethertype,
                protocol=rule.protocol,
                port_range_min=rule.port_range_min,
                port_range_max=rule.port_range_max,
                remote_ip_prefix=rule.remote_ip_prefix,
                remote_group_id=rule.remote_group_id,
                remote_address_group_id=rule.remote_address_group_id,
                description=rule.description,
                used_in_default=wanted.used_in_default_sg,
                used_in_others=wanted.used_in_non_default_sg,
            ),
        )

    several = body.default_security_group_rules
    return await listing.create_all(call, NOUN, body.default_security_group_rule, several, make)


async def delete(call: Call) -> Answer:
    """204: new groups start without it."""
    call.allow("delete_default_security_group_rule")
    await _made(call)
    return await listing.remove(call, NOUN, commands.delete)
