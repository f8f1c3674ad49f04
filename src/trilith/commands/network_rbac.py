"""Role-based access: a network, group, pool or scope given to one project or to all."""

from __future__ import annotations

from trilith.commands import network_quota
from trilith.commands.network_faults import DuplicateRbacPolicy, InvalidInput, RbacPolicyInUse
from trilith.commands.network_search import EXTERNAL, SHARED, has
from trilith.model.network import (
    AddressScope,
    FloatingIp,
    Network,
    Port,
    Rbac,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
    SubnetPool,
)
from trilith.model.network_access import AddressGroup
from trilith.model.network_qos import QosPolicy
from trilith.model.record import Record
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx, new_id

#: object_type → its noun and the actions that it knows
OBJECTS: dict[str, tuple[type[Record], tuple[str, ...]]] = {
    "network": (Network, (SHARED, EXTERNAL)),
    "security_group": (SecurityGroup, (SHARED,)),
    "subnetpool": (SubnetPool, (SHARED,)),
    "address_scope": (AddressScope, (SHARED,)),
    "address_group": (AddressGroup, (SHARED,)),
    "qos_policy": (QosPolicy, (SHARED,)),
}


def grant(tx: Tx, network: Network, action: str) -> None:
    """To all, as the network's own flag says; not counted in the quota."""
    if tx.first(Rbac, object_id=network.id, action=action, target="*") is None:
        tx.add(
            Rbac(
                id=new_id(),
                project_id=network.project_id,
                object_type="network",
                object_id=network.id,
                action=action,
                target="*",
            )
        )


def load_object(reader: Reader, object_type: str, object_id: str) -> Record | None:
    """Raises InvalidInput for a type that has no RBAC."""
    if object_type not in OBJECTS:
        raise InvalidInput(f"'{object_type}' is not a valid RBAC object type.", field="object_type")
    return reader.find(OBJECTS[object_type][0], object_id)


def create(tx: Tx, *, project_id: str, object_type: str, object_id: str, action: str, target: str) -> Rbac:
    """Raises DuplicateRbacPolicy, InvalidInput, OverQuota."""
    if object_type not in OBJECTS or action not in OBJECTS[object_type][1]:
        raise InvalidInput(f"Invalid action '{action}' for object type '{object_type}'.", field="action")
    if tx.first(Rbac, object_id=object_id, action=action, target=target):
        raise DuplicateRbacPolicy("An RBAC policy already exists with those values.")
    network_quota.charge(tx, project_id, "rbac_policy")
    made = tx.add(
        Rbac(
            id=new_id(),
            project_id=project_id,
            object_type=object_type,
            object_id=object_id,
            action=action,
            target=target,
        )
    )
    _flag(tx, made, True)
    return made


def delete(tx: Tx, rbac: Rbac) -> None:
    """Raises RbacPolicyInUse while another project uses what it was given."""
    _check_unused(tx, rbac)
    tx.remove(rbac)
    network_quota.refund(tx, rbac.project_id, "rbac_policy")
    _flag(tx, rbac, False)


def _flag(tx: Tx, rbac: Rbac, on: bool) -> None:
    """What is given to all shows as the network's own flag."""
    if rbac.target != "*":
        return
    field = {SHARED: "shared", EXTERNAL: "external"}[rbac.action]
    if rbac.object_type == "network":
        network = tx.find(Network, rbac.object_id)
        if network is not None and getattr(network, field) != on:
            tx.change(network, **{field: on})
    elif rbac.object_type == "subnetpool" and (pool := tx.find(SubnetPool, rbac.object_id)) is not None:
        tx.change(pool, shared=on)
    elif rbac.object_type == "qos_policy" and (policy := tx.find(QosPolicy, rbac.object_id)) is not None:
        tx.change(policy, shared=on)
    elif rbac.object_type == "address_scope" and (scope := tx.find(AddressScope, rbac.object_id)) is not None:
        tx.change(scope, shared=on)


def share(tx: Tx, record: QosPolicy, object_type: str) -> None:
    """To all, as the object's own flag says; not counted in the quota."""
    made = Rbac(id=new_id(), project_id=record.project_id, object_type=object_type, object_id=record.id, action=SHARED,
                target="*")  # fmt: skip
    _flag(tx, tx.add(made), True)


def unshare(tx: Tx, record: QosPolicy) -> None:
    """Raises RbacPolicyInUse."""
    for rbac in tx.select(Rbac, object_id=record.id, action=SHARED, target="*"):
        _check_unused(tx, rbac)
        tx.remove(rbac)
        _flag(tx, rbac, False)


def _others_use(tx: Tx, rbac: Rbac) -> bool:
    """Does a project that has only this grant use the object?"""
    owner = getattr(tx.find(OBJECTS[rbac.object_type][0], rbac.object_id), "project_id", "")

    def theirs(cls: type[Record], column: str) -> bool:
        t = REGISTRY[cls].table.c
        who = t.project_id.not_in((owner, "")) if rbac.target == "*" else t.project_id == rbac.target
        return bool(tx.select(cls, who, t[column] == rbac.object_id, limit=1))

    match rbac.object_type:
        case "qos_policy":
            return any(theirs(cls, "qos_policy_id") for cls in (Network, Port, FloatingIp))
        case "address_group":
            return theirs(SecurityGroupRule, "remote_address_group_id")
        case "address_scope":
            return theirs(SubnetPool, "address_scope_id")
        case "subnetpool":
            return theirs(Subnet, "subnetpool_id")
        case "security_group":
            t = REGISTRY[Port].table.c
            who = t.project_id.not_in((owner, "")) if rbac.target == "*" else t.project_id == rbac.target
            return bool(tx.select(Port, who, has(tx, t.security_groups, rbac.object_id), limit=1))
        case _:
            return False


def _check_unused(tx: Tx, rbac: Rbac) -> None:
    if rbac.object_type != "network":
        if _others_use(tx, rbac):
            raise RbacPolicyInUse(
                f"RBAC policy on object {rbac.object_id} cannot be removed because other objects depend on it."
            )
        return
    network = tx.find(Network, rbac.object_id)
    if network is None:
        return
    if rbac.action == EXTERNAL:
        clauses = () if rbac.target == "*" else (REGISTRY[Router].table.c.project_id == rbac.target,)
        used = bool(tx.select(Router, *clauses, external_network_id=network.id, limit=1))
    else:
        t = REGISTRY[Port].table.c
        who = t.project_id.not_in((network.project_id, "")) if rbac.target == "*" else t.project_id == rbac.target
        used = bool(tx.select(Port, who, network_id=network.id, limit=1))
    if used:
        raise RbacPolicyInUse(
            f"RBAC policy on object {rbac.object_id} cannot be removed because other objects depend on it."
        )


def retarget(tx: Tx, rbac: Rbac, target: str) -> Rbac:
    """Give it to another project. Raises RbacPolicyInUse, DuplicateRbacPolicy."""
    if target == rbac.target:
        return rbac
    if tx.first(Rbac, object_id=rbac.object_id, action=rbac.action, target=target):
        raise DuplicateRbacPolicy("An RBAC policy already exists with those values.")
    _check_unused(tx, rbac)
    _flag(tx, rbac, False)
    rbac = tx.change(rbac, target=target)
    _flag(tx, rbac, True)
    return rbac
