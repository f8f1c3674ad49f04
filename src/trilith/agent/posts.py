"""What guests post to the metadata service, on its way to a controller, and the controller's answers."""

from __future__ import annotations

import asyncio
import itertools

from trilith import errors
from trilith.agent import wire

#: seconds for the controller's answer; the guest's own request has a bound above it
_SECONDS = 8.0


class Posts:
    """One a node. A controller that is away is said so at once: the guest asks again."""

    def __init__(self) -> None:
        self._out: wire.Outbox | None = None
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[None]] = {}

    def begin(self, out: wire.Outbox) -> None:
        """A controller is there."""
        self._out = out

    def end(self) -> None:
        """It is gone, and answers to nobody."""
        self._out = None
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(errors.Backend("The controller went away."))
        self._waiting.clear()

    async def password(self, server_id: str, password: bytes) -> None:
        """Returns when it is kept. Raises what the controller says (Conflict: there is one; Invalid), Backend without
        a controller, Deadline."""
        if self._out is None:
            raise errors.Backend("No controller is connected.", hint="Try again.")
        id = next(self._ids)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[id] = future
        try:
            self._out.put(wire.Post(id=id, server_id=server_id, password=password))
            async with asyncio.timeout(_SECONDS):
                await future
        except TimeoutError:
            raise errors.Deadline(f"The controller did not answer within {_SECONDS:g} s.") from None
        finally:
            self._waiting.pop(id, None)

    def take(self, answer: wire.Posted) -> None:
        future = self._waiting.get(answer.id)
        if future is None or future.done():
            return  # who asked has gone
        if answer.code:
            future.set_exception(errors.from_wire(answer.code, answer.message, answer.hint))
        else:
            future.set_result(None)
