"""The one table of channels: name → argument type, what opens it. And those that are open in one session.

A channel ends with the first of: its controller's end, the session with the controller, the guest's end. Then its
task, its process and its descriptors are gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from trilith import errors
from trilith.agent import wire
from trilith.agent.calls import TerminalArgs, screen_of
from trilith.agent.guests import Guests
from trilith.drivers.contract import InteractiveShell
from trilith.model.guest import ConsoleEndpoint

T = TypeVar("T")
log = structlog.get_logger("agent")

_OPEN_SECONDS = 30.0
#: open at once: of this node, and of one server
MOST = 512
MOST_OF_SERVER = 16


class Line(Protocol):
    """What the agent has in its hands of a guest's terminal."""

    async def read(self) -> bytes:
        """b"" when the guest's end is gone."""
        ...

    async def write(self, data: bytes) -> None:
        """Raises ConnectionError when the guest's end is gone."""
        ...

    def resize(self, rows: int, cols: int) -> None: ...


class Descriptor:
    """A pty by its non-blocking descriptor, which the caller closes. set_size: None where it has none."""

    def __init__(self, fd: int, *, said: bytes = b"", set_size: Callable[[int, int], None] | None = None) -> None:
        self._fd = fd
        self._said = said
        self._set_size = set_size

    async def read(self) -> bytes:
        said, self._said = self._said, b""
        loop = asyncio.get_running_loop()
        while not said:
            try:
                return os.read(self._fd, wire.CHUNK)
            except BlockingIOError:
                # watched only while somebody waits: a reader that is slow must not keep the loop busy
                await _ready(self._fd, loop.add_reader, loop.remove_reader)
            except OSError:  # EIO: the last holder of the other end is gone
                return b""
        return said

    async def write(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                await _ready(self._fd, loop.add_writer, loop.remove_writer)
            except OSError as err:
                raise ConnectionResetError(str(err)) from err

    def resize(self, rows: int, cols: int) -> None:
        if self._set_size is not None:
            self._set_size(rows, cols)


async def _ready(fd: int, add: Callable[..., Any], remove: Callable[[int], Any]) -> None:
    ready = asyncio.Event()
    add(fd, ready.set)
    try:
        await ready.wait()
    finally:
        remove(fd)


class Socket:
    """A console behind a unix or TCP socket. It has no size."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        try:
            return await self._reader.read(wire.CHUNK)
        except ConnectionError:
            return b""

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def resize(self, rows: int, cols: int) -> None:
        return


@asynccontextmanager
async def _console(guests: Guests, args: TerminalArgs) -> AsyncIterator[Line]:
    """The serial console. Raises what the driver raises; Backend when it cannot be opened."""
    driver = guests.driver(args.server_id)
    if not driver.capabilities.serial_console:
        raise errors.Unsupported(
            f"{driver.capabilities.pillar} guests here have no console.", capability="serial_console"
        )
    found = await driver.console(args.server_id)
    if found.kind == "pty":
        fd = await _reached(asyncio.to_thread(_open_pty, found.address))
        try:
            # a number that the kernel gave to another terminal meanwhile would be a stranger's
            if await driver.console(args.server_id) != found:
                raise errors.Conflict("The server was started anew just now.", hint="Try again.")
            yield Descriptor(fd)
        finally:
            os.close(fd)
    else:
        async with _socket(found) as line:
            yield line


@asynccontextmanager
async def _screen(guests: Guests, args: TerminalArgs) -> AsyncIterator[Line]:
    """The screen, as RFB speaks. Raises Unsupported where there is none, and what the driver raises."""
    async with _socket(await screen_of(guests.driver(args.server_id), args.server_id)) as line:
        yield line


@asynccontextmanager
async def _socket(found: ConsoleEndpoint) -> AsyncIterator[Line]:
    reader, writer = await _reached(_connect(found))
    try:
        yield Socket(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _reached(opening: Awaitable[T]) -> T:
    try:
        return await opening
    except OSError as err:
        raise errors.Backend(f"The console does not open: {err}.", hint="Is the server running?") from err


def _open_pty(path: str) -> int:
    """Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    tty.setraw(fd)
    return fd


async def _connect(found: ConsoleEndpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if found.kind == "unix":
        return await asyncio.open_unix_connection(found.address)
    host, _, port = found.address.rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port))


@asynccontextmanager
async def _shell(guests: Guests, args: TerminalArgs) -> AsyncIterator[Line]:
    """A login shell inside. Raises Unsupported where the driver has none, and what it raises."""
    driver = guests.driver(args.server_id)
    if not driver.capabilities.shell or not isinstance(driver, InteractiveShell):
        raise errors.Unsupported(
            f"{driver.capabilities.pillar} guests here have no shell from outside.",
            capability="shell",
            hint="Log in by ssh, or at the console: `trilith console`.",
        )
    terminal = await driver.shell(args.server_id, rows=args.rows, cols=args.cols)
    try:
        yield Descriptor(terminal.descriptor, said=terminal.said, set_size=terminal.resize)
    finally:
        await terminal.close()


