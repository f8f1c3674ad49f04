"""Server groups: which servers are to be together, and which apart."""

from __future__ import annotations

from trilith import errors
from trilith.commands import quota
from trilith.model.record import Actor
from trilith.model.server import Server, ServerGroup
from trilith.store.tx import Reader, Tx, new_id


def create(
    tx: Tx, *, project_id: str, user_id: str, name: str, policy: str, rules: dict[str, int] | None = None
) -> ServerGroup:
    """Raises Invalid for rules of another policy than anti-affinity, QuotaExceeded."""
    if rules and policy != "anti-affinity":
        raise errors.Invalid("Only anti-affinity policy supports rules.", field="rules")
    limit = quota.limits(tx, project_id, ("server_groups",))["server_groups"]
    if 0 <= limit <= tx.count(ServerGroup, project_id=project_id):
        raise errors.QuotaExceeded("Quota exceeded, too many server groups.", hint="Delete one, or raise the quota.")
    return tx.add(
        ServerGroup(id=new_id(), name=name, project_id=project_id, user_id=user_id, policy=policy, rules=rules or {})
    )


def get(reader: Reader, group_id: str) -> ServerGroup:
    """Raises Missing."""
    group = reader.find(ServerGroup, group_id)
    if group is None:
        raise errors.Missing(f"Instance group {group_id} could not be found.")
    return group


def delete(tx: Tx, group_id: str) -> None:
    """Its servers go on, in no group."""
    group = get(tx, group_id)
    for server in tx.select(Server, group_id=group_id):
        tx.change(server, group_id="")
    tx.remove(group)


def check_members(reader: Reader, actor: Actor, group_id: str, count: int) -> None:
    """That `count` more servers of the user may be in the group. Raises QuotaExceeded. Source: Nova's
    server_group_members, which counts a user's own."""
    limit = quota.limits(reader, actor.project_id, ("server_group_members",))["server_group_members"]
    if 0 <= limit < reader.count(Server, group_id=group_id, user_id=actor.user_id) + count:
        raise errors.QuotaExceeded(
            "Quota exceeded, too many servers in group", hint=f"A user may have {limit} of them there."
        )


def members(reader: Reader, group_ids: list[str]) -> dict[str, list[str]]:
    """Group → ids of its living servers."""
    found: dict[str, list[str]] = {}
    if group_ids:
        for server in reader.select(Server, group_id=group_ids):
            found.setdefault(server.group_id, []).append(server.id)
    return found
