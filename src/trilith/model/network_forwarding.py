"""Ports of a floating IP that are forwarded to ports of guests."""

from __future__ import annotations

from dataclasses import dataclass

from trilith.model.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class PortForwarding(Record):
    """(floating_ip_id, protocol, external_port) is unique, and so is (floating_ip_id, protocol, inner end)."""

    project_id: str
    floating_ip_id: str
    router_id: str
    protocol: str  # tcp | udp | sctp
    external_port: int
    internal_port: int
    internal_port_id: str
    internal_ip_address: str
    description: str = ""
