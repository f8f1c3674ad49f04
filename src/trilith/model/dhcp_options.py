"""Extra DHCP options of ports: the names that users write, and how OVN writes them.

Values become part of OVN's action language, and one that it cannot read costs the port its whole DHCP service
(ovn-controller drops the flow). So each value is checked against its option's type (ovn-sb(5), DHCP_Options) when it
is asked for, and refused there.
"""

from __future__ import annotations

import ipaddress
import json
import re

from trilith.errors import Invalid, Unsupported

#: Neutron's and dnsmasq's names of DHCP options → OVN's (ovn-nb(5)); numbers are RFC 2132's codes.
_V4_NAMES = {
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
_V6_NAMES = {
    "dns-server": "dns_server", "23": "dns_server",
    "domain-search": "domain_search", "24": "domain_search",
}  # fmt: skip

#: OVN's types of its DHCPv4 options, as its southbound table DHCP_Options lists them (a test compares the two)
V4_TYPES = {
    "netmask": "ipv4", "router": "ipv4", "dns_server": "ipv4", "log_server": "ipv4", "lpr_server": "ipv4",
    "hostname": "str", "domain_name": "str", "swap_server": "ipv4", "ip_forward_enable": "bool",
    "policy_filter": "ipv4", "default_ttl": "uint8", "mtu": "uint16", "router_discovery": "bool",
    "router_solicitation": "ipv4", "arp_cache_timeout": "uint32", "ethernet_encap": "bool", "tcp_ttl": "uint8",
    "tcp_keepalive_interval": "uint32", "nis_server": "ipv4", "ntp_server": "ipv4", "netbios_name_server": "ipv4",
    "lease_time": "uint32", "tftp_server": "host_id", "bootfile_name": "str", "domain_search_list": "domains",
    "classless_static_route": "static_routes", "tftp_server_address": "ipv4", "path_prefix": "str", "wpad": "str",
}  # fmt: skip
V6_TYPES = {"dns_server": "ipv6", "domain_search": "str"}

_BITS = {"uint8": 8, "uint16": 16, "uint32": 32}
_DOMAIN = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
                     r"(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?")  # fmt: skip
#: options that hold one address; the others of type ipv4 take several
_SINGLE = {"netmask", "swap_server", "router_solicitation"}


def known_option(name: str, version: int) -> str:
    """OVN's own name of an extra DHCP option. Raises Unsupported for one that OVN does not know."""
    plain = name.lower().removeprefix("option:").replace("_", "-")
    found = (_V4_NAMES if version == 4 else _V6_NAMES).get(plain)
    if found is None:
        known = ", ".join(sorted(n for n in (_V4_NAMES if version == 4 else _V6_NAMES) if not n.isdecimal()))
        raise Unsupported(
            f"There is no DHCPv{version} option {name!r} here.",
            capability=f"dhcp.option.{plain}",
            hint=f"Known by name or number: {known}.",
        )
    return found


def dhcp_option(name: str, value: str, version: int) -> tuple[str, str]:
    """OVN's own name and spelling of one extra DHCP option.

    Raises Unsupported for an option that OVN does not know, Invalid for a value that is none of its type.
    """
    found = known_option(name, version)
    kind = (V4_TYPES if version == 4 else V6_TYPES)[found]
    try:
        return found, _spell(found, kind, value.strip())
    except ValueError as err:
        raise Invalid(
            f"{value!r} is no value of the DHCPv{version} option {name} ({kind}): {err}.", field="extra_dhcp_opts"
        ) from err


def _spell(option: str, kind: str, value: str) -> str:
    """Raises ValueError."""
    if "\0" in value or not value:
        raise ValueError("it is empty or holds a NUL")
    match kind:
        case "str":
            return json.dumps(value)  # its strings are JSON's
        case "domains":
            names = [n.strip() for n in value.split(",")]
            if not all(map(_DOMAIN.fullmatch, names)):
                raise ValueError("domain names with commas between them are needed")
            return json.dumps(",".join(names))
        case "host_id":
            return str(ipaddress.IPv4Address(value)) if _is_v4(value) else json.dumps(value)
        case "bool":
            if value.lower() not in ("0", "1", "true", "false"):
                raise ValueError("1 or 0 is needed")
            return "1" if value.lower() in ("1", "true") else "0"
        case "static_routes":
            return _set(_routes(value))
        case "ipv4" | "ipv6":
            make = ipaddress.IPv4Address if kind == "ipv4" else ipaddress.IPv6Address
            found = [str(make(part)) for part in _parts(value)]
            if len(found) > 1 and option in _SINGLE:
                raise ValueError("one address is needed")
            return _set(found)
        case _:
            if not value.isdecimal() or not value.isascii() or int(value) >> _BITS[kind]:
                raise ValueError(f"a number from 0 to {(1 << _BITS[kind]) - 1} is needed")
            return str(int(value))


def _is_v4(value: str) -> bool:
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        return False
    return True


def _parts(value: str) -> list[str]:
    return [part.strip() for part in value.removeprefix("{").removesuffix("}").split(",")]


def _routes(value: str) -> list[str]:
    """destination,next hop,destination,next hop …"""
    parts = _parts(value)
    if len(parts) % 2:
        raise ValueError("each destination needs a next hop")
    return [
        f"{ipaddress.IPv4Network(to)},{ipaddress.IPv4Address(hop)}"
        for to, hop in zip(parts[::2], parts[1::2], strict=True)
    ]


def _set(values: list[str]) -> str:
    return values[0] if len(values) == 1 else "{" + ", ".join(values) + "}"
