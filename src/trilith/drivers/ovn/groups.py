"""A security group: a port group whose `acls` column is written whole, over one group that drops the rest.

And address groups, which are address sets that rules name.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from uuid import UUID

from trilith.drivers.ovn import rows
from trilith.drivers.ovn.plan import Plan
from trilith.drivers.ovn.rows import Value
from trilith.model.topology import AddressGroupSpec, RuleSpec, SecurityGroupSpec

GROUP = "Port_Group"
SET = "Address_Set"
#: how the group that drops is named among a port's groups
DROP = "drop"
_DROP_PRIORITY = 1000
_LOGGED_DROP_PRIORITY = 1001
_ALLOW_PRIORITY = 1002
#: rows at most that rules alike but for one value become; 10,000 rules are some 40 a row
_BUCKETS = 256
#: log lines a second and node, and how many may come at once (Neutron's own defaults of its log driver)
_LOG_RATE, _LOG_BURST = 100, 25

#: Neutron's protocol names that OVN's match language lacks → IANA protocol numbers.
_NUMBERS = {
    "ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "igmp": 2, "ipip": 4, "ipv6-encap": 41, "ipv6-frag": 44,
    "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43, "ospf": 89, "pgm": 113, "rsvp": 46, "udplite": 136,
    "vrrp": 112,
}  # fmt: skip
_PORTED = {"tcp": "tcp", "6": "tcp", "udp": "udp", "17": "udp", "sctp": "sctp", "132": "sctp"}
_ICMP = {"icmp", "icmpv6", "ipv6-icmp", "1", "58"}


def ensure_group(plan: Plan, spec: SecurityGroupSpec) -> None:
    row = rows.row_id(spec.id)
    if plan.newer(GROUP, row, spec.revision, f"Security group {spec.id}"):
        return
    name = rows.group_name(spec.id)
    action = "allow-related" if spec.stateful else "allow-stateless"
    acls: dict[UUID, None] = {}
    for rules in merged(spec.rules):
        direction = "to-lport" if rules[0].ingress else "from-lport"
        acls[_acl(plan, name, direction, _ALLOW_PRIORITY, match(name, *rules), action, spec.log_allowed)] = None
    if spec.log_dropped:
        for direction, side in (("from-lport", "inport"), ("to-lport", "outport")):
            expression = f"{side} == @{name} && ip"
            acls[_acl(plan, name, direction, _LOGGED_DROP_PRIORITY, expression, "drop", spec.log_dropped)] = None
    ids = rows.marks(plan.cloud, "security_group", spec.id, spec.revision)
    plan.put(GROUP, row, {"name": name, "acls": list(acls), "external_ids": ids})


def remove_group(plan: Plan, group_id: str) -> None:
    row = rows.row_id(group_id)
    found = plan.ours(GROUP, row, f"Security group {group_id}")
    if found is not None:
        plan.guard(GROUP, row, found)
        plan.drop_root(GROUP, row)


def placeholder_group(plan: Plan, group_id: str) -> None:
    """A group that a port names before the group itself came: no rule, revision -1, so that drift detection sees it."""
    row = rows.row_id(group_id)
    if plan.ours(GROUP, row, f"Security group {group_id}") is None:
        ids = rows.marks(plan.cloud, "security_group", group_id, -1)
        plan.put(GROUP, row, {"name": rows.group_name(group_id), "external_ids": ids})


def drop_group(cloud: str) -> tuple[UUID, str]:
    row = rows.row_id(cloud, "drop")
    return row, f"trilith_drop_{row.hex[:12]}"


def ensure_drop_group(plan: Plan) -> None:
    """All secured ports are in it: what no rule lets through is dropped, except what a host needs to be a host."""
    row, name = drop_group(plan.cloud)
    found = plan.get(GROUP, row)
    if found is not None:
        plan.guard(GROUP, row, found)  # another writer may take it away with what it thinks the last port
        return
    acls = [
        _acl(plan, name, "from-lport", _DROP_PRIORITY, f"inport == @{name} && ip", "drop"),
        _acl(plan, name, "to-lport", _DROP_PRIORITY, f"outport == @{name} && ip", "drop"),
        # DHCP and neighbour discovery work whatever the rules are, as in Neutron's reference firewall
        _acl(plan, name, "from-lport", _ALLOW_PRIORITY, f"inport == @{name} && ip4 && udp.src == 68 && udp.dst == 67"),
        _acl(
            plan, name, "from-lport", _ALLOW_PRIORITY, f"inport == @{name} && ip6 && udp.src == 546 && udp.dst == 547"
        ),
        _acl(plan, name, "from-lport", _ALLOW_PRIORITY, f"inport == @{name} && (nd || nd_rs || mldv1 || mldv2)"),
        _acl(plan, name, "to-lport", _ALLOW_PRIORITY, f"outport == @{name} && (nd || nd_ra || mldv1 || mldv2)"),
    ]
    ids = rows.marks(plan.cloud, "drop-group", plan.cloud)
    plan.put(GROUP, row, {"name": name, "acls": acls, "external_ids": ids})


def leave_drop_group(plan: Plan, port: UUID) -> None:
    """The group goes with its last port."""
    row, _ = drop_group(plan.cloud)
    if plan.get(GROUP, row) is not None:
        plan.take_from(GROUP, row, "ports", port)
        plan.drop_if_empty(GROUP, row, "ports")


def _acl(
    plan: Plan, group: str, direction: str, priority: int, expression: str, action: str = "allow", log: str = ""
) -> UUID:
    columns: dict[str, Value] = {"direction": direction, "priority": priority, "match": expression, "action": action}
    if not log:
        return plan.once("ACL", rows.content_id(group, direction, priority, expression, action), columns)
    columns |= {"log": True, "name": [f"trilith-{log}"], "severity": ["info"], "meter": [_log_meter(plan)]}
    return plan.once("ACL", rows.content_id(group, direction, priority, expression, action, log), columns)


def _log_meter(plan: Plan) -> str:
    """One for all logs of the cloud: what comes faster is not logged."""
    name = f"trilith_log_{rows.row_id(plan.cloud, 'log').hex[:12]}"
    band = rows.row_id(plan.cloud, "log-band")
    plan.once("Meter_Band", band, {"action": "drop", "rate": _LOG_RATE, "burst_size": _LOG_BURST})
    ids = rows.marks(plan.cloud, "log-meter", plan.cloud)
    meter: dict[str, Value] = {"name": name, "unit": "pktps", "bands": [band], "external_ids": ids}
    plan.once("Meter", rows.row_id(plan.cloud, "log-meter"), meter)
    return name


def ensure_addresses(plan: Plan, spec: AddressGroupSpec) -> None:
    """The set of IPv4 prefixes is the noun's own row; that of IPv6 goes along."""
    row = rows.row_id(spec.id)
    if plan.newer(SET, row, spec.revision, f"Address group {spec.id}"):
        return
    for version, at in ((4, row), (6, _six(spec.id))):
        own = [a for a in spec.addresses if (":" in a) == (version == 6)]
        kind, revision = ("address_group", spec.revision) if version == 4 else ("address-set", None)
        ids = rows.marks(plan.cloud, kind, spec.id, revision)
        name = rows.address_set_name(spec.id, version)
        plan.put(SET, at, {"name": name, "addresses": own, "external_ids": ids})


