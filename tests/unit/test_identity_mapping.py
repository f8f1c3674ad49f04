"""Mapping rules by themselves: what holds, what is let through to a place, and what is no rule."""

from __future__ import annotations

from typing import Any

import pytest

from trilith import errors
from trilith.model.identity_mapping import Mapped, MappedGroup, MappedProject, apply, parse_rules

ASSERTION = {
    "OIDC-sub": ("42",),
    "OIDC-name": ("Eve",),
    "OIDC-email": ("eve@example.org",),
    "OIDC-groups": ("staff", "admins", "guests"),
}


def run(local: list[dict[str, Any]], remote: list[dict[str, Any]], **assertion: tuple[str, ...]) -> Mapped | None:
    return apply(parse_rules([{"local": local, "remote": remote}]), {**ASSERTION, **assertion})


def test_a_user_of_the_assertions_own_words() -> None:
    local = [{"user": {"name": "{0}", "id": "{1}", "email": "{2}"}}]
    remote = [{"type": "OIDC-name"}, {"type": "OIDC-sub"}, {"type": "OIDC-email"}]
    assert run(local, remote) == Mapped(id="42", name="Eve", email="eve@example.org")


def test_what_compares_takes_no_place() -> None:
    local = [{"user": {"name": "{0}-{1}"}}]
    remote = [
        {"type": "OIDC-name"},
        {"type": "OIDC-groups", "any_one_of": ["staff"]},
        {"type": "OIDC-email"},
    ]
    found = run(local, remote)
    assert found is not None
    assert found.name == "Eve-eve@example.org"


@pytest.mark.parametrize(
    ("requirement", "holds"),
    [
        ({"any_one_of": ["staff", "x"]}, True),
        ({"any_one_of": ["sta"]}, False),
        ({"any_one_of": ["^sta"], "regex": True}, True),
        ({"not_any_of": ["x"]}, True),
        ({"not_any_of": ["guests"]}, False),
        ({"not_any_of": ["^gue"], "regex": True}, False),
    ],
)
def test_requirements(requirement: dict[str, Any], holds: bool) -> None:
    remote = [{"type": "OIDC-name"}, {"type": "OIDC-groups", **requirement}]
    assert (run([{"user": {"name": "{0}"}}], remote) is not None) is holds


@pytest.mark.parametrize(
    ("requirement", "names"),
    [
        ({}, ["staff", "admins", "guests"]),
        ({"whitelist": ["staff", "x"]}, ["staff"]),
        ({"blacklist": ["staff"]}, ["admins", "guests"]),
        ({"blacklist": ["s$"], "regex": True}, ["staff"]),
        ({"whitelist": ["x"]}, []),
    ],
)
def test_groups_by_the_values_that_are_let_through(requirement: dict[str, Any], names: list[str]) -> None:
    local = [{"user": {"name": "{0}"}}, {"groups": "{1}", "domain": {"name": "Default"}}]
    found = run(local, [{"type": "OIDC-name"}, {"type": "OIDC-groups", **requirement}])
    assert found is not None
    assert found.groups == tuple(MappedGroup(name=n, domain_name="Default") for n in names)


def test_all_rules_that_hold_add_up_and_the_first_user_counts() -> None:
    rules = parse_rules(
        [
            {"local": [{"group": {"id": "none"}}], "remote": [{"type": "absent"}]},
            {"local": [{"user": {"name": "{0}"}}, {"group": {"id": "g1"}}], "remote": [{"type": "OIDC-name"}]},
            {
                "local": [
                    {"user": {"name": "other"}},
                    {"group_ids": "{0}"},
                    {"projects": [{"name": "p-{0}", "roles": [{"name": "member"}]}]},
                ],
                "remote": [{"type": "OIDC-sub"}],
            },
        ]
    )
    found = apply(rules, ASSERTION)
    assert found is not None
    assert found.name == "Eve"
    assert found.groups == (MappedGroup("g1"), MappedGroup("42"))
    assert found.projects == (MappedProject("p-42", ("member",)),)
    assert apply(rules, {"other": ("x",)}) is None


def test_nobody_is_made_of_nothing() -> None:
    assert run([{"group": {"id": "g"}}], [{"type": "OIDC-name"}]) is None
    assert run([{"user": {"name": "{7}"}}], [{"type": "OIDC-name"}]) is None


@pytest.mark.parametrize(
    "rules",
    [
        [],
        "x",
        [{"local": []}],
        [{"local": [], "remote": []}],
        [{"local": [{"nosuch": 1}], "remote": [{"type": "x"}]}],
        [{"local": [], "remote": [{"type": "x", "any_one_of": ["a"], "not_any_of": ["b"]}]}],
        [{"local": [], "remote": [{"type": "x", "any_one_of": ["("], "regex": True}]}],
        [{"local": [{"groups": "{0}"}], "remote": [{"type": "x"}]}],
        [{"local": [{"group": {"name": "g"}}], "remote": [{"type": "x"}]}],
        [{"local": [{"user": {"name": "x", "type": "odd"}}], "remote": [{"type": "x"}]}],
    ],
)
def test_what_is_no_rule_is_refused(rules: Any) -> None:
    with pytest.raises(errors.Invalid):
        parse_rules(rules)
