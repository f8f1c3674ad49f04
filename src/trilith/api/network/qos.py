"""Policies of quality of service and their rules.

Limits and marks are in force (meters and marks of the logical switches). A minimum of bandwidth is in force where
servers are placed: no node promises more than it has. Packet rates are not: nothing here could keep them, so such rules
are refused and their types not listed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.network import listing
from trilith.api.network.listing import Noun, Standard, Viewer
from trilith.api.network.networks import Given, Name
from trilith.commands import qos as commands
from trilith.commands.network_faults import QosPolicyNotFound, QosRuleNotFound, QosRuleNotSupported
from trilith.commands.qos import BANDWIDTH, DSCP
from trilith.model.network_qos import MINIMUM, QosPolicy, QosRule
from trilith.store.tx import Reader, Tx

Handler = Callable[[Call], Awaitable[Answer]]


class RuleView(Struct, kw_only=True):
    """Those of its own kind alone are set. The policy shows type and qos_policy_id too."""

    id: str
    max_kbps: int | UnsetType = UNSET
    max_burst_kbps: int | UnsetType = UNSET
    min_kbps: int | UnsetType = UNSET
    direction: str | UnsetType = UNSET
    dscp_mark: int | UnsetType = UNSET
    type: str | UnsetType = UNSET
    qos_policy_id: str | UnsetType = UNSET


class PolicyView(Standard, kw_only=True):
    name: str
    shared: bool
    is_default: bool
    rules: list[RuleView]
    tags: tuple[str, ...]


class PolicyCreate(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name
    description: Name = ""
    shared: bool | UnsetType = UNSET
    is_default: bool = False
    project_id: Given = UNSET
    tenant_id: Given = UNSET


class PolicyUpdate(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name | UnsetType = UNSET
    description: Name | UnsetType = UNSET
    shared: bool | UnsetType = UNSET
    is_default: bool | UnsetType = UNSET


class CreatePolicyBody(Struct):
    policy: PolicyCreate | UnsetType = UNSET
    policies: list[PolicyCreate] | UnsetType = UNSET


class UpdatePolicyBody(Struct):
    policy: PolicyUpdate


class BandwidthCreate(Struct, kw_only=True, forbid_unknown_fields=True):
    max_kbps: int | str
    max_burst_kbps: int | str = 0
    direction: Literal["ingress", "egress"] = "egress"
    project_id: Given = UNSET
    tenant_id: Given = UNSET


class BandwidthUpdate(Struct, kw_only=True, forbid_unknown_fields=True):
    max_kbps: int | str | UnsetType = UNSET
    max_burst_kbps: int | str | UnsetType = UNSET
    direction: Literal["ingress", "egress"] | UnsetType = UNSET


class MinimumCreate(Struct, kw_only=True, forbid_unknown_fields=True):
    min_kbps: int | str
    direction: Literal["ingress", "egress"] = "egress"
    project_id: Given = UNSET
    tenant_id: Given = UNSET


class MinimumUpdate(Struct, kw_only=True, forbid_unknown_fields=True):
    min_kbps: int | str | UnsetType = UNSET
    direction: Literal["ingress", "egress"] | UnsetType = UNSET


class MarkCreate(Struct, kw_only=True, forbid_unknown_fields=True):
    dscp_mark: int | str
    project_id: Given = UNSET
    tenant_id: Given = UNSET


class MarkUpdate(Struct, kw_only=True, forbid_unknown_fields=True):
    dscp_mark: int | str | UnsetType = UNSET


class CreateBandwidthBody(Struct):
    bandwidth_limit_rule: BandwidthCreate


class UpdateBandwidthBody(Struct):
    bandwidth_limit_rule: BandwidthUpdate


class CreateMinimumBody(Struct):
    minimum_bandwidth_rule: MinimumCreate


class UpdateMinimumBody(Struct):
    minimum_bandwidth_rule: MinimumUpdate


class CreateMarkBody(Struct):
    dscp_marking_rule: MarkCreate


class UpdateMarkBody(Struct):
    dscp_marking_rule: MarkUpdate


class RuleType(Struct):
    type: str


class Driver(Struct):
    name: str
    supported_parameters: list[dict[str, Any]]


class RuleTypeDetails(Struct):
    type: str
    drivers: list[Driver]


def _rule(rule: QosRule, *, of_policy: bool = False) -> RuleView:
    view = RuleView(id=rule.id)
    if rule.kind == BANDWIDTH:
        view.max_kbps, view.max_burst_kbps, view.direction = rule.max_kbps, rule.max_burst_kbps, rule.direction
    elif rule.kind == MINIMUM:
        view.min_kbps, view.direction = rule.min_kbps, rule.direction
    else:
        view.dscp_mark = rule.dscp_mark
    if of_policy:
        view.type, view.qos_policy_id = rule.kind, rule.policy_id
    return view


def view(reader: Reader, rows: Sequence[QosPolicy], _who: Viewer) -> list[PolicyView]:
    rules: dict[str, list[RuleView]] = {p.id: [] for p in rows}
    for rule in reader.select(QosRule, policy_id=list(rules)):
        rules[rule.policy_id].append(_rule(rule, of_policy=True))
    return [
        PolicyView(
            **listing.standard(p), name=p.name, shared=p.shared, is_default=p.default, rules=rules[p.id], tags=p.tags
        )
        for p in rows
    ]


NOUN: Noun[QosPolicy] = Noun(
    QosPolicy,
    "policy",
    "policies",
    "QoS policy",
    QosPolicyNotFound,
    view,
    {
        **listing.standard_filters(QosPolicy),
        "shared": listing.flag(QosPolicy, "shared"),
        "is_default": listing.flag(QosPolicy, "default"),
    },
    {**listing.standard_sort(QosPolicy), "shared": "shared", "is_default": "default"},
    path="qos/policies",
)


async def create(call: Call) -> Answer:
    """201: the policy. 403: not an administrator. 409: the project has a default one."""
    body: CreatePolicyBody = call.body

    def make(tx: Tx, wanted: PolicyCreate) -> QosPolicy:
        return commands.create_policy(
            tx,
            project_id=listing.owner(call, NOUN, wanted.project_id, wanted.tenant_id),
            name=wanted.name,
            description=wanted.description,
            shared=bool(wanted.shared),
            default=wanted.is_default,
        )

    return await listing.create_all(call, NOUN, body.policy, body.policies, make)


async def update(call: Call) -> Answer:
    """200: as it is now. 409: others use it, and it is to be shared no more."""
    wanted: PolicyUpdate = call.body.policy
    return await listing.change(
        call,
        NOUN,
        lambda tx, p: commands.update_policy(
            tx, p, name=wanted.name, description=wanted.description, shared=wanted.shared, default=wanted.is_default
        ),
    )


async def delete(call: Call) -> Answer:
    """204. 409: something is bound to it."""
    return await listing.remove(call, NOUN, commands.delete_policy)


# ---- rules

KEYS = {BANDWIDTH: "bandwidth_limit_rule", MINIMUM: "minimum_bandwidth_rule", DSCP: "dscp_marking_rule"}


def rules_index(kind: str) -> Handler:
    async def handler(call: Call) -> Answer:
        """200: the policy's rules of this kind. 404: the policy."""
        call.allow("get_policy")
        who = listing.viewer(call)

        def read(reader: Reader) -> list[RuleView]:
            policy = listing.fetch(reader, NOUN, who, call.params["policy"])
            found = [_rule(r) for r in reader.select(QosRule, policy_id=policy.id, kind=kind)]
            for name in ("id", "max_kbps", "max_burst_kbps", "min_kbps", "direction", "dscp_mark"):
                if values := call.all(name):
                    found = [r for r in found if str(getattr(r, name)) in values]
            return found

        return Answer({f"{KEYS[kind]}s": await call.read(read)})

    return handler


