"""Storage on this node: image artefacts and root disks."""

from __future__ import annotations

from trilith.drivers.storage.directory import DirStorage
from trilith.drivers.storage.forms import Limits

__all__ = ["DirStorage", "Limits"]
