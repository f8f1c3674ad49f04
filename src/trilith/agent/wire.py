"""The one path between controller and node: typed messages, msgpack in length-prefixed frames, over a stream.

On one machine the stream is a unix socket, on many it is mutual TLS; the code is the same. Every message carries the
version of its layout, so that a node may be a release behind.

Besides calls there are channels: bytes both ways, in as many streams as are open. Each direction of each channel has
a window: what was not read yet at the other end is never more than WINDOW bytes, so neither a fast guest fills the
controller's memory nor does a slow reader hold up the calls beside it.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable

import msgspec

from trilith import errors
from trilith.model.guest import GuestEvent, GuestFacts, HostFacts

VERSION = 1
#: bytes; a frame over this is a broken or hostile peer
MAX_FRAME = 32 * 1024 * 1024
#: bytes of one channel that may be under way in one direction
WINDOW = 256 * 1024
#: bytes of one message of a channel: calls get their turn between two
CHUNK = 32 * 1024
#: bytes that may wait for a peer that does not read, and seconds that a write may wait for it
MAX_BACKLOG = 128 * 1024 * 1024
STALL_SECONDS = 60.0
_LENGTH = struct.Struct(">I")


class Hello(msgspec.Struct, tag=True, frozen=True):
    """First message of an agent. drivers: compute capabilities by pillar, as the driver states them."""

    node: str
    cloud_id: str
    facts: HostFacts
    version: int = VERSION
    simulated: bool = False


class Request(msgspec.Struct, tag=True, frozen=True):
    """A node call. epoch is the job's claim: the agent refuses one that is older than it has seen for the resource."""

    id: int
    call: str
    args: msgspec.Raw
    resource: str = ""
    epoch: int = 0
    timeout: float = 60.0
    version: int = VERSION


class Cancel(msgspec.Struct, tag=True, frozen=True):
    id: int


class Result(msgspec.Struct, tag=True, frozen=True):
    id: int
    value: msgspec.Raw


class Failure(msgspec.Struct, tag=True, frozen=True):
    id: int
    code: str
    message: str
    hint: str = ""


class Progress(msgspec.Struct, tag=True, frozen=True):
    id: int
    percent: int
    note: str = ""


class Event(msgspec.Struct, tag=True, frozen=True):
    event: GuestEvent


class Report(msgspec.Struct, tag=True, frozen=True):
    """All guests on the node: at start, after events, every 30 s."""

    guests: list[GuestFacts]
    facts: HostFacts | None = None


class Post(msgspec.Struct, tag=True, frozen=True):
    """What a guest posted to the metadata service, for a controller to keep. id: counted by the agent."""

    id: int
    server_id: str
    password: bytes


class Posted(msgspec.Struct, tag=True, frozen=True):
    """The controller's answer. code: of an error, or "" where it is kept."""

    id: int
    code: str = ""
    message: str = ""
    hint: str = ""


class Open(msgspec.Struct, tag=True, frozen=True):
    """A channel to a guest, asked for by a controller. credit: bytes that the agent may send at once."""

    id: int
    call: str
    args: msgspec.Raw
    credit: int = WINDOW
    version: int = VERSION


class Opened(msgspec.Struct, tag=True, frozen=True):
    """The agent has it. credit: bytes that the controller may send at once."""

    id: int
    credit: int = WINDOW


class Chunk(msgspec.Struct, tag=True, frozen=True):
    id: int
    data: bytes


class Credit(msgspec.Struct, tag=True, frozen=True):
    """So many bytes of the channel were read: as many more may be sent."""

    id: int
    bytes: int


class Resize(msgspec.Struct, tag=True, frozen=True):
    """The size of the terminal at the controller's end, in characters."""

    id: int
    rows: int
    cols: int


class Close(msgspec.Struct, tag=True, frozen=True):
    """The channel's end, from either side. code: of an error, or "" where it ended as it should; reason in words."""

    id: int
    code: str = ""
    reason: str = ""
    hint: str = ""


