"""QEMU's guest agent inside a machine: whether it has a channel, whether somebody answers there, and who is root."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import fromstring

import libvirt

from trilith.drivers.libvirt.connection import Happening
from trilith.drivers.libvirt.domain import domain_name
from trilith.errors import Conflict

#: seconds for a guest that still boots to start its agent, and for the agent to answer
CONNECT_DEADLINE, ANSWER_DEADLINE = 40.0, 15


def set_password(domain: Any, user: str, password: str) -> bool:
    """False when the agent is not there yet. user: "" for the administrator. Raises Conflict where it never will be."""
    xml = domain.XMLDesc(0)
    if not domain.isActive():
        raise Conflict("the server does not run", hint="Start it first.")
    state = channel(xml)
    if not state:
        raise Conflict(
            "QEMU guest agent is not enabled",
            hint="Make the server of an image with the agent inside and the property hw_qemu_guest_agent=yes.",
        )
    if state != "connected":
        return False
    domain.agentSetResponseTimeout(ANSWER_DEADLINE, 0)
    domain.setUserPassword(user or administrator(xml), password, 0)
    return True


def connected(server_id: str, happening: Happening) -> bool:
    """Whether this is the guest's agent, which has begun to listen."""
    return (
        happening.kind == "agent"
        and happening.domain == domain_name(server_id)
        and happening.event == libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED
    )


def absent() -> Conflict:
    return Conflict(
        f"QEMU guest agent is not connected after {CONNECT_DEADLINE:g} s",
        hint="Is the server booted, and does its image start the agent?",
    )


def channel(xml: str) -> str:
    """connected or disconnected; "" for a domain without the agent's channel."""
    for target in fromstring(xml).findall("./devices/channel/target"):
        if target.get("name") == "org.qemu.guest_agent.0":
            return target.get("state", "disconnected")
    return ""


def administrator(xml: str) -> str:
    """The name of the account: Windows guests are those whose clock is local (see xml/features.py)."""
    clock = fromstring(xml).find("./clock")
    return "Administrator" if clock is not None and clock.get("offset") == "localtime" else "root"
