"""The arguments of each job kind, versioned: a job begun by the release before must finish under this one, so fields
are only added, with defaults."""

from __future__ import annotations

import msgspec

from trilith.model.guest import PowerState
from trilith.model.server import FlavorData


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


class Resize(msgspec.Struct, frozen=True):
    flavor: FlavorData
    was_running: bool = True


class Settle(msgspec.Struct, frozen=True):
    """Confirm or revert."""


class Snapshot(msgspec.Struct, frozen=True):
    image_id: str


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
