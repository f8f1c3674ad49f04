"""The one table of job kinds."""

from __future__ import annotations

from trilith.jobs.image_cache import CACHE
from trilith.jobs.image_import import IMPORT
from trilith.jobs.image_location import LOCATION
from trilith.jobs.image_prepare import PREPARE
from trilith.jobs.kind import Kind
from trilith.jobs.server_create import CREATE
from trilith.jobs.server_delete import DELETE
from trilith.jobs.server_live import EVACUATE, LIVE_MIGRATE
from trilith.jobs.server_migrate import MIGRATE
from trilith.jobs.server_ports import ATTACH_PORT, DETACH_PORT, INJECT_NETWORK
from trilith.jobs.server_power import POWER_KINDS
from trilith.jobs.server_rebuild import REBUILD
from trilith.jobs.server_rescue import PASSWORD, RESCUE, UNRESCUE
from trilith.jobs.server_resize import RESIZE
from trilith.jobs.server_settle import CONFIRM, REVERT
from trilith.jobs.server_shelve import OFFLOAD, SHELVE, UNSHELVE
from trilith.jobs.server_snapshot import BACKUP, SNAPSHOT
from trilith.jobs.volumes import VOLUME_KINDS

_ALL = (
    CREATE, DELETE, *POWER_KINDS, REBUILD, RESIZE, MIGRATE, CONFIRM, REVERT, LIVE_MIGRATE, EVACUATE, SNAPSHOT, BACKUP,
    SHELVE, OFFLOAD, UNSHELVE, RESCUE, UNRESCUE, PASSWORD, ATTACH_PORT, DETACH_PORT, INJECT_NETWORK,
    PREPARE, IMPORT, LOCATION, CACHE, *VOLUME_KINDS,
)  # fmt: skip

KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}
