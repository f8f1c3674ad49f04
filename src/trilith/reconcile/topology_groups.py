"""Security groups and address groups as what the network driver is asked for."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from trilith.commands import security_logs
from trilith.model.network import SecurityGroup, SecurityGroupRule
from trilith.model.network_access import AddressGroup
from trilith.model.topology import AddressGroupSpec, RuleSpec, SecurityGroupSpec
from trilith.reconcile.topology_qos import by
from trilith.store.tx import Reader


def address_groups(reader: Reader, ids: Sequence[str]) -> list[AddressGroupSpec]:
    found = reader.select(AddressGroup, id=ids)
    return [AddressGroupSpec(id=g.id, revision=g.generation, addresses=g.addresses) for g in found]


def groups(reader: Reader, ids: Sequence[str]) -> list[SecurityGroupSpec]:
    rules = by(reader.select(SecurityGroupRule, security_group_id=ids), "security_group_id")
    allowed, dropped = _logs(reader, ids)
    return [
        SecurityGroupSpec(
            id=group.id,
            revision=group.generation,
            stateful=group.stateful,
            rules=tuple(map(_rule, rules[group.id])),
            log_allowed=allowed.get(group.id, ""),
            log_dropped=dropped.get(group.id, ""),
        )
        for group in reader.select(SecurityGroup, id=ids)
    ]


def _rule(rule: SecurityGroupRule) -> RuleSpec:
    prefix = rule.remote_ip_prefix
    return RuleSpec(
        id=rule.id,
        ingress=rule.direction == "ingress",
        ethertype=rule.ethertype,
        protocol=rule.protocol,
        port_min=rule.port_range_min,
        port_max=rule.port_range_max,
        remote_cidr=str(ipaddress.ip_network(prefix, strict=False)) if prefix else "",
        remote_group=rule.remote_group_id,
        remote_addresses=rule.remote_address_group_id,
    )


def _logs(reader: Reader, ids: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Group → the log that its rules' traffic is under, and that of what its ports are refused; the oldest of each."""
    allowed: dict[str, str] = {}
    dropped: dict[str, str] = {}
    for group_id, log in security_logs.of_groups(reader, ids):
        if log.event in ("ALL", "ACCEPT"):
            allowed.setdefault(group_id, log.id)
        if log.event in ("ALL", "DROP"):
            dropped.setdefault(group_id, log.id)
    return allowed, dropped
