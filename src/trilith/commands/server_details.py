"""Small changes to a server that no node hears of: names, metadata, tags, locks, zones, and what is kept beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from trilith import errors
from trilith.commands import ports, quota, security_groups
from trilith.commands.server_networks import NetworkRequest
from trilith.commands.servers import record_action
from trilith.model.network import Port, SecurityGroup
from trilith.model.server import Server
from trilith.store.tx import Reader, Tx

#: keys of system_metadata
HINTS = "scheduler_hints"
ADMIN_PASS = "admin_pass"
TAG_PREFIX = "nic_tag:"
DISK_TAG = "disk_tag"
#: the roles of whoever asked for the server, comma-separated; kept where vendor data is asked for
BOOT_ROLES = "boot_roles"

#: what the guest posted, encrypted by it for the key's owner, and so not sealed here
PASSWORD = "password"

MAX_TAGS = 50
#: bytes of a posted password (Nova keeps four times 255)
MAX_PASSWORD = 1020


def keep(tx: Tx, server: Server, **values: str) -> Server:
    """Set keys of the system metadata; an empty value takes its key away."""
    merged = {**server.system_metadata, **values}
    return tx.change(server, system_metadata={k: v for k, v in merged.items() if v})


def keep_creation(
    tx: Tx,
    server: Server,
    *,
    hints: dict[str, Any],
    password: str,
    networks: Sequence[NetworkRequest],
    more: dict[str, str],
) -> Server:
    """What a creation gives beyond the server's own columns: hints, the password (sealed), the NICs' tags.

    more: further keys; empty ones are left out.
    """
    values = {HINTS: msgspec.json.encode(hints).decode()} if hints else {}
    values |= {name: value for name, value in more.items() if value}
    if password:
        values[ADMIN_PASS] = tx.sealer.seal(password.encode(), context=f"server.admin_pass:{server.id}")
    if any(n.tag for n in networks):
        named = {n.port_id for n in networks if n.port_id}
        made = [p for p in tx.select(Port, device_id=server.id) if p.id not in named]
        for request in networks:
            port_id = request.port_id or made.pop(0).id
            if request.tag:
                values[TAG_PREFIX + port_id] = request.tag
    return keep(tx, server, **values) if values else server


def set_admin_pass(tx: Tx, server: Server, password: str) -> Server:
    return keep(tx, server, **{ADMIN_PASS: tx.sealer.seal(password.encode(), context=f"server.admin_pass:{server.id}")})


def post_password(tx: Tx, node: str, server_id: str, password: bytes) -> None:
    """Of a server of that node, by the guest itself. Raises Missing, Invalid, Conflict while there is one."""
    server = tx.find(Server, server_id)
    if server is None or server.node != node:
        raise errors.Missing(f"Node {node} has no server {server_id}.")
    if len(password) > MAX_PASSWORD:
        raise errors.Invalid(f"A password has at most {MAX_PASSWORD} bytes.", field="password")
    try:
        text = password.decode()
    except UnicodeDecodeError as err:
        raise errors.Invalid("A password is text in UTF-8.", field="password") from err
    if server.system_metadata.get(PASSWORD):
        raise errors.Conflict(f"Server {server_id} has a password.", hint="Clear it first.")
    keep(tx, server, **{PASSWORD: text})


def nic_tag(server: Server, port_id: str) -> str | None:
    return server.system_metadata.get(TAG_PREFIX + port_id)


def update(tx: Tx, server: Server, changes: dict[str, Any]) -> Server:
    """Column → value, for those that a user may set."""
    return tx.change(server, **changes) if changes else server


def repin(tx: Tx, server: Server, zone: str | None) -> Server:
    """Pin to the zone where the server is, or to none. Raises Conflict for another zone (Nova's rules of 2.104)."""
    pinned = server.zone_requested
    if zone is None:
        return tx.change(server, zone_requested="") if pinned else server
    if pinned:
        if zone != pinned:
            raise errors.Conflict(
                "Cannot change pinned availability zone directly.", hint="Unpin first: set it to null."
            )
        return server
    if zone != server.zone:
        raise errors.Conflict(
            f"Server can only be pinned to its current availability zone '{server.zone}', but '{zone}' was requested."
        )
    return tx.change(server, zone_requested=zone)


def lock(tx: Tx, server: Server, *, by: str, reason: str) -> Server:
    """by: owner or admin; who unlocks an admin's lock must be one."""
    record_action(tx, server, "lock")
    return tx.change(server, locked=True, locked_by=by, locked_reason=reason)


def unlock(tx: Tx, server: Server) -> Server:
    record_action(tx, server, "unlock")
    return tx.change(server, locked=False, locked_by="", locked_reason="")


# metadata


def check_metadata(reader: Reader, project_id: str, metadata: dict[str, str]) -> None:
    """Raises QuotaExceeded over the project's metadata_items."""
    limit = quota.limits(reader, project_id, ("metadata_items",))["metadata_items"]
    if 0 <= limit < len(metadata):
        raise errors.QuotaExceeded(
            f"Quota exceeded for metadata_items: {len(metadata)} requested, {limit} allowed.", field="metadata"
        )


def set_metadata(tx: Tx, server: Server, metadata: dict[str, str]) -> Server:
    check_metadata(tx, server.project_id, metadata)
    return tx.change(server, metadata=metadata)


def remove_metadata(tx: Tx, server: Server, key: str) -> Server:
    """Raises Missing."""
    if key not in server.metadata:
        raise errors.Missing("Metadata item was not found")
    return tx.change(server, metadata={k: v for k, v in server.metadata.items() if k != key})


# tags


def set_tags(tx: Tx, server: Server, tags: Sequence[str]) -> Server:
    """Raises Invalid over 50 tags."""
    found = tuple(dict.fromkeys(tags))
    if len(found) > MAX_TAGS:
        raise errors.Invalid(f"The number of tags exceeded the per-server limit {MAX_TAGS}", field="tags")
    return tx.change(server, tags=found)


def add_tag(tx: Tx, server: Server, tag: str) -> tuple[Server, bool]:
    """The server, and whether the tag is new."""
    if tag in server.tags:
        return server, False
    return set_tags(tx, server, (*server.tags, tag)), True


def remove_tag(tx: Tx, server: Server, tag: str) -> Server:
    """Raises Missing."""
    if tag not in server.tags:
        raise errors.Missing(f"Server {server.id} has no tag '{tag}'")
    return tx.change(server, tags=tuple(t for t in server.tags if t != tag))


# security groups


def _group(reader: Reader, project_id: str, named: str) -> SecurityGroup:
    """By id or name. Raises Missing; Conflict when the name is not one group's."""
    found = reader.select(SecurityGroup, project_id=project_id, id=named) or reader.select(
        SecurityGroup, project_id=project_id, name=named
    )
    if not found:
        raise errors.Missing(f"Security group {named} not found for project {project_id}.")
    if len(found) > 1:
        raise errors.Conflict(f"Multiple security groups found matching '{named}'. Use an ID to be more specific.")
    return found[0]


def check_groups(reader: Reader, project_id: str, named: Sequence[str]) -> None:
    """Raises Invalid for a group that the project does not have by that id or name; `default` is always there."""
    wanted = [n for n in named if n != "default"]
    if not wanted:
        return
    by_id = reader.select(SecurityGroup, project_id=project_id, id=wanted)
    by_name = reader.select(SecurityGroup, project_id=project_id, name=wanted)
    known = {g.id for g in by_id} | {g.name for g in by_name}
    for name in wanted:
        if name not in known:
            raise errors.Invalid(f"Security group {name} not found for project {project_id}.", field="security_groups")


def add_group(tx: Tx, server: Server, named: str) -> None:
    """To all ports of the server. Raises Missing, Invalid for a server without ports, Conflict when it has it."""
    if named == "default":
        security_groups.default_group(tx, server.project_id)
    group = _group(tx, server.project_id, named)
    mine = tx.select(Port, device_id=server.id)
    if not mine:
        raise errors.Invalid(f"instance_id {server.id} could not be found as device id on any ports")
    changed = [p for p in mine if p.port_security and group.id not in p.security_groups]
    if not changed:
        return
    for port in changed:
        ports.update_port(tx, port, security_groups=[*port.security_groups, group.id])


def remove_group(tx: Tx, server: Server, named: str) -> None:
    """From all ports. Raises Missing where no port has it."""
    group = _group(tx, server.project_id, named)
    changed = [p for p in tx.select(Port, device_id=server.id) if group.id in p.security_groups]
    if not changed:
        raise errors.Missing(
            f"Security group {named} not associated with the instance {server.id}",
        )
    for port in changed:
        ports.update_port(tx, port, security_groups=[g for g in port.security_groups if g != group.id])
