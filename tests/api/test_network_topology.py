"""Networks, subnets, ports, routers and floating IPs over the API, on two simulated nodes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.api.conftest import ApiCloud
from trilith.commands.networks import ensure_external
from trilith.model.network import Network, Port
from trilith.store.tx import Reader

N = "/network/v2.0"


class Api:
    """The network API in one user's name."""

    def __init__(self, cloud: ApiCloud, headers: dict[str, str]) -> None:
        self.cloud, self.headers = cloud, headers

    async def __call__(self, method: str, path: str, status: int, body: Any = None, **kwargs: Any) -> Any:
        headers = {**self.headers, **kwargs.pop("headers", {})}
        answer = await self.cloud.client.request(method, N + path, headers=headers, json=body, **kwargs)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def make(self, noun: str, path: str = "", **fields: Any) -> Any:
        return (await self("POST", path or f"/{noun}s", 201, {noun: fields}))[noun]

    async def fault(self, method: str, path: str, status: int, body: Any = None, **kwargs: Any) -> str:
        """The exception's name."""
        return str((await self(method, path, status, body, **kwargs))["NeutronError"]["type"])


@pytest.fixture
async def admin(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.token())


@pytest.fixture
async def member(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.member())


async def external(cloud: ApiCloud) -> Network:
    found: Network = await cloud.store.write(lambda tx: ensure_external(tx, cidr="172.24.4.0/24"))
    return found


async def routed(cloud: ApiCloud, api: Api) -> tuple[Any, Any, Any, Network]:
    """A network with its subnet behind a router to `public`."""
    public = await external(cloud)
    network = await api.make("network", name="inside")
    subnet = await api.make("subnet", network_id=network["id"], cidr="10.1.0.0/24", ip_version=4)
    router = await api.make("router", name="r", external_gateway_info={"network_id": public.id})
    await api("PUT", f"/routers/{router['id']}/add_router_interface", 200, {"subnet_id": subnet["id"]})
    return network, subnet, router, public


async def test_a_network_with_its_subnet_and_port(cloud: ApiCloud, member: Api) -> None:
    network = await member.make("network", name="n1", description="first")
    assert network["status"] == "ACTIVE"
    assert network["mtu"] == 1500 - 58
    assert network["router:external"] is False
    assert "provider:network_type" not in network
    subnet = await member.make("subnet", network_id=network["id"], cidr="10.0.0.0/24", ip_version=4)
    assert subnet["gateway_ip"] == "10.0.0.1"
    assert subnet["allocation_pools"] == [{"start": "10.0.0.2", "end": "10.0.0.254"}]
    metadata = await member("GET", f"/ports?network_id={network['id']}&device_owner=network:distributed", 200)
    assert metadata["ports"][0]["fixed_ips"] == [{"subnet_id": subnet["id"], "ip_address": "10.0.0.2"}]
    port = await member.make("port", network_id=network["id"], name="p", dns_name="web")
    assert port["mac_address"].startswith("fa:16:3e:")
    address = port["fixed_ips"][0]["ip_address"]
    assert address not in ("10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.255")
    assert port["dns_assignment"] == [{"hostname": "web", "ip_address": address, "fqdn": "web.openstacklocal."}]
    assert len(port["security_groups"]) == 1
    assert port["status"] == "DOWN"
    shown = await member("GET", f"/ports/{port['id']}", 200)
    assert shown["port"] == port
    found = await member("GET", f"/ports?fixed_ips=ip_address%3D{address}&fields=id", 200)
    assert found["ports"] == [{"id": port["id"]}]
    assert await member.fault("DELETE", f"/networks/{network['id']}", 409) == "NetworkInUse"
    assert await member.fault("DELETE", f"/subnets/{subnet['id']}", 409) == "SubnetInUse"
    await member("DELETE", f"/ports/{port['id']}", 204)
    await member("DELETE", f"/networks/{network['id']}", 204)
    assert (await member("GET", "/networks?router:external=False", 200))["networks"] == []
    left = await cloud.store.read(lambda r: r.count(Port, network_id=network["id"]))
    assert left == 0


