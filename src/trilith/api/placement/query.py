"""Placement's query language: resources, required, member_of, in_tree, with and without a group's suffix."""

from __future__ import annotations

import re
from dataclasses import replace

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.placement.candidates import Question
from trilith.api.placement.layout import Wants
from trilith.api.placement.wire import BAD_VALUE, DUPLICATE_KEY, MISSING_VALUE, BadQuery, at_least, check_uuid
from trilith.commands import resource_providers as commands
from trilith.store.tx import Reader

_KINDS = "resources|required|member_of|in_tree"
_PLAIN_GROUP = re.compile(f"^({_KINDS})()$")
_NUMBERED = re.compile(f"^({_KINDS})([1-9][0-9]*)?$")
_NAMED = re.compile(f"^({_KINDS})([a-zA-Z0-9_-]{{1,64}})?$")
#: parameters of a group, and of the whole question, with the microversion that brought them
_GROUP = {"resources": "1.10", "required": "1.17", "member_of": "1.21", "in_tree": "1.31"}
_WHOLE = {"limit": "1.16", "group_policy": "1.25", "root_required": "1.35", "same_subtree": "1.36"}
_INVALID = "Invalid query string parameters"


def resources(text: str) -> dict[str, int]:
    """VCPU:2,MEMORY_MB:512. Raises BadQuery."""
    form = (
        "Badly formed resources parameter. Expected resources query string parameter in form: "
        "?resources=VCPU:2,MEMORY_MB:1024. Got: "
    )
    if not text.strip():
        raise BadQuery(f"{form}empty string.", field="resources")
    found: dict[str, int] = {}
    for item in text.split(","):
        name, colon, amount = item.partition(":")
        if not colon or ":" in amount:
            raise BadQuery(f"{form}{item}.", field="resources")
        digits = amount.strip().removeprefix("-")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
            raise BadQuery(
                f"Requested resource {name} expected positive integer amount. Got: {amount}.", field="resources"
            )
        if int(amount) < 1:
            raise BadQuery(f"Requested resource {name} requires amount >= 1. Got: {amount}.", field="resources")
        found[name] = int(amount)
    return found


def traits(call: Call, values: list[str]) -> Wants:
    """One `required` after the other: T (wanted), !T (forbidden, from 1.22 on), in:T1,T2 (one of them, from 1.39 on).

    Up to 1.38 only the last of several counts. Raises BadQuery.
    """
    forbids, any_of = at_least(call, "1.22"), at_least(call, "1.39")
    form = "HW_CPU_X86_VMX,!CUSTOM_MAGIC" if forbids else "HW_CPU_X86_VMX,CUSTOM_MAGIC"
    required: list[frozenset[str]] = []
    forbidden: set[str] = set()
    for text in values if any_of else values[-1:]:
        if text.startswith("in:"):
            required.append(_one_of(text, any_of=any_of))
            continue
        for item in (item.strip() for item in text.split(",")):
            unwanted = item.startswith("!")
            name = item.lstrip("!")
            if not name:
                raise BadQuery(
                    f"{_INVALID}: Expected 'required' parameter value of the form: {form}. "
                    f"Got an empty trait in: {text}",
                    field="required",
                )
            if unwanted and not forbids:
                raise BadQuery(
                    f"{_INVALID}: Expected 'required' parameter value of the form: {form}. Got: {text}",
                    field="required",
                )
            if unwanted:
                forbidden.add(name)
            else:
                required.append(frozenset({name}))
    return Wants(required=tuple(required), forbidden=frozenset(forbidden))


def _one_of(text: str, *, any_of: bool) -> frozenset[str]:
    form = "in:HW_CPU_X86_VMX,CUSTOM_MAGIC"
    if not any_of:
        raise BadQuery(
            f"{_INVALID}: The format '{form}' only supported since microversion 1.39. Got: {text}", field="required"
        )
    names = frozenset(item.strip() for item in text[3:].split(","))
    if "" in names:
        raise BadQuery(
            f"{_INVALID}: Expected 'required' parameter value of the form: {form}. Got an empty trait in: {text}",
            field="required",
        )
    if any(name.startswith("!") for name in names):
        raise BadQuery(
            f"{_INVALID}: The format '{form}' does not support forbidden traits. Got: {text}", field="required"
        )
    return names


