"""Quotas, with use (quota_details)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.commands import network_quota, quota

Limit = Annotated[int, Meta(ge=-1, le=2147483647)]


class QuotaView(Struct, kw_only=True):
    network: int
    subnet: int
    subnetpool: int
    port: int
    router: int
    floatingip: int
    rbac_policy: int
    security_group: int
    security_group_rule: int
    address_group: int
    trunk: int
    project_id: str | UnsetType = UNSET
    tenant_id: str | UnsetType = UNSET


class QuotaUpdate(Struct, kw_only=True, forbid_unknown_fields=True):
    network: Limit | UnsetType = UNSET
    subnet: Limit | UnsetType = UNSET
    subnetpool: Limit | UnsetType = UNSET
    port: Limit | UnsetType = UNSET
    router: Limit | UnsetType = UNSET
    floatingip: Limit | UnsetType = UNSET
    rbac_policy: Limit | UnsetType = UNSET
    security_group: Limit | UnsetType = UNSET
    security_group_rule: Limit | UnsetType = UNSET
    address_group: Limit | UnsetType = UNSET
    trunk: Limit | UnsetType = UNSET
    project_id: str | UnsetType = UNSET
    tenant_id: str | UnsetType = UNSET
    force: bool | UnsetType = UNSET
    check_limit: bool | UnsetType = UNSET


class UpdateBody(Struct):
    quota: QuotaUpdate


class Detail(Struct):
    limit: int
    used: int
    reserved: int = 0


def _view(limits: dict[str, int], project: str | UnsetType = UNSET) -> QuotaView:
    view = msgspec.convert(limits, QuotaView)
    view.project_id = view.tenant_id = project
    return view


async def index(call: Call) -> Answer:
    """200: projects with limits of their own (administrators)."""
    call.allow("update_quota")

    def read(reader: Any) -> list[QuotaView]:
        return [_view(network_quota.limits(reader, p), p) for p in network_quota.projects_with_limits(reader)]

    return Answer({"quotas": await call.read(read)})


async def show(call: Call) -> Answer:
    """200: the limits of a project. 403: another's."""
    project = call.params["project"]
    call.allow("get_quota", project_id=project)
    return Answer({"quota": _view(await call.read(lambda r: network_quota.limits(r, project)))})


async def default(call: Call) -> Answer:
    """200: what a project has that sets nothing."""
    call.allow("get_quota", project_id=call.params["project"])
    limits = await call.read(lambda r: network_quota.limits(r, quota.CLASS))
    return Answer({"quota": _view(limits)})


async def details(call: Call) -> Answer:
    """200: limit and use of each resource."""
    project = call.params["project"]
    call.allow("get_quota", project_id=project)
    limits, used = await call.read(lambda r: (network_quota.limits(r, project), network_quota.used(r, project)))
    return Answer({"quota": {name: Detail(limit, used[name]) for name, limit in limits.items()}})


async def update(call: Call) -> Answer:
    """200: the limits now."""
    call.allow("update_quota")
    body: UpdateBody = call.body
    project = call.params["project"]
    wanted = {k: v for k, v in msgspec.structs.asdict(body.quota).items() if k in network_quota.RESOURCES}
    wanted = {k: v for k, v in wanted.items() if v is not UNSET}

    def act(tx: Any) -> QuotaView:
        network_quota.set_limits(tx, project, wanted)
        return _view(network_quota.limits(tx, project))

    return Answer({"quota": await call.write(act, "quota.update")})


async def reset(call: Call) -> Answer:
    """204: back to the defaults. 404: nothing was set."""
    call.allow("delete_quota")
    await call.write(lambda tx: network_quota.reset(tx, call.params["project"]), "quota.delete")
    return Answer(status=204)
