"""os-migrations: every move and resize of servers; servers/{id}/migrations: the live ones that go on."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.compute import paging
from trilith.api.compute.microversions import has
from trilith.api.compute.server_load import change, load
from trilith.api.compute.wire import Link, links, micro, parse_time
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.commands import server_moves
from trilith.model.server import Flavor, Migration, MigrationType, Server
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx

LIST_QUERY = (
    "limit",
    "marker",
    "changes-since",
    "changes-before",
    "hidden",
    "host",
    "instance_uuid",
    "source_compute",
    "status",
    "migration_type",
    "user_id",
    "project_id",
)
#: query parameter → column
_FILTERS = {
    "instance_uuid": "server_id",
    "source_compute": "source_node",
    "status": "status",
    "migration_type": "type",
}
#: statuses of a live migration that goes on
_GOING_ON = ("queued", "preparing", "running")


class MigrationView(msgspec.Struct, kw_only=True):
    """node and compute are one name here. The numbers of flavors are those of rows; null for a deleted one."""

    id: int
    status: str
    instance_uuid: str
    source_node: str | None
    source_compute: str | None
    dest_node: str | None
    dest_compute: str | None
    dest_host: str | None
    old_instance_type_id: int | None
    new_instance_type_id: int | None
    created_at: str
    updated_at: str | None
    migration_type: str | UnsetType = UNSET
    links: list[Link] | UnsetType = UNSET
    uuid: str | UnsetType = UNSET
    user_id: str | UnsetType = UNSET
    project_id: str | UnsetType = UNSET


class MigrationList(msgspec.Struct):
    migrations: list[MigrationView]
    migrations_links: list[Link] | UnsetType = UNSET


class ServerMigrationView(msgspec.Struct, kw_only=True):
    """Bytes are null: drivers move a guest in one step and count nothing in between."""

    id: int
    status: str
    server_uuid: str
    source_node: str | None
    source_compute: str | None
    dest_node: str | None
    dest_compute: str | None
    dest_host: str | None
    created_at: str
    updated_at: str | None
    memory_total_bytes: int | None = None
    memory_processed_bytes: int | None = None
    memory_remaining_bytes: int | None = None
    disk_total_bytes: int | None = None
    disk_processed_bytes: int | None = None
    disk_remaining_bytes: int | None = None
    uuid: str | UnsetType = UNSET
    user_id: str | UnsetType = UNSET
    project_id: str | UnsetType = UNSET


class ServerMigrationList(msgspec.Struct):
    migrations: list[ServerMigrationView]


class ServerMigrationOne(msgspec.Struct):
    migration: ServerMigrationView


class Force(msgspec.Struct, forbid_unknown_fields=True):
    force_complete: None


async def index(call: Call) -> MigrationList:
    """200, the newest first: the project's, and for admins all; 400 for a filter or marker that is wrong; 403 for
    another project's."""
    pages = has(call.version, "migration_paging")
    t = REGISTRY[Migration].table.c
    clauses: list[sa.ColumnElement[bool]] = []
    for name, column in _FILTERS.items():
        if value := call.one(name):
            clauses.append(t[column] == value)
    if host := call.one("host"):
        clauses.append(sa.or_(t.source_node == host, t.dest_node == host))
    if has(call.version, "migration_owner"):
        clauses += [t[name] == value for name in ("user_id", "project_id") if (value := call.one(name))]
    if not call.can("os_compute_api:os-migrations:index:all_projects"):
        if call.one("project_id") not in ("", call.actor.project_id) and has(call.version, "migration_owner"):
            call.allow("os_compute_api:os-migrations:index:all_projects")
        clauses.append(t.project_id == call.actor.project_id)
    clauses += _times(call)
    limit = paging.limit_of(call) if pages else None
    marker = paging.marker_of(call) if pages else ""

    def read(reader: Reader) -> tuple[list[Migration], dict[str, int]]:
        here = list(clauses)
        if marker:
            last = reader.find(Migration, marker)
            if last is None:
                raise paging.no_marker(marker)
            here.append(t.seq < last.seq)
        found = reader.select(Migration, *here, order=[t.seq.desc()], limit=limit)
        ids = {i for m in found for i in (m.old_flavor, m.new_flavor)}
        return found, {f.id: f.seq for f in reader.select(Flavor, id=ids)} if ids else {}

    found, flavors = await call.read(read)
    made = MigrationList([_view(call, m, flavors) for m in found])
    if pages and found and len(found) == limit:
        made.migrations_links = paging.next_link(call, "/os-migrations", found[-1].id)
    return made


def _times(call: Call) -> list[sa.ColumnElement[bool]]:
    t = REGISTRY[Migration].table.c
    clauses = []
    since = until = 0.0
    if has(call.version, "migration_paging") and (text := call.one("changes-since")):
        since = parse_time(text, "changes-since")
        clauses.append(t.updated_at >= since)
    if has(call.version, "changes_before") and (text := call.one("changes-before")):
        until = parse_time(text, "changes-before")
        clauses.append(t.updated_at <= until)
    if since and until and until < since:
        raise errors.Invalid("The value of changes-since must be less than or equal to changes-before.")
    return clauses