Message = (
    Hello
    | Request
    | Cancel
    | Result
    | Failure
    | Progress
    | Event
    | Report
    | Post
    | Posted
    | Open
    | Opened
    | Chunk
    | Credit
    | Resize
    | Close
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME:
        raise errors.TooLarge(f"A message of {len(body)} bytes is over the bound of {MAX_FRAME}.")
    return _LENGTH.pack(len(body)) + body


async def receive(reader: asyncio.StreamReader) -> Message | None:
    """The next message; None at the end of the stream. Raises Backend for what is no message of ours."""
    try:
        head = await reader.readexactly(4)
        (length,) = _LENGTH.unpack(head)
        if length > MAX_FRAME:
            raise errors.Backend(f"A peer announced a frame of {length} bytes.")
        return _decoder.decode(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except msgspec.MsgspecError as err:
        raise errors.Backend(f"A peer sent what is no message: {err}.") from err


class Outbox:
    """Messages on their way out, in order. `put` never waits; `run` writes, and ends when the peer stalls.

    stall: seconds that one write may wait for the peer. backlog: bytes that may wait here.
    """

    def __init__(
        self, writer: asyncio.StreamWriter, *, stall: float = STALL_SECONDS, backlog: int = MAX_BACKLOG
    ) -> None:
        self._writer = writer
        self._stall = stall
        self._backlog = backlog
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._some = asyncio.Event()
        self._over = ""

    def put(self, message: Message) -> None:
        """Raises TooLarge for a message over MAX_FRAME. After the end of the stream what is put is dropped."""
        frame = encode(message)
        if self._over:
            return
        self._frames.append(frame)
        self._bytes += len(frame)
        self._some.set()
        if self._bytes > self._backlog:
            self._end(f"{self._bytes} bytes waited for a peer that reads too slowly.")

    async def run(self) -> None:
        """Until cancelled. Raises Backend when the peer does not read, ConnectionError when it is gone."""
        try:
            while not self._over:
                await self._some.wait()
                self._some.clear()
                while self._frames:
                    frame = self._frames.popleft()
                    self._writer.write(frame)
                    async with asyncio.timeout(self._stall):
                        await self._writer.drain()
                    self._bytes -= len(frame)
            raise errors.Backend(self._over)
        except TimeoutError:
            self._end(f"The peer has read nothing for {self._stall:g} s.")
            raise errors.Backend(self._over) from None
        except ConnectionError as err:
            if self._over:
                raise errors.Backend(self._over) from err
            raise
        finally:
            self._over = self._over or "The stream has ended."
            self._frames.clear()

    def _end(self, why: str) -> None:
        """What a stalled peer did not read would keep the transport, and its memory, after a close."""
        self._over = why
        self._frames.clear()
        self._writer.transport.abort()


class Channel:
    """One end of a channel: iterate it for what comes in, `send` what goes out, `close` it at the end.

    One task reads, one sends. credit: bytes that may be sent at first, which is the other end's window.
    resized: called with rows and columns when the other end's terminal changed.
    """

    def __init__(
        self,
        id: int,
        outbox: Outbox,
        *,
        credit: int,
        ended: Callable[[int], None],
        resized: Callable[[int, int], None] | None = None,
    ) -> None:
        self.id = id
        self.resized = resized
        self.reason = ""
        self._outbox = outbox
        self._ended = ended
        self._credit = self._window = credit
        self._may_send = asyncio.Event()
        self._buffer = bytearray()
        self._read = 0  # bytes read here that the other end was not told of
        self._arrived = asyncio.Event()
        self._closed = False
        self._failure: errors.TrilithError | None = None

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def failure(self) -> errors.TrilithError | None:
        """What ended it, where that was an error."""
        return self._failure

    def start(self, credit: int) -> None:
        """The other end has opened it, and takes so many bytes."""
        self._credit = self._window = credit
        self._may_send.set()

    async def receive(self) -> bytes:
        """What came in, at most CHUNK bytes; b"" at the end. Raises the error that ended it, after the last bytes."""
        while not self._buffer:
            if self._closed:
                if self._failure is not None:
                    raise self._failure
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        data = bytes(self._buffer[:CHUNK])
        del self._buffer[:CHUNK]
        self._read += len(data)
        if self._read >= WINDOW // 4 and not self._closed:
            self._outbox.put(Credit(self.id, self._read))
            self._read = 0
        return data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self.receive():
            yield data

    async def send(self, data: bytes) -> None:
        """Returns when all is on its way, which may be when the other end has read. Raises what ended the channel,
        Conflict when it ended as it should."""
        rest = memoryview(data)
        while rest:
            while self._credit <= 0 and not self._closed:
                self._may_send.clear()
                await self._may_send.wait()
            if self._closed:
                raise self._failure or errors.Conflict("The stream has ended.")
            part = rest[: min(self._credit, CHUNK)]
            self._credit -= len(part)
            self._outbox.put(Chunk(self.id, bytes(part)))
            rest = rest[len(part) :]

    def resize(self, rows: int, cols: int) -> None:
        if not self._closed:
            self._outbox.put(Resize(self.id, rows, cols))

    def close(self, failure: errors.TrilithError | None = None, *, reason: str = "") -> None:
        """Tell the other end, which reads what was sent before. Closing twice is once."""
        if self._closed:
            return
        code, hint = (failure.code, failure.hint) if failure is not None else ("", "")
        self._outbox.put(Close(self.id, code, failure.message if failure is not None else reason, hint))
        self.end(None)

    def end(self, failure: errors.TrilithError | None, reason: str = "") -> None:
        """No more comes: the other end closed, or the link broke."""
        if self._closed:
            return
        self._closed, self._failure, self.reason = True, failure, reason
        self._arrived.set()
        self._may_send.set()
        self._ended(self.id)

    def take(self, message: Chunk | Credit | Resize | Close) -> None:
        """A message for this channel. Raises Backend for a peer that sends more than it may."""
        match message:
            case Chunk(data=data):
                if len(self._buffer) + self._read + len(data) > WINDOW:
                    raise errors.Backend("A peer sent more of a stream than it had credit for.")
                self._buffer += data
                self._arrived.set()
            case Credit(bytes=more):
                if more < 0 or self._credit + more > self._window:
                    raise errors.Backend("A peer gave more credit for a stream than there is.")
                self._credit += more
                self._may_send.set()
            case Resize(rows=rows, cols=cols):
                if self.resized is not None:
                    self.resized(rows, cols)
            case Close(code=code, reason=reason, hint=hint):
                self.end(errors.from_wire(code, reason, hint) if code else None, reason)
