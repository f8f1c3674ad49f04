"""Quality of service: policies of rules, bound to networks, ports and floating IPs."""

from __future__ import annotations

from dataclasses import dataclass

from trilith.model.record import Record

#: the kind of rule that promises bandwidth: kept by placement, which gives away no more than a node has
MINIMUM = "minimum_bandwidth"


@dataclass(frozen=True, slots=True, kw_only=True)
class QosPolicy(Record):
    """default: new networks of the project get it. shared: by an RBAC entry for all."""

    name: str
    project_id: str
    description: str = ""
    shared: bool = False
    default: bool = False
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QosRule(Record):
    """kind: bandwidth_limit (max_kbps, max_burst_kbps, direction), minimum_bandwidth (min_kbps, direction) or
    dscp_marking (dscp_mark, of what guests send).

    direction is seen from the guest: egress is what it sends.
    """

    policy_id: str
    kind: str
    direction: str = "egress"
    max_kbps: int = 0
    min_kbps: int = 0
    max_burst_kbps: int = 0
    dscp_mark: int = -1
