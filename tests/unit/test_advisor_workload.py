"""A workload's file and form: every demand is typed and bounded, and an error names the line and what is allowed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trilith import errors
from trilith.placement.advisor import quantity
from trilith.placement.advisor.demands import BY_NAME, DEMANDS, in_words
from trilith.placement.advisor.workload import Team, Workload
from trilith.placement.advisor.workload_file import fields_of, workload_of_fields, workload_of_yaml

FILE = """\
title: a shop
own_kernel: true          # its own
start_within: 50 ms
latency_us: 20
memory_per_guest: 1 GB
packet_rate: 1.5 Mpps
team: skilled
gpus: 0
nodes:
"""


def test_a_file_is_read_with_its_units() -> None:
    assert workload_of_yaml(FILE) == Workload(
        title="a shop",
        own_kernel=True,
        start_within_ms=50,
        latency_us=20,
        memory_per_guest_mib=954,  # rounded up
        packet_rate_pps=1_500_000,
        team=Team.SKILLED,
    )


def test_what_is_made_of_a_workload_makes_it_again() -> None:
    workload = workload_of_yaml(FILE)
    assert workload_of_fields({"title": "a shop", **fields_of(workload)}) == workload


def test_words_name_the_demand_and_its_value() -> None:
    workload = Workload(own_kernel=True, start_within_ms=1500, shared_kernel_allowed=False)
    names = ("own_kernel", "start_within", "shared_kernel_allowed")
    assert in_words(workload, names) == "own kernel, start within 1.5 s and no shared kernel"
    assert in_words(workload, names, chinese=True) == "自有内核、1.5 s 内启动 和 不允许共享内核"


@pytest.mark.parametrize(
    ("text", "line", "words", "allowed"),
    [
        ("title: a\nown_kernl: true", 2, "did you mean own_kernel?", "own_kernel, kernel_modules"),
        ("\n\nstart_within: 50 GiB", 3, "is a size, not a duration", "ns, us, µs, ms, s, min, h"),
        ("start_within: 50", 1, "without a unit", "with one of ns"),
        ("start_within: 2 h", 1, "start_within is '2 h'", "from 0.1 ms to 60 min"),
        ("start_within: 50 parsecs", 1, "no unit 'parsecs'", "ns, us, µs, ms, s, min, h."),
        ("start_within: fast", 1, "'fast' is no amount", "'50 ms'"),
        ("start_within_ms: 5 s", 1, "contradictory units", "a number in ms, or start_within with a unit"),
        ("start_within: 50 ms\nstart_within_ms: 5000", 2, "on line 1 are the same demand in two units", "once"),
        ("own_kernel: true\nown_kernel: false", 2, "already on line 1", "once"),
        ("own_kernel: 1", 1, "own_kernel is 1", "true or false"),
        ("team: clever", 1, "'clever'", "general, skilled, developers"),
        ("nodes: 1.5", 1, "nodes is 1.5", "a whole number from 1 to 100000"),
        ("nodes: .nan", 1, "nodes is nan", "a whole number"),
        ("nodes: -4", 1, "nodes is -4", "a whole number"),
        ("nodes: [1]", 1, "a list, not one value", ""),
        ("- nodes", 1, "a list, not a mapping", ""),
        ("a: 1\nb: [c", 2, "not YAML", "YAML 1.1"),
        ("nodes: 1\ntitle: \x01", 2, "unprintable", ""),
        ("nodes: 1\nteam: &x skilled", 2, "anchors and aliases", "the value itself"),
        ("nodes: 1\nteam: !!python/name:os.system x", 2, "tag", "values without tags"),
        ("nodes: 1\nteam: " + "[" * 30, 2, "nested too deep", "12 levels"),
        ("", 1, "empty", ""),
        ("nodes: 1\n---\nnodes: 2", 2, "single document", "one document"),
    ],
)
def test_an_error_names_the_line_and_what_is_allowed(text: str, line: int, words: str, allowed: str) -> None:
    with pytest.raises(errors.Invalid) as caught:
        workload_of_yaml(text, "shop.yaml")
    assert f"shop.yaml, line {line}: " in caught.value.message
    assert words in caught.value.message
    assert allowed in caught.value.hint


def test_a_long_file_is_not_read() -> None:
    with pytest.raises(errors.Invalid, match="characters"):
        workload_of_yaml("#" * 600_000)


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"start_within_ms": "5 s"}, "start_within_ms", "contradictory units"),
        ({"start_within": 5}, "start_within", "without a unit"),
        ({"start_within": "5 s", "start_within_ms": 5}, "start_within_ms", "same demand"),
        ({"colour": "red"}, "colour", "no demand 'colour'"),
        ({"own_kernel": "true"}, "own_kernel", "own_kernel is 'true'"),
        ({"title": "x" * 300}, "title", "200 characters"),
        ({"nodes": True}, "nodes", "nodes is True"),
        ({"gpus": {"a": 1}}, "gpus", "gpus is"),
        ({"latency_us": float("inf")}, "latency_us", "latency is inf"),
    ],
)
def test_a_forms_error_names_the_field(fields: dict[str, object], field: str, words: str) -> None:
    with pytest.raises(errors.Invalid, match=words) as caught:
        workload_of_fields(fields)
    assert caught.value.field == field


@settings(deadline=None)
@given(
    st.text(max_size=200) | st.lists(st.sampled_from([*BY_NAME, ": ", "5 ms", "\n", "[", "true", "- "])).map("".join)
)
def test_no_text_does_worse_than_an_error(text: str) -> None:
    message = ""
    try:
        workload_of_yaml(text)
    except errors.Invalid as error:
        message = error.message
    assert not message or "line " in message


@settings(deadline=None)
@given(st.floats(min_value=0.1, max_value=3.6e6), st.sampled_from(["us", "ms", "s"]))
def test_one_duration_in_any_unit_is_the_same(number: float, unit: str) -> None:
    scale = {"us": 1e3, "ms": 1.0, "s": 1e-3}[unit]
    written = f"{number * scale:.6f} {unit}"
    read = quantity.in_unit(written, quantity.Kind.DURATION, "ms")
    assert read == pytest.approx(number, rel=1e-2)


def test_every_demand_says_what_it_may_be() -> None:
    assert all(d.allowed and d.words and d.words_zh for d in DEMANDS)
    assert all(d.negative and d.negative_zh for d in DEMANDS if d.flag)
