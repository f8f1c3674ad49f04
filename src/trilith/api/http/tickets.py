"""One-time tickets that stand for a token where no header can be set: a browser's websocket.

They live in this process, as short as they do: a ticket is good at the controller that gave it.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass

from trilith import errors

SECONDS = 60.0
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class _Ticket:
    token: str
    path: str
    until: float


class Tickets:
    """seconds: how long a ticket is good."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._known: OrderedDict[str, _Ticket] = OrderedDict()

    def issue(self, token: str, path: str) -> str:
        """For one connection to the path, in the name of the token's holder. Raises TooMany."""
        now = time.monotonic()
        while self._known and next(iter(self._known.values())).until < now:
            self._known.popitem(last=False)
        if len(self._known) >= _MOST:
            raise errors.TooMany("Too many tickets wait to be used.", hint=f"They end after {self.seconds:.0f} s.")
        made = secrets.token_urlsafe(32)
        self._known[made] = _Ticket(token, path, now + self.seconds)
        return made

    def redeem(self, ticket: str, path: str) -> str:
        """The token behind it; whatever is wrong, the ticket is used up. Raises Unauthenticated."""
        found = self._known.pop(ticket, None)
        if found is None or found.path != path or found.until < time.monotonic():
            raise errors.Unauthenticated("The ticket is not good here, or not any more.", hint="Get another one.")
        return found.token
