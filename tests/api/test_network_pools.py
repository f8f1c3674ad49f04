"""Where a network's prefixes come from, and names in the DNS: what Neutron refuses there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.compute_calls import admin as compute_admin
from tests.api.conftest import ApiCloud
from tests.api.test_network_topology import Api, admin, member, routed  # noqa: F401  fixtures


async def pool(api: Api, prefix: str, **more: Any) -> str:
    made = await api.make("subnetpool", name=prefix, prefixes=[prefix], default_prefixlen=26, **more)
    return str(made["id"])


async def test_a_networks_subnets_of_a_version_come_from_one_pool(admin: Api) -> None:  # noqa: F811
    one, other = await pool(admin, "10.100.0.0/16"), await pool(admin, "10.101.0.0/16")
    network = (await admin.make("network", name="n"))["id"]

    def wanted(**more: Any) -> dict[str, Any]:
        return {"subnet": {"network_id": network, "ip_version": 4, **more}}

    await admin("POST", "/subnets", 201, wanted(subnetpool_id=one))
    await admin("POST", "/subnets", 201, wanted(subnetpool_id=one))
    refused = await admin.fault("POST", "/subnets", 400, wanted(subnetpool_id=other))
    assert refused == "NetworkSubnetPoolAffinityError"
    # the reverse is allowed, as in Neutron: a prefix of one's own beside those of a pool
    await admin("POST", "/subnets", 201, wanted(cidr="192.168.7.0/24"))
    assert await admin.fault("POST", "/subnets", 400, wanted(subnetpool_id=one)) == "NetworkSubnetPoolAffinityError"
    six = await admin.make("subnetpool", name="six", prefixes=["fd00:1::/48"], default_prefixlen=64)
    await admin(
        "POST", "/subnets", 201, {"subnet": {"network_id": network, "ip_version": 6, "subnetpool_id": six["id"]}}
    )


async def test_pools_of_one_scope_serve_one_network(admin: Api) -> None:  # noqa: F811
    scopes = [(await admin.make("address_scope", "/address-scopes", name=n, ip_version=4))["id"] for n in ("a", "b")]
    first = await pool(admin, "10.110.0.0/16", address_scope_id=scopes[0])
    second = await pool(admin, "10.111.0.0/16", address_scope_id=scopes[0])
    strange = await pool(admin, "10.112.0.0/16", address_scope_id=scopes[1])
    network = (await admin.make("network", name="n"))["id"]
    for id in (first, second):
        await admin("POST", "/subnets", 201, {"subnet": {"network_id": network, "ip_version": 4, "subnetpool_id": id}})
    body = {"subnet": {"network_id": network, "ip_version": 4, "subnetpool_id": strange}}
    assert await admin.fault("POST", "/subnets", 400, body) == "NetworkAddressScopeAffinityError"


@pytest.mark.parametrize(
    "wanted", [{"ip_version": 6}, {"ip_version": 4, "cidr": "10.100.1.0/26", "prefixlen": 26}], ids=["version", "both"]
)
async def test_what_a_pool_does_not_give(admin: Api, wanted: dict[str, Any]) -> None:  # noqa: F811
    id = await pool(admin, "10.100.0.0/16")
    network = (await admin.make("network", name="n"))["id"]
    body = {"subnet": {"network_id": network, "subnetpool_id": id, **wanted}}
    assert await admin.fault("POST", "/subnets", 400, body) == "BadRequest"
    assert (await admin("GET", f"/subnets?network_id={network}", 200))["subnets"] == []


async def test_an_address_with_forwarded_ports_gets_no_floating_ip(cloud: ApiCloud, member: Api) -> None:  # noqa: F811
    network, _, _, public = await routed(cloud, member)
    port = await member.make("port", network_id=network["id"])
    inside = port["fixed_ips"][0]["ip_address"]
    first = (await member.make("floatingip", floating_network_id=public.id))["id"]
    rule = {"protocol": "tcp", "external_port": 80, "internal_port": 80, "internal_port_id": port["id"],
            "internal_ip_address": inside}  # fmt: skip
    made = await member("POST", f"/floatingips/{first}/port_forwardings", 201, {"port_forwarding": rule})
    body = {"floatingip": {"floating_network_id": public.id, "port_id": port["id"]}}
    assert await member.fault("POST", "/floatingips", 409, body) == "PortHasPortForwarding"
    await member("DELETE", f"/floatingips/{first}/port_forwardings/{made['port_forwarding']['id']}", 204)
    await member("POST", "/floatingips", 201, body)


@pytest.mark.parametrize("domain", ["no dot", "example.org", "bad name.org.", "a..b.", "x.123.", f"{'a.' * 127}"])
async def test_a_networks_domain_is_a_whole_name(admin: Api, domain: str) -> None:  # noqa: F811
    assert (
        await admin.fault("POST", "/networks", 400, {"network": {"name": "n", "dns_domain": domain}}) == "InvalidInput"
    )
    made = await admin.make("network", name="n", dns_domain="example.org.")
    body = {"network": {"dns_domain": domain}}
    assert await admin.fault("PUT", f"/networks/{made['id']}", 400, body) == "InvalidInput"
    await admin("PUT", f"/networks/{made['id']}", 200, {"network": {"dns_domain": ""}})


async def test_servers_of_all_projects_are_asked_for_with_a_boolean(cloud: ApiCloud) -> None:
    root = await compute_admin(cloud)
    answer = await cloud.call("GET", "/compute/v2.1/servers?all_tenants=maybe", await cloud.token())
    assert (answer.status_code, list(answer.json())) == (400, ["badRequest"])
    for word in ("", "1", "True", "0"):
        assert (await root.get(f"/servers?all_tenants={word}"))["servers"] == []