def rules_show(kind: str) -> Handler:
    async def handler(call: Call) -> Answer:
        """200: the rule. 404: it or its policy."""
        call.allow("get_policy")
        who = listing.viewer(call)
        rule = await call.read(lambda r: _find(r, call, who, kind)[1])
        return Answer({KEYS[kind]: _rule(rule)})

    return handler


def _find(reader: Reader, call: Call, who: Viewer, kind: str) -> tuple[QosPolicy, QosRule]:
    """By the policy and the rule of the path; by the rule alone where the path names none."""
    found = reader.select(QosRule, id=call.params["id"], kind=kind, limit=1)
    policy_id = call.params.get("policy") or (found[0].policy_id if found else "")
    policy = listing.fetch(reader, NOUN, who, policy_id) if policy_id else None
    if policy is None or not found or found[0].policy_id != policy.id:
        raise QosRuleNotFound(f"QoS rule {call.params['id']} for policy {policy_id} could not be found.")
    return policy, found[0]


def rules_create(kind: str) -> Handler:
    async def handler(call: Call) -> Answer:
        """201: the rule, in force on all that the policy is bound to. 400: out of bounds, or not for floating IPs. 409:
        there is such a one, or the node of a server has not that much to promise."""
        who, fields = listing.viewer(call), _fields(kind, call.body)

        def body(tx: Tx) -> QosRule:
            policy = listing.fetch(tx, NOUN, who, call.params["policy"])
            call.allow("update_policy", project_id=policy.project_id)
            return commands.create_rule(tx, policy, kind, **fields)

        return Answer({KEYS[kind]: _rule(await call.write(body, "qos_rule.create"))}, status=201)

    return handler


