"""Which pillars a simulated node says that it has."""

from __future__ import annotations

from collections.abc import Sequence

from trilith import errors
from trilith.model.guest import Pillar


def pillars_of(nodes: Sequence[str], number: int) -> tuple[Pillar, ...]:
    """What the simulated node of this number, from 1, has. nodes: as the setting simulated_pillars. Raises Invalid."""
    known = " ".join(Pillar)
    if not nodes:
        raise errors.Invalid(
            "simulated_pillars: there is no entry.", hint=f"Known: {known}.", field="simulated_pillars"
        )
    entry = nodes[(number - 1) % len(nodes)]
    names = entry.split("+")
    wrong = [name for name in names if name not in tuple(Pillar)]
    if wrong or len(set(names)) < len(names):
        raise errors.Invalid(
            f"simulated_pillars: {entry!r} is not made of different pillars, joined by +.",
            hint=f"Known: {known}; an entry a node, as in kvm,xen,lxc+kvm.",
            field="simulated_pillars",
        )
    return tuple(Pillar(name) for name in names)
