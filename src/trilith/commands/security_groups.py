"""Security groups and their rules, by Neutron's rules (neutron/db/securitygroups_db.py names them)."""

from __future__ import annotations

import ipaddress
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from msgspec import UNSET, UnsetType

from trilith.commands import default_rules, network_quota
from trilith.commands.addresses import insert_if_free
from trilith.commands.network_faults import (
    AddressGroupNotFound,
    InvalidInput,
    SecurityGroupCannotRemoveDefault,
    SecurityGroupCannotUpdateDefault,
    SecurityGroupDefaultAlreadyExists,
    SecurityGroupEthertypeConflictWithProtocol,
    SecurityGroupInUse,
    SecurityGroupInvalidIcmpValue,
    SecurityGroupInvalidPortRange,
    SecurityGroupInvalidPortValue,
    SecurityGroupInvalidProtocolForPort,
    SecurityGroupMissingIcmpType,
    SecurityGroupNotFound,
    SecurityGroupRemoteGroupAndRemoteIpPrefix,
    SecurityGroupRuleExists,
    SecurityGroupRuleInvalidProtocol,
    SecurityGroupRuleParameterConflict,
)
from trilith.commands.network_generation import bump
from trilith.commands.network_search import has, visible
from trilith.model.network import Port, Rbac, SecurityGroup, SecurityGroupRule
from trilith.model.network_access import AddressGroup, DefaultRule, SecurityLog
from trilith.model.record import Change
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx, new_id

_NAMESPACE = uuid.UUID("5c1f5a52-3a0b-5d0e-9a0e-6f0d3c1b7a11")

#: protocol names of the API reference → IANA numbers
PROTOCOLS: dict[str, int] = {
    "ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": 1, "icmpv6": 58, "igmp": 2, "ip": 0,
    "ipip": 4, "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60,
    "ipv6-route": 43, "ospf": 89, "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136,
    "vrrp": 112,
}  # fmt: skip
_PORTED = {6, 17, 33, 132, 136}
_ICMP = {1, 58}
_ONLY_V6 = {"ipv6-encap", "ipv6-frag", "ipv6-icmp", "ipv6-nonxt", "ipv6-opts", "ipv6-route", "icmpv6"}


def default_group(tx: Tx, project_id: str) -> SecurityGroup:
    """The project's group `default`, made on first use with Neutron's rules: all out, all in from itself."""
    known = tx.first(SecurityGroup, project_id=project_id, default=True)
    if known is not None:
        return known
    # an id that follows from the project: of two first uses at once only one makes it
    id = str(uuid.uuid5(_NAMESPACE, project_id))
    group = SecurityGroup(
        id=id, name="default", project_id=project_id, description="Default security group", default=True
    )
    if insert_if_free(tx, group):
        tx.touched.append(("security_group", Change.CREATED, id, project_id, 1))
        made = _base_rules(tx, group, default_rules.of(tx, default=True))
        network_quota.charge(tx, project_id, "security_group_rule", sum(not _built_in(r) for r in made))
    return tx.get(SecurityGroup, id)


def create_group(
    tx: Tx,
    *,
    project_id: str,
    name: str = "",
    description: str = "",
    stateful: bool = True,
    tags: tuple[str, ...] = (),
) -> SecurityGroup:
    """With the rules that new groups start with. Raises SecurityGroupDefaultAlreadyExists, OverQuota."""
    default_group(tx, project_id)
    if name == "default":
        raise SecurityGroupDefaultAlreadyExists("Default security group already exists.", field="name")
    network_quota.charge(tx, project_id, "security_group")
    start = default_rules.of(tx, default=False)
    network_quota.charge(tx, project_id, "security_group_rule", len(start))
    group = tx.add(
        SecurityGroup(
            id=new_id(), name=name, project_id=project_id, description=description, stateful=stateful, tags=tags
        )
    )
    _base_rules(tx, group, start)
    return group


