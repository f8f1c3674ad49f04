"""Quotas of images by Keystone's limits: in force for those that the image service has registered, no bound without.

Source of names, units and moments: Glance's guide "Per-Tenant Quotas". As there, data is refused when the project is
over its limit already; an upload that goes beyond it is the last one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from trilith import errors
from trilith.model.identity import Limit, RegisteredLimit, Service
from trilith.model.image import Image, ImageState
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

SIZE, STAGED, COUNT, UPLOADING = (
    "image_size_total",
    "image_stage_total",
    "image_count_total",
    "image_count_uploading",
)
_MIB = 1 << 20
_MOVING = (ImageState.SAVING, ImageState.UPLOADING, ImageState.IMPORTING)
_STAGED = (ImageState.UPLOADING, ImageState.IMPORTING)


@dataclass(frozen=True, slots=True)
class Usage:
    """Sizes in MiB, rounded up."""

    limit: int
    usage: int


def limits(reader: Reader, project_id: str) -> dict[str, int]:
    """The project's own ones, else the registered ones; -1 is no bound."""
    services = [s.id for s in reader.select(Service, type="image")]
    if not services:
        return {}
    rows = reader.select(RegisteredLimit, service_id=services, resource_name=list(_USED))
    if not rows:
        return {}
    own = {
        limit.registered_limit_id: limit.resource_limit
        for limit in reader.select(Limit, project_id=project_id, registered_limit_id=[r.id for r in rows])
    }
    # one of a region goes before one of all regions
    ordered = sorted(rows, key=lambda r: bool(r.region_id))
    return {row.resource_name: own.get(row.id, row.default_limit) for row in ordered}


def usage(reader: Reader, project_id: str) -> dict[str, Usage]:
    """Of what is limited."""
    return {name: Usage(limit, _USED[name](reader, project_id)) for name, limit in limits(reader, project_id).items()}


def check(reader: Reader, project_id: str, **wanted: int) -> None:
    """wanted: a limit's name → how much more of it. Raises TooLarge (HTTP 413)."""
    found = limits(reader, project_id)
    for name, more in wanted.items():
        limit = found.get(name, -1)
        if limit < 0:
            continue
        used = _USED[name](reader, project_id)
        if used + more > limit:
            raise errors.TooLarge(
                f"Project {project_id} is over a limit for {name}: {used} used, {more} requested, limit {limit}.",
                hint="Delete images, or have the operator raise the limit.",
            )


def _count(reader: Reader, project_id: str) -> int:
    return reader.count(Image, owner=project_id)


def _uploading(reader: Reader, project_id: str) -> int:
    return reader.count(Image, owner=project_id, state=list(_MOVING))


def _size(reader: Reader, project_id: str) -> int:
    """Each copy counts."""
    c = REGISTRY[Image].table.c
    rows = reader.conn.execute(sa.select(c.size, c.stores).where(c.owner == project_id, c.deleted_at == 0, c.size > 0))
    return sum(-(-size * len(stores) // _MIB) for size, stores in rows)


def _staged(reader: Reader, project_id: str) -> int:
    c = REGISTRY[Image].table.c
    rows = reader.conn.execute(
        sa.select(c.size).where(c.owner == project_id, c.deleted_at == 0, c.size > 0, c.state.in_(_STAGED))
    )
    return sum(-(-size // _MIB) for (size,) in rows)


_USED: dict[str, Callable[[Reader, str], int]] = {
    SIZE: _size,
    STAGED: _staged,
    COUNT: _count,
    UPLOADING: _uploading,
}
