"""The one table of job kinds."""

from __future__ import annotations

from trilith.jobs.kind import Kind
from trilith.jobs.server_create import CREATE
from trilith.jobs.server_delete import DELETE
from trilith.jobs.server_power import POWER_KINDS

KINDS: dict[str, Kind] = {kind.name: kind for kind in (CREATE, DELETE, *POWER_KINDS)}
