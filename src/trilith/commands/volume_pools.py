"""Pools of volumes: what nodes say of them, and what of their room is promised."""

from __future__ import annotations

import sqlalchemy as sa

from trilith import errors
from trilith.model.node import Node
from trilith.model.volume import Volume, VolumePool
from trilith.placement.pools import PoolCandidate
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx


def pool_id(node: str, name: str) -> str:
    """NODE@BACKEND#POOL, as Cinder names a pool; a backend has one pool here."""
    return f"{node}@{name}#{name}"


def name_on_node(pool: str) -> str:
    """What the node itself calls it."""
    return pool.rpartition("#")[2]


def ensure(tx: Tx, node: Node) -> None:
    """The node's pools as its facts say. Idempotent. One that the node has no more stays, absent, with its volumes."""
    if node.facts is None:
        return
    known = {p.id: p for p in tx.select(VolumePool, node=node.name)}
    for facts in node.facts.pools:
        one = known.pop(pool_id(node.name, facts.name), None)
        said = {
            "driver": facts.driver, "total": facts.total, "free": facts.free, "shared": facts.shared,
            "capabilities": facts.capabilities, "zone": node.zone, "absent": False,
        }  # fmt: skip
        if one is None:
            tx.add(VolumePool(id=pool_id(node.name, facts.name), node=node.name, **said))  # type: ignore[arg-type]
        elif any(getattr(one, name) != value for name, value in said.items()):
            tx.change(one, **said)
    for one in known.values():
        if not one.absent:
            tx.change(one, absent=True)


def candidates(reader: Reader, ratio: float) -> list[PoolCandidate]:
    """ratio: how often the size of a thin pool may be promised."""
    alive = {n.name for n in reader.select(Node, alive=True)}
    return [
        PoolCandidate(
            name=p.id, backend=p.backend, driver=p.driver, zone=p.zone, total=p.total, free=p.free, promised=p.promised,
            capabilities=frozenset(p.capabilities) | ({"shared"} if p.shared else set()), ratio=ratio,
            enabled=p.enabled, alive=p.node in alive and not p.absent,
        )
        for p in reader.select(VolumePool)
    ]  # fmt: skip


def promise(tx: Tx, pool: str, gib: int, ratio: float) -> None:
    """Count the GiB as promised, less than none to give back. Raises Conflict when the pool has not that much left: the
    room is compared in the UPDATE itself, so that two promises never meet on the last of it."""
    t = REGISTRY[VolumePool].table
    where = [t.c.id == pool]
    if gib > 0:
        found = tx.get(VolumePool, pool)
        most = int(found.total * (ratio if "thin" in found.capabilities else 1.0))
        where.append(t.c.promised + gib <= most)
    done = tx.conn.execute(sa.update(t).where(*where).values(promised=t.c.promised + gib))
    if done.rowcount != 1 and gib > 0:
        raise errors.Conflict(
            f"Pool {pool} has no room for {gib} GiB more.",
            hint="Delete volumes in it, give it more room, or choose a type that other pools can serve.",
        )


def give_back(tx: Tx, volume: Volume) -> None:
    """What the volume was promised. Nothing for one without a pool."""
    if volume.pool:
        promise(tx, volume.pool, -volume.size, 1.0)
