"""The network service: its one route table (Neutron's API v2.0)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from trilith.api.http.call import Call
from trilith.api.http.openapi import document_route
from trilith.api.http.route import PUBLIC, Route, Service
from trilith.api.network import (
    address_groups,
    agents,
    auto_topology,
    default_rules,
    extensions,
    floating_ips,
    logs,
    networks,
    port_forwardings,
    ports,
    qos,
    quotas,
    rbac,
    routers,
    security_groups,
    subnet_pools,
    subnets,
    tags,
    trunks,
)
from trilith.api.network.faults import error_body
from trilith.api.network.listing import Noun, index, show
from trilith.api.network.policy import POLICIES

PREFIX = "/network"
Handler = Callable[[Call], Awaitable[Any]]
#: bytes of a request that makes 10,000 rules at once, written at length
_MANY_RULES = 8 << 20
_PAGING = ("limit", "marker", "page_reverse", "sort_key", "sort_dir", "fields")


def _crud(
    noun: Noun[Any],
    create: tuple[Handler, type[Any]],
    update: tuple[Handler, type[Any]] | None,
    delete: Handler,
    listed: Handler | None = None,
    shown: Handler | None = None,
    most_body: int = 0,
) -> list[Route]:
    """The five routes of a resource."""
    base = f"/v2.0/{noun.path or noun.plural}"
    one = f"{base}/{{id}}"
    found = [
        Route("GET", base, listed or index(noun), query=(*noun.filters, *_PAGING)),
        Route("POST", base, create[0], body=create[1], ok=201, statuses=(409,), most_body=most_body),
        Route("GET", one, shown or show(noun), query=("fields",)),
        Route("DELETE", one, delete, ok=204, statuses=(409, 412)),
    ]
    if update is not None:
        found.append(Route("PUT", one, update[0], body=update[1], statuses=(409, 412)))
    return found


def _tags(resource: str) -> list[Route]:
    base = f"/v2.0/{resource}/{{id}}/tags"
    return [
        Route("GET", base, tags.index),
        Route("PUT", base, tags.replace, body=tags.TagsBody),
        Route("DELETE", base, tags.clear, ok=204),
        Route("GET", f"{base}/{{tag}}", tags.check, ok=204),
        Route("PUT", f"{base}/{{tag}}", tags.add, ok=201),
        Route("DELETE", f"{base}/{{tag}}", tags.remove, ok=204),
    ]


def _rules(kind: str, create: type[Any], update: type[Any]) -> list[Route]:
    """The rules of a QoS policy, below it and by their own ids (Neutron's qos-rules-alias)."""
    base = f"/v2.0/qos/policies/{{policy}}/{kind}_rules"
    alias = f"/v2.0/qos/alias_{kind}_rules/{{id}}"
    found = [
        Route(
            "GET",
            base,
            qos.rules_index(kind),
            query=("id", "max_kbps", "max_burst_kbps", "min_kbps", "direction", "dscp_mark"),
        ),
        Route("POST", base, qos.rules_create(kind), body=create, ok=201, statuses=(409,)),
    ]
    for one in (f"{base}/{{id}}", alias):
        found += [
            Route("GET", one, qos.rules_show(kind)),
            Route("PUT", one, qos.rules_update(kind), body=update, statuses=(409,)),
            Route("DELETE", one, qos.rules_delete(kind), ok=204, statuses=(409,)),
        ]
    return found


_FORWARDING = "/v2.0/floatingips/{floatingip}/port_forwardings"
_POOL = "/v2.0/subnetpools/{id}"
_TRUNK = "/v2.0/trunks/{id}"
_ADDRESSES = "/v2.0/address-groups/{id}"
_ROUTER = "/v2.0/routers/{id}"
_QUOTA = "/v2.0/quotas/{project}"

ROUTES: tuple[Route, ...] = (
    Route("GET", "", extensions.versions, PUBLIC),
    Route("GET", "/v2.0", extensions.version, PUBLIC),
    Route("GET", "/v2.0/extensions", extensions.index, PUBLIC),
    Route("GET", "/v2.0/extensions/{alias}", extensions.show, PUBLIC),
    Route("GET", "/v2.0/service-providers", extensions.providers),
    *_crud(
        networks.NOUN,
        (networks.create, networks.CreateBody),
        (networks.update, networks.UpdateBody),
        networks.delete,
    ),
    *_crud(
        subnets.NOUN,
        (subnets.create, subnets.CreateBody),
        (subnets.update, subnets.UpdateBody),
        subnets.delete,
    ),
    *_crud(ports.NOUN, (ports.create, ports.CreateBody), (ports.update, ports.UpdateBody), ports.delete),
    *_crud(
        routers.NOUN,
        (routers.create, routers.CreateBody),
        (routers.update, routers.UpdateBody),
        routers.delete,
    ),
    Route("PUT", f"{_ROUTER}/add_router_interface", routers.add_interface, body=routers.InterfaceBody,
          response=routers.InterfaceView, statuses=(409,)),
    Route("PUT", f"{_ROUTER}/remove_router_interface", routers.remove_interface, body=routers.InterfaceBody,
          response=routers.InterfaceView, statuses=(409,)),
    Route("PUT", f"{_ROUTER}/add_extraroutes", routers.add_routes, body=routers.RoutesBody),
    Route("PUT", f"{_ROUTER}/remove_extraroutes", routers.remove_routes, body=routers.RoutesBody),
    *_crud(
        floating_ips.NOUN,
        (floating_ips.create, floating_ips.CreateBody),
        (floating_ips.update, floating_ips.UpdateBody),
        floating_ips.delete,
    ),
    *_crud(
        security_groups.GROUP,
        (security_groups.create, security_groups.CreateGroupBody),
        (security_groups.update, security_groups.UpdateGroupBody),
        security_groups.delete,
        listed=security_groups.index,
    ),
    *_crud(
        security_groups.RULE,
        (security_groups.create_rule, security_groups.CreateRuleBody),
        None,
        security_groups.delete_rule,
        most_body=_MANY_RULES,
    ),
    *_crud(
        subnet_pools.POOL,
        (subnet_pools.create, subnet_pools.CreatePoolBody),
        (subnet_pools.update, subnet_pools.UpdatePoolBody),
        subnet_pools.delete,
    ),
    *_crud(
        subnet_pools.SCOPE,
        (subnet_pools.create_scope, subnet_pools.CreateScopeBody),
        (subnet_pools.update_scope, subnet_pools.UpdateScopeBody),
        subnet_pools.delete_scope,
    ),
    *_crud(rbac.NOUN, (rbac.create, rbac.CreateBody), (rbac.update, rbac.UpdateBody), rbac.delete),
    Route("PUT", f"{_POOL}/add_prefixes", subnet_pools.add_prefixes, body=subnet_pools.PrefixesWrapped),
    Route("PUT", f"{_POOL}/remove_prefixes", subnet_pools.remove_prefixes, body=subnet_pools.PrefixesWrapped),
    *_crud(
        address_groups.NOUN,
        (address_groups.create, address_groups.CreateAddressGroupBody),
        (address_groups.update, address_groups.UpdateAddressGroupBody),
        address_groups.delete,
    ),
    Route("PUT", f"{_ADDRESSES}/add_addresses", address_groups.add, body=address_groups.AddressesBody, statuses=(409,)),
    Route("PUT", f"{_ADDRESSES}/remove_addresses", address_groups.remove, body=address_groups.AddressesBody),
    *_crud(
        default_rules.NOUN,
        (default_rules.create, default_rules.CreateDefaultRuleBody),
        None,
        default_rules.delete,
        listed=default_rules.index,
        shown=default_rules.show,
    ),
    *_crud(qos.NOUN, (qos.create, qos.CreatePolicyBody), (qos.update, qos.UpdatePolicyBody), qos.delete),
    *_rules("bandwidth_limit", qos.CreateBandwidthBody, qos.UpdateBandwidthBody),
    *_rules("minimum_bandwidth", qos.CreateMinimumBody, qos.UpdateMinimumBody),
    *_rules("dscp_marking", qos.CreateMarkBody, qos.UpdateMarkBody),
    *(
        Route("POST", f"/v2.0/qos/policies/{{policy}}/{kind}_rules", qos.refuse_rule)
        for kind in ("packet_rate_limit", "minimum_packet_rate")
    ),
    Route("GET", "/v2.0/qos/rule-types", qos.rule_types, query=("type",)),
    Route("GET", "/v2.0/qos/rule-types/{type}", qos.rule_type),
    Route("GET", _FORWARDING, port_forwardings.index, query=port_forwardings.FILTERS),
    Route("POST", _FORWARDING, port_forwardings.create, body=port_forwardings.CreateForwardingBody, ok=201,
          statuses=(409,)),
    Route("GET", f"{_FORWARDING}/{{id}}", port_forwardings.show),
    Route("PUT", f"{_FORWARDING}/{{id}}", port_forwardings.update, body=port_forwardings.UpdateForwardingBody,
          statuses=(409,)),
    Route("DELETE", f"{_FORWARDING}/{{id}}", port_forwardings.delete, ok=204),
    *_crud(trunks.NOUN, (trunks.create, trunks.CreateTrunkBody), (trunks.update, trunks.UpdateTrunkBody),
           trunks.delete),
    Route("GET", f"{_TRUNK}/get_subports", trunks.sub_ports),
    Route("PUT", f"{_TRUNK}/add_subports", trunks.add, body=trunks.AddSubPortsBody, statuses=(409,)),
    Route("PUT", f"{_TRUNK}/remove_subports", trunks.remove, body=trunks.RemoveSubPortsBody, statuses=(409,)),
    *_crud(logs.NOUN, (logs.create, logs.CreateLogBody), (logs.update, logs.UpdateLogBody), logs.delete),
    Route("GET", "/v2.0/log/loggable-resources", logs.loggable),
    Route("GET", "/v2.0/auto-allocated-topology/{project}", auto_topology.show, query=("fields",), statuses=(409,)),
    Route("DELETE", "/v2.0/auto-allocated-topology/{project}", auto_topology.delete, ok=204, statuses=(409,)),
    Route("GET", "/v2.0/quotas", quotas.index),
    Route("GET", _QUOTA, quotas.show),
    Route("PUT", _QUOTA, quotas.update, body=quotas.UpdateBody),
    Route("DELETE", _QUOTA, quotas.reset, ok=204),
    Route("GET", f"{_QUOTA}/default", quotas.default),
    Route("GET", f"{_QUOTA}/details", quotas.details),
    Route("GET", f"{_QUOTA}/details.json", quotas.details),
    Route("GET", "/v2.0/agents", agents.index),
    Route("GET", "/v2.0/agents/{id}", agents.show),
    Route("GET", "/v2.0/agents/{id}/dhcp-networks", agents.dhcp_networks),
    Route("POST", "/v2.0/agents/{id}/dhcp-networks", agents.add_dhcp_network, body=agents.HostBody, ok=201,
          statuses=(409,)),
    Route("DELETE", "/v2.0/agents/{id}/dhcp-networks/{network}", agents.remove_dhcp_network, ok=204, statuses=(409,)),
    Route("GET", "/v2.0/agents/{id}/l3-routers", agents.l3_routers),
    Route("GET", "/v2.0/networks/{id}/dhcp-agents", agents.dhcp_agents),
    Route("GET", f"{_ROUTER}/l3-agents", agents.l3_agents),
    Route("GET", "/v2.0/availability_zones", agents.zones),
    Route("GET", "/v2.0/network-ip-availabilities", agents.availabilities),
    Route("GET", "/v2.0/network-ip-availabilities/{id}", agents.availability),
    *(route for resource in tags.NOUNS for route in _tags(resource)),
)  # fmt: skip

SERVICE = Service(
    name="network",
    prefix=PREFIX,
    routes=(*ROUTES, document_route("network", PREFIX, ROUTES, error_body, "Network API v2.0")),
    error_body=error_body,
    policies=POLICIES,
    # OverQuota is a conflict in Neutron; a capability that is missing, a bad request
    statuses={"quota": 409},
)