def _base_rules(tx: Tx, group: SecurityGroup, start: Sequence[DefaultRule]) -> list[SecurityGroupRule]:
    return [
        tx.add(
            SecurityGroupRule(
                id=new_id(),
                project_id=group.project_id,
                security_group_id=group.id,
                direction=rule.direction,
                ethertype=rule.ethertype,
                protocol=rule.protocol,
                port_range_min=rule.port_range_min,
                port_range_max=rule.port_range_max,
                remote_ip_prefix=rule.remote_ip_prefix,
                remote_group_id=group.id if rule.remote_group_id == default_rules.PARENT else rule.remote_group_id,
                remote_address_group_id=rule.remote_address_group_id,
                description=rule.description,
            )
        )
        for rule in start
    ]


def update_group(
    tx: Tx,
    group: SecurityGroup,
    *,
    name: str | UnsetType = UNSET,
    description: str | UnsetType = UNSET,
    stateful: bool | UnsetType = UNSET,
) -> SecurityGroup:
    if name is not UNSET and name != group.name:
        if group.default:
            raise SecurityGroupCannotUpdateDefault("Updating default security group not allowed.", field="name")
        if name == "default":
            raise SecurityGroupDefaultAlreadyExists("Default security group already exists.", field="name")
        group = replace_one(tx, group, name=name)
    if description is not UNSET and description != group.description:
        group = replace_one(tx, group, description=description)
    if stateful is not UNSET and stateful != group.stateful:
        if users(tx, group.id, limit=1):
            raise SecurityGroupInUse(f"Security Group {group.id} cannot change stateful while ports use it.")
        group = tx.change(group, stateful=stateful)
        bump(tx, SecurityGroup, [group.id])
    return group


def replace_one(tx: Tx, group: SecurityGroup, **changes: str) -> SecurityGroup:
    return tx.change(group, **changes)


def delete_group(tx: Tx, group: SecurityGroup, *, even_default: bool = False) -> None:
    """Rules of other groups that name it as their remote go with it. Raises SecurityGroupInUse."""
    if users(tx, group.id, limit=1):
        raise SecurityGroupInUse(f"Security Group {group.id} in use.", hint="Take it from its ports first.")
    if group.default and not even_default:
        raise SecurityGroupCannotRemoveDefault("Insufficient rights for removing default security group.")
    own = tx.remove_where(SecurityGroupRule, security_group_id=group.id)
    others = tx.remove_where(SecurityGroupRule, remote_group_id=group.id)
    bump(tx, SecurityGroup, [r.security_group_id for r in others])
    tx.remove_where(Rbac, object_id=group.id)
    for log in tx.select(SecurityLog, resource_id=group.id):
        tx.remove(log)
    tx.remove(group)
    if not group.default:
        network_quota.refund(tx, group.project_id, "security_group")
    charged = [r for r in own if not (group.default and _built_in(r))] + others
    for rule in charged:
        network_quota.refund(tx, rule.project_id, "security_group_rule")


def _built_in(rule: SecurityGroupRule) -> bool:
    """The default group's first rules are not counted."""
    return (
        not rule.protocol
        and not rule.remote_address_group_id
        and not rule.remote_ip_prefix
        and rule.remote_group_id in ("", rule.security_group_id)
    )


def users(reader: Reader, group_id: str, *, limit: int | None = None) -> list[Port]:
    """Ports in the group."""
    return reader.select(Port, has(reader, REGISTRY[Port].table.c.security_groups, group_id), limit=limit)


def check_groups(tx: Tx, ids: Sequence[str], project_id: str, *, any_project: bool = False) -> tuple[str, ...]:
    """The ids as they are, once each. Raises SecurityGroupNotFound for one that the project does not see."""
    wanted = tuple(dict.fromkeys(ids))
    if not wanted:
        return ()
    actor = replace(tx.actor, project_id=project_id)
    clauses = () if any_project else (visible(SecurityGroup, actor),)
    known = {g.id for g in tx.select(SecurityGroup, *clauses, id=wanted)}
    for id in wanted:
        if id not in known:
            raise SecurityGroupNotFound(f"Security group {id} does not exist", field="security_groups")
    return wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRule:
    """A rule that is asked for. Ports None for any; for ICMP they are type and code."""

    group_id: str
    project_id: str
    direction: str
    ethertype: str = "IPv4"
    protocol: str = ""
    port_min: int | None = None
    port_max: int | None = None
    remote_ip_prefix: str = ""
    remote_group_id: str = ""
    remote_address_group_id: str = ""
    description: str = ""


