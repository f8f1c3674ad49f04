"""The one table of job kinds."""

from __future__ import annotations

from trilith.jobs.image_import import IMPORT
from trilith.jobs.kind import Kind
from trilith.jobs.server_create import CREATE
from trilith.jobs.server_delete import DELETE
from trilith.jobs.server_ports import ATTACH_PORT, DETACH_PORT
from trilith.jobs.server_power import POWER_KINDS
from trilith.jobs.server_rebuild import REBUILD
from trilith.jobs.server_resize import CONFIRM, RESIZE, REVERT
from trilith.jobs.server_snapshot import SNAPSHOT

_ALL = (CREATE, DELETE, *POWER_KINDS, REBUILD, RESIZE, CONFIRM, REVERT, SNAPSHOT, ATTACH_PORT, DETACH_PORT, IMPORT)

KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}
