"""Address groups, default rules, QoS, forwarded ports, trunks, logs, address scopes and prefixes of pools: the API,
and what the network driver is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.compute_calls import Caller
from tests.api.conftest import ApiCloud
from tests.api.test_network_topology import Api, external
from trilith.model.network import FloatingIp, Port
from trilith.model.topology import PortSpec, QosSpec, RouterSpec, SecurityGroupSpec
from trilith.reconcile import topology


@pytest.fixture
async def admin(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.token())


@pytest.fixture
async def member(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.member())


@pytest.fixture
async def stranger(cloud: ApiCloud) -> Api:
    return Api(cloud, await cloud.member("bob", "beta"))


async def port_spec(cloud: ApiCloud, id: str) -> PortSpec:
    return (await cloud.store.read(lambda r: topology.ports(r, [id])))[0]


async def group_spec(cloud: ApiCloud, id: str) -> SecurityGroupSpec:
    return (await cloud.store.read(lambda r: topology.groups(r, [id])))[0]


async def router_spec(cloud: ApiCloud, id: str) -> RouterSpec:
    return (await cloud.store.read(lambda r: topology.routers(r, [id])))[0]


async def net(api: Api, cidr: str = "10.0.0.0/24", **fields: Any) -> tuple[Any, Any]:
    network = await api.make("network", "/networks", name="n", **fields)
    subnet = await api.make("subnet", "/subnets", network_id=network["id"], cidr=cidr, ip_version=4)
    return network, subnet


async def test_address_groups(cloud: ApiCloud, member: Api, stranger: Api) -> None:
    made = await member.make("address_group", "/address-groups", name="g", addresses=["10.1.0.0/16", "10.2.0.1"])
    assert made["addresses"] == ["10.1.0.0/16", "10.2.0.1/32"]
    path = f"/address-groups/{made['id']}"
    body = {"address_group": {"addresses": ["2001:db8::/64"]}}
    changed = (await member("PUT", f"{path}/add_addresses", 200, body))["address_group"]
    assert changed["addresses"][-1] == "2001:db8::/64"
    assert await member.fault("PUT", f"{path}/add_addresses", 409, body) == "AddressesAlreadyExist"
    await member("PUT", f"{path}/remove_addresses", 200, body)
    assert await member.fault("PUT", f"{path}/remove_addresses", 404, body) == "AddressesNotFound"
    bad = {"address_group": {"addresses": ["10.0.0.0/33"]}}
    assert await member.fault("PUT", f"{path}/add_addresses", 400, bad) == "InvalidInput"
    group = await member.make("security_group", "/security-groups", name="web")
    rule = {"security_group_id": group["id"], "direction": "ingress", "remote_address_group_id": made["id"]}
    one = await member.make("security_group_rule", "/security-group-rules", **rule)
    assert one["remote_address_group_id"] == made["id"]
    assert made["id"] in {r.remote_addresses for r in (await group_spec(cloud, group["id"])).rules}
    both = {"security_group_rule": rule | {"remote_ip_prefix": "10.0.0.0/8"}}
    fault = await member.fault("POST", "/security-group-rules", 400, both)
    assert fault == "SecurityGroupRemoteGroupAndRemoteIpPrefix"
    assert await member.fault("DELETE", path, 409) == "AddressGroupInUse"
    await stranger("GET", path, 404)
    theirs = await stranger.make("security_group", "/security-groups", name="web")
    wanted = {"security_group_rule": rule | {"security_group_id": theirs["id"]}}
    assert await stranger.fault("POST", "/security-group-rules", 404, wanted) == "AddressGroupNotFound"
    share = {"object_type": "address_group", "object_id": made["id"], "action": "access_as_shared",
             "target_tenant": theirs["project_id"]}  # fmt: skip
    rbac = await member.make("rbac_policy", "/rbac-policies", **share)
    await stranger("POST", "/security-group-rules", 201, wanted)
    assert await member.fault("DELETE", f"/rbac-policies/{rbac['id']}", 409) == "RbacPolicyInUse"
    await member("DELETE", f"/security-group-rules/{one['id']}", 204)
    await stranger("DELETE", f"/security-groups/{theirs['id']}", 204)
    await member("DELETE", path, 204)


async def test_the_rules_that_new_groups_start_with(cloud: ApiCloud, admin: Api, member: Api) -> None:
    path = "/default-security-group-rules"
    known = (await member("GET", path, 200))["default_security_group_rules"]
    assert {(r["direction"], r["remote_group_id"], r["used_in_non_default_sg"]) for r in known} == {
        ("egress", None, True), ("ingress", "PARENT", False),
    }  # fmt: skip
    wanted = {"direction": "ingress", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22}
    await member("POST", path, 403, {"default_security_group_rule": wanted})
    made = await admin.make("default_security_group_rule", path, **wanted)
    again = {"default_security_group_rule": wanted}
    assert await admin.fault("POST", path, 409, again) == "DefaultSecurityGroupRuleExists"
    assert await admin.fault("POST", path, 400, {"default_security_group_rule": wanted | {"protocol": "x"}}) == (
        "SecurityGroupRuleInvalidProtocol")  # fmt: skip
    egress = next(r["id"] for r in known if r["direction"] == "egress" and r["ethertype"] == "IPv6")
    await admin("DELETE", f"{path}/{egress}", 204)
    group = await member.make("security_group", "/security-groups", name="web")
    rules = {(r["direction"], r["ethertype"], r["protocol"]) for r in group["security_group_rules"]}
    assert rules == {("egress", "IPv4", None), ("ingress", "IPv4", "tcp")}
    await admin("DELETE", f"{path}/{made['id']}", 204)
    await admin("GET", f"{path}/{made['id']}", 404)
    project = group["project_id"]
    used = (await member("GET", f"/quotas/{project}/details", 200))["quota"]["security_group_rule"]["used"]
    assert used == 2
    await member("DELETE", f"/security-groups/{group['id']}", 204)
    assert (await member("GET", f"/quotas/{project}/details", 200))["quota"]["security_group_rule"]["used"] == 0


async def test_qos_policies_reach_ports_networks_and_floating_ips(cloud: ApiCloud, admin: Api, member: Api) -> None:
    policy = await admin.make("policy", "/qos/policies", name="slow", shared=True)
    assert policy["shared"]
    rules = f"/qos/policies/{policy['id']}/bandwidth_limit_rules"
    limit = {"max_kbps": 1000, "max_burst_kbps": 200}
    one = (await admin("POST", rules, 201, {"bandwidth_limit_rule": limit}))["bandwidth_limit_rule"]
    assert (one["direction"], one["max_kbps"]) == ("egress", 1000)
    assert await admin.fault("POST", rules, 409, {"bandwidth_limit_rule": limit}) == "QoSRulesConflict"
    await admin("POST", rules, 201, {"bandwidth_limit_rule": limit | {"direction": "ingress"}})
    marks = f"/qos/policies/{policy['id']}/dscp_marking_rules"
    assert await admin.fault("POST", marks, 400, {"dscp_marking_rule": {"dscp_mark": 1}}) == "InvalidInput"
    await admin("POST", marks, 201, {"dscp_marking_rule": {"dscp_mark": 46}})
    # what is not in force is refused and not listed
    refused = f"/qos/policies/{policy['id']}/packet_rate_limit_rules"
    assert await admin.fault("POST", refused, 400, {"packet_rate_limit_rule": {"max_kpps": 1}}) == "QosRuleNotSupported"
    types = {t["type"] for t in (await member("GET", "/qos/rule-types", 200))["rule_types"]}
    assert types == {"bandwidth_limit", "minimum_bandwidth", "dscp_marking"}
    await member("POST", rules, 403, {"bandwidth_limit_rule": limit})

    network, _ = await net(member, qos_policy_id=policy["id"])
    port = await member.make("port", "/ports", network_id=network["id"])
    assert (port["qos_policy_id"], port["qos_network_policy_id"]) == (None, policy["id"])
    wanted = {QosSpec(kbps=1000, burst_kbit=200), QosSpec(ingress=True, kbps=1000, burst_kbit=200), QosSpec(dscp=46)}
    assert set((await port_spec(cloud, port["id"])).qos) == wanted
    generation = (await cloud.store.read(lambda r: r.get(Port, port["id"]))).generation
    await admin("PUT", f"{rules}/{one['id']}", 200, {"bandwidth_limit_rule": {"max_kbps": 500}})
    alias = (await admin("GET", f"/qos/alias_bandwidth_limit_rules/{one['id']}", 200))["bandwidth_limit_rule"]
    assert alias["max_kbps"] == 500
    assert (await cloud.store.read(lambda r: r.get(Port, port["id"]))).generation > generation
    # its own policy comes before the network's
    other = await admin.make("policy", "/qos/policies", name="none", shared=True)
    await member("PUT", f"/ports/{port['id']}", 200, {"port": {"qos_policy_id": other["id"]}})
    assert (await port_spec(cloud, port["id"])).qos == ()
    hidden = await admin.make("policy", "/qos/policies", name="hidden")
    fault = await member.fault("PUT", f"/ports/{port['id']}", 404, {"port": {"qos_policy_id": hidden["id"]}})
    assert fault == "QosPolicyNotFound"
    assert await admin.fault("DELETE", f"/qos/policies/{other['id']}", 409) == "QosPolicyInUse"
    assert await admin.fault("PUT", f"/qos/policies/{other['id']}", 409, {"policy": {"shared": False}}) == (
        "RbacPolicyInUse")  # fmt: skip
    public = await external(cloud)
    address = await member.make("floatingip", "/floatingips", floating_network_id=public.id, qos_policy_id=other["id"])
    assert address["qos_policy_id"] == other["id"]
    await member("PUT", f"/floatingips/{address['id']}", 200, {"floatingip": {"qos_policy_id": None}})
    await member("PUT", f"/ports/{port['id']}", 200, {"port": {"qos_policy_id": None}})
    await admin("DELETE", f"/qos/policies/{other['id']}", 204)
    # a default policy is for the project's new networks
    project = (await admin("GET", f"/qos/policies/{hidden['id']}", 200))["policy"]["project_id"]
    default = await admin.make("policy", "/qos/policies", name="default", is_default=True)
    mine = await admin.make("network", "/networks", name="mine", project_id=project)
    assert mine["qos_policy_id"] == default["id"]
    tags = {"tags": ["a"]}
    assert (await admin("PUT", f"/policies/{default['id']}/tags", 200, tags))["tags"] == ["a"]


async def test_ports_of_a_floating_ip_are_forwarded(cloud: ApiCloud, member: Api) -> None:
    public = await external(cloud)
    network, subnet = await net(member)
    port = await member.make("port", "/ports", network_id=network["id"])
    address = await member.make("floatingip", "/floatingips", floating_network_id=public.id)
    base = f"/floatingips/{address['id']}/port_forwardings"
    wanted = {"protocol": "tcp", "external_port": 2222, "internal_port": 22, "internal_port_id": port["id"]}
    body = {"port_forwarding": wanted}
    assert await member.fault("POST", base, 404, body) == "ExternalGatewayForFloatingIPNotFound"
    router = await member.make("router", "/routers", external_gateway_info={"network_id": public.id})
    interface = {"subnet_id": subnet["id"]}
    await member("PUT", f"/routers/{router['id']}/add_router_interface", 200, interface)
    made = (await member("POST", base, 201, body))["port_forwarding"]
    assert made["internal_ip_address"] == port["fixed_ips"][0]["ip_address"]
    assert await member.fault("POST", base, 400, body) == "PortForwardingExists"
    forward = (await router_spec(cloud, router["id"])).forwards[0]
    assert (forward.external_ip, forward.external_port, forward.internal_port) == (
        address["floating_ip_address"], 2222, 22)  # fmt: skip
    shown = (await member("GET", f"/floatingips/{address['id']}", 200))["floatingip"]
    assert (shown["router_id"], len(shown["port_forwardings"])) == (router["id"], 1)
    attach = {"floatingip": {"port_id": port["id"]}}
    assert await member.fault("PUT", f"/floatingips/{address['id']}", 409, attach) == "FipInUseByPortForwarding"
    path = f"/routers/{router['id']}/remove_router_interface"
    assert await member.fault("PUT", path, 409, interface) == "RouterInterfaceInUseByFloatingIP"
    one = f"{base}/{made['id']}"
    changed = (await member("PUT", one, 200, {"port_forwarding": {"external_port": 2223}}))["port_forwarding"]
    assert changed["external_port"] == 2223
    assert await member("GET", f"{base}?external_port=2223", 200) == {"port_forwardings": [changed]}
    await member("DELETE", one, 204)
    assert (await cloud.store.read(lambda r: r.get(FloatingIp, address["id"]))).router_id == ""
    # with the port, or with the address, they go
    await member("POST", base, 201, body)
    await member("DELETE", f"/ports/{port['id']}", 204)
    assert (await member("GET", base, 200))["port_forwardings"] == []
    port = await member.make("port", "/ports", network_id=network["id"])
    await member("POST", base, 201, {"port_forwarding": wanted | {"internal_port_id": port["id"]}})
    await member("DELETE", f"/floatingips/{address['id']}", 204)
    assert (await router_spec(cloud, router["id"])).forwards == ()


async def test_trunks(cloud: ApiCloud, admin: Api, member: Api) -> None:
    network, _ = await net(member)
    parent, child, third = [await member.make("port", "/ports", network_id=network["id"]) for _ in range(3)]
    trunk = await member.make("trunk", "/trunks", port_id=parent["id"], name="t")
    assert (trunk["status"], trunk["sub_ports"]) == ("DOWN", [])
    assert await member.fault("POST", "/trunks", 409, {"trunk": {"port_id": parent["id"]}}) == "ParentPortInUse"
    path = f"/trunks/{trunk['id']}"
    sub = {"port_id": child["id"], "segmentation_id": 101, "segmentation_type": "vlan"}
    added = await member("PUT", f"{path}/add_subports", 200, {"sub_ports": [sub]})
    assert added["sub_ports"] == [sub]
    same = {"sub_ports": [sub | {"port_id": third["id"]}]}
    assert await member.fault("PUT", f"{path}/add_subports", 409, same) == "DuplicateSubPort"
    spec = await port_spec(cloud, child["id"])
    assert (spec.parent, spec.vlan, spec.device_owner) == (parent["id"], 101, "trunk:subport")
    await admin("PUT", f"/ports/{parent['id']}", 200, {"port": {"binding:host_id": "sim-2"}})
    assert (await port_spec(cloud, child["id"])).host == "sim-2"
    details = (await member("GET", f"/ports/{parent['id']}", 200))["port"]["trunk_details"]
    assert details["sub_ports"][0]["mac_address"] == child["mac_address"]
    assert "trunk_details" not in (await member("GET", f"/ports/{child['id']}", 200))["port"]
    for port in (parent, child):
        assert await member.fault("DELETE", f"/ports/{port['id']}", 409) == "PortInUse"
    await member("PUT", path, 200, {"trunk": {"admin_state_up": False}})
    assert await member.fault("DELETE", path, 409) == "TrunkDisabled"
    await member("PUT", path, 200, {"trunk": {"admin_state_up": True}})
    assert await member("GET", f"{path}/get_subports", 200) == {"sub_ports": [sub]}
    gone = {"sub_ports": [{"port_id": child["id"]}]}
    await member("PUT", f"{path}/remove_subports", 200, gone)
    assert await member.fault("PUT", f"{path}/remove_subports", 404, gone) == "SubPortNotFound"
    spec = await port_spec(cloud, child["id"])
    assert (spec.parent, spec.device_owner, spec.host) == ("", "", "")
    await member("DELETE", path, 204)
    await member("DELETE", f"/ports/{parent['id']}", 204)


async def test_logs_name_the_groups_that_they_mean(cloud: ApiCloud, admin: Api, member: Api) -> None:
    network, _ = await net(member)
    group = await member.make("security_group", "/security-groups", name="web")
    port = await member.make("port", "/ports", network_id=network["id"], security_groups=[group["id"]])
    await member("POST", "/log/logs", 403, {"log": {"resource_type": "security_group"}})
    kinds = (await admin("GET", "/log/loggable-resources", 200))["loggable_resources"]
    assert kinds == [{"type": "security_group"}]
    bad = {"log": {"resource_type": "snat"}}
    assert await admin.fault("POST", "/log/logs", 400, bad) == "InvalidLogResourceType"
    missing = {"log": {"resource_type": "security_group", "resource_id": "nobody"}}
    assert await admin.fault("POST", "/log/logs", 404, missing) == "ResourceNotFound"
    log = await admin.make("log", "/log/logs", resource_type="security_group", target_id=port["id"], event="DROP")
    spec = await group_spec(cloud, group["id"])
    assert (spec.log_allowed, spec.log_dropped) == ("", log["id"])
    path = f"/log/logs/{log['id']}"
    await admin("PUT", path, 200, {"log": {"enabled": False}})
    after = await group_spec(cloud, group["id"])
    assert (after.log_dropped, after.revision > spec.revision) == ("", True)
    await admin("DELETE", path, 204)
    await admin("GET", path, 404)


async def test_address_scopes_keep_networks_apart(cloud: ApiCloud, admin: Api, member: Api) -> None:
    scope = await member.make("address_scope", "/address-scopes", name="s", ip_version=4)
    pool = await member.make("subnetpool", "/subnetpools", name="p", prefixes=["10.20.0.0/16"],
                             default_prefixlen=24, address_scope_id=scope["id"])  # fmt: skip
    inside, alone = await member.make("network", "/networks", name="in"), await member.make("network", "/networks")
    a = await member.make("subnet", "/subnets", network_id=inside["id"], subnetpool_id=pool["id"], ip_version=4)
    b = await member.make("subnet", "/subnets", network_id=alone["id"], cidr="10.30.0.0/24", ip_version=4)
    shown = (await member("GET", f"/networks/{inside['id']}", 200))["network"]
    assert shown["ipv4_address_scope"] == scope["id"]
    public = await external(cloud)
    router = await admin.make("router", "/routers", external_gateway_info={"network_id": public.id},
                              project_id=inside["project_id"])  # fmt: skip
    for subnet in (a, b):
        body = {"subnet_id": subnet["id"]}
        await member("PUT", f"/routers/{router['id']}/add_router_interface", 200, body)
    spec = await router_spec(cloud, router["id"])
    assert set(spec.apart) == {(a["cidr"], b["cidr"]), (b["cidr"], a["cidr"])}
    assert spec.walled == ()  # translated, both go out
    untranslated = {"router": {"external_gateway_info": {"network_id": public.id, "enable_snat": False}}}
    await admin("PUT", f"/routers/{router['id']}", 200, untranslated)
    assert (await router_spec(cloud, router["id"])).walled == (a["cidr"],)
    revision = (await router_spec(cloud, router["id"])).revision
    await member("PUT", f"/subnetpools/{pool['id']}", 200, {"subnetpool": {"address_scope_id": None}})
    spec = await router_spec(cloud, router["id"])
    assert (spec.apart, spec.walled, spec.revision > revision) == ((), (), True)


async def test_a_project_gets_its_network_in_one_call(cloud: ApiCloud, admin: Api, member: Api, stranger: Api) -> None:
    path = "/auto-allocated-topology/null"
    await external(cloud)
    assert await member.fault("GET", path, 409) == "AutoAllocationFailure"
    await admin.make("subnetpool", "/subnetpools", name="p", prefixes=["10.40.0.0/16"], default_prefixlen=26,
                     is_default=True, shared=True)  # fmt: skip
    dry = (await member("GET", f"{path}?fields=dry-run", 200))["auto_allocated_topology"]
    assert dry["id"] == "dry-run=pass"
    made = (await member("GET", path, 200))["auto_allocated_topology"]
    assert (await member("GET", path, 200))["auto_allocated_topology"] == made
    await stranger("GET", f"/auto-allocated-topology/{made['project_id']}", 403)
    subnets = (await member("GET", f"/subnets?network_id={made['id']}", 200))["subnets"]
    assert [s["cidr"].partition("/")[2] for s in subnets] == ["26"]
    routers = (await member("GET", "/routers", 200))["routers"]
    spec = await router_spec(cloud, routers[0]["id"])
    assert spec.gateway is not None
    assert [i.network_id for i in spec.interfaces] == [made["id"]]
    port = await member.make("port", "/ports", network_id=made["id"], device_id="somebody")
    assert await member.fault("DELETE", path, 409) == "NetworkInUse"
    assert (await member("GET", path, 200))["auto_allocated_topology"] == made  # all or nothing
    await member("DELETE", f"/ports/{port['id']}", 204)
    await member("DELETE", path, 204)
    assert await member.fault("DELETE", path, 404) == "AutoAllocatedTopologyNotFound"
    assert (await member("GET", "/routers", 200))["routers"] == []


async def test_a_server_and_a_call_for_it_get_the_same_network(cloud: ApiCloud, member: Api) -> None:
    await external(cloud)
    server = await Caller(cloud, member.headers).boot(networks="auto", version="2.37")
    (network,) = (await member("GET", "/networks?name=auto_allocated_network", 200))["networks"]
    made = (await member("GET", "/auto-allocated-topology/null", 200))["auto_allocated_topology"]
    assert made["id"] == network["id"]
    (port,) = (await member("GET", f"/ports?device_id={server['id']}", 200))["ports"]
    assert port["network_id"] == network["id"]
    assert len((await member("GET", "/routers", 200))["routers"]) == 1


async def test_one_address_is_one_place_within_a_scope(member: Api) -> None:
    scope = await member.make("address_scope", "/address-scopes", name="s", ip_version=4)
    pool = {"name": "p", "prefixes": ["10.20.0.0/16"], "default_prefixlen": 24}
    await member.make("subnetpool", "/subnetpools", **pool, address_scope_id=scope["id"])
    inside = {"subnetpool": pool | {"prefixes": ["10.20.5.0/24"], "address_scope_id": scope["id"]}}
    assert await member.fault("POST", "/subnetpools", 409, inside) == "AddressScopePrefixConflict"
    other = await member.make("subnetpool", "/subnetpools", **(pool | {"prefixes": ["10.21.0.0/16"]}),
                              address_scope_id=scope["id"])  # fmt: skip
    path = f"/subnetpools/{other['id']}/add_prefixes"
    assert await member.fault("PUT", path, 409, {"prefixes": ["10.20.0.0/17"]}) == "AddressScopePrefixConflict"


async def test_prefixes_of_a_pool_are_added_and_removed(member: Api) -> None:
    pool = await member.make("subnetpool", "/subnetpools", name="p", prefixes=["10.20.0.0/16"], default_prefixlen=24)
    path = f"/subnetpools/{pool['id']}"
    more = {"prefixes": ["10.22.0.0/16"]}
    assert await member("PUT", f"{path}/add_prefixes", 200, more) == {"prefixes": ["10.20.0.0/16", "10.22.0.0/16"]}
    network = await member.make("network", "/networks", name="n")
    await member.make("subnet", "/subnets", network_id=network["id"], subnetpool_id=pool["id"], cidr="10.22.7.0/24",
                      ip_version=4)  # fmt: skip
    assert await member.fault("PUT", f"{path}/remove_prefixes", 400, more) == "IllegalSubnetPoolPrefixUpdate"
    left = await member("PUT", f"{path}/remove_prefixes", 200, {"prefixes": ["10.20.0.0/16"]})
    assert left == {"prefixes": ["10.22.0.0/16"]}
    part = await member("PUT", f"{path}/remove_prefixes", 200, {"prefixes": ["10.22.128.0/17"]})
    assert part == {"prefixes": ["10.22.0.0/17"]}
    assert await member.fault("PUT", f"{path}/remove_prefixes", 400, {"prefixes": ["10.22.0.0/16"]}) == (
        "IllegalSubnetPoolPrefixUpdate")  # fmt: skip


async def test_names_are_not_said_to_be_published(cloud: ApiCloud, member: Api) -> None:
    public = await external(cloud)
    network, subnet = await net(member)
    address = {"floating_network_id": public.id, "dns_name": "web", "dns_domain": "example.org."}
    await member("POST", "/floatingips", 400, {"floatingip": address})
    await member("PUT", f"/subnets/{subnet['id']}", 400, {"subnet": {"dns_publish_fixed_ip": True}})
    await member("POST", "/ports", 400, {"port": {"network_id": network["id"], "dns_domain": "example.org."}})
    port = await member.make("port", "/ports", network_id=network["id"], dns_name="web", dns_domain="")
    assert port["dns_assignment"][0]["fqdn"] == "web.openstacklocal."