def create_rule(tx: Tx, group: SecurityGroup, *, project_id: str, direction: str, **given: Any) -> SecurityGroupRule:
    """One rule; `given` and what it raises are NewRule's and create_rules'."""
    return create_rules(tx, [NewRule(group_id=group.id, project_id=project_id, direction=direction, **given)])[0]


def create_rules(tx: Tx, wanted: Sequence[NewRule]) -> list[SecurityGroupRule]:
    """All or none, in a few statements however many they are.

    Raises the SecurityGroup… class of the rule that is broken, SecurityGroupRuleExists, OverQuota.
    """
    rules = [checked(w) for w in wanted]
    _check_address_groups(tx, rules)
    remotes = sorted({(r.project_id, r.remote_group_id) for r in rules if r.remote_group_id})
    for project_id, group_id in remotes:
        check_groups(tx, [group_id], project_id, any_project=tx.actor.is_admin)
    # first, since it locks the groups' rows: of two identical rules at once the second finds the first
    for group_id in sorted({r.security_group_id for r in rules}):
        _changed(tx, group_id)
    known = _known(tx, rules)
    for rule in rules:
        same = known.setdefault(_key(rule), rule.id)
        if same != rule.id:
            raise SecurityGroupRuleExists(f"Security group rule already exists. Rule id is {same}.")
    for project_id, count in sorted(Counter(r.project_id for r in rules).items()):
        network_quota.charge(tx, project_id, "security_group_rule", count)
    return [tx.add(rule) for rule in rules]


def _check_address_groups(tx: Tx, rules: Sequence[SecurityGroupRule]) -> None:
    """Raises AddressGroupNotFound for one that the caller does not see."""
    wanted = {r.remote_address_group_id for r in rules if r.remote_address_group_id}
    if not wanted:
        return
    clauses = () if tx.actor.is_admin else (visible(AddressGroup, tx.actor),)
    missing = wanted - {g.id for g in tx.select(AddressGroup, *clauses, id=sorted(wanted))}
    if missing:
        raise AddressGroupNotFound(f"Address group {min(missing)} could not be found.", field="remote_address_group_id")


def checked(wanted: NewRule) -> SecurityGroupRule:
    """The rule in the form that is stored. Raises the class of what is broken in it."""
    protocol = _protocol(wanted.protocol, wanted.ethertype)
    _check_ports(protocol, wanted.port_min, wanted.port_max)
    if sum(map(bool, (wanted.remote_ip_prefix, wanted.remote_group_id, wanted.remote_address_group_id))) > 1:
        raise SecurityGroupRemoteGroupAndRemoteIpPrefix(
            "Only one of remote_ip_prefix, remote_group_id or remote_address_group_id may be provided."
        )
    if wanted.remote_ip_prefix:
        _check_prefix(wanted.remote_ip_prefix, wanted.ethertype)
    return SecurityGroupRule(
        id=new_id(),
        project_id=wanted.project_id,
        security_group_id=wanted.group_id,
        direction=wanted.direction,
        ethertype=wanted.ethertype,
        protocol=protocol,
        port_range_min=-1 if wanted.port_min is None else wanted.port_min,
        port_range_max=-1 if wanted.port_max is None else wanted.port_max,
        remote_ip_prefix=wanted.remote_ip_prefix,
        remote_group_id=wanted.remote_group_id,
        remote_address_group_id=wanted.remote_address_group_id,
        description=wanted.description,
    )


def _key(rule: SecurityGroupRule) -> tuple[str | int | None, ...]:
    """What two rules of one group may not have in common; all spellings of one protocol are the same."""
    return (
        rule.security_group_id,
        rule.direction,
        rule.ethertype,
        number(rule.protocol),
        rule.port_range_min,
        rule.port_range_max,
        rule.remote_ip_prefix,
        rule.remote_group_id,
        rule.remote_address_group_id,
    )


def _known(tx: Tx, rules: Sequence[SecurityGroupRule]) -> dict[tuple[str | int | None, ...], str]:
    """The groups' rules that could be one of these; for a single rule not the whole group."""
    equal: dict[str, Any] = {"security_group_id": sorted({r.security_group_id for r in rules})}
    if len(rules) == 1:
        one = rules[0]
        equal |= {
            "direction": one.direction,
            "ethertype": one.ethertype,
            "protocol": _same_protocol(one.protocol),
            "port_range_min": one.port_range_min,
            "port_range_max": one.port_range_max,
            "remote_ip_prefix": one.remote_ip_prefix,
            "remote_group_id": one.remote_group_id,
            "remote_address_group_id": one.remote_address_group_id,
        }
    return {_key(rule): rule.id for rule in tx.select(SecurityGroupRule, **equal)}


