"""POST /servers/{id}/action: one table of actions; each has its body's struct, its rule and its handler.

Success is 202 with no body unless the row says else. 400 for a body that is wrong, 404 for the server, 409 where its
state or a lock forbids the action.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.agent.calls import Log, LogArgs
from trilith.api.compute import consoles, server_moves, server_rescue
from trilith.api.compute.address_actions import (
    AddFixedIp,
    AddFloatingIp,
    RemoveFixedIp,
    RemoveFloatingIp,
    add_fixed_ip,
    add_floating_ip,
    remove_fixed_ip,
    remove_floating_ip,
)
from trilith.api.compute.microversions import has
from trilith.api.compute.server_create import (
    DiskConfig,
    FileItem,
    FlavorRef,
    Fqdn,
    UserData,
    checked_address,
    checked_hostname,
    checked_image,
    decoded,
    personality_of,
)
from trilith.api.compute.server_load import change, load
from trilith.api.compute.server_refused import REFUSED, refuse
from trilith.api.compute.server_view import ServerView, Shape
from trilith.api.compute.wire import Description, Metadata, Name, Number, number, one_key, refuse_newer
from trilith.api.http.call import Call
from trilith.api.http.host import decode
from trilith.api.http.route import Answer
from trilith.commands import boot_data, server_changes, server_details, servers
from trilith.model.image import Image
from trilith.model.server import KeyPair, Server, ServerState
from trilith.store.tx import Reader, Tx

ACCEPTED = 202


@dataclass(frozen=True)
class Action:
    """body: the struct of the action's value; None for a value that is not looked at (null in Nova's clients)."""

    handler: Callable[[Call, Any], Awaitable[Any]]
    body: Any = None
    until: str = ""  # flag of the microversion that removed it


async def act(call: Call) -> Any:
    """The action that the body names: 202, 200 with an answer, or 204; 400; 404; 409 where the server's state or a lock
    forbids it; 410 for what Nova removed; 501 for what its node cannot do."""
    name, value = one_key(call.body, "action")
    action = ACTIONS.get(name)
    if action is None or (action.until and has(call.version, action.until)):
        if name in REFUSED:
            return await refuse(call, name, value)
        if action is not None:
            raise errors.Missing(f"The action {name} does not exist in this microversion.")
        raise errors.Invalid(f"There is no such action: {name}")
    given = value if action.body is None else decode(msgspec.json.encode(value), action.body)
    return await action.handler(call, given)


# power


def _power(verb: str, rule: str) -> Callable[[Call, Any], Awaitable[Answer]]:
    async def handler(call: Call, _value: Any) -> Answer:
        """202; 409; 501 where the server's node cannot."""
        await change(call, rule, f"server.{verb}", lambda tx, server: servers.power(tx, server, verb))
        return Answer(status=ACCEPTED)

    return handler


class Reboot(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]


async def _reboot(call: Call, value: Reboot) -> Answer:
    verb = "reboot_hard" if value.type.lower() == "hard" else "reboot"
    await change(call, "servers:reboot", "server.reboot", lambda tx, server: servers.power(tx, server, verb))
    return Answer(status=ACCEPTED)


# locks


class Lock(msgspec.Struct, forbid_unknown_fields=True):
    locked_reason: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | UnsetType = UNSET


async def _lock(call: Call, value: Any) -> Answer:
    """Before 2.73 the value is not looked at, as in Nova."""
    reason = ""
    if value is not None and has(call.version, "locked_reason"):
        given: Lock = server_moves.parsed(value, Lock)
        reason = "" if given.locked_reason is UNSET else given.locked_reason

    def body(tx: Tx, server: Server) -> None:
        by = "owner" if server.project_id == call.actor.project_id and not call.actor.is_admin else "admin"
        server_details.lock(tx, server, by=by, reason=reason)

    await change(call, "os-lock-server:lock", "server.lock", body, locks=False)
    return Answer(status=ACCEPTED)


