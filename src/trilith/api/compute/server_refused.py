"""Actions that Nova has and this cloud does not: refused with the status that Nova answers for a missing capability.

The right to ask and the server's existence are checked first, so that nobody learns of servers that are not theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from trilith import errors
from trilith.api.compute.faults import gone
from trilith.api.compute.microversions import has
from trilith.api.compute.server_load import change
from trilith.api.http.call import Call
from trilith.model.server import Server
from trilith.store.tx import Tx

_BAD = errors.Invalid


@dataclass(frozen=True)
class Refusal:
    """kind: the error that Nova's API answers where a driver or the deployment lacks it."""

    rule: str
    what: str
    kind: type[errors.TrilithError]
    hint: str = ""
    since: str = ""


REFUSED: dict[str, Refusal] = {
    "trigger_crash_dump": Refusal("servers:trigger_crash_dump", "A crash dump of a server", _BAD, since="crash_dump"),
}

#: removed from every version of Nova
_GONE = ("resetNetwork", "os-resetNetwork")
REFUSED |= {name: Refusal("os-admin-actions:inject_network_info", name, _BAD) for name in _GONE}


async def refuse(call: Call, name: str, _value: Any) -> NoReturn:
    """Raises Missing, Forbidden or Conflict (a lock) first, then the refusal."""
    refusal = REFUSED[name]
    if refusal.since and not has(call.version, refusal.since):
        raise errors.Invalid(f"There is no such action: {name}")

    def body(_tx: Tx, _server: Server) -> None:
        """Only the checks before it matter."""

    await change(call, refusal.rule, f"server.{name}", body)
    if name in _GONE:
        gone(name)
    raise refusal.kind(f"{refusal.what} is not supported by this cloud.", hint=refusal.hint)