def delete_rule(tx: Tx, rule: SecurityGroupRule) -> None:
    _changed(tx, rule.security_group_id)
    tx.remove(rule)
    network_quota.refund(tx, rule.project_id, "security_group_rule")


def _changed(tx: Tx, group_id: str) -> None:
    """The group's own revision_number grows with its rules (Neutron's revisions plug-in), and its generation.

    Raises SecurityGroupNotFound for one that another transaction deleted.
    """
    table = REGISTRY[SecurityGroup].table
    done = tx.conn.execute(
        sa.update(table)
        .where(table.c.id == group_id)
        .values(revision=table.c.revision + 1, generation=table.c.generation + 1, updated_at=tx.now)
    )
    if done.rowcount != 1:
        raise SecurityGroupNotFound(f"Security group {group_id} does not exist", field="security_group_id")
    tx.touch("security_group", group_id)


def number(protocol: str) -> int | None:
    """IANA's number; None for any."""
    if not protocol:
        return None
    return PROTOCOLS[protocol] if protocol in PROTOCOLS else int(protocol)


def _protocol(protocol: str, ethertype: str) -> str:
    protocol = protocol.lower()
    if protocol in ("any", ""):
        return ""
    if protocol not in PROTOCOLS and not (protocol.isdecimal() and len(protocol) < 4 and int(protocol) <= 255):
        known = ", ".join(sorted(PROTOCOLS))
        raise SecurityGroupRuleInvalidProtocol(
            f"Security group rule protocol {protocol} not supported. Only protocol values [None, {known}] and integer "
            "representations [0 to 255] are supported.",
            field="protocol",
        )
    if protocol in _ONLY_V6 and ethertype == "IPv4":
        raise SecurityGroupEthertypeConflictWithProtocol(
            f"Invalid ethertype {ethertype} for protocol {protocol}.", field="ethertype"
        )
    return protocol


def _same_protocol(protocol: str) -> list[str]:
    """All spellings of one protocol."""
    at = number(protocol)
    if at is None:
        return [""]
    return [str(at), *(name for name, value in PROTOCOLS.items() if value == at)]


def _check_ports(protocol: str, low: int | None, high: int | None) -> None:
    if low is None and high is None:
        return
    at = number(protocol)
    for value in (low, high):
        if value is not None and not 0 <= value <= 65535:
            raise SecurityGroupInvalidPortValue(f"Invalid value for port {value}", field="port_range_min")
    if at in _ICMP:
        for label, field, value in (("type", "port-range-min", low), ("code", "port-range-max", high)):
            if value is not None and value > 255:
                raise SecurityGroupInvalidIcmpValue(
                    f"Invalid value for ICMP {label} ({field}) {value}. It must be 0 to 255.", field=field
                )
        if low is None:
            raise SecurityGroupMissingIcmpType(
                f"ICMP code (port-range-max) {high} is provided but ICMP type (port-range-min) is missing."
            )
        return
    if at not in _PORTED:
        raise SecurityGroupInvalidProtocolForPort(
            f"Invalid protocol {protocol or 'None'} for port range, only supported for TCP, UDP, UDPLITE, SCTP and "
            "DCCP.",
            field="protocol",
        )
    if low is None or high is None or low > high or low < 1:
        raise SecurityGroupInvalidPortRange("For TCP/UDP protocols, port_range_min must be <= port_range_max")


def _check_prefix(prefix: str, ethertype: str) -> None:
    try:
        network = ipaddress.ip_network(prefix, strict=False)
    except ValueError as err:
        raise InvalidInput(
            f"Invalid input for remote_ip_prefix. '{prefix}' is not a valid IP subnet.", field="remote_ip_prefix"
        ) from err
    if f"IPv{network.version}" != ethertype:
        raise SecurityGroupRuleParameterConflict(
            f"Conflicting value ethertype {ethertype} for CIDR {prefix}", field="remote_ip_prefix"
        )
