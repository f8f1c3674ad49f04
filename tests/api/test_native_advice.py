"""/trilith/v1/advice: asked by demands, by a document, by a request, by a running server; and what is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from tests.api.compute_calls import Caller, admin, member
from tests.api.conftest import ApiCloud
from trilith.app import cloud as start_cloud
from trilith.config import Settings
from trilith.errors import Invalid
from trilith.model.guest import Pillar
from trilith.model.server import Flavor
from trilith.placement.advisor.answer import Answer
from trilith.store.tx import Tx, new_id

PATH = "/trilith/v1/advice"


async def ask(caller: Caller, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = await caller.cloud.client.post(PATH, headers=caller.headers, json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def advice(caller: Caller, **body: Any) -> Answer:
    """As a client reads it."""
    return msgspec.convert(await ask(caller, **body), Answer)


async def test_demands_are_answered_with_reasons_figures_and_grounds(cloud: ApiCloud) -> None:
    alice = await member(cloud, role="reader")
    found = await advice(alice, workload={"title": "IoT", "site": "edge", "start_within_ms": 900})
    assert found.advice.choice is Pillar.LXC
    assert {d.name: (d.value, d.words, d.words_zh) for d in found.demands} == {
        "site": ("edge", "site: edge", "地点：edge"),
        "start_within": (900.0, "start within 900 ms", "900 ms 内启动"),
    }
    assert (found.grounds.nodes, found.grounds.measured, found.grounds.measured_at) == (2, (), "")
    assert {k.pillar for k in found.grounds.kinds} == {Pillar.LXC, Pillar.KVM}
    assert all(not used.figure.measured for used in found.advice.used if used.figure)


async def test_a_contradiction_is_an_answer_too(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    found = await advice(alice, workload={"own_kernel": True, "hardware_isolation": True, "start_within_ms": 50})
    assert found.advice.choice is None
    assert found.advice.conflict is not None
    assert found.advice.conflict.demands


async def test_what_was_measured_here_stands_in_place_of_claims(cloud: ApiCloud) -> None:
    boss = await admin(cloud)
    for node, median in (("sim-1", 70.0), ("sim-2", 90.0)):
        spread = {"median": median, "p10": 60, "p90": 120, "samples": 9}
        body = {
            "host": {"name": node, "cpu": "a processor"}, "guest": "linux", "emulated": False, "about": "tiny",
            "measured": [{"name": "start_to_first_answer", "guest": spread, "how": "a stop watch"}],
        }  # fmt: skip
        answer = await cloud.call("PUT", f"/trilith/v1/figures/{node}/lxc", boss.headers, json=body)
        assert answer.status_code == 200, answer.text
    found = await advice(boss, workload={"start_within_ms": 5000})
    cost = next(c for c in found.advice.costs if c.pillar is Pillar.LXC and c.name == "start_to_first_answer")
    assert cost.figure is not None
    assert (cost.figure.value, cost.figure.samples) == (70.0, 9), "a node's own, not a mean of both"
    assert "sim-1" in cost.figure.source
    assert found.grounds.measured == ("sim-1", "sim-2")
    assert found.grounds.host is not None
    assert found.grounds.host.cpu == "a processor"
    assert any(kind.traits for kind in found.grounds.kinds)
    theirs = (await advice(await member(cloud), workload={})).grounds
    assert theirs.host is None
    assert not any(kind.traits for kind in theirs.kinds)


async def test_an_image_and_a_flavor_are_read_for_what_they_demand(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    specs = {"trilith:own_kernel": "true", "trait:HW_CPU_X86_VMX": "required"}
    flavor: Flavor = await cloud.store.write(
        lambda tx: tx.add(Flavor(id=new_id(), name="own", vcpus=1, ram=256, disk=1, extra_specs=specs))
    )
    found = await advice(alice, image=await alice.image(), flavor=flavor.id)
    assert {d.name: d.value for d in found.demands} == {
        "own_kernel": True,
        "nested_virtualization": True,
        "memory_per_guest": 256,
    }
    assert (found.asked.flavor, found.asked.named) == ("own", Pillar.KVM)
    assert Pillar.LXC in found.asked.forms
    assert {r.pillar for r in found.advice.refused} >= {Pillar.LXC}


async def test_a_running_server_is_asked_about_with_what_it_uses(cloud: ApiCloud) -> None:
    alice = await member(cloud)
    server = (await alice.boot())["id"]
    found = await advice(alice, server=server)
    assert (found.asked.by, found.asked.name) == ("server", "one")
    assert found.asked.runs_on is Pillar.KVM
    assert found.asked.observed is not None
    assert found.asked.observed.memory_of_mib > 0
    bob = await member(cloud, "bob", "beta")
    assert (await ask(bob, 404, server=server))["message"] == f"There is no server {server}."
    await alice.act(server, "os-stop")
    await alice.settle(server)
    assert (await advice(alice, server=server)).asked.observed is None


@pytest.mark.parametrize(
    ("body", "field", "words", "allowed"),
    [
        ({}, "workload", "Given are none", "server"),
        ({"workload": {}, "server": "x"}, "server", "workload, server", "document"),
        ({"image": "x"}, "flavor", "with its flavor", ""),
        ({"workload": {"colour": "red"}}, "colour", "no demand 'colour'", "own_kernel"),
        ({"workload": {"start_within": 50}}, "start_within", "without a unit", "ms"),
        ({"workload": {"start_within_ms": 50, "start_within": "1 s"}}, "start_within", "the same demand", ""),
        ({"document": {"text": "own_kernel: true\nsite: moon\n"}}, "site", "the workload, line 2", "edge"),
        ({"document": {"text": "a: [", "source": "w.yaml"}}, "", "w.yaml, line", ""),
    ],
)
async def test_bad_input_names_the_field_and_what_is_allowed(
    cloud: ApiCloud, body: dict[str, Any], field: str, words: str, allowed: str
) -> None:
    refused = await ask(await member(cloud), 400, **body)
    assert refused["error"] == "invalid"
    assert refused["field"] == field
    assert words in refused["message"]
    assert allowed in refused["hint"]


# an operator's rules


OURS = """
version: 1
edition: "ours 1"
constraints:
  - name: finance-has-no-containers
    when: {compliance: finance}
    refuses: {lxc: our auditors refuse shared kernels}
