"""A network: logical switch, localnet and metadata ports, DHCP options, DNS records."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping
from uuid import UUID

from trilith.drivers.ovn import rows
from trilith.drivers.ovn.groups import DROP, leave_drop_group
from trilith.drivers.ovn.plan import Plan
from trilith.drivers.ovn.rows import Row, Value
from trilith.model.topology import NetworkSpec, SubnetSpec

METADATA_V4 = "169.254.169.254"
METADATA_V6 = "fe80::a9fe:a9fe"
#: Seconds; Neutron's own dhcp_lease_duration under OVN.
LEASE_SECONDS = 43200

SWITCH = "Logical_Switch"
PORT = "Logical_Switch_Port"
_DOWN = "trilith:down"


def dhcp_row(subnet_id: str) -> UUID:
    return rows.row_id(subnet_id, "dhcp")


def ensure_network(plan: Plan, spec: NetworkSpec) -> None:
    switch = rows.row_id(spec.id)
    if plan.newer(SWITCH, switch, spec.revision, f"Network {spec.id}"):
        return
    before = rows.external_ids(plan.get(SWITCH, switch) or {})
    ids = _marks(plan.cloud, spec)
    _dhcp(plan, spec, before)
    columns: dict[str, Value] = {
        "name": spec.id,
        "external_ids": ids,
        "other_config": {"mcast_snoop": "false", "vlan-passthru": "false"},
        "dns_records": _dns(plan, spec),
    }
    parts = _parts(plan.cloud, spec)
    stale = set(_listed(before, "parts")) - {str(row) for row in parts}
    if plan.get(SWITCH, switch) is None:
        columns["ports"] = list(parts)
    else:
        for part in parts:
            plan.add_to(SWITCH, switch, "ports", part)
        for part_id in sorted(stale):
            plan.take_from(SWITCH, switch, "ports", UUID(part_id))
    for part, part_columns in parts.items():
        plan.put(PORT, part, part_columns)
    plan.put(SWITCH, switch, columns)
    if before and ra_configs(before) != ra_configs(ids):
        _readvertise(plan, switch, ids)
    if before and before.get(_DOWN, "") != ids.get(_DOWN, ""):
        _enable(plan, switch, spec.admin_up)


def is_down(network: Row) -> bool:
    """True for a switch whose network is administratively down."""
    return rows.external_ids(network).get(_DOWN, "") == "true"


def remove_network(plan: Plan, network_id: str) -> None:
    """The switch and with it every port on it; DHCP and DNS rows are roots and go by themselves."""
    switch = rows.row_id(network_id)
    found = plan.ours(SWITCH, switch, f"Network {network_id}")
    if found is None:
        return
    plan.guard(SWITCH, switch, found)
    for subnet_id in _listed(rows.external_ids(found), "subnets"):
        plan.drop_root("DHCP_Options", dhcp_row(subnet_id))
    plan.drop_root("DNS", rows.row_id(network_id, "dns"))
    for port in _references(found, "ports"):
        ids = rows.external_ids(plan.get(PORT, port) or {})
        if DROP in _listed(ids, "groups"):
            leave_drop_group(plan, port)
        own = ids.get(rows.ID, "")
        for version in (4, 6):
            plan.drop_root("DHCP_Options", rows.row_id(own, f"dhcpv{version}"))
    plan.drop_root(SWITCH, switch)


def ra_configs(switch_ids: Mapping[str, str]) -> dict[str, str]:
    """ipv6_ra_configs of router ports on a network (ovn-nb(5)); empty where none of its subnets advertises."""
    mode = switch_ids.get("trilith:ra", "")
    if not mode:
        return {}
    config = {"address_mode": mode.replace("-", "_"), "send_periodic": "true", "mtu": switch_ids["trilith:mtu"]}
    if dns := switch_ids.get("trilith:ra_dns"):
        config["rdnss"] = dns
    if domain := switch_ids.get("trilith:domain"):
        config["dnssl"] = domain
    return config


def _marks(cloud: str, spec: NetworkSpec) -> dict[str, str]:
    advertised = [s for s in spec.subnets if s.ipv6_ra_mode and ipaddress.ip_network(s.cidr).version == 6]
    v6_dns = [d for s in advertised for d in s.dns if ":" in d]
    return rows.marks(
        cloud,
        "network",
        spec.id,
        spec.revision,
        name=spec.name,
        mtu=str(spec.mtu),
        subnets=",".join(s.id for s in spec.subnets),
        parts=",".join(map(str, _parts(cloud, spec))),
        ra=advertised[0].ipv6_ra_mode if advertised else "",
        ra_dns=v6_dns[0] if v6_dns else "",
        domain=spec.dns_domain.rstrip("."),
        down="" if spec.admin_up else "true",
    )


def _parts(cloud: str, spec: NetworkSpec) -> dict[UUID, dict[str, Value]]:
    """The ports that belong to the network itself."""
    parts: dict[UUID, dict[str, Value]] = {}
    if spec.physical_network:
        parts[rows.row_id(spec.id, "localnet")] = {
            "name": f"ln-{spec.id}",
            "type": "localnet",
            "addresses": ["unknown"],
            "options": {"network_name": spec.physical_network},
            "tag": [spec.segmentation] if spec.segmentation else [],
            "enabled": [spec.admin_up],
            "external_ids": rows.marks(cloud, "localnet", spec.id),
        }
    if spec.metadata_port_id:
        own = [s.metadata_ip for s in spec.subnets if s.metadata_ip]
        parts[rows.row_id(spec.metadata_port_id)] = {
            "name": spec.metadata_port_id,
            "type": "localport",
            # with the two well-known addresses OVN answers ARP and ND for guests that have no route by DHCP
            "addresses": [" ".join([spec.metadata_mac, *own, METADATA_V4, METADATA_V6])],
            "enabled": [spec.admin_up],
            "external_ids": rows.marks(cloud, "metadata", spec.metadata_port_id, network=spec.id),
        }
    return parts


def _dhcp(plan: Plan, spec: NetworkSpec, before: Mapping[str, str]) -> None:
    wanted: set[UUID] = set()
    for subnet in spec.subnets:
        options = dhcp_options(spec, subnet)
        if options is None:
            continue
        row = dhcp_row(subnet.id)
        wanted.add(row)
        ids = rows.marks(plan.cloud, "dhcp", subnet.id, network=spec.id)
        plan.put("DHCP_Options", row, {"cidr": subnet.cidr, "options": options, "external_ids": ids})
    for subnet_id in {*_listed(before, "subnets"), *(s.id for s in spec.subnets)}:
        if dhcp_row(subnet_id) not in wanted:
            plan.drop_root("DHCP_Options", dhcp_row(subnet_id))


def dhcp_options(spec: NetworkSpec, subnet: SubnetSpec) -> dict[str, str] | None:
    """OVN's DHCP options of a subnet (ovn-nb(5), DHCP_Options), or None where nothing is to be served."""
    if not subnet.dhcp:
        return None
    mac = rows.derived_mac(subnet.id)
    if ipaddress.ip_network(subnet.cidr).version == 6:
        if subnet.ipv6_address_mode not in ("dhcpv6-stateful", "dhcpv6-stateless"):
            return None
        options = {"server_id": mac}
        if subnet.dns:
            options["dns_server"] = _set(subnet.dns)
        if spec.dns_domain:
            options["domain_search"] = _text(spec.dns_domain)
        if subnet.ipv6_address_mode == "dhcpv6-stateless":
            options["dhcpv6_stateless"] = "true"
        return options
    options = {
        # a server needs an address that its clients can tell from the others'; the metadata address always is one
        "server_id": subnet.gateway or subnet.metadata_ip or METADATA_V4,
        "server_mac": mac,
        "lease_time": str(LEASE_SECONDS),
        "mtu": str(spec.mtu),
    }
    if subnet.gateway:
        options["router"] = subnet.gateway
    if subnet.dns:
        options["dns_server"] = _set(subnet.dns)
    if spec.dns_domain:
        options["domain_name"] = _text(spec.dns_domain)
    routes = list(subnet.routes)
    if subnet.metadata_ip:
        routes.insert(0, (f"{METADATA_V4}/32", subnet.metadata_ip))
    if routes:
        # RFC 3442: who gets option 121 ignores option 3, so the default route is repeated in it
        if subnet.gateway:
            routes.append(("0.0.0.0/0", subnet.gateway))
        options["classless_static_route"] = _set(f"{destination},{hop}" for destination, hop in routes)
    return options


