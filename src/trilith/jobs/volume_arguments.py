"""Arguments of the jobs of volumes."""

from __future__ import annotations

import msgspec


class Create(msgspec.Struct, frozen=True):
    """ratio: how often the size of a thin pool may be promised."""

    ratio: float = 1.0


class Extend(msgspec.Struct, frozen=True):
    """size, before: GiB. The project's quota and the pool's room were counted when it was asked for."""

    size: int
    before: int


class Nothing(msgspec.Struct, frozen=True):
    """No arguments."""


class Revert(msgspec.Struct, frozen=True):
    snapshot_id: str