async def _unlock(call: Call, _value: Any) -> Answer:
    def body(tx: Tx, server: Server) -> None:
        if server.locked_by == "admin":
            # who was not the one to lock it needs the right to override
            call.allow(
                "os_compute_api:os-lock-server:unlock:unlock_override",
                project_id=server.project_id,
                user_id=server.user_id,
            )
        server_details.unlock(tx, server)

    await change(call, "os-lock-server:unlock", "server.unlock", body, locks=False)
    return Answer(status=ACCEPTED)


# shape


class Resize(msgspec.Struct, forbid_unknown_fields=True):
    flavorRef: FlavorRef
    disk_config: DiskConfig | UnsetType = msgspec.field(name="OS-DCF:diskConfig", default=UNSET)


async def _resize(call: Call, value: Resize) -> Answer:
    flavor = str(value.flavorRef)

    def body(tx: Tx, server: Server) -> None:
        changed = server_changes.resize(tx, call.actor, server, flavor, call.host.services.adviser)
        if value.disk_config is not UNSET:
            server_details.update(tx, changed, {"disk_config": value.disk_config})

    await change(call, "servers:resize", "server.resize", body)
    return Answer(status=ACCEPTED)


async def _confirm(call: Call, _value: Any) -> Answer:
    """204."""
    await change(call, "servers:confirm_resize", "server.confirm_resize", server_changes.confirm_resize)
    return Answer(status=204)


async def _revert(call: Call, _value: Any) -> Answer:
    await change(call, "servers:revert_resize", "server.revert_resize", server_changes.revert_resize)
    return Answer(status=ACCEPTED)


