"""Images that Trilith builds itself, each ONE blob (a compressed tar, ids from 0) for containers and VMs alike."""

from __future__ import annotations

from trilith.images.build import NAMES, build
from trilith.images.result import BuiltImage, Progress

__all__ = ["NAMES", "BuiltImage", "Progress", "build"]
