"""/os-quota-sets, /os-quota-class-sets and /limits."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.compute.faults import unexpected
from trilith.api.compute.microversions import has
from trilith.api.compute.wire import Flag, Number, flag, number
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.commands import compute_quotas as commands
from trilith.commands import quota
from trilith.model.identity import Project
from trilith.store.tx import Reader, Tx

LIST_QUERY = ("user_id",)
LIMITS_QUERY = ("reserved", "tenant_id")
_INJECTED = frozenset({"injected_files", "injected_file_content_bytes", "injected_file_path_bytes"})
_NETWORK = frozenset(commands.NETWORK)
_GROUPS = frozenset({"server_groups", "server_group_members"})


class Limits(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    instances: Number | UnsetType = UNSET
    cores: Number | UnsetType = UNSET
    ram: Number | UnsetType = UNSET
    metadata_items: Number | UnsetType = UNSET
    injected_files: Number | UnsetType = UNSET
    injected_file_content_bytes: Number | UnsetType = UNSET
    injected_file_path_bytes: Number | UnsetType = UNSET
    key_pairs: Number | UnsetType = UNSET
    server_groups: Number | UnsetType = UNSET
    server_group_members: Number | UnsetType = UNSET
    floating_ips: Number | UnsetType = UNSET
    fixed_ips: Number | UnsetType = UNSET
    security_groups: Number | UnsetType = UNSET
    security_group_rules: Number | UnsetType = UNSET
    force: Flag | UnsetType = UNSET


class Update(msgspec.Struct, forbid_unknown_fields=True):
    quota_set: Limits


class UpdateClass(msgspec.Struct, forbid_unknown_fields=True):
    quota_class_set: Limits


def _hidden(call: Call) -> frozenset[str]:
    """What this microversion does not know."""
    found: frozenset[str] = frozenset()
    if has(call.version, "no_proxies"):
        found |= _NETWORK
    if has(call.version, "no_personality"):
        found |= _INJECTED
    return found


def _hidden_of_class(call: Call) -> frozenset[str]:
    found = _NETWORK if has(call.version, "quota_class_compute") else _GROUPS
    return found | _INJECTED if has(call.version, "no_personality") else found


def _wanted(asked: Limits, hidden: frozenset[str]) -> dict[str, int]:
    given = {n: getattr(asked, n) for n in asked.__struct_fields__ if n != "force"}
    given = {n: v for n, v in given.items() if v is not UNSET}
    if refused := sorted(hidden & set(given)):
        unexpected(*refused)
    return {n: number(v, n, least=-1) for n, v in given.items()}


async def show(call: Call) -> dict[str, Any]:
    """200; 400 for a project that is not there."""
    project, hidden = await _project(call, "os_compute_api:os-quota-sets:show"), _hidden(call)
    user = call.one("user_id")
    found = await call.read(lambda r: commands.limits_of_user(r, project, user))
    return {"quota_set": {"id": project, **{n: v for n, v in found.items() if n not in hidden}}}


async def detail(call: Call) -> dict[str, Any]:
    """200, with what is in use; 400."""
    project, hidden = await _project(call, "os_compute_api:os-quota-sets:detail"), _hidden(call)
    user = call.one("user_id")

    def read(reader: Reader) -> tuple[dict[str, int], dict[str, int]]:
        return commands.limits_of_user(reader, project, user), commands.usage(reader, project, user)

    found, used = await call.read(read)
    shown = {n: {"in_use": used[n], "limit": v, "reserved": 0} for n, v in found.items() if n not in hidden}
    return {"quota_set": {"id": project, **shown}}


async def defaults(call: Call) -> dict[str, Any]:
    """200; 400."""
    project, hidden = await _project(call, "os_compute_api:os-quota-sets:defaults"), _hidden(call)
    found = await call.read(commands.defaults)
    return {"quota_set": {"id": project, **{n: v for n, v in found.items() if n not in hidden}}}


async def update(call: Call) -> dict[str, Any]:
    """200, all limits after, of the project or of one user in it; 400 for one below what is in use."""
    project = await _project(call, "os_compute_api:os-quota-sets:update")
    asked: Limits = call.body.quota_set
    hidden = _hidden(call)
    wanted = _wanted(asked, hidden)
    force = flag(asked.force, "force") if asked.force is not UNSET else False
    user = call.one("user_id")

    def body(tx: Tx) -> dict[str, int]:
        if user:
            return commands.set_user_limits(tx, project, user, wanted, force=force)
        return commands.set_limits(tx, project, wanted, force=force)

    found = await call.write(body, "quota.update")
    return {"quota_set": {n: v for n, v in found.items() if n not in hidden}}


async def delete(call: Call) -> Answer:
    """202."""
    project = await _project(call, "os_compute_api:os-quota-sets:delete")
    user = call.one("user_id")
    await call.write(
        lambda tx: commands.reset_user(tx, project, user) if user else commands.reset(tx, project), "quota.reset"
    )
    return Answer(status=202)


async def _project(call: Call, rule: str) -> str:
    """The path's project. Raises Forbidden, Invalid where it is not there."""
    project = call.params["id"]
    call.allow(rule, project_id=project)
    if await call.read(lambda r: r.find(Project, project)) is None:
        raise errors.Invalid(f"Project ID {project} is not a valid project.")
    return project


