"""A port: its logical switch port, its memberships, and DHCP options of its own where it has extra ones."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from uuid import UUID

from trilith.drivers.ovn import rows
from trilith.drivers.ovn.groups import drop_group, ensure_drop_group, placeholder_group
from trilith.drivers.ovn.networks import PORT, SWITCH, dhcp_row
from trilith.drivers.ovn.plan import Plan
from trilith.drivers.ovn.rows import Value
from trilith.errors import Invalid, Unsupported
from trilith.model.topology import PortSpec

#: Neutron's and dnsmasq's names of DHCP options → OVN's (ovn-nb(5)); numbers are RFC 2132's codes.
_V4_OPTIONS = {
    "netmask": "netmask", "1": "netmask",
    "router": "router", "3": "router",
    "dns-server": "dns_server", "6": "dns_server",
    "log-server": "log_server", "7": "log_server",
    "lpr-server": "lpr_server", "9": "lpr_server",
    "hostname": "hostname", "12": "hostname",
    "domain-name": "domain_name", "15": "domain_name",
    "swap-server": "swap_server", "16": "swap_server",
    "ip-forward-enable": "ip_forward_enable", "19": "ip_forward_enable",
    "policy-filter": "policy_filter", "21": "policy_filter",
    "default-ttl": "default_ttl", "23": "default_ttl",
    "mtu": "mtu", "26": "mtu",
    "router-discovery": "router_discovery", "31": "router_discovery",
    "router-solicitation": "router_solicitation", "32": "router_solicitation",
    "arp-timeout": "arp_cache_timeout", "35": "arp_cache_timeout",
    "ethernet-encap": "ethernet_encap", "36": "ethernet_encap",
    "tcp-ttl": "tcp_ttl", "37": "tcp_ttl",
    "tcp-keepalive": "tcp_keepalive_interval", "38": "tcp_keepalive_interval",
    "nis-server": "nis_server", "41": "nis_server",
    "ntp-server": "ntp_server", "42": "ntp_server",
    "netbios-ns": "netbios_name_server", "44": "netbios_name_server",
    "lease-time": "lease_time", "51": "lease_time",
    "tftp-server": "tftp_server", "66": "tftp_server",
    "bootfile-name": "bootfile_name", "67": "bootfile_name",
    "domain-search": "domain_search_list", "119": "domain_search_list",
    "classless-static-route": "classless_static_route", "121": "classless_static_route",
    "tftp-server-address": "tftp_server_address", "150": "tftp_server_address",
    "server-ip-address": "tftp_server_address",
    "path-prefix": "path_prefix", "210": "path_prefix",
    "wpad": "wpad", "252": "wpad",
}  # fmt: skip
_V6_OPTIONS = {
    "dns-server": "dns_server", "23": "dns_server",
    "domain-search": "domain_search", "24": "domain_search",
    "bootfile-name": "bootfile_name", "59": "bootfile_name",
}  # fmt: skip
_QUOTED = {"domain_name", "hostname", "bootfile_name", "path_prefix", "wpad", "domain_search", "domain_search_list"}
#: Addresses, numbers, names, and sets of these in braces.
_PLAIN = re.compile(r"[0-9A-Za-z.:/_-]{1,255}|\{[0-9A-Za-z.:/, _-]{1,1024}\}")


def dhcp_option(name: str, value: str, version: int) -> tuple[str, str]:
    """OVN's own spelling of one extra DHCP option.

    Values become part of OVN's action language, so text is quoted (its strings are JSON's) and the rest is bounded.
    Raises Unsupported for an option that OVN does not know, Invalid for a value that it could not read.
    """
    plain = name.lower().removeprefix("option:").replace("_", "-")
    found = (_V4_OPTIONS if version == 4 else _V6_OPTIONS).get(plain)
    if found is None:
        raise Unsupported(f"OVN has no DHCPv{version} option {name}.", capability=f"dhcp.option.{plain}")
    if found in _QUOTED:
        return found, json.dumps(value)
    if not _PLAIN.fullmatch(value):
        raise Invalid(f"{value!r} is no value of the DHCP option {name}.", field="extra_dhcp_opts")
    return found, value


def ensure_port(plan: Plan, spec: PortSpec) -> None:
    row = rows.row_id(spec.id)
    switch, _ = plan.switch(spec.network_id)
    if plan.newer(PORT, row, spec.revision, f"Port {spec.id}"):
        return
    before = rows.external_ids(plan.get(PORT, row) or {})
    options: dict[str, str] = {}
    if spec.host:
        options["requested-chassis"] = spec.host
        if "," in spec.host:
            # two hosts during a live migration: the second one's first RARP says that the guest runs there now
            options["activation-strategy"] = "rarp"
    if spec.hostname:
        options["hostname"] = json.dumps(spec.hostname)  # goes into OVN's action language as it is
    groups = _groups(spec)
    new = plan.put(
        PORT,
        row,
        {
            "name": spec.id,
            "type": "",
            "addresses": _addresses(spec),
            "port_security": _port_security(spec),
            "enabled": [spec.admin_up],
            "options": options,
            "dhcpv4_options": _dhcp(plan, spec, 4),
            "dhcpv6_options": _dhcp(plan, spec, 6),
            "external_ids": rows.marks(
                plan.cloud,
                "port",
                spec.id,
                spec.revision,
                network=spec.network_id,
                groups=",".join(groups),
                device=spec.device_id,
                device_owner=spec.device_owner,
            ),
        },
    )
    if new:
        plan.add_to(SWITCH, switch, "ports", row)
    had = set(before.get("trilith:groups", "").split(",")) - {""}
    for group in sorted(had - set(groups)):
        plan.take_from("Port_Group", _group_row(plan, group), "ports", row)
    for group in groups:
        if group == _DROP:
            ensure_drop_group(plan)
        else:
            placeholder_group(plan, group)
        # also when it is a member already: the membership may have been lost with the group
        plan.add_to("Port_Group", _group_row(plan, group), "ports", row)


def remove_port(plan: Plan, port_id: str) -> None:
    row = rows.row_id(port_id)
    found = plan.ours(PORT, row, f"Port {port_id}")
    if found is None:
        return
    plan.guard(PORT, row, found)
    for version in (4, 6):
        plan.drop_root("DHCP_Options", rows.row_id(port_id, f"dhcpv{version}"))
    # nothing else holds the row: it goes with the reference, and out of its groups (weak references) by itself
    plan.take_from(SWITCH, rows.row_id(rows.external_ids(found)["trilith:network"]), "ports", row)


_DROP = "drop"


def _groups(spec: PortSpec) -> list[str]:
    if not spec.port_security:
        return []
    return [*sorted(set(spec.security_groups)), _DROP]


def _group_row(plan: Plan, group: str) -> UUID:
    return drop_group(plan.cloud)[0] if group == _DROP else rows.row_id(group)


def _addresses(spec: PortSpec) -> list[str]:
    known = " ".join([spec.mac, *(address for _, address in spec.addresses)])
    return [known] if spec.port_security else [known, "unknown"]


def _port_security(spec: PortSpec) -> list[str]:
    """One entry a MAC with the addresses that it may use as a source."""
    if not spec.port_security:
        return []
    by_mac: dict[str, list[str]] = {spec.mac.lower(): [address for _, address in spec.addresses]}
    for mac, address in spec.allowed_address_pairs:
        by_mac.setdefault((mac or spec.mac).lower(), []).append(address)
    return [" ".join([mac, *dict.fromkeys(addresses)]) for mac, addresses in by_mac.items()]


def _dhcp(plan: Plan, spec: PortSpec, version: int) -> list[UUID]:
    """The subnet's options, or a copy of them with the port's extra ones."""
    own = rows.row_id(spec.id, f"dhcpv{version}")
    served = next((row for row in _served(plan, spec, version)), None)
    extra = dict(dhcp_option(name, value, version) for name, value, v in spec.dhcp_options if v == version)
    if served is None or not extra:
        plan.drop_root("DHCP_Options", own)
        return [] if served is None else [served]
    found = plan.get("DHCP_Options", served) or {}
    inherited, cidr = found.get("options", {}), found.get("cidr", "")
    merged: dict[str, str] = {**(inherited if isinstance(inherited, Mapping) else {}), **extra}
    columns: dict[str, Value] = {
        "cidr": cidr,
        "options": merged,
        "external_ids": rows.marks(plan.cloud, "port-dhcp", spec.id),
    }
    plan.put("DHCP_Options", own, columns)
    return [own]


def _served(plan: Plan, spec: PortSpec, version: int) -> list[UUID]:
    return [
        dhcp_row(subnet)
        for subnet, address in spec.addresses
        if ipaddress.ip_address(address).version == version and plan.get("DHCP_Options", dhcp_row(subnet)) is not None
    ]
