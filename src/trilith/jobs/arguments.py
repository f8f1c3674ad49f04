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

#: seconds from submission: what a job's own row holds it to. 0: its steps' own only, for what must be done however
#: long its cloud was off
DEADLINES: dict[str, float] = {
    "server.create": 900.0,
    "server.delete": 0.0,
    **{f"server.{verb}": 900.0 for verb in POWER},
    "server.rebuild": 1200.0,
    "server.resize": 1200.0,
    "server.migrate": 3600.0,
    "server.confirm_resize": 600.0,
    "server.revert_resize": 900.0,
    "server.live_migrate": 7200.0,
    "server.evacuate": 1800.0,
    "server.snapshot": 3600.0,
    "server.backup": 3600.0,
    "server.shelve": 3600.0,
    "server.shelve_offload": 600.0,
    "server.unshelve": 1800.0,
    "server.rescue": 1200.0,
    "server.unrescue": 1200.0,
    "server.password": 120.0,
    "server.attach_port": 300.0,
    "server.detach_port": 300.0,
    "server.inject_network": 300.0,
}
