"""Figures of pillars, as a node's own measurement found them: kept, read as the advisor takes them, forgotten."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from trilith import errors
from trilith.model.figures import Figures, MeasuredHost
from trilith.model.guest import Pillar
from trilith.model.node import Node
from trilith.model.pillar_figures import GuestKind, Measured, PillarFigures, figures_of
from trilith.store.tx import Reader, Tx, new_id


def keep(
    tx: Tx,
    *,
    node: str,
    pillar: Pillar,
    guest: GuestKind,
    emulated: bool,
    about: str,
    host: MeasuredHost,
    measured: tuple[Measured, ...],
    left_out: dict[str, str],
) -> PillarFigures:
    """In place of what was kept of the node's guests of this kind. Raises Missing for the node, Invalid for a pillar
    that it has not and for numbers that are none."""
    found = tx.first(Node, name=node)
    if found is None:
        raise errors.Missing(f"There is no node {node}.", hint="`trilith top` shows the nodes.")
    has = found.facts.pillars if found.facts is not None else ()
    if pillar not in has:
        raise errors.Invalid(f"The node {node} runs {', '.join(has) or 'nothing'}, not {pillar}.", field="pillar")
    names = [one.name for one in measured]
    if len(set(names)) < len(names):
        raise errors.Invalid("A figure is given twice.", field="measured")
    fresh = PillarFigures(
        id=new_id(), node=node, pillar=pillar, guest=guest, emulated=emulated, about=about, host=host,
        measured=measured, left_out=left_out, measured_at=tx.now,
    )  # fmt: skip
    for one in measured:
        fresh.figure(one)
        if one.bare_process is not None:
            fresh.figure(replace(one, guest=one.bare_process))
    known = tx.first(PillarFigures, node=node, pillar=pillar, guest=guest, emulated=emulated)
    if known is None:
        return tx.add(fresh)
    return tx.change(known, about=about, host=host, measured=measured, left_out=left_out, measured_at=fresh.measured_at)


def kept(reader: Reader, node: str = "") -> list[PillarFigures]:
    """All, or one node's; by node, pillar and kind of guest."""
    found = reader.select(PillarFigures, node=node) if node else reader.select(PillarFigures)
    return sorted(found, key=lambda f: (f.node, f.pillar, f.emulated, f.guest))


def of_node(reader: Reader, node: str) -> Figures | None:
    """What the advisor takes in place of the shipped defaults; None where the node was not measured."""
    return figures_of(kept(reader, node))


def of_nodes(reader: Reader, nodes: Iterable[str] | None = None) -> dict[str, Figures]:
    """Node → its figures, of those that were measured."""
    wanted = None if nodes is None else set(nodes)
    rows: dict[str, list[PillarFigures]] = {}
    for row in reader.select(PillarFigures):
        if wanted is None or row.node in wanted:
            rows.setdefault(row.node, []).append(row)
    return {node: found for node, some in sorted(rows.items()) if (found := figures_of(some)) is not None}


def forget(tx: Tx, node: str) -> None:
    """All of one node; none is success."""
    tx.remove_where(PillarFigures, node=node)