async def show_class(call: Call) -> dict[str, Any]:
    """200: of every class the defaults, as only the class `default` is used."""
    hidden = _hidden_of_class(call)
    found = await call.read(commands.defaults)
    shown = {n: v for n, v in found.items() if n not in hidden}
    return {"quota_class_set": {"id": call.params["id"], **shown}}


async def update_class(call: Call) -> dict[str, Any]:
    """200; 400 for another class than `default`, which would hold for nobody."""
    hidden = _hidden_of_class(call)
    asked: Limits = call.body.quota_class_set
    if asked.force is not UNSET:
        unexpected("force")
    wanted = _wanted(asked, hidden)
    if call.params["id"] != "default":
        raise errors.Invalid(
            f"The quota class {call.params['id']} holds for no project.", hint="Only the class `default` is used."
        )
    found = await call.write(lambda tx: commands.set_limits(tx, quota.CLASS, wanted), "quota_class.update")
    return {"quota_class_set": {n: v for n, v in found.items() if n not in hidden}}


#: limits' name → resource
_ABSOLUTE = {
    "maxTotalRAMSize": "ram",
    "maxTotalInstances": "instances",
    "maxTotalCores": "cores",
    "maxTotalKeypairs": "key_pairs",
    "maxTotalFloatingIps": "floating_ips",
    "maxServerMeta": "metadata_items",
    "maxImageMeta": "metadata_items",
    "maxPersonality": "injected_files",
    "maxPersonalitySize": "injected_file_content_bytes",
    "maxSecurityGroups": "security_groups",
    "maxSecurityGroupRules": "security_group_rules",
    "maxServerGroups": "server_groups",
    "maxServerGroupMembers": "server_group_members",
}
_USED = {
    "totalRAMUsed": "ram",
    "totalCoresUsed": "cores",
    "totalInstancesUsed": "instances",
    "totalFloatingIpsUsed": "floating_ips",
    "totalSecurityGroupsUsed": "security_groups",
    "totalServerGroupsUsed": "server_groups",
}


async def absolute(call: Call) -> dict[str, Any]:
    """200; 403 for another project's."""
    project = call.one("tenant_id") or call.actor.project_id
    if project != call.actor.project_id:
        call.allow("os_compute_api:limits:other_project", project_id=project)
    hidden = _hidden(call)

    def read(reader: Reader) -> tuple[dict[str, int], dict[str, int]]:
        return commands.limits(reader, project), commands.usage(reader, project)

    bounds, used = await call.read(read)
    found = {n: bounds[r] for n, r in _ABSOLUTE.items() if r not in hidden}
    found |= {n: used[r] for n, r in _USED.items() if r not in hidden}
    if has(call.version, "no_image_metadata"):
        del found["maxImageMeta"]
    return {"limits": {"rate": [], "absolute": found}}
