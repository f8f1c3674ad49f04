"""What a build gives back, and how it says how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: what is being done now, and the part done of the whole (0.0 to 1.0)
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """One blob, complete and on disk. `properties` are image properties in Glance's own names (os_distro …).

    min_disk_gib, min_ram_mib: what a server from it needs whatever runs it; Nova's API refuses smaller flavors. A
    machine needs more memory than a container: property `trilith_machine_min_ram` (MiB), for placement.
    """

    name: str
    path: Path
    disk_format: str
    sha256: str
    properties: dict[str, str]
    min_disk_gib: int
    min_ram_mib: int
