"""What the nodes were told last: a plan that is known there need not be sent again."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import msgspec

from trilith.commands.server_details import PASSWORD
from trilith.model.plan import GuestPlan
from trilith.model.server import Server


class SentPlans:
    """In memory: after a start of the controller nothing is known, and each plan is sent once more."""

    def __init__(self) -> None:
        self._sent: dict[str, tuple[bytes, bytes]] = {}

    def note(self, plan: GuestPlan) -> None:
        """The server's node has this plan now."""
        self._sent[plan.server_id] = (_of_plan(plan), _whole(plan))

    def forget(self, server_id: str) -> None:
        self._sent.pop(server_id, None)

    def has(self, plan: GuestPlan) -> bool:
        return self._sent.get(plan.server_id, (b"", b""))[1] == _whole(plan)

    def has_row(self, server: Server) -> bool:
        """Whether what a plan takes from the server's own row is as it was sent: then only its ports, networks and
        addresses can differ, which have rows of their own."""
        return self._sent.get(server.id, (b"", b""))[0] == _of_row(server)


def _whole(plan: GuestPlan) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(replace(plan, revision=0)), digest_size=16).digest()


def _of_plan(plan: GuestPlan) -> bytes:
    told = plan.instance
    posted = told.password.decode()
    return _digest(plan.name, plan.hostname, told.availability_zone, told.meta, told.security_groups, posted)


def _of_row(server: Server) -> bytes:
    posted = server.system_metadata.get(PASSWORD, "")
    return _digest(server.name, server.hostname, server.zone, server.metadata, server.security_groups, posted)


def _digest(*parts: object) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(parts, order="deterministic"), digest_size=16).digest()