async def test_what_a_subnet_may_not_be(member: Api) -> None:
    network = (await member.make("network"))["id"]
    make = {"network_id": network, "ip_version": 4}

    async def refuse(status: int, **fields: Any) -> str:
        return await member.fault("POST", "/subnets", status, {"subnet": {**make, **fields}})

    await member.make("subnet", cidr="10.0.0.0/24", **make)
    assert await refuse(400, cidr="10.0.0.128/25") == "InvalidInput"
    assert await refuse(400, cidr="10.2.0.1/24") == "InvalidInput"
    assert await refuse(400, cidr="2001:db8::/64") == "InvalidInput"
    assert await refuse(400, cidr="10.3.0.0/24", gateway_ip="10.3.0.0") == "InvalidInput"
    pools = [{"start": "10.3.0.1", "end": "10.3.0.9"}]
    conflict = "GatewayConflictWithAllocationPools"
    assert await refuse(409, cidr="10.3.0.0/24", gateway_ip="10.3.0.5", allocation_pools=pools) == conflict
    assert await refuse(400, cidr="10.3.0.0/24", allocation_pools=[{"start": "10.4.0.1", "end": "10.4.0.2"}]) == (
        "OutOfBoundsAllocationPool"
    )
    twice = [{"start": "10.3.0.3", "end": "10.3.0.9"}, {"start": "10.3.0.9", "end": "10.3.0.20"}]
    assert await refuse(409, cidr="10.3.0.0/24", allocation_pools=twice) == "OverlappingAllocationPools"
    assert await refuse(400, cidr="10.3.0.0/24", dns_nameservers=["x"]) == "InvalidInput"
    assert await refuse(400, cidr="10.3.0.0/24", bogus=1) == "HTTPBadRequest"
    bad = [("dhcpv6-stateless", "dhcpv6-stateful"), ("dhcpv6-stateless", "slaac"), ("slaac", "dhcpv6-stateful"),
           ("dhcpv6-stateful", "dhcpv6-stateless"), ("dhcpv6-stateful", "slaac"),
           ("slaac", "dhcpv6-stateless")]  # fmt: skip
    for ra, address in bad:
        six = {"ip_version": 6, "cidr": "2001:db8::/64", "ipv6_ra_mode": ra, "ipv6_address_mode": address}
        assert await refuse(400, **six) == "InvalidInput"
    missing = {**make, "network_id": "nope", "cidr": "10.5.0.0/24"}
    assert await member.fault("POST", "/subnets", 404, {"subnet": missing}) == "NetworkNotFound"


async def test_addresses_that_guests_make_themselves(member: Api) -> None:
    network = (await member.make("network"))["id"]
    before = await member.make("subnet", network_id=network, cidr="10.0.0.0/24", ip_version=4)
    early = await member.make("port", network_id=network, mac_address="fa:16:3e:00:00:02")
    slaac = await member.make(
        "subnet", network_id=network, cidr="2001:db8:1::/64", ip_version=6, ipv6_ra_mode="slaac",
        ipv6_address_mode="slaac",
    )  # fmt: skip
    port = await member.make("port", network_id=network, mac_address="fa:16:3e:00:00:01")
    by_subnet = {ip["subnet_id"]: ip["ip_address"] for ip in port["fixed_ips"]}
    assert by_subnet[slaac["id"]] == "2001:db8:1:0:f816:3eff:fe00:1"
    assert before["id"] in by_subnet
    # who was there before the prefix has an address in it, too
    early = (await member("GET", f"/ports/{early['id']}", 200))["port"]
    assert {"subnet_id": slaac["id"], "ip_address": "2001:db8:1:0:f816:3eff:fe00:2"} in early["fixed_ips"]
    chosen = {"subnet_id": slaac["id"], "ip_address": "2001:db8:1::99"}
    body = {"port": {"network_id": network, "fixed_ips": [chosen]}}
    assert await member.fault("POST", "/ports", 400, body) == "AllocationOnAutoAddressSubnet"
    # and it goes with its subnet, without asking the ports
    await member("DELETE", f"/subnets/{slaac['id']}", 204)
    early = (await member("GET", f"/ports/{early['id']}", 200))["port"]
    assert [ip["subnet_id"] for ip in early["fixed_ips"]] == [before["id"]]


async def test_chosen_addresses(member: Api) -> None:
    network = (await member.make("network"))["id"]
    subnet = (await member.make("subnet", network_id=network, cidr="10.0.0.0/24", ip_version=4))["id"]
    ip = {"subnet_id": subnet, "ip_address": "10.0.0.77"}
    port = await member.make("port", network_id=network, fixed_ips=[ip])
    assert port["fixed_ips"] == [ip]
    body = {"port": {"network_id": network, "fixed_ips": [ip]}}
    assert await member.fault("POST", "/ports", 409, body) == "IpAddressAlreadyAllocated"
    body = {"port": {"network_id": network, "fixed_ips": [{"ip_address": "10.9.0.1"}]}}
    assert await member.fault("POST", "/ports", 400, body) == "InvalidIpForNetwork"
    body = {"port": {"network_id": network, "fixed_ips": [{"subnet_id": subnet, "ip_address": "10.9.0.1"}]}}
    assert await member.fault("POST", "/ports", 400, body) == "InvalidIpForSubnet"
    body = {"port": {"network_id": network, "mac_address": port["mac_address"]}}
    assert await member.fault("POST", "/ports", 409, body) == "MacAddressInUse"
    two = [{"subnet_id": subnet}, {"subnet_id": subnet}]
    path = f"/ports/{port['id']}"
    changed = (await member("PUT", path, 200, {"port": {"fixed_ips": two}}))["port"]
    assert len(changed["fixed_ips"]) == 2
    assert ip in changed["fixed_ips"]
    changed = (await member("PUT", path, 200, {"port": {"fixed_ips": [ip]}}))["port"]
    assert changed["fixed_ips"] == [ip]


