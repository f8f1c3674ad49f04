"""Placement's query language: resources, required, member_of, in_tree, with and without a group's suffix."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.placement.candidates import Amounts, Provider, Question, Wants
from trilith.api.placement.wire import BadQuery, at_least, check_uuid
from trilith.commands import resource_providers as commands
from trilith.model.node import Inventory, ProviderAggregates, ProviderTraits, ResourceProvider
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

_GROUPED = re.compile(r"^(resources|required|member_of|in_tree)([1-9][0-9]*|_[a-zA-Z0-9_-]{1,63})?$")


def resources(text: str) -> dict[str, int]:
    """VCPU:2,MEMORY_MB:512. Raises BadQuery."""
    found: dict[str, int] = {}
    for item in text.split(","):
        name, colon, amount = item.strip().partition(":")
        if not colon or not name or not amount.isdigit() or not 0 < int(amount) <= 2147483647:
            raise BadQuery(
                "Badly formed resources parameter. Expected resources query string parameter in form: "
                f"?resources=VCPU:2,MEMORY_MB:1024. Got: {text}.",
                field="resources",
            )
        found[name] = int(amount)
    return found


def _traits(call: Call, values: list[str], *, any_of: bool) -> Wants:
    """One `required` after the other: T (wanted), !T (forbidden), in:T1,T2 (one of them, from 1.39 on)."""
    if len(values) > 1 and not any_of:
        values = values[-1:]
    required: list[frozenset[str]] = []
    forbidden: set[str] = set()
    for text in values:
        if text.startswith("in:"):
            if not any_of:
                raise BadQuery(
                    f"The format 'in:' is only supported since microversion 1.39. Got: {text}", field="required"
                )
            required.append(frozenset(_items(text[3:], "required")))
            continue
        for item in _items(text, "required"):
            if item.startswith("!") and at_least(call, "1.22"):
                forbidden.add(item[1:])
            else:
                required.append(frozenset({item}))
    wanted = frozenset().union(*required)
    if clash := [t for t in forbidden if frozenset({t}) in required]:
        raise BadQuery(f"Conflicting required and forbidden traits found: {', '.join(sorted(clash))}", field="required")
    names = wanted | forbidden
    for name in names:
        if not re.fullmatch("[A-Z0-9_]+", name):
            raise BadQuery(f"Invalid query string parameters: '{name}' is no name of a trait.", field="required")
    return Wants(required=tuple(required), forbidden=frozenset(forbidden))


def _items(text: str, field: str) -> list[str]:
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise BadQuery(f"Invalid query string parameters: empty value in {field}: '{text}'.", field=field)
    return items


def _members(call: Call, values: list[str]) -> Wants:
    """UUID, in:UUID,UUID, and !UUID or !in: (none of them, from 1.32 on). Raises BadQuery."""
    wanted: list[frozenset[str]] = []
    unwanted: set[str] = set()
    for text in values:
        negative = text.startswith("!") and at_least(call, "1.32")
        plain = text[1:] if negative else text
        listed = plain.startswith("in:")
        try:
            found = [check_uuid(u) for u in (_items(plain[3:], "member_of") if listed else [plain])]
        except errors.Invalid as err:
            raise BadQuery(
                f"Expected 'member_of' parameter to contain valid UUID(s). Got: {text}", field="member_of"
            ) from err
        if negative:
            unwanted |= set(found)
        else:
            wanted.append(frozenset(found))
    return Wants(member_of=tuple(wanted), not_member_of=frozenset(unwanted))


def check_names(reader: Reader, wants: list[Wants]) -> None:
    """Raises BadQuery for a class or trait that does not exist."""
    classes = {name for w in wants for name in w.resources}
    unknown = classes - commands.known_classes(reader, classes)
    if unknown:
        raise BadQuery(
            f"Invalid resource class in resources parameter: {', '.join(sorted(unknown))}", field="resources"
        )
    traits = {name for w in wants for group in (*w.required, w.forbidden) for name in group}
    unknown = traits - commands.known_traits(reader, traits)
    if unknown:
        raise BadQuery(f"No such trait(s): {', '.join(sorted(unknown))}.", field="required")


def question(call: Call) -> tuple[Question, int]:
    """The question of GET /allocation_candidates, and its limit. Raises BadQuery."""
    raw: dict[str, dict[str, list[str]]] = {}
    plain: dict[str, list[str]] = {}
    for name, value in call.query:
        match = _GROUPED.match(name)
        if match and (not match[2] or at_least(call, "1.25")):
            raw.setdefault(match[2] or "", {}).setdefault(match[1], []).append(value)
        elif name in _PLAIN and at_least(call, _PLAIN[name]):
            plain.setdefault(name, []).append(value)
        else:
            raise BadQuery(
                f"Invalid query string parameters: Additional properties are not allowed ('{name}' was unexpected)",
                field=name,
            )
    if not any("resources" in group for group in raw.values()):
        raise BadQuery(
            "Invalid query string parameters: 'resources' is a required property",
            reason="placement.query.missing_value",
            field="resources",
        )
    trees = tuple(frozenset(_items(v, "same_subtree")) for v in plain.get("same_subtree", ()))
    named = frozenset().union(*trees)
    groups = {suffix: _group(call, suffix, given, named) for suffix, given in sorted(raw.items())}
    if missing := named - groups.keys():
        raise BadQuery(f"Real suffixes should be specified in same_subtree: {', '.join(sorted(missing))}")
    policy = plain.get("group_policy", [""])[-1]
    if policy not in ("", "none", "isolate"):
        raise BadQuery(f"Invalid query string parameters: '{policy}' is not one of ['none', 'isolate']")
    granular = [s for s, wants in groups.items() if s and wants.resources]
    if len(granular) > 1 and not policy:
        raise BadQuery(
            'The "group_policy" parameter is required when specifying more than one "resources{N}" parameter.',
            reason="placement.query.missing_value",
            field="group_policy",
        )
    roots = _traits(call, plain.get("root_required", []), any_of=at_least(call, "1.39"))
    if any(len(one) > 1 for one in roots.required):
        raise BadQuery("root_required does not take 'in:'.", field="root_required")
    asked = Question(groups, isolate=policy == "isolate", root_required=roots, same_subtree=trees)
    return asked, _limit(plain.get("limit", [""])[-1])


_PLAIN = {"limit": "1.16", "group_policy": "1.25", "root_required": "1.35", "same_subtree": "1.36"}


def _limit(text: str) -> int:
    if text and (not text.isdigit() or int(text) < 1):
        raise BadQuery(f"Invalid query string parameters: '{text}' is no positive number.", field="limit")
    return int(text) if text else 0


def _group(call: Call, suffix: str, given: dict[str, list[str]], named: frozenset[str]) -> Wants:
    for name, since in (("required", "1.17"), ("member_of", "1.21"), ("in_tree", "1.31")):
        if name in given and not at_least(call, since):
            raise BadQuery(
                f"Invalid query string parameters: Additional properties are not allowed ('{name}' was unexpected)"
            )
    if "resources" not in given and suffix not in named:
        raise BadQuery(
            f"All traits and aggregates must be associated with resources: the group '{suffix}' has none.",
            reason="placement.query.missing_value",
        )
    wants = filters(call, given)
    return replace(wants, resources=resources(given["resources"][-1]) if "resources" in given else {})


def filters(call: Call, given: dict[str, list[str]]) -> Wants:
    """required, member_of and in_tree of one group."""
    members = given.get("member_of", [])
    if not at_least(call, "1.24"):
        members = members[-1:]
    traits, aggregates = (
        _traits(call, given.get("required", []), any_of=at_least(call, "1.39")),
        _members(call, members),
    )
    tree = given.get("in_tree", [""])[-1]
    try:
        tree = check_uuid(tree) if tree else ""
    except errors.Invalid as err:
        raise BadQuery(f"Expected 'in_tree' parameter to be a format of uuid. Got: {tree}", field="in_tree") from err
    return replace(traits, member_of=aggregates.member_of, not_member_of=aggregates.not_member_of, in_tree=tree)


def forest(reader: Reader, clause: Any = None) -> list[Provider]:
    """Providers as the search sees them, each of four tables read once."""
    t = REGISTRY[ResourceProvider].table
    where = [] if clause is None else [clause]
    rows = reader.conn.execute(sa.select(t.c.id, t.c.parent_id, t.c.root_id).where(*where).order_by(t.c.seq)).all()
    i = REGISTRY[Inventory].table.c
    columns = (i.provider_id, i.resource_class, i.total, i.reserved, i.min_unit, i.max_unit, i.step_size)
    held: dict[str, dict[str, Amounts]] = {}
    for p, rc, total, reserved, least, most, step, ratio, used in reader.conn.execute(
        sa.select(*columns, i.allocation_ratio, i.used)
    ):
        held.setdefault(p, {})[rc] = Amounts(int((total - reserved) * ratio), used, least, most, step)
    tt, ta = REGISTRY[ProviderTraits].table.c, REGISTRY[ProviderAggregates].table.c
    traits = {r.id: frozenset(r.traits) for r in reader.conn.execute(sa.select(tt.id, tt.traits))}
    aggregates = {r.id: frozenset(r.aggregates) for r in reader.conn.execute(sa.select(ta.id, ta.aggregates))}
    return [
        Provider(
            r.id,
            r.parent_id,
            r.root_id,
            held.get(r.id, {}),
            traits.get(r.id, frozenset()),
            aggregates.get(r.id, frozenset()),
        )
        for r in rows
    ]


def providers(call: Call, reader: Reader) -> list[ResourceProvider]:
    """GET /resource_providers. Raises BadQuery."""
    c = REGISTRY[ResourceProvider].table.c
    where: list[sa.ColumnElement[bool]] = []
    if call.all("name"):
        where.append(c.name == call.one("name"))
    if call.all("uuid"):
        where.append(c.id == _uuid(call.one("uuid"), "uuid"))
    given = {name: call.all(name) for name in ("required", "member_of", "in_tree") if call.all(name)}
    wants = filters(call, given)
    if wants.in_tree:
        root = reader.find(ResourceProvider, wants.in_tree)
        where.append(c.root_id == (root.root_id if root else ""))
    amounts = resources(call.one("resources")) if call.all("resources") else {}
    if amounts or "required" in given or "member_of" in given:
        check_names(reader, [replace(wants, resources=amounts)])
        fine = [
            p.id
            for p in forest(reader)
            if wants.has_traits(p.traits)
            and wants.is_member(p.aggregates)
            and all(rc in p.inventories and p.inventories[rc].fits(n) for rc, n in amounts.items())
        ]
        where.append(c.id.in_(fine))
    return reader.select(ResourceProvider, *where)


def _uuid(text: str, field: str) -> str:
    try:
        return check_uuid(text)
    except errors.Invalid as err:
        raise BadQuery(
            f"Invalid query string parameters: Expected '{field}' to be a UUID. Got: {text}", field=field
        ) from err
