"""Actions that move a server: migrate, os-migrateLive, evacuate, shelve, shelveOffload, unshelve.

202 without a body unless said else; 400 for a body or a host that is wrong, 404, 409 by state or lock, 501 where the
server's node cannot.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.compute.faults import unexpected
from trilith.api.compute.microversions import has
from trilith.api.compute.server_load import change
from trilith.api.compute.wire import Flag, Name, flag
from trilith.api.http.call import Call
from trilith.api.http.host import decode
from trilith.api.http.route import Answer
from trilith.commands import server_details, server_moves
from trilith.model.server import Server
from trilith.store.tx import Tx

_ACCEPTED = 202

Host = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9-._]*$")]


def parsed(value: Any, struct: Any) -> Any:
    """The action's value as the struct of this microversion. Raises Invalid."""
    return decode(msgspec.json.encode(value), struct)


def allow_host(call: Call, server: Server, rule: str) -> None:
    """Raises Forbidden: who names a host needs a right of its own."""
    call.allow(f"os_compute_api:{rule}", project_id=server.project_id, user_id=server.user_id)


class Migrate(msgspec.Struct, forbid_unknown_fields=True):
    """From 2.56 on."""

    host: Host | UnsetType | None = UNSET


async def migrate(call: Call, value: Any) -> Answer:
    """Before 2.56 the value is not looked at, as in Nova."""
    host = ""
    if value is not None and has(call.version, "migrate_host"):
        host = parsed(value, Migrate).host or ""

    def body(tx: Tx, server: Server) -> None:
        if host:
            allow_host(call, server, "os-migrate-server:migrate:host")
        server_moves.migrate(tx, server, host)

    await change(call, "os-migrate-server:migrate", "server.migrate", body)
    return Answer(status=_ACCEPTED)


class MigrateLive(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """disk_over_commit until 2.24; block_migration `auto` from 2.25 on; force from 2.30 to 2.67."""

    host: Host | None
    block_migration: Flag | Literal["auto"]
    disk_over_commit: Flag | UnsetType = UNSET
    force: Flag | UnsetType = UNSET


async def migrate_live(call: Call, value: Any) -> Answer:
    """Disks are local to their nodes, so that they always go along: block_migration false is refused."""
    given: MigrateLive = parsed(value, MigrateLive)
    auto = has(call.version, "block_auto")
    if auto and given.disk_over_commit is not UNSET:
        unexpected("disk_over_commit")
    if not auto and given.disk_over_commit is UNSET:
        raise errors.Invalid("'disk_over_commit' is a required property", field="disk_over_commit")
    if given.force is not UNSET and (not has(call.version, "live_force") or has(call.version, "no_force")):
        unexpected("force")
    if not auto and given.block_migration == "auto":
        raise errors.Invalid("Invalid input for field/attribute block_migration. Value: auto.", field="block_migration")
    if given.disk_over_commit is not UNSET:
        flag(given.disk_over_commit, "disk_over_commit")
    if given.force is not UNSET and flag(given.force, "force") and not given.host:
        raise errors.Invalid("Can't force to a non-provided destination", field="force")
    block = given.block_migration == "auto" or flag(given.block_migration, "block_migration")

    def body(tx: Tx, server: Server) -> None:
        if given.host:
            allow_host(call, server, "os-migrate-server:migrate_live:host")
        server_moves.live_migrate(tx, server, given.host or "")
        if not block:
            raise errors.Invalid(
                f"{server.node} is not on shared storage: Live migration can not be used without shared storage except "
                "a booted from volume VM which does not have a local disk.",
                field="block_migration",
            )

    await change(call, "os-migrate-server:migrate_live", "server.live_migrate", body)
    return Answer(status=_ACCEPTED)


class Evacuate(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """onSharedStorage until 2.13; force from 2.29 to 2.67."""

    host: Host | UnsetType = UNSET
    adminPass: str | UnsetType = UNSET
    onSharedStorage: Flag | UnsetType = UNSET
    force: Flag | UnsetType = UNSET


async def evacuate(call: Call, value: Any) -> Answer:
    """200 with the new administrator's password; 400 while the server's node is in use."""
    given: Evacuate = parsed(value, Evacuate)
    shared = not has(call.version, "no_shared_storage")
    if not shared and given.onSharedStorage is not UNSET:
        unexpected("onSharedStorage")
    if shared and given.onSharedStorage is UNSET:
        raise errors.Invalid("'onSharedStorage' is a required property", field="onSharedStorage")
    if given.onSharedStorage is not UNSET and flag(given.onSharedStorage, "onSharedStorage"):
        raise errors.Invalid("Invalid state of instance files on shared storage", field="onSharedStorage")
    if given.force is not UNSET and (not has(call.version, "evacuate_force") or has(call.version, "no_force")):
        unexpected("force")
    host = "" if given.host is UNSET else given.host
    if given.force is not UNSET and flag(given.force, "force") and not host:
        raise errors.Invalid("Can't force to a non-provided destination", field="force")
    password = secrets.token_urlsafe(9) if given.adminPass is UNSET else given.adminPass

    def body(tx: Tx, server: Server) -> None:
        changed = server_moves.evacuate(tx, server, host, stopped=has(call.version, "evacuated_stopped"))
        server_details.set_admin_pass(tx, changed, password)

    await change(call, "os-evacuate", "server.evacuate", body)
    return Answer({"adminPass": password}, status=200)


async def shelve(call: Call, _value: Any) -> Answer:
    def body(tx: Tx, server: Server) -> None:
        server_moves.shelve(tx, call.actor, server)

    await change(call, "os-shelve:shelve", "server.shelve", body)
    return Answer(status=_ACCEPTED)


async def shelve_offload(call: Call, _value: Any) -> Answer:
    await change(call, "os-shelve:shelve_offload", "server.shelve_offload", server_moves.shelve_offload)
    return Answer(status=_ACCEPTED)


class Unshelve(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """From 2.77 on; host, and null for no zone, from 2.91 on."""

    availability_zone: Name | UnsetType | None = UNSET
    host: Host | UnsetType = UNSET


async def unshelve(call: Call, value: Any) -> Answer:
    zone: str | None = None
    host = ""
    if value is not None and has(call.version, "unshelve_zone"):
        given: Unshelve = parsed(value, Unshelve)
        newer = has(call.version, "unshelve_host")
        if not newer and given.host is not UNSET:
            unexpected("host")
        if (given.availability_zone is UNSET and given.host is UNSET) or (
            given.availability_zone is None and not newer
        ):
            raise errors.Invalid("'availability_zone' is a required property", field="availability_zone")
        host = "" if given.host is UNSET else given.host
        if given.availability_zone is not UNSET:
            zone = given.availability_zone or ""

    def body(tx: Tx, server: Server) -> None:
        if host:
            allow_host(call, server, "os-shelve:unshelve_to_host")
        server_moves.unshelve(tx, server, zone=zone, host=host)

    await change(call, "os-shelve:unshelve", "server.unshelve", body)
    return Answer(status=_ACCEPTED)
