"""/trilith/v1/servers: a server as its node has it, and the ways into it: exec, console, shell."""

from __future__ import annotations

import base64
from typing import Annotated, Literal

import msgspec
import sqlalchemy as sa

from trilith import errors
from trilith.agent.calls import ExecArgs, TerminalArgs
from trilith.api.http.call import Call
from trilith.api.http.route import ByteStream, Route, SocketRoute
from trilith.api.http.times import seconds_z
from trilith.model.guest import ExecResult
from trilith.model.node import Node
from trilith.model.server import Server
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

_MOST = 1000
#: bytes of each stream of a command's output that are given
MAX_OUTPUT = 1024 * 1024


class FaultView(msgspec.Struct):
    """code: the HTTP status that it would have had."""

    code: int
    message: str
    created: str


class ServerView(msgspec.Struct):
    """reason: why this pillar and node. emulated: without hardware virtualisation, so slow.

    job_id: of the job that works on it now, else null.
    """

    id: str
    name: str
    project_id: str
    pillar: str | None
    node: str | None
    reason: str
    state: str
    task: str | None
    power: str
    job_id: str | None
    emulated: bool
    fault: FaultView | None


class ServerList(msgspec.Struct, omit_defaults=True):
    servers: list[ServerView]
    next: str = ""


def _view(server: Server, node: Node | None) -> ServerView:
    fault = server.fault
    return ServerView(
        id=server.id,
        name=server.name,
        project_id=server.project_id,
        pillar=str(server.pillar) if server.pillar else None,
        node=server.node or None,
        reason=server.reason,
        state=str(server.state),
        task=server.task or None,
        power=str(server.power),
        job_id=server.job_id or None,
        emulated=_emulated(server, node),
        fault=FaultView(fault.code, fault.message, seconds_z(fault.created)) if fault else None,
    )


def _emulated(server: Server, node: Node | None) -> bool:
    """As the node's driver says; but a machine that boots bare needs less of the hardware than Linux does."""
    facts = node.facts if node is not None else None
    if facts is None or "emulated" not in facts.capabilities.get(str(server.pillar), ()):
        return False
    return not (server.image_properties.get("trilith_boot") == "bare" and "CUSTOM_KVM_BARE" in facts.traits)


async def list_servers(call: Call) -> ServerList:
    """200, newest first; `next` where there are more. 403 for all_projects of one who is no admin, 400 for a marker
    that is none."""
    limit = call.number("limit", _MOST, least=1, most=_MOST)
    t = REGISTRY[Server].table.c
    where: list[sa.ColumnElement[bool]] = [t.deleted_at == 0]
    if call.flag("all_projects"):
        call.allow("trilith:servers:list:all_projects")
    else:
        where.append(t.project_id == call.actor.project_id)

    def body(reader: Reader) -> tuple[list[Server], dict[str, Node]]:
        clauses = list(where)
        if marker := call.one("marker"):
            last = reader.find(Server, marker)
            if last is None:
                raise errors.Invalid(f"There is no server {marker}.", field="marker")
            clauses.append(t.seq < last.seq)
        found = reader.select(Server, *clauses, order=[t.seq.desc()], limit=limit + 1)
        names = {s.node for s in found if s.node}
        nodes = reader.select(Node, name=list(names)) if names else []
        return found, {n.name: n for n in nodes}

    found, nodes = await call.read(body)
    more = len(found) > limit
    views = [_view(s, nodes.get(s.node)) for s in found[:limit]]
    return ServerList(views, next=found[limit - 1].id if more else "")


def _load(reader: Reader, call: Call, rule: str) -> Server:
    """Raises Missing for what the caller may not see, Forbidden for what it may see but not do."""
    server = reader.find(Server, call.params["server_id"])
    if server is None or not call.can("trilith:servers:show", project_id=server.project_id):
        raise errors.Missing(f"There is no server {call.params['server_id']}.")
    call.allow(rule, project_id=server.project_id)
    return server


async def show(call: Call) -> ServerView:
    """200. 404 for no such server in the caller's project."""

    def body(reader: Reader) -> tuple[Server, Node | None]:
        server = _load(reader, call, "trilith:servers:show")
        return server, reader.first(Node, name=server.node) if server.node else None

    return _view(*await call.read(body))


