"""The websockets that console URLs lead to. The token in the URL is the only key, and this is where it is used up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from trilith import errors
from trilith.agent.calls import TerminalArgs
from trilith.api.http.call import Call
from trilith.api.http.route import ByteStream
from trilith.commands import consoles
from trilith.model.console import ConsoleKind
from trilith.model.record import Actor


async def screen(call: Call) -> ByteStream:
    """RFB in binary frames. 403 for a token or an origin that is not good; 409 when the server does not run; 429."""
    return await _opened(call, ConsoleKind.NOVNC, "guest.screen")


async def serial(call: Call) -> ByteStream:
    """The serial line, of one at a time. 403; 409 when it is in use or the server does not run."""
    return await _opened(call, ConsoleKind.SERIAL, "guest.console")


async def _opened(call: Call, kind: ConsoleKind, channel: str) -> ByteStream:
    """The token is used up last: who finds the line in use, or the server off, may come again with it."""
    settings = call.host.settings
    check_origin(call.headers, settings.url, settings.console_origins)
    token = call.one("token")
    with _forbidden():
        found, server = await call.read(lambda r: consoles.look(r, token, time.time(), kind))
    stream = await call.host.services.links.open(server.node, channel, TerminalArgs(server.id))
    actor = Actor(
        user_id=found.user_id, project_id=found.project_id, request_id=call.request_id, address=call.actor.address
    )
    try:
        with _forbidden():
            await call.host.write(
                lambda tx: consoles.redeem(tx, token, kind), actor=actor, action=f"console.open_{kind}"
            )
    except BaseException:
        stream.close()
        raise
    return Watched(stream, idle=settings.console_idle_seconds)


@contextmanager
def _forbidden() -> Iterator[None]:
    """A token that is not good, as Nova's proxy answers it."""
    try:
        yield
    except errors.Missing as err:
        raise errors.Forbidden(err.message, hint=err.hint) from err


def check_origin(headers: Mapping[str, str], public_url: str, allowed: Iterable[str]) -> None:
    """A browser says whose page opens the websocket: it must be of this host (or an allowed one) and come as safely as
    public_url says. Who sends no Origin is no browser. As in Nova's proxy (CVE-2015-0259). Raises Forbidden.
    """
    given = headers.get("origin")
    if given is None:
        return
    own = urlsplit(public_url)
    try:
        origin = urlsplit(given)
        host = urlsplit(f"//{headers.get('host', '')}").hostname
    except ValueError as err:
        raise errors.Forbidden("Origin header not valid.") from err
    # a TLS proxy before us says how the client came
    scheme = headers.get("x-forwarded-proto") or origin.scheme
    if not origin.hostname or not scheme:
        raise errors.Forbidden("Origin header not valid.")
    if origin.hostname not in {host, own.hostname, *allowed}:
        raise errors.Forbidden("Origin header does not match this host.", hint="See the setting console_origins.")
    if scheme != own.scheme:
        raise errors.Forbidden("Origin header protocol does not match this host.", hint="See the setting public_url.")


class Watched:
    """A stream that ends when nothing has passed for a while. idle: seconds; 0 for never."""

    def __init__(self, stream: ByteStream, *, idle: float) -> None:
        self._stream = stream
        self._idle = idle
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._expired = False
        self._timer: asyncio.TimerHandle | None = None
        if idle:
            self._timer = self._loop.call_later(idle, self._look)

    @property
    def reason(self) -> str:
        return f"Nothing passed for {self._idle:g} s." if self._expired else self._stream.reason

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._stream:
            self._last = self._loop.time()
            yield data

    async def send(self, data: bytes) -> None:
        self._last = self._loop.time()
        await self._stream.send(data)

    def resize(self, rows: int, cols: int) -> None:
        self._stream.resize(rows, cols)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._stream.close()

    def _look(self) -> None:
        left = self._last + self._idle - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
            return
        self._expired = True
        self._stream.close()