@dataclass(frozen=True)
class Kind:
    """alone: one at a time a server, as there is one terminal for all."""

    args: type[TerminalArgs]
    opener: Callable[[Guests, Any], AbstractAsyncContextManager[Line]]
    summary: str
    alone: bool = False


CHANNELS: dict[str, Kind] = {
    "guest.console": Kind(TerminalArgs, _console, "the serial console", alone=True),
    "guest.screen": Kind(TerminalArgs, _screen, "the screen (VNC) of a machine"),
    "guest.shell": Kind(TerminalArgs, _shell, "a login shell inside a container"),
}


class Channels:
    """What is open in one session. `take` never waits."""

    def __init__(self, guests: Guests, outbox: wire.Outbox) -> None:
        self._guests = guests
        self._outbox = outbox
        self._open: dict[int, tuple[wire.Channel, asyncio.Task[None]]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._held: defaultdict[str, set[asyncio.Task[None]]] = defaultdict(set)

    def take(self, message: wire.Open | wire.Chunk | wire.Credit | wire.Resize | wire.Close) -> None:
        """Raises Backend for a controller that breaks the rules of the wire."""
        if isinstance(message, wire.Open):
            if message.id in self._open:
                raise errors.Backend(f"The controller opened channel {message.id} twice.")
            channel = wire.Channel(message.id, self._outbox, credit=message.credit, ended=self._ended)
            task = asyncio.create_task(self._serve(message, channel), name=f"agent-{message.call}")
            self._open[message.id] = (channel, task)
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            return
        if message.id in self._open:  # else it has ended here, and the controller does not know yet
            self._open[message.id][0].take(message)

    async def close(self) -> None:
        """All channels, what they opened, and what was ending already."""
        while self._open:
            _, (_, task) = self._open.popitem()
            task.cancel()
        if self._ending:
            await asyncio.wait(set(self._ending))

    def _ended(self, id: int) -> None:
        """The controller ended it, be it while it was being opened. Cancelled once: its end is not disturbed."""
        if id in self._open:
            self._open.pop(id)[1].cancel()

    async def _serve(self, message: wire.Open, channel: wire.Channel) -> None:
        try:
            async with contextlib.AsyncExitStack() as stack:
                try:
                    async with asyncio.timeout(_OPEN_SECONDS):
                        line = await self._opened(message, stack)
                    channel.resized = line.resize
                    self._outbox.put(wire.Opened(channel.id))
                    await _copy(channel, line)
                finally:
                    self._open.pop(channel.id, None)
            channel.close()
        except TimeoutError:
            channel.close(errors.Deadline(f"{message.call} did not open within {_OPEN_SECONDS:g} s."))
        except errors.TrilithError as err:
            channel.close(err)
        except Exception as err:
            log.exception("bug in a channel", call=message.call)
            channel.close(errors.Bug(f"{type(err).__name__}: {err}"))
        finally:
            channel.close(reason="The node's agent ended it.")

    async def _opened(self, message: wire.Open, stack: contextlib.AsyncExitStack) -> Line:
        kind = CHANNELS.get(message.call)
        if kind is None:
            raise errors.Unsupported(
                f"This node does not know the channel {message.call}.",
                capability=message.call,
                hint="Upgrade the node to the controller's release.",
            )
        try:
            args = msgspec.msgpack.decode(message.args, type=kind.args)
        except msgspec.MsgspecError as err:
            raise errors.Invalid(f"{message.call}: {err}") from err
        if len(self._open) > MOST:
            raise errors.TooMany(f"This node has {MOST} streams open.", hint="Close some.")
        await self._hold(f"{message.call} {args.server_id}", 1 if kind.alone else MOST_OF_SERVER, stack)
        return await stack.enter_async_context(kind.opener(self._guests, args))

    async def _hold(self, key: str, most: int, stack: contextlib.AsyncExitStack) -> None:
        """One of the places that a server has for streams of one kind, until the stack is left."""
        holders = self._held[key]
        open_ = {task for _, task in self._open.values()}
        if len(holders) >= most and (ending := holders - open_):
            await asyncio.wait(ending)  # a page that is loaded anew comes before its old stream is gone
        if len(holders) >= most:
            if most == 1:
                raise errors.Conflict("The console is in use by another session.", hint="One at a time can have it.")
            raise errors.TooMany(f"The server has {most} streams open.", hint="Close some.")
        task = asyncio.current_task()
        assert task is not None
        holders.add(task)
        stack.callback(self._release, key, task)

    def _release(self, key: str, task: asyncio.Task[None]) -> None:
        self._held[key].discard(task)
        if not self._held[key]:
            del self._held[key]


async def _copy(channel: wire.Channel, line: Line) -> None:
    """Until either end is gone."""

    async def outward() -> None:
        while data := await line.read():
            await channel.send(data)

    async def inward() -> None:
        async for data in channel:
            await line.write(data)

    tasks = [asyncio.create_task(outward()), asyncio.create_task(inward())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        # where writing failed the guest's end is gone, with its last words unread
        await asyncio.wait(tasks[:1], timeout=0 if channel.closed else 1)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, ConnectionError) and not channel.closed:
            raise result