async def _placed(call: Call, rule: str) -> Server:
    """The server, which is on a node. Raises Conflict where it is on none."""
    server = await call.read(lambda r: _load(r, call, rule))
    if not server.node:
        raise errors.Conflict(f"The server {server.id} is on no node yet.", hint="Wait until it is ACTIVE.")
    return server


_Word = Annotated[str, msgspec.Meta(max_length=32768)]


class Command(msgspec.Struct, forbid_unknown_fields=True):
    """argv: the program and its arguments; no shell looks at them. timeout: seconds until it is killed."""

    argv: Annotated[list[_Word], msgspec.Meta(min_length=1, max_length=64)]
    timeout: Annotated[float, msgspec.Meta(ge=1, le=600)] = 60.0


class Executed(msgspec.Struct):
    """stdout, stderr: base64 of the first 1 MiB each; cut: those that had more."""

    exit_code: int
    stdout: str
    stderr: str
    cut: list[str]


async def execute(call: Call) -> Executed:
    """200 whatever the exit code. 400 (unsupported) where the pillar runs nothing from outside, 404, 409 when the
    server does not run, 504 when the command did not end in time."""
    command: Command = call.body
    if not command.argv[0]:
        raise errors.Invalid("The program's name is empty.", field="argv")
    server = await _placed(call, "trilith:servers:exec")
    done = await call.host.services.links.call(
        server.node,
        "guest.exec",
        ExecArgs(server.id, tuple(command.argv), command.timeout),
        ExecResult,
        timeout=command.timeout + 15,  # the driver's own deadline comes first: it kills what it started
    )
    streams = {"stdout": done.stdout, "stderr": done.stderr}
    return Executed(
        exit_code=done.exit_code,
        stdout=base64.b64encode(done.stdout[:MAX_OUTPUT]).decode(),
        stderr=base64.b64encode(done.stderr[:MAX_OUTPUT]).decode(),
        cut=[name for name, data in streams.items() if len(data) > MAX_OUTPUT],
    )


class TicketRequest(msgspec.Struct, forbid_unknown_fields=True):
    kind: Literal["console", "shell"]


class TicketView(msgspec.Struct):
    """url: where to connect, once, within expires_in seconds. Whoever has it gets in: do not log it."""

    ticket: str
    url: str
    expires_in: int


async def make_ticket(call: Call) -> TicketView:
    """201: for one connection, where no header can be set. 404, 409 as the connection itself would."""
    kind: str = call.body.kind
    server = await _placed(call, f"trilith:servers:{kind}")
    path = f"/servers/{server.id}/{kind}"
    tickets = call.host.tickets
    ticket = tickets.issue(call.headers["x-auth-token"], call.service.prefix + path)
    scheme, _, rest = call.url(path).partition("://")
    url = f"{'wss' if scheme == 'https' else 'ws'}://{rest}?token={ticket}"
    return TicketView(ticket, url, int(tickets.seconds))


async def console(call: Call) -> ByteStream:
    """The serial console, of one at a time. 400 (unsupported), 404, 409 when it is in use or the server is off."""
    return await _stream(call, "console")


async def shell(call: Call) -> ByteStream:
    """A login shell of root. 400 (unsupported) where the pillar has none from outside, 404, 409."""
    return await _stream(call, "shell")


async def _stream(call: Call, kind: str) -> ByteStream:
    server = await _placed(call, f"trilith:servers:{kind}")
    cols = call.number("cols", call.number("columns", 80, least=1, most=1000), least=1, most=1000)
    args = TerminalArgs(server.id, rows=call.number("rows", 24, least=1, most=1000), cols=cols)
    return await call.host.services.links.open(server.node, f"guest.{kind}", args)


_S = "/servers/{server_id}"
SERVER_ROUTES = (
    Route(
        "GET", "/servers", list_servers, "trilith:servers:list", response=ServerList,
        query=("all_projects", "limit", "marker"),
    ),
    Route("GET", _S, show, response=ServerView),
    Route("POST", f"{_S}/exec", execute, body=Command, response=Executed, statuses=(409, 503, 504)),
    Route("POST", f"{_S}/tickets", make_ticket, body=TicketRequest, ok=201, response=TicketView, statuses=(409, 429)),
)  # fmt: skip
SERVER_SOCKETS = (SocketRoute(f"{_S}/console", console), SocketRoute(f"{_S}/shell", shell))
