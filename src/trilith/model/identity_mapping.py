"""Mapping rules of federation: from what an identity provider says of a person to who that is here.

The language is Keystone's (its mapping combinations): `remote` says what must hold of the assertion, `local` what
follows, with {0}, {1} … for the values of those requirements that name no values to compare with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from trilith import errors

#: what a provider says: attribute → its values
Assertion = Mapping[str, Sequence[str]]
Text = Annotated[str, Meta(min_length=1, max_length=255)]
Texts = Annotated[list[str], Meta(max_length=256)]
_PLACE = re.compile(r"\{(\d{1,3})\}")


class DomainRule(Struct, forbid_unknown_fields=True):
    id: Text | None = None
    name: Text | None = None


class UserRule(Struct, forbid_unknown_fields=True):
    id: Text | None = None
    name: Text | None = None
    email: Text | None = None
    domain: DomainRule | None = None
    type: Literal["ephemeral", "local"] = "ephemeral"


class GroupRule(Struct, forbid_unknown_fields=True):
    id: Text | None = None
    name: Text | None = None
    domain: DomainRule | None = None


class RoleRule(Struct, forbid_unknown_fields=True):
    name: Text


class ProjectRule(Struct, forbid_unknown_fields=True):
    name: Text
    roles: Annotated[list[RoleRule], Meta(min_length=1, max_length=64)]
    domain: DomainRule | None = None


class LocalRule(Struct, forbid_unknown_fields=True):
    """groups: names, of domain. group_ids: ids. Both are one text with a place for the values."""

    user: UserRule | None = None
    group: GroupRule | None = None
    groups: Text | None = None
    group_ids: Text | None = None
    domain: DomainRule | None = None
    projects: Annotated[list[ProjectRule], Meta(max_length=64)] | None = None


class RemoteRule(Struct, forbid_unknown_fields=True):
    """any_one_of and not_any_of compare; whitelist and blacklist let values through to a place; none of them: all."""

    type: Text
    any_one_of: Texts | None = None
    not_any_of: Texts | None = None
    whitelist: Texts | None = None
    blacklist: Texts | None = None
    regex: bool = False


class Rule(Struct, forbid_unknown_fields=True):
    local: Annotated[list[LocalRule], Meta(max_length=64)]
    remote: Annotated[list[RemoteRule], Meta(min_length=1, max_length=64)]


Rules = Annotated[list[Rule], Meta(min_length=1, max_length=256)]


@dataclass(frozen=True, slots=True)
class MappedGroup:
    """By id, or by name in a domain (of which id or name is set)."""

    id: str = ""
    name: str = ""
    domain_id: str = ""
    domain_name: str = ""


@dataclass(frozen=True, slots=True)
class MappedProject:
    name: str
    roles: tuple[str, ...]
    domain_id: str = ""
    domain_name: str = ""


@dataclass(frozen=True, slots=True)
class Mapped:
    """Who it is. local: a user that there is already. id and name are never both empty."""

    id: str
    name: str
    email: str = ""
    domain_id: str = ""
    domain_name: str = ""
    local: bool = False
    groups: tuple[MappedGroup, ...] = ()
    projects: tuple[MappedProject, ...] = ()


def parse_rules(given: Any) -> list[Rule]:
    """Raises Invalid for what is no rule, and for rules that could never mean anything."""
    try:
        rules = msgspec.convert(given, Rules)
    except msgspec.ValidationError as err:
        raise errors.Invalid(f"The rules of a mapping: {err}.", field="rules") from err
    for rule in rules:
        for remote in rule.remote:
            _check_remote(remote)
        for local in rule.local:
            _check_local(local)
    return rules


def _check_remote(remote: RemoteRule) -> None:
    compared = [n for n in ("any_one_of", "not_any_of", "whitelist", "blacklist") if getattr(remote, n) is not None]
    if len(compared) > 1:
        raise errors.Invalid(f"A remote rule may have one of {' and '.join(compared)}.", field="rules")
    if not remote.regex:
        return
    for name in compared:
        for pattern in getattr(remote, name):
            try:
                re.compile(pattern)
            except re.error as err:
                raise errors.Invalid(f"{pattern!r} is no regular expression: {err}.", field="rules") from err


def _check_local(local: LocalRule) -> None:
    if local.group is not None and local.group.id is None:
        domain = local.group.domain
        if local.group.name is None or domain is None or (domain.id is None and domain.name is None):
            raise errors.Invalid("A local group needs its id, or its name and domain.", field="rules")
    if local.groups is not None and (local.domain is None or (local.domain.id is None and local.domain.name is None)):
        raise errors.Invalid("groups need a domain beside them.", field="rules")


@dataclass(slots=True)
class _Found:
    user: UserRule | None = None
    places: list[tuple[str, ...]] = field(default_factory=list)
    groups: list[MappedGroup] = field(default_factory=list)
    projects: list[MappedProject] = field(default_factory=list)


def apply(rules: Sequence[Rule], assertion: Assertion) -> Mapped | None:
    """Who the assertion is of, by all rules whose requirements hold; None when none of them tells of a user."""
    found = _Found()
    for rule in rules:
        places = _places(rule.remote, assertion)
        if places is None:
            continue
        for local in rule.local:
            _follow(local, places, found)
    if found.user is None:
        return None
    user, places = found.user, found.places
    id, name = _fill(user.id, places), _fill(user.name, places)
    if not id and not name:
        return None
    domain = user.domain or DomainRule()
    return Mapped(
        id=id,
        name=name,
        email=_fill(user.email, places),
        domain_id=_fill(domain.id, places),
        domain_name=_fill(domain.name, places),
        local=user.type == "local",
        groups=tuple(dict.fromkeys(found.groups)),
        projects=tuple(dict.fromkeys(found.projects)),
    )


def _follow(local: LocalRule, places: list[tuple[str, ...]], found: _Found) -> None:
    if local.user is not None and found.user is None:
        found.user, found.places = local.user, places
    domain = local.domain or DomainRule()
    if local.group is not None:
        of = local.group.domain or DomainRule()
        group = MappedGroup(
            _fill(local.group.id, places),
            _fill(local.group.name, places),
            _fill(of.id, places),
            _fill(of.name, places),
        )
        found.groups.append(group)
    for name in _fill_each(local.groups, places):
        found.groups.append(MappedGroup("", name, _fill(domain.id, places), _fill(domain.name, places)))
    found.groups.extend(MappedGroup(id) for id in _fill_each(local.group_ids, places))
    for project in local.projects or ():
        of = project.domain or DomainRule()
        roles = tuple(_fill(r.name, places) for r in project.roles)
        found.projects.append(
            MappedProject(_fill(project.name, places), roles, _fill(of.id, places), _fill(of.name, places))
        )


def _places(remotes: Sequence[RemoteRule], assertion: Assertion) -> list[tuple[str, ...]] | None:
    """The values for {0}, {1} …; None when a requirement does not hold."""
    places: list[tuple[str, ...]] = []
    for remote in remotes:
        values = tuple(assertion.get(remote.type, ()))
        if not values:
            return None
        if remote.any_one_of is not None:
            if not any(_matches(v, remote.any_one_of, remote.regex) for v in values):
                return None
        elif remote.not_any_of is not None:
            if any(_matches(v, remote.not_any_of, remote.regex) for v in values):
                return None
        elif remote.whitelist is not None:
            places.append(tuple(v for v in values if _matches(v, remote.whitelist, remote.regex)))
        elif remote.blacklist is not None:
            places.append(tuple(v for v in values if not _matches(v, remote.blacklist, remote.regex)))
        else:
            places.append(values)
    return places


def _matches(value: str, among: Sequence[str], regex: bool) -> bool:
    return any(re.search(p, value) for p in among) if regex else value in among


def _fill(text: str | None, places: list[tuple[str, ...]]) -> str:
    """Several values in one place are joined by a semicolon. A place that there is not stays empty."""

    def value(found: re.Match[str]) -> str:
        number = int(found[1])
        return ";".join(places[number]) if number < len(places) else ""

    return _PLACE.sub(value, text or "")


def _fill_each(text: str | None, places: list[tuple[str, ...]]) -> list[str]:
    """A text a value: of the one place that it is, or of all that a semicolon parts."""
    return [part for part in _fill(text, places).split(";") if part]
