"""Which of the nodes that fit is taken: spread while there is room, pack when it gets tight, keep proportions. Pure.

A node that runs out of memory with processors to spare has lost those processors. So the node is taken that is left
with its resources in the proportions of the whole cluster; first the emptiest of them, and from half of the room on
the fullest. docs/decisions/0019-packing.md has what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RESOURCES = ("VCPU", "MEMORY_MB", "DISK_GB")
#: of the scarcest resource's room, over all nodes that could serve: from here on nodes are packed
TIGHT = 0.5
SPREAD_ROOM, SPREAD_SHAPE = 1.0, 3.0
PACK_ROOM, PACK_SHAPE = -0.3, 1.0
#: each pillar that a node has and the server does not need is kept for those that do
SPARE = 0.5
#: a server of a soft group outweighs whatever room and shape say
GROUP = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """One node's part in the weighing. free, total: amounts by resource class, allocation ratio included. spare:
    pillars beyond the wanted one. pull: servers of the group here, negative where they repel."""

    name: str
    free: Mapping[str, float]
    total: Mapping[str, float]
    spare: int = 0
    pull: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """room: share left after the server, 0 to 1. shape: how far the resources are from the cluster's proportions, 0 is
    best. total decides, the highest wins."""

    room: float
    shape: float
    packed: bool
    total: float

    def __str__(self) -> str:
        return f"{self.total:.2f} ({self.room:.0%} left, proportion off by {self.shape:.0%})"


def weigh(needed: Mapping[str, float], able: Sequence[Room], fitting: Sequence[Room]) -> dict[str, Weight]:
    """name → weight of each fitting node.

    needed: amounts by resource class. able: every node that could serve such a server if it had room, the full ones
    too: their state says how tight the cluster is."""
    resources = [r for r in RESOURCES if sum(room.total.get(r, 0.0) for room in able) > 0]
    left = {r: _share_left(r, needed.get(r, 0.0), able) for r in resources}
    used = max((1 - share for share in left.values()), default=0.0)
    # an overcommitted resource never runs out, so its proportion is nobody's concern
    scarcity = {r: (1 - share) / used if used > 0 else 1.0 for r, share in left.items()}
    packed = used >= TIGHT
    return {room.name: _weight(room, needed, left, scarcity, packed=packed) for room in fitting}


def _share_left(resource: str, needed: float, able: Sequence[Room]) -> float:
    total = sum(room.total.get(resource, 0.0) for room in able)
    free = sum(min(room.free.get(resource, 0.0), room.total.get(resource, 0.0)) for room in able)
    return min(1.0, max(0.0, (free - needed) / total))


def _weight(
    room: Room, needed: Mapping[str, float], left: Mapping[str, float], scarcity: Mapping[str, float], *, packed: bool
) -> Weight:
    shares = {
        r: (room.free.get(r, 0.0) - needed.get(r, 0.0)) / total
        for r in left
        if (total := room.total.get(r, 0.0)) > 0
    }  # fmt: skip
    heft = sum(scarcity[r] for r in shares)
    mean = sum(scarcity[r] * share for r, share in shares.items()) / heft if heft else 0.0
    off = [scarcity[r] * (share - left[r]) for r, share in shares.items()]
    shape = max(off) - min(off) if off else 0.0
    by_room, by_shape = (PACK_ROOM, PACK_SHAPE) if packed else (SPREAD_ROOM, SPREAD_SHAPE)
    total = by_room * mean - by_shape * shape - SPARE * room.spare + GROUP * room.pull
    return Weight(room=mean, shape=shape, packed=packed, total=total)
