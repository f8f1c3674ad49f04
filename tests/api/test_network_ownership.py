"""What a project may not do with networks, ports and routers of another, though it sees or knows them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.compute_calls import Caller
from tests.api.conftest import ApiCloud
from tests.api.test_network_policies import router_spec
from tests.api.test_network_topology import Api, routed
from trilith.commands.address_groups import MOST_ADDRESSES
from trilith.commands.ports import METADATA, SERVICE_OWNERS
from trilith.model.network import Port
from trilith.model.node import QuotaUse


@pytest.fixture
async def admin(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.token())


@pytest.fixture
async def member(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.member())


@pytest.fixture
async def stranger(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.member("bob", "beta"))


async def shared(cloud: ApiCloud, owner: Api, cidr: str = "10.0.0.0/24") -> tuple[Any, Any]:
    """A network of the owner that project beta may use."""
    network = await owner.make("network", name="n")
    subnet = await owner.make("subnet", network_id=network["id"], cidr=cidr, ip_version=4)
    _, beta = await cloud.user("bob", "beta")
    await owner.make("rbac_policy", "/rbac-policies", object_type="network", object_id=network["id"],
                     action="access_as_shared", target_tenant=beta)  # fmt: skip
    return network, subnet


async def ports_used(cloud: ApiCloud, project: str) -> int:
    _, project_id = await cloud.user(*project.split("/"))
    found = await cloud.store.read(lambda r: r.first(QuotaUse, project_id=project_id, resource="port"))
    return found.used if found else 0


@pytest.mark.parametrize("owner", SERVICE_OWNERS)
async def test_ports_of_the_cloud_itself_are_not_made_by_members(
    cloud: ApiCloud, member: Api, admin: Api, owner: str
) -> None:
    """They count in no quota and are guarded by no security group."""
    network = await member.make("network", name="n")
    body = {"port": {"network_id": network["id"], "device_owner": owner}}
    await member("POST", "/ports", 403, body)
    port = await member.make("port", network_id=network["id"])
    before = await ports_used(cloud, "alice/alpha")
    await member("PUT", f"/ports/{port['id']}", 403, {"port": {"device_owner": owner}})
    await member("DELETE", f"/ports/{port['id']}", 204)
    assert await ports_used(cloud, "alice/alpha") == before - 1


async def test_on_anothers_network_no_port_is_without_guards(cloud: ApiCloud, member: Api, stranger: Api) -> None:
    network, _ = await shared(cloud, member)
    await stranger("POST", "/ports", 403, {"port": {"network_id": network["id"], "device_owner": "network:dhcp"}})
    port = await stranger.make("port", network_id=network["id"])
    assert port["port_security_enabled"]
    assert port["security_groups"]
    await stranger("PUT", f"/ports/{port['id']}", 403, {"port": {"device_owner": "network:other"}})
    await stranger("PUT", f"/ports/{port['id']}", 200, {"port": {"device_owner": "compute:nova"}})
    own = await member.make("port", network_id=network["id"], device_owner="network:dhcp")  # the network's owner may
    assert own["device_owner"] == "network:dhcp"


async def test_a_router_is_not_plugged_into_anothers_network(cloud: ApiCloud, member: Api, stranger: Api) -> None:
    _, _, router, _ = await routed(cloud, member)
    before = await router_spec(cloud, router["id"])
    network = await stranger.make("network", name="trap")
    await stranger.make("subnet", network_id=network["id"], cidr="10.66.0.0/24", ip_version=4)
    ask = {"network_id": network["id"], "device_id": router["id"]}
    owner = "network:router_interface"
    await stranger("POST", "/ports", 403, {"port": ask | {"device_owner": owner}})
    assert await stranger.fault("POST", "/ports", 409, {"port": ask}) == "DeviceIDNotOwnedByTenant"
    port = await stranger.make("port", network_id=network["id"])
    await stranger("PUT", f"/ports/{port['id']}", 403, {"port": {"device_id": router["id"], "device_owner": owner}})
    body = {"port": {"device_id": router["id"]}}
    assert await stranger.fault("PUT", f"/ports/{port['id']}", 409, body) == "DeviceIDNotOwnedByTenant"
    assert await router_spec(cloud, router["id"]) == before


async def test_a_routers_own_port_stays_its_own(cloud: ApiCloud, member: Api) -> None:
    _, _, router, _ = await routed(cloud, member)
    port = (await member("GET", f"/ports?device_id={router['id']}&device_owner=network:router_interface", 200))["ports"]
    path = f"/ports/{port[0]['id']}"
    await member("PUT", path, 403, {"port": {"device_owner": ""}})
    await member("PUT", path, 403, {"port": {"device_id": ""}})
    await member("PUT", path, 200, {"port": {"name": "uplink"}})


async def test_a_server_gets_no_port_of_another_project(cloud: ApiCloud, member: Api, stranger: Api) -> None:
    server = await Caller(cloud, member.headers).boot(networks="none", version="2.37")
    network = await stranger.make("network", name="trap")
    ask = {"network_id": network["id"], "device_id": server["id"], "device_owner": "compute:nova"}
    assert await stranger.fault("POST", "/ports", 409, {"port": ask}) == "DeviceIDNotOwnedByTenant"
    port = await stranger.make("port", network_id=network["id"])
    body = {"port": {"device_id": server["id"]}}
    assert await stranger.fault("PUT", f"/ports/{port['id']}", 409, body) == "DeviceIDNotOwnedByTenant"
    assert await cloud.store.read(lambda r: r.select(Port, device_id=server["id"])) == []


async def test_the_networks_metadata_port_is_the_one_it_was_made_with(cloud: ApiCloud, member: Api) -> None:
    network = await member.make("network", name="n")
    await member("POST", "/ports", 403, {"port": {"network_id": network["id"], "device_owner": METADATA}})
    found = await cloud.store.read(lambda r: r.select(Port, network_id=network["id"], device_owner=METADATA))
    assert len(found) == 1


async def test_the_gateway_of_anothers_network_is_not_taken(cloud: ApiCloud, member: Api, stranger: Api) -> None:
    """A router there would be every guest's way out."""
    _, subnet = await shared(cloud, member)
    router = await stranger.make("router", name="r")
    path = f"/routers/{router['id']}/add_router_interface"
    await stranger("PUT", path, 400, {"subnet_id": subnet["id"]})
    # beside the gateway, with a port of its own, it may
    port = await stranger.make("port", network_id=subnet["network_id"])
    await stranger("PUT", path, 200, {"port_id": port["id"]})
    own = await member.make("router", name="r")
    await member("PUT", f"/routers/{own['id']}/add_router_interface", 200, {"subnet_id": subnet["id"]})


