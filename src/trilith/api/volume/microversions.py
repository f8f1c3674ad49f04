"""What each microversion of the block storage API changed: the one table that wire types and handlers ask.

Source: "REST API Version History" of Cinder's documentation. A flag names a difference that this service makes; steps
without a flag change nothing that is served here. No other module names a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from trilith.api.http.versions import Microversions, Version


@dataclass(frozen=True)
class Step:
    minor: int
    flags: tuple[str, ...]
    what: str


STEPS: Final = (
    Step(12, ("summary",), "volumes/summary"),
    Step(13, ("group_id",), "group_id of volumes"),
    Step(14, ("group_snapshot_id",), "group_snapshot_id of snapshots"),
    Step(21, ("provider_id",), "provider_id of volumes, for administrators"),
    Step(40, ("revert",), "revert a volume to its latest snapshot"),
    Step(41, ("snapshot_user",), "user_id of snapshots"),
    Step(45, ("with_count",), "with_count in lists"),
    Step(48, ("shared_targets",), "shared_targets and service_uuid of volumes"),
    Step(53, ("strict_bodies",), "request bodies hold no unknown fields"),
    Step(61, ("cluster_name",), "cluster_name of volumes, for administrators"),
    Step(63, ("type_id",), "volume_type_id of volumes"),
    Step(64, ("encryption_key",), "encryption_key_id of encrypted volumes"),
    Step(65, ("consumes_quota",), "consumes_quota of volumes and snapshots"),
    Step(69, ("shared_targets_null",), "shared_targets may be null"),
    Step(71, (), "os-extend_volume_completion"),
)

_SINCE: Final = {flag: step.minor for step in STEPS for flag in step.flags}

MICROVERSIONS = Microversions(service_type="volume", minimum=Version(3, 0), maximum=Version(3, STEPS[-1].minor))


def has(version: Version, flag: str) -> bool:
    """Whether the difference `flag` holds in this version."""
    return version.minor >= _SINCE[flag]


def since(flag: str) -> str:
    """The microversion of a flag, for a route's `since`."""
    return f"3.{_SINCE[flag]}"
