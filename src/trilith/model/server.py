"""Servers, flavors, key pairs: the compute nouns, and the one table of how a server's state moves.

Two things are kept apart: `state`, what the user has (Nova's vm_state), and `task`, what is happening to it now.
A task begins only from the states that TASKS allows and ends in the state that it names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from trilith.errors import Conflict
from trilith.model.guest import MachineIdentity, Pillar, PowerState
from trilith.model.record import Record
from trilith.model.states import table


class ServerState(StrEnum):
    BUILDING = "building"
    ACTIVE = "active"
    STOPPED = "stopped"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    RESCUED = "rescued"
    RESIZED = "resized"
    SHELVED = "shelved"
    SHELVED_OFFLOADED = "shelved_offloaded"
    SOFT_DELETED = "soft-delete"
    ERROR = "error"
    DELETED = "deleted"


_S = ServerState
_ANY = tuple(s for s in _S if s is not _S.DELETED)

#: task → (states it may begin in, state after success). None: the state it began in.
TASKS: dict[str, tuple[tuple[ServerState, ...], ServerState | None]] = {
    "scheduling": ((_S.BUILDING,), _S.ACTIVE),
    "powering-on": ((_S.STOPPED, _S.ERROR), _S.ACTIVE),
    "powering-off": ((_S.ACTIVE, _S.ERROR), _S.STOPPED),
    "rebooting": ((_S.ACTIVE,), _S.ACTIVE),
    "rebooting_hard": ((_S.ACTIVE, _S.STOPPED, _S.PAUSED, _S.SUSPENDED, _S.ERROR), _S.ACTIVE),
    "pausing": ((_S.ACTIVE,), _S.PAUSED),
    "unpausing": ((_S.PAUSED,), _S.ACTIVE),
    "suspending": ((_S.ACTIVE,), _S.SUSPENDED),
    "resuming": ((_S.SUSPENDED,), _S.ACTIVE),
    "rebuilding": ((_S.ACTIVE, _S.STOPPED, _S.ERROR), None),
    "resize_prep": ((_S.ACTIVE, _S.STOPPED), _S.RESIZED),
    "resize_confirming": ((_S.RESIZED,), _S.ACTIVE),
    "resize_reverting": ((_S.RESIZED,), _S.ACTIVE),
    "migrating": ((_S.ACTIVE, _S.PAUSED), None),  # live
    "image_snapshot": ((_S.ACTIVE, _S.STOPPED, _S.PAUSED, _S.SUSPENDED), None),
    "image_backup": ((_S.ACTIVE, _S.STOPPED, _S.PAUSED, _S.SUSPENDED), None),
    "updating_password": ((_S.ACTIVE,), None),
    "rescuing": ((_S.ACTIVE, _S.STOPPED, _S.ERROR), _S.RESCUED),
    "unrescuing": ((_S.RESCUED,), _S.ACTIVE),
    "shelving": ((_S.ACTIVE, _S.STOPPED, _S.PAUSED, _S.SUSPENDED), _S.SHELVED),
    "shelving_offloading": ((_S.SHELVED,), _S.SHELVED_OFFLOADED),
    "unshelving": ((_S.SHELVED, _S.SHELVED_OFFLOADED), _S.ACTIVE),
    "attaching": ((_S.ACTIVE, _S.STOPPED, _S.PAUSED, _S.SUSPENDED), None),
    "deleting": (_ANY, _S.DELETED),
}

#: task → the action that asks for it, by Nova's word in its refusals
ACTIONS: dict[str, str] = {
    "powering-on": "start",
    "powering-off": "stop",
    "rebooting": "reboot",
    "rebooting_hard": "reboot",
    "pausing": "pause",
    "unpausing": "unpause",
    "suspending": "suspend",
    "resuming": "resume",
    "rebuilding": "rebuild",
    "resize_prep": "resize",
    "resize_confirming": "confirmResize",
    "resize_reverting": "revertResize",
    "migrating": "os-migrateLive",
    "image_snapshot": "createImage",
    "image_backup": "createBackup",
    "updating_password": "changePassword",
    "rescuing": "rescue",
    "unrescuing": "unrescue",
    "shelving": "shelve",
    "shelving_offloading": "shelveOffload",
    "unshelving": "unshelve",
    "attaching": "attach_interface",
    "deleting": "delete",
}

_moves: dict[tuple[str, str], ServerState] = {}
for _task, (_sources, _to) in TASKS.items():
    for _source in _sources:
        _moves[(_source, _task)] = _to or _source
# what a guest does by itself, and what a failed job leaves
_moves |= {
    (_S.ACTIVE, "powered-off"): _S.STOPPED,
    (_S.PAUSED, "powered-off"): _S.STOPPED,
    (_S.STOPPED, "found-running"): _S.ACTIVE,
    (_S.RESIZED, "resize_confirming_stopped"): _S.STOPPED,
    (_S.RESIZED, "resize_reverting_stopped"): _S.STOPPED,
}
for _source in _ANY:
    _moves[(_source, "failed")] = _S.ERROR
    _moves[(_source, "reset-error")] = _S.ERROR
    _moves[(_source, "reset-active")] = _S.ACTIVE
SERVER_TABLE = table("server", _moves)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Nova's fault: code is the HTTP status it would have had."""

    code: int
    message: str
    created: float
    details: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlavorData:
    """A flavor as it was when the server got it: a later change of the flavor leaves servers alone."""

    id: str
    name: str
    vcpus: int
    ram: int  # MiB
    disk: int  # GiB
    ephemeral: int = 0  # GiB
    swap: int = 0  # MiB
    extra_specs: dict[str, str] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RootImage:
    """What a root disk starts from: a blob with its format and its image's properties."""

    sha256: str
    disk_format: str
    properties: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescue:
    """A server in rescue boots from `image`, its own root beside it.

    stable: the server's disks keep their places and names, and the rescue disk comes last (Nova's stable device
    rescue); else the rescue disk takes the root's place. admin_pass is sealed.
    """

    image: RootImage
    device: str = "disk"  # disk | cdrom
    bus: str = ""  # "": the root's
    stable: bool = False
    admin_pass: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server(Record):
    """job_id is the job that owns it now ("" for none): the lock that commands take by compare-and-swap.

    image_id is what the user chose; image_sha256, image_format and image_properties say what the root disk starts
    from, which after a move between nodes is a copy of the root of before.

    old_node: the node that keeps the root of before a resize or a migration, until it is confirmed or reverted.

    desired is what reconciliation restores after a crash or a host's reboot. reason says why this pillar and node.
    user_data is sealed. Tombstones keep all of it but the secrets.
    """

    name: str
    project_id: str
    user_id: str
    hostname: str
    description: str = ""
    state: ServerState = ServerState.BUILDING
    task: str = ""
    power: PowerState = PowerState.UNKNOWN
    desired: PowerState = PowerState.RUNNING
    job_id: str = ""
    pillar: Pillar | None = None
    node: str = ""  # its name
    zone: str = ""
    zone_requested: str = ""
    flavor: FlavorData
    old_flavor: FlavorData | None = None  # until a resize is confirmed or reverted
    image_id: str = ""
    image_sha256: str = ""
    image_properties: dict[str, str] = field(default_factory=dict)
    image_format: str = ""
    identity: MachineIdentity | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    system_metadata: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    key_name: str = ""
    key_public: str = ""
    user_data: str = ""
    config_drive: bool = False
    disk_config: str = "MANUAL"
    security_groups: tuple[str, ...] = ()  # names given at creation
    fault: Fault | None = None
    locked: bool = False
    locked_by: str = ""
    locked_reason: str = ""
    reason: str = ""
    progress: int = 0
    launched_at: float = 0.0
    terminated_at: float = 0.0
    access_ipv4: str = ""
    access_ipv6: str = ""
    group_id: str = ""
    reservation_id: str = ""
    launch_index: int = 0
    root_password_hash: str = ""
    old_node: str = ""
    rescue: Rescue | None = None
    shelved_image_id: str = ""
    shelved_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor(Record):
    """id is the public flavor id, which may be any text."""

    name: str
    vcpus: int
    ram: int
    disk: int
    ephemeral: int = 0
    swap: int = 0
    public: bool = True
    disabled: bool = False
    rxtx_factor: float = 1.0
    description: str = ""
    extra_specs: dict[str, str] = field(default_factory=dict)
    projects: tuple[str, ...] = ()

    def data(self) -> FlavorData:
        return FlavorData(
            id=self.id,
            name=self.name,
            vcpus=self.vcpus,
            ram=self.ram,
            disk=self.disk,
            ephemeral=self.ephemeral,
            swap=self.swap,
            extra_specs=self.extra_specs,
            description=self.description,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair(Record):
    name: str
    user_id: str
    public_key: str
    fingerprint: str
    type: str = "ssh"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerGroup(Record):
    name: str
    project_id: str
    user_id: str
    policy: str
    rules: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceAction(Record):
    """One request made of a server; its events are the steps of its job. id is the request's id + server."""

    server_id: str
    project_id: str
    user_id: str
    request_id: str
    action: str
    message: str = ""
    job_id: str = ""
    finished_at: float = 0.0


class MigrationType(StrEnum):
    RESIZE = "resize"
    MIGRATION = "migration"
    LIVE = "live-migration"
    EVACUATION = "evacuation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration(Record):
    """One move of a server, or one resize, which may stay on its node. seq is the number that the API shows.

    status as Nova names it: queued, migrating, running, finished, confirming, confirmed, reverting, reverted,
    completed, done, error, cancelled. While it lasts, what the server holds of the source is this record's in
    Placement. root: what the moved root starts from; old_root: what it did on the source.
    """

    server_id: str
    project_id: str
    user_id: str
    type: MigrationType
    status: str
    source_node: str
    dest_node: str = ""
    job_id: str = ""
    old_flavor: str = ""  # ids
    new_flavor: str = ""
    root: RootImage | None = None
    old_root: RootImage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BootData(Record):
    """What a server is given at its birth beside its own columns, as it may be long; id is the server's. All sealed.

    files: personality. vendor: what the operator's vendor data said when it was created or rebuilt.
    """

    files: str = ""
    vendor: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdRange(Record):
    """A container's own 65,536 ids; id is the server's. base is unique."""

    base: int


def begin(server: Server, task: str) -> dict[str, object]:
    """The changes that start `task` on the server. Raises Conflict where the table does not allow it."""
    SERVER_TABLE.next(server.state, task)
    return {"task": task}


def end(server: Server, event: str) -> dict[str, object]:
    """The changes that finish a task, or follow an event, by the table."""
    to = SERVER_TABLE.next(server.state, event)
    changes: dict[str, object] = {"state": to, "task": "", "job_id": ""}
    return changes


def require(server: Server, task: str) -> None:
    """Raises Conflict, in Nova's words, unless `task` may begin now: by state, by lock of another job."""
    action = ACTIONS.get(task, task)
    if server.task and task != "deleting":
        raise Conflict(
            f"Cannot '{action}' instance {server.id} while it is in task_state {server.task}",
            hint="Wait for the running task to end.",
        )
    if not SERVER_TABLE.allows(server.state, task):
        raise Conflict(f"Cannot '{action}' instance {server.id} while it is in vm_state {server.state}")