def _dns(plan: Plan, spec: NetworkSpec) -> list[UUID]:
    row = rows.row_id(spec.id, "dns")
    if not spec.names:
        plan.drop_root("DNS", row)
        return []
    records = {name.lower().rstrip("."): " ".join(addresses) for name, addresses in spec.names}
    plan.put("DNS", row, {"records": records, "external_ids": rows.marks(plan.cloud, "dns", spec.id)})
    return [row]


def _readvertise(plan: Plan, switch: UUID, ids: Mapping[str, str]) -> None:
    """Router ports carry the network's advertisement: bring it to those that are there."""
    for port in _references(plan.get(SWITCH, switch) or {}, "ports"):
        own = rows.external_ids(plan.get(PORT, port) or {})
        inner = rows.router_port_row(own.get(rows.ID, ""))
        if own.get(rows.KIND) == "router-port" and plan.get("Logical_Router_Port", inner) is not None:
            plan.put("Logical_Router_Port", inner, {"ipv6_ra_configs": ra_configs(ids)})


def _enable(plan: Plan, switch: UUID, up: bool) -> None:
    """OVN has no switch that is off, so each port on it is (the network's own came with their columns)."""
    for port in _references(plan.get(SWITCH, switch) or {}, "ports"):
        own = rows.external_ids(plan.get(PORT, port) or {})
        if own.get(rows.KIND) in ("port", "router-port"):
            plan.put(PORT, port, {"enabled": [up and own.get(_DOWN, "") != "true"]})


def _references(row: Row, column: str) -> list[UUID]:
    value = row.get(column, [])
    if isinstance(value, UUID):
        return [value]
    return [v for v in value if isinstance(v, UUID)] if isinstance(value, list | tuple) else []


def _listed(ids: Mapping[str, str], name: str) -> list[str]:
    return [part for part in ids.get(f"trilith:{name}", "").split(",") if part]


def _set(values: Iterable[str]) -> str:
    return "{" + ", ".join(values) + "}"


def _text(domain: str) -> str:
    return json.dumps(domain.rstrip("."))