async def test_a_small_subnet_fills_up(member: Api) -> None:
    network = (await member.make("network"))["id"]
    await member.make("subnet", network_id=network, cidr="10.0.0.0/29", ip_version=4)
    got = {(await member.make("port", network_id=network))["fixed_ips"][0]["ip_address"] for _ in range(4)}
    assert got == {"10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"}
    assert await member.fault("POST", "/ports", 409, {"port": {"network_id": network}}) == "IpAddressGenerationFailure"


async def test_a_floating_ip_needs_a_way_in(cloud: ApiCloud, member: Api) -> None:
    network, _, router, public = await routed(cloud, member)
    port = await member.make("port", network_id=network["id"])
    floating = await member.make("floatingip", floating_network_id=public.id, port_id=port["id"])
    assert floating["router_id"] == router["id"]
    assert floating["fixed_ip_address"] == port["fixed_ips"][0]["ip_address"]
    shown = floating
    for _ in range(100):
        shown = (await member("GET", f"/floatingips/{floating['id']}", 200))["floatingip"]
        if shown["status"] == "ACTIVE":
            break
        await asyncio.sleep(0.02)
    assert shown["status"] == "ACTIVE"
    path = f"/routers/{router['id']}"
    in_use = "RouterExternalGatewayInUseByFloatingIp"
    assert await member.fault("PUT", path, 409, {"router": {"external_gateway_info": {}}}) == in_use
    assert await member.fault("DELETE", path, 409) == "RouterInUse"
    again = {"floatingip": {"floating_network_id": public.id, "port_id": port["id"]}}
    assert await member.fault("POST", "/floatingips", 409, again) == "FloatingIPPortAlreadyAssociated"
    lonely = await member.make("network")
    await member.make("subnet", network_id=lonely["id"], cidr="10.7.0.0/24", ip_version=4)
    far = await member.make("port", network_id=lonely["id"])
    body = {"floatingip": {"floating_network_id": public.id, "port_id": far["id"]}}
    assert await member.fault("POST", "/floatingips", 404, body) == "ExternalGatewayForFloatingIPNotFound"
    body = {"floatingip": {"floating_network_id": lonely["id"]}}
    assert await member.fault("POST", "/floatingips", 400, body) == "BadRequest"
    await member("DELETE", f"/ports/{port['id']}", 204)
    shown = (await member("GET", f"/floatingips/{floating['id']}", 200))["floatingip"]
    assert (shown["port_id"], shown["router_id"], shown["fixed_ip_address"], shown["status"]) == (
        None, None, None, "DOWN",
    )  # fmt: skip
    await member("DELETE", f"/floatingips/{floating['id']}", 204)
    await member("PUT", path, 200, {"router": {"external_gateway_info": None}})


