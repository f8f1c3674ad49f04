"""Policies of quality of service as what the network driver is asked for; and rows by what they belong to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from trilith.model.network_qos import MINIMUM, QosRule
from trilith.model.record import Record
from trilith.model.topology import QosSpec
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

#: ids in one IN list: SQLite takes 32,766 parameters, and plans grow with them
CHUNK = 500


def limits(reader: Reader, policy_ids: Iterable[str]) -> dict[str, tuple[QosSpec, ...]]:
    """Policy → its rules, but for promises of bandwidth: those are placement's."""
    wanted = sorted({p for p in policy_ids if p})
    found = by(chunked(reader, QosRule, wanted, "policy_id"), "policy_id") if wanted else {}
    return {policy: tuple(_rule(r) for r in rules if r.kind != MINIMUM) for policy, rules in found.items()}


def _rule(rule: QosRule) -> QosSpec:
    if rule.kind == "dscp_marking":
        return QosSpec(dscp=rule.dscp_mark)
    return QosSpec(ingress=rule.direction == "ingress", kbps=rule.max_kbps, burst_kbit=rule.max_burst_kbps)


def by(found: Iterable[Any], field: str) -> dict[str, list[Any]]:
    made: dict[str, list[Any]] = defaultdict(list)
    for one in found:
        made[getattr(one, field)].append(one)
    return made


def chunked(reader: Reader, cls: type[Record], ids: Iterable[str], field: str = "id") -> list[Any]:
    """Rows whose `field` is one of the ids."""
    wanted, column = sorted(ids), REGISTRY[cls].table.c[field]
    return [r for at in range(0, len(wanted), CHUNK) for r in reader.select(cls, column.in_(wanted[at : at + CHUNK]))]
