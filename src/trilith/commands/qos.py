"""Policies of quality of service, their rules, and what they are bound to (networks, ports, floating IPs)."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from trilith.commands.network_faults import (
    InvalidInput,
    QosPolicyInUse,
    QosPolicyNotFound,
    QosRuleNotSupported,
    QoSRuleParameterConflict,
    QoSRulesConflict,
)
from trilith.commands.network_generation import bump
from trilith.commands.network_rbac import share, unshare
from trilith.commands.network_search import visible
from trilith.commands.server_resources import refit_all
from trilith.model.network import FloatingIp, Network, Port, Rbac, Router
from trilith.model.network_qos import MINIMUM, QosPolicy, QosRule
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Tx, new_id

BANDWIDTH, DSCP = "bandwidth_limit", "dscp_marking"
#: the marks of RFC 2474, 2597, 3246 and 5865 (Neutron's VALID_DSCP_MARKS)
DSCP_MARKS = (0, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 44, 46, 48, 56)
#: kbit; what OVN's meters take (ovn-nb(5), QoS)
MOST_KBPS = 2**31 - 1


def create_policy(
    tx: Tx,
    *,
    project_id: str,
    name: str,
    description: str = "",
    shared: bool = False,
    default: bool = False,
    tags: tuple[str, ...] = (),
) -> QosPolicy:
    """default: networks of the project that name none get it from now on."""
    policy = QosPolicy(
        id=new_id(), name=name, project_id=project_id, description=description, default=default, tags=tags
    )
    if default:
        _only_default(tx, policy)
    policy = tx.add(policy)
    if shared:
        share(tx, policy, "qos_policy")
        policy = tx.get(QosPolicy, policy.id)
    return policy


def update_policy(
    tx: Tx,
    policy: QosPolicy,
    *,
    name: str | UnsetType = UNSET,
    description: str | UnsetType = UNSET,
    shared: bool | UnsetType = UNSET,
    default: bool | UnsetType = UNSET,
) -> QosPolicy:
    """Raises QosPolicyInUse for one that others use and that is to be shared no more, QoSRuleParameterConflict."""
    given: dict[str, Any] = {"name": name, "description": description, "default": default}
    changes = {f: v for f, v in given.items() if v is not UNSET and v != getattr(policy, f)}
    if changes.get("default"):
        _only_default(tx, policy)
    if changes:
        policy = tx.change(policy, **changes)
    if shared is not UNSET and shared != policy.shared:
        if shared:
            share(tx, policy, "qos_policy")
        else:
            unshare(tx, policy)
        policy = tx.get(QosPolicy, policy.id)
    return policy


def _only_default(tx: Tx, policy: QosPolicy) -> None:
    known = tx.first(QosPolicy, project_id=policy.project_id, default=True)
    if known is not None and known.id != policy.id:
        raise QoSRuleParameterConflict(
            f"A default QoS policy exists for project {policy.project_id}: {known.id}.", field="is_default"
        )


def delete_policy(tx: Tx, policy: QosPolicy) -> None:
    """Raises QosPolicyInUse."""
    for cls, label in ((Network, "network"), (Port, "port"), (FloatingIp, "floating IP")):
        used = tx.first(cls, qos_policy_id=policy.id)
        if used is not None:
            raise QosPolicyInUse(f"QoS Policy {policy.id} is used by {label} {used.id}.")
    tx.remove_where(QosRule, policy_id=policy.id)
    tx.remove_where(Rbac, object_id=policy.id)
    tx.remove(policy)


def create_rule(tx: Tx, policy: QosPolicy, kind: str, **fields: Any) -> QosRule:
    """fields: QosRule's. Raises QoSRulesConflict (one a direction, one mark; a promise above the limit), InvalidInput,
    QosRuleNotSupported, and QosPlacementAllocationUpdateConflict for a promise that a server's node cannot keep."""
    rule = QosRule(id=new_id(), policy_id=policy.id, kind=kind, **fields)
    _check(tx, rule)
    rule = tx.add(rule)
    _changed(tx, policy)
    return rule


def update_rule(tx: Tx, policy: QosPolicy, rule: QosRule, **fields: Any) -> QosRule:
    """Raises as create_rule does."""
    changes = {f: v for f, v in fields.items() if v is not UNSET and v != getattr(rule, f)}
    if not changes:
        return rule
    rule = tx.change(rule, **changes)
    _check(tx, rule)
    _changed(tx, policy)
    return rule