async def test_router_interfaces_and_routes(cloud: ApiCloud, member: Api) -> None:
    network, subnet, router, public = await routed(cloud, member)
    path = f"/routers/{router['id']}"
    twin = await member.make("network")
    overlap = await member.make("subnet", network_id=twin["id"], cidr="10.1.0.0/25", ip_version=4)
    add = f"{path}/add_router_interface"
    assert await member.fault("PUT", add, 400, {"subnet_id": overlap["id"]}) == "BadRequest"
    assert await member.fault("PUT", add, 400, {"subnet_id": subnet["id"]}) == "BadRequest"
    assert await member.fault("PUT", add, 400, {}) == "BadRequest"
    assert await member.fault("PUT", add, 404, {"subnet_id": "nope"}) == "SubnetNotFound"
    second = await member.make("subnet", network_id=twin["id"], cidr="10.8.0.0/24", ip_version=4)
    port = await member.make("port", network_id=twin["id"], fixed_ips=[{"subnet_id": second["id"]}])
    made = await member("PUT", add, 200, {"port_id": port["id"]})
    assert (made["port_id"], made["subnet_id"], made["id"]) == (port["id"], second["id"], router["id"])
    assert await member.fault("PUT", add, 409, {"port_id": port["id"]}) == "PortInUse"
    assert await member.fault("DELETE", f"/ports/{port['id']}", 409) == "ServicePortInUse"
    listed = await member("GET", f"/ports?device_id={router['id']}&device_owner=network:router_interface", 200)
    assert len(listed["ports"]) == 2
    hop = {"destination": "192.168.9.0/24", "nexthop": "10.8.0.200"}
    routes = {"router": {"routes": [hop]}}
    assert (await member("PUT", path, 200, routes))["router"]["routes"] == [hop]
    far = {"router": {"routes": [{"destination": "192.168.9.0/24", "nexthop": "9.9.9.9"}]}}
    assert await member.fault("PUT", path, 400, far) == "InvalidRoutes"
    drop = f"{path}/remove_router_interface"
    assert await member.fault("PUT", drop, 409, {"port_id": port["id"]}) == "RouterInterfaceInUseByRoute"
    other = {"destination": "192.168.10.0/24", "nexthop": "10.8.0.200"}
    both = await member("PUT", f"{path}/add_extraroutes", 200, {"router": {"routes": [hop, other]}})
    assert both["router"]["routes"] == [hop, other]
    await member("PUT", f"{path}/remove_extraroutes", 200, {"router": {"routes": [hop, other]}})
    await member("PUT", drop, 200, {"port_id": port["id"]})
    assert await member.fault("PUT", drop, 404, {"subnet_id": second["id"]}) == "RouterInterfaceNotFoundForSubnet"
    bad = {"router": {"external_gateway_info": {"network_id": network["id"]}}}
    assert await member.fault("PUT", path, 400, bad) == "BadRequest"
    bad = {"router": {"external_gateway_info": {"network_id": router["id"]}}}
    assert await member.fault("PUT", path, 404, bad) == "NetworkNotFound"
    forbidden = {"router": {"external_gateway_info": {"network_id": public.id, "enable_snat": False}}}
    assert await member.fault("PUT", path, 403, forbidden) == "PolicyNotAuthorized"


async def test_the_backend_follows(cloud: ApiCloud, member: Api) -> None:
    """What the API answered is in the driver a moment later, and goes with its rows."""
    network, _, router, _ = await routed(cloud, member)
    port = await member.make("port", network_id=network["id"], dns_name="web", name="p")
    fabric = cloud.cloud.services.network

    async def settled() -> dict[tuple[str, str], int]:
        for _ in range(150):
            left = await cloud.store.read(_pending)
            if not left:
                break
            await asyncio.sleep(0.02)
        return {(o.kind, o.id): o.revision for o in await fabric.owned()}

    owned = await settled()
    assert ("port", port["id"]) in owned
    assert ("router", router["id"]) in owned
    assert ("security_group", port["security_groups"][0]) in owned
    nouns = fabric.nouns  # type: ignore[attr-defined]
    spec = nouns["network", network["id"]]
    assert ("web", (port["fixed_ips"][0]["ip_address"],)) in spec.names
    assert spec.subnets[0].metadata_ip == "10.1.0.2"
    assert nouns["router", router["id"]].gateway.snat_cidrs == ("10.1.0.0/24",)
    before = await cloud.store.head()
    await asyncio.sleep(0.1)
    assert await cloud.store.head() == before, "the reconciler wakes itself"
    await member("DELETE", f"/ports/{port['id']}", 204)
    for _ in range(150):
        owned = {(o.kind, o.id): o.revision for o in await fabric.owned()}
        if ("port", port["id"]) not in owned:
            break
        await asyncio.sleep(0.02)
    assert ("port", port["id"]) not in owned


def _pending(reader: Reader) -> int:
    from trilith.reconcile.topology import KINDS
    from trilith.store.mapping import REGISTRY

    return sum(
        reader.count(cls, REGISTRY[cls].table.c.generation != REGISTRY[cls].table.c.applied_revision)
        for cls in KINDS.values()
    )


async def test_a_thousand_ports_are_listed_fast_enough(cloud: ApiCloud, admin: Api) -> None:
    """No time is asserted (make bench does that); the number of statements is what keeps it fast."""
    network = (await admin.make("network"))["id"]
    await admin("PUT", f"/quotas/{network}", 200, {"quota": {"port": -1}})
    project = (await admin("GET", f"/networks/{network}", 200))["network"]["project_id"]
    await admin("PUT", f"/quotas/{project}", 200, {"quota": {"port": -1}})
    await admin.make("subnet", network_id=network, cidr="10.0.0.0/16", ip_version=4)
    for _ in range(5):
        await admin("POST", "/ports", 201, {"ports": [{"network_id": network}] * 200})
    begun = time.perf_counter()
    listed = await admin("GET", f"/ports?network_id={network}&device_owner=", 200)
    print(f"1000 ports in {(time.perf_counter() - begun) * 1000:.0f} ms")
    assert len(listed["ports"]) == 1000
    assert len({p["fixed_ips"][0]["ip_address"] for p in listed["ports"]}) == 1000
