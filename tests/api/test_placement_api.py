"""The placement API by its documented rules."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import ApiCloud
from trilith.store.tx import new_id


class Placement:
    def __init__(self, cloud: ApiCloud, headers: dict[str, str]) -> None:
        self.cloud, self.headers = cloud, headers

    async def __call__(self, method: str, path: str, body: Any = None, *, v: str = "1.39", ok: int = 200) -> Any:
        headers = self.headers | {"OpenStack-API-Version": f"placement {v}"}
        answer = await self.cloud.call(method, f"/placement{path}", headers, json=body)
        assert answer.status_code == ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def provider(self, name: str, parent: str | None = None, **totals: int) -> str:
        made = await self("POST", "/resource_providers", {"name": name, "parent_provider_uuid": parent})
        if totals:
            body = {
                "inventories": {rc: {"total": n} for rc, n in totals.items()},
                "resource_provider_generation": 0,
            }
            await self("PUT", f"/resource_providers/{made['uuid']}/inventories", body)
        return str(made["uuid"])

    async def generation(self, id: str) -> int:
        return int((await self("GET", f"/resource_providers/{id}"))["generation"])

    async def traits(self, id: str, *names: str) -> None:
        body = {"traits": list(names), "resource_provider_generation": await self.generation(id)}
        await self("PUT", f"/resource_providers/{id}/traits", body)

    async def candidates(self, query: str) -> list[Any]:
        found = await self("GET", f"/allocation_candidates?{query}")
        return [r["allocations"] for r in found["allocation_requests"]]


@pytest.fixture
async def placement(cloud: ApiCloud) -> Placement:
    return Placement(cloud, await cloud.token())


def allocation(generation: int | None, **shares: dict[str, int]) -> dict[str, Any]:
    return {
        "allocations": {p: {"resources": r} for p, r in shares.items()},
        "project_id": "p",
        "user_id": "u",
        "consumer_generation": generation,
        "consumer_type": "INSTANCE",
    }


async def test_discovery_and_microversions(cloud: ApiCloud, placement: Placement) -> None:
    answer = await cloud.client.get("/placement")
    assert answer.status_code == 200
    (version,) = answer.json()["versions"]
    assert (version["min_version"], version["max_version"]) == ("1.0", "1.39")
    await placement("GET", "/resource_providers", v="1.40", ok=406)
    await placement("GET", "/traits", v="1.5", ok=404)
    assert (await cloud.client.get("/placement/resource_providers")).status_code == 401
    alice = await cloud.member()
    assert (await cloud.call("GET", "/placement/resource_providers", alice)).status_code == 403


async def test_nodes_are_providers(placement: Placement) -> None:
    found = (await placement("GET", "/resource_providers"))["resource_providers"]
    assert {"sim-1", "sim-2"} <= {p["name"] for p in found}
    node = next(p for p in found if p["name"] == "sim-1")
    held = await placement("GET", f"/resource_providers/{node['uuid']}/inventories")
    assert held["inventories"]["VCPU"]["allocation_ratio"] == 16.0
    assert "COMPUTE_NODE" in (await placement("GET", f"/resource_providers/{node['uuid']}/traits"))["traits"]
    assert node["uuid"] in [next(iter(a)) for a in await placement.candidates("resources=VCPU:1")]


async def test_providers_make_a_tree(placement: Placement) -> None:
    root = await placement.provider("root")
    child = await placement.provider("child", root, VCPU=4)
    shown = await placement("GET", f"/resource_providers/{child}")
    assert (shown["parent_provider_uuid"], shown["root_provider_uuid"]) == (root, root)
    tree = await placement("GET", f"/resource_providers?in_tree={child}")
    assert {p["uuid"] for p in tree["resource_providers"]} == {root, child}
    problem = await placement("DELETE", f"/resource_providers/{root}", ok=409)
    assert problem["errors"][0]["code"] == "placement.resource_provider.cannot_delete_parent"
    problem = await placement("POST", "/resource_providers", {"name": "root"}, ok=409)
    assert problem["errors"][0]["code"] == "placement.duplicate_name"
    await placement("POST", "/resource_providers", {"name": "x", "parent_provider_uuid": new_id()}, ok=400)
    await placement("PUT", f"/resource_providers/{root}", {"name": "r", "parent_provider_uuid": child}, ok=400)
    await placement(
        "PUT", f"/resource_providers/{child}", {"name": "c", "parent_provider_uuid": None}, v="1.36", ok=400
    )
    alone = await placement("PUT", f"/resource_providers/{child}", {"name": "c", "parent_provider_uuid": None})
    assert alone["root_provider_uuid"] == child
    await placement("DELETE", f"/resource_providers/{root}", ok=204)
    await placement("GET", f"/resource_providers/{root}", ok=404)
    assert (await placement("POST", "/resource_providers", {"name": "old"}, v="1.19", ok=201)) is None


async def test_inventories_have_bounds_and_generations(placement: Placement) -> None:
    id = await placement.provider("p", VCPU=4)
    base = f"/resource_providers/{id}/inventories"
    body = {"inventories": {"VCPU": {"total": 8}}, "resource_provider_generation": 0}
    problem = await placement("PUT", base, body, ok=409)
    assert problem["errors"][0]["code"] == "placement.concurrent_update"
    generation = await placement.generation(id)
    for wrong in ({"total": 0}, {"total": 4, "reserved": 5}, {"total": 4, "min_unit": 0}, {"total": 4, "more": 1}):
        await placement(
            "PUT", base, {"inventories": {"VCPU": wrong}, "resource_provider_generation": generation}, ok=400
        )
    unknown = {"inventories": {"CUSTOM_NONE": {"total": 1}}, "resource_provider_generation": generation}
    await placement("PUT", base, unknown, ok=400)
    assert await placement.generation(id) == generation
    one = {"total": 16, "resource_provider_generation": generation}
    assert (await placement("PUT", f"{base}/VCPU", one))["resource_provider_generation"] == generation + 1
    await placement("PUT", f"{base}/DISK_GB", one | {"resource_provider_generation": generation + 1}, ok=400)
    disk = {"resource_class": "DISK_GB", "total": 10}
    await placement("POST", base, disk, ok=201)
    await placement("POST", base, disk, ok=409)
    await placement("DELETE", f"{base}/DISK_GB", ok=204)
    await placement("DELETE", f"{base}/DISK_GB", ok=404)
    await placement("GET", f"{base}/DISK_GB", ok=404)
    consumer = new_id()
    await placement("PUT", f"/allocations/{consumer}", allocation(None, **{id: {"VCPU": 2}}), ok=204)
    assert (await placement("DELETE", base, ok=409))["errors"][0]["code"] == "placement.inventory.inuse"
    assert (await placement("GET", f"/resource_providers/{id}/usages"))["usages"] == {"VCPU": 2}
    problem = await placement("DELETE", f"/resource_providers/{id}", ok=409)
    assert problem["errors"][0]["code"] == "placement.resource_provider.inuse"


async def test_traits_and_classes(placement: Placement) -> None:
    id = await placement.provider("p", VCPU=4)
    await placement("PUT", "/traits/GOLD", ok=400)
    await placement("PUT", "/traits/CUSTOM_GOLD", ok=201)
    await placement("PUT", "/traits/CUSTOM_GOLD", ok=204)
    await placement("GET", "/traits/CUSTOM_GOLD", ok=204)
    await placement("GET", "/traits/CUSTOM_TIN", ok=404)
    await placement.traits(id, "CUSTOM_GOLD", "HW_CPU_X86_VMX")
    body = {"traits": ["CUSTOM_TIN"], "resource_provider_generation": await placement.generation(id)}
    await placement("PUT", f"/resource_providers/{id}/traits", body, ok=400)
    await placement("DELETE", "/traits/CUSTOM_GOLD", ok=409)
    await placement("DELETE", "/traits/HW_CPU_X86_VMX", ok=400)
    assert "CUSTOM_GOLD" in (await placement("GET", "/traits?name=startswith:CUSTOM_"))["traits"]
    assert (await placement("GET", "/traits?name=in:CUSTOM_GOLD,NOPE"))["traits"] == ["CUSTOM_GOLD"]
    required = await placement("GET", "/resource_providers?required=CUSTOM_GOLD,!HW_CPU_X86_SVM")
    assert [p["uuid"] for p in required["resource_providers"]] == [id]
    await placement("GET", "/resource_providers?required=CUSTOM_NONE", ok=400)
    await placement("DELETE", f"/resource_providers/{id}/traits", ok=204)
    await placement("DELETE", "/traits/CUSTOM_GOLD", ok=204)
    await placement("POST", "/resource_classes", {"name": "CUSTOM_FPGA"}, ok=201)
    await placement("POST", "/resource_classes", {"name": "CUSTOM_FPGA"}, ok=409)
    await placement("POST", "/resource_classes", {"name": "FPGA_X"}, ok=400)
    assert (await placement("GET", "/resource_classes/CUSTOM_FPGA"))["name"] == "CUSTOM_FPGA"
    await placement("DELETE", "/resource_classes/VCPU", ok=400)
    await placement("DELETE", "/resource_classes/CUSTOM_FPGA", ok=204)
    names = [c["name"] for c in (await placement("GET", "/resource_classes"))["resource_classes"]]
    assert "VCPU" in names
    assert "CUSTOM_FPGA" not in names


async def test_allocations_belong_to_a_consumer_with_a_generation(placement: Placement) -> None:
    one, two = await placement.provider("one", VCPU=4, MEMORY_MB=100), await placement.provider("two", VCPU=4)
    consumer = new_id()
    path = f"/allocations/{consumer}"
    assert await placement("GET", path) == {"allocations": {}}
    await placement("PUT", path, allocation(5, **{one: {"VCPU": 1}}), ok=409)
    await placement("PUT", path, allocation(None, **{one: {"VCPU": 2, "MEMORY_MB": 50}, two: {"VCPU": 1}}), ok=204)
    shown = await placement("GET", path)
    assert (shown["project_id"], shown["consumer_generation"], shown["consumer_type"]) == ("p", 1, "INSTANCE")
    assert shown["allocations"][one]["resources"] == {"VCPU": 2, "MEMORY_MB": 50}
    problem = await placement("PUT", path, allocation(None, **{one: {"VCPU": 2}}), ok=409)
    assert problem["errors"][0]["code"] == "placement.concurrent_update"
    await placement("PUT", path, allocation(1, **{one: {"VCPU": 5}}), ok=409)
    await placement("PUT", path, allocation(1, **{new_id(): {"VCPU": 1}}), ok=400)
    await placement("PUT", path, allocation(1, **{one: {"CUSTOM_NONE": 1}}), ok=400)
    await placement("PUT", path, {"allocations": {}}, ok=400)
    assert (await placement("GET", path))["consumer_generation"] == 1
    usages = (await placement("GET", "/usages?project_id=p"))["usages"]
    assert usages == {"INSTANCE": {"consumer_count": 1, "VCPU": 3, "MEMORY_MB": 50}}
    assert (await placement("GET", "/usages?project_id=p", v="1.37"))["usages"] == {"VCPU": 3, "MEMORY_MB": 50}
    await placement("GET", "/usages", ok=400)
    # a swap between consumers in one request
    other = new_id()
    many = {consumer: allocation(1), other: allocation(None, **{one: {"VCPU": 4}})}
    await placement("POST", "/allocations", many, ok=204)
    assert (await placement("GET", f"/resource_providers/{one}/usages"))["usages"] == {"VCPU": 4, "MEMORY_MB": 0}
    held = await placement("GET", f"/resource_providers/{one}/allocations")
    assert held["allocations"] == {other: {"resources": {"VCPU": 4}, "consumer_generation": 1}}
    await placement("DELETE", f"/allocations/{other}", ok=204)
    await placement("DELETE", f"/allocations/{other}", ok=404)
    old = {"allocations": [{"resource_provider": {"uuid": one}, "resources": {"VCPU": 1}}]}
    await placement("PUT", path, old, v="1.0", ok=204)
    await placement("PUT", path, old, v="1.8", ok=400)


async def test_candidates_of_plain_providers(placement: Placement) -> None:
    await placement("POST", "/resource_classes", {"name": "CUSTOM_A"}, ok=201)
    await placement("POST", "/resource_classes", {"name": "CUSTOM_B"}, ok=201)
    big = await placement.provider("big", CUSTOM_A=8, CUSTOM_B=8)
    small = await placement.provider("small", CUSTOM_A=2, CUSTOM_B=2)
    group = new_id()
    body = {"aggregates": [group], "resource_provider_generation": await placement.generation(small)}
    await placement("PUT", f"/resource_providers/{small}/aggregates", body)
    await placement.traits(big, "HW_CPU_X86_VMX")
    ask = "resources=CUSTOM_A:2,CUSTOM_B:1"
    share = {"resources": {"CUSTOM_A": 2, "CUSTOM_B": 1}}
    assert await placement.candidates(ask) == [{big: share}, {small: share}]
    assert await placement.candidates(f"{ask}&limit=1") == [{big: share}]
    assert await placement.candidates("resources=CUSTOM_A:3") == [{big: {"resources": {"CUSTOM_A": 3}}}]
    assert await placement.candidates("resources=CUSTOM_A:9") == []
    for query, wanted in (
        ("required=HW_CPU_X86_VMX", big),
        ("required=!HW_CPU_X86_VMX", small),
        ("required=in:HW_CPU_X86_VMX,HW_CPU_X86_SVM", big),
        ("root_required=HW_CPU_X86_VMX", big),
        (f"member_of={group}", small),
        (f"member_of=in:{group},{new_id()}", small),
        (f"member_of=!{group}", big),
        (f"in_tree={small}", small),
    ):
        assert await placement.candidates(f"{ask}&{query}") == [{wanted: share}], query
    full = await placement("GET", f"/allocation_candidates?{ask}&in_tree={big}")
    assert full["allocation_requests"][0]["mappings"] == {"": [big]}
    summary = full["provider_summaries"][big]
    assert summary["resources"]["CUSTOM_A"] == {"used": 0, "capacity": 8}
    assert summary["traits"] == ["HW_CPU_X86_VMX"]
    assert (summary["parent_provider_uuid"], summary["root_provider_uuid"]) == (None, big)
    old = await placement("GET", f"/allocation_candidates?{ask}", v="1.10")
    assert old["allocation_requests"][0]["allocations"][0]["resource_provider"] == {"uuid": big}
    for wrong in (
        "",
        "resources=",
        "resources=VCPU",
        "resources=VCPU:0",
        "resources=CUSTOM_NONE:1",
        f"{ask}&required=CUSTOM_NONE",
        f"{ask}&required=,",
        f"{ask}&required=HW_CPU_X86_VMX,!HW_CPU_X86_VMX",
        f"{ask}&member_of=nothing",
        f"{ask}&in_tree=nothing",
        f"{ask}&limit=0",
        f"{ask}&nothing=1",
        f"{ask}&group_policy=some",
        "resources1=VCPU:1&resources2=VCPU:1",
        f"{ask}&same_subtree=_X",
    ):
        problem = await placement("GET", f"/allocation_candidates?{wrong}", ok=400)
        assert problem["errors"][0]["status"] == 400


async def test_candidates_of_trees_and_groups(placement: Placement) -> None:
    for name in ("CUSTOM_CPU", "CUSTOM_NIC", "CUSTOM_DISK"):
        await placement("POST", "/resource_classes", {"name": name}, ok=201)
    root = await placement.provider("root", CUSTOM_CPU=8)
    numa = [await placement.provider(f"numa{n}", root) for n in range(2)]
    nics = [await placement.provider(f"nic{n}", numa[n], CUSTOM_NIC=2) for n in range(2)]
    disk = await placement.provider("shared", CUSTOM_DISK=100)
    group = new_id()
    for id in (root, disk):
        body = {"aggregates": [group], "resource_provider_generation": await placement.generation(id)}
        await placement("PUT", f"/resource_providers/{id}/aggregates", body)
    await placement.traits(disk, "MISC_SHARES_VIA_AGGREGATE")
    plain = await placement.candidates("resources=CUSTOM_CPU:1,CUSTOM_NIC:1,CUSTOM_DISK:10")
    assert [sorted(a) for a in plain] == [sorted([root, nic, disk]) for nic in nics]
    ask = "resources=CUSTOM_CPU:1&resources1=CUSTOM_NIC:1&resources2=CUSTOM_NIC:1"
    apart = await placement.candidates(f"{ask}&group_policy=isolate")
    assert len(apart) == 2  # which group has which NIC
    assert all({*nics} < set(a) for a in apart)
    together = await placement.candidates(f"{ask}&group_policy=none")
    assert any(a.get(nics[0]) == {"resources": {"CUSTOM_NIC": 2}} for a in together)
    # more than one NIC has in one place cannot be
    assert await placement.candidates("resources1=CUSTOM_NIC:2&resources2=CUSTOM_NIC:2&group_policy=isolate") != []
    assert await placement.candidates("resources1=CUSTOM_NIC:3") == []
    await placement.traits(numa[0], "HW_NUMA_ROOT")
    under = await placement.candidates(
        "resources_N=CUSTOM_NIC:1&required_M=HW_NUMA_ROOT&same_subtree=_N,_M&resources=CUSTOM_CPU:1&group_policy=none"
    )
    assert under == [{root: {"resources": {"CUSTOM_CPU": 1}}, nics[0]: {"resources": {"CUSTOM_NIC": 1}}}]


async def test_generations_after_reshapes_are_placements_own(placement: Placement) -> None:
    """Up and down again: the numbers are those of Placement's own functional tests (gabbits/reshaper.yaml)."""
    root = await placement.provider("root", VCPU=10, DISK_GB=2048)
    child = await placement.provider("child", root)
    disk, small, both = sorted(new_id() for _ in range(3))
    for consumer, amounts in ((disk, {"DISK_GB": 1000}), (small, {"VCPU": 8}), (both, {"DISK_GB": 20, "VCPU": 1})):
        await placement("PUT", f"/allocations/{consumer}", allocation(None, **{root: amounts}), ok=204)

    async def reshape(up: dict[str, int], down: dict[str, int], allocations: dict[str, Any]) -> tuple[int, int]:
        before = [await placement.generation(p) for p in (root, child)]
        stocks = {
            provider: {
                "inventories": {rc: {"total": total} for rc, total in totals.items()},
                "resource_provider_generation": generation,
            }
            for provider, totals, generation in ((root, up, before[0]), (child, down, before[1]))
        }
        await placement("POST", "/reshaper", {"inventories": stocks, "allocations": allocations}, ok=204)
        after = [await placement.generation(p) for p in (root, child)]
        return after[0] - before[0], after[1] - before[1]

    moved = {
        disk: allocation(1, **{root: {"DISK_GB": 1000}}),
        small: allocation(1, **{child: {"VCPU": 8}}),
        both: allocation(1, **{root: {"DISK_GB": 20}, child: {"VCPU": 1}}),
    }
    assert await reshape({"DISK_GB": 2048}, {"VCPU": 10}, moved) == (3, 3)
    back = {
        disk: allocation(2, **{root: {"DISK_GB": 1000}}),
        new_id(): allocation(None, **{root: {"VCPU": 8}}),
        new_id(): allocation(None, **{root: {"DISK_GB": 20, "VCPU": 1}}),
        small: allocation(2),  # emptied: the child that it gives back to is told
        both: allocation(2, **{root: {"DISK_GB": 20}}),
    }
    assert await reshape({"DISK_GB": 2048, "VCPU": 10}, {}, back) == (3, 2)
    assert (await placement("GET", f"/resource_providers/{root}/usages"))["usages"] == {"VCPU": 9, "DISK_GB": 1040}


