"""Security groups, quotas, sharing, tags, lists and their pages, discovery: what all network resources have."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.api.conftest import ApiCloud
from tests.api.test_network_topology import Api, external
from trilith.model.network import SecurityGroup


@pytest.fixture
async def admin(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.token())


@pytest.fixture
async def member(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.member())


@pytest.fixture
async def stranger(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.member("bob", "beta"))


async def group(api: Api, **fields: Any) -> Any:
    return await api.make("security_group", "/security-groups", **fields)


async def test_the_default_group_is_made_on_first_use(cloud: ApiCloud, member: Api) -> None:
    first = (await member("GET", "/security-groups", 200))["security_groups"]
    assert [g["name"] for g in first] == ["default"]
    rules = {(r["direction"], r["ethertype"], r["remote_group_id"]) for r in first[0]["security_group_rules"]}
    own = first[0]["id"]
    assert rules == {
        ("egress", "IPv4", None), ("egress", "IPv6", None), ("ingress", "IPv4", own), ("ingress", "IPv6", own),
    }  # fmt: skip
    await member("GET", "/security-groups", 200)
    again = (await member("GET", "/security-groups", 200))["security_groups"]
    assert again == first
    path = f"/security-groups/{own}"
    assert await member.fault("PUT", path, 409, {"security_group": {"name": "x"}}) == "SecurityGroupCannotUpdateDefault"
    assert await member.fault("DELETE", path, 409) == "SecurityGroupCannotRemoveDefault"
    body = {"security_group": {"name": "default"}}
    assert await member.fault("POST", "/security-groups", 409, body) == "SecurityGroupDefaultAlreadyExists"
    assert await cloud.store.read(lambda r: r.count(SecurityGroup, default=True, name="default")) == 1


@pytest.mark.parametrize(
    ("fields", "status", "name", "words"),
    [
        ({"protocol": "bad_name"}, 400, "SecurityGroupRuleInvalidProtocol", "not supported"),
        ({"protocol": "256"}, 400, "SecurityGroupRuleInvalidProtocol", "not supported"),
        ({"protocol": "tcp", "port_range_min": -16, "port_range_max": 80}, 400, "SecurityGroupInvalidPortValue",
         "Invalid value for port -16"),
        ({"protocol": "tcp", "port_range_min": 80, "port_range_max": 79}, 400, "SecurityGroupInvalidPortRange",
         "port_range_min must be <= port_range_max"),
        ({"protocol": "tcp", "port_range_min": 80, "port_range_max": 65536}, 400, "SecurityGroupInvalidPortValue",
         "Invalid value for port 65536"),
        ({"protocol": "tcp", "port_range_max": 6}, 400, "SecurityGroupInvalidPortRange",
         "port_range_min must be <= port_range_max"),
        ({"protocol": "icmp", "port_range_min": 1, "port_range_max": 256}, 400, "SecurityGroupInvalidIcmpValue",
         "Invalid value for ICMP code"),
        ({"protocol": "icmp", "port_range_max": 6}, 400, "SecurityGroupMissingIcmpType",
         "ICMP type (port-range-min) is missing"),
        ({"protocol": "icmp", "port_range_min": 300, "port_range_max": 1}, 400, "SecurityGroupInvalidIcmpValue",
         "Invalid value for ICMP type"),
        ({"port_range_min": 1, "port_range_max": 1}, 400, "SecurityGroupInvalidProtocolForPort", "only supported"),
        ({"ethertype": "bad"}, 400, "InvalidInput", "ethertype"),
        ({"remote_ip_prefix": "192.168.1./24"}, 400, "InvalidInput", "remote_ip_prefix"),
        ({"remote_ip_prefix": "10.0.0.0/8", "ethertype": "IPv6"}, 400, "SecurityGroupRuleParameterConflict", "CIDR"),
        ({"remote_group_id": "bad_group_id"}, 404, "SecurityGroupNotFound", "bad_group_id"),
        ({"protocol": "ipv6-icmp"}, 400, "SecurityGroupEthertypeConflictWithProtocol", "ethertype"),
    ],
)  # fmt: skip
async def test_rules_that_cannot_be(member: Api, fields: dict[str, Any], status: int, name: str, words: str) -> None:
    own = (await group(member, name="g"))["id"]
    body = {"security_group_rule": {"security_group_id": own, "direction": "ingress", **fields}}
    refused = (await member("POST", "/security-group-rules", status, body))["NeutronError"]
    assert refused["type"] == name
    assert words in refused["message"]


async def test_rules_come_and_go_with_their_group(member: Api, stranger: Api) -> None:
    one, two = await group(member, name="one"), await group(member, name="two")
    fields = {"security_group_id": one["id"], "direction": "ingress", "protocol": "tcp",
              "port_range_min": 22, "port_range_max": 22}  # fmt: skip
    rule = await member.make("security_group_rule", "/security-group-rules", **fields)
    assert (rule["protocol"], rule["port_range_min"], rule["remote_ip_prefix"]) == ("tcp", 22, None)
    body = {"security_group_rule": {**fields, "protocol": "6"}}
    assert await member.fault("POST", "/security-group-rules", 409, body) == "SecurityGroupRuleExists"
    fields = {"security_group_id": one["id"], "direction": "ingress", "remote_group_id": two["id"]}
    remote = await member.make("security_group_rule", "/security-group-rules", **fields)
    shown = (await member("GET", f"/security-groups/{one['id']}", 200))["security_group"]
    assert len(shown["security_group_rules"]) == 4
    assert shown["revision_number"] > one["revision_number"]
    await stranger("GET", f"/security-groups/{one['id']}", 404)
    await stranger("DELETE", f"/security-group-rules/{rule['id']}", 404)
    network = (await member.make("network"))["id"]
    port = await member.make("port", network_id=network, security_groups=[two["id"]])
    assert await member.fault("DELETE", f"/security-groups/{two['id']}", 409) == "SecurityGroupInUse"
    await member("PUT", f"/ports/{port['id']}", 200, {"port": {"security_groups": []}})
    await member("DELETE", f"/security-groups/{two['id']}", 204)
    await member("GET", f"/security-group-rules/{remote['id']}", 404)
    await member("DELETE", f"/security-groups/{one['id']}", 204)
    await member("GET", f"/security-group-rules/{rule['id']}", 404)
    used = await member("GET", f"/quotas/{port['project_id']}/details", 200)
    assert used["quota"]["security_group_rule"] == {"limit": 100, "used": 0, "reserved": 0}
    assert used["quota"]["security_group"]["used"] == 0


async def test_port_security(member: Api) -> None:
    network = (await member.make("network"))["id"]
    pair = [{"ip_address": "10.0.0.9"}]
    port = await member.make("port", network_id=network, allowed_address_pairs=pair)
    assert port["allowed_address_pairs"] == [{"ip_address": "10.0.0.9", "mac_address": port["mac_address"]}]
    path = f"/ports/{port['id']}"
    off: dict[str, Any] = {"port": {"port_security_enabled": False}}
    assert await member.fault("PUT", path, 409, off) == "PortSecurityPortHasSecurityGroup"
    off = {"port": {"port_security_enabled": False, "security_groups": [], "allowed_address_pairs": []}}
    assert (await member("PUT", path, 200, off))["port"]["security_groups"] == []
    pairs = {"port": {"allowed_address_pairs": pair}}
    assert await member.fault("PUT", path, 409, pairs) == "AddressPairAndPortSecurityRequired"
    options = [{"opt_name": "bootfile-name", "opt_value": "pxelinux.0"}]
    changed = (await member("PUT", path, 200, {"port": {"extra_dhcp_opts": options}}))["port"]
    assert changed["extra_dhcp_opts"] == [{**options[0], "ip_version": 4}]
    gone = [{"opt_name": "bootfile-name", "opt_value": None}]
    assert (await member("PUT", path, 200, {"port": {"extra_dhcp_opts": gone}}))["port"]["extra_dhcp_opts"] == []


async def test_quota(admin: Api, member: Api) -> None:
    network = await member.make("network")
    project = network["project_id"]
    body = {"quota": {"network": 1}}
    assert (await admin("PUT", f"/quotas/{project}", 200, body))["quota"]["network"] == 1
    assert await member.fault("POST", "/networks", 409, {"network": {}}) == "OverQuota"
    two = {"networks": [{"name": "a"}, {"name": "b"}]}
    await admin("PUT", f"/quotas/{project}", 200, {"quota": {"network": 2}})
    assert await member.fault("POST", "/networks", 409, two) == "OverQuota"
    details = (await member("GET", f"/quotas/{project}/details", 200))["quota"]
    assert details["network"] == {"limit": 2, "used": 1, "reserved": 0}
    assert [q["project_id"] for q in (await admin("GET", "/quotas", 200))["quotas"]] == [project]
    await member("PUT", f"/quotas/{project}", 403, body)
    await member("GET", "/quotas/other", 403)
    await admin("DELETE", f"/quotas/{project}", 204)
    assert (await member("GET", f"/quotas/{project}", 200))["quota"]["network"] == 100
    assert (await member("GET", f"/quotas/{project}/default", 200))["quota"]["port"] == 500
    await member("DELETE", f"/networks/{network['id']}", 204)
    assert (await member("GET", f"/quotas/{project}/details", 200))["quota"]["network"]["used"] == 0


async def test_what_only_administrators_may(admin: Api, member: Api, stranger: Api) -> None:
    for field in ({"shared": True}, {"router:external": True}, {"provider:network_type": "vlan"}):
        assert await member.fault("POST", "/networks", 403, {"network": field}) == "PolicyNotAuthorized"
    vlan = {"provider:network_type": "vlan", "provider:physical_network": "external", "provider:segmentation_id": 7}
    made = await admin.make("network", **vlan)
    assert made["provider:segmentation_id"] == 7
    assert await admin.fault("POST", "/networks", 409, {"network": vlan}) == "VlanIdInUse"
    unknown = {"network": {**vlan, "provider:physical_network": "nowhere"}}
    assert await admin.fault("POST", "/networks", 400, unknown) == "InvalidInput"
    own = await member.make("network", name="own")
    await stranger("GET", f"/networks/{own['id']}", 404)
    await stranger("PUT", f"/networks/{own['id']}", 404, {"network": {"name": "x"}})
    await stranger("DELETE", f"/networks/{own['id']}", 404)
    port = await member.make("port", network_id=own["id"])
    await stranger("GET", f"/ports/{port['id']}", 404)
    host = {"port": {"binding:host_id": "sim-1"}}
    assert await member.fault("PUT", f"/ports/{port['id']}", 403, host) == "PolicyNotAuthorized"
    bound = (await admin("PUT", f"/ports/{port['id']}", 200, host))["port"]
    assert (bound["binding:host_id"], bound["binding:vif_type"]) == ("sim-1", "ovs")
    assert "binding:host_id" not in (await member("GET", f"/ports/{port['id']}", 200))["port"]


async def test_a_reader_only_reads(cloud: ApiCloud, member: Api) -> None:
    network = await member.make("network")
    reader = Api(cloud, await cloud.member("rita", "alpha", "reader"))
    assert (await reader("GET", f"/networks/{network['id']}", 200))["network"]["id"] == network["id"]
    assert await reader.fault("POST", "/networks", 403, {"network": {}}) == "PolicyNotAuthorized"
    assert await reader.fault("DELETE", f"/networks/{network['id']}", 403) == "PolicyNotAuthorized"


async def test_sharing(cloud: ApiCloud, member: Api, stranger: Api) -> None:
    network = await member.make("network", name="given")
    _, beta = await cloud.user("bob", "beta")
    fields = {"object_type": "network", "object_id": network["id"], "action": "access_as_shared"}
    everyone = {"rbac_policy": {**fields, "target_tenant": "*"}}
    assert await member.fault("POST", "/rbac-policies", 403, everyone) == "PolicyNotAuthorized"
    rbac = await member.make("rbac_policy", "/rbac-policies", **fields, target_tenant=beta)
    seen = (await stranger("GET", f"/networks/{network['id']}", 200))["network"]
    assert seen["shared"] is True
    assert (await member("GET", f"/networks/{network['id']}", 200))["network"]["shared"] is False
    port = await stranger.make("port", network_id=network["id"])
    assert await member.fault("DELETE", f"/rbac-policies/{rbac['id']}", 409) == "RbacPolicyInUse"
    # the network's owner sees what is on it
    await member("GET", f"/ports/{port['id']}", 200)
    await stranger("PUT", f"/networks/{network['id']}", 403, {"network": {"name": "mine"}})
    await stranger("DELETE", f"/ports/{port['id']}", 204)
    await member("DELETE", f"/rbac-policies/{rbac['id']}", 204)
    await stranger("GET", f"/networks/{network['id']}", 404)


async def test_tags(member: Api) -> None:
    network = (await member.make("network"))["id"]
    await member.make("network", name="plain")
    path = f"/networks/{network}/tags"
    await member("PUT", f"{path}/Red", 201)
    await member("GET", f"{path}/Red", 204)
    assert await member.fault("GET", f"{path}/red", 404) == "TagNotFound"
    assert (await member("PUT", path, 200, {"tags": ["a", "b", "a"]}))["tags"] == ["a", "b"]

    async def found(query: str) -> list[str]:
        return [n["id"] for n in (await member("GET", f"/networks?router:external=0&{query}", 200))["networks"]]

    assert await found("tags=a,b") == [network]
    assert await found("tags=a,c") == []
    assert await found("tags-any=a,c") == [network]
    assert len(await found("not-tags=a")) == 1
    await member("DELETE", f"{path}/a", 204)
    assert await member.fault("DELETE", f"{path}/a", 404) == "TagNotFound"
    await member("DELETE", path, 204)
    assert (await member("GET", path, 200))["tags"] == []


async def test_pages_and_order(member: Api) -> None:
    names = ["d", "a", "c", "b", "e"]
    await member("POST", "/networks", 201, {"networks": [{"name": n} for n in names]})

    async def page(query: str) -> tuple[list[str], dict[str, str]]:
        answer = await member("GET", f"/networks?router:external=False&{query}", 200)
        links = {link["rel"]: link["href"] for link in answer.get("networks_links", [])}
        return [n["name"] for n in answer["networks"]], links

    first, links = await page("sort_key=name&sort_dir=asc&limit=2")
    assert (first, set(links)) == (["a", "b"], {"next"})
    second, links = await page(links["next"].partition("?")[2])
    assert (second, set(links)) == (["c", "d"], {"next", "previous"})
    third, more = await page(links["next"].partition("?")[2])
    assert (third, "next" in more) == (["e"], False)
    back, _ = await page(links["previous"].partition("?")[2])
    assert back == ["a", "b"]
    down, _ = await page("sort_key=name&sort_dir=desc")
    assert down == ["e", "d", "c", "b", "a"]
    plain, _ = await page("")
    assert plain == names
    assert await member.fault("GET", "/networks?bogus=1", 400) == "HTTPBadRequest"
    assert await member.fault("GET", "/networks?sort_key=bogus", 400) == "HTTPBadRequest"
    assert await member.fault("GET", "/networks?limit=x", 400) == "HTTPBadRequest"
    assert await member.fault("GET", "/networks?marker=nope", 404) == "NetworkNotFound"


async def test_if_match(member: Api) -> None:
    network = await member.make("network")
    path, body = f"/networks/{network['id']}", {"network": {"name": "x"}}
    good = {"If-Match": f"revision_number={network['revision_number']}"}
    changed = (await member("PUT", path, 200, body, headers=good))["network"]
    assert changed["revision_number"] == network["revision_number"] + 1
    assert await member.fault("PUT", path, 412, body, headers=good) == "RevisionNumberConstraintFailed"
    assert await member.fault("DELETE", path, 412, headers=good) == "RevisionNumberConstraintFailed"


async def test_subnet_pools(admin: Api, member: Api) -> None:
    pool = await member.make("subnetpool", name="p", prefixes=["10.10.0.0/16"], default_prefixlen=26)
    network = (await member.make("network"))["id"]
    fields = {"network_id": network, "ip_version": 4, "subnetpool_id": pool["id"]}
    cidrs = [(await member.make("subnet", **fields))["cidr"] for _ in range(2)]
    assert cidrs == ["10.10.0.0/26", "10.10.0.64/26"]
    big = await member.make("subnet", **fields, prefixlen=24)
    assert big["cidr"] == "10.10.1.0/24"
    taken = {"subnet": {**fields, "cidr": "10.10.0.0/26"}}
    other = (await member.make("network"))["id"]
    taken["subnet"]["network_id"] = other
    assert await member.fault("POST", "/subnets", 409, taken) == "SubnetAllocationError"
    assert await member.fault("DELETE", f"/subnetpools/{pool['id']}", 409) == "SubnetPoolInUse"
    less = {"subnetpool": {"prefixes": ["10.10.0.0/24"]}}
    assert await member.fault("PUT", f"/subnetpools/{pool['id']}", 400, less) == "BadRequest"
    scope = await admin.make("address_scope", "/address-scopes", name="s", ip_version=4, shared=True)
    renamed = {"subnetpool": {"name": "q", "address_scope_id": scope["id"]}}
    assert (await member("PUT", f"/subnetpools/{pool['id']}", 200, renamed))["subnetpool"]["name"] == "q"
    assert await admin.fault("DELETE", f"/address-scopes/{scope['id']}", 409) == "AddressScopeInUse"


async def test_discovery(cloud: ApiCloud, member: Api) -> None:
    root = await cloud.client.get("/network")
    assert root.status_code == 200
    assert root.json()["versions"][0]["id"] == "v2.0"
    names = {r["name"] for r in (await member("GET", "/", 200))["resources"]}
    assert {"network", "subnet", "port"} <= names
    aliases = {e["alias"] for e in (await member("GET", "/extensions", 200))["extensions"]}
    assert {"router", "security-group", "quotas", "agent", "provider", "external-net"} <= aliases
    assert (await member("GET", "/extensions/router", 200))["extension"]["alias"] == "router"
    await member("GET", "/extensions/metering", 404)
    await member("GET", "/service-providers", 200)
    document = await cloud.client.get("/network/openapi.json")
    assert "/network/v2.0/ports/{id}" in document.json()["paths"]


async def test_agents_are_views_of_nodes(cloud: ApiCloud, admin: Api, member: Api) -> None:
    agents = (await admin("GET", "/agents", 200))["agents"]
    assert {a["host"] for a in agents} == {"sim-1", "sim-2"}
    assert all(a["alive"] for a in agents)
    assert {a["agent_type"] for a in agents} >= {"OVN Metadata agent"}
    one = agents[0]
    assert (await admin("GET", f"/agents/{one['id']}", 200))["agent"]["host"] == one["host"]
    assert (await member("GET", "/agents", 200))["agents"] == []
    await member("GET", f"/agents/{one['id']}", 404)
    zones = (await member("GET", "/availability_zones", 200))["availability_zones"]
    assert {z["resource"] for z in zones} == {"network", "router"}
    public = await external(cloud)
    counted = (await admin("GET", f"/network-ip-availabilities/{public.id}", 200))["network_ip_availability"]
    assert counted["total_ips"] >= 20
    assert counted["used_ips"] == 0
    here = (await admin("GET", f"/networks/{public.id}/dhcp-agents", 200))["agents"]
    assert {a["host"] for a in here} == {"sim-1", "sim-2"}


async def test_no_token_no_network(cloud: ApiCloud) -> None:
    for path in ("/networks", "/ports", "/security-groups", "/quotas", "/agents"):
        assert (await cloud.client.get(f"/network/v2.0{path}")).status_code == 401


async def test_a_thousand_rules_in_one_request(cloud: ApiCloud, admin: Api, member: Api) -> None:
    """Linear in the number of rules, and quick."""
    made = await group(member, name="big")
    project = made["project_id"]
    await admin("PUT", f"/quotas/{project}", 200, {"quota": {"security_group_rule": 5000}})

    def body(count: int, first: int) -> dict[str, Any]:
        return {
            "security_group_rules": [
                {
                    "security_group_id": made["id"],
                    "direction": "ingress",
                    "protocol": "tcp",
                    "port_range_min": at,
                    "port_range_max": at,
                    "remote_ip_prefix": f"10.{at >> 8}.{at & 255}.0/24",
                }
                for at in range(first, first + count)
            ]
        }

    started = time.perf_counter()
    answer = await member("POST", "/security-group-rules", 201, body(1000, 1))
    took = time.perf_counter() - started
    assert len({r["id"] for r in answer["security_group_rules"]}) == 1000
    # measured: a tenth of a second; quadratic work would take many
    assert took < 3, f"{took:.2f} s"
    # one that is there already lets none of the others in
    assert await member.fault("POST", "/security-group-rules", 409, body(20, 990)) == "SecurityGroupRuleExists"
    twice = body(1, 2000)["security_group_rules"] * 2
    path = "/security-group-rules"
    assert await member.fault("POST", path, 409, {"security_group_rules": twice}) == "SecurityGroupRuleExists"
    shown = (await member("GET", f"/security-groups/{made['id']}", 200))["security_group"]
    assert len(shown["security_group_rules"]) == 1002
    quota = (await admin("GET", f"/quotas/{project}/details.json", 200))["quota"]["security_group_rule"]
    assert quota["used"] == 1002
    print(f"1,000 rules: {took:.3f} s")


async def test_what_is_not_in_force_is_neither_listed_nor_taken(member: Api) -> None:
    aliases = {e["alias"] for e in (await member("GET", "/extensions", 200))["extensions"]}
    assert not aliases & {"metering", "segment", "router_availability_zone", "network_availability_zone"}
    for one, many in (("network", "networks"), ("router", "routers")):
        await member("POST", f"/{many}", 400, {one: {"availability_zone_hints": ["nova"]}})
    network = await member.make("network", "/networks", name="n", availability_zone_hints=[])
    for name, value in (("nonsense", "1"), ("mtu", "large")):
        port = {"network_id": network["id"], "extra_dhcp_opts": [{"opt_name": name, "opt_value": value}]}
        assert await member.fault("POST", "/ports", 400, {"port": port}) == "InvalidInput"
