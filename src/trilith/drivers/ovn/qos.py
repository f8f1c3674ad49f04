"""Limits and marks: QoS rows of a logical switch, for a guest's port or for a floating IP on the external network.

A limit is a meter of the switch's (`bandwidth`), which this datapath keeps; a port's own `qos_max_rate` needs queues
of the kernel's, which it has not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from trilith.drivers.ovn import rows
from trilith.drivers.ovn.plan import Plan
from trilith.drivers.ovn.rows import Value
from trilith.model.topology import QosSpec

SWITCH = "Logical_Switch"
#: a floating IP's own rules come before those of a port
_PORT_PRIORITY, _FLOATING_PRIORITY = 2000, 2100
#: burst where none is given, of the rate (Neutron's DEFAULT_BURST_RATE)
_BURST = 0.8


def of_port(plan: Plan, port_id: str, wanted: Sequence[QosSpec]) -> list[UUID]:
    """Rows for all that a port sends and gets."""
    return [_row(plan, rule, f'{_side(rule)} == "{port_id}"', _PORT_PRIORITY) for rule in wanted]


def of_floating_ip(plan: Plan, gateway_port: str, address: str, wanted: Sequence[QosSpec]) -> list[UUID]:
    """Rows on the external network, where the router's port is. What a guest sends comes in there."""
    made = []
    for rule in wanted:
        far = f"ip4.{'dst' if rule.ingress else 'src'} == {address}"
        made.append(_row(plan, rule, f'{_side(rule)} == "{gateway_port}" && {far}', _FLOATING_PRIORITY))
    return made


def refer(plan: Plan, switch: UUID, before: Sequence[str], wanted: Sequence[UUID]) -> None:
    """Let the switch have the rows that are wanted, and those of before no more."""
    for gone in sorted(set(before) - {str(row) for row in wanted}):
        plan.take_from(SWITCH, switch, "qos_rules", UUID(gone))
    for row in wanted:
        plan.add_to(SWITCH, switch, "qos_rules", row)


def listed(ids: Mapping[str, str]) -> list[str]:
    """The rows that a noun noted in its external_ids."""
    return [part for part in ids.get("trilith:qos", "").split(",") if part]


def _side(rule: QosSpec) -> str:
    return "outport" if rule.ingress else "inport"


def _row(plan: Plan, rule: QosSpec, expression: str, priority: int) -> UUID:
    columns: dict[str, Value] = {
        "priority": priority,
        "direction": "to-lport" if rule.ingress else "from-lport",
        "match": expression,
    }
    if rule.kbps:
        burst = rule.burst_kbit or max(1, int(rule.kbps * _BURST))
        columns["bandwidth"] = {"rate": rule.kbps, "burst": burst}
    if rule.dscp >= 0:
        columns["action"] = {"dscp": rule.dscp}
    return plan.once("QoS", rows.content_id("qos", expression, priority, rule), columns)