"""


async def test_an_operators_rules_are_over_the_shipped_ones(tmp_path: Any, first_start: Any) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(OURS)
    settings = Settings(state=tmp_path / "s", simulated=1, advisor_rules=str(rules))
    async with start_cloud(settings, admin_password="a password of this test") as running:
        services = running.services
        assert services.adviser.rules.edition == "ours 1"

        def demand(tx: Tx) -> str:
            from trilith.commands.advice import for_workload, workload_of_fields

            found = for_workload(tx, services.adviser, "here", workload_of_fields({"compliance": "finance"}))
            return str(next(r.refusals[0].text for r in found.advice.refused if r.pillar is Pillar.LXC))

        assert "our auditors refuse shared kernels" in await running.store.read(demand)


@pytest.mark.parametrize(
    ("text", "words", "allowed"),
    [
        (OURS.replace("refuses", "refuse"), "line 7", "refuses"),
        (OURS.replace("finance}", "money}"), "line 6", "finance"),
        (None, "No such file", ""),
    ],
)
async def test_a_broken_file_of_rules_keeps_the_cloud_from_starting(
    tmp_path: Any, text: str | None, words: str, allowed: str
) -> None:
    rules = tmp_path / "rules.yaml"
    if text is not None:
        await asyncio.to_thread(rules.write_text, text)
    state = tmp_path / "s"
    with pytest.raises(Invalid) as caught:
        async with start_cloud(Settings(state=state, simulated=1, advisor_rules=str(rules))):
            pass
    assert words in caught.value.message
    assert str(rules) in caught.value.message
    assert allowed in caught.value.hint
    assert not state.exists(), "nothing was begun"