def members(call: Call, values: list[str], suffix: str = "") -> Wants:
    """UUID, in:UUID,UUID, and !UUID or !in: (none of them, from 1.32 on). Raises BadQuery."""
    if len(values) > 1 and not at_least(call, "1.24"):
        raise BadQuery(f"Multiple member_of{suffix} parameters are not supported", field="member_of")
    wanted: list[frozenset[str]] = []
    unwanted: set[str] = set()
    for text in values:
        plain = text.removeprefix("!")
        if "," in text and not plain.startswith("in:"):
            raise BadQuery(
                "Multiple values for 'member_of' must be prefixed with the 'in:' or '!in:' keyword using the valid "
                f"microversion. Got: {text}",
                field="member_of",
            )
        found = frozenset(_aggregate(name) for name in plain.removeprefix("in:").split(","))
        if not text.startswith("!"):
            wanted.append(found)
        elif at_least(call, "1.32"):
            unwanted |= found
        else:
            raise BadQuery(
                f"Forbidden member_of{suffix} parameters are not supported in the specified microversion",
                field="member_of",
            )
    return Wants(member_of=tuple(wanted), not_member_of=frozenset(unwanted))


def _aggregate(text: str) -> str:
    try:
        return check_uuid(text)
    except errors.Invalid as err:
        raise BadQuery(
            f"{_INVALID}: Expected 'member_of' parameter to contain valid UUID(s). Got: {text}", field="member_of"
        ) from err


def check_names(reader: Reader, wants: list[Wants], traits_of: str = "") -> None:
    """Raises BadQuery for a class or trait that does not exist. traits_of: words before the missing traits."""
    classes = {name for w in wants for name in w.resources}
    unknown = classes - commands.known_classes(reader, classes)
    if unknown:
        raise BadQuery(
            f"Invalid resource class in resources parameter: No such resource class {', '.join(sorted(unknown))}.",
            field="resources",
        )
    names = {name for w in wants for group in (*w.required, w.forbidden) for name in group}
    unknown = names - commands.known_traits(reader, names)
    if unknown:
        raise BadQuery(f"{traits_of}No such trait(s): {', '.join(sorted(unknown))}.", field="required")


def question(call: Call) -> tuple[Question, int]:
    """The question of GET /allocation_candidates, and its limit (0: none). Raises BadQuery."""
    raw, whole = _sorted_out(call)
    subtrees = tuple(_suffixes(value) for value in whole.get("same_subtree", ()))
    groups = {suffix: _group(call, suffix, given) for suffix, given in sorted(raw.items())}
    if at_least(call, "1.36"):
        _check_resourceless(groups, frozenset().union(*subtrees))
    else:
        _check_orphans(groups)
    clashes = [
        f"required{suffix}: ({', '.join(sorted(any_of))})"
        for suffix, wants in groups.items()
        for any_of in wants.required
        if any_of <= wants.forbidden
    ]
    if clashes:
        raise BadQuery(
            f"Conflicting required and forbidden traits found in the following traits keys: {', '.join(clashes)}",
            field="required",
        )
    policy = whole.get("group_policy", [""])[0]
    if policy not in ("", "none", "isolate"):
        raise BadQuery(f"{_INVALID}: '{policy}' is not one of ['none', 'isolate']", field="group_policy")
    if sum(1 for suffix in groups if suffix) > 1 and not policy:
        raise BadQuery(
            'The "group_policy" parameter is required when specifying more than one "resources{N}" parameter.',
            field="group_policy",
        )
    asked = Question(
        groups,
        isolate=policy == "isolate",
        root_required=_root(call, whole.get("root_required", [])),
        same_subtree=subtrees,
        nested=at_least(call, "1.29"),
    )
    return asked, _limit(whole.get("limit", []))


def _sorted_out(call: Call) -> tuple[dict[str, dict[str, list[str]]], dict[str, list[str]]]:
    """suffix → parameter → values, and those of the whole question. Raises BadQuery for an unknown one."""
    form = _NAMED if at_least(call, "1.33") else _NUMBERED if at_least(call, "1.25") else _PLAIN_GROUP
    raw: dict[str, dict[str, list[str]]] = {}
    whole: dict[str, list[str]] = {}
    for name, value in call.query:
        match = form.match(name)
        if match and at_least(call, _GROUP[match[1]]):
            raw.setdefault(match[2] or "", {}).setdefault(match[1], []).append(value)
        elif name in _WHOLE and at_least(call, _WHOLE[name]):
            whole.setdefault(name, []).append(value)
        elif at_least(call, "1.25"):
            raise BadQuery(f"{_INVALID}: '{name}' does not match any of the regexes '{form.pattern}'", field=name)
        else:
            raise BadQuery(f"{_INVALID}: Additional properties are not allowed ('{name}' was unexpected)", field=name)
    if "resources" not in raw.get("", {}) and not at_least(call, "1.25"):
        raise BadQuery(f"{_INVALID}: 'resources' is a required property", field="resources")
    return raw, whole