def _view(call: Call, m: Migration, flavors: dict[str, int]) -> MigrationView:
    hosts = call.can("os_compute_api:os-migrations:index:host")
    made = MigrationView(
        id=m.seq,
        status=m.status,
        instance_uuid=m.server_id,
        source_node=m.source_node or None if hosts else None,
        source_compute=m.source_node or None if hosts else None,
        dest_node=m.dest_node or None if hosts else None,
        dest_compute=m.dest_node or None if hosts else None,
        dest_host=None,
        old_instance_type_id=flavors.get(m.old_flavor),
        new_instance_type_id=flavors.get(m.new_flavor),
        created_at=micro(m.created_at),
        updated_at=micro(m.updated_at) if m.updated_at else None,
    )
    if has(call.version, "server_migrations"):
        made.migration_type = m.type
        if m.type is MigrationType.LIVE and m.status in _GOING_ON:
            made.links = links(call, f"servers/{m.server_id}/migrations", str(m.seq))
    if has(call.version, "migration_paging"):
        made.uuid = m.id
    if has(call.version, "migration_owner"):
        made.user_id, made.project_id = m.user_id, m.project_id
    return made


async def of_server(call: Call) -> ServerMigrationList:
    """200: the live migrations that go on; 404."""

    def read(reader: Reader) -> list[Migration]:
        server = load(reader, call, "servers:migrations:index")
        return reader.select(Migration, server_id=server.id, type=MigrationType.LIVE, status=list(_GOING_ON))

    return ServerMigrationList([_going_on(call, m) for m in await call.read(read)])


async def show(call: Call) -> ServerMigrationOne:
    """200; 404 for the server, for a migration that it does not have, and for one that is over or not live."""

    def read(reader: Reader) -> Migration:
        found = _find(reader, call, load(reader, call, "servers:migrations:show"))
        if found.type is not MigrationType.LIVE or found.status not in _GOING_ON:
            raise errors.Missing(f"Live migration {found.seq} for server {found.server_id} is not in progress.")
        return found

    return ServerMigrationOne(_going_on(call, await call.read(read)))


def _find(reader: Reader, call: Call, server: Server) -> Migration:
    """By the number in the path. Raises Missing."""
    text = call.params["migration_id"]
    found = reader.first(Migration, server_id=server.id, seq=int(text)) if text.isdecimal() and len(text) < 19 else None
    if found is None:
        raise errors.Missing(f"Migration {text} not found for instance {server.id}.")
    return found


def _going_on(call: Call, m: Migration) -> ServerMigrationView:
    hosts = call.can("os_compute_api:servers:migrations:index:host")
    made = ServerMigrationView(
        id=m.seq,
        status=m.status,
        server_uuid=m.server_id,
        source_node=m.source_node or None if hosts else None,
        source_compute=m.source_node or None if hosts else None,
        dest_node=m.dest_node or None if hosts else None,
        dest_compute=m.dest_node or None if hosts else None,
        dest_host=None,
        created_at=micro(m.created_at),
        updated_at=micro(m.updated_at) if m.updated_at else None,
    )
    if has(call.version, "migration_paging"):
        made.uuid = m.id
    if has(call.version, "migration_owner"):
        made.user_id, made.project_id = m.user_id, m.project_id
    return made


async def abort(call: Call) -> Answer:
    """202: the server stays where it is, unless it has arrived; 400 for a migration that does not go on (a queued one
    can be aborted from 2.65 on); 404."""
    statuses = _GOING_ON if has(call.version, "abort_queued") else ("running",)

    def body(tx: Tx, server: Server) -> None:
        found = _find(tx, call, server)
        if found.type is not MigrationType.LIVE or found.status not in statuses:
            raise _wrong_state(found, server, "abort live migration")
        server_moves.abort(tx, found)

    await change(call, "servers:migrations:delete", "server.abort_migration", body)
    return Answer(status=202)


async def force(call: Call) -> Answer:
    """400 for a migration that does not run; 409: no driver here has a way to end one sooner; 404."""

    def body(tx: Tx, server: Server) -> None:
        found = _find(tx, call, server)
        if found.type is not MigrationType.LIVE or found.status != "running":
            raise _wrong_state(found, server, "force_complete")
        raise errors.Conflict(f"The migration {found.seq} of instance {server.id} cannot be made to end sooner.")

    await change(call, "servers:migrations:force_complete", "server.force_migration", body)
    return Answer(status=202)


def _wrong_state(found: Migration, server: Server, what: str) -> errors.Invalid:
    return errors.Invalid(
        f"Migration {found.seq} state of instance {server.id} is {found.status}. Cannot {what} while the migration is "
        "in this state."
    )
