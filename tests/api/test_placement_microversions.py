"""Placement's microversion history, 1.1 to 1.39: before each step the old form, from it on the new one."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.api.conftest import ApiCloud
from tests.api.test_placement_api import Placement, allocation
from trilith.store.tx import new_id

SHARES = "MISC_SHARES_VIA_AGGREGATE"


@pytest.fixture
async def placement(cloud: ApiCloud) -> Placement:
    made = Placement(cloud, await cloud.token())
    for name in ("CUSTOM_A", "CUSTOM_B"):
        await made("PUT", f"/resource_classes/{name}", ok=201)
    return made


async def raw(placement: Placement, method: str, path: str, body: Any = None, *, v: str = "1.39") -> httpx.Response:
    headers = placement.headers | {"OpenStack-API-Version": f"placement {v}"}
    return await placement.cloud.call(method, f"/placement{path}", headers, json=body)


def rels(provider: dict[str, Any]) -> list[str]:
    return [link["rel"] for link in provider["links"]]


async def aggregates(placement: Placement, id: str, *names: str) -> None:
    body = {"aggregates": list(names), "resource_provider_generation": await placement.generation(id)}
    await placement("PUT", f"/resource_providers/{id}/aggregates", body)


async def names(placement: Placement, query: str, *, v: str = "1.39") -> list[str]:
    found = await placement("GET", f"/resource_providers?{query}", v=v)
    return [p["name"] for p in found["resource_providers"]]


async def refusal(placement: Placement, path: str, *, v: str = "1.39") -> dict[str, Any]:
    problem: dict[str, Any] = (await placement("GET", path, v=v, ok=400))["errors"][0]
    return problem


async def test_1_1_aggregates_and_1_19_their_generation(placement: Placement) -> None:
    id, group = await placement.provider("p"), new_id()
    path = f"/resource_providers/{id}/aggregates"
    await placement("GET", path, v="1.0", ok=404)
    assert await placement("PUT", path, [group], v="1.1") == {"aggregates": [group]}
    assert await placement("GET", path, v="1.18") == {"aggregates": [group]}
    assert await placement.generation(id) == 0  # not raised by the old form
    assert (await placement("GET", path))["resource_provider_generation"] == 0
    await placement("PUT", path, [group], v="1.19", ok=400)
    body = {"aggregates": [group], "resource_provider_generation": 0}
    assert (await placement("PUT", path, body, v="1.19"))["resource_provider_generation"] == 1
    assert (await placement("PUT", path, body, ok=409))["errors"][0]["code"] == "placement.concurrent_update"
    await placement("PUT", path, {"aggregates": [group, group], "resource_provider_generation": 1}, ok=400)
    await placement("PUT", f"/resource_providers/{new_id()}/aggregates", {"aggregates": "no"}, ok=404)


async def test_1_2_custom_classes_renamed_until_1_6_and_put_from_1_7(placement: Placement) -> None:
    await placement("GET", "/resource_classes", v="1.1", ok=404)
    made = await raw(placement, "POST", "/resource_classes", {"name": "CUSTOM_OLD"}, v="1.2")
    assert (made.status_code, made.content) == (201, b"")
    assert made.headers["location"].endswith("/placement/resource_classes/CUSTOM_OLD")
    id = await placement.provider("p", CUSTOM_OLD=4)
    consumer = new_id()
    await placement("PUT", f"/allocations/{consumer}", allocation(None, **{id: {"CUSTOM_OLD": 1}}), ok=204)
    renamed = await placement("PUT", "/resource_classes/CUSTOM_OLD", {"name": "CUSTOM_NEW"}, v="1.6")
    assert renamed["name"] == "CUSTOM_NEW"
    await placement("GET", "/resource_classes/CUSTOM_OLD", ok=404)
    assert (await placement("GET", f"/resource_providers/{id}/usages"))["usages"] == {"CUSTOM_NEW": 1}
    assert await placement.candidates("resources=CUSTOM_NEW:1") == [{id: {"resources": {"CUSTOM_NEW": 1}}}]
    await placement("PUT", "/resource_classes/CUSTOM_NEW", {"name": "CUSTOM_A"}, v="1.6", ok=409)
    await placement("PUT", "/resource_classes/VCPU", {"name": "CUSTOM_C"}, v="1.6", ok=400)
    await placement("PUT", "/resource_classes/CUSTOM_NONE", {"name": "CUSTOM_C"}, v="1.6", ok=404)
    await placement("PUT", "/resource_classes/CUSTOM_C", v="1.7", ok=201)
    await placement("PUT", "/resource_classes/CUSTOM_C", v="1.7", ok=204)
    await placement("PUT", "/resource_classes/VCPU", v="1.7", ok=400)


async def test_1_3_member_of_1_24_repeated_1_32_forbidden(placement: Placement) -> None:
    one, two = new_id(), new_id()
    await aggregates(placement, await placement.provider("a"), one)
    await aggregates(placement, await placement.provider("b"), one, two)
    await placement("GET", f"/resource_providers?member_of={one}", v="1.2", ok=400)
    assert await names(placement, f"member_of={one}", v="1.3") == ["a", "b"]
    assert await names(placement, f"member_of=in:{two},{new_id()}", v="1.3") == ["b"]
    twice = f"member_of={one}&member_of={two}"
    assert "Multiple member_of" in (await refusal(placement, f"/resource_providers?{twice}", v="1.23"))["detail"]
    assert await names(placement, twice, v="1.24") == ["b"]
    assert "Forbidden" in (await refusal(placement, f"/resource_providers?member_of=!{two}", v="1.31"))["detail"]
    assert await names(placement, f"member_of={one}&member_of=!{two}", v="1.32") == ["a"]
    assert await names(placement, f"member_of={one}&member_of=!in:{two},{new_id()}") == ["a"]
    for wrong in (f"member_of={one},{two}", f"member_of=in:{one},!{two}", "member_of=", "member_of=!"):
        await refusal(placement, f"/resource_providers?{wrong}")


async def test_1_4_resources_with_units(placement: Placement) -> None:
    id = await placement.provider("p")
    stock = {"total": 10, "min_unit": 2, "max_unit": 6, "step_size": 2}
    body = {"inventories": {"CUSTOM_A": stock}, "resource_provider_generation": 0}
    await placement("PUT", f"/resource_providers/{id}/inventories", body)
    await placement("GET", "/resource_providers?resources=CUSTOM_A:2", v="1.3", ok=400)
    for amount, fits in ((1, False), (2, True), (3, False), (6, True), (8, False)):
        assert await names(placement, f"resources=CUSTOM_A:{amount}", v="1.4") == (["p"] if fits else [])
    await refusal(placement, "/resource_providers?resources=CUSTOM_NONE:1")
    await placement("PUT", f"/allocations/{new_id()}", allocation(None, **{id: {"CUSTOM_A": 6}}), ok=204)
    assert await names(placement, "resources=CUSTOM_A:4") == ["p"]
    assert await names(placement, "resources=CUSTOM_A:6") == []


async def test_1_5_delete_all_inventories(placement: Placement) -> None:
    path = f"/resource_providers/{await placement.provider('p', CUSTOM_A=1)}/inventories"
    refused = await raw(placement, "DELETE", path, v="1.4")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, POST, PUT")
    await placement("DELETE", path, v="1.5", ok=204)
    assert (await placement("GET", path))["inventories"] == {}


async def test_1_6_traits(placement: Placement) -> None:
    id = await placement.provider("p")
    for path in ("/traits", f"/resource_providers/{id}/traits"):
        await placement("GET", path, v="1.5", ok=404)
    await placement("PUT", "/traits/CUSTOM_T", v="1.6", ok=201)
    body = {"traits": ["CUSTOM_T"], "resource_provider_generation": 0}
    assert (await placement("PUT", f"/resource_providers/{id}/traits", body, v="1.6"))["traits"] == ["CUSTOM_T"]
    stale = await placement("PUT", f"/resource_providers/{id}/traits", body, ok=409)
    assert stale["errors"][0]["code"] == "placement.concurrent_update"
    assert (await placement("GET", "/traits?associated=true&name=startswith:CUSTOM_T"))["traits"] == ["CUSTOM_T"]
    assert (await placement("GET", "/traits?associated=false&name=in:CUSTOM_T,HW_CPU_X86_VMX"))["traits"] == [
        "HW_CPU_X86_VMX"
    ]
    await refusal(placement, "/traits?associated=1")
    await refusal(placement, "/traits?name=CUSTOM_T")


async def test_1_8_owners_1_9_usages_1_12_the_form_of_allocations(placement: Placement) -> None:
    id, consumer = await placement.provider("p", CUSTOM_A=10), new_id()
    path, listed = f"/allocations/{consumer}", [{"resource_provider": {"uuid": id}, "resources": {"CUSTOM_A": 1}}]
    await placement("PUT", path, {"allocations": listed, "project_id": "p", "user_id": "u"}, v="1.7", ok=400)
    await placement("PUT", path, {"allocations": listed}, v="1.7", ok=204)
    await placement("PUT", path, {"allocations": listed}, v="1.8", ok=400)
    await placement("PUT", path, {"allocations": listed, "project_id": "p", "user_id": "u"}, v="1.11", ok=204)
    await placement("GET", "/usages?project_id=p", v="1.8", ok=404)
    assert (await placement("GET", "/usages?project_id=p&user_id=u", v="1.9"))["usages"] == {"CUSTOM_A": 1}
    assert (await placement("GET", "/usages?project_id=p&user_id=x", v="1.9"))["usages"] == {}
    shown = await placement("GET", path, v="1.11")
    assert shown == {"allocations": {id: {"generation": await placement.generation(id), "resources": {"CUSTOM_A": 1}}}}
    assert (await placement("GET", path, v="1.12"))["project_id"] == "p"
    named: dict[str, Any] = {"allocations": {id: {"resources": {"CUSTOM_A": 2}}}, "project_id": "p", "user_id": "u"}
    await placement("PUT", path, named, v="1.11", ok=400)
    await placement("PUT", path, named, v="1.12", ok=204)
    await placement("PUT", path, {"allocations": listed, "project_id": "p", "user_id": "u"}, v="1.12", ok=400)
    for query in ("", "?project_id=", f"?project_id={'x' * 256}", "?project_id=p&user_id=", "?project_id=p&more=1"):
        await refusal(placement, f"/usages{query}")


async def test_1_10_candidates_1_11_links_1_13_many_consumers(placement: Placement) -> None:
    id = await placement.provider("p", CUSTOM_A=4)
    await placement("GET", "/allocation_candidates?resources=CUSTOM_A:1", v="1.9", ok=404)
    found = await placement("GET", "/allocation_candidates?resources=CUSTOM_A:1", v="1.10")
    assert found["allocation_requests"] == [
        {"allocations": [{"resource_provider": {"uuid": id}, "resources": {"CUSTOM_A": 1}}]}
    ]
    assert found["provider_summaries"] == {id: {"resources": {"CUSTOM_A": {"used": 0, "capacity": 4}}}}
    steps = {"1.0": 3, "1.1": 4, "1.6": 5, "1.10": 5, "1.11": 6}
    for version, count in steps.items():
        assert len(rels(await placement("GET", f"/resource_providers/{id}", v=version))) == count
    many = {new_id(): {"allocations": {id: {"resources": {"CUSTOM_A": 2}}}, "project_id": "p", "user_id": "u"}}
    many[new_id()] = next(iter(many.values()))
    await placement("POST", "/allocations", many, v="1.12", ok=404)
    generation = await placement.generation(id)
    await placement("POST", "/allocations", many, v="1.13", ok=204)
    assert await placement.generation(id) == generation + 1  # once a request
    many[new_id()] = next(iter(many.values()))
    full = await placement("POST", "/allocations", many, v="1.13", ok=409)
    assert "would exceed the capacity" in full["errors"][0]["detail"]


async def test_1_14_trees_and_1_37_other_parents(placement: Placement) -> None:
    root = await placement.provider("root")
    assert "parent_provider_uuid" not in await placement("GET", f"/resource_providers/{root}", v="1.13")
    child = {"name": "child", "parent_provider_uuid": root}
    await placement("POST", "/resource_providers", child, v="1.13", ok=400)
    made = await raw(placement, "POST", "/resource_providers", child, v="1.14")
    assert made.status_code == 201
    id = made.headers["location"].rpartition("/")[2]
    other = await placement.provider("other")
    await placement("GET", f"/resource_providers?in_tree={id}", v="1.13", ok=400)
    assert await names(placement, f"in_tree={id}", v="1.14") == ["root", "child"]
    assert await names(placement, f"in_tree={new_id()}") == []
    moved = {"name": "child", "parent_provider_uuid": other}
    path = f"/resource_providers/{id}"
    assert "re-parenting" in (await placement("PUT", path, moved, v="1.36", ok=400))["errors"][0]["detail"]
    orphan = {"name": "child", "parent_provider_uuid": None}
    assert "un-parenting" in (await placement("PUT", path, orphan, v="1.36", ok=400))["errors"][0]["detail"]
    grandchild = await placement.provider("grandchild", id)
    assert (await placement("PUT", path, moved, v="1.37"))["root_provider_uuid"] == other
    assert (await placement("GET", f"/resource_providers/{grandchild}"))["root_provider_uuid"] == other
    loop = {"name": "other", "parent_provider_uuid": grandchild}
    assert "loop" in (await placement("PUT", f"/resource_providers/{other}", loop, ok=400))["errors"][0]["detail"]
    self_parent = {"name": "x", "uuid": (own := new_id()), "parent_provider_uuid": own}
    await placement("POST", "/resource_providers", self_parent, ok=400)


async def test_1_15_headers_that_clients_revalidate_by(placement: Placement) -> None:
    id = await placement.provider("p", CUSTOM_A=4)
    consumer = new_id()
    await placement("PUT", f"/allocations/{consumer}", allocation(None, **{id: {"CUSTOM_A": 1}}), ok=204)
    base = f"/resource_providers/{id}"
    for path in (
        "/resource_providers", base, f"{base}/inventories", f"{base}/inventories/CUSTOM_A", f"{base}/usages",
        f"{base}/aggregates", f"{base}/traits", f"{base}/allocations", f"/allocations/{consumer}", "/traits",
        "/traits/HW_CPU_X86_VMX", "/resource_classes", "/resource_classes/VCPU", "/usages?project_id=p",
        "/allocation_candidates?resources=CUSTOM_A:1", "",
    ):  # fmt: skip
        old = await raw(placement, "GET", path, v="1.14")
        assert old.status_code in (200, 204), path
        assert "last-modified" not in old.headers, path
        new = await raw(placement, "GET", path, v="1.15")
        assert new.headers["cache-control"] == "no-cache", path
        assert new.headers["last-modified"].endswith("GMT"), path
    empty = await raw(placement, "PUT", "/resource_classes/CUSTOM_C")
    assert "last-modified" not in empty.headers


async def test_1_16_limit(placement: Placement) -> None:
    for number in range(3):
        await placement.provider(f"p{number}", CUSTOM_A=1)
    ask = "/allocation_candidates?resources=CUSTOM_A:1"
    await placement("GET", f"{ask}&limit=2", v="1.15", ok=400)
    found = await placement("GET", f"{ask}&limit=2", v="1.16")
    assert (len(found["allocation_requests"]), len(found["provider_summaries"])) == (2, 2)
    assert len((await placement("GET", f"{ask}&limit=3&limit=1"))["allocation_requests"]) == 3  # the first counts
    for wrong in ("0", "-1", "one", "1.5", ""):
        await refusal(placement, f"{ask}&limit={wrong}")


async def test_1_17_1_18_required_1_22_forbidden_1_39_any_of(placement: Placement) -> None:
    for name, traits in (("a", ["HW_CPU_X86_VMX"]), ("b", ["HW_CPU_X86_SVM"]), ("c", [])):
        await placement.traits(await placement.provider(name, CUSTOM_A=1), *traits)
    ask = "resources=CUSTOM_A:1"
    await placement("GET", f"/allocation_candidates?{ask}&required=HW_CPU_X86_VMX", v="1.16", ok=400)
    found = await placement("GET", f"/allocation_candidates?{ask}&required=HW_CPU_X86_VMX", v="1.17")
    assert [s["traits"] for s in found["provider_summaries"].values()] == [["HW_CPU_X86_VMX"]]
    await placement("GET", "/resource_providers?required=HW_CPU_X86_VMX", v="1.17", ok=400)
    assert await names(placement, f"{ask}&required=HW_CPU_X86_VMX", v="1.18") == ["a"]
    await placement("GET", "/resource_providers?required=!HW_CPU_X86_VMX", v="1.21", ok=400)
    assert await names(placement, f"{ask}&required=!HW_CPU_X86_VMX", v="1.22") == ["b", "c"]
    any_of = "required=in:HW_CPU_X86_VMX,HW_CPU_X86_SVM"
    assert "1.39" in (await refusal(placement, f"/resource_providers?{any_of}", v="1.38"))["detail"]
    assert await names(placement, f"{ask}&{any_of}", v="1.39") == ["a", "b"]
    twice = f"{ask}&{any_of}&required=!HW_CPU_X86_VMX"
    assert await names(placement, twice) == ["b"]
    last = f"{ask}&required=HW_CPU_X86_VMX&required=HW_CPU_X86_SVM"
    assert await names(placement, last, v="1.38") == ["b"]
    assert await names(placement, last) == []
    for wrong in ("in:", "in:HW_CPU_X86_VMX,", "in:HW_CPU_X86_VMX,!HW_CPU_X86_SVM", "!", "", "NO_SUCH_TRAIT"):
        await refusal(placement, f"/resource_providers?required={wrong}")
        await refusal(placement, f"/allocation_candidates?{ask}&required={wrong}")


async def test_1_20_a_new_provider_is_shown(placement: Placement) -> None:
    old = await raw(placement, "POST", "/resource_providers", {"name": "old"}, v="1.19")
    assert (old.status_code, old.content) == (201, b"")
    new = await raw(placement, "POST", "/resource_providers", {"name": "new"}, v="1.20")
    assert new.status_code == 200
    assert new.headers["location"].endswith(new.json()["uuid"])
    assert (new.json()["generation"], new.json()["root_provider_uuid"]) == (0, new.json()["uuid"])


async def test_1_21_candidates_of_aggregates(placement: Placement) -> None:
    group = new_id()
    id = await placement.provider("a", CUSTOM_A=1)
    await placement.provider("b", CUSTOM_A=1)
    await aggregates(placement, id, group)
    ask = f"/allocation_candidates?resources=CUSTOM_A:1&member_of={group}"
    await placement("GET", ask, v="1.20", ok=400)
    assert len((await placement("GET", ask, v="1.21"))["allocation_requests"]) == 1


async def test_1_23_errors_have_codes_and_always_the_request(placement: Placement) -> None:
    for version, coded in (("1.22", False), ("1.23", True)):
        answer = await raw(placement, "GET", f"/resource_providers/{new_id()}", v=version)
        (problem,) = answer.json()["errors"]
        assert (problem["status"], problem["title"]) == (404, "Not Found")
        assert problem["request_id"] == answer.headers["x-openstack-request-id"]
        assert problem.get("code") == ("placement.undefined_code" if coded else None)
    missing = await raw(placement, "GET", "/nothing")
    assert missing.json()["errors"][0]["request_id"] == missing.headers["x-openstack-request-id"]


async def test_1_25_groups_with_numbers_1_33_with_names(placement: Placement) -> None:
    root = await placement.provider("root", CUSTOM_A=4)
    nics = [await placement.provider(f"nic{n}", root, CUSTOM_B=2) for n in range(2)]
    two = "resources=CUSTOM_A:1&resources1=CUSTOM_B:1&resources2=CUSTOM_B:1&group_policy="
    await placement("GET", f"/allocation_candidates?{two}none", v="1.24", ok=400)
    old = await placement("GET", f"/allocation_candidates?{two}none", v="1.25")
    assert old["allocation_requests"] == []  # several providers of a tree come with 1.29
    found = await placement("GET", f"/allocation_candidates?{two}none", v="1.29")
    assert len(found["allocation_requests"]) == 4
    isolated = await placement.candidates(f"{two}isolate")
    assert [sorted(a) for a in isolated] == [sorted([root, *nics])] * 2
    named = two.replace("1=", "_LEFT=", 1).replace("2=", "_RIGHT-x=", 1)
    await placement("GET", f"/allocation_candidates?{named}none", v="1.32", ok=400)
    assert len(await placement.candidates(f"{named}none")) == 4
    for wrong in (
        two.removesuffix("&group_policy="),
        f"{two}none&required3=HW_CPU_X86_VMX",
        "required=HW_CPU_X86_VMX",
        "resources1@=CUSTOM_A:1",
        f"resources_{'x' * 64}=CUSTOM_A:1",
    ):
        await refusal(placement, f"/allocation_candidates?{wrong}")
    for wrong in ("resources01=CUSTOM_A:1", "resources0=CUSTOM_A:1", "required1=HW_CPU_X86_VMX&resources=CUSTOM_A:1"):
        await refusal(placement, f"/allocation_candidates?{wrong}", v="1.32")


async def test_1_26_all_may_be_reserved_1_27_all_classes_in_summaries(placement: Placement) -> None:
    id = await placement.provider("p", CUSTOM_A=4, CUSTOM_B=4)
    body = {"total": 4, "reserved": 4, "resource_provider_generation": 1}
    path = f"/resource_providers/{id}/inventories/CUSTOM_B"
    await placement("PUT", path, body, v="1.25", ok=400)
    assert (await placement("PUT", path, body, v="1.26"))["reserved"] == 4
    await placement("PUT", path, body | {"reserved": 5, "resource_provider_generation": 2}, ok=400)
    ask = "/allocation_candidates?resources=CUSTOM_A:1"
    for version, classes in (("1.26", {"CUSTOM_A"}), ("1.27", {"CUSTOM_A", "CUSTOM_B"})):
        shown = (await placement("GET", ask, v=version))["provider_summaries"][id]
        assert set(shown["resources"]) == classes


async def test_1_28_consumers_have_generations(placement: Placement) -> None:
    id, consumer = await placement.provider("p", CUSTOM_A=4), new_id()
    path = f"/allocations/{consumer}"
    body = {"allocations": {id: {"resources": {"CUSTOM_A": 1}}}, "project_id": "p", "user_id": "u"}
    await placement("PUT", path, body | {"consumer_generation": None}, v="1.27", ok=400)
    await placement("PUT", path, body, v="1.28", ok=400)
    await placement("PUT", path, body | {"consumer_generation": None}, v="1.28", ok=204)
    assert (await placement("GET", path, v="1.28"))["consumer_generation"] == 1
    assert "consumer_generation" not in await placement("GET", path, v="1.27")
    held = await placement("GET", f"/resource_providers/{id}/allocations", v="1.28")
    assert held["allocations"][consumer]["consumer_generation"] == 1
    for stale in (None, 0, 7):
        problem = await placement("PUT", path, body | {"consumer_generation": stale}, v="1.28", ok=409)
        assert problem["errors"][0]["code"] == "placement.concurrent_update"
    generation = await placement.generation(id)
    await placement("PUT", path, body | {"consumer_generation": 1}, v="1.28", ok=204)
    assert await placement.generation(id) == generation + 1  # taken again, though nothing changed
    await placement("PUT", path, body | {"allocations": {}, "consumer_generation": 2}, v="1.28", ok=204)
    assert await placement("GET", path) == {"allocations": {}}
    assert await placement.generation(id) == generation + 2  # emptied by a PUT, as by a POST; a DELETE does not
    await placement("PUT", path, body | {"allocations": {}}, v="1.27", ok=400)


async def test_1_29_trees_in_candidates(placement: Placement) -> None:
    root = await placement.provider("root", CUSTOM_A=4)
    child = await placement.provider("child", root, CUSTOM_B=4)
    lone = await placement.provider("lone", CUSTOM_A=1, CUSTOM_B=1)
    ask = "/allocation_candidates?resources=CUSTOM_A:1,CUSTOM_B:1"
    old = await placement("GET", ask, v="1.28")
    assert [list(r["allocations"]) for r in old["allocation_requests"]] == [[lone]]
    new = await placement("GET", ask, v="1.29")
    assert [set(r["allocations"]) for r in new["allocation_requests"]] == [{root, child}, {lone}]
    summary = new["provider_summaries"][child]
    assert (summary["parent_provider_uuid"], summary["root_provider_uuid"]) == (root, root)
    only = "/allocation_candidates?resources=CUSTOM_B:2"
    assert set((await placement("GET", only, v="1.28"))["provider_summaries"]) == {child}
    assert set((await placement("GET", only, v="1.29"))["provider_summaries"]) == {root, child}


async def test_1_31_in_tree(placement: Placement) -> None:
    root = await placement.provider("root")
    child = await placement.provider("child", root, CUSTOM_A=1)
    await placement.provider("other", CUSTOM_A=1)
    ask = f"resources=CUSTOM_A:1&in_tree={root}"
    await placement("GET", f"/allocation_candidates?{ask}", v="1.30", ok=400)
    assert await placement.candidates(ask) == [{child: {"resources": {"CUSTOM_A": 1}}}]
    assert await placement.candidates(f"resources1=CUSTOM_A:1&in_tree1={child}") != []
    assert await placement.candidates(f"resources=CUSTOM_A:1&in_tree={new_id()}") == []


async def test_1_34_mappings(placement: Placement) -> None:
    id = await placement.provider("p", CUSTOM_A=4)
    ask = "/allocation_candidates?resources=CUSTOM_A:1&resources_X=CUSTOM_A:2"
    assert "mappings" not in (await placement("GET", ask, v="1.33"))["allocation_requests"][0]
    (request,) = (await placement("GET", ask, v="1.34"))["allocation_requests"]
    assert request == {"allocations": {id: {"resources": {"CUSTOM_A": 3}}}, "mappings": {"": [id], "_X": [id]}}
    body = request | {"project_id": "p", "user_id": "u", "consumer_generation": None}
    path = f"/allocations/{new_id()}"
    await placement("PUT", path, body, v="1.33", ok=400)
    for wrong in ({}, {"_X": id}, {"a b": [id]}, {"_X": ["x"]}):
        await placement("PUT", path, body | {"mappings": wrong}, v="1.34", ok=400)
    await placement("PUT", path, body, v="1.34", ok=204)


async def test_1_35_root_required(placement: Placement) -> None:
    root = await placement.provider("root")
    child = await placement.provider("child", root, CUSTOM_A=1)
    await placement.traits(child, "HW_CPU_X86_SVM")
    await placement.traits(root, "HW_CPU_X86_VMX")
    ask = "resources=CUSTOM_A:1&root_required="
    await placement("GET", f"/allocation_candidates?{ask}HW_CPU_X86_VMX", v="1.34", ok=400)
    assert len(await placement.candidates(f"{ask}HW_CPU_X86_VMX,!HW_CPU_X86_SVM")) == 1
    assert await placement.candidates(f"{ask}!HW_CPU_X86_VMX") == []
    for wrong, code in (
        ("HW_CPU_X86_VMX&root_required=HW_CPU_X86_SVM", "placement.query.duplicate_key"),
        ("HW_CPU_X86_VMX,!HW_CPU_X86_VMX", "placement.query.bad_value"),
        ("in:HW_CPU_X86_VMX,HW_CPU_X86_SVM", "placement.undefined_code"),
    ):
        assert (await refusal(placement, f"/allocation_candidates?{ask}{wrong}"))["code"] == code


async def test_1_36_same_subtree(placement: Placement) -> None:
    root = await placement.provider("root", CUSTOM_A=4)
    cards = [await placement.provider(f"card{n}", root) for n in range(2)]
    for card in cards:
        for port in range(2):
            await placement.provider(f"{card}-{port}", card, CUSTOM_B=1)
    pair = "resources1=CUSTOM_B:1&resources2=CUSTOM_B:1&group_policy=isolate"
    assert len(await placement.candidates(pair)) == 12
    await placement.traits(cards[1], "HW_NIC_SRIOV")
    ask = f"{pair}&required_CARD=HW_NIC_SRIOV&same_subtree=_CARD,1,2"
    await placement("GET", f"/allocation_candidates?{ask}", v="1.35", ok=400)
    found = (await placement("GET", f"/allocation_candidates?{ask}"))["allocation_requests"]
    assert [r["mappings"]["_CARD"] for r in found] == [[cards[1]]] * 2
    for wrong, code in (
        (f"{pair}&same_subtree=1,9", "placement.query.bad_value"),
        (f"{pair}&same_subtree=1,", "placement.query.bad_value"),
        (f"{pair}&required_CARD=HW_NIC_SRIOV", "placement.query.bad_value"),
        ("required_CARD=HW_NIC_SRIOV&same_subtree=_CARD", "placement.query.missing_value"),
    ):
        assert (await refusal(placement, f"/allocation_candidates?{wrong}"))["code"] == code
    # a group without resources is one that is apart, too
    alone = "resources1=CUSTOM_A:1&required_R=HW_CPU_X86_VMX&same_subtree=1,_R&group_policy="
    await placement.traits(root, "HW_CPU_X86_VMX")
    assert (len(await placement.candidates(f"{alone}none")), await placement.candidates(f"{alone}isolate")) == (1, [])


async def test_1_38_consumers_have_types(placement: Placement) -> None:
    id = await placement.provider("p", CUSTOM_A=10)
    old, typed, moving = new_id(), new_id(), new_id()
    body = {"allocations": {id: {"resources": {"CUSTOM_A": 1}}}, "project_id": "p", "user_id": "u"}
    body |= {"consumer_generation": None}
    await placement("PUT", f"/allocations/{old}", body | {"consumer_type": "INSTANCE"}, v="1.37", ok=400)
    await placement("PUT", f"/allocations/{old}", body, v="1.37", ok=204)
    await placement("PUT", f"/allocations/{typed}", body, v="1.38", ok=400)
    await placement("PUT", f"/allocations/{typed}", body | {"consumer_type": "instance"}, ok=400)
    await placement("PUT", f"/allocations/{typed}", body | {"consumer_type": "INSTANCE"}, ok=204)
    await placement("PUT", f"/allocations/{moving}", body | {"consumer_type": "MIGRATION"}, ok=204)
    assert (await placement("GET", f"/allocations/{old}"))["consumer_type"] == "unknown"
    assert "consumer_type" not in await placement("GET", f"/allocations/{typed}", v="1.37")
    one = {"CUSTOM_A": 1, "consumer_count": 1}
    usages = (await placement("GET", "/usages?project_id=p"))["usages"]
    assert usages == {"unknown": one, "INSTANCE": one, "MIGRATION": one}
    for kind, wanted in (
        ("all", {"all": {"CUSTOM_A": 3, "consumer_count": 3}}),
        ("unknown", {"unknown": one}),
        ("MIGRATION", {"MIGRATION": one}),
        ("OTHER", {}),
    ):
        assert (await placement("GET", f"/usages?project_id=p&consumer_type={kind}"))["usages"] == wanted
    await placement("GET", "/usages?project_id=p&consumer_type=all", v="1.37", ok=400)
    await refusal(placement, "/usages?project_id=p&consumer_type=instance")
    # an older client leaves the type as it is
    await placement("PUT", f"/allocations/{moving}", body | {"consumer_generation": 1}, v="1.37", ok=204)
    assert (await placement("GET", f"/allocations/{moving}"))["consumer_type"] == "MIGRATION"
    await placement("PUT", f"/allocations/{old}", body | {"consumer_generation": 1, "consumer_type": "X"}, ok=204)
    assert (await placement("GET", f"/allocations/{old}"))["consumer_type"] == "X"


async def test_headers_before_bodies(cloud: ApiCloud, placement: Placement) -> None:
    url, headers = "/placement/resource_providers", placement.headers
    text = await cloud.client.post(url, content=b"a provider", headers=headers | {"Content-Type": "text/plain"})
    assert text.status_code == 415
    bare = await cloud.client.post(url, content=b"a provider", headers=headers)
    assert (bare.status_code, "content-type header required" in bare.text) == (400, True)
    broken = await cloud.client.post(url, content=b"{", headers=headers | {"Content-Type": "application/json"})
    assert "Malformed JSON" in broken.json()["errors"][0]["detail"]
    for accept, status in (
        ("text/plain", 406), ("text/plain, application/json;q=0.5", 200), ("*/*", 200), ("application/json;q=0", 406),
    ):  # fmt: skip
        assert (await cloud.client.get(url, headers=headers | {"Accept": accept})).status_code == status, accept
    patched = await cloud.client.patch(url, headers=headers)
    assert (patched.status_code, patched.headers["allow"]) == (405, "GET, POST")
    for version, status in (("0.9", 406), ("1.40", 406), ("2.0", 406), ("pony", 400), ("1.2.3", 400), ("latest", 200)):
        answer = await raw(placement, "GET", "/resource_providers", v=version)
        assert answer.status_code == status, version
        if status == 406:
            (problem,) = answer.json()["errors"]
            assert (problem["min_version"], problem["max_version"]) == ("1.0", "1.39")
