"""A port: its logical switch port, its memberships, and DHCP options of its own where it has extra ones."""

from __future__ import annotations

import ipaddress
import json
from uuid import UUID

from trilith.drivers.ovn import qos, rows
from trilith.drivers.ovn.groups import DROP, drop_group, ensure_drop_group, leave_drop_group, placeholder_group
from trilith.drivers.ovn.networks import PORT, SWITCH, dhcp_row, is_down
from trilith.drivers.ovn.plan import Plan
from trilith.drivers.ovn.rows import Value
from trilith.model.dhcp_options import dhcp_option
from trilith.model.topology import PortSpec


def ensure_port(plan: Plan, spec: PortSpec) -> None:
    row = rows.row_id(spec.id)
    switch, network = plan.switch(spec.network_id)
    if plan.newer(PORT, row, spec.revision, f"Port {spec.id}"):
        return
    before = rows.external_ids(plan.get(PORT, row) or {})
    plan.guard(SWITCH, switch, network)  # whether it is down is a part of the port
    options: dict[str, str] = {}
    if spec.host:
        options["requested-chassis"] = spec.host
        if "," in spec.host:
            # two hosts during a live migration: the second one's first RARP says that the guest runs there now
            options["activation-strategy"] = "rarp"
    if spec.hostname:
        options["hostname"] = json.dumps(spec.hostname)  # goes into OVN's action language as it is
    groups = _groups(spec)
    limits = qos.of_port(plan, spec.id, spec.qos)
    new = plan.put(
        PORT,
        row,
        {
            "name": spec.id,
            "type": "",
            "addresses": _addresses(spec),
            "port_security": _port_security(spec),
            "enabled": [spec.admin_up and not is_down(network)],
            "options": options,
            "parent_name": [spec.parent] if spec.parent else [],
            "tag": [spec.vlan] if spec.parent else [],
            "dhcpv4_options": _dhcp(plan, spec, 4),
            "dhcpv6_options": _dhcp(plan, spec, 6),
            "external_ids": rows.marks(
                plan.cloud,
                "port",
                spec.id,
                spec.revision,
                network=spec.network_id,
                groups=",".join(groups),
                qos=",".join(map(str, limits)),
                device=spec.device_id,
                device_owner=spec.device_owner,
                down="" if spec.admin_up else "true",
            ),
        },
    )
    if new:
        plan.add_to(SWITCH, switch, "ports", row)
    qos.refer(plan, switch, qos.listed(before), limits)
    had = set(before.get("trilith:groups", "").split(",")) - {""}
    for group in sorted(had - set(groups)):
        if group == DROP:
            leave_drop_group(plan, row)
        else:
            plan.take_from("Port_Group", rows.row_id(group), "ports", row)
    for group in groups:
        if group == DROP:
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
    if DROP in rows.external_ids(found).get("trilith:groups", "").split(","):
        leave_drop_group(plan, row)
    switch = rows.row_id(rows.external_ids(found)["trilith:network"])
    qos.refer(plan, switch, qos.listed(rows.external_ids(found)), ())
    # nothing else holds the row: it goes with the reference, and out of its other groups (weak references) by itself
    plan.take_from(SWITCH, switch, "ports", row)


def _groups(spec: PortSpec) -> list[str]:
    if not spec.port_security:
        return []
    return [*sorted(set(spec.security_groups)), DROP]


def _group_row(plan: Plan, group: str) -> UUID:
    return drop_group(plan.cloud)[0] if group == DROP else rows.row_id(group)


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
    for mac, addresses in by_mac.items():
        # OVN lets a guest with IPv6 send from its link-local address, but not answer neighbours that ask for it
        if any(":" in address for address in addresses):
            addresses.append(_link_local(mac))
    return [" ".join([mac, *dict.fromkeys(addresses)]) for mac, addresses in by_mac.items()]


def _link_local(mac: str) -> str:
    """RFC 4291, appendix A."""
    octets = bytes.fromhex(mac.replace(":", ""))
    interface = bytes((octets[0] ^ 2, octets[1], octets[2], 0xFF, 0xFE, *octets[3:]))
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + interface))


def _dhcp(plan: Plan, spec: PortSpec, version: int) -> list[UUID]:
    """The subnet's options, or a copy of them with the port's extra ones."""
    own = rows.row_id(spec.id, f"dhcpv{version}")
    served = next((row for row in _served(plan, spec, version)), None)
    if served is None or not spec.dhcp:
        plan.drop_root("DHCP_Options", own)
        return []
    extra = dict(dhcp_option(name, value, version) for name, value, v in spec.dhcp_options if v == version)
    if not extra:
        plan.drop_root("DHCP_Options", own)
        return [served]
    found = plan.get("DHCP_Options", served) or {}
    cidr = found.get("cidr", "")
    merged: dict[str, str] = {**rows.texts(found, "options"), **extra}
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