async def test_a_reshape_moves_inventory_and_allocations_at_once(placement: Placement) -> None:
    await placement("POST", "/resource_classes", {"name": "CUSTOM_GPU"}, ok=201)
    root = await placement.provider("root", VCPU=4, CUSTOM_GPU=2)
    child = await placement.provider("child", root)
    consumer = new_id()
    await placement("PUT", f"/allocations/{consumer}", allocation(None, **{root: {"VCPU": 1, "CUSTOM_GPU": 2}}), ok=204)
    body = {
        "inventories": {
            root: {
                "inventories": {"VCPU": {"total": 4}},
                "resource_provider_generation": await placement.generation(root),
            },
            child: {
                "inventories": {"CUSTOM_GPU": {"total": 2}},
                "resource_provider_generation": await placement.generation(child),
            },
        },
        "allocations": {consumer: allocation(1, **{root: {"VCPU": 1}, child: {"CUSTOM_GPU": 2}})},
    }
    await placement("POST", "/reshaper", body, ok=204)
    assert (await placement("GET", f"/resource_providers/{root}/usages"))["usages"] == {"VCPU": 1}
    assert (await placement("GET", f"/resource_providers/{child}/usages"))["usages"] == {"CUSTOM_GPU": 2}
    assert (await placement("POST", "/reshaper", body, ok=409))["errors"][0]["code"] == "placement.concurrent_update"
