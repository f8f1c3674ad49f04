"""The search behind allocation candidates: sharing, bounds, what is read, and that what is kept is never old."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from tests.api.conftest import ApiCloud
from tests.api.test_placement_api import Placement, allocation
from trilith.api.placement import candidates
from trilith.api.placement.candidates import Question
from trilith.api.placement.layout import SHARING, Amounts, Layout, Provider, Wants, lay_out
from trilith.store.tx import new_id


def laid_out(*providers: tuple[str, str, dict[str, int], set[str], set[str]]) -> tuple[Layout, list[int]]:
    """(id, parent, totals, traits, aggregates); nothing is used."""
    roots: dict[str, str] = {}
    made: list[Provider] = []
    used: list[int] = []
    for id, parent, totals, traits, groups in providers:
        roots[id] = roots[parent] if parent else id
        held = {}
        for name, total in totals.items():
            held[name] = Amounts(len(used), total, 1, total, 1)
            used.append(0)
        made.append(Provider(id, parent, roots[id], held, frozenset(traits), frozenset(groups)))
    return lay_out(made), used


def found(question: Question, layout: Layout, used: list[int], limit: int = 0) -> list[dict[str, dict[str, int]]]:
    made = candidates.find(question, layout, used, limit=limit)
    return [{p: dict(amounts) for p, amounts in c.allocations.items()} for c in made]


def test_what_is_shared_joins_trees_of_its_aggregate_and_no_others() -> None:
    layout, used = laid_out(
        ("host", "", {"CPU": 8}, set(), {"x"}),
        ("far", "", {"CPU": 8}, set(), {"y"}),
        ("disk", "", {"DISK": 100}, {SHARING}, {"x"}),
        ("disk2", "", {"DISK": 100}, {SHARING}, {"x", "z"}),
    )
    question = Question({"": Wants({"CPU": 1, "DISK": 10})})
    assert found(question, layout, used) == [
        {"host": {"CPU": 1}, "disk": {"DISK": 10}},
        {"host": {"CPU": 1}, "disk2": {"DISK": 10}},
    ]
    # what two sharing providers give together is one candidate, though it is reached from both
    alone = found(Question({"": Wants({"DISK": 10})}), layout, used)
    assert alone == [{"disk": {"DISK": 10}}, {"disk2": {"DISK": 10}}]
    used[2] = 95
    assert found(question, layout, used) == [{"host": {"CPU": 1}, "disk2": {"DISK": 10}}]


def test_groups_that_do_not_fit_beside_each_other_end_their_branch() -> None:
    layout, used = laid_out(("host", "", {"CPU": 8}, set(), set()), ("nic", "host", {"VF": 3}, set(), set()))
    pair = {"1": Wants({"VF": 2}), "2": Wants({"VF": 1})}
    assert found(Question(pair), layout, used) == [{"nic": {"VF": 3}}]
    assert found(Question(pair | {"3": Wants({"VF": 1})}), layout, used) == []
    assert found(Question(pair, isolate=True), layout, used) == []


def test_a_search_without_end_ends() -> None:
    nics = [(f"nic{n}", "host", {"VF": 64}, set(), set()) for n in range(16)]
    layout, used = laid_out(("host", "", {}, set(), set()), *nics)  # type: ignore[arg-type]
    groups = {str(n): Wants({"VF": 1}) for n in range(12)}
    assert 0 < len(candidates.find(Question(groups), layout, used)) <= candidates.MOST_IN_TREE
    # and the ways of isolated groups are found among 16 ** 12 combinations
    assert len(candidates.find(Question(groups, isolate=True), layout, used, limit=5)) == 5


def test_a_thousand_hosts_give_a_thousand_candidates_and_a_limit_stops() -> None:
    hosts = [(f"h{n}", "", {"CPU": 8, "RAM": 64}, {"FAST"} if n % 2 else set(), set()) for n in range(1000)]
    layout, used = laid_out(*hosts)  # type: ignore[arg-type]
    question = Question({"": Wants({"CPU": 2, "RAM": 4}), "1": Wants({"CPU": 6})})
    assert len(found(question, layout, used)) == 1000
    assert found(question, layout, used, limit=1) == [{"h0": {"CPU": 8, "RAM": 4}}]
    used[0] = 1
    fast = Question({"": Wants({"CPU": 8}, required=(frozenset({"FAST"}),))})
    assert len(found(fast, layout, used)) == 500
    assert found(question, layout, used, limit=1) == [{"h1": {"CPU": 8, "RAM": 4}}]


@contextmanager
def statements(cloud: ApiCloud) -> Iterator[list[str]]:
    """What the store's readers execute meanwhile."""
    seen: list[str] = []
    engine = cloud.store._reader_engine

    def note(_conn: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        seen.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
async def placement(cloud: ApiCloud) -> Placement:
    made = Placement(cloud, await cloud.token())
    await made("PUT", "/resource_classes/CUSTOM_A", ok=201)
    return made


async def test_the_number_of_statements_does_not_grow(cloud: ApiCloud, placement: Placement) -> None:
    ask = "/allocation_candidates?resources=CUSTOM_A:1&group_policy=none"
    counts: list[int] = []
    for size, groups in ((1, 1), (12, 1), (12, 8)):
        while len(await placement.candidates("resources=CUSTOM_A:1")) < size:
            await placement.provider(f"p-{new_id()}", CUSTOM_A=20)
        query = ask + "".join(f"&resources{n}=CUSTOM_A:1" for n in range(1, groups + 1))
        await placement("GET", query)
        with statements(cloud) as seen:
            await placement("GET", query)
        counts.append(sum("inventories" in text or "providers" in text for text in seen))
    assert counts == [1, 1, 1]


async def test_what_is_kept_is_never_old(placement: Placement) -> None:
    """Every kind of change shows in the next answer, also when as much goes as comes."""
    ask = "resources=CUSTOM_A:4"
    assert await placement.candidates(ask) == []
    one = await placement.provider("one", CUSTOM_A=4)
    share = {"resources": {"CUSTOM_A": 4}}
    assert await placement.candidates(ask) == [{one: share}]
    consumer = new_id()
    await placement("PUT", f"/allocations/{consumer}", allocation(None, **{one: {"CUSTOM_A": 1}}), ok=204)
    assert await placement.candidates(ask) == []
    await placement("DELETE", f"/allocations/{consumer}", ok=204)
    assert await placement.candidates(ask) == [{one: share}]
    two = await placement.provider("two")
    body = {"resource_class": "CUSTOM_A", "total": 4}
    await placement("DELETE", f"/resource_providers/{one}/inventories/CUSTOM_A", ok=204)
    await placement("POST", f"/resource_providers/{two}/inventories", body, ok=201)
    assert await placement.candidates(ask) == [{two: share}]
    await placement.traits(two, "HW_CPU_X86_VMX")
    assert await placement.candidates(f"{ask}&required=HW_CPU_X86_VMX") == [{two: share}]
    await placement.traits(two, "HW_CPU_X86_SVM")
    assert await placement.candidates(f"{ask}&required=HW_CPU_X86_VMX") == []
    group = new_id()
    old_form = [group]  # which leaves the provider's generation as it is
    await placement("PUT", f"/resource_providers/{two}/aggregates", old_form, v="1.18")
    assert await placement.candidates(f"{ask}&member_of={group}") == [{two: share}]
    three = await placement.provider("three")
    assert await placement.candidates(f"{ask}&in_tree={three}") == []
    await placement("PUT", f"/resource_providers/{two}", {"name": "two", "parent_provider_uuid": three})
    assert await placement.candidates(f"{ask}&in_tree={three}") == [{two: share}]
    await placement("PUT", "/resource_classes/CUSTOM_A", {"name": "CUSTOM_B"}, v="1.6")
    assert await placement.candidates("resources=CUSTOM_B:4") == [{two: {"resources": {"CUSTOM_B": 4}}}]
    await placement("DELETE", f"/resource_providers/{two}", ok=204)
    assert await placement.candidates("resources=CUSTOM_B:4") == []


async def test_a_reshape_is_held_against_what_it_makes(placement: Placement) -> None:
    root = await placement.provider("root", CUSTOM_A=10)
    child = await placement.provider("child", root)
    consumer = new_id()
    await placement("PUT", f"/allocations/{consumer}", allocation(None, **{root: {"CUSTOM_A": 8}}), ok=204)

    async def body(max_unit: int, provider: str = child) -> dict[str, Any]:
        stock = {"CUSTOM_A": {"total": 10, "max_unit": max_unit}}
        return {
            "inventories": {
                root: {"inventories": {}, "resource_provider_generation": await placement.generation(root)},
                provider: {"inventories": stock, "resource_provider_generation": 0},
            },
            "allocations": {consumer: allocation(1, **{child: {"CUSTOM_A": 8}})},
        }

    unknown = await placement("POST", "/reshaper", await body(10, new_id()), ok=400)
    assert unknown["errors"][0]["code"] == "placement.resource_provider.not_found"
    small = await placement("POST", "/reshaper", await body(4), ok=409)
    assert "max_unit 4" in small["errors"][0]["detail"]
    left = await body(10) | {"allocations": {}}
    assert (await placement("POST", "/reshaper", left, ok=409))["errors"][0]["code"] == "placement.inventory.inuse"
    await placement("POST", "/reshaper", await body(10), v="1.29", ok=404)
    before = await placement.generation(root)
    await placement("POST", "/reshaper", await body(10), ok=204)
    assert (await placement.generation(root), await placement.generation(child)) == (before + 1, 3)
    assert (await placement("GET", f"/resource_providers/{child}/usages"))["usages"] == {"CUSTOM_A": 8}
    # an amount that stays as it is is held against the inventory, too
    stock = {"CUSTOM_A": {"total": 10, "max_unit": 4}}
    shrunk = {"inventories": {child: {"inventories": stock, "resource_provider_generation": 3}},
              "allocations": {consumer: allocation(2, **{child: {"CUSTOM_A": 8}})}}  # fmt: skip
    await placement("POST", "/reshaper", shrunk, ok=409)
