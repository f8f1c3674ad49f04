"""Figures: what is measured replaces what is published, and what ran under emulation stands for nothing."""

from __future__ import annotations

from typing import Any

import pytest

from trilith import errors
from trilith.model.figures import Figure, FigureName, Figures, best_of
from trilith.model.guest import Pillar

START = FigureName.START_TO_FIRST_ANSWER


def figure(pillar: Pillar, value: float, **changed: Any) -> Figure:
    given = {"name": START, "unit": "ms", "low": value, "high": value, "samples": 0, "source": "a paper"} | changed
    return Figure(pillar=pillar, value=value, **given)


DEFAULTS = Figures(figures=(figure(Pillar.LXC, 800), figure(Pillar.KVM, 3500)))


def test_a_measured_figure_replaces_the_default_and_says_so() -> None:
    measured = figure(Pillar.LXC, 90, low=80, high=120, samples=20, source="measured here")
    best = best_of(Figures(figures=(measured,), measured_at=5.0), DEFAULTS)
    assert best.of(START, Pillar.LXC) == measured
    assert best.of(START, Pillar.KVM) == DEFAULTS.figures[1]
    assert best.measured_at == 5.0
    lxc = next(u for u in best.used if u.pillar is Pillar.LXC)
    assert (lxc.figure, lxc.instead_of) == (measured, DEFAULTS.figures[0])
    assert next(u for u in best.used if u.pillar is Pillar.KVM).instead_of is None


def test_emulation_is_reported_and_never_reckoned_with() -> None:
    slow = figure(Pillar.KVM, 40_000, samples=3, emulated=True, source="measured here")
    best = best_of(Figures(figures=(slow,)), DEFAULTS)
    assert best.of(START, Pillar.KVM) == DEFAULTS.figures[1]
    assert best.emulated(START, Pillar.KVM) == slow
    used = next(u for u in best.used if u.pillar is Pillar.KVM)
    assert used.unused == slow
    assert "emulation" in used.why
    assert best_of(Figures(figures=(slow,)), Figures()).of(START, Pillar.KVM) is None


def test_nothing_measured_leaves_the_defaults() -> None:
    assert {f.pillar for f in best_of(None, DEFAULTS).figures} == {Pillar.LXC, Pillar.KVM}


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"unit": "s"}, "unit"),
        ({"low": 900.0}, "value"),
        ({"high": 1.0}, "value"),
        ({"low": -1.0}, "value"),
        ({"high": float("inf")}, "value"),
        ({"samples": -1}, "samples"),
    ],
)
def test_a_figure_that_contradicts_itself_is_refused(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(errors.Invalid) as caught:
        figure(Pillar.LXC, 800.0, **changed)
    assert caught.value.field == field