def delete_rule(tx: Tx, policy: QosPolicy, rule: QosRule) -> None:
    """Raises QosPlacementAllocationUpdateConflict for a promise to a server that is moving."""
    tx.remove(rule)
    _changed(tx, policy)


def _check(tx: Tx, rule: QosRule) -> None:
    if rule.kind == DSCP and rule.dscp_mark not in DSCP_MARKS:
        raise InvalidInput(
            f"Invalid input for dscp_mark. Reason: '{rule.dscp_mark}' is not in {list(DSCP_MARKS)}.", field="dscp_mark"
        )
    if rule.kind == BANDWIDTH and not 1 <= rule.max_kbps <= MOST_KBPS:
        raise InvalidInput(
            f"Invalid input for max_kbps. Reason: '{rule.max_kbps}' is not from 1 to {MOST_KBPS}.", field="max_kbps"
        )
    if rule.kind == MINIMUM and not 1 <= rule.min_kbps <= MOST_KBPS:
        raise InvalidInput(
            f"Invalid input for min_kbps. Reason: '{rule.min_kbps}' is not from 1 to {MOST_KBPS}.", field="min_kbps"
        )
    if rule.kind == MINIMUM and (used := tx.first(FloatingIp, qos_policy_id=rule.policy_id)) is not None:
        raise _not_of_floating_ips(rule.policy_id, used.id)
    rules = tx.select(QosRule, policy_id=rule.policy_id)
    for other in rules:
        least, most = (rule, other) if rule.kind == MINIMUM else (other, rule)
        related = (least.kind, most.kind) == (MINIMUM, BANDWIDTH) and least.direction == most.direction
        if related and least.min_kbps > most.max_kbps:
            raise QoSRuleParameterConflict(
                f"Unable to add the rule {rule.id} to policy {rule.policy_id}: {least.min_kbps} kbit/s are more than "
                f"the limit of {most.max_kbps}.",
                field="min_kbps" if rule is least else "max_kbps",
            )
    for other in (r for r in rules if r.kind == rule.kind):
        if other.id != rule.id and (rule.kind == DSCP or other.direction == rule.direction):
            raise QoSRulesConflict(
                f"Rule {rule.kind} (id={rule.id}) can't be added to policy {rule.policy_id} as it conflicts with rule "
                f"{other.kind} (id={other.id})."
            )


def _changed(tx: Tx, policy: QosPolicy) -> None:
    """The policy's own revision grows with its rules, and all that it is bound to is made anew."""
    tx.change(tx.get(QosPolicy, policy.id))
    ports = tx.select(Port, qos_policy_id=policy.id)
    bump(tx, Port, [p.id for p in ports])
    refit_all(tx, ports)
    for network in tx.select(Network, qos_policy_id=policy.id):
        network_changed(tx, network.id)
    bump(tx, Router, [f.router_id for f in tx.select(FloatingIp, qos_policy_id=policy.id)])


def network_changed(tx: Tx, network_id: str) -> None:
    """Ports without a policy of their own follow their network's."""
    t = REGISTRY[Port].table.c
    ports = tx.select(Port, ~t.device_owner.like("network:%"), network_id=network_id, qos_policy_id="")
    bump(tx, Port, [p.id for p in ports])
    refit_all(tx, ports)


def check(tx: Tx, policy_id: str) -> str:
    """The id of a policy that the caller may bind. Raises QosPolicyNotFound."""
    if not policy_id:
        return ""
    clauses = () if tx.actor.is_admin else (visible(QosPolicy, tx.actor),)
    if not tx.select(QosPolicy, *clauses, id=policy_id, limit=1):
        raise QosPolicyNotFound(f"QoS policy {policy_id} could not be found.", field="qos_policy_id")
    return policy_id


def check_of_floating_ip(tx: Tx, policy_id: str) -> str:
    """As `check`. Raises QosRuleNotSupported for a policy that promises bandwidth: a floating IP is no server's share
    of a node."""
    if policy_id and tx.first(QosRule, policy_id=check(tx, policy_id), kind=MINIMUM) is not None:
        raise _not_of_floating_ips(policy_id, "")
    return policy_id


def _not_of_floating_ips(policy_id: str, floating_id: str) -> QosRuleNotSupported:
    which = f"floating IP {floating_id}" if floating_id else "floating IPs"
    return QosRuleNotSupported(
        f"Rule {MINIMUM} of policy {policy_id} is not supported by {which}.",
        hint="Bind such a policy to ports and networks.",
        field="qos_policy_id",
    )


def default_of(tx: Tx, project_id: str) -> str:
    found = tx.first(QosPolicy, project_id=project_id, default=True)
    return found.id if found else ""