def remove_addresses(plan: Plan, group_id: str) -> None:
    row = rows.row_id(group_id)
    found = plan.ours(SET, row, f"Address group {group_id}")
    if found is not None:
        plan.guard(SET, row, found)
        plan.drop_root(SET, row)
    plan.drop_root(SET, _six(group_id))


def _six(group_id: str) -> UUID:
    return rows.row_id(group_id, "ip6")


def merged(rules: Sequence[RuleSpec]) -> Iterator[list[RuleSpec]]:
    """Rules that differ in their prefix alone, or in their one port alone, share a row, some dozens at most.

    A row costs the databases and northd more than the flows it becomes, and a row that changes costs the nodes all of
    its flows: so each prefix or port has its bucket, and one rule more changes one row.
    """
    left: list[RuleSpec] = []
    for alike in _alike(rules, _has_prefix, lambda r: replace(r, id="", remote_cidr="")):
        if len(alike) > 1:
            yield from _buckets(alike, lambda r: r.remote_cidr)
        else:
            left += alike
    for alike in _alike(left, _has_one_port, lambda r: replace(r, id="", port_min=-1, port_max=-1)):
        if len(alike) > 1:
            yield from _buckets(alike, lambda r: str(r.port_min))
        else:
            yield alike


def _alike(
    rules: Sequence[RuleSpec], varies: Callable[[RuleSpec], bool], rest: Callable[[RuleSpec], RuleSpec]
) -> Iterator[list[RuleSpec]]:
    """Rules that vary and whose rest is the same; each that does not vary stands alone."""
    found: dict[object, list[RuleSpec]] = {}
    for number, rule in enumerate(rules):
        found.setdefault(rest(rule) if varies(rule) else number, []).append(rule)
    yield from found.values()


