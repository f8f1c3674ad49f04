"""Agents as views of nodes: who answers DHCP for a network, and where a router's floating IPs and gateway are."""

from __future__ import annotations

import pytest

from tests.api.conftest import ApiCloud
from tests.api.test_network_topology import Api, external
from trilith.model.network import Network, Router
from trilith.reconcile import topology


@pytest.fixture
async def admin(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.token())


@pytest.fixture
async def member(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.member())


async def test_a_network_is_taken_from_a_dhcp_agent_and_given_back(cloud: ApiCloud, admin: Api, member: Api) -> None:
    network = await member.make("network", "/networks", name="n")
    # Neutron's database is blind to case, and clients count on it
    agents = (await admin("GET", "/agents?agent_type=DHCP%20Agent", 200))["agents"]
    assert {a["host"] for a in agents} == {"sim-1", "sim-2"}
    agent = agents[0]
    hosted = f"/agents/{agent['id']}/dhcp-networks"

    async def hosts() -> bool:
        found = {n["id"] for n in (await admin("GET", hosted, 200))["networks"]}
        here = {a["id"] for a in (await admin("GET", f"/networks/{network['id']}/dhcp-agents", 200))["agents"]}
        assert (network["id"] in found) == (agent["id"] in here)
        return network["id"] in found

    assert await hosts()
    body = {"network_id": network["id"]}
    assert await admin.fault("POST", hosted, 409, body) == "NetworkHostedByDHCPAgent"
    await member("DELETE", f"{hosted}/{network['id']}", 403)
    await admin("DELETE", f"{hosted}/{network['id']}", 204)
    assert not await hosts()
    assert await admin.fault("DELETE", f"{hosted}/{network['id']}", 409) == "NetworkNotHostedByDhcpAgent"
    await admin("POST", hosted, 201, body)
    assert await hosts()
    await admin("POST", hosted, 404, {"network_id": "nobody"})
    other = next(a for a in (await admin("GET", "/agents", 200))["agents"] if a["agent_type"] != "DHCP agent")
    assert await admin.fault("POST", f"/agents/{other['id']}/dhcp-networks", 409, body) == "InvalidDHCPAgent"
    await admin("DELETE", f"{hosted}/{network['id']}", 204)
    await member("DELETE", f"/networks/{network['id']}", 204)  # with what was said of it
    assert await cloud.store.read(lambda r: r.find(Network, network["id"])) is None


async def test_distributed_and_ha_are_an_administrators_and_in_the_routers_spec(
    cloud: ApiCloud, admin: Api, member: Api
) -> None:
    public = await external(cloud)
    for field in ("distributed", "ha"):
        await member("POST", "/routers", 403, {"router": {field: True}})
    mine = await member.make("router", "/routers", name="mine")
    assert "distributed" not in mine
    gateway = {"network_id": public.id}
    router = await admin.make(
        "router", "/routers", distributed=False, ha=False, admin_state_up=False, external_gateway_info=gateway
    )
    assert (router["distributed"], router["ha"]) == (False, False)

    async def standbys() -> bool:
        spec = (await cloud.store.read(lambda r: topology.routers(r, [router["id"]])))[0]
        assert spec.gateway is not None
        return spec.gateway.standbys

    assert not await standbys()
    path = f"/routers/{router['id']}"
    changed = (await admin("PUT", path, 200, {"router": {"distributed": True, "ha": True}}))["router"]
    assert (changed["distributed"], changed["ha"]) == (True, True)
    assert await standbys()
    await admin("PUT", path, 200, {"router": {"admin_state_up": True}})
    assert await admin.fault("PUT", path, 400, {"router": {"distributed": False}}) == "BadRequest"
    assert (await cloud.store.read(lambda r: r.get(Router, router["id"]))).distributed
