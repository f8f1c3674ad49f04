"""RBAC policies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.network import listing
from trilith.api.network.listing import Noun, Viewer
from trilith.api.network.networks import Given
from trilith.commands import network_rbac as commands
from trilith.commands.network_faults import NotAuthorized, RbacPolicyNotFound
from trilith.model.network import Rbac
from trilith.store.tx import Reader, Tx

Target = Annotated[str, Meta(min_length=1, max_length=255)]


class RbacView(Struct, kw_only=True):
    id: str
    project_id: str
    tenant_id: str
    object_type: str
    object_id: str
    action: str
    target_tenant: str
    target_project: str


class RbacCreate(Struct, kw_only=True, forbid_unknown_fields=True):
    object_type: str
    object_id: str
    action: str
    target_tenant: Target | UnsetType = UNSET
    target_project: Target | UnsetType = UNSET
    target_project_id: Target | UnsetType = UNSET
    project_id: Given = UNSET
    tenant_id: Given = UNSET


class RbacUpdate(Struct, kw_only=True, forbid_unknown_fields=True):
    target_tenant: Target | UnsetType = UNSET
    target_project: Target | UnsetType = UNSET
    target_project_id: Target | UnsetType = UNSET


class CreateBody(Struct):
    rbac_policy: RbacCreate | UnsetType = UNSET
    rbac_policies: list[RbacCreate] | UnsetType = UNSET


class UpdateBody(Struct):
    rbac_policy: RbacUpdate


def view(_reader: Reader, rows: Sequence[Rbac], _who: Viewer) -> list[RbacView]:
    return [
        RbacView(
            id=r.id,
            project_id=r.project_id,
            tenant_id=r.project_id,
            object_type=r.object_type,
            object_id=r.object_id,
            action=r.action,
            target_tenant=r.target,
            target_project=r.target,
        )
        for r in rows
    ]


NOUN: Noun[Rbac] = Noun(
    Rbac,
    "rbac_policy",
    "rbac_policies",
    "RBAC policy",
    RbacPolicyNotFound,
    view,
    {
        **listing.standard_filters(Rbac),
        "object_type": listing.text(Rbac, "object_type"),
        "object_id": listing.text(Rbac, "object_id"),
        "action": listing.text(Rbac, "action"),
        "target_tenant": listing.text(Rbac, "target"),
        "target_project": listing.text(Rbac, "target"),
    },
    {**listing.standard_sort(Rbac), "object_id": "object_id", "object_type": "object_type", "action": "action",
     "target_tenant": "target"},
    path="rbac-policies",
)  # fmt: skip


def _target(wanted: RbacCreate | RbacUpdate) -> str:
    """Raises Invalid when none is named."""
    for given in (wanted.target_tenant, wanted.target_project, wanted.target_project_id):
        if given is not UNSET:
            return given
    raise errors.Invalid("Failed to parse request. Required attribute 'target_tenant' not specified",
                         field="target_tenant")  # fmt: skip


async def create(call: Call) -> Answer:
    """201: the policy. 400: type or action. 403: another's object, or for all. 404: the object. 409: it is there."""
    body: CreateBody = call.body

    def make(tx: Tx, wanted: RbacCreate) -> Rbac:
        project = listing.owner(call, NOUN, wanted.project_id, wanted.tenant_id)
        target = _target(wanted)
        if target == "*":
            call.allow("create_rbac_policy:target_project")
        found = commands.load_object(tx, wanted.object_type, wanted.object_id)
        if found is None:
            raise RbacPolicyNotFound(f"Object {wanted.object_id} of type {wanted.object_type} could not be found.")
        if not listing.viewer(call).admin and getattr(found, "project_id", "") != call.actor.project_id:
            raise NotAuthorized(f"Only the owner may share {wanted.object_type} {wanted.object_id}.")
        return commands.create(
            tx,
            project_id=project,
            object_type=wanted.object_type,
            object_id=wanted.object_id,
            action=wanted.action,
            target=target,
        )

    return await listing.create_all(call, NOUN, body.rbac_policy, body.rbac_policies, make)


async def update(call: Call) -> Answer:
    """200: with its new target. 409: in use."""
    body: UpdateBody = call.body
    target = _target(body.rbac_policy)
    if target == "*":
        call.allow("update_rbac_policy:target_project")
    return await listing.change(call, NOUN, lambda tx, r: commands.retarget(tx, r, target))


async def delete(call: Call) -> Answer:
    """204. 409: another project uses what it gives."""
    return await listing.remove(call, NOUN, commands.delete)