def _suffixes(text: str) -> frozenset[str]:
    found = frozenset(item.strip() for item in text.split(","))
    if "" in found:
        raise BadQuery(
            "Empty string (unsuffixed group) can not be specified in `same_subtree`",
            reason=BAD_VALUE,
            field="same_subtree",
        )
    return found


def _check_resourceless(groups: dict[str, Wants], named: frozenset[str]) -> None:
    """From 1.36 on a group that same_subtree names needs no resources."""
    without = {suffix for suffix, wants in groups.items() if not wants.resources}
    if len(without) == len(groups):
        raise BadQuery(
            "There must be at least one resources or resources[$S] parameter.",
            reason=MISSING_VALUE,
            field="resources",
        )
    if lost := sorted(without - named):
        raise BadQuery(
            f"Resourceless suffixed group request should be specified in `same_subtree` query param: bad group(s) - "
            f"{lost}.",
            reason=BAD_VALUE,
        )
    if unknown := sorted(named - groups.keys()):
        raise BadQuery(
            f"Real suffixes should be specified in `same_subtree`: {unknown} not found in {sorted(groups)}.",
            reason=BAD_VALUE,
            field="same_subtree",
        )


def _check_orphans(groups: dict[str, Wants]) -> None:
    without = {suffix: wants for suffix, wants in groups.items() if not wants.resources}
    if orphans := [f"required{suffix}" for suffix, wants in without.items() if wants.required]:
        raise BadQuery(
            "All traits parameters must be associated with resources.  Found the following orphaned traits keys: "
            f"{', '.join(orphans)}"
        )
    orphans = [f"member_of{suffix}" for suffix, wants in without.items() if wants.member_of or wants.not_member_of]
    if orphans:
        raise BadQuery(
            "All member_of parameters must be associated with resources. Found the following orphaned member_of keys: "
            f"{', '.join(orphans)}"
        )
    if without:
        raise BadQuery("All request groups must specify resources.")
    if not groups:
        raise BadQuery("At least one request group (`resources` or `resources{$S}`) is required.")


def _root(call: Call, values: list[str]) -> Wants:
    if len(values) > 1:
        raise BadQuery(
            "Query parameter 'root_required' may be specified only once.", reason=DUPLICATE_KEY, field="root_required"
        )
    if values and values[0].startswith("in:"):
        _one_of(values[0], any_of=False)
    wants = traits(call, values)
    if clash := sorted(name for name in wants.forbidden if frozenset({name}) in wants.required):
        raise BadQuery(
            f"Conflicting required and forbidden traits found in root_required: {', '.join(clash)}",
            reason=BAD_VALUE,
            field="root_required",
        )
    return wants


def _limit(values: list[str]) -> int:
    """The first of several counts."""
    for text in values:
        if not re.fullmatch("[1-9][0-9]{0,17}", text):
            raise BadQuery(f"{_INVALID}: '{text}' does not match '^[1-9][0-9]*$'", field="limit")
    return int(values[0]) if values else 0


def _group(call: Call, suffix: str, given: dict[str, list[str]]) -> Wants:
    wants = filters(call, given, suffix)
    return replace(wants, resources=resources(given["resources"][-1]) if "resources" in given else {})


def filters(call: Call, given: dict[str, list[str]], suffix: str = "") -> Wants:
    """required, member_of and in_tree of one group."""
    wants = traits(call, given.get("required", []))
    aggregates = members(call, given.get("member_of", []), suffix)
    tree = given.get("in_tree", [""])[-1]
    try:
        tree = check_uuid(tree) if "in_tree" in given else ""
    except errors.Invalid as err:
        raise BadQuery(
            f"{_INVALID}: Expected 'in_tree' parameter to be a format of uuid. Got: {tree}", field="in_tree"
        ) from err
    return replace(wants, member_of=aggregates.member_of, not_member_of=aggregates.not_member_of, in_tree=tree)
