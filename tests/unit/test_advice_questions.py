"""The questions at the terminal: skipped, answered wrongly and again, in both languages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from trilith.cli import questions
from trilith.placement.advisor.demands import DEMANDS
from trilith.placement.advisor.workload_file import workload_of_fields


def asked(
    monkeypatch: pytest.MonkeyPatch, answers: list[str], language: str = "en"
) -> tuple[dict[str, Any], list[str]]:
    said: list[str] = []
    given: Iterator[str] = iter(answers)

    def prompt(question: str, **_how: Any) -> str:
        said.append(question)
        return next(given, "")

    monkeypatch.setattr(questions.typer, "prompt", prompt)
    return questions.ask(language), said


def test_every_demand_is_asked_about_in_one_room() -> None:
    names = [n for _, _, names in questions.ROOMS for n in names]
    assert sorted(names) == sorted(d.name for d in DEMANDS)


def test_nothing_said_is_nothing_demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    found, said = asked(monkeypatch, [])
    assert found == {}
    assert len(said) == 1 + len(questions.ROOMS)


def test_a_room_is_gone_through_and_a_wrong_answer_asked_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = ["shop", "y", "mainframe", "micro-services", "edge", "many", "12", "", "n"]
    found, _ = asked(monkeypatch, answers)
    assert found == {"title": "shop", "application": "micro-services", "site": "edge", "nodes": 12}
    told = capsys.readouterr()
    assert told.out == ""
    assert "micro-services" in told.err
    assert "nodes is 'many'" in told.err
    assert workload_of_fields(found).nodes == 12


def test_amounts_keep_their_unit_and_flags_are_yes_or_no(monkeypatch: pytest.MonkeyPatch) -> None:
    room = next(i for i, (_, _, names) in enumerate(questions.ROOMS) if "start_within" in names)
    found, _ = asked(monkeypatch, [""] + ["n"] * room + ["y", "50", "50 ms"])
    assert found == {"start_within": "50 ms"}
    state = next(i for i, (_, _, names) in enumerate(questions.ROOMS) if "stateful" in names)
    found, said = asked(monkeypatch, [""] + ["n"] * state + ["y", "是", "no"], "zh")
    assert found == {"stateful": True, "live_migration": False}
    assert "有状态" in said[state + 2]
