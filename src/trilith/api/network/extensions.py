"""What this service can do, by Neutron's aliases: only what is in force. And its versions."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer

UPDATED = "2026-01-01T00:00:00-00:00"


class ExtensionView(Struct):
    alias: str
    name: str
    description: str
    updated: str = UPDATED
    links: list[str] = []


@dataclass(frozen=True, slots=True)
class _Extension:
    alias: str
    name: str
    description: str


_ALL = tuple(
    _Extension(alias, name, description)
    for alias, name, description in (
        ("address-group", "Address group", "Prefixes that rules name as one."),
        ("address-scope", "Address scope", "Routers carry between networks of one scope alone."),
        ("agent", "agent", "The nodes' network agents, as views of chassis."),
        ("allowed-address-pairs", "Allowed Address Pairs", "Further addresses that a port may use."),
        ("auto-allocated-topology", "Auto Allocated Topology Services", "A project's network in one call."),
        ("availability_zone", "Availability Zone", "Zones of the nodes."),
        ("binding", "Port Binding", "Where a port is bound."),
        ("default-subnetpools", "Default Subnetpools", "Mark a pool as the default of its IP version."),
        ("dhcp_agent_scheduler", "DHCP Agent Scheduler", "Which nodes answer DHCP for a network (a view)."),
        ("dns-integration", "DNS Integration", "Names of ports, answered on their network."),
        ("dvr", "Distributed Virtual Router", "Floating IPs on the guests' own nodes, or on the gateway's."),
        (
            "expose-port-forwarding-in-fip",
            "Expose Port Forwarding In FIP",
            "Forwarded ports shown with their floating IP.",
        ),
        ("ext-gw-mode", "Neutron L3 Configurable external gateway mode", "Source NAT on or off."),
        ("external-net", "Neutron external network", "Networks outside of the cloud."),
        ("extra_dhcp_opt", "Neutron Extra DHCP options", "Further DHCP options of a port."),
        ("extraroute", "Neutron Extra Route", "Static routes of a router."),
        ("extraroute-atomic", "Atomically add/remove extra routes", "Add and remove routes one by one."),
        ("filter-validation", "Filter parameters validation", "Unknown filters are refused."),
        ("fip-port-details", "Floating IP Port Details Extension", "The port behind a floating IP."),
        ("floating-ip-port-forwarding", "Floating IP Port Forwarding", "Ports of an address forwarded to guests."),
        ("ip-substring-filtering", "IP address substring filtering", "Ports by a part of an address."),
        ("l3-ha", "HA Router extension", "Whether other gateway nodes take a gateway over."),
        ("l3_agent_scheduler", "L3 Agent Scheduler", "Which nodes carry a router's gateway (a view)."),
        ("logging", "Logging API Extension", "Logs of what security groups let through and refuse."),
        ("net-mtu", "Network MTU", "MTU of a network."),
        ("net-mtu-writable", "Network MTU (writable)", "MTU of a network, to be changed."),
        ("network-ip-availability", "Network IP Availability", "Addresses used and left."),
        ("pagination", "Pagination support", "Pages by limit and marker."),
        ("port-forwarding-description", "Port Forwarding Description", "A description of each forwarded port."),
        ("port-resource-request", "Port Resource Request", "What a port asks of its server's node (administrators)."),
        ("port-security", "Port Security", "Spoofing protection, to be switched off."),
        ("project-id", "project_id field enabled", "project_id beside tenant_id."),
        ("provider", "Provider Network", "Physical networks, VLAN and flat."),
        ("qos", "Quality of Service", "Limits and marks of ports, networks and floating IPs."),
        (
            "qos-bw-minimum-ingress",
            "Ingress direction for QoS minimum bandwidth rule",
            "Promises of what is got, beside those of what is sent.",
        ),
        (
            "qos-bw-limit-direction",
            "Direction for QoS bandwidth limit rule",
            "Limits of what is sent and of what is got.",
        ),
        ("qos-default", "QoS default policy", "The policy that new networks get."),
        ("qos-fip", "Floating IP QoS", "Limits of floating IPs."),
        ("qos-rule-type-details", "Details of QoS rule types", "What a kind of rule takes."),
        ("qos-rules-alias", "QoS Rules Alias", "Rules by their own ids."),
        ("quota_details", "Quota details management support", "Use beside limits."),
        ("quotas", "Quota management support", "Limits of a project."),
        ("rbac-address-group", "RBAC for address groups", "Share an address group."),
        ("rbac-address-scope", "Address Scope RBAC", "Share an address scope."),
        ("rbac-policies", "RBAC Policies", "Share a network with a project."),
        ("rbac-security-groups", "RBAC for security groups", "Share a security group."),
        ("rbac-subnetpool", "Subnetpool RBAC", "Share a subnet pool."),
        ("revision-if-match", "If-Match constraints based on revision_number", "Change only what was read."),
        ("router", "Neutron L3 Router", "Routers and floating IPs."),
        ("security-group", "security-group", "Security groups and rules."),
        ("security-groups-default-rules", "Default rules for security groups", "What new groups start with."),
        ("security-groups-normalized-cidr", "Normalized CIDR field", "The prefix as it is applied."),
        (
            "security-groups-remote-address-group",
            "Remote address group id field",
            "Address groups as the far end of rules.",
        ),
        (
            "security-groups-shared-filtering",
            "Security group filtering on the shared field",
            "Groups by whether they are shared.",
        ),
        ("service-type", "Neutron Service Type Management", "Providers of services."),
        ("sorting", "Sorting support", "Order of lists."),
        ("standard-attr-description", "standard-attr-description", "Descriptions of all resources."),
        ("standard-attr-revisions", "Resource revision numbers", "Revisions of all resources."),
        ("standard-attr-tag", "Tag support", "Tags of resources."),
        ("standard-attr-timestamp", "Resource timestamps", "Times of all resources."),
        ("stateful-security-group", "Stateful security group", "Groups without connection tracking."),
        ("subnet-external-network", "Subnet belongs to external network", "Subnets of external networks are seen."),
        ("subnet-service-types", "Subnet service types", "Subnets for some device owners."),
        ("subnet_allocation", "Subnet Allocation", "Subnets cut from pools."),
        ("subnetpool-prefix-ops", "Subnet Pool Prefix Operations", "Add and remove prefixes."),
        ("tag", "Tag support", "Tags of networks."),
        ("trunk", "Trunk Extension", "Several networks on one interface."),
        ("trunk-details", "Trunk port details", "A port's trunk, with its ports."),
    )
)
EXTENSIONS = {e.alias: ExtensionView(e.alias, e.name, e.description) for e in _ALL}

#: collection → resource, for GET /v2.0
RESOURCES = {
    "networks": "network",
    "subnets": "subnet",
    "ports": "port",
    "routers": "router",
    "floatingips": "floatingip",
    "security-groups": "security_group",
    "security-group-rules": "security_group_rule",
    "subnetpools": "subnetpool",
    "address-scopes": "address_scope",
    "rbac-policies": "rbac_policy",
    "address-groups": "address_group",
    "default-security-group-rules": "default_security_group_rule",
    "qos/policies": "policy",
    "trunks": "trunk",
    "log/logs": "log",
    "agents": "agent",
    "quotas": "quota",
}


class Link(Struct):
    href: str
    rel: str = "self"


class VersionView(Struct):
    id: str
    status: str
    links: list[Link]


class ResourceView(Struct):
    name: str
    collection: str
    links: list[Link]


class Provider(Struct):
    service_type: str
    name: str
    default: bool


async def versions(call: Call) -> Answer:
    """200: the one version."""
    return Answer({"versions": [VersionView("v2.0", "CURRENT", [Link(call.url("/v2.0/"))])]})


async def version(call: Call) -> Answer:
    """200: the resources of v2.0."""
    found = [ResourceView(one, many, [Link(call.url(f"/v2.0/{many}"))]) for many, one in RESOURCES.items()]
    return Answer({"resources": found})


async def index(call: Call) -> Answer:
    """200: all that works."""
    return Answer({"extensions": list(EXTENSIONS.values())})


async def show(call: Call) -> Answer:
    """200: one extension. 404: it does not work here."""
    found = EXTENSIONS.get(call.params["alias"])
    if found is None:
        raise errors.Missing(f"Extension with alias {call.params['alias']} does not exist")
    return Answer({"extension": found})


async def providers(call: Call) -> Answer:
    """200: who serves what."""
    return Answer({"service_providers": [Provider("L3_ROUTER_NAT", "ovn", True)]})