async def test_a_networks_owner_sees_others_ports_and_uses_none(cloud: ApiCloud, member: Api, stranger: Api) -> None:
    network, subnet = await shared(cloud, member, "10.1.0.0/24")
    _, inside, router, public = await routed(cloud, member)
    await member("PUT", f"/routers/{router['id']}/remove_router_interface", 200, {"subnet_id": inside["id"]})
    await member("PUT", f"/routers/{router['id']}/add_router_interface", 200, {"subnet_id": subnet["id"]})
    port = await stranger.make("port", network_id=network["id"])
    assert (await member("GET", f"/ports/{port['id']}", 200))["port"]["id"] == port["id"]

    ask = {"floating_network_id": public.id}
    await member("POST", "/floatingips", 403, {"floatingip": ask | {"port_id": port["id"]}})
    floating = await member.make("floatingip", **ask)
    path = f"/floatingips/{floating['id']}"
    await member("PUT", path, 403, {"floatingip": {"port_id": port["id"]}})
    rule = {"protocol": "tcp", "external_port": 80, "internal_port": 80, "internal_port_id": port["id"]}
    await member("POST", f"{path}/port_forwardings", 403, {"port_forwarding": rule})
    await member("POST", "/trunks", 403, {"trunk": {"port_id": port["id"]}})
    parent = await member.make("port", network_id=network["id"])
    subports = [{"port_id": port["id"], "segmentation_id": 5}]
    await member("POST", "/trunks", 403, {"trunk": {"port_id": parent["id"], "sub_ports": subports}})
    trunk = await member.make("trunk", port_id=parent["id"])
    await member("PUT", f"/trunks/{trunk['id']}/add_subports", 403, {"sub_ports": subports})
    second = await member.make("router", name="second")
    await member("PUT", f"/routers/{second['id']}/add_router_interface", 403, {"port_id": port["id"]})
    unchanged = (await stranger("GET", f"/ports/{port['id']}", 200))["port"]
    assert unchanged == port


