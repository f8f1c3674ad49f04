"""What security groups refer to, start with, and are logged by."""

from __future__ import annotations

from dataclasses import dataclass

from trilith.model.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressGroup(Record):
    """Prefixes under one name, for rules to name as their far end. addresses: canonical CIDRs of both IP versions."""

    name: str
    project_id: str
    description: str = ""
    addresses: tuple[str, ...] = ()
    generation: int = 1
    applied_revision: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultRule(Record):
    """A rule that new security groups start with. remote_group_id "PARENT" is the new group itself."""

    direction: str  # ingress | egress
    ethertype: str  # IPv4 | IPv6
    protocol: str = ""
    port_range_min: int = -1
    port_range_max: int = -1
    remote_ip_prefix: str = ""
    remote_group_id: str = ""
    remote_address_group_id: str = ""
    description: str = ""
    used_in_default: bool = False
    used_in_others: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityLog(Record):
    """Log what a group's rules let through, or what its ports refuse. event: ALL | ACCEPT | DROP.

    resource_id: the group, "" for all groups of the project; target_id: a port whose groups are meant, "" for none.
    """

    name: str
    project_id: str
    description: str = ""
    resource_type: str = "security_group"
    resource_id: str = ""
    target_id: str = ""
    event: str = "ALL"
    enabled: bool = True