def _has_prefix(rule: RuleSpec) -> bool:
    return bool(rule.remote_cidr) and not rule.remote_cidr.endswith("/0")


def _has_one_port(rule: RuleSpec) -> bool:
    return rule.protocol.lower() in _PORTED and 0 <= rule.port_min == rule.port_max


def _buckets(rules: Sequence[RuleSpec], value: Callable[[RuleSpec], str]) -> Iterator[list[RuleSpec]]:
    """In an order that says nothing of the rules' own, each value once."""
    found: dict[int, dict[str, RuleSpec]] = {}
    for rule in rules:
        found.setdefault(zlib.crc32(value(rule).encode()) % _BUCKETS, {})[value(rule)] = rule
    for bucket in found.values():
        yield [bucket[v] for v in sorted(bucket)]


def match(group: str, *rules: RuleSpec) -> str:
    """Rules in OVN's match language (ovn-sb(5), Logical_Flow): one, or several that `merged` put together."""
    return " && ".join(_terms(group, rules))


def _either(values: Iterable[str]) -> str:
    several = list(dict.fromkeys(values))
    return several[0] if len(several) == 1 else "{" + ", ".join(several) + "}"


def _terms(group: str, rules: Sequence[RuleSpec]) -> Iterator[str]:
    rule = rules[0]
    family = "ip6" if rule.ethertype == "IPv6" else "ip4"
    yield f"{'outport' if rule.ingress else 'inport'} == @{group}"
    yield family
    far = f"{family}.{'src' if rule.ingress else 'dst'}"
    if rule.remote_group:
        yield f"{far} == ${rows.group_name(rule.remote_group)}_{family}"
    elif rule.remote_addresses:
        yield f"{far} == ${rows.address_set_name(rule.remote_addresses, 6 if family == 'ip6' else 4)}"
    elif rule.remote_cidr and not rule.remote_cidr.endswith("/0"):
        yield f"{far} == {_either(r.remote_cidr for r in rules)}"
    protocol = rule.protocol.lower()
    if protocol in _PORTED:
        yield from _range(_PORTED[protocol], rules)
    elif protocol in _ICMP:
        icmp = "icmp6" if family == "ip6" else "icmp4"
        yield icmp
        if rule.port_min >= 0:
            yield f"{icmp}.type == {rule.port_min}"
        if rule.port_max >= 0:
            yield f"{icmp}.code == {rule.port_max}"
    elif protocol and protocol != "any":
        yield f"ip.proto == {_NUMBERS.get(protocol, protocol)}"


def _range(protocol: str, rules: Sequence[RuleSpec]) -> Iterator[str]:
    yield protocol
    rule = rules[0]
    low, high = rule.port_min, rule.port_max
    if low >= 0 and low == high:
        yield f"{protocol}.dst == {_either(str(r.port_min) for r in rules)}"
    elif low >= 0 or high >= 0:
        yield f"{protocol}.dst >= {max(low, 0)}"
        yield f"{protocol}.dst <= {high if high >= 0 else 65535}"
