"""The listening side of `trilith up`: one HTTP server over the one application, and orderly ends."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import uvicorn

from trilith import errors
from trilith.config import Settings


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers, and with an event for `it answers now`."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets=sockets)
        self.ready.set()


#: bytes of one websocket message: a screen's worth of pasted text and more
_MAX_FRAME = 1024 * 1024


def _websocket(**given: Any) -> asyncio.Protocol:
    """The protocol of one websocket. Its library is loaded with the first: idle it would cost 2.5 MiB and 15 ms."""
    return _protocol()(**given)


@functools.cache
def _protocol() -> type[asyncio.Protocol]:
    """uvicorn's other one over `websockets` rests on that library's legacy module, which is deprecated."""
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    class Protocol(WebSocketsSansIOProtocol):
        async def send(self, message: Any) -> None:
            await super().send(message)
            if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
                self.handshake_complete = True  # a refusal is an answer, too, and no error to log

    return Protocol


def spare_the_start() -> None:
    """Leave what the start made (modules, tables, routes) out of the garbage collector's passes: it stays anyway.

    A full pass over it stopped every request for 150 ms, on a busy machine for 600. The answer to a list of 1,000
    makes tens of thousands of objects that die at once: with a youngest generation of 700 most passes are in vain.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 10)


@asynccontextmanager
async def listening(app: Any, settings: Settings) -> AsyncIterator[asyncio.Task[None]]:
    """Yields when the first request would be answered. Raises Backend when the address cannot be had."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="httptools",
        ws=cast("type[asyncio.Protocol]", _websocket),  # uvicorn only calls it
        ws_max_size=_MAX_FRAME,
        ws_per_message_deflate=False,  # keystrokes do not shrink, and each connection would pay for the window
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=75,
    )
    server = _Server(config)
    task = asyncio.create_task(_serve(server, settings), name="http")
    ready = asyncio.create_task(server.ready.wait())
    await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    if task.done():
        task.result()
        raise errors.Backend(f"The API could not listen on {settings.listen}.")
    try:
        yield task
    finally:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _serve(server: _Server, settings: Settings) -> None:
    try:
        await server.serve()
    except SystemExit as err:  # uvicorn's way to say that bind failed
        raise errors.Backend(
            f"{settings.listen} is taken or not ours.", hint="Choose another --listen HOST:PORT."
        ) from err


async def until_stopped(*also: asyncio.Event) -> str:
    """Wait for SIGINT or SIGTERM, or one of the events; which it was."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[str] = loop.create_future()

    def stop(name: str) -> None:
        if not stopped.done():
            stopped.set_result(name)

    for sig in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sig, stop, sig.name)
    # a closed terminal does not end the cloud
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    waits: set[asyncio.Future[Any]] = {asyncio.ensure_future(event.wait()) for event in also}
    try:
        await asyncio.wait({stopped, *waits}, return_when=asyncio.FIRST_COMPLETED)
        return stopped.result() if stopped.done() else "problem"
    finally:
        for wait in waits:
            wait.cancel()
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(sig)