def rules_update(kind: str) -> Handler:
    async def handler(call: Call) -> Answer:
        """200: the rule as it is now. 400, 409 as create."""
        who, fields = listing.viewer(call), _fields(kind, call.body)

        def body(tx: Tx) -> QosRule:
            policy, rule = _find(tx, call, who, kind)
            call.allow("update_policy", project_id=policy.project_id)
            return commands.update_rule(tx, policy, rule, **fields)

        return Answer({KEYS[kind]: _rule(await call.write(body, "qos_rule.update"))})

    return handler


def rules_delete(kind: str) -> Handler:
    async def handler(call: Call) -> Answer:
        """204. 404: it or its policy."""
        who = listing.viewer(call)

        def body(tx: Tx) -> None:
            policy, rule = _find(tx, call, who, kind)
            call.allow("update_policy", project_id=policy.project_id)
            commands.delete_rule(tx, policy, rule)

        await call.write(body, "qos_rule.delete")
        return Answer(status=204)

    return handler


def _fields(kind: str, body: Any) -> dict[str, Any]:
    wanted = getattr(body, KEYS[kind])
    if kind == DSCP:
        return {} if wanted.dscp_mark is UNSET else {"dscp_mark": listing.integer(wanted.dscp_mark, "dscp_mark", 0, 63)}
    fields: dict[str, Any] = {} if wanted.direction is UNSET else {"direction": wanted.direction}
    for name in ("min_kbps",) if kind == MINIMUM else ("max_kbps", "max_burst_kbps"):
        value = getattr(wanted, name)
        if value is not UNSET:
            fields[name] = listing.integer(value, name, 0, commands.MOST_KBPS)
    return fields


async def refuse_rule(call: Call) -> Answer:
    """400: nothing here could keep it."""
    kind = call.request.url.path.removesuffix("/").split("/")[-1].removesuffix("_rules")
    raise QosRuleNotSupported(
        f"Rule {kind} is not supported: the datapath counts no packet rates.",
        hint="There are bandwidth_limit, minimum_bandwidth and dscp_marking.",
    )


_DIRECTIONS = {"parameter_name": "direction", "parameter_type": "choices", "parameter_values": ["ingress", "egress"]}


def _range(name: str, low: int, high: int) -> dict[str, Any]:
    return {"parameter_name": name, "parameter_type": "range", "parameter_values": {"start": low, "end": high}}


_PARAMETERS: dict[str, list[dict[str, Any]]] = {
    BANDWIDTH: [
        _range("max_kbps", 1, commands.MOST_KBPS),
        _range("max_burst_kbps", 0, commands.MOST_KBPS),
        _DIRECTIONS,
    ],
    MINIMUM: [_range("min_kbps", 1, commands.MOST_KBPS), _DIRECTIONS],
    DSCP: [
        {
            "parameter_name": "dscp_mark",
            "parameter_type": "choices",
            "parameter_values": list(commands.DSCP_MARKS),
        }
    ],
}


async def rule_types(call: Call) -> Answer:
    """200: the kinds of rules that are in force."""
    call.allow("get_rule_type")
    wanted = call.all("type")
    return Answer({"rule_types": [RuleType(kind) for kind in _PARAMETERS if not wanted or kind in wanted]})


async def rule_type(call: Call) -> Answer:
    """200: what a kind takes. 404: no such kind. 403: not an administrator."""
    call.allow("get_rule_type_details")
    kind = call.params["type"]
    if kind not in _PARAMETERS:
        raise QosRuleNotFound(f"Rule type {kind} could not be found.")
    return Answer(
        {"rule_type": RuleTypeDetails(kind, [Driver("placement" if kind == MINIMUM else "ovn", _PARAMETERS[kind])])}
    )