async def test_what_only_administrators_see_is_no_filter_of_others(cloud: ApiCloud, admin: Api, member: Api) -> None:
    """Else the answer would tell: by one question more, every bit of it."""
    hidden: dict[str, Any] = {"network_type": "vlan", "physical_network": "external", "segmentation_id": 77}
    vlan = await admin.make("network", name="vlan", shared=True, **{f"provider:{n}": v for n, v in hidden.items()})
    for name, value in hidden.items():
        path = f"/networks?id={vlan['id']}&provider:{name}={value}"
        assert [n["id"] for n in (await admin("GET", path, 200))["networks"]] == [vlan["id"]]
        assert (await member("GET", path, 200))["networks"] == []
    port = await member.make("port", network_id=vlan["id"])
    await admin("PUT", f"/ports/{port['id']}", 200, {"port": {"binding:host_id": "sim-1"}})
    path = "/ports?binding:host_id=sim-1"
    assert [p["id"] for p in (await admin("GET", path, 200))["ports"]] == [port["id"]]
    assert (await member("GET", path, 200))["ports"] == []


async def test_one_port_does_not_take_a_networks_addresses(cloud: ApiCloud, member: Api, stranger: Api) -> None:
    network, subnet = await shared(cloud, member)
    ask = {"network_id": network["id"], "fixed_ips": [{"subnet_id": subnet["id"]}] * 65}
    await stranger("POST", "/ports", 400, {"port": ask})
    port = await stranger.make("port", network_id=network["id"])
    await stranger("PUT", f"/ports/{port['id']}", 400, {"port": {"fixed_ips": ask["fixed_ips"]}})


async def test_long_lists_are_refused_before_they_are_worked_on(member: Api) -> None:
    """One writer serves the whole cloud: what takes quadratic time in it is everybody's wait."""
    many = [f"10.{n // 256}.{n % 256}.0/25" for n in range(20_000)]
    pool = await member.make("subnetpool", name="p", prefixes=["172.16.0.0/12"])
    await member("POST", "/subnetpools", 400, {"subnetpool": {"name": "q", "prefixes": many}})
    await member("PUT", f"/subnetpools/{pool['id']}/add_prefixes", 400, {"prefixes": many})
    await member("PUT", f"/subnetpools/{pool['id']}/remove_prefixes", 400, {"prefixes": many})
    group = await member.make("address_group", "/address-groups", name="g", addresses=[])
    await member("PUT", f"/address-groups/{group['id']}/add_addresses", 400, {"addresses": many})
    network = await member.make("network", name="n")
    pools = [{"start": f"10.0.{n // 100}.{2 * (n % 100) + 2}", "end": f"10.0.{n // 100}.{2 * (n % 100) + 2}"}
             for n in range(10_000)]  # fmt: skip
    ask = {"network_id": network["id"], "cidr": "10.0.0.0/16", "ip_version": 4, "allocation_pools": pools}
    await member("POST", "/subnets", 400, {"subnet": ask})
    tags = [f"t{n}" for n in range(51)]
    for noun in ("network", "router", "security_group"):
        path = "/security-groups" if noun == "security_group" else f"/{noun}s"
        await member("POST", path, 400, {noun: {"name": "x", "tags": tags}})


async def test_an_address_group_grows_no_further_than_its_bound(member: Api) -> None:
    group = await member.make("address_group", "/address-groups", name="g", addresses=[])
    path = f"/address-groups/{group['id']}/add_addresses"
    await member("PUT", path, 200, {"addresses": [f"10.0.{n // 256}.{n % 256}" for n in range(MOST_ADDRESSES)]})
    assert await member.fault("PUT", path, 400, {"addresses": ["10.9.9.9"]}) == "InvalidInput"
