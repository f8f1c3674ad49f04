"""Decisions of the policies: what they depend on, and that a kept one is never another's."""

from __future__ import annotations

from pathlib import Path

import pytest

from trilith import errors
from trilith.api.http.policies import Policies
from trilith.api.http.route import Policy, Service, plain_error
from trilith.model.record import Actor

RULES = (
    Policy("thing:show", "role:admin or (role:reader and project_id:%(project_id)s)"),
    Policy("thing:own", "user_id:%(user_id)s"),
)


def policies(state: Path) -> Policies:
    return Policies([Service("test", "/test", (), plain_error, policies=RULES)], state)


def actor(user: str = "u", project: str = "p", *roles: str) -> Actor:
    return Actor(user_id=user, project_id=project, roles=roles or ("reader",))


def test_each_decision_is_its_own(tmp_path: Path) -> None:
    rules = policies(tmp_path)
    for _ in range(2):  # made, then kept
        assert rules.check("test", "thing:show", actor(), {"project_id": "p"})
        assert not rules.check("test", "thing:show", actor(), {"project_id": "q"})
        assert not rules.check("test", "thing:show", actor("u", "q"), {"project_id": "p"})
        assert rules.check("test", "thing:show", actor("u", "q", "admin"), {"project_id": "p"})
        assert not rules.check("test", "thing:show", actor("u", "p", "member"), {})
        assert rules.check("test", "thing:own", actor(), {"user_id": "u"})
        assert not rules.check("test", "thing:own", actor("v"), {"user_id": "u"})
        assert rules.check("test", "thing:own", actor(), {"user_id": "u", "more": ["not", "hashable"]})
    with pytest.raises(errors.Forbidden):
        rules.enforce("test", "thing:show", actor(), {"project_id": "q"})
    with pytest.raises(errors.Bug):
        rules.check("test", "thing:none", actor(), {})


def test_a_file_that_changes_is_followed(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text('"thing:own": "role:owner"\n')
    rules = policies(tmp_path)
    assert not rules.check("test", "thing:own", actor(), {"user_id": "u"})
    (tmp_path / "policy.yaml").write_text('"thing:own": "role:reader or role:owner or role:other"\n')
    assert rules.check("test", "thing:own", actor(), {"user_id": "u"})


def test_so_many_are_kept_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trilith.api.http.policies._MOST_DECIDED", 3)
    rules = policies(tmp_path)
    for number in range(10):
        assert rules.check("test", "thing:own", actor(f"u{number}"), {"user_id": f"u{number}"})
        assert len(rules._decided) <= 3
