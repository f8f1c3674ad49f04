"""QoS rules minimum_bandwidth: no node promises more than it has, whatever changes while servers run."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.compute_calls import Caller
from tests.api.conftest import PASSWORD, ApiCloud, settings_of
from tests.api.test_network_policies import net
from tests.api.test_network_topology import Api, external
from trilith.app import cloud as start_cloud
from trilith.model.network import Port
from trilith.model.node import Allocation, ResourceProvider
from trilith.model.server import Server, ServerState

EGRESS, INGRESS = "NET_BW_EGR_KILOBIT_PER_SEC", "NET_BW_IGR_KILOBIT_PER_SEC"


@pytest.fixture
async def cloud(tmp_path: Path, first_start: Path) -> AsyncIterator[ApiCloud]:
    """Two nodes that may promise 1,000 kbit/s each, of what guests send."""
    state = tmp_path / "state"
    shutil.copytree(first_start, state, ignore=shutil.ignore_patterns("*.sock"))
    settings = replace(settings_of(state), egress_kbps=1000, ingress_kbps=50)
    async with start_cloud(settings, admin_password=PASSWORD) as running:
        transport = httpx.ASGITransport(app=running.api)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            yield ApiCloud(running, client)


@pytest.fixture
async def admin(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.token())


@pytest.fixture
async def member(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.member())


async def policy_of(admin: Api, kbps: int, direction: str = "egress") -> tuple[str, str]:
    """The ids of a shared policy and its rule."""
    policy = await admin.make("policy", "/qos/policies", name="gold", shared=True)
    body = {"minimum_bandwidth_rule": {"min_kbps": kbps, "direction": direction}}
    path = f"/qos/policies/{policy['id']}/minimum_bandwidth_rules"
    rule = (await admin("POST", path, 201, body))["minimum_bandwidth_rule"]
    assert (rule["min_kbps"], rule["direction"]) == (kbps, direction)
    return policy["id"], f"{path}/{rule['id']}"


async def boot(cloud: ApiCloud, caller: Caller, port_id: str) -> Server:
    made = await caller.boot(networks=[{"port": port_id}])
    server = await caller.settle(made["id"])
    assert server is not None
    return server


async def held(cloud: ApiCloud, server_id: str, resource_class: str = EGRESS) -> int:
    rows: list[Allocation] = await cloud.store.read(
        lambda r: r.select(Allocation, consumer_id=server_id, resource_class=resource_class)
    )
    return sum(a.used for a in rows)


async def test_nodes_promise_what_they_have(cloud: ApiCloud, admin: Api, member: Api) -> None:
    policy, _ = await policy_of(admin, 600)
    network, _ = await net(member)
    caller = Caller(cloud, await cloud.member())
    servers = []
    for _ in range(3):
        port = await member.make("port", "/ports", network_id=network["id"], qos_policy_id=policy)
        servers.append(await boot(cloud, caller, port["id"]))
    first, second, third = servers
    assert {first.node, second.node} == {"sim-1", "sim-2"}
    assert [await held(cloud, s.id) for s in servers] == [600, 600, 0]
    assert third.state is ServerState.ERROR
    assert third.fault is not None
    assert f"{EGRESS}: needed 600, had 400" in third.fault.message
    # what a deleted server had can be promised anew
    assert (await caller.ask("DELETE", f"/servers/{first.id}")).status_code == 204
    assert await caller.settle(first.id) is None
    port = await member.make("port", "/ports", network_id=network["id"], qos_policy_id=policy)
    assert (await boot(cloud, caller, port["id"])).state is ServerState.ACTIVE


async def test_rules_and_policies_change_under_servers(cloud: ApiCloud, admin: Api, member: Api) -> None:
    policy, rule = await policy_of(admin, 600)
    network, _ = await net(member, qos_policy_id=policy)  # by the network's policy
    caller = Caller(cloud, await cloud.member())
    port = await member.make("port", "/ports", network_id=network["id"])
    server = await boot(cloud, caller, port["id"])
    assert await held(cloud, server.id) == 600
    shown = (await admin("GET", f"/ports/{port['id']}", 200))["port"]
    assert shown["resource_request"] == {"required": [], "resources": {EGRESS: 600}}
    assert "resource_request" not in (await member("GET", f"/ports/{port['id']}", 200))["port"]
    # who has promised it; written back, it is no setting of the user's
    (provider,) = await cloud.store.read(lambda r: r.select(ResourceProvider, name=server.node))
    assert shown["binding:profile"] == {"allocation": provider.id}
    back = {"port": {"binding:profile": shown["binding:profile"] | {"mine": "1"}}}
    shown = (await admin("PUT", f"/ports/{port['id']}", 200, back))["port"]
    assert shown["binding:profile"] == {"allocation": provider.id, "mine": "1"}
    assert (await cloud.store.read(lambda r: r.get(Port, port["id"]))).binding_profile == {"mine": "1"}

    changed = {"minimum_bandwidth_rule": {"min_kbps": 900}}
    assert (await admin("PUT", rule, 200, changed))["minimum_bandwidth_rule"]["min_kbps"] == 900
    assert await held(cloud, server.id) == 900
    too_much = {"minimum_bandwidth_rule": {"min_kbps": 1001}}
    assert await admin.fault("PUT", rule, 409, too_much) == "QosPlacementAllocationUpdateConflict"
    assert (await admin("GET", rule, 200))["minimum_bandwidth_rule"]["min_kbps"] == 900
    assert await held(cloud, server.id) == 900
    # a port's own policy comes before its network's
    other, _ = await policy_of(admin, 40, "ingress")
    await member("PUT", f"/ports/{port['id']}", 200, {"port": {"qos_policy_id": other}})
    assert (await held(cloud, server.id), await held(cloud, server.id, INGRESS)) == (0, 40)
    await member("PUT", f"/ports/{port['id']}", 200, {"port": {"qos_policy_id": None}})
    assert (await held(cloud, server.id), await held(cloud, server.id, INGRESS)) == (900, 0)
    await admin("DELETE", rule, 204)
    assert await held(cloud, server.id) == 0
    await member("PUT", f"/networks/{network['id']}", 200, {"network": {"qos_policy_id": other}})
    assert await held(cloud, server.id, INGRESS) == 40
    assert await member.fault("DELETE", f"/networks/{network['id']}", 409) == "NetworkInUse"


async def test_interfaces_come_and_go(cloud: ApiCloud, admin: Api, member: Api) -> None:
    policy, _ = await policy_of(admin, 600)
    network, _ = await net(member)
    caller = Caller(cloud, await cloud.member())
    plain = await member.make("port", "/ports", network_id=network["id"])
    server = await boot(cloud, caller, plain["id"])
    ports = [await member.make("port", "/ports", network_id=network["id"], qos_policy_id=policy) for _ in range(2)]

    async def attach(port: Any) -> httpx.Response:
        body = {"interfaceAttachment": {"port_id": port["id"]}}
        answer = await caller.ask("POST", f"/servers/{server.id}/os-interface", json=body)
        await caller.settle(server.id)
        return answer

    assert (await attach(ports[0])).status_code == 200
    assert await held(cloud, server.id) == 600
    refused = await attach(ports[1])
    assert refused.status_code == 409
    assert "cannot be promised" in refused.json()["conflictingRequest"]["message"]
    assert (await member("GET", f"/ports/{ports[1]['id']}", 200))["port"]["device_id"] == ""
    assert (await caller.ask("DELETE", f"/servers/{server.id}/os-interface/{ports[0]['id']}")).status_code == 202
    await caller.settle(server.id)
    assert await held(cloud, server.id) == 0
    assert (await attach(ports[1])).status_code == 200
    # a port that is deleted under its server gives back what it was promised
    await member("DELETE", f"/ports/{ports[1]['id']}", 204)
    assert await held(cloud, server.id) == 0


async def test_moves_take_the_promise_along(cloud: ApiCloud, admin: Api, member: Api) -> None:
    policy, rule = await policy_of(admin, 600)
    network, _ = await net(member)
    caller, root = Caller(cloud, await cloud.member()), Caller(cloud, await cloud.token())
    port = await member.make("port", "/ports", network_id=network["id"], qos_policy_id=policy)
    server = await boot(cloud, caller, port["id"])
    assert (await root.act(server.id, "migrate")).status_code == 202
    moved = await caller.settle(server.id)
    assert moved is not None
    assert (moved.state, moved.node != server.node) == (ServerState.RESIZED, True)
    assert await held(cloud, server.id) == 600
    assert (await caller.act(server.id, "confirmResize")).status_code == 204
    assert await caller.settle(server.id) is not None
    await admin("PUT", rule, 200, {"minimum_bandwidth_rule": {"min_kbps": 1000}})
    assert await held(cloud, server.id) == 1000


async def test_what_is_no_promise(cloud: ApiCloud, admin: Api, member: Api) -> None:
    policy, rule = await policy_of(admin, 600)
    path = rule.rpartition("/")[0]
    again = {"minimum_bandwidth_rule": {"min_kbps": 1}}
    assert await admin.fault("POST", path, 409, again) == "QoSRulesConflict"
    for wrong in (0, -1, 2**31, "many"):
        await admin("POST", path, 400, {"minimum_bandwidth_rule": {"min_kbps": wrong, "direction": "ingress"}})
    limits = f"/qos/policies/{policy}/bandwidth_limit_rules"
    less = {"bandwidth_limit_rule": {"max_kbps": 599}}
    assert await admin.fault("POST", limits, 409, less) == "QoSRuleParameterConflict"
    await admin("POST", limits, 201, {"bandwidth_limit_rule": {"max_kbps": 600}})
    assert await admin.fault("PUT", rule, 409, {"minimum_bandwidth_rule": {"min_kbps": 601}}) == (
        "QoSRuleParameterConflict")  # fmt: skip
    public = await external(cloud)
    body = {"floatingip": {"floating_network_id": public.id, "qos_policy_id": policy}}
    assert await member.fault("POST", "/floatingips", 400, body) == "QosRuleNotSupported"
    plain = await admin.make("policy", "/qos/policies", name="plain", shared=True)
    await member.make("floatingip", "/floatingips", floating_network_id=public.id, qos_policy_id=plain["id"])
    fault = await admin.fault("POST", f"/qos/policies/{plain['id']}/minimum_bandwidth_rules", 400, again)
    assert fault == "QosRuleNotSupported"
    await member("POST", path, 403, again)
    details = (await admin("GET", "/qos/rule-types/minimum_bandwidth", 200))["rule_type"]
    assert [d["name"] for d in details["drivers"]] == ["placement"]
