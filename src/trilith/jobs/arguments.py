"""The arguments of each job kind, versioned: a job begun by the release before must finish under this one, so fields
are only added, with defaults."""

from __future__ import annotations

import msgspec

from trilith.model.guest import PowerState
from trilith.model.server import FlavorData, Rescue


class Create(msgspec.Struct, frozen=True):
    """node: a node that the request names, "" for any."""

    node: str = ""


class Delete(msgspec.Struct, frozen=True):
    pass


class Power(msgspec.Struct, frozen=True):
    """timeout: seconds that the guest has for its own power-off."""

    timeout: float = 60.0


class Rebuild(msgspec.Struct, frozen=True):
    """The new image as it was when asked. start: whether the server runs afterwards."""

    image_id: str
    image_sha256: str
    image_format: str
    image_properties: dict[str, str]
    old_sha256: str = ""
    start: bool = True
    old_image_id: str = ""


class Resize(msgspec.Struct, frozen=True):
    """migration_id: its record."""

    flavor: FlavorData
    was_running: bool = True
    migration_id: str = ""


class Migrate(msgspec.Struct, frozen=True):
    """To another node, with a new flavor or the old one. node: the one that the request names, "" for any."""

    flavor: FlavorData
    migration_id: str
    node: str = ""
    was_running: bool = True


class Move(msgspec.Struct, frozen=True):
    """A live migration or an evacuation. node: the one that the request names, "" for any. start: whether the server
    runs afterwards."""

    migration_id: str
    node: str = ""
    start: bool = True


class Settle(msgspec.Struct, frozen=True):
    """Confirm or revert."""


class Snapshot(msgspec.Struct, frozen=True):
    image_id: str


class Backup(msgspec.Struct, frozen=True):
    image_id: str
    backup_type: str
    rotation: int


class Shelve(msgspec.Struct, frozen=True):
    image_id: str
    was_running: bool = True


class Offload(msgspec.Struct, frozen=True):
    pass


class Unshelve(msgspec.Struct, frozen=True):
    """node: the one that the request names, "" for any."""

    node: str = ""


class StartRescue(msgspec.Struct, frozen=True):
    rescue: Rescue
    was_running: bool = True


class EndRescue(msgspec.Struct, frozen=True):
    pass


class Password(msgspec.Struct, frozen=True):
    """sealed: the new password, for the context `server.admin_pass:<id>`. user: "" for the administrator."""

    sealed: str
    user: str = ""


class PortChange(msgspec.Struct, frozen=True):
    port_id: str


#: verb → (task, Nova's action name, desired power state; None leaves it)
POWER: dict[str, tuple[str, str, PowerState | None]] = {
    "start": ("powering-on", "start", PowerState.RUNNING),
    "stop": ("powering-off", "stop", PowerState.SHUTDOWN),
    "reboot": ("rebooting", "reboot", None),
    "reboot_hard": ("rebooting_hard", "reboot", PowerState.RUNNING),
    "pause": ("pausing", "pause", PowerState.PAUSED),
    "unpause": ("unpausing", "unpause", PowerState.RUNNING),
    "suspend": ("suspending", "suspend", PowerState.SUSPENDED),
    "resume": ("resuming", "resume", PowerState.RUNNING),
}

#: seconds from submission
DEADLINES: dict[str, float] = {"server.create": 900.0, "server.delete": 900.0}