class Rebuild(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    imageRef: str
    name: Name | UnsetType = UNSET
    adminPass: str | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    preserve_ephemeral: bool | str | UnsetType = UNSET
    disk_config: DiskConfig | UnsetType = msgspec.field(name="OS-DCF:diskConfig", default=UNSET)
    accessIPv4: str | UnsetType = UNSET
    accessIPv6: str | UnsetType = UNSET
    personality: list[FileItem] | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    key_name: Name | UnsetType | None = UNSET
    user_data: UserData | UnsetType | None = UNSET
    trusted_image_certificates: list[str] | UnsetType | None = UNSET
    hostname: Fqdn | UnsetType = UNSET


_REBUILD_NEWER = {
    "description": "description",
    "key_name": "rebuild_key",
    "user_data": "no_personality",
    "trusted_image_certificates": "trusted_certificates",
    "hostname": "hostname",
}


async def _rebuild(call: Call, value: Rebuild) -> Answer:
    """202 with the server."""
    refuse_newer(call, value, _REBUILD_NEWER)
    files = personality_of(call, value.personality)
    if value.trusted_image_certificates is not UNSET and value.trusted_image_certificates:
        raise errors.Invalid("Signed images are not verified here.", field="trusted_image_certificates")
    image = checked_image(value.imageRef)
    password = value.adminPass if value.adminPass is not UNSET else secrets.token_urlsafe(9)
    changes = _rebuild_changes(call, value)
    shape = Shape(call, full=False, single=True, rebuild=True)

    def body(tx: Tx, server: Server) -> ServerView:
        if "metadata" in changes:
            server_details.check_metadata(tx, server.project_id, changes["metadata"])
        if value.key_name is not UNSET:
            changes.update(_key(tx, server, value.key_name))
        boot_data.check_files(tx, server.project_id, files or ())
        server = server_changes.rebuild(tx, call.actor, server, image, **changes)
        boot_data.keep_files(tx, server, files or ())
        server = server_details.set_admin_pass(tx, server, password)
        return shape.view(server, shape.around(tx, [server]))

    view = await change(call, "servers:rebuild", "server.rebuild", body)
    view.adminPass = password
    return Answer({"server": view}, status=ACCEPTED, headers={"Location": view.links[0].href})


def _rebuild_changes(call: Call, value: Rebuild) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if value.name is not UNSET:
        found["name"] = value.name.strip()
    if value.metadata is not UNSET:
        found["metadata"] = value.metadata
    if value.disk_config is not UNSET:
        found["disk_config"] = value.disk_config
    if value.accessIPv4 is not UNSET:
        found["access_ipv4"] = checked_address(value.accessIPv4, 4, "accessIPv4")
    if value.accessIPv6 is not UNSET:
        found["access_ipv6"] = checked_address(value.accessIPv6, 6, "accessIPv6")
    if value.description is not UNSET:
        found["description"] = value.description or ""
    if value.hostname is not UNSET:
        found["hostname"] = checked_hostname(call, value.hostname)
    if value.user_data is not UNSET:
        found["user_data"] = decoded(value.user_data) if value.user_data else b""
    return found


def _key(reader: Reader, server: Server, name: str | None) -> dict[str, str]:
    if name is None:
        return {"key_name": "", "key_public": ""}
    key = reader.first(KeyPair, user_id=server.user_id, name=name)
    if key is None:
        raise errors.Invalid("Invalid key_name provided.", field="key_name")
    return {"key_name": key.name, "key_public": key.public_key}


class CreateImage(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    metadata: Metadata | UnsetType = UNSET


async def _create_image(call: Call, value: CreateImage) -> Answer:
    """202: the image's id in the body from 2.45 on, before that its URL in Location."""
    metadata = value.metadata if value.metadata is not UNSET else {}

    def body(tx: Tx, server: Server) -> Image:
        if not has(call.version, "no_image_metadata"):
            server_details.check_metadata(tx, server.project_id, metadata)
        return server_changes.snapshot(tx, call.actor, server, value.name.strip(), metadata)

    image = await change(call, "servers:create_image", "server.create_image", body, locks=False)
    if has(call.version, "image_id_body"):
        return Answer({"image_id": image.id}, status=ACCEPTED)
    where = f"{call.host.settings.url}/image/v2/images/{image.id}"
    return Answer(status=ACCEPTED, headers={"Location": where})


# security groups


class Group(msgspec.Struct, forbid_unknown_fields=True):
    name: Name


async def _add_group(call: Call, value: Group) -> Answer:
    await change(
        call,
        "os-security-groups:add",
        "server.add_security_group",
        lambda tx, server: server_details.add_group(tx, server, value.name),
    )
    return Answer(status=ACCEPTED)


async def _remove_group(call: Call, value: Group) -> Answer:
    await change(
        call,
        "os-security-groups:remove",
        "server.remove_security_group",
        lambda tx, server: server_details.remove_group(tx, server, value.name),
    )
    return Answer(status=ACCEPTED)


# the operator's


class ResetState(msgspec.Struct, forbid_unknown_fields=True):
    state: Literal["active", "error"]


async def _reset_state(call: Call, value: ResetState) -> Answer:
    await change(
        call,
        "os-admin-actions:reset_state",
        "server.reset_state",
        lambda tx, server: servers.reset_state(tx, server, value.state),
        locks=False,
    )
    return Answer(status=ACCEPTED)


async def _force_delete(call: Call, _value: Any) -> Answer:
    """202: as a delete, since nothing is kept for later."""
    await change(call, "os-deferred-delete:force", "server.delete", servers.delete)
    return Answer(status=ACCEPTED)


async def _restore(call: Call, _value: Any) -> Answer:
    def body(_tx: Tx, server: Server) -> None:
        raise errors.Conflict(
            f"Cannot 'restore' instance {server.id} while it is in vm_state {server.state}",
            hint="Servers are deleted at once here; nothing is kept to restore.",
        )

    await change(call, "os-deferred-delete:restore", "server.restore", body, locks=False)
    return Answer(status=ACCEPTED)


# the console


class ConsoleOutput(msgspec.Struct, forbid_unknown_fields=True):
    length: Number | Literal[""] | UnsetType | None = UNSET


#: what a terminal would act on, but for tabs and line ends
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
#: bytes of the console asked of the node at most
_CONSOLE_BYTES = 1024 * 1024


async def _console_output(call: Call, value: ConsoleOutput | None) -> dict[str, str]:
    """200 with the last lines; 409 for a server that has no guest yet."""
    wanted = value.length if value is not None else None
    lines = None if wanted in (UNSET, None, "") else number(wanted, "length", least=-1)
    server = await call.read(lambda r: load(r, call, "os-console-output"))
    if not server.node or server.state is ServerState.BUILDING:
        raise errors.Conflict(f"Instance {server.id} is not ready", hint="Wait until it is ACTIVE.")
    log = await call.host.services.links.call(
        server.node, "guest.console_log", LogArgs(server.id, _CONSOLE_BYTES), Log, timeout=30
    )
    text = log.data.decode("utf-8", "replace").replace("\r\n", "\n")
    clean = _CONTROL.sub("?", text)
    if lines is not None and lines >= 0:
        clean = "\n".join(clean.split("\n")[-lines:]) if lines else ""
    return {"output": clean}


ACTIONS: dict[str, Action] = {
    "os-start": Action(_power("start", "servers:start")),
    "os-stop": Action(_power("stop", "servers:stop")),
    "reboot": Action(_reboot, Reboot),
    "pause": Action(_power("pause", "os-pause-server:pause")),
    "unpause": Action(_power("unpause", "os-pause-server:unpause")),
    "suspend": Action(_power("suspend", "os-suspend-server:suspend")),
    "resume": Action(_power("resume", "os-suspend-server:resume")),
    "lock": Action(_lock),
    "unlock": Action(_unlock),
    "resize": Action(_resize, Resize),
    "confirmResize": Action(_confirm),
    "revertResize": Action(_revert),
    "rebuild": Action(_rebuild, Rebuild),
    "createImage": Action(_create_image, CreateImage),
    "createBackup": Action(server_rescue.create_backup, server_rescue.CreateBackup),
    "changePassword": Action(server_rescue.change_password, server_rescue.ChangePassword),
    "rescue": Action(server_rescue.rescue, server_rescue.Rescue | None),
    "unrescue": Action(server_rescue.unrescue),
    "migrate": Action(server_moves.migrate),
    "os-migrateLive": Action(server_moves.migrate_live),
    "evacuate": Action(server_moves.evacuate),
    "shelve": Action(server_moves.shelve),
    "shelveOffload": Action(server_moves.shelve_offload),
    "unshelve": Action(server_moves.unshelve),
    "injectNetworkInfo": Action(server_rescue.inject_network_info),
    "addSecurityGroup": Action(_add_group, Group),
    "removeSecurityGroup": Action(_remove_group, Group),
    "addFixedIp": Action(add_fixed_ip, AddFixedIp, until="no_ip_actions"),
    "removeFixedIp": Action(remove_fixed_ip, RemoveFixedIp, until="no_ip_actions"),
    "addFloatingIp": Action(add_floating_ip, AddFloatingIp, until="no_ip_actions"),
    "removeFloatingIp": Action(remove_floating_ip, RemoveFloatingIp, until="no_ip_actions"),
    "os-resetState": Action(_reset_state, ResetState),
    "forceDelete": Action(_force_delete),
    "restore": Action(_restore),
    "os-getConsoleOutput": Action(_console_output, ConsoleOutput | None),
    "os-getVNCConsole": Action(consoles.get, consoles.VncConsole, until="remote_consoles"),
    "os-getSerialConsole": Action(consoles.get, consoles.SerialConsole, until="remote_consoles"),
    "os-getSPICEConsole": Action(consoles.get, consoles.SpiceConsole, until="remote_consoles"),
    "os-getRDPConsole": Action(consoles.get, consoles.RdpConsole, until="remote_consoles"),
}
